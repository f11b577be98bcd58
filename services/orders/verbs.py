"""The business verbs on one order or one delivery that only people use.

Each checks first and writes after: a `Refused` has changed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import bindparam, delete, func, select, update

from workgym.services.kernel import BadInput, Conflict, NotFound, Refused
from workgym.services.orders import days, decisions, desk, rules, scenario, views
from workgym.services.orders import statements as sql
from workgym.services.orders.baskets import LARGEST
from workgym.services.orders.floor import Floor, Journal
from workgym.services.orders.records import Line
from workgym.services.orders.scenario import Setup
from workgym.services.orders.tables import customers, inbound, ledger, order_lines, orders, shipments, skus
from workgym.services.storage import Statement, Transaction

HAS_LEFT = "the order has left the centre; it can no longer be changed"
NOT_ALLOCATED = "the order is not allocated; allocate it by the service that it needs"
FAST_ALREADY = "every parcel of the order travels by that service or a faster one already"
HAS_COME = "the delivery has been received already"
HAS_BEGUN = "the season has begun already"

_THE_ORDER = Statement(
    select(orders).where(orders.c.world_id == bindparam("world"), orders.c.number == bindparam("one")),
    "world",
    "one",
)


def require_open(floor: Floor) -> None:
    """Refuse when the season of the one world is over."""
    if floor.rows[0, sql.WORLD_ENDED]:
        raise refused(rules.EPISODE_OVER)


def refused(code: int) -> Refused:
    """The refusal of a code of `rules.REASONS`."""
    return Refused(rules.REASONS[code], code)


def decide(
    tx: Transaction,
    setup: Setup,
    floor: Floor,
    number: int,
    decision: int,
    expected: int | None,
    journal: Journal,
) -> None:
    """Take a decision on one order of one world, in the way of `decisions.decide`."""
    require_open(floor)
    hands = decisions.named_hand(tx, floor, number)
    decisions.require_version(hands, expected)
    lost_by_holding = _lost_by_holding(tx, setup, floor, number)
    decided = decisions.decide(tx, setup, floor, hands, np.array([decision], dtype=np.int64), journal)
    code = int(decided.refusal[0])
    if code:
        raise refused(code)
    if lost_by_holding:
        journal.broke(np.array([[-1, floor.ids[0]]]))  # the new decision has told anew what becomes of it


def _lost_by_holding(tx: Transaction, setup: Setup, floor: Floor, number: int) -> bool:
    """Whether an order was held today and its promise was counted as broken for it."""
    today = int(floor.day[0])
    row = _order(tx, int(floor.ids[0]), number, None)
    held = row.status == "waiting" and row.reviewed_on == today
    return bool(
        held
        and desk.keepable(setup, row.region, row.promise_on, today)
        and not desk.keepable(setup, row.region, row.promise_on, today + 1)
    )


def _order(tx: Transaction, world: int, number: int, expected: int | None) -> Any:
    found = tx.records(_THE_ORDER, world, number)
    if not found:
        raise NotFound(f"no order {number} in world {world}; list its orders to see the numbers")
    row = found[0]
    if expected is not None and row.version != expected:
        raise Conflict(f"expected version {expected} of the order, found {row.version}; read it again")
    return row


def _parcels(tx: Transaction, row: Any) -> Sequence[Any]:
    query = (
        select(shipments)
        .where(shipments.c.world_id == row.world_id, shipments.c.number == row.number)
        .order_by(shipments.c.centre)
    )
    return tx.connection.execute(query).all()


def cancel(
    tx: Transaction, setup: Setup, floor: Floor, number: int, expected: int | None, journal: Journal
) -> None:
    """Cancel an order that has not left."""
    require_open(floor)
    row = _order(tx, int(floor.ids[0]), number, expected)
    if row.status == "shipped":
        raise Refused(HAS_LEFT)
    if row.status != "allocated":
        decide(tx, setup, floor, number, decisions.CANCEL, expected, journal)
        return
    late = max(parcel.due_on for parcel in _parcels(tx, row)) > row.promise_on
    today = int(floor.day[0])
    _release(tx, row)
    _reverse(tx, row, today, journal)
    cents = -rules.goodwill(row.value_cents, row.priority)
    journal.post(np.array([[row.world_id, today, number, rules.GOODWILL, cents]]))
    kept = not late and desk.keepable(setup, row.region, row.promise_on, today)
    journal.broke(np.array([[int(kept), row.world_id]]))  # one that was lost is not lost again
    tx.run(sql.SET_STATUS, "cancelled", row.world_id, number)
    journal.note(row.world_id, today, "cancel", f"order/{number}", released=True)


def _release(tx: Transaction, row: Any) -> None:
    """Give back what an allocated order reserved: units, picks, parcels."""
    here = (order_lines.c.world_id == row.world_id, order_lines.c.number == row.number)
    for line in tx.connection.execute(select(order_lines).where(*here)).all():
        tx.run(sql.RESERVE, -line.qty, row.world_id, line.sku, line.centre)
        tx.run(sql.PICK, -1, row.world_id, line.centre)
    tx.connection.execute(update(order_lines).where(*here).values(centre=None))
    tx.connection.execute(
        delete(shipments).where(shipments.c.world_id == row.world_id, shipments.c.number == row.number)
    )


def _reverse(tx: Transaction, row: Any, today: int, journal: Journal) -> None:
    """Post the opposite of everything posted on an order."""
    query = (
        select(ledger.c.account, func.sum(ledger.c.cents))
        .where(ledger.c.world_id == row.world_id, ledger.c.number == row.number)
        .group_by(ledger.c.account)
    )
    found = {account: int(cents) for account, cents in tx.connection.execute(query)}
    back = [
        [row.world_id, today, row.number, code, -found[account]]
        for code, account in enumerate(rules.ACCOUNTS)
        if found.get(account)
    ]
    journal.post(np.array(back, dtype=np.int64).reshape(-1, 5))


def expedite(
    tx: Transaction,
    setup: Setup,
    floor: Floor,
    number: int,
    service: str,
    expected: int | None,
    journal: Journal,
) -> None:
    """Raise the parcels of an allocated order to a faster service."""
    level = views.known("service", service, rules.SERVICES)
    require_open(floor)
    row = _order(tx, int(floor.ids[0]), number, expected)
    if row.status == "shipped":
        raise Refused(HAS_LEFT)
    if row.status != "allocated":
        raise Refused(NOT_ALLOCATED)
    parcels = _parcels(tx, row)
    slower = [parcel for parcel in parcels if rules.SERVICES.index(parcel.service) < level]
    if not slower:
        raise Refused(FAST_ALREADY)
    today = int(floor.day[0])
    due = {parcel.centre: parcel.due_on for parcel in parcels}
    before, freight = max(due.values()), 0
    for parcel in slower:
        price, due[parcel.centre] = _raise_parcel(tx, setup, row, parcel, level)
        freight += price - parcel.freight_cents
    after = max(due.values())
    relief = rules.lateness(before - row.promise_on, row.priority) - rules.lateness(
        after - row.promise_on, row.priority
    )
    amounts = ((rules.FREIGHT, -freight), (rules.LATENESS, relief))
    rows = [[row.world_id, today, number, account, cents] for account, cents in amounts if cents]
    journal.post(np.array(rows, dtype=np.int64).reshape(-1, 5))
    broken = int(after > row.promise_on) - int(before > row.promise_on)
    journal.broke(np.array([[broken, row.world_id]]))
    tx.run(sql.TOUCH, row.world_id, number)
    journal.note(row.world_id, today, "expedite", f"order/{number}", service=service)


def _raise_parcel(tx: Transaction, setup: Setup, row: Any, parcel: Any, level: int) -> tuple[int, int]:
    """Give one parcel a faster service; its price and the day when it is due."""
    grams = select(func.sum(order_lines.c.weight_g)).where(
        order_lines.c.world_id == row.world_id,
        order_lines.c.number == row.number,
        order_lines.c.centre == parcel.centre,
    )
    weight = int(tx.connection.execute(grams).scalar_one())
    zone = int(setup.zone[parcel.centre, row.region])
    price = rules.freight(int(setup.parcel[zone, level]), int(setup.per_kg[zone, level]), weight)
    due = row.reviewed_on + int(setup.transit[zone, level])
    tx.connection.execute(
        update(shipments)
        .where(
            shipments.c.world_id == row.world_id,
            shipments.c.number == row.number,
            shipments.c.centre == parcel.centre,
        )
        .values(service=rules.SERVICES[level], freight_cents=price, due_on=due)
    )
    return price, due


def place(
    tx: Transaction,
    floor: Floor,
    customer: int,
    lines: Sequence[Line],
    priority: bool,
    promise_on: int | None,
    journal: Journal,
) -> int:
    """Accept an order that somebody typed in; its number."""
    require_open(floor)
    world, today = int(floor.ids[0]), int(floor.day[0])
    goods = _goods(tx, world, lines)
    who = select(customers).where(customers.c.world_id == world, customers.c.customer == customer)
    buyer = tx.connection.execute(who).first()
    if buyer is None:
        raise NotFound(f"no customer {customer} in world {world}; list the customers to see their numbers")
    promise = _promise(today, priority, buyer.region) if promise_on is None else promise_on
    if promise < today:
        raise BadInput(f"expected a promise for day {today} or later, found day {promise}")
    number = int(floor.rows[0, sql.WORLD_PLACED])
    totals = [sum(each * qty for each, qty in column) for column in zip(*goods.values(), strict=True)]
    if max(totals) > LARGEST:
        raise BadInput(f"expected an order of at most {LARGEST:,} grams or cents, found {max(totals):,}")
    units = sum(line.qty for line in lines)
    weight, value, cost = totals
    head = (world, number, customer, None, buyer.region, int(priority), today, promise, None)
    tx.many(sql.PLACE, [(*head, len(lines), units, weight, value, cost)])
    rows = [
        (world, number, nth, sku, line.qty, goods[sku][0][0] * line.qty)
        for nth, (sku, line) in enumerate(zip(goods, lines, strict=True))
    ]
    tx.many(sql.PLACE_LINE, rows)
    tx.many(sql.COUNT_PLACED, [(1, world)])
    journal.note(world, today, "place", f"order/{number}", customer=customer)
    return number


def _promise(today: int, priority: bool, region: int) -> int:
    return today + (1 if priority else 2) + (3 if region >= scenario.N_DOMESTIC else 0)


def _goods(tx: Transaction, world: int, lines: Sequence[Line]) -> dict[int, list[tuple[int, int]]]:
    """By SKU, (grams, qty), (price, qty), (cost, qty) of each line."""
    codes = [line.sku for line in lines]
    if not 1 <= len(lines) <= rules.MAX_LINES or len(set(codes)) != len(codes):
        raise BadInput(
            f"expected 1 to {rules.MAX_LINES} lines of different SKUs, found {codes}; "
            "join equal SKUs into one line, or place several orders"
        )
    wrong = [line.qty for line in lines if not 1 <= line.qty <= LARGEST]
    if wrong:
        raise BadInput(f"expected quantities of 1 or more, found {wrong[0]}")
    query = select(skus).where(skus.c.world_id == world, skus.c.code.in_(codes))
    found = {row.code: row for row in tx.connection.execute(query)}
    goods = {}
    for line in lines:
        row = found.get(line.sku)
        if row is None:
            raise NotFound(f"no SKU {line.sku!r} in world {world}; its stock lists them")
        if row.price_cents is None:
            raise BadInput(f"SKU {line.sku!r} has no price in world {world}; only the web shop sells it")
        goods[row.sku] = [(row.weight_g, line.qty), (row.price_cents, line.qty), (row.cost_cents, line.qty)]
    return goods


def announce(
    tx: Transaction, floor: Floor, centre: str, sku: str, units: int, eta: int, journal: Journal
) -> int:
    """Book a replenishment; its id."""
    require_open(floor)
    world, today = int(floor.ids[0]), int(floor.day[0])
    at = views.known("centre", centre, scenario.CENTRES)
    if not 1 <= units <= LARGEST or eta < today:
        raise BadInput(f"expected 1 or more units for day {today} or later, found {units} for day {eta}")
    query = select(skus.c.sku).where(skus.c.world_id == world, skus.c.code == sku)
    found = tx.connection.execute(query).first()
    if found is None:
        raise NotFound(f"no SKU {sku!r} in world {world}; its stock lists them")
    last = select(func.coalesce(func.max(inbound.c.id), 0)).where(inbound.c.world_id == world)
    number = int(tx.connection.execute(last).scalar_one()) + 1
    tx.run(sql.ANNOUNCE, world, world, at, found.sku, units, eta)
    journal.note(world, today, "announce", f"delivery/{number}", units=units, eta=eta)
    return number


def receive(tx: Transaction, floor: Floor, number: int, journal: Journal) -> None:
    """Put an announced delivery on the shelf."""
    require_open(floor)
    world = int(floor.ids[0])
    query = select(inbound).where(inbound.c.world_id == world, inbound.c.id == number)
    row = tx.connection.execute(query).first()
    if row is None:
        raise NotFound(f"no delivery {number} in world {world}; list its deliveries to see the ids")
    if row.received_on is not None:
        raise Refused(HAS_COME)
    days.receive(tx, floor, [(world, row.id, row.centre, row.sku, row.units, row.eta)], journal)


def require_fresh(tx: Transaction, floor: Floor) -> None:
    """Refuse when something has happened in the one world already."""
    world = int(floor.ids[0])
    announced = tx.connection.execute(
        select(inbound.c.id).where(inbound.c.world_id == world).limit(1)
    ).first()
    if floor.rows[0, sql.WORLD_PLACED] or floor.day[0] or announced is not None:
        raise Refused(HAS_BEGUN)
