"""The business day, set-wise over worlds: orders go out, sources ship, goods arrive, customers buy.

Rows of orders and shipments are the truth. How much leaves when there is too little, the rules decide
over all claims at once; which order gets it, first come first served.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from workgym.services.compiled import KERNEL, PART
from workgym.services.storage import Transaction
from workgym.services.supply_chain import rules, scenario, twin
from workgym.services.supply_chain import statements as sql
from workgym.services.supply_chain.floor import Bools, Floor, Ints, Journal, Yard
from workgym.services.supply_chain.scenario import INSTALMENTS, Setup
from workgym.services.supply_chain.statements import (
    LINE_LINK,
    LINE_NUMBER,
    LINE_OWED,
    LINE_REACHES,
    LINE_SHIPPED,
    LINE_SKU,
    LINE_STATUS,
    LINE_UNITS,
    LINE_WORLD,
)
from workgym.services.supply_chain.tables import FORGOTTEN, MAILED, OPEN, SHIPPED

# Columns of a shipment that leaves.
_WORLD, _LINK, _SKU, _DUE, _UNITS, _LOST = range(6)


class Booked(NamedTuple):
    """Money that the day moved.

    Attributes:
        accounts: (B, nodes, accounts).
        profit: (B, nodes, SKUs).
    """

    accounts: Ints
    profit: Ints

    @classmethod
    def nothing(cls, setup: Setup, n: int) -> Booked:
        """Zeros for `n` worlds."""
        nodes, skus = setup.opening.shape
        return cls(
            np.zeros((n, nodes, len(rules.ACCOUNTS)), dtype=np.int64),
            np.zeros((n, nodes, skus), dtype=np.int64),
        )


def order(setup: Setup, floor: Floor, chosen: Bools, quantities: Ints, booked: Booked) -> Ints:
    """Order in the chosen worlds: legal quantities (B, links * SKUs), rounded to packs.

    Returns:
        (n, 9) the lines, columns `sql.LINE_*`; one order for each link. Nothing is written yet.
    """
    lines: Ints = _lines_of(setup, chosen, floor.rows, quantities, booked)
    return lines


@njit(cache=True)
def _lines_of(setup: Any, chosen: Any, worlds: Any, quantities: Any, booked: Any) -> Any:
    lines = np.empty((quantities.size, sql.LINE_WIDTH), dtype=np.int64)
    skus, n = setup.most.shape[1], 0
    for i in range(len(chosen)):
        if not chosen[i]:
            continue
        for a in range(len(setup.source)):
            before = n
            for k in range(skus):
                asked = quantities[i, a * skus + k]
                units = rules.whole_packs(asked, setup.pack[a, k], setup.most[a, k])
                if units == 0:
                    continue
                line = lines[n]
                line[LINE_WORLD], line[LINE_LINK], line[LINE_SKU] = i, a, k
                line[LINE_NUMBER], line[LINE_UNITS] = worlds[i, sql.WORLD_ORDERED], units
                line[LINE_SHIPPED], line[LINE_OWED], line[LINE_STATUS] = 0, units, MAILED
                line[LINE_REACHES] = worlds[i, sql.WORLD_DAY] + setup.order_delay[a]
                _book(booked, i, rules.ORDERING, setup.target[a], k, -setup.order_cost[a, k])
                n += 1
            if n > before:
                worlds[i, sql.WORLD_ORDERED] += 1
    return lines[:n]


@njit(**PART)
def _book(booked: Any, i: int, account: int, s: int, k: int, money: int) -> None:
    booked.accounts[i, s, account] += money
    booked.profit[i, s, k] += money


def write_orders(tx: Transaction, floor: Floor, lines: Ints) -> None:
    """Write new orders down."""
    if not len(lines):
        return
    worlds = floor.ids[lines[:, LINE_WORLD]]
    placed = floor.day[lines[:, LINE_WORLD]]
    heads = np.column_stack([worlds, lines[:, LINE_NUMBER], lines[:, LINE_LINK], placed])
    first = np.ones(len(heads), dtype=np.bool_)
    first[1:] = (heads[1:, :2] != heads[:-1, :2]).any(axis=1)
    tx.many(sql.ADD_ORDER, heads[first].tolist())
    columns = [LINE_NUMBER, LINE_SKU, LINE_UNITS, LINE_SHIPPED, LINE_OWED, LINE_REACHES, LINE_STATUS]
    tx.many(sql.ADD_LINE, np.column_stack([worlds, lines[:, columns]]).tolist())


def close(
    tx: Transaction,
    setup: Setup,
    floor: Floor,
    yard: Yard,
    chosen: Bools,
    fresh: Ints,
    booked: Booked,
    journal: Journal,
) -> None:
    """Close the day in the chosen worlds and open the next; after the last one value what is left.

    The arrays of `floor` and `yard.lanes` are brought up to date with the tables.

    Args:
        tx: the transaction.
        setup: of the worlds' network.
        floor: the worlds.
        yard: what the tables say of them.
        chosen: (B,) where the day is closed.
        fresh: lines that `order` made and that nobody has written yet.
        booked: what the day moves is added.
        journal: where it is posted.
    """
    lanes = yard.lanes
    before = [array.copy() for array in (lanes.on_hand, lanes.backlog, lanes.asked, lanes.level)]
    shape = (len(floor), *setup.most.shape)
    shipped, sold = np.zeros(shape, dtype=np.int64), np.zeros(booked.profit.shape, dtype=np.int64)
    sends: Ints = _play(setup, chosen, lanes, fresh, shipped, sold, booked)
    _log(floor, chosen, shipped, sold, booked, journal)
    _hand_out(setup, chosen, floor.day, yard.lines, shipped)
    _hand_out(setup, chosen, floor.day, fresh, shipped)
    _write_lines(tx, floor, chosen, yard.lines)
    write_orders(tx, floor, fresh)
    journal.post_all(floor, booked.accounts)
    today = floor.day.copy()
    numbers = _numbered(floor, sends)
    if not setup.receives_first:
        tx.run(sql.RECEIVE, _chosen_ids(tx, floor, chosen))
    _next_day(tx, floor, chosen, lanes)
    if setup.receives_first:
        tx.run(sql.RECEIVE, _chosen_ids(tx, floor, chosen))
    _write_sends(tx, floor, sends, numbers, today, today + setup.receives_first)
    _write_stock(tx, floor, lanes, before, sold)


def _chosen_ids(tx: Transaction, floor: Floor, chosen: Bools) -> object:
    return floor.worlds if chosen.all() else tx.numbers(floor.ids[chosen].tolist())


def _next_day(tx: Transaction, floor: Floor, chosen: Bools, lanes: twin.Lanes) -> None:
    """Bring the worlds' rows up to what the day made of them."""
    counters = [twin.DAY, twin.ENDED, twin.DEMANDED, twin.MISSED]
    columns = [sql.WORLD_DAY, sql.WORLD_ENDED, sql.WORLD_DEMANDED, sql.WORLD_MISSED]
    floor.rows[:, columns] = lanes.lane[:, counters]
    write_worlds(tx, floor, chosen)


