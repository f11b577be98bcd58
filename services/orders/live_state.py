"""A live world as a canonical `state.State`, byte for byte what the twin says, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from workgym.services.kernel import BadInput
from workgym.services.orders import rules, scenario, season, worlds
from workgym.services.orders import statements as sql
from workgym.services.orders.floor import NO_ORDER_NUMBER, Ints, Journal, see
from workgym.services.orders.rewriting import rewritten
from workgym.services.orders.scenario import Setup
from workgym.services.orders.state import COLUMNS, State
from workgym.services.orders.worlds import Templates
from workgym.services.storage import Transaction, table_of

_STATUS = {name: code for code, name in enumerate(rules.STATUSES)}
_LEVEL = {name: level for level, name in enumerate(rules.SERVICES)}
_ACCOUNT = {name: code for code, name in enumerate(rules.ACCOUNTS)}
_STATUS_AT = 9  # of a row of `orders`
_AT = {column: position for position, column in enumerate(COLUMNS)}


def of_world(tx: Transaction, world: int) -> State:
    """The state of a world.

    Raises:
        NotFound: there is no such world.
        BadInput: it holds an order that was typed in, which no scenario knows.
    """
    floor = see(tx, [world])
    row = floor.rows[0]
    shape = (len(scenario.CENTRES), -1)
    ledger = np.zeros(len(rules.ACCOUNTS), dtype=np.int64)
    for account, cents in tx.rows(sql.SEE_BOOKS, world):
        ledger[_ACCOUNT[account]] = cents
    return State(
        key=int(floor.key[0]),
        family=int(row[sql.WORLD_FAMILY]),
        day=int(row[sql.WORLD_DAY]),
        ended=bool(row[sql.WORLD_ENDED]),
        broken=int(row[sql.WORLD_BROKEN]),
        orders=_orders(tx, world),
        free=table_of(tx.rows(sql.SEE_FREE, world), 1).reshape(shape),
        picks=table_of(tx.rows(sql.PICKS, floor.worlds), 1).ravel(),
        ledger=ledger,
    )


def _orders(tx: Transaction, world: int) -> Ints:
    """(n, 8) the columns of a canonical state."""
    rows = tx.rows(sql.SEE_ORDERS, world)
    typed_in = [row[-1] for row in rows if row[0] is None]
    if typed_in:
        raise BadInput(
            f"expected orders of the web shop only, found order {typed_in[0]} typed in by hand; "
            "such a world stays where it is, its scenario does not know the order"
        )
    orders = np.zeros((len(rows), len(COLUMNS)), dtype=np.int64)
    plain = [
        (b, region, first, placed, promise, _STATUS[s], 0, seen)
        for b, region, first, placed, promise, s, seen, _ in rows
    ]
    orders[:] = table_of(plain, len(COLUMNS))
    place = {row[-1]: position for position, row in enumerate(rows)}
    parcels = orders[:, _AT[scenario.PARCELS]]
    for number, centre, service in tx.rows(sql.SEE_SHIPMENTS, world):
        parcels[place[number]] = rules.pack(int(parcels[place[number]]), centre, _LEVEL[service])
    return orders


def into_world(
    tx: Transaction, templates: Templates, world: int, name: str, state: State, actor: str = "snapshot"
) -> None:
    """Put a state into a world, whatever it held; it need not exist.

    What a state does not tell is brought back from the episode's key (patience, deliveries on their
    way) or summed up: postings of orders that have left become one brought-forward entry an account.
    Of a split order a state tells which centres ship and how, not which of them ships which line;
    lines are then dealt out in turn.

    Raises:
        BadInput: the state belongs to a season with other constants.
    """
    setup = templates.setup
    _require_fit(setup, state)
    worlds.reopen(tx, templates, [world], [name], [state.key], [state.family])
    tx.run(sql.SET_WORLD, state.day, int(state.ended), len(state.orders), state.broken, world)
    written = rewritten(setup, world, state)
    tx.many(sql.ADD_ORDER, _with_status(written.heads))
    tx.many(sql.ADD_LINE, _with_centre(written.lines))
    tx.many(sql.ADD_SHIPMENT, _with_service(written.parcels))
    tx.many(sql.SET_STOCK, written.stock.tolist())
    picks = np.column_stack([state.picks, np.full(len(state.picks), world), np.arange(len(state.picks))])
    tx.many(sql.SET_PICKS, picks.tolist())
    coming = season.on_the_way(setup, state.key, state.family, min(state.day, setup.days - 1))
    tx.many(sql.ANNOUNCE, [(world, world, *row) for row in coming.tolist()])
    journal = Journal(actor)
    journal.post(written.postings)
    journal.post(_brought_forward(world, state, journal))
    journal.note(world, state.day, "restore", f"day/{state.day}", state=state.digest())
    journal.write(tx)


def _require_fit(setup: Setup, state: State) -> None:
    if state.free.shape != setup.stock.shape or len(state.orders) > setup.max_orders:
        raise BadInput(
            f"expected a state of {setup.stock.shape[0]} centres x {setup.stock.shape[1]} SKUs, "
            f"found {state.free.shape}; restore it into a season made with the same arguments"
        )
    baskets = state.orders[:, _AT[scenario.BASKET]]
    if len(baskets) and not 0 <= baskets.min() <= baskets.max() < len(setup.facts):
        raise BadInput(
            f"expected baskets 0..{len(setup.facts) - 1}, found others; this is another shop's state"
        )


def _brought_forward(world: int, state: State, journal: Journal) -> Ints:
    """What the orders' own postings do not explain of the books, one entry an account."""
    rest = state.ledger - journal.earned(np.array([world]))[:, 0]
    accounts = np.flatnonzero(rest)
    same = np.ones_like(accounts)
    return np.column_stack([same * world, same * state.day, same * NO_ORDER_NUMBER, accounts, rest[accounts]])


def _with_status(heads: Ints) -> list[list[Any]]:
    rows: list[list[Any]] = heads.tolist()
    for row in rows:
        row[_STATUS_AT] = rules.STATUSES[row[_STATUS_AT]]
    return rows


def _with_centre(lines: Ints) -> list[list[Any]]:
    rows: list[list[Any]] = lines.tolist()
    for row in rows:
        row[-1] = None if row[-1] < 0 else row[-1]
    return rows


def _with_service(parcels: Ints) -> list[list[Any]]:
    rows: list[list[Any]] = parcels.tolist()
    for row in rows:
        row[3] = rules.SERVICES[row[3]]
        row[5] = None if row[5] < 0 else row[5]
    return rows
