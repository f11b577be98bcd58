"""The scenario at work: what happens to worlds whose customers, suppliers and carriers are simulated.

It calls the same verbs as people do, for many worlds in one transaction, with what the compiled
functions of `scenario` say for each world's key and day.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from workgym.services.orders import days, rules, scenario
from workgym.services.orders import statements as sql
from workgym.services.orders.floor import Floor, Ints, Journal
from workgym.services.orders.scenario import Setup
from workgym.services.storage import Transaction, table_of

CUSTOMERS_PER_REGION = 8
ANNOUNCED_AHEAD = scenario.CYCLE_DAYS  # days: suppliers confirm one replenishment cycle at a time
_HEAD_WIDTH, _LINE_WIDTH, _DELIVERY_WIDTH = 14, 6, 5


def begin(tx: Transaction, setup: Setup, floor: Floor, journal: Journal) -> None:
    """Open the first day, and go on to the first day with work."""
    _announce(tx, setup, floor, 1, ANNOUNCED_AHEAD)
    open_day(tx, setup, floor, journal)
    pass_idle_days(tx, setup, floor, journal)


def open_day(tx: Transaction, setup: Setup, floor: Floor, journal: Journal) -> None:
    """Receive what suppliers bring, let customers go, take new orders, open the centres."""
    _receive(tx, setup, floor, journal)
    picks = _capacities(setup, floor.key, floor.rows[:, sql.WORLD_FAMILY], floor.day)
    days.set_picks(tx, floor, picks)
    days.withdraw_impatient(tx, floor, journal)
    _place(tx, setup, floor, journal)


def next_day(tx: Transaction, setup: Setup, floor: Floor, journal: Journal) -> Floor:
    """Close the day and open the next; the worlds whose season goes on."""
    days.close_day(tx, setup, floor, journal)
    going = floor.only(tx, floor.rows[:, sql.WORLD_ENDED] == 0)
    if len(going):
        _announce(tx, setup, going, ANNOUNCED_AHEAD, ANNOUNCED_AHEAD)
        open_day(tx, setup, going, journal)
    return going


def pass_idle_days(tx: Transaction, setup: Setup, floor: Floor, journal: Journal) -> None:
    """Go on, world by world, until an order waits for a decision or the season is over."""
    idle = floor.only(tx, days.without_work(tx, floor) & (floor.rows[:, sql.WORLD_ENDED] == 0))
    while len(idle):
        going = next_day(tx, setup, idle, journal)
        idle = going.only(tx, days.without_work(tx, going)) if len(going) else going


def _announce(tx: Transaction, setup: Setup, floor: Floor, first: int, last: int) -> None:
    """Write down the deliveries that suppliers promise for `first` to `last` days from now."""
    rows = _announced(setup, floor.ids, floor.key, floor.rows[:, sql.WORLD_FAMILY], floor.day, first, last)
    tx.many(sql.ANNOUNCE, rows[:, [0, *range(rows.shape[1])]].tolist())


def _receive(tx: Transaction, setup: Setup, floor: Floor, journal: Journal) -> None:
    rows = tx.rows(sql.ON_THE_WAY, floor.worlds)
    if rows:
        here = _arrived(
            setup, floor.ids, floor.key, floor.rows[:, sql.WORLD_FAMILY], floor.day, table_of(rows, 6)
        )
        days.receive(tx, floor, [row for row, came in zip(rows, here, strict=True) if came], journal)


def _place(tx: Transaction, setup: Setup, floor: Floor, journal: Journal) -> None:
    most = len(floor) * int(setup.arrivals.max())
    heads = np.empty((most, _HEAD_WIDTH), dtype=np.int64)
    lines = np.empty((most * rules.MAX_LINES, _LINE_WIDTH), dtype=np.int64)
    n, m = _orders_of_day(setup, floor.rows, floor.key, heads, lines)
    if n:
        days.place(tx, floor, heads[:n], lines[:m], journal)


@njit(cache=True)
def _orders_of_day(setup: Any, worlds: Any, keys: Any, heads: Any, lines: Any) -> Any:
    """Fill `heads` and `lines` with the day's orders; how many of each."""
    rows = np.zeros((setup.arrivals.max(), scenario.ORDER_WIDTH), dtype=np.int32)
    n, m = 0, 0
    for i in range(len(worlds)):
        world, day = worlds[i, sql.WORLD_ID], worlds[i, sql.WORLD_DAY]
        count = scenario.arrive(setup, keys[i], worlds[i, sql.WORLD_FAMILY], day, rows)
        for o in range(count):
            row, head = rows[o], heads[n]
            basket, region = row[scenario.BASKET], row[scenario.REGION]
            facts = setup.facts[basket]
            head[0], head[1] = world, worlds[i, sql.WORLD_PLACED] + o
            head[2], head[3] = region * CUSTOMERS_PER_REGION + basket % CUSTOMERS_PER_REGION, basket
            head[4], head[5] = region, row[scenario.PRIORITY]
            head[6], head[7] = row[scenario.PLACED], row[scenario.PROMISE]
            head[8], head[9] = row[scenario.GIVE_UP], facts[scenario.LINES]
            head[10], head[11] = facts[scenario.UNITS], facts[scenario.WEIGHT]
            head[12], head[13] = facts[scenario.VALUE], facts[scenario.COST]
            for line in range(facts[scenario.LINES]):
                out = lines[m]
                out[0], out[1], out[2] = world, head[1], line
                out[3], out[4] = setup.line_sku[basket, line], setup.line_qty[basket, line]
                out[5] = setup.line_weight[basket, line]
                m += 1
            n += 1
    return n, m


