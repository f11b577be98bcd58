"""The live service's tables: what an order department writes down, for many worlds side by side.

Every row belongs to a world. Days count from 0 within a world; money is integer cents.

A foreign key is checked when its statement ends, so rows go in parents first and out children first:
`metadata.sorted_tables` is that order.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

from workgym.services.audit import audit_table
from workgym.services.once import idempotency_table
from workgym.services.orders.rules import ACCOUNTS, MAX_LINES, SERVICES, STATUSES
from workgym.services.orders.scenario import REGIONS
from workgym.services.storage import CLUSTERED, SERIAL

metadata = MetaData()


def _world(primary_key: bool = False) -> Column[int]:
    key = ForeignKey("worlds.id")
    return Column("world_id", SERIAL, key, primary_key=primary_key, autoincrement=False, nullable=False)


def _world_of_parent() -> Column[int]:
    """The world, in a table that a parent of the same world keeps from any other."""
    return Column("world_id", SERIAL, primary_key=True, autoincrement=False)


def _one_of(column: str, names: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{name}'" for name in names)
    return CheckConstraint(f"{column} IN ({listed})", name=f"known_{column}")


def _belongs_to(table: str, column: str) -> ForeignKeyConstraint:
    """A row of the same world."""
    return ForeignKeyConstraint(["world_id", column], [f"{table}.world_id", f"{table}.{column}"])


worlds = Table(
    "worlds",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("season", Text, nullable=False),  # digest of the season's constants
    Column("template", SmallInteger, nullable=False),  # 1: others are copied from it; nobody works in it
    Column("key", BigInteger, nullable=False),  # of the scenario's episode: its 64 bits as a signed number
    Column("family", SmallInteger, nullable=False),
    Column("day", Integer, nullable=False),
    Column("days", Integer, nullable=False),
    Column("ended", SmallInteger, nullable=False),
    Column("placed", Integer, nullable=False),  # orders so far; the number of the next one
    Column("broken", Integer, nullable=False),  # promises
    CheckConstraint("day >= 0 AND day <= days", name="day_in_season"),
    CheckConstraint("ended IN (0, 1) AND template IN (0, 1)", name="flags"),
    CheckConstraint("placed >= 0", name="placed_counts"),
)

centres = Table(
    "centres",
    metadata,
    _world(primary_key=True),
    Column("centre", SmallInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("capacity", Integer, nullable=False),  # lines on a normal day
    Column("picks_left", Integer, nullable=False),  # lines today
    CheckConstraint("capacity >= 0 AND picks_left >= 0", name="picks_are_counted"),
    **CLUSTERED,
)

skus = Table(
    "skus",
    metadata,
    _world(primary_key=True),
    Column("sku", Integer, primary_key=True, autoincrement=False),
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("price_cents", Integer),  # NULL: the season does not tell; the web shop sells it, nobody else
    Column("cost_cents", Integer),
    Column("weight_g", Integer),
    UniqueConstraint("world_id", "code"),
    CheckConstraint("price_cents >= 0 AND cost_cents >= 0 AND weight_g >= 0", name="goods_are_measured"),
    **CLUSTERED,
)

customers = Table(
    "customers",
    metadata,
    _world(primary_key=True),
    Column("customer", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("region", SmallInteger, nullable=False),
    CheckConstraint(f"region BETWEEN 0 AND {len(REGIONS) - 1}", name="known_region"),
    **CLUSTERED,
)

stock = Table(
    "stock",
    metadata,
    _world_of_parent(),
    Column("sku", Integer, primary_key=True, autoincrement=False),
    Column("centre", SmallInteger, primary_key=True, autoincrement=False),
    Column("on_hand", Integer, nullable=False),
    Column("reserved", Integer, nullable=False),  # of on_hand, for allocated orders
    _belongs_to("skus", "sku"),
    _belongs_to("centres", "centre"),
    CheckConstraint("0 <= reserved AND reserved <= on_hand", name="stock_is_there"),
    **CLUSTERED,
)

orders = Table(
    "orders",
    metadata,
    _world_of_parent(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("customer", Integer, nullable=False),
    Column("reference", Integer),  # basket of the web shop; NULL: typed in
    Column("region", SmallInteger, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("placed_on", Integer, nullable=False),
    Column("promise_on", Integer, nullable=False),
    Column("gives_up_on", Integer),  # known to the scenario only; NULL: a patient customer
    Column("status", Text, nullable=False),
    Column("reviewed_on", Integer, nullable=False),  # day of the last decision, -1 before the first
    Column("picks", SmallInteger, nullable=False),  # lines
    Column("units", Integer, nullable=False),
    Column("weight_g", Integer, nullable=False),
    Column("value_cents", Integer, nullable=False),
    Column("goods_cents", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    _belongs_to("customers", "customer"),
    _one_of("status", STATUSES),
    CheckConstraint(f"region BETWEEN 0 AND {len(REGIONS) - 1}", name="known_region"),
    CheckConstraint("priority IN (0, 1)", name="priority_or_not"),
    CheckConstraint(f"picks BETWEEN 1 AND {MAX_LINES}", name="one_tote"),
    CheckConstraint("placed_on >= 0 AND promise_on >= placed_on AND reviewed_on >= -1", name="days_in_order"),
    # The desk's queue, the day's wave and the lists of the pages.
    Index("orders_by_status", "world_id", "status", "reviewed_on", "number", "picks"),
    **CLUSTERED,
)

order_lines = Table(
    "order_lines",
    metadata,
    _world_of_parent(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("line", SmallInteger, primary_key=True, autoincrement=False),
    Column("sku", Integer, nullable=False),
    Column("qty", Integer, nullable=False),
    Column("weight_g", Integer, nullable=False),  # of the whole line
    Column("centre", SmallInteger),  # that ships it; NULL until the order is allocated
    _belongs_to("orders", "number"),
    _belongs_to("skus", "sku"),
    _belongs_to("centres", "centre"),
    CheckConstraint("qty > 0 AND weight_g >= 0", name="something_is_ordered"),
    **CLUSTERED,
)

shipments = Table(
    "shipments",
    metadata,
    _world_of_parent(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("centre", SmallInteger, primary_key=True, autoincrement=False),
    Column("service", Text, nullable=False),
    Column("freight_cents", Integer, nullable=False),
    Column("shipped_on", Integer),  # NULL until the wave has left
    Column("due_on", Integer, nullable=False),  # by the carrier's timetable
    _belongs_to("orders", "number"),
    _belongs_to("centres", "centre"),
    _one_of("service", SERVICES),
    CheckConstraint("freight_cents >= 0", name="freight_costs"),
    **CLUSTERED,
)

inbound = Table(
    "inbound",
    metadata,
    _world_of_parent(),
    Column("id", Integer, primary_key=True, autoincrement=False),  # of the delivery, in its world, from 1
    Column("centre", SmallInteger, nullable=False),
    Column("sku", Integer, nullable=False),
    Column("units", Integer, nullable=False),
    Column("eta", Integer, nullable=False),
    Column("received_on", Integer),  # NULL while on its way
    _belongs_to("centres", "centre"),
    _belongs_to("skus", "sku"),
    CheckConstraint("units > 0 AND eta >= 0", name="something_comes"),
    Index("inbound_by_day", "world_id", "received_on", "eta"),
    **CLUSTERED,
)

ledger = Table(
    "ledger",
    metadata,
    Column("id", SERIAL, primary_key=True),
    _world(),
    Column("day", Integer, nullable=False),
    Column("number", Integer),  # NULL: carried forward, of no single order
    Column("account", Text, nullable=False),
    Column("cents", Integer, nullable=False),
    _belongs_to("orders", "number"),
    _one_of("account", ACCOUNTS),
    Index("ledger_by_order", "world_id", "number"),
)

audit = audit_table(metadata)
idempotency = idempotency_table(metadata)
