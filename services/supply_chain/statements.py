"""The statements of the hot path, written in SQLAlchemy Core and compiled once.

Each names its parameters in the order in which they are passed; `many` rows hold them in that order.
A parameter `worlds` is `Transaction.numbers(...)` of ascending world ids, and rows come back by world.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Table,
    and_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)

from workgym.services.storage import Among, Statement, insert_into
from workgym.services.supply_chain.tables import (
    audit,
    ledger,
    links,
    metadata,
    networks,
    nodes,
    order_lines,
    orders,
    policies,
    shipments,
    skus,
    stock,
    worlds,
)


def _here(table: Table) -> Any:
    """The parameter's world."""
    return table.c.world_id == bindparam("world")


def _among(table: Table) -> ColumnElement[bool]:
    column: Column[int] = table.c.world_id
    return Among(column, "worlds")


# What worlds are in. Taking the rows locks the worlds until the transaction ends, on PostgreSQL by
# FOR UPDATE; SQLite has one writer anyway. Ascending ids keep two transactions from locking each other.

_WORLD = tuple(
    worlds.c[name]
    for name in ("id", "key", "family", "day", "ended", "demanded", "missed", "ordered", "sent")
)
WORLD_WIDTH = len(_WORLD)
WORLD_ID, WORLD_KEY, WORLD_FAMILY, WORLD_DAY, WORLD_ENDED, WORLD_DEMANDED, WORLD_MISSED = range(7)
WORLD_ORDERED, WORLD_SENT = 7, 8
_seen = select(*_WORLD).where(Among(worlds.c.id, "worlds")).order_by(worlds.c.id)
TAKE_WORLDS = Statement(_seen.with_for_update(), "worlds")
SEE_WORLDS = Statement(_seen, "worlds")
SEE_NETWORK = Statement(select(worlds.c.network).where(worlds.c.id == bindparam("world")), "world")
SET_WORLD = Statement(
    update(worlds)
    .values(
        day=bindparam("today"),
        ended=bindparam("over"),
        demanded=bindparam("asked"),
        missed=bindparam("unmet"),
        ordered=bindparam("orders"),
        sent=bindparam("shipments"),
    )
    .where(worlds.c.id == bindparam("world")),
    "today",
    "over",
    "asked",
    "unmet",
    "orders",
    "shipments",
    "world",
)

# Shelves, orders in hand, shipments on their way.

SEE_STOCK = Statement(
    select(stock.c.on_hand, stock.c.backlog, stock.c.asked, stock.c.level)
    .where(_among(stock))
    .order_by(stock.c.world_id, stock.c.node, stock.c.sku),
    "worlds",
)
SET_STOCK = Statement(
    update(stock)
    .values(
        on_hand=bindparam("units"),
        backlog=bindparam("waiting"),
        asked=bindparam("seen"),
        level=bindparam("usual"),
        sold=stock.c.sold + bindparam("more"),
    )
    .where(_here(stock), stock.c.node == bindparam("at"), stock.c.sku == bindparam("what")),
    "units",
    "waiting",
    "seen",
    "usual",
    "more",
    "world",
    "at",
    "what",
)
LINE_WORLD, LINE_LINK, LINE_SKU, LINE_NUMBER, LINE_UNITS = range(5)
LINE_SHIPPED, LINE_OWED, LINE_REACHES, LINE_STATUS = range(5, 9)
LINE_WIDTH = 9
SEE_LINES = Statement(
    select(
        order_lines.c.world_id,
        orders.c.link,
        order_lines.c.sku,
        order_lines.c.number,
        order_lines.c.units,
        order_lines.c.shipped,
        order_lines.c.owed,
        order_lines.c.reaches_on,
        order_lines.c.status,
    )
    .select_from(
        order_lines.join(
            orders,
            and_(orders.c.world_id == order_lines.c.world_id, orders.c.number == order_lines.c.number),
        )
    )
    .where(_among(order_lines), order_lines.c.owed > literal_column("0"))
    .order_by(order_lines.c.world_id, order_lines.c.number, order_lines.c.sku),
    "worlds",
)
SET_LINE = Statement(
    update(order_lines)
    .values(shipped=bindparam("gone"), owed=bindparam("rest"), status=bindparam("now"))
    .where(
        _here(order_lines), order_lines.c.number == bindparam("of"), order_lines.c.sku == bindparam("what")
    ),
    "gone",
    "rest",
    "now",
    "world",
    "of",
    "what",
)
ADD_ORDER = insert_into(orders, "world_id", "number", "link", "placed_on")
ADD_LINE = insert_into(
    order_lines, "world_id", "number", "sku", "units", "shipped", "owed", "reaches_on", "status"
)
SEE_WAY = Statement(
    select(
        shipments.c.world_id, shipments.c.link, shipments.c.sku, shipments.c.units, shipments.c.due_on
    ).where(_among(shipments), shipments.c.received_on.is_(None)),
    "worlds",
)
ADD_SHIPMENT = insert_into(
    shipments, "world_id", "number", "link", "sku", "sent_on", "due_on", "units", "lost", "received_on"
)
_today = select(worlds.c.day).where(worlds.c.id == shipments.c.world_id).scalar_subquery()
RECEIVE = Statement(  # nothing arrives late on the shelf: what is due is received on that day
    update(shipments)
    .values(received_on=shipments.c.due_on)
    .where(_among(shipments), shipments.c.received_on.is_(None), shipments.c.due_on <= _today),
    "worlds",
)
POST = insert_into(ledger, "world_id", "day", "node", "account", "money")
SEE_BOOKS = Statement(
    select(ledger.c.account, cast(func.sum(ledger.c.money), BigInteger))
    .where(_here(ledger))
    .group_by(ledger.c.account),
    "world",
)

# Worlds as a whole.

FIND_NETWORK = Statement(
    select(networks.c.description, networks.c.history).where(networks.c.digest == bindparam("which")), "which"
)
ADD_NETWORK = insert_into(networks, "digest", "name", "description", "history")
ADD_WORLD = insert_into(worlds, *(column.name for column in worlds.columns))
NEW_WORLD = Statement(
    insert(worlds)
    .values({column.name: bindparam(column.name) for column in worlds.columns if column.name != "id"})
    .returning(worlds.c.id),
    *(column.name for column in worlds.columns if column.name != "id"),
)
FIND_WORLD = Statement(select(worlds.c.id).where(worlds.c.name == bindparam("called")), "called")
ADD_NODE = insert_into(nodes, "world_id", "node", "name")
ADD_SKU = insert_into(skus, "world_id", "sku", "code")
ADD_LINK = insert_into(links, "world_id", "link", "source", "target")
ADD_STOCK = insert_into(stock, *(column.name for column in stock.columns))
ADD_POLICY = insert_into(policies, *(column.name for column in policies.columns))
EMPTY_WORLDS = tuple(
    Statement(delete(table).where(_among(table)), "worlds")
    for table in reversed(metadata.sorted_tables)
    if table not in (networks, worlds, audit)
)
DROP_WORLDS = Statement(delete(worlds).where(Among(worlds.c.id, "worlds")), "worlds")
