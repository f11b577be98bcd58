"""What a day does to worlds, set-wise: the wave leaves, deliveries arrive, orders come, customers go."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from workgym.services.orders import desk, rules, scenario
from workgym.services.orders import statements as sql
from workgym.services.orders.floor import Bools, Floor, Ints, Journal
from workgym.services.orders.scenario import Setup
from workgym.services.storage import Row, Transaction, table_of

_LEVEL = {name: level for level, name in enumerate(rules.SERVICES)}

# Columns of a parcel of the wave.
_WORLD, _NUMBER, _REGION, _PRIORITY, _PROMISE, _REVIEWED, _CENTRE, _SERVICE = range(8)
# Columns of what the carriers do to an order.
SURPRISE_WORLD, SURPRISE_NUMBER, SURPRISE_CENTS, SURPRISE_BROKEN = range(4)


def ship_wave(tx: Transaction, setup: Setup, floor: Floor, journal: Journal) -> Ints:
    """Let everything allocated leave.

    Returns:
        (orders, 4) what the carriers do to the promise of each order that left: columns `SURPRISE_*`.
    """
    parcels = [(*row[:_SERVICE], _LEVEL[row[_SERVICE]]) for row in tx.rows(sql.WAVE, floor.worlds)]
    surprises: Ints = _surprises(setup, floor.ids, floor.key, table_of(parcels, 8))
    if len(surprises):
        days = floor.day_of(surprises[:, SURPRISE_WORLD])
        tx.run(sql.SHIP_ORDERS, floor.worlds)
        tx.run(sql.LEAVE_SHELF, floor.worlds)
        tx.many(sql.HAND_OVER, np.column_stack([days, surprises[:, :2]]).tolist())
        late = surprises[:, SURPRISE_CENTS] != 0
        journal.post(
            _postings(surprises[late, :2], days[late], rules.LATENESS, surprises[late, SURPRISE_CENTS])
        )
        journal.broke(surprises[:, [SURPRISE_BROKEN, SURPRISE_WORLD]])
        _log_wave(floor, surprises, journal)
    return surprises


def _log_wave(floor: Floor, surprises: Ints, journal: Journal) -> None:
    at = np.searchsorted(floor.ids, surprises[:, SURPRISE_WORLD])
    totals = np.zeros((len(floor), 3), dtype=np.int64)  # orders, cents, broken
    np.add.at(totals, at, np.column_stack([np.ones_like(at), surprises[:, SURPRISE_CENTS:]]))
    heads = zip(floor.ids.tolist(), floor.day.tolist(), totals.tolist(), strict=True)
    journal.log(
        (world, day, "ship_wave", f"day/{day}", f'{{"orders": {n}, "lateness": {cents}, "broken": {broken}}}')
        for world, day, (n, cents, broken) in heads
        if n
    )


def _postings(orders: Ints, days: Ints, account: int, cents: Ints) -> Ints:
    """(n, 5) rows for the journal, of (n, 2) world and order."""
    accounts = np.full(len(orders), account, dtype=np.int64)
    return np.column_stack([orders[:, 0], days, orders[:, 1], accounts, cents])


@njit(cache=True)
def _surprises(setup: Any, ids: Any, keys: Any, parcels: Any) -> Any:
    """(orders, 4) what the carriers do to each order; its parcels stand together."""
    out = np.empty((len(parcels), 4), dtype=np.int64)
    row = np.zeros(scenario.ORDER_WIDTH, dtype=np.int32)
    n = 0
    for p in range(len(parcels)):
        parcel = parcels[p]
        row[scenario.PARCELS] = rules.pack(row[scenario.PARCELS], parcel[_CENTRE], parcel[_SERVICE])
        following = parcels[min(p + 1, len(parcels) - 1)]
        same = following[_WORLD] == parcel[_WORLD] and following[_NUMBER] == parcel[_NUMBER]
        if p + 1 < len(parcels) and same:
            continue
        row[scenario.REGION], row[scenario.PRIORITY] = parcel[_REGION], parcel[_PRIORITY]
        row[scenario.PROMISE], row[scenario.REVIEWED] = parcel[_PROMISE], parcel[_REVIEWED]
        key = keys[np.searchsorted(ids, parcel[_WORLD])]
        cents, broken = desk.carrier_surprise(setup, key, parcel[_NUMBER], row)
        out[n, 0], out[n, 1], out[n, 2], out[n, 3] = parcel[_WORLD], parcel[_NUMBER], cents, broken
        n += 1
        row[scenario.PARCELS] = 0
    return out[:n]


def close_day(tx: Transaction, setup: Setup, floor: Floor, journal: Journal) -> None:
    """Ship what is allocated and go to the next day; after the last one apologise to all who wait."""
    ship_wave(tx, setup, floor, journal)
    _lose_promises(tx, setup, floor, journal)
    tx.run(sql.NEXT_DAY, floor.worlds)
    journal.log(
        (world, day, "close_day", f"day/{day}", "{}")
        for world, day in zip(floor.ids.tolist(), floor.day.tolist(), strict=True)
    )
    floor.rows[:, sql.WORLD_DAY] += 1
    ended = floor.day >= floor.rows[:, sql.WORLD_DAYS]
    floor.rows[:, sql.WORLD_ENDED] = ended
    if not ended.all():
        tx.run(sql.REFRESH_PICKS, floor.only(tx, ~ended).worlds)
    if ended.any():
        over = floor.only(tx, ended)
        rows = tx.rows(sql.STILL_WAITING, over.worlds)
        _let_go(tx, over, rows, rules.CANCELLED, journal)
        promises = np.array([(row[0], *row[4:]) for row in rows], dtype=np.int64).reshape(-1, 3)
        journal.broke(_counted(_keepable(setup, promises, over.day_of(promises[:, 0])), promises))


def _lose_promises(tx: Transaction, setup: Setup, floor: Floor, journal: Journal) -> None:
    """Count the promises of orders that nobody looked at today and that cannot be kept tomorrow."""
    promises = table_of(tx.rows(sql.NEGLECTED, floor.worlds), 3)
    if len(promises):
        today = floor.day_of(promises[:, 0])
        lost = _keepable(setup, promises, today) - _keepable(setup, promises, today + 1)
        journal.broke(_counted(lost, promises))


def _counted(broken: Ints, promises: Ints) -> Ints:
    """(n, 2) rows for the journal."""
    return np.column_stack([broken, promises[:, 0]])


@njit(cache=True)
def _keepable(setup: Any, promises: Any, today: Any) -> Any:
    """(n,) whether each promise, (n, 3) world, region, day, can still be kept."""
    out = np.empty(len(promises), dtype=np.int64)
    for p in range(len(promises)):
        out[p] = desk.keepable(setup, promises[p, 1], promises[p, 2], today[p])
    return out


def withdraw_impatient(tx: Transaction, floor: Floor, journal: Journal) -> None:
    """Let the customers go who have given up waiting; their promises were lost before."""
    _let_go(tx, floor, tx.rows(sql.IMPATIENT, floor.worlds), rules.WITHDRAWN, journal)


def _let_go(tx: Transaction, floor: Floor, rows: list[Row], status: int, journal: Journal) -> None:
    """Close orders that nobody will ship, and post what the department pays for it."""
    if not rows:
        return
    withdrawn = status == rules.WITHDRAWN
    cost = rules.withdrawal if withdrawn else rules.goodwill
    orders = np.array([row[:2] for row in rows], dtype=np.int64)
    cents = np.array([-cost(value, priority) for _, _, value, priority, _, _ in rows], dtype=np.int64)
    days = floor.day_of(orders[:, 0])
    name = rules.STATUSES[status]
    tx.many(sql.SET_STATUS, [(name, world, number) for world, number in orders.tolist()])
    journal.post(_postings(orders, days, rules.GOODWILL, cents))
    verb, said = ("withdraw", "{}") if withdrawn else ("cancel", '{"by": "the season"}')
    journal.log(
        (world, day, verb, f"order/{number}", said)
        for (world, number), day in zip(orders.tolist(), days.tolist(), strict=True)
    )


def receive(tx: Transaction, floor: Floor, deliveries: list[Row], journal: Journal) -> None:
    """Put deliveries on the shelf: rows of `ON_THE_WAY`."""
    if not deliveries:
        return
    days = floor.day_of(np.array([row[0] for row in deliveries], dtype=np.int64)).tolist()
    tx.many(sql.RECEIVE, [(day, *row[:2]) for day, row in zip(days, deliveries, strict=True)])
    tx.many(sql.STORE, [(units, world, sku, centre) for world, _, centre, sku, units, _ in deliveries])
    journal.log(
        (row[0], day, "receive", f"delivery/{row[1]}", f'{{"units": {row[4]}}}')
        for day, row in zip(days, deliveries, strict=True)
    )


def place(tx: Transaction, floor: Floor, heads: Ints, lines: Ints, journal: Journal) -> None:
    """Accept orders.

    Args:
        tx: the transaction.
        floor: the worlds, taken.
        heads: (n, 14) rows of `PLACE`, by world, numbers following those placed before.
        lines: (m, 6) rows of `PLACE_LINE`.
        journal: what is logged.
    """
    tx.many(sql.PLACE, heads.tolist())
    tx.many(sql.PLACE_LINE, lines.tolist())
    more = np.bincount(np.searchsorted(floor.ids, heads[:, 0]), minlength=len(floor))
    tx.many(sql.COUNT_PLACED, np.column_stack([more, floor.ids]).tolist())
    floor.rows[:, sql.WORLD_PLACED] += more
    journal.log(
        (world, day, "place", f"order/{number}", f'{{"reference": {reference}}}')
        for world, number, reference, day in heads[:, [0, 1, 3, 6]].tolist()
    )


def set_picks(tx: Transaction, floor: Floor, picks: Ints) -> None:
    """Open the centres for the day with (B, C) lines that they can pick."""
    n, centres = picks.shape
    rows = np.column_stack([picks.ravel(), np.repeat(floor.ids, centres), np.tile(np.arange(centres), n)])
    tx.many(sql.SET_PICKS, rows.tolist())


def without_work(tx: Transaction, floor: Floor) -> Bools:
    """(B,) worlds where no order waits for today's decision."""
    busy = [row[0] for row in tx.rows(sql.WAITING_TODAY, floor.worlds)]
    return ~np.isin(floor.ids, busy)