def write_worlds(tx: Transaction, floor: Floor, chosen: Bools) -> None:
    """Write the rows of the chosen worlds as `floor` has them."""
    order = [*range(sql.WORLD_DAY, sql.WORLD_WIDTH), sql.WORLD_ID]
    tx.many(sql.SET_WORLD, floor.rows[chosen][:, order].tolist())


def _write_lines(tx: Transaction, floor: Floor, chosen: Bools, lines: Ints) -> None:
    """Write what became of the orders that had been in hand and reached their sources."""
    due = chosen[lines[:, LINE_WORLD]] & (lines[:, LINE_REACHES] <= floor.day[lines[:, LINE_WORLD]])
    lines = lines[due]
    if len(lines):
        columns = [LINE_SHIPPED, LINE_OWED, LINE_STATUS]
        keys = [floor.ids[lines[:, LINE_WORLD]], lines[:, LINE_NUMBER], lines[:, LINE_SKU]]
        tx.many(sql.SET_LINE, np.column_stack([lines[:, columns], *keys]).tolist())


def _numbered(floor: Floor, sends: Ints) -> Ints:
    """(n,) numbers for shipments; they stand by world."""
    worlds = sends[:, _WORLD]
    numbers: Ints = (
        np.arange(len(sends)) - np.searchsorted(worlds, worlds) + floor.rows[worlds, sql.WORLD_SENT]
    )
    floor.rows[:, sql.WORLD_SENT] += np.bincount(worlds, minlength=len(floor))
    return numbers


def _write_sends(
    tx: Transaction, floor: Floor, sends: Ints, numbers: Ints, today: Ints, received: Ints
) -> None:
    """Write what left; what was due by the day `received` of its world is on the shelf already."""
    if not len(sends):
        return
    worlds = sends[:, _WORLD]
    rows = np.column_stack(
        [floor.ids[worlds], numbers, sends[:, _LINK], sends[:, _SKU], today[worlds], sends[:, _DUE:]]
    ).tolist()
    there = np.where(sends[:, _DUE] <= received[worlds], sends[:, _DUE], -1).tolist()
    tx.many(
        sql.ADD_SHIPMENT,
        [(*row, None if on < 0 else on) for row, on in zip(rows, there, strict=True)],
    )


