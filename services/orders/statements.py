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
    Select,
    Table,
    Update,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)

from workgym.services.orders.tables import (
    audit,
    centres,
    customers,
    inbound,
    ledger,
    metadata,
    order_lines,
    orders,
    shipments,
    skus,
    stock,
    worlds,
)
from workgym.services.storage import Among, Statement, insert_into


def _here(table: Table) -> Any:
    """The parameter's world."""
    return table.c.world_id == bindparam("world")


def _among(table: Table) -> ColumnElement[bool]:
    column: Column[int] = table.c.world_id
    return Among(column, "worlds")


# What worlds are in. Taking the rows locks the worlds until the transaction ends, on PostgreSQL by
# FOR UPDATE; SQLite has one writer anyway. Ascending ids keep two transactions from locking each other.

_WORLD = (
    worlds.c.id,
    worlds.c.key,
    worlds.c.family,
    worlds.c.day,
    worlds.c.days,
    worlds.c.ended,
    worlds.c.placed,
    worlds.c.broken,
)
WORLD_WIDTH = len(_WORLD)
_seen = (
    select(*_WORLD)
    .where(Among(worlds.c.id, "worlds"), worlds.c.template == literal_column("0"))
    .order_by(worlds.c.id)
)
TAKE_WORLDS = Statement(_seen.with_for_update(), "worlds")
SEE_WORLDS = Statement(_seen, "worlds")
WORLD_ID, WORLD_KEY, WORLD_FAMILY, WORLD_DAY, WORLD_DAYS, WORLD_ENDED, WORLD_PLACED, WORLD_BROKEN = range(8)

PICKS = Statement(
    select(centres.c.picks_left).where(_among(centres)).order_by(centres.c.world_id, centres.c.centre),
    "worlds",
)

# The orders in hand: one row for each line in any order, the order's columns repeated, then what each
# centre has free. One wide statement costs less than three narrow ones.

(
    HAND_WORLD,
    HAND_NUMBER,
    HAND_QUEUE,
    HAND_QUEUE_PICKS,
    HAND_STATUS,
    HAND_REGION,
    HAND_PRIORITY,
    HAND_PLACED,
    HAND_PROMISE,
    HAND_PICKS,
    HAND_UNITS,
    HAND_WEIGHT,
    HAND_VALUE,
    HAND_GOODS,
    HAND_VERSION,
    HAND_LINE,
    HAND_SKU,
    HAND_QTY,
    HAND_LINE_WEIGHT,
    HAND_FREE,
) = range(20)


def _hands(head: Any, n_centres: int) -> Select[Any]:
    """What the desk must know of the orders in `head` (world_id, number, queue, queue_picks).

    Every centre has a shelf for every SKU, so an inner join loses no line.
    """
    same = and_(orders.c.world_id == head.c.world_id, orders.c.number == head.c.number)
    lines = and_(order_lines.c.world_id == head.c.world_id, order_lines.c.number == head.c.number)
    joined = head.join(orders, same).join(order_lines, lines)
    free = []
    for centre in range(n_centres):
        shelf = stock.alias(f"at_{centre}")
        joined = joined.join(
            shelf,
            and_(
                shelf.c.world_id == order_lines.c.world_id,
                shelf.c.sku == order_lines.c.sku,
                shelf.c.centre == literal_column(str(centre)),
            ),
        )
        free.append(shelf.c.on_hand - shelf.c.reserved)
    waits = case(
        (orders.c.status == literal_column("'waiting'"), literal_column("0")), else_=literal_column("1")
    )
    columns = (
        head.c.world_id,
        head.c.number,
        head.c.queue,
        head.c.queue_picks,
        waits,
        orders.c.region,
        orders.c.priority,
        orders.c.placed_on,
        orders.c.promise_on,
        orders.c.picks,
        orders.c.units,
        orders.c.weight_g,
        orders.c.value_cents,
        orders.c.goods_cents,
        orders.c.version,
        order_lines.c.line,
        order_lines.c.sku,
        order_lines.c.qty,
        order_lines.c.weight_g,
        *free,
    )
    return select(*columns).select_from(joined)


