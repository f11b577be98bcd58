"""What people read of a world: rows as records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, and_, bindparam, cast, func, select

from workgym.services.kernel import BadInput, NotFound, did_you_mean
from workgym.services.orders import rules, scenario
from workgym.services.orders.records import (
    Centre,
    Customer,
    Delivery,
    Line,
    Order,
    Parcel,
    Posting,
    Shelf,
    World,
)
from workgym.services.orders.tables import (
    centres,
    customers,
    inbound,
    ledger,
    order_lines,
    orders,
    shipments,
    skus,
    stock,
    worlds,
)
from workgym.services.storage import Among, Statement, Transaction

LARGEST_PAGE = 1000
Clause = ColumnElement[bool]
_buyer = and_(customers.c.world_id == orders.c.world_id, customers.c.customer == orders.c.customer)
_good = and_(skus.c.world_id == order_lines.c.world_id, skus.c.sku == order_lines.c.sku)
_WORLD: Any = bindparam("world")
_THE_ORDER = Statement(
    select(orders, customers.c.name.label("who"))
    .join(customers, _buyer)
    .where(orders.c.world_id == _WORLD, orders.c.number == bindparam("one")),
    "world",
    "one",
)
_THEIR_LINES = Statement(
    select(order_lines.c.number, skus.c.code, order_lines.c.qty, order_lines.c.centre)
    .join(skus, _good)
    .where(order_lines.c.world_id == _WORLD, Among(order_lines.c.number, "numbers"))
    .order_by(order_lines.c.number, order_lines.c.line),
    "world",
    "numbers",
)
_THEIR_PARCELS = Statement(
    select(shipments)
    .where(shipments.c.world_id == _WORLD, Among(shipments.c.number, "numbers"))
    .order_by(shipments.c.number, shipments.c.centre),
    "world",
    "numbers",
)


def known(kind: str, name: str, names: Iterable[str]) -> int:
    """Position of a name among the known ones.

    Raises:
        BadInput: it is none of them.
    """
    listed = list(names)
    if name not in listed:
        raise BadInput(did_you_mean(kind, name, listed))
    return listed.index(name)


def every_world(tx: Transaction) -> list[World]:
    """All worlds by name."""
    return _worlds(tx, worlds.c.template == 0)


def world(tx: Transaction, number: int) -> World:
    """One world (NotFound)."""
    found = _worlds(tx, and_(worlds.c.id == number, worlds.c.template == 0))
    if not found:
        raise NotFound(f"no world with id {number}; open one, or list them")
    return found[0]


def _worlds(tx: Transaction, which: Clause) -> list[World]:
    waiting = (
        select(func.count())
        .where(orders.c.world_id == worlds.c.id, orders.c.status == "waiting")
        .scalar_subquery()
    )
    profit = (
        select(cast(func.coalesce(func.sum(ledger.c.cents), 0), BigInteger))
        .where(ledger.c.world_id == worlds.c.id)
        .scalar_subquery()
    )
    query = (
        select(worlds, waiting.label("waiting"), profit.label("profit")).where(which).order_by(worlds.c.name)
    )
    return [
        World(
            id=row.id,
            name=row.name,
            season=row.season,
            family=scenario.FAMILY_NAMES[row.family],
            day=row.day,
            days=row.days,
            ended=bool(row.ended),
            broken=row.broken,
            orders=row.placed,
            waiting=row.waiting,
            profit_cents=row.profit,
        )
        for row in tx.connection.execute(query)
    ]


def require(tx: Transaction, number: int) -> None:
    """Raise NotFound when there is no such world."""
    found = select(worlds.c.id).where(worlds.c.id == number, worlds.c.template == 0)
    if tx.connection.execute(found).first() is None:
        raise NotFound(f"no world with id {number}; open one, or list them")


def order(tx: Transaction, world: int, number: int) -> Order:
    """One order (NotFound)."""
    found = tx.records(_THE_ORDER, world, number)
    if not found:
        raise NotFound(f"no order {number} in world {world}; list its orders to see the numbers")
    return _told(tx, world, found)[0]


class Wanted(NamedTuple):
    """What orders somebody looks for; None does not matter. See `Store.orders`."""

    status: str | None = None
    region: str | None = None
    priority: bool | None = None
    sku: str | None = None
    text: str | None = None
    late_on: int | None = None

    def clauses(self, world: int) -> list[Clause]:
        """As conditions on orders joined with their customers."""
        where: list[Clause] = []
        if self.status is not None:
            known("status", self.status, rules.STATUSES)
            where.append(orders.c.status == self.status)
        if self.region is not None:
            where.append(orders.c.region == known("region", self.region, scenario.REGIONS))
        if self.priority is not None:
            where.append(orders.c.priority == int(self.priority))
        if self.sku is not None:
            where.append(_has_line_of(world, self.sku))
        if self.text is not None:
            where.append(customers.c.name.icontains(self.text, autoescape=True))
        if self.late_on is not None:
            where += [orders.c.status == "waiting", orders.c.promise_on < self.late_on]
        return where


def search(tx: Transaction, world: int, wanted: Wanted, after: int, limit: int) -> list[Order]:
    """Orders by number, `limit` at most, those with a number above `after`."""
    if not 1 <= limit <= LARGEST_PAGE:
        raise BadInput(f"expected a limit in 1..{LARGEST_PAGE}, found {limit}")
    return _orders(tx, world, [orders.c.number > after, *wanted.clauses(world)], limit)


def count(tx: Transaction, world: int, wanted: Wanted) -> int:
    """How many orders there are of what is wanted."""
    query = select(func.count()).select_from(orders.join(customers, _buyer)).where(orders.c.world_id == world)
    return int(tx.connection.execute(query.where(*wanted.clauses(world))).scalar_one())


def _has_line_of(world: int, code: str) -> Clause:
    here = and_(skus.c.world_id == order_lines.c.world_id, skus.c.sku == order_lines.c.sku)
    return orders.c.number.in_(
        select(order_lines.c.number)
        .join(skus, here)
        .where(order_lines.c.world_id == world, skus.c.code == code)
    )


def queue(tx: Transaction, world: int, limit: int) -> list[Order]:
    """Orders that wait for a decision today, in the order in which the desk takes them."""
    today = select(worlds.c.day).where(worlds.c.id == world).scalar_subquery()
    return _orders(tx, world, [orders.c.status == "waiting", orders.c.reviewed_on < today], limit)


def _orders(tx: Transaction, world: int, where: list[Clause], limit: int) -> list[Order]:
    query = (
        select(orders, customers.c.name.label("who"))
        .join(customers, _buyer)
        .where(orders.c.world_id == world, *where)
        .order_by(orders.c.number)
        .limit(limit)
    )
    return _told(tx, world, tx.connection.execute(query).all())


def _told(tx: Transaction, world: int, rows: Sequence[Any]) -> list[Order]:
    numbers = tx.numbers([row.number for row in rows])
    lines, parcels = _lines(tx, world, numbers), _parcels(tx, world, numbers)
    return [_order(row, tuple(lines[row.number]), tuple(parcels[row.number])) for row in rows]


def _order(row: Any, lines: tuple[Line, ...], parcels: tuple[Parcel, ...]) -> Order:
    return Order(
        number=row.number,
        customer=row.who,
        reference=row.reference,
        region=scenario.REGIONS[row.region],
        priority=bool(row.priority),
        placed_on=row.placed_on,
        promise_on=row.promise_on,
        status=row.status,
        reviewed_on=None if row.reviewed_on < 0 else row.reviewed_on,
        value_cents=row.value_cents,
        weight_g=row.weight_g,
        version=row.version,
        lines=lines,
        parcels=parcels,
    )


def _lines(tx: Transaction, world: int, numbers: object) -> dict[int, list[Line]]:
    found: dict[int, list[Line]] = defaultdict(list)
    for row in tx.records(_THEIR_LINES, world, numbers):
        centre = None if row.centre is None else scenario.CENTRES[row.centre]
        found[row.number].append(Line(row.code, row.qty, centre))
    return found


def _parcels(tx: Transaction, world: int, numbers: object) -> dict[int, list[Parcel]]:
    found: dict[int, list[Parcel]] = defaultdict(list)
    for row in tx.records(_THEIR_PARCELS, world, numbers):
        centre = scenario.CENTRES[row.centre]
        parcel = Parcel(centre, row.service, row.freight_cents, row.shipped_on, row.due_on)
        found[row.number].append(parcel)
    return found


def every_customer(tx: Transaction, world: int, text: str | None) -> list[Customer]:
    """Customers by number; `text` is part of the name."""
    query = select(customers).where(customers.c.world_id == world).order_by(customers.c.customer)
    if text is not None:
        query = query.where(customers.c.name.icontains(text, autoescape=True))
    rows = tx.connection.execute(query)
    return [Customer(row.customer, row.name, scenario.REGIONS[row.region]) for row in rows]


def every_centre(tx: Transaction, world: int) -> list[Centre]:
    """All centres."""
    query = select(centres).where(centres.c.world_id == world).order_by(centres.c.centre)
    return [Centre(row.name, row.capacity, row.picks_left) for row in tx.connection.execute(query)]


def shelves(tx: Transaction, world: int, sku: str | None, centre: str | None) -> list[Shelf]:
    """Stock by SKU and centre."""
    good = and_(skus.c.world_id == stock.c.world_id, skus.c.sku == stock.c.sku)
    query = select(stock, skus.c.code, skus.c.name).join(skus, good).where(stock.c.world_id == world)
    if sku is not None:
        query = query.where(skus.c.code == sku)
    if centre is not None:
        query = query.where(stock.c.centre == known("centre", centre, scenario.CENTRES))
    rows = tx.connection.execute(query.order_by(stock.c.sku, stock.c.centre))
    return [Shelf(r.code, r.name, scenario.CENTRES[r.centre], r.on_hand, r.reserved) for r in rows]


def delivery(tx: Transaction, world: int, number: int) -> Delivery:
    """One delivery (NotFound)."""
    found = _deliveries(tx, world, [inbound.c.id == number])
    if not found:
        raise NotFound(f"no delivery {number} in world {world}; list its deliveries to see the ids")
    return found[0]


def every_delivery(tx: Transaction, world: int, open_only: bool) -> list[Delivery]:
    """Announced replenishments by date."""
    return _deliveries(tx, world, [inbound.c.received_on.is_(None)] if open_only else [])


def _deliveries(tx: Transaction, world: int, where: list[Clause]) -> list[Delivery]:
    good = and_(skus.c.world_id == inbound.c.world_id, skus.c.sku == inbound.c.sku)
    query = (
        select(inbound, skus.c.code)
        .join(skus, good)
        .where(inbound.c.world_id == world, *where)
        .order_by(inbound.c.eta, inbound.c.id)
    )
    return [
        Delivery(row.id, scenario.CENTRES[row.centre], row.code, row.units, row.eta, row.received_on)
        for row in tx.connection.execute(query)
    ]


def postings(tx: Transaction, world: int, order: int | None) -> list[Posting]:
    """Ledger entries in the order of posting."""
    query = select(ledger).where(ledger.c.world_id == world).order_by(ledger.c.id)
    if order is not None:
        query = query.where(ledger.c.number == order)
    return [Posting(row.day, row.number, row.account, row.cents) for row in tx.connection.execute(query)]


def books(tx: Transaction, world: int) -> dict[str, int]:
    """Cents by account."""
    total = cast(func.sum(ledger.c.cents), BigInteger).label("total")
    query = select(ledger.c.account, total).where(ledger.c.world_id == world).group_by(ledger.c.account)
    found = {row.account: row.total for row in tx.connection.execute(query)}
    return {account: found.get(account, 0) for account in rules.ACCOUNTS}