def _write_stock(tx: Transaction, floor: Floor, lanes: twin.Lanes, before: list[Any], sold: Ints) -> None:
    now: list[Any] = [lanes.on_hand, lanes.backlog, lanes.asked, lanes.level]
    changed = sold > 0
    for old, new in zip(before, now, strict=True):
        changed |= old != new
    where = np.nonzero(changed)
    rows = [array[where] for array in (*now, sold)] + [floor.ids[where[0]], where[1], where[2]]
    tx.many(sql.SET_STOCK, np.column_stack(rows).tolist())


def _log(floor: Floor, chosen: Bools, shipped: Ints, sold: Ints, booked: Booked, journal: Journal) -> None:
    totals = zip(
        chosen.tolist(),
        floor.ids.tolist(),
        floor.day.tolist(),
        shipped.sum(axis=(1, 2)).tolist(),
        sold.sum(axis=(1, 2)).tolist(),
        booked.accounts.sum(axis=(1, 2)).tolist(),
        strict=True,
    )
    for closes, world, day, left, units, money in totals:
        if closes:
            journal.note(world, day, "close_day", f"day/{day}", shipped=left, sold=units, booked=money)


@njit(cache=True)
def _play(setup: Any, chosen: Any, lanes: Any, fresh: Any, shipped: Any, sold: Any, booked: Any) -> Any:
    """Play the day of the chosen worlds; the shipments that left, (n, 6) by world."""
    for n in range(len(fresh)):
        line = fresh[n]
        delay = setup.order_delay[line[LINE_LINK]]
        lanes.mail[line[LINE_WORLD], line[LINE_LINK], line[LINE_SKU], delay] += line[LINE_OWED]
    sends = np.empty((shipped.size * INSTALMENTS, 6), dtype=np.int64)
    n = 0
    for i in range(len(chosen)):
        if chosen[i]:
            _dispatch(setup, lanes, i, shipped[i], booked)
            for a in range(len(setup.source)):
                for k in range(setup.most.shape[1]):
                    if shipped[i, a, k] > 0:
                        n = _send(setup, lanes, i, a, k, shipped[i, a, k], sends, n)
            twin.receive(setup, lanes, i)
            _serve(setup, lanes, i, sold[i], booked)
            _keep_stock(setup, lanes, i, booked)
            _end_day(setup, lanes, i, booked)
    return sends[:n]


@njit(**KERNEL)
def _dispatch(setup: Any, lanes: Any, i: int, shipped: Any, booked: Any) -> None:
    """Decide what leaves over each link, and book what it costs and what stays behind."""
    key, family, t = lanes.key[i], lanes.lane[i, twin.FAMILY], lanes.lane[i, twin.DAY]
    links, skus = shipped.shape
    for a in range(links):
        for k in range(skus):
            lanes.scratch.wanted[a, k] = int(lanes.owed[i, a, k]) + lanes.mail[i, a, k, 0]
            lanes.mail[i, a, k, 0] = 0
        twin._carry(setup, lanes, a, scenario.is_closed(setup, key, family, t, a))
    for s in range(setup.opening.shape[0]):
        for k in range(skus):
            twin._ration(setup, lanes, i, s, k)
    for a in range(links):
        for k in range(skus):
            shipped[a, k] = lanes.scratch.shipped[a, k]
            missing = lanes.scratch.wanted[a, k] - shipped[a, k]
            lanes.owed[i, a, k] = missing if setup.keeps_orders[a] else 0
            cost = scenario.cost_of(setup, key, family, t, a, k) if shipped[a, k] > 0 else 0
            _book(booked, i, rules.PURCHASES, setup.target[a], k, -shipped[a, k] * cost)
            _book(booked, i, rules.SHORTAGE, setup.target[a], k, -missing * setup.unshipped[a, k])


@njit(**KERNEL)
def _send(setup: Any, lanes: Any, i: int, a: int, k: int, units: int, sends: Any, n: int) -> int:
    """Put `units` on their way in instalments; the number of shipments so far."""
    key, family, t = lanes.key[i], lanes.lane[i, twin.FAMILY], lanes.lane[i, twin.DAY]
    way = lanes.way[i, a, k]
    lost = scenario.lost_on_the_way(setup, key, family, t, a, k, units)
    lead = scenario.lead_of(setup, key, family, t, a, k)
    if not setup.crosses[a]:
        for h in range(lead + 1, len(way)):
            lead = h if way[h] > 0 else lead
    for part in range(INSTALMENTS):
        before, after = setup.instalments[a, part], setup.instalments[a, part + 1]
        arrive = rules.instalment(units - lost, before, after) if after > before else 0
        gone = lost if part == 0 else 0
        if arrive + gone == 0:
            continue
        h = min(lead + part, len(way) - 1)
        way[h] += arrive
        row = sends[n]
        row[_WORLD], row[_LINK], row[_SKU] = i, a, k
        row[_DUE], row[_UNITS], row[_LOST] = t + h, arrive, gone
        n += 1
    return n