_waits_today = and_(
    orders.c.world_id == worlds.c.id,
    orders.c.status == literal_column("'waiting'"),
    orders.c.reviewed_on < worlds.c.day,
)


def queue_heads(n_centres: int) -> Statement:
    """The oldest order that waits for today's decision, in each world that has one."""
    head = (
        select(
            worlds.c.id.label("world_id"),
            func.min(orders.c.number).label("number"),
            func.count().label("queue"),
            func.sum(orders.c.picks).label("queue_picks"),
        )
        .select_from(worlds.join(orders, _waits_today))
        .where(Among(worlds.c.id, "worlds"))
        .group_by(worlds.c.id)
        .subquery("head")
    )
    return Statement(_hands(head, n_centres), "worlds")


def named_order(n_centres: int) -> Statement:
    """One order, whatever its status."""
    head = (
        select(
            orders.c.world_id,
            orders.c.number,
            literal_column("1").label("queue"),
            orders.c.picks.label("queue_picks"),
        )
        .where(_here(orders), orders.c.number == bindparam("number"))
        .subquery("head")
    )
    return Statement(_hands(head, n_centres), "world", "number")


WAITING_TODAY = Statement(
    select(worlds.c.id, func.count())
    .select_from(worlds.join(orders, _waits_today))
    .where(Among(worlds.c.id, "worlds"))
    .group_by(worlds.c.id),
    "worlds",
)

NEGLECTED = Statement(
    select(worlds.c.id, orders.c.region, orders.c.promise_on)
    .select_from(worlds.join(orders, _waits_today))
    .where(Among(worlds.c.id, "worlds")),
    "worlds",
)

# What a decision writes.


def _order_update(**values: Any) -> Update:
    return (
        update(orders)
        .values(**values, version=orders.c.version + literal_column("1"))
        .where(_here(orders), orders.c.number == bindparam("of"))
    )


REVIEW = Statement(
    _order_update(status=bindparam("now"), reviewed_on=bindparam("today")), "now", "today", "world", "of"
)
SET_STATUS = Statement(_order_update(status=bindparam("now")), "now", "world", "of")
TOUCH = Statement(_order_update(), "world", "of")
RESERVE = Statement(
    update(stock)
    .values(reserved=stock.c.reserved + bindparam("units"))
    .where(_here(stock), stock.c.sku == bindparam("what"), stock.c.centre == bindparam("at")),
    "units",
    "world",
    "what",
    "at",
)
ASSIGN = Statement(
    update(order_lines)
    .values(centre=bindparam("at"))
    .where(
        _here(order_lines), order_lines.c.number == bindparam("of"), order_lines.c.line == bindparam("nth")
    ),
    "at",
    "world",
    "of",
    "nth",
)
PICK = Statement(
    update(centres)
    .values(picks_left=centres.c.picks_left - bindparam("lines"))
    .where(_here(centres), centres.c.centre == bindparam("at")),
    "lines",
    "world",
    "at",
)
BREAK_PROMISES = Statement(
    update(worlds)
    .values(broken=worlds.c.broken + bindparam("more"))
    .where(worlds.c.id == bindparam("world")),
    "more",
    "world",
)
SHIP = insert_into(shipments, "world_id", "number", "centre", "service", "freight_cents", "due_on")
POST = insert_into(ledger, "world_id", "day", "number", "account", "cents")

# What a day brings.

