"""The live service's tables: what buyers and warehouses write down, for many worlds side by side.

Every row but a network belongs to a world. Periods count from 0 within a world; quantities are whole
units, money is whole units of the network's currency.

A foreign key is checked when its statement ends, so rows go in parents first and out children first:
`metadata.sorted_tables` is that order.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
)

from workgym.services.audit import audit_table
from workgym.services.once import idempotency_table
from workgym.services.storage import CLUSTERED, SERIAL
from workgym.services.supply_chain.rules import ACCOUNTS

MAILED, OPEN, SHIPPED, FORGOTTEN, CANCELLED = range(5)
STATUSES = ("mailed", "open", "shipped", "forgotten", "cancelled")
BEFORE = -1  # period in which goods left that were on their way when the world was opened or restored

metadata = MetaData()


def _world() -> Column[int]:
    return Column("world_id", SERIAL, ForeignKey("worlds.id"), primary_key=True, autoincrement=False)


def _key(name: str) -> Column[int]:
    return Column(name, Integer, primary_key=True, autoincrement=False)


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False)


def _belongs_to(table: str, column: str, name: str | None = None) -> ForeignKeyConstraint:
    """A row of the same world."""
    return ForeignKeyConstraint(["world_id", name or column], [f"{table}.world_id", f"{table}.{column}"])


networks = Table(
    "networks",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),  # JSON
    Column("history", Text, nullable=False),  # digest of the demand that its worlds replay, '' to draw it
)

worlds = Table(
    "worlds",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("network", Text, ForeignKey("networks.digest"), nullable=False),
    Column("key", BigInteger, nullable=False),  # of the scenario's episode: its 64 bits as a signed number
    Column("family", SmallInteger, nullable=False),
    Column("day", Integer, nullable=False),
    Column("periods", Integer, nullable=False),
    Column("ended", SmallInteger, nullable=False),
    Column("demanded", BigInteger, nullable=False),  # units that customers have asked for
    Column("missed", BigInteger, nullable=False),  # units of them that were not served at once
    Column("ordered", Integer, nullable=False),  # orders so far; the number of the next one
    Column("sent", Integer, nullable=False),  # shipments so far; the number of the next one
    CheckConstraint("day >= 0 AND day <= periods", name="day_in_episode"),
    CheckConstraint("ended = CASE WHEN day = periods THEN 1 ELSE 0 END", name="ends_with_the_last_day"),
    CheckConstraint("0 <= missed AND missed <= demanded", name="missed_was_demanded"),
    CheckConstraint("ordered >= 0 AND sent >= 0 AND family >= 0", name="counters_count"),
)

nodes = Table(
    "nodes",
    metadata,
    _world(),
    _key("node"),
    Column("name", Text, nullable=False),
    UniqueConstraint("world_id", "name"),
    **CLUSTERED,
)

skus = Table(
    "skus",
    metadata,
    _world(),
    _key("sku"),
    Column("code", Text, nullable=False),
    UniqueConstraint("world_id", "code"),
    **CLUSTERED,
)

links = Table(
    "links",
    metadata,
    _world(),
    _key("link"),
    Column("source", Integer),  # NULL: a supplier that never runs out
    _count("target"),
    _belongs_to("nodes", "node", "source"),
    _belongs_to("nodes", "node", "target"),
    CheckConstraint("source <> target", name="between_two_nodes"),
    **CLUSTERED,
)

stock = Table(
    "stock",
    metadata,
    _world(),
    _key("node"),
    _key("sku"),
    _count("opening"),  # units on the shelf when the world was opened or restored
    _count("on_hand"),
    _count("backlog"),  # units that customers wait for
    _count("asked"),  # in the last period, as far as the node saw it
    _count("level"),  # estimated demand of a usual period, 1/256 units
    _count("sold"),  # units since then
    _belongs_to("nodes", "node"),
    _belongs_to("skus", "sku"),
    CheckConstraint("opening >= 0 AND on_hand >= 0 AND backlog >= 0", name="stock_is_counted"),
    CheckConstraint("asked >= 0 AND level >= 0 AND sold >= 0", name="demand_is_counted"),
    **CLUSTERED,
)

policies = Table(
    "policies",
    metadata,
    _world(),
    _key("node"),
    _key("sku"),
    _count("reorder_point"),  # order when the inventory position is here or lower
    _count("base_stock"),  # order up to here
    _count("version"),
    _belongs_to("nodes", "node"),
    _belongs_to("skus", "sku"),
    CheckConstraint("0 <= reorder_point AND reorder_point <= base_stock", name="levels_in_order"),
    **CLUSTERED,
)

orders = Table(
    "orders",
    metadata,
    _world(),
    _key("number"),
    _count("link"),
    _count("placed_on"),
    _belongs_to("links", "link"),
    CheckConstraint(f"number >= 0 AND placed_on >= {BEFORE}", name="orders_are_numbered"),
    **CLUSTERED,
)

_IN_HAND: ColumnElement[bool] = literal_column("owed > 0")
order_lines = Table(
    "order_lines",
    metadata,
    Column("world_id", SERIAL, primary_key=True, autoincrement=False),
    _key("number"),
    _key("sku"),
    _count("units"),  # that were ordered, in whole packs
    _count("shipped"),
    _count("owed"),  # units that the source still has to ship
    _count("reaches_on"),  # period in which the order reaches its source
    Column("status", SmallInteger, nullable=False),  # position in STATUSES
    _belongs_to("orders", "number"),
    _belongs_to("skus", "sku"),
    CheckConstraint("units > 0 AND shipped >= 0 AND owed >= 0", name="something_is_ordered"),
    CheckConstraint("shipped + owed <= units", name="no_more_than_ordered"),
    CheckConstraint(
        f"(owed > 0) = (status IN ({MAILED}, {OPEN})) AND status BETWEEN 0 AND {len(STATUSES) - 1}",
        name="owed_while_in_hand",
    ),
    CheckConstraint(f"status <> {MAILED} OR shipped = 0", name="nothing_leaves_from_the_mail"),
    CheckConstraint(f"status <> {SHIPPED} OR shipped = units", name="shipped_in_full"),
    Index("lines_in_hand", "world_id", "number", sqlite_where=_IN_HAND, postgresql_where=_IN_HAND),
    **CLUSTERED,
)

_ON_THE_WAY: ColumnElement[bool] = literal_column("received_on IS NULL")
shipments = Table(
    "shipments",
    metadata,
    Column("world_id", SERIAL, primary_key=True, autoincrement=False),
    _key("number"),
    _count("link"),
    _count("sku"),
    _count("sent_on"),  # BEFORE: on its way when the world was opened or restored
    _count("due_on"),
    _count("units"),  # that arrive
    _count("lost"),  # that left with them and never arrive
    Column("received_on", Integer),  # NULL while it travels
    _belongs_to("links", "link"),
    _belongs_to("skus", "sku"),
    CheckConstraint("units >= 0 AND lost >= 0 AND units + lost > 0", name="something_is_sent"),
    CheckConstraint(f"sent_on >= {BEFORE} AND due_on >= sent_on", name="arrives_after_it_left"),
    CheckConstraint("received_on >= due_on", name="not_received_before_it_is_due"),
    Index("shipments_on_the_way", "world_id", sqlite_where=_ON_THE_WAY, postgresql_where=_ON_THE_WAY),
    **CLUSTERED,
)

ledger = Table(
    "ledger",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("world_id", SERIAL, ForeignKey("worlds.id"), nullable=False),
    _count("day"),
    Column("node", Integer),  # NULL: carried forward, of no single node
    Column("account", SmallInteger, nullable=False),  # position in `rules.ACCOUNTS`
    Column("money", BigInteger, nullable=False),
    _belongs_to("nodes", "node"),
    CheckConstraint(f"account BETWEEN 0 AND {len(ACCOUNTS) - 1}", name="known_account"),
    CheckConstraint("money <> 0", name="something_is_posted"),
    Index("ledger_by_world", "world_id"),
)

audit = audit_table(metadata)
idempotency = idempotency_table(metadata)