@njit(**KERNEL)
def _serve(setup: Any, lanes: Any, i: int, sold: Any, booked: Any) -> None:
    """Let customers take what they waited for, then what they came for; learn from what was asked."""
    key, family, t = lanes.key[i], lanes.lane[i, twin.FAMILY], lanes.lane[i, twin.DAY]
    for s in range(sold.shape[0]):
        for k in range(sold.shape[1]):
            if setup.group[s, k] < 0:
                continue
            demand = scenario.demand_of(setup, key, family, t, s, k)
            waiting = int(lanes.backlog[i, s, k])
            sold[s, k] = rules.served(int(lanes.on_hand[i, s, k]), waiting + demand)
            unmet = min(demand, waiting + demand - sold[s, k])
            leave = unmet - scenario.staying(setup, key, t, s, k, unmet)
            backlog = waiting + demand - sold[s, k] - leave
            lanes.on_hand[i, s, k] -= sold[s, k]
            lanes.backlog[i, s, k] = backlog
            lanes.lane[i, twin.DEMANDED] += demand
            lanes.lane[i, twin.MISSED] += unmet
            _book(booked, i, rules.SALES, s, k, sold[s, k] * scenario.price_of(setup, key, family, t, s, k))
            penalty = leave * setup.lost[s, k] + backlog * setup.waiting[s, k]
            _book(booked, i, rules.SHORTAGE, s, k, -penalty)
            factor = scenario.factor_pm(setup, scenario.known_steps(setup, key, family, t, k))
            level = int(lanes.level[i, s, k])
            seen = rules.demand_seen(demand, unmet, setup.waits_pm[s], rules.expected(level, factor))
            lanes.asked[i, s, k] = seen
            lanes.level[i, s, k] = rules.smoothed(level, seen, factor)


@njit(**KERNEL)
def _keep_stock(setup: Any, lanes: Any, i: int, booked: Any) -> None:
    """Book what stock costs, on shelves and on the way."""
    for k in range(setup.most.shape[1]):
        for s in range(setup.opening.shape[0]):
            cost = int(lanes.on_hand[i, s, k]) * setup.holding[s, k]
            _book(booked, i, rules.HOLDING, s, k, -cost)
        for a in range(len(setup.source)):
            if setup.transit[a, k] != 0:
                cost = twin.on_the_way(lanes, i, a, k) * setup.transit[a, k]
                _book(booked, i, rules.HOLDING, setup.target[a], k, -cost)


@njit(**KERNEL)
def _end_day(setup: Any, lanes: Any, i: int, booked: Any) -> None:
    """Go to the next day; after the last one value what is left."""
    lane = lanes.lane[i]
    lane[twin.DAY] += 1
    twin.shift(setup, lanes, i)
    if setup.receives_first == 1:
        twin.receive(setup, lanes, i)
    if lane[twin.DAY] < setup.periods:
        return
    lane[twin.ENDED] = 1
    for k in range(setup.most.shape[1]):
        for s in range(setup.opening.shape[0]):
            value = int(lanes.on_hand[i, s, k]) * setup.salvage[s, k]
            _book(booked, i, rules.SALVAGE, s, k, value)
        for a in range(len(setup.source)):
            s = setup.target[a]
            value = twin.on_the_way(lanes, i, a, k) * setup.salvage[s, k]
            _book(booked, i, rules.SALVAGE, s, k, value)


@njit(**KERNEL)
def _hand_out(setup: Any, chosen: Any, today: Any, lines: Any, shipped: Any) -> None:
    """Give what left to the orders that reached the source, the oldest first; `shipped` is used up."""
    for n in range(len(lines)):
        line = lines[n]
        i, a, k = line[LINE_WORLD], line[LINE_LINK], line[LINE_SKU]
        if not chosen[i] or line[LINE_REACHES] > today[i]:
            continue
        units = min(line[LINE_OWED], shipped[i, a, k])
        shipped[i, a, k] -= units
        line[LINE_SHIPPED] += units
        line[LINE_OWED] -= units
        if line[LINE_OWED] == 0:
            line[LINE_STATUS] = SHIPPED
        elif setup.keeps_orders[a]:
            line[LINE_STATUS] = OPEN
        else:
            line[LINE_OWED], line[LINE_STATUS] = 0, FORGOTTEN
