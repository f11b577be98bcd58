"""The business verbs that people use between two closings of the day.

Each checks first and writes after: a `Refused` has changed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from sqlalchemy import select, update

from workgym.services.compiled import KERNEL
from workgym.services.kernel import BadInput, Conflict, NotFound, Refused
from workgym.services.storage import Transaction
from workgym.services.supply_chain import days, rules, scenario, views
from workgym.services.supply_chain import statements as sql
from workgym.services.supply_chain.days import Booked
from workgym.services.supply_chain.floor import Floor, Journal, read
from workgym.services.supply_chain.records import Sale
from workgym.services.supply_chain.scenario import EXTERNAL
from workgym.services.supply_chain.soundness import MOST_UNITS
from workgym.services.supply_chain.tables import CANCELLED, order_lines, orders, policies, shipments, stock
from workgym.services.supply_chain.worlds import Plan

NO_PACK, NOTHING_LEFT, NOT_DUE, HAS_COME, SHORT_OF_STOCK, NO_CUSTOMERS = range(
    len(rules.REASONS), len(rules.REASONS) + 6
)
REASONS = (
    *rules.REASONS,
    "less than half a pack is no order; order whole packs",
    "nothing of the order is left to ship; it can no longer be cancelled",
    "the shipment is not due yet",
    "the shipment has been received already",
    "the node has fewer units on hand; let the customer wait for the rest, or sell fewer",
    "the node has no customers",
)


class Wanted(NamedTuple):
    """A line of an order to place."""

    sku: str
    units: int


def refused(code: int) -> Refused:
    """The refusal of a code of `REASONS`."""
    return Refused(REASONS[code], code)


def require_open(floor: Floor) -> None:
    """Refuse when the episode of the one world is over."""
    if floor.rows[0, sql.WORLD_ENDED]:
        raise refused(rules.EPISODE_OVER)


def _here(floor: Floor) -> tuple[int, int]:
    """Id and period of the one world."""
    return int(floor.ids[0]), int(floor.day[0])


ONE = np.ones(1, dtype=np.bool_)


def purchase(
    tx: Transaction, plan: Plan, floor: Floor, link: int, lines: Sequence[Wanted], journal: Journal
) -> int:
    """Order from a supplier; the order's number."""
    views.require_link(plan, link)
    if plan.setup.source[link] != EXTERNAL:
        raise BadInput(f"expected a link from a supplier, found link {link} between nodes; transfer over it")
    return _order(tx, plan, floor, link, lines, journal, "purchase")


def transfer(
    tx: Transaction,
    plan: Plan,
    floor: Floor,
    source: str,
    target: str,
    lines: Sequence[Wanted],
    journal: Journal,
) -> int:
    """Order goods from another node; the order's number."""
    ends = [views.node_of(plan, name) for name in (source, target)]
    found = np.flatnonzero((plan.setup.source == ends[0]) & (plan.setup.target == ends[1]))
    if not len(found):
        raise NotFound(f"no link from {source!r} to {target!r}; the list of links has those that there are")
    return _order(tx, plan, floor, int(found[0]), lines, journal, "transfer")


def _order(
    tx: Transaction,
    plan: Plan,
    floor: Floor,
    link: int,
    lines: Sequence[Wanted],
    journal: Journal,
    verb: str,
) -> int:
    require_open(floor)
    setup, skus = plan.setup, plan.setup.most.shape[1]
    quantities = np.zeros((1, setup.most.size), dtype=np.int64)
    if len({line.sku for line in lines}) != len(lines) or not lines:
        raise BadInput("expected lines of different SKUs, one at least; join equal SKUs into one line")
    for line in lines:
        k = views.sku_of(plan, line.sku)
        most, pack = int(setup.most[link, k]), int(setup.pack[link, k])
        code = rules.refuse_order(line.units, most, 0)
        if code == rules.OK and rules.whole_packs(line.units, pack, most) == 0:
            code = NO_PACK
        if code != rules.OK:
            raise refused(code)
        quantities[0, link * skus + k] = line.units
    _require_room(tx, plan, floor, quantities.reshape(-1, skus).sum(axis=0))
    booked = Booked.nothing(setup, 1)
    made = days.order(setup, floor, ONE, quantities, booked)
    world, today = _here(floor)
    days.write_orders(tx, floor, made)
    days.write_worlds(tx, floor, ONE)
    journal.post_all(floor, booked.accounts)
    number = int(made[0, sql.LINE_NUMBER])
    units = {plan.network.skus[row[sql.LINE_SKU]]: row[sql.LINE_UNITS] for row in made.tolist()}
    journal.note(world, today, verb, f"order/{number}", link=link, units=units)
    return number


def _require_room(tx: Transaction, plan: Plan, floor: Floor, more: Any) -> None:
    """Keep every sum of a SKU's units within its column."""
    lanes = read(tx, plan.setup, floor).lanes
    counts = [array[0].astype(np.int64) for array in (lanes.on_hand, lanes.backlog, lanes.owed)]
    counts += [array[0].astype(np.int64).sum(axis=2) for array in (lanes.mail, lanes.way)]
    if (sum(array.sum(axis=0) for array in counts) + more > MOST_UNITS).any():
        raise BadInput(f"expected at most {MOST_UNITS:,} units of a SKU in a world, found more; order less")


