"""What people read of a world: rows as records."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, ColumnElement, cast, func, select, true

from workgym.services.kernel import BadInput, NotFound, did_you_mean
from workgym.services.storage import Transaction
from workgym.services.supply_chain import rules
from workgym.services.supply_chain.floor import read, see
from workgym.services.supply_chain.records import Line, Link, Order, Policy, Posting, Shelf, Shipment, World
from workgym.services.supply_chain.scenario import EXTERNAL
from workgym.services.supply_chain.tables import (
    STATUSES,
    ledger,
    networks,
    order_lines,
    orders,
    policies,
    shipments,
    stock,
    worlds,
)
from workgym.services.supply_chain.worlds import Plan

LARGEST_PAGE = 1000
Clause = ColumnElement[bool]


def node_of(plan: Plan, name: str) -> int:
    """Position of a node (NotFound)."""
    names = [node.name for node in plan.network.nodes]
    if name not in names:
        raise NotFound(did_you_mean("node", name, names))
    return names.index(name)


def sku_of(plan: Plan, code: str) -> int:
    """Position of a SKU (NotFound)."""
    if code not in plan.network.skus:
        raise NotFound(did_you_mean("SKU", code, list(plan.network.skus)))
    return plan.network.skus.index(code)


def family_of(plan: Plan, name: str) -> int:
    """Position of a family (BadInput)."""
    names = [family.name for family in plan.network.families]
    if name not in names:
        raise BadInput(did_you_mean("family", name, names))
    return names.index(name)


def require_link(plan: Plan, link: int) -> None:
    """Raise NotFound when the network has no such link."""
    if not 0 <= link < len(plan.network.links):
        raise NotFound(f"no link {link} in network {plan.network.name}; list its links to see the numbers")


def no_order(world: int, number: int) -> NotFound:
    """There is no such order."""
    return NotFound(f"no order {number} in world {world}; list its orders to see the numbers")


def no_shipment(world: int, number: int) -> NotFound:
    """There is no such shipment."""
    return NotFound(f"no shipment {number} in world {world}; list its shipments to see the numbers")


def every_world(tx: Transaction) -> list[World]:
    """All worlds by name."""
    return _worlds(tx, true())


def world(tx: Transaction, number: int) -> World:
    """One world (NotFound)."""
    found = _worlds(tx, worlds.c.id == number)
    if not found:
        raise NotFound(f"no world with id {number}; open one, or list them")
    return found[0]


def require(tx: Transaction, number: int) -> None:
    """Raise NotFound when there is no such world."""
    if tx.connection.execute(select(worlds.c.id).where(worlds.c.id == number)).first() is None:
        raise NotFound(f"no world with id {number}; open one, or list them")


def _worlds(tx: Transaction, which: Clause) -> list[World]:
    result = (
        select(cast(func.coalesce(func.sum(ledger.c.money), 0), BigInteger))
        .where(ledger.c.world_id == worlds.c.id)
        .scalar_subquery()
    )
    query = (
        select(worlds, networks.c.name.label("made_of"), networks.c.description, result.label("result"))
        .join(networks, networks.c.digest == worlds.c.network)
        .where(which)
        .order_by(worlds.c.name)
    )
    return [_world(row) for row in tx.connection.execute(query)]


def _world(row: Any) -> World:
    told = json.loads(row.description)
    return World(
        id=row.id,
        name=row.name,
        network=row.made_of,
        digest=row.network,
        currency=told["currency"],
        family=told["families"][row.family]["name"],
        day=row.day,
        periods=row.periods,
        ended=bool(row.ended),
        demanded=row.demanded,
        missed=row.missed,
        orders=row.ordered,
        result=row.result,
    )


def every_link(plan: Plan) -> list[Link]:
    """How nodes are supplied."""
    return [
        Link(a, one.source, one.target, one.lead_times(), one.order_delay, one.keeps_orders, one.capacity)
        for a, one in enumerate(plan.network.links)
    ]


def positions(tx: Transaction, plan: Plan, world: int) -> NDArray[np.int64]:
    """(nodes, SKUs) on hand, on order and on the way, less what customers wait for."""
    lanes = read(tx, plan.setup, see(tx, [world])).lanes
    position: NDArray[np.int64] = lanes.on_hand[0].astype(np.int64) - lanes.backlog[0]
    coming = lanes.owed[0] + lanes.mail[0].sum(axis=2) + lanes.way[0].sum(axis=2)
    np.add.at(position, plan.setup.target, coming)
    return position


def shelves(tx: Transaction, plan: Plan, world: int, node: str | None, sku: str | None) -> list[Shelf]:
    """Stock by node and SKU."""
    query = select(stock).where(stock.c.world_id == world).order_by(stock.c.node, stock.c.sku)
    if node is not None:
        query = query.where(stock.c.node == node_of(plan, node))
    if sku is not None:
        query = query.where(stock.c.sku == sku_of(plan, sku))
    position = positions(tx, plan, world)
    return [
        Shelf(
            node=plan.network.nodes[row.node].name,
            sku=plan.network.skus[row.sku],
            on_hand=row.on_hand,
            backlog=row.backlog,
            position=int(position[row.node, row.sku]),
            asked=row.asked,
            opening=row.opening,
            sold=row.sold,
        )
        for row in tx.connection.execute(query)
    ]


def order(tx: Transaction, plan: Plan, world: int, number: int) -> Order:
    """One order (NotFound)."""
    found = _orders(tx, plan, world, [orders.c.number == number], 1)
    if not found:
        raise no_order(world, number)
    return found[0]


def _page(limit: int) -> int:
    if not 1 <= limit <= LARGEST_PAGE:
        raise BadInput(f"expected a limit in 1..{LARGEST_PAGE}, found {limit}")
    return limit


def wanted_orders(plan: Plan, world: int, status: str | None, target: str | None) -> list[Clause]:
    """Conditions on orders; None does not matter."""
    where: list[Clause] = []
    if status is not None:
        if status not in STATUSES:
            raise BadInput(did_you_mean("status", status, list(STATUSES)))
        has = select(order_lines.c.number).where(
            order_lines.c.world_id == world, order_lines.c.status == STATUSES.index(status)
        )
        where.append(orders.c.number.in_(has))
    if target is not None:
        into = np.flatnonzero(plan.setup.target == node_of(plan, target))
        where.append(orders.c.link.in_(into.tolist()))
    return where


def search_orders(
    tx: Transaction, plan: Plan, world: int, where: list[Clause], after: int, limit: int
) -> list[Order]:
    """Orders by number, `limit` at most, those with a number above `after`."""
    return _orders(tx, plan, world, [orders.c.number > after, *where], _page(limit))


def count_orders(tx: Transaction, world: int, where: list[Clause]) -> int:
    """How many orders there are of what is wanted."""
    query = select(func.count()).select_from(orders).where(orders.c.world_id == world, *where)
    return int(tx.connection.execute(query).scalar_one())


def _orders(tx: Transaction, plan: Plan, world: int, where: list[Clause], limit: int) -> list[Order]:
    query = select(orders).where(orders.c.world_id == world, *where).order_by(orders.c.number).limit(limit)
    rows = tx.connection.execute(query).all()
    lines = _lines(tx, plan, world, [row.number for row in rows])
    return [
        Order(
            number=row.number,
            link=row.link,
            kind="purchase" if plan.setup.source[row.link] == EXTERNAL else "transfer",
            source=plan.network.links[row.link].source,
            target=plan.network.links[row.link].target,
            placed_on=None if row.placed_on < 0 else row.placed_on,
            lines=tuple(lines[row.number]),
        )
        for row in rows
    ]


def _lines(tx: Transaction, plan: Plan, world: int, numbers: list[int]) -> dict[int, list[Line]]:
    query = (
        select(order_lines)
        .where(order_lines.c.world_id == world, order_lines.c.number.in_(numbers))
        .order_by(order_lines.c.number, order_lines.c.sku)
    )
    found: dict[int, list[Line]] = defaultdict(list)
    for row in tx.connection.execute(query):
        code = plan.network.skus[row.sku]
        line = Line(code, row.units, row.shipped, row.owed, row.reaches_on, STATUSES[row.status])
        found[row.number].append(line)
    return found


def shipment(tx: Transaction, plan: Plan, world: int, number: int) -> Shipment:
    """One shipment (NotFound)."""
    found = _shipments(tx, plan, world, [shipments.c.number == number], 1)
    if not found:
        raise no_shipment(world, number)
    return found[0]


def search_shipments(
    tx: Transaction, plan: Plan, world: int, open_only: bool, after: int, limit: int
) -> list[Shipment]:
    """Shipments by number, `limit` at most, those with a number above `after`."""
    return _shipments(tx, plan, world, [shipments.c.number > after, *_travelling(open_only)], _page(limit))


def count_shipments(tx: Transaction, world: int, open_only: bool) -> int:
    """How many shipments there are on all pages."""
    query = select(func.count()).select_from(shipments).where(shipments.c.world_id == world)
    return int(tx.connection.execute(query.where(*_travelling(open_only))).scalar_one())


def _travelling(open_only: bool) -> list[Clause]:
    return [shipments.c.received_on.is_(None)] if open_only else []


def _shipments(tx: Transaction, plan: Plan, world: int, where: list[Clause], limit: int) -> list[Shipment]:
    query = select(shipments).where(shipments.c.world_id == world, *where)
    links, skus = plan.network.links, plan.network.skus
    return [
        Shipment(
            number=row.number,
            link=row.link,
            source=links[row.link].source,
            target=links[row.link].target,
            sku=skus[row.sku],
            units=row.units,
            lost=row.lost,
            sent_on=None if row.sent_on < 0 else row.sent_on,
            due_on=row.due_on,
            received_on=row.received_on,
        )
        for row in tx.connection.execute(query.order_by(shipments.c.number).limit(limit))
    ]


def policy(tx: Transaction, plan: Plan, world: int, s: int, k: int) -> Policy:
    """The policy of a node and SKU that has one."""
    return _policies(tx, plan, world, [policies.c.node == s, policies.c.sku == k])[0]


def every_policy(tx: Transaction, plan: Plan, world: int) -> list[Policy]:
    """The policies that somebody has set, by node and SKU."""
    return _policies(tx, plan, world, [])


def _policies(tx: Transaction, plan: Plan, world: int, where: list[Clause]) -> list[Policy]:
    position = positions(tx, plan, world)
    query = select(policies).where(policies.c.world_id == world, *where)
    found = []
    for row in tx.connection.execute(query.order_by(policies.c.node, policies.c.sku)):
        now = int(position[row.node, row.sku])
        found.append(
            Policy(
                node=plan.network.nodes[row.node].name,
                sku=plan.network.skus[row.sku],
                reorder_point=row.reorder_point,
                base_stock=row.base_stock,
                position=now,
                suggested=row.base_stock - now if now <= row.reorder_point else 0,
                version=row.version,
            )
        )
    return found


def postings(tx: Transaction, plan: Plan, world: int, day: int | None) -> list[Posting]:
    """Ledger entries in the order of posting."""
    query = select(ledger).where(ledger.c.world_id == world).order_by(ledger.c.id)
    if day is not None:
        query = query.where(ledger.c.day == day)
    names = [node.name for node in plan.network.nodes]
    return [
        Posting(
            row.day, None if row.node is None else names[row.node], rules.ACCOUNTS[row.account], row.money
        )
        for row in tx.connection.execute(query)
    ]


def books(tx: Transaction, world: int) -> dict[str, int]:
    """Money by account."""
    total = cast(func.sum(ledger.c.money), BigInteger).label("total")
    query = select(ledger.c.account, total).where(ledger.c.world_id == world).group_by(ledger.c.account)
    found = {rules.ACCOUNTS[row.account]: row.total for row in tx.connection.execute(query)}
    return {account: found.get(account, 0) for account in rules.ACCOUNTS}