_GIVEN = tuple(
    column.name for column in orders.columns if column.name not in ("status", "reviewed_on", "version")
)
PLACE = Statement(
    insert(orders)
    .values(
        **{name: bindparam(name) for name in _GIVEN},
        status=literal_column("'waiting'"),
        reviewed_on=literal_column("-1"),
        version=literal_column("1"),
    )
    .inline(),
    *_GIVEN,
)
SET_WORLD = Statement(
    update(worlds)
    .values(day=bindparam("today"), ended=bindparam("over"), placed=bindparam("n"), broken=bindparam("more"))
    .where(worlds.c.id == bindparam("world")),
    "today",
    "over",
    "n",
    "more",
    "world",
)
SET_STOCK = Statement(
    update(stock)
    .values(on_hand=bindparam("units"), reserved=bindparam("taken"))
    .where(_here(stock), stock.c.sku == bindparam("what"), stock.c.centre == bindparam("at")),
    "units",
    "taken",
    "world",
    "what",
    "at",
)
ADD_ORDER = insert_into(orders, *(column.name for column in orders.columns))
PLACE_LINE = insert_into(order_lines, "world_id", "number", "line", "sku", "qty", "weight_g")
COUNT_PLACED = Statement(
    update(worlds)
    .values(placed=worlds.c.placed + bindparam("more"))
    .where(worlds.c.id == bindparam("world")),
    "more",
    "world",
)
_before = inbound.alias("before")
_ANNOUNCED = ("world_id", "world", "centre", "sku", "units", "eta")
ANNOUNCE = Statement(
    insert(inbound)
    .values(
        {name: bindparam(name) for name in _ANNOUNCED if name != "world"}
        | {
            "id": select(func.coalesce(func.max(_before.c.id), literal_column("0")) + literal_column("1"))
            .where(_before.c.world_id == bindparam("world"))
            .scalar_subquery()
        }
    )
    .inline(),
    *_ANNOUNCED,
)  # the world twice: its deliveries are numbered
ON_THE_WAY = Statement(
    select(inbound.c.world_id, inbound.c.id, inbound.c.centre, inbound.c.sku, inbound.c.units, inbound.c.eta)
    .select_from(worlds.join(inbound, inbound.c.world_id == worlds.c.id))
    .where(Among(worlds.c.id, "worlds"), inbound.c.received_on.is_(None), inbound.c.eta <= worlds.c.day)
    .order_by(inbound.c.world_id, inbound.c.id),
    "worlds",
)
RECEIVE = Statement(
    update(inbound)
    .values(received_on=bindparam("today"))
    .where(_here(inbound), inbound.c.id == bindparam("delivery")),
    "today",
    "world",
    "delivery",
)
STORE = Statement(
    update(stock)
    .values(on_hand=stock.c.on_hand + bindparam("units"))
    .where(_here(stock), stock.c.sku == bindparam("what"), stock.c.centre == bindparam("at")),
    "units",
    "world",
    "what",
    "at",
)
SET_PICKS = Statement(
    update(centres)
    .values(picks_left=bindparam("lines"))
    .where(_here(centres), centres.c.centre == bindparam("at")),
    "lines",
    "world",
    "at",
)
REFRESH_PICKS = Statement(
    update(centres).values(picks_left=centres.c.capacity).where(_among(centres)), "worlds"
)
_LEFT = (
    orders.c.world_id,
    orders.c.number,
    orders.c.value_cents,
    orders.c.priority,
    orders.c.region,
    orders.c.promise_on,
)
IMPATIENT = Statement(
    select(*_LEFT)
    .select_from(worlds.join(orders, orders.c.world_id == worlds.c.id))
    .where(
        Among(worlds.c.id, "worlds"),
        orders.c.status == literal_column("'waiting'"),
        orders.c.gives_up_on <= worlds.c.day,
    )
    .order_by(orders.c.world_id, orders.c.number),
    "worlds",
)
STILL_WAITING = Statement(
    select(*_LEFT)
    .where(_among(orders), orders.c.status == literal_column("'waiting'"))
    .order_by(orders.c.world_id, orders.c.number),
    "worlds",
)

# The day's wave.