def cancel(tx: Transaction, floor: Floor, number: int, journal: Journal) -> None:
    """Cancel what has not left the source; what it cost to order stays booked."""
    require_open(floor)
    world, today = _here(floor)
    here = (order_lines.c.world_id == world, order_lines.c.number == number)
    found = select(orders.c.number).where(orders.c.world_id == world, orders.c.number == number)
    if tx.connection.execute(found).first() is None:
        raise views.no_order(world, number)
    given_up = update(order_lines).where(*here, order_lines.c.owed > 0).values(owed=0, status=CANCELLED)
    if tx.connection.execute(given_up).rowcount == 0:
        raise refused(NOTHING_LEFT)
    journal.note(world, today, "cancel", f"order/{number}")


def receive(tx: Transaction, plan: Plan, floor: Floor, number: int, journal: Journal) -> None:
    """Put a shipment that is due on the shelf, before the day is closed."""
    require_open(floor)
    world, today = _here(floor)
    here = (shipments.c.world_id == world, shipments.c.number == number)
    row = tx.connection.execute(select(shipments).where(*here)).first()
    if row is None:
        raise views.no_shipment(world, number)
    if row.received_on is not None:
        raise refused(HAS_COME)
    if row.due_on > today:
        raise refused(NOT_DUE)
    tx.connection.execute(update(shipments).where(*here).values(received_on=today))
    at = stock.c.node == int(plan.setup.target[row.link])
    tx.connection.execute(
        update(stock)
        .where(stock.c.world_id == world, at, stock.c.sku == row.sku)
        .values(on_hand=stock.c.on_hand + row.units)
    )
    journal.note(world, today, "receive", f"shipment/{number}", units=row.units)


@njit(**KERNEL)
def _price(setup: Any, key: Any, family: int, t: int, s: int, k: int) -> int:
    return scenario.price_of(setup, key, family, t, s, k)


def sell(
    tx: Transaction,
    plan: Plan,
    floor: Floor,
    node: str,
    sku: str,
    units: int,
    waits: bool,
    journal: Journal,
) -> Sale:
    """Sell to a customer at today's price; one who `waits` gets what is missing later."""
    require_open(floor)
    world, today = _here(floor)
    s, k = views.node_of(plan, node), views.sku_of(plan, sku)
    if plan.setup.group[s, k] < 0:
        raise refused(NO_CUSTOMERS)
    here = (stock.c.world_id == world, stock.c.node == s, stock.c.sku == k)
    shelf = tx.connection.execute(select(stock).where(*here)).one()
    sold = rules.served(shelf.on_hand, units)
    if sold < units and not waits:
        raise refused(SHORT_OF_STOCK)
    missing = units - sold
    more = np.zeros(plan.setup.most.shape[1], dtype=np.int64)
    more[k] = missing
    _require_room(tx, plan, floor, more)
    family = int(floor.rows[0, sql.WORLD_FAMILY])
    price = int(_price(plan.setup, floor.key[0], family, today, s, k))
    tx.connection.execute(
        update(stock)
        .where(*here)
        .values(on_hand=shelf.on_hand - sold, sold=shelf.sold + sold, backlog=shelf.backlog + missing)
    )
    floor.rows[0, [sql.WORLD_DEMANDED, sql.WORLD_MISSED]] += (units, missing)
    days.write_worlds(tx, floor, ONE)
    journal.post(world, today, s, rules.SALES, sold * price)
    journal.note(world, today, "sell", f"stock/{node}/{sku}", units=units, sold=sold)
    return Sale(node, sku, sold, missing, price)


def set_policy(
    tx: Transaction,
    plan: Plan,
    floor: Floor,
    node: str,
    sku: str,
    reorder_point: int,
    base_stock: int,
    expected: int | None,
    journal: Journal,
) -> tuple[int, int]:
    """Set when a node orders a SKU and up to where; its position and the SKU's."""
    world, today = _here(floor)
    s, k = views.node_of(plan, node), views.sku_of(plan, sku)
    if not 0 <= reorder_point <= base_stock <= MOST_UNITS:
        raise BadInput(
            f"expected 0 <= reorder_point <= base_stock <= {MOST_UNITS:,}, "
            f"found {reorder_point} and {base_stock}"
        )
    here = (policies.c.world_id == world, policies.c.node == s, policies.c.sku == k)
    found = tx.connection.execute(select(policies.c.version).where(*here)).first()
    version = 0 if found is None else int(found.version)
    if expected is not None and version != expected:
        raise Conflict(f"expected version {expected} of the policy, found {version}; read it again")
    if found is None:
        tx.run(sql.ADD_POLICY, world, s, k, reorder_point, base_stock, 1)
    else:
        changed = {"reorder_point": reorder_point, "base_stock": base_stock, "version": version + 1}
        tx.connection.execute(update(policies).where(*here).values(**changed))
    journal.note(
        world, today, "set_policy", f"policy/{node}/{sku}", reorder_point=reorder_point, base_stock=base_stock
    )
    return s, k


def close_day(tx: Transaction, plan: Plan, floor: Floor, journal: Journal) -> None:
    """Close the day in the one world and open the next."""
    require_open(floor)
    yard = read(tx, plan.setup, floor)
    nothing = np.empty((0, sql.LINE_WIDTH), dtype=np.int64)
    days.close(tx, plan.setup, floor, yard, ONE, nothing, Booked.nothing(plan.setup, 1), journal)
