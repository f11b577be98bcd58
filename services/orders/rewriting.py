"""The rows of a world that a canonical state tells."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from workgym.services.orders import desk, rules, scenario
from workgym.services.orders.decisions import desk_price
from workgym.services.orders.floor import Ints
from workgym.services.orders.scenario import Setup
from workgym.services.orders.season import CUSTOMERS_PER_REGION
from workgym.services.orders.state import State

# Columns of an order of a state: `state.COLUMNS`.
_BASKET, _REGION, _PRIORITY, _PLACED, _PROMISE, _STATUS, _PARCELS, _REVIEWED = range(8)


class Rewritten(NamedTuple):
    """The rows of a restored world."""

    heads: Ints  # (n, 17) columns of `orders`, the status as a code
    lines: Ints  # (m, 7) columns of `order_lines`, -1 for no centre
    parcels: Ints  # (p, 7) columns of `shipments`, the service as a code, -1 for not shipped
    stock: Ints  # (C * K, 5) on hand, reserved, world, SKU, centre
    postings: Ints  # (q, 5) of orders that have not left


def rewritten(setup: Setup, world: int, state: State) -> Rewritten:
    """Every row that the state tells, with what its key brings back."""
    n, (centres, skus) = len(state.orders), setup.stock.shape
    most = n * rules.MAX_LINES
    room = Rewritten(
        heads=np.zeros((n, 17), dtype=np.int64),
        lines=np.zeros((most, 7), dtype=np.int64),
        parcels=np.zeros((most, 7), dtype=np.int64),
        stock=np.zeros((centres * skus, 5), dtype=np.int64),
        postings=np.zeros((n * len(rules.ACCOUNTS), 5), dtype=np.int64),
    )
    counts = np.zeros(3, dtype=np.int64)
    _rewrite(
        setup, world, np.uint64(state.key), state.family, state.day, state.orders, state.free, counts, room
    )
    lines, parcels, postings = counts.tolist()
    return room._replace(
        lines=room.lines[:lines], parcels=room.parcels[:parcels], postings=room.postings[:postings]
    )


@njit(cache=True)
def _rewrite(
    setup: Any, world: int, key: Any, family: int, day: int, orders: Any, free: Any, counts: Any, out: Any
) -> None:
    """Fill `out` with the rows of a world; `counts` are lines, parcels, postings."""
    future = np.zeros((setup.max_orders, scenario.ORDER_WIDTH), dtype=np.int32)
    first = 0
    for d in range(min(day + 1, setup.days)):
        first += scenario.arrive(setup, key, family, d, future[first:])
    centres, skus = setup.stock.shape
    for sku in range(skus):
        for centre in range(centres):
            row = out.stock[sku * centres + centre]
            row[0], row[2], row[3], row[4] = free[centre, sku], world, sku, centre
    plan = np.zeros(rules.MAX_LINES, dtype=np.int64)
    for number in range(len(orders)):
        order = orders[number]
        _rewrite_head(setup, world, number, order, future[number, scenario.GIVE_UP], out.heads[number])
        _deal_out(setup, order, plan)
        for line in range(setup.facts[order[_BASKET], scenario.LINES]):
            _rewrite_line(setup, world, number, order, line, plan, counts, out)
        if order[_PARCELS] != 0:
            _rewrite_parcels(setup, world, number, order, plan, counts, out)


@njit(cache=True)
def _rewrite_head(setup: Any, world: int, number: int, order: Any, give_up: int, head: Any) -> None:
    basket, region = order[_BASKET], order[_REGION]
    facts = setup.facts[basket]
    head[0], head[1], head[3], head[4] = world, number, basket, region
    head[2] = region * CUSTOMERS_PER_REGION + basket % CUSTOMERS_PER_REGION
    head[5], head[6], head[7], head[8] = order[_PRIORITY], order[_PLACED], order[_PROMISE], give_up
    head[9], head[10] = order[_STATUS], order[_REVIEWED]
    head[11], head[12], head[13] = facts[scenario.LINES], facts[scenario.UNITS], facts[scenario.WEIGHT]
    head[14], head[15], head[16] = facts[scenario.VALUE], facts[scenario.COST], 1


@njit(cache=True)
def _deal_out(setup: Any, order: Any, plan: Any) -> None:
    """Give each line one of the order's centres in turn, or none."""
    plan[:] = -1
    if order[_PARCELS] == 0:
        return
    centre = -1
    for line in range(setup.facts[order[_BASKET], scenario.LINES]):
        centre = (centre + 1) % setup.zone.shape[0]
        while rules.service_from(order[_PARCELS], centre) < 0:
            centre = (centre + 1) % setup.zone.shape[0]
        plan[line] = centre


@njit(cache=True)
def _rewrite_line(
    setup: Any, world: int, number: int, order: Any, line: int, plan: Any, counts: Any, out: Any
) -> None:
    basket = order[_BASKET]
    sku, qty = setup.line_sku[basket, line], setup.line_qty[basket, line]
    row = out.lines[counts[0]]
    row[0], row[1], row[2], row[3], row[4] = world, number, line, sku, qty
    row[5], row[6] = setup.line_weight[basket, line], plan[line]
    counts[0] += 1
    if plan[line] >= 0 and order[_STATUS] == rules.ALLOCATED:
        shelf = out.stock[sku * setup.stock.shape[0] + plan[line]]
        shelf[0] += qty
        shelf[1] += qty


@njit(cache=True)
def _rewrite_parcels(
    setup: Any, world: int, number: int, order: Any, plan: Any, counts: Any, out: Any
) -> None:
    """The order's parcels, and its postings while it has not left."""
    basket, region, priority, reviewed = order[_BASKET], order[_REGION], order[_PRIORITY], order[_REVIEWED]
    nominal, freight, picking = np.int64(0), np.int64(0), np.int64(0)
    for centre in range(setup.zone.shape[0]):
        service = rules.service_from(order[_PARCELS], centre)
        if service < 0:
            continue
        zone = setup.zone[centre, region]
        price = desk_price(setup, zone, service, desk.part_weight(setup, basket, plan, centre))
        row = out.parcels[counts[1]]
        row[0], row[1], row[2], row[3], row[4] = world, number, centre, service, price
        row[5] = -1 if order[_STATUS] == rules.ALLOCATED else reviewed
        row[6] = reviewed + setup.transit[zone, service]
        counts[1] += 1
        nominal = max(nominal, row[6])
        freight += price
        picking += rules.picking(desk.part_lines(setup, basket, plan, centre))
    if order[_STATUS] != rules.ALLOCATED:
        return
    facts = setup.facts[basket]
    late = rules.lateness(nominal - order[_PROMISE], priority)
    for account, cents in (
        (rules.SALES, np.int64(facts[scenario.VALUE])),
        (rules.GOODS, -np.int64(facts[scenario.COST])),
        (rules.FREIGHT, -freight),
        (rules.PICKING, -picking),
        (rules.LATENESS, -late),
    ):
        if cents != 0:
            row = out.postings[counts[2]]
            row[0], row[1], row[2], row[3], row[4] = world, reviewed, number, account, cents
            counts[2] += 1
