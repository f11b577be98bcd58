"""The bakery's tables and verbs. Every verb is one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from bakery.rules import ACCOUNTS, FAMILIES, State, bake, state_from
from workgym.services.audit import append, audit_table
from workgym.services.kernel import BadInput, Conflict, NotFound, Refused, did_you_mean
from workgym.services.once import Request, carry_out, idempotency_table
from workgym.services.scenario import episode_key
from workgym.services.storage import SERIAL, Database, Transaction
from workgym.services.worlds import WorldStore

metadata = MetaData()
worlds = Table(
    "worlds",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("key", BigInteger, nullable=False),  # 64 bits, as the signed number that databases know
    *(Column(name, Integer, nullable=False) for name in ("family", "day", "shelf", "asked", "missed")),
)
ledger = Table(
    "ledger",
    metadata,
    Column("world_id", SERIAL, ForeignKey("worlds.id"), primary_key=True, autoincrement=False),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("account", Text, primary_key=True),
    Column("cents", Integer, nullable=False),
)
audit = audit_table(metadata)
idempotency = idempotency_table(metadata)


@dataclass(frozen=True)
class World:
    """A bakery and how it stands."""

    id: int
    name: str
    family: str
    day: int
    shelf: int
    missed: int
    profit_cents: int
    ended: bool


class Store(WorldStore):
    """All bakeries of one database."""

    metadata = metadata

    def __init__(self, database: Database) -> None:
        self.database = database
        database.create(metadata)

    def open_world(self, name: str, *, seed: int = 0, family: str = "usual", actor: str = "system") -> World:
        """A new bakery on its first morning (Conflict, BadInput)."""
        if family not in FAMILIES:
            raise BadInput(did_you_mean("family", family, list(FAMILIES)))
        state = State(int(episode_key(np.uint64(0), seed, 0)), FAMILIES.index(family))
        with self.database.write() as tx:
            world = open_world(tx, name, state)
            append(tx, [(world, 0, actor, "open_world", f"world/{world}", json.dumps({"seed": seed}))])
            return _world(tx, world)

    def worlds(self) -> list[World]:
        """All bakeries."""
        with self.database.read() as tx:
            ids = tx.connection.execute(select(worlds.c.id).order_by(worlds.c.name)).scalars().all()
            return [_world(tx, world) for world in ids]

    def world(self, world: int, /) -> World:
        """One bakery (NotFound)."""
        with self.database.read() as tx:
            return _world(tx, world)

    def drop_world(self, world: int) -> None:
        """Remove a bakery with everything in it (NotFound)."""
        with self.database.write() as tx:
            read_state(tx, world, lock=True)
            drop_worlds(tx, [world])

    def bake(self, world: int, loaves: int, *, actor: str, idempotency_key: str | None = None) -> World:
        """Bake in the morning and sell until the evening (Refused, NotFound, Conflict)."""

        def act(tx: Transaction, state: State) -> World:
            if state.ended:
                raise Refused("the month is over", 2)
            play(tx, world, state, loaves, actor)
            return _world(tx, world)

        request = Request(world, "bake", actor, idempotency_key, (loaves,))
        return carry_out(self.database, request, World, lambda tx: read_state(tx, world, lock=True), act)

    def snapshot(self, world: int) -> bytes:
        """The canonical state; a twin reads it too."""
        with self.database.read() as tx:
            return read_state(tx, world).to_bytes()

    def restore(self, world: int, data: bytes, *, actor: str = "system") -> World:
        """Put a canonical state into a bakery, whatever it held."""
        state = state_from(data)
        with self.database.write() as tx:
            read_state(tx, world, lock=True)
            write_state(tx, world, state)
            append(tx, [(world, state.day, actor, "restore", f"world/{world}", "{}")])
            return _world(tx, world)

    @staticmethod
    def _take(tx: Transaction, ids: Sequence[int]) -> object:
        return [read_state(tx, world, lock=True) for world in ids]

    @staticmethod
    def _see(tx: Transaction, ids: Sequence[int]) -> object:
        return [read_state(tx, world) for world in ids]


def open_world(tx: Transaction, name: str, state: State) -> int:
    """Write a bakery down; its id."""
    if tx.connection.execute(select(worlds.c.id).where(worlds.c.name == name)).first():
        raise Conflict(f"there is a world named {name!r} already; choose another name, or drop it")
    row = {"name": name, **_columns(state)}
    world = int(tx.connection.execute(insert(worlds).values(row).returning(worlds.c.id)).scalar_one())
    write_state(tx, world, state)
    return world


def read_state(tx: Transaction, world: int, *, lock: bool = False) -> State:
    """What a bakery's rows say (NotFound)."""
    query = select(worlds).where(worlds.c.id == world)
    row = tx.connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound(f"no world with id {world}; open one, or list them")
    books = dict.fromkeys(ACCOUNTS, 0)
    for account, cents in tx.connection.execute(
        select(ledger.c.account, ledger.c.cents).where(ledger.c.world_id == world)
    ):
        books[account] += cents
    return State(
        row.key % 2**64, row.family, row.day, row.shelf, row.asked, row.missed, tuple(books.values())
    )


def write_state(tx: Transaction, world: int, state: State) -> None:
    """Make a bakery's rows say what a state says; its books become one entry an account."""
    tx.connection.execute(delete(ledger).where(ledger.c.world_id == world))
    _post(tx, world, -1, state.cents)
    _set(tx, world, state)


def play(tx: Transaction, world: int, state: State, loaves: int, actor: str) -> tuple[State, tuple[int, ...]]:
    """A day, in the tables (Refused)."""
    after, booked = bake(state, loaves)
    _set(tx, world, after)
    _post(tx, world, state.day, booked)
    append(tx, [(world, state.day, actor, "bake", f"day/{state.day}", json.dumps({"loaves": loaves}))])
    return after, booked


def drop_worlds(tx: Transaction, ids: Iterable[int]) -> None:
    """Remove bakeries; the audit log goes with its world."""
    chosen = list(ids)
    for table in (ledger, idempotency):
        tx.connection.execute(delete(table).where(table.c.world_id.in_(chosen)))
    tx.connection.execute(delete(worlds).where(worlds.c.id.in_(chosen)))


def _set(tx: Transaction, world: int, state: State) -> None:
    tx.connection.execute(update(worlds).where(worlds.c.id == world).values(_columns(state)))


def _post(tx: Transaction, world: int, day: int, cents: Sequence[int]) -> None:
    rows = [
        {"world_id": world, "day": day, "account": account, "cents": amount}
        for account, amount in zip(ACCOUNTS, cents, strict=True)
        if amount
    ]
    if rows:
        tx.connection.execute(insert(ledger), rows)


def _columns(state: State) -> dict[str, int]:
    numbers = {name: getattr(state, name) for name in ("family", "day", "shelf", "asked", "missed")}
    return {"key": state.key - 2**64 if state.key >= 2**63 else state.key, **numbers}


def _world(tx: Transaction, world: int) -> World:
    state = read_state(tx, world)
    name = tx.connection.execute(select(worlds.c.name).where(worlds.c.id == world)).scalar_one()
    family, profit = FAMILIES[state.family], sum(state.cents)
    return World(world, name, family, state.day, state.shelf, state.missed, profit, state.ended)
