"""A season with its future known: what is left of it from a state on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from workgym.agents.policy import Ints
from workgym.services.kernel import Cents
from workgym.services.orders import desk, rules, scenario
from workgym.services.orders.scenario import Setup
from workgym.services.orders.state import COLUMNS, State


class Foreseen(NamedTuple):
    """What is left of a season; O open orders, D days, C centres, S services, K SKUs."""

    setup: Setup
    booked: Cents  # earned already, the surprises of today's wave included
    number: Ints  # (O,) the order's number
    orders: Ints  # (O, ORDER_WIDTH) columns of `scenario`
    first: Ints  # (O,) first day on which it can be decided
    last: Ints  # (O,) last day on which it can ship
    lost: Ints  # (O,) cents booked when it never ships
    delay: Ints  # (O, C, S) days by which its parcel would be late
    supply: Ints  # (D, C, K) units that can have shipped by the end of each day
    picks: Ints  # (D, C) lines that can be picked


def opening(setup: Setup, key: int, family: int) -> State:
    """The state in which a season opens."""
    rows = np.zeros((setup.max_orders, scenario.ORDER_WIDTH), dtype=np.int32)
    count = scenario.arrive(setup, np.uint64(key), family, 0, rows)
    centres, skus = setup.stock.shape
    stock = [[scenario.opening_stock(setup, family, c, k) for k in range(skus)] for c in range(centres)]
    picks = [scenario.capacity_today(setup, np.uint64(key), family, c, 0) for c in range(centres)]
    return State(
        key=int(key),
        family=family,
        day=0,
        ended=False,
        broken=0,
        orders=rows[:count, list(COLUMNS)].astype(np.int64),
        free=np.array(stock, dtype=np.int64),
        picks=np.array(picks, dtype=np.int64),
        ledger=np.zeros(len(rules.ACCOUNTS), dtype=np.int64),
    )


def foresee(setup: Setup, now: State) -> Foreseen:
    """Everything that happens to the business from a state on."""
    orders = _orders(setup, now)
    numbers = np.flatnonzero(orders[:, scenario.STATUS] == rules.WAITING)
    still = orders[numbers]
    reviewed = (still[:, scenario.REVIEWED] == now.day).astype(np.int64)
    last = np.minimum(still[:, scenario.GIVE_UP], setup.days) - 1
    return Foreseen(
        setup=setup,
        booked=int(now.ledger.sum()) + _surprises(setup, now, orders),
        number=numbers,
        orders=still,
        first=np.maximum(still[:, scenario.PLACED], now.day + reviewed),
        last=last,
        lost=np.array([_lost(setup, order) for order in still], dtype=np.int64),
        delay=_delays(setup, now, numbers),
        supply=_supply(setup, now),
        picks=_picks(setup, now),
    )


def _orders(setup: Setup, now: State) -> Ints:
    """Every order of the season, with what became of those that have come."""
    rows = np.zeros((setup.max_orders, scenario.ORDER_WIDTH), dtype=np.int32)
    count = 0
    for day in range(setup.days):
        count += scenario.arrive(setup, np.uint64(now.key), now.family, day, rows[count:])
    rows[: len(now.orders), list(COLUMNS)] = now.orders
    return rows[:count].astype(np.int64)


def _lost(setup: Setup, order: Ints) -> Cents:
    """What an order that never ships costs: a withdrawal, or an apology when the season ends first."""
    value = int(setup.facts[order[scenario.BASKET], scenario.VALUE])
    cost = rules.withdrawal if order[scenario.GIVE_UP] < setup.days else rules.goodwill
    return -cost(value, int(order[scenario.PRIORITY]))


def _surprises(setup: Setup, now: State, orders: Ints) -> Cents:
    """What carriers do to today's wave, which is booked when the day closes."""
    if now.ended:
        return 0
    today = (orders[:, scenario.STATUS] == rules.ALLOCATED) & (orders[:, scenario.REVIEWED] == now.day)
    key = np.uint64(now.key)
    numbers = np.flatnonzero(today).tolist()
    return sum(int(desk.carrier_surprise(setup, key, n, orders[n])[0]) for n in numbers)


def _delays(setup: Setup, now: State, numbers: Ints) -> Ints:
    centres, services = range(len(setup.capacity)), range(rules.N_SERVICES)
    key = np.uint64(now.key)
    days = [[[scenario.carrier_delay(key, n, c, s) for s in services] for c in centres] for n in numbers]
    return np.array(days, dtype=np.int64).reshape(len(numbers), len(centres), len(services))


def _supply(setup: Setup, now: State) -> Ints:
    shelf = now.free.T.astype(np.int32)
    supply = np.zeros((setup.days, *setup.stock.shape), dtype=np.int64)
    for day in range(now.day, setup.days):
        if day > now.day:
            scenario.receive(setup, np.uint64(now.key), now.family, day, shelf)
        supply[day] = shelf.T
    return supply


def _picks(setup: Setup, now: State) -> Ints:
    key, centres = np.uint64(now.key), range(len(setup.capacity))
    days = [
        [scenario.capacity_today(setup, key, now.family, c, day) for c in centres]
        for day in range(setup.days)
    ]
    picks = np.array(days, dtype=np.int64)
    picks[min(now.day, setup.days - 1)] = now.picks
    return picks