WAVE = Statement(
    select(
        orders.c.world_id,
        orders.c.number,
        orders.c.region,
        orders.c.priority,
        orders.c.promise_on,
        orders.c.reviewed_on,
        shipments.c.centre,
        shipments.c.service,
    )
    .select_from(
        orders.join(
            shipments,
            and_(shipments.c.world_id == orders.c.world_id, shipments.c.number == orders.c.number),
        )
    )
    .where(_among(orders), orders.c.status == literal_column("'allocated'"))
    .order_by(orders.c.world_id, orders.c.number, shipments.c.centre),
    "worlds",
)
HAND_OVER = Statement(
    update(shipments)
    .values(shipped_on=bindparam("today"))
    .where(_here(shipments), shipments.c.number == bindparam("of")),
    "today",
    "world",
    "of",
)
SHIP_ORDERS = Statement(
    update(orders)
    .values(status=literal_column("'shipped'"), version=orders.c.version + literal_column("1"))
    .where(_among(orders), orders.c.status == literal_column("'allocated'")),
    "worlds",
)
LEAVE_SHELF = Statement(
    update(stock)
    .values(on_hand=stock.c.on_hand - stock.c.reserved, reserved=literal_column("0"))
    .where(_among(stock), stock.c.reserved > literal_column("0")),
    "worlds",
)
NEXT_DAY = Statement(
    update(worlds)
    .values(
        day=worlds.c.day + literal_column("1"),
        ended=case(
            (worlds.c.day + literal_column("1") >= worlds.c.days, literal_column("1")),
            else_=literal_column("0"),
        ),
    )
    .where(Among(worlds.c.id, "worlds")),
    "worlds",
)

# Worlds as a whole.

ADD_WORLD = insert_into(
    worlds, "id", "name", "season", "template", "key", "family", "day", "days", "ended", "placed", "broken"
)
NEW_WORLD = Statement(
    insert(worlds)
    .values({column.name: bindparam(column.name) for column in worlds.columns if column.name != "id"})
    .returning(worlds.c.id),
    *(column.name for column in worlds.columns if column.name != "id"),
)
FIND_WORLD = Statement(select(worlds.c.id).where(worlds.c.name == bindparam("called")), "called")
ADD_CENTRE = insert_into(centres, "world_id", "centre", "name", "capacity", "picks_left")
ADD_SKU = insert_into(skus, "world_id", "sku", "code", "name", "price_cents", "cost_cents", "weight_g")
ADD_CUSTOMER = insert_into(customers, "world_id", "customer", "name", "region")
ADD_STOCK = insert_into(stock, "world_id", "sku", "centre", "on_hand", "reserved")
ADD_SHIPMENT = insert_into(
    shipments, "world_id", "number", "centre", "service", "freight_cents", "shipped_on", "due_on"
)
ADD_LINE = insert_into(order_lines, "world_id", "number", "line", "sku", "qty", "weight_g", "centre")


def _copied(table: Table) -> Statement:
    """The rows of a template's table, for each of `worlds`."""
    rest = [column for column in table.columns if column.name != "world_id"]
    rows = (
        select(worlds.c.id, *rest)
        .select_from(worlds.join(table, literal_column("1") == literal_column("1")))
        .where(Among(worlds.c.id, "worlds"), table.c.world_id == bindparam("template"))
    )
    names = ["world_id", *(column.name for column in rest)]
    return Statement(insert(table).from_select(names, rows), "worlds", "template")


COPY_TEMPLATE = tuple(_copied(table) for table in (centres, skus, customers, stock))
EMPTY_WORLDS = tuple(
    Statement(delete(table).where(_among(table)), "worlds")
    for table in reversed(metadata.sorted_tables)
    if table not in (worlds, audit)
)
DROP_WORLDS = Statement(delete(worlds).where(Among(worlds.c.id, "worlds")), "worlds")

SEE_ORDERS = Statement(
    select(
        orders.c.reference,
        orders.c.region,
        orders.c.priority,
        orders.c.placed_on,
        orders.c.promise_on,
        orders.c.status,
        orders.c.reviewed_on,
        orders.c.number,
    )
    .where(_here(orders))
    .order_by(orders.c.number),
    "world",
)
SEE_SHIPMENTS = Statement(
    select(shipments.c.number, shipments.c.centre, shipments.c.service).where(_here(shipments)), "world"
)
SEE_FREE = Statement(
    select(stock.c.on_hand - stock.c.reserved).where(_here(stock)).order_by(stock.c.centre, stock.c.sku),
    "world",
)
SEE_BOOKS = Statement(
    select(ledger.c.account, cast(func.sum(ledger.c.cents), BigInteger))
    .where(_here(ledger))
    .group_by(ledger.c.account),
    "world",
)
