"""The supply chain in arrays: N lanes, each one world, advanced by compiled kernels.

A period: orders go out, reach their sources and are shipped as far as stock and capacity go; goods
that are due arrive; customers are served; costs are booked; the next period begins. The live service
takes the same steps on tables, with the same rules.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.services.compiled import INNER
from workgym.services.supply_chain import rules
from workgym.services.supply_chain.scenario import (
    INSTALMENTS,
    Setup,
    cost_of,
    demand_of,
    factor_pm,
    is_closed,
    known_steps,
    lead_of,
    lost_on_the_way,
    price_of,
    staying,
)

# Columns of a lane.
DAY, FAMILY, ENDED, DEMANDED, MISSED = range(5)
LANE_WIDTH = 5

Counts = NDArray[np.int32]


class Lanes(NamedTuple):
    """State of N lanes of a network with S nodes, K SKUs and A links."""

    key: NDArray[np.uint64]  # (N,) key of the running episode
    lane: NDArray[np.int64]  # (N, LANE_WIDTH) counters, see the columns above
    on_hand: Counts  # (N, S, K) units on the shelf
    backlog: Counts  # (N, S, K) units that customers wait for
    asked: Counts  # (N, S, K) what customers asked for in the last period, as far as the node saw it
    level: Counts  # (N, S, K) estimated demand of a usual period, 1/256 units
    owed: Counts  # (N, A, K) units ordered over a link and not shipped yet
    mail: Counts  # (N, A, K, delay) orders that reach the source in 0, 1, ... periods
    way: Counts  # (N, A, K, horizon) units that arrive in 0, 1, ... periods
    ledger: NDArray[np.int64]  # (N, accounts) money booked since the episode began
    scratch: Scratch


class Scratch(NamedTuple):
    """Working arrays of one period, reused from lane to lane."""

    wanted: NDArray[np.int64]  # (A, K) what a link should ship today
    shipped: NDArray[np.int64]  # (A, K)
    profit: NDArray[np.int64]  # (S, K) money that a node earned with a SKU


def empty_lanes(setup: Setup, n: int) -> Lanes:
    """Room for `n` lanes; `open_episode` fills one."""
    (links, skus), nodes = setup.most.shape, len(setup.opening)

    def zeros(*shape: int) -> Counts:
        return np.zeros((n, *shape), dtype=np.int32)

    return Lanes(
        key=np.zeros(n, dtype=np.uint64),
        lane=np.zeros((n, LANE_WIDTH), dtype=np.int64),
        on_hand=zeros(nodes, skus),
        backlog=zeros(nodes, skus),
        asked=zeros(nodes, skus),
        level=zeros(nodes, skus),
        owed=zeros(links, skus),
        mail=zeros(links, skus, setup.delay),
        way=zeros(links, skus, setup.horizon),
        ledger=np.zeros((n, len(rules.ACCOUNTS)), dtype=np.int64),
        scratch=Scratch(
            wanted=np.zeros((links, skus), dtype=np.int64),
            shipped=np.zeros((links, skus), dtype=np.int64),
            profit=np.zeros((nodes, skus), dtype=np.int64),
        ),
    )


@njit(**INNER)
def open_episode(setup: Any, lanes: Any, i: int, key: Any, family: int) -> None:
    """Begin an episode in lane `i`."""
    lane = lanes.lane[i]
    lane[:] = 0
    lane[FAMILY] = family
    lanes.key[i] = key
    lanes.ledger[i] = 0
    lanes.owed[i] = 0
    lanes.mail[i] = 0
    lanes.way[i] = 0
    lanes.backlog[i] = 0
    for s in range(setup.opening.shape[0]):
        for k in range(setup.opening.shape[1]):
            lanes.on_hand[i, s, k] = setup.opening[s, k]
            lanes.level[i, s, k] = setup.usual[s, k]
            lanes.asked[i, s, k] = setup.usual[s, k] // rules.FRACTION
    for a in range(len(setup.source)):
        for k in range(setup.most.shape[1]):
            for h in range(1, setup.leads[a, 0] + 1):
                lanes.way[i, a, k, h] = setup.opening_way[a, k]
    if setup.receives_first == 1:
        shift(setup, lanes, i)
        receive(setup, lanes, i)
    for a in range(len(setup.source)):
        for k in range(setup.most.shape[1]):
            for h in range(setup.order_delay[a]):
                lanes.mail[i, a, k, h] = setup.opening_way[a, k]


@njit(**INNER)
def refuse(setup: Any, lanes: Any, i: int, orders: Any) -> int:
    """Why orders (A * K,) are not taken, or OK."""
    skus = setup.most.shape[1]
    for d in range(len(orders)):
        most = setup.most[d // skus, d % skus]
        refusal = rules.refuse_order(orders[d], most, lanes.lane[i, ENDED])
        if refusal != rules.OK:
            return refusal
    return rules.OK


@njit(**INNER)
def play_period(setup: Any, lanes: Any, i: int, orders: Any, terms: Any) -> None:
    """Play one period of lane `i` with legal orders (A * K,); add what was booked to `terms` (accounts,)."""
    lanes.scratch.profit[:] = 0
    place(setup, lanes, i, orders, terms)
    dispatch(setup, lanes, i, terms)
    receive(setup, lanes, i)
    serve(setup, lanes, i, terms)
    keep_stock(setup, lanes, i, terms)
    close_period(setup, lanes, i, terms)


@njit(**INNER)
def _book(lanes: Any, terms: Any, account: int, s: int, k: int, money: int) -> None:
    terms[account] += money
    lanes.scratch.profit[s, k] += money


@njit(**INNER)
def place(setup: Any, lanes: Any, i: int, orders: Any, terms: Any) -> None:
    """Send the orders; `scratch.wanted` is what has reached each source by today."""
    skus = setup.most.shape[1]
    for a in range(len(setup.source)):
        delay = setup.order_delay[a]
        for k in range(skus):
            quantity = rules.whole_packs(orders[a * skus + k], setup.pack[a, k], setup.most[a, k])
            if quantity > 0 and setup.order_cost[a, k] != 0:
                _book(lanes, terms, rules.ORDERING, setup.target[a], k, -setup.order_cost[a, k])
            lanes.mail[i, a, k, delay] += quantity
            lanes.scratch.wanted[a, k] = lanes.owed[i, a, k] + lanes.mail[i, a, k, 0]
            lanes.mail[i, a, k, 0] = 0


@njit(**INNER)
def dispatch(setup: Any, lanes: Any, i: int, terms: Any) -> None:
    """Ship what is wanted, as far as suppliers are open, links carry and sources have stock."""
    key, family, t = lanes.key[i], lanes.lane[i, FAMILY], lanes.lane[i, DAY]
    shipped = lanes.scratch.shipped
    for a in range(len(setup.source)):
        _carry(setup, lanes, a, is_closed(setup, key, family, t, a))
    for s in range(setup.opening.shape[0]):
        for k in range(setup.opening.shape[1]):
            _ration(setup, lanes, i, s, k)
    for a in range(len(setup.source)):
        for k in range(setup.most.shape[1]):
            missing = lanes.scratch.wanted[a, k] - shipped[a, k]
            lanes.owed[i, a, k] = missing * setup.keeps_orders[a]
            if missing > 0 and setup.unshipped[a, k] != 0:
                penalty = missing * setup.unshipped[a, k]
                _book(lanes, terms, rules.SHORTAGE, setup.target[a], k, -penalty)
            if shipped[a, k] > 0:
                cost = shipped[a, k] * cost_of(setup, key, family, t, a, k)
                if cost != 0:
                    _book(lanes, terms, rules.PURCHASES, setup.target[a], k, -cost)
                _send(setup, lanes, i, a, k)


@njit(**INNER)
def _carry(setup: Any, lanes: Any, a: int, closed: bool) -> None:
    """Cut what a link should ship to what it carries; `scratch.shipped` is what is left."""
    wanted, shipped = lanes.scratch.wanted[a], lanes.scratch.shipped[a]
    total = 0
    for k in range(len(wanted)):
        total += wanted[k]
    capacity = setup.capacity[a]
    if closed:
        shipped[:] = 0
        return
    if capacity == 0:
        capacity = total
    left = min(capacity, total)
    for k in range(len(wanted)):
        shipped[k] = rules.fair_share(wanted[k], total, capacity)
        left -= shipped[k]
    if left > 0:
        for k in range(len(wanted)):
            one = 1 if left > 0 and shipped[k] < wanted[k] else 0
            shipped[k] += one
            left -= one


@njit(**INNER)
def _ration(setup: Any, lanes: Any, i: int, s: int, k: int) -> None:
    """Take what leaves a node from its shelf; claims share what there is if it is too little."""
    shipped = lanes.scratch.shipped
    total = 0
    for a in range(len(setup.source)):
        if setup.source[a] == s:
            total += shipped[a, k]
    available = np.int64(lanes.on_hand[i, s, k])
    left = available
    if total <= available:
        lanes.on_hand[i, s, k] -= total
        return
    for a in range(len(setup.source)):
        if setup.source[a] == s:
            left -= rules.fair_share(shipped[a, k], total, available)
    for a in range(len(setup.source)):
        if setup.source[a] == s:
            share = rules.fair_share(shipped[a, k], total, available)
            one = 1 if left > 0 and share < shipped[a, k] else 0
            left -= one
            shipped[a, k] = share + one
    lanes.on_hand[i, s, k] = left


@njit(**INNER)
def _send(setup: Any, lanes: Any, i: int, a: int, k: int) -> None:
    """Put what was shipped on its way."""
    key, family, t = lanes.key[i], lanes.lane[i, FAMILY], lanes.lane[i, DAY]
    way = lanes.way[i, a, k]
    units = lanes.scratch.shipped[a, k]
    units -= lost_on_the_way(setup, key, family, t, a, k, units)
    lead = lead_of(setup, key, family, t, a, k)
    if setup.crosses[a] == 0:
        for h in range(len(way) - 1, lead, -1):
            if way[h] > 0:
                lead = h
                break
    for n in range(INSTALMENTS):
        before, after = setup.instalments[a, n], setup.instalments[a, n + 1]
        if after > before:
            way[min(lead + n, len(way) - 1)] += rules.instalment(units, before, after)


@njit(**INNER)
def receive(setup: Any, lanes: Any, i: int) -> None:
    """Put what is due on the shelves."""
    for a in range(len(setup.source)):
        for k in range(setup.most.shape[1]):
            lanes.on_hand[i, setup.target[a], k] += lanes.way[i, a, k, 0]
            lanes.way[i, a, k, 0] = 0


@njit(**INNER)
def serve(setup: Any, lanes: Any, i: int, terms: Any) -> None:
    """Let customers take what they came for and what they waited for; those who waited first."""
    key, family, t = lanes.key[i], lanes.lane[i, FAMILY], lanes.lane[i, DAY]
    for s in range(setup.opening.shape[0]):
        for k in range(setup.opening.shape[1]):
            if setup.group[s, k] < 0:
                continue
            demand = demand_of(setup, key, family, t, s, k)
            waiting = np.int64(lanes.backlog[i, s, k])
            sold = rules.served(np.int64(lanes.on_hand[i, s, k]), waiting + demand)
            unmet = min(demand, waiting + demand - sold)
            stays = staying(setup, key, t, s, k, unmet)
            lanes.on_hand[i, s, k] -= sold
            lanes.backlog[i, s, k] = waiting + demand - sold - (unmet - stays)
            lanes.lane[i, DEMANDED] += demand
            lanes.lane[i, MISSED] += unmet
            if setup.price[s, k] != 0:
                price = price_of(setup, key, family, t, s, k)
                _book(lanes, terms, rules.SALES, s, k, sold * price)
            shortage = (unmet - stays) * setup.lost[s, k] + lanes.backlog[i, s, k] * setup.waiting[s, k]
            _book(lanes, terms, rules.SHORTAGE, s, k, -shortage)
            factor = factor_pm(setup, known_steps(setup, key, family, t, k))
            level = np.int64(lanes.level[i, s, k])
            seen = rules.demand_seen(demand, unmet, setup.waits_pm[s], rules.expected(level, factor))
            lanes.asked[i, s, k] = seen
            lanes.level[i, s, k] = rules.smoothed(level, seen, factor)


@njit(**INNER)
def keep_stock(setup: Any, lanes: Any, i: int, terms: Any) -> None:
    """Book what stock costs, on shelves and on the way."""
    for s in range(setup.opening.shape[0]):
        for k in range(setup.opening.shape[1]):
            cost = np.int64(lanes.on_hand[i, s, k]) * setup.holding[s, k]
            _book(lanes, terms, rules.HOLDING, s, k, -cost)
    for a in range(len(setup.source)):
        for k in range(setup.most.shape[1]):
            if setup.transit[a, k] != 0:
                cost = on_the_way(lanes, i, a, k) * setup.transit[a, k]
                _book(lanes, terms, rules.HOLDING, setup.target[a], k, -cost)


@njit(**INNER)
def on_the_way(lanes: Any, i: int, a: int, k: int) -> int:
    """Units of a SKU that travel over a link."""
    units = 0
    for h in range(lanes.way.shape[3]):
        units += np.int64(lanes.way[i, a, k, h])
    return units


@njit(**INNER)
def shift(setup: Any, lanes: Any, i: int) -> None:
    """Let a period pass for all that is on its way."""
    for a in range(len(setup.source)):
        for k in range(setup.most.shape[1]):
            way, mail = lanes.way[i, a, k], lanes.mail[i, a, k]
            for h in range(1, len(way)):
                way[h - 1] = way[h]
            way[len(way) - 1] = 0
            for h in range(1, len(mail)):
                mail[h - 1] = mail[h]
            mail[len(mail) - 1] = 0


@njit(**INNER)
def close_period(setup: Any, lanes: Any, i: int, terms: Any) -> None:
    """Go to the next period; after the last one value what is left."""
    lane = lanes.lane[i]
    lane[DAY] += 1
    shift(setup, lanes, i)
    if setup.receives_first == 1:
        receive(setup, lanes, i)
    if lane[DAY] < setup.periods:
        return
    lane[ENDED] = 1
    for s in range(setup.opening.shape[0]):
        for k in range(setup.opening.shape[1]):
            _book(lanes, terms, rules.SALVAGE, s, k, lanes.on_hand[i, s, k] * setup.salvage[s, k])
    for a in range(len(setup.source)):
        for k in range(setup.most.shape[1]):
            value = setup.salvage[setup.target[a], k]
            if value != 0:
                _book(lanes, terms, rules.SALVAGE, setup.target[a], k, on_the_way(lanes, i, a, k) * value)