@njit(cache=True)
def _capacities(setup: Any, keys: Any, families: Any, today: Any) -> Any:
    """(B, C) lines that each centre can pick today."""
    picks = np.empty((len(keys), setup.zone.shape[0]), dtype=np.int64)
    for i in range(len(keys)):
        for centre in range(setup.zone.shape[0]):
            picks[i, centre] = scenario.capacity_today(setup, keys[i], families[i], centre, today[i])
    return picks


@njit(cache=True)
def _announced(setup: Any, ids: Any, keys: Any, families: Any, today: Any, first: int, last: int) -> Any:
    """(n, 5) world, centre, SKU, units, date of replenishments due `first` to `last` days from today."""
    n_centres, n_skus = setup.stock.shape
    out = np.empty((len(ids) * n_centres * n_skus * (last - first + 1), _DELIVERY_WIDTH), dtype=np.int64)
    n = 0
    for i in range(len(ids)):
        for eta in range(today[i] + first, today[i] + last + 1):
            for centre in range(n_centres):
                for sku in range((eta - centre) % scenario.CYCLE_DAYS, n_skus, scenario.CYCLE_DAYS):
                    units = scenario.inbound_units(setup, keys[i], families[i], centre, sku, eta)
                    if units > 0:
                        row = out[n]
                        row[0], row[1], row[2], row[3], row[4] = ids[i], centre, sku, units, eta
                        n += 1
    return out[:n]


@njit(cache=True)
def _arrived(setup: Any, ids: Any, keys: Any, families: Any, today: Any, deliveries: Any) -> Any:
    """(n,) whether the supplier has brought each delivery: rows of `ON_THE_WAY`."""
    here = np.zeros(len(deliveries), dtype=np.bool_)
    for d in range(len(deliveries)):
        world, centre, sku, eta = deliveries[d, 0], deliveries[d, 2], deliveries[d, 3], deliveries[d, 5]
        i = np.searchsorted(ids, world)
        late = scenario.inbound_delay(setup, keys[i], families[i], centre, sku, eta)
        here[d] = eta + late <= today[i]
    return here


def on_the_way(setup: Setup, key: int, family: int, day: int) -> Ints:
    """(n, 4) centre, SKU, units, date of what is confirmed and has not come by the end of `day`."""
    keys, families = np.array([key], dtype=np.uint64), np.array([family], dtype=np.int64)
    here, today = np.zeros(1, dtype=np.int64), np.array([day], dtype=np.int64)
    rows = _announced(setup, here, keys, families, today, 1 - day, ANNOUNCED_AHEAD)
    asked = np.column_stack([rows[:, 0], rows])
    came = _arrived(setup, here, keys, families, today, asked)
    confirmed: Ints = rows[~came, 1:]
    return confirmed
