"""The order desk: what it sees of one waiting order, and what a decision on it books.

A `case` is a row of integers about the order and its day; `free` and `picks` say what the centres
hold. Twin and live service fill them from their own state; what a decision means is common to both.

Decisions are integers: `centre * N_SERVICES + service` ships the order whole, then come split, hold
and cancel (`split_code`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from workgym.services.compiled import PART
from workgym.services.orders import rules
from workgym.services.orders.scenario import COST, LINES, N_CENTRES, VALUE, WEIGHT, carrier_delay
from workgym.services.orders.scenario import PARCELS as ROW_PARCELS
from workgym.services.orders.scenario import PRIORITY as ROW_PRIORITY
from workgym.services.orders.scenario import PROMISE as ROW_PROMISE
from workgym.services.orders.scenario import REGION as ROW_REGION
from workgym.services.orders.scenario import REVIEWED as ROW_REVIEWED

# Columns of a case.
ORDER, DAY, BASKET, REGION, PRIORITY, PLACED, PROMISE, BEHIND, BEHIND_PICKS = range(9)
CASE_WIDTH = 9
NO_ORDER = -1

# Columns of a booking: what one decision changes.
REFUSAL, STATUS, PARCELS, BROKEN, POSTED = range(5)
BOOKING_WIDTH = POSTED + len(rules.ACCOUNTS)


@njit(**PART)
def split_code(n_centres: int) -> int:
    """Code of the split decision; hold and cancel are the next two."""
    return n_centres * rules.N_SERVICES


@njit(**PART)
def option_cost(setup: Any, case: Any, weight_g: int, centre: int, service: int) -> int:
    """Freight plus foreseen lateness of a parcel, in cents."""
    zone = setup.zone[centre, case[REGION]]
    late = case[DAY] + setup.transit[zone, service] - case[PROMISE]
    cost = rules.freight(
        np.int64(setup.parcel[zone, service]), np.int64(setup.per_kg[zone, service]), weight_g
    )
    return cost + rules.lateness(late, case[PRIORITY])


@njit(**PART)
def best_service(setup: Any, case: Any, weight_g: int, centre: int) -> int:
    """The service level with the least freight plus foreseen lateness; the slower one on a tie."""
    best = 0
    least = option_cost(setup, case, weight_g, centre, 0)
    for service in range(1, rules.N_SERVICES):
        cost = option_cost(setup, case, weight_g, centre, service)
        if cost < least:
            best, least = service, cost
    return best


@njit(**PART)
def keepable(setup: Any, region: int, promise: int, day: int) -> int:
    """1 while the fastest service from the nearest centre would keep the promise, else 0."""
    for centre in range(N_CENTRES):
        if day + setup.transit[setup.zone[centre, region], rules.N_SERVICES - 1] <= promise:
            return 1
    return 0


@njit(**PART)
def lines_short(qty: Any, free: Any, lines: int, centre: int) -> int:
    """How many of the order's lines a centre has too few free units of."""
    short = 0
    for line in range(lines):
        if free[centre, line] < qty[line]:
            short += 1
    return short


@njit(**PART)
def split_plan(setup: Any, case: Any, free: Any, picks: Any, rank: Any, plan: Any) -> int:
    """Fill `plan` (line,) with centres for a split shipment; the number of parcels, or 0."""
    basket, held = case[BASKET], 0
    for line in range(setup.facts[basket, LINES]):
        for centre in range(N_CENTRES):
            if free[centre, line] >= setup.line_qty[basket, line]:
                held = rules.holds(held, line, centre)
    return split_held(setup, case, held, picks, rank, plan)


@njit(**PART)
def split_held(setup: Any, case: Any, held: int, picks: Any, rank: Any, plan: Any) -> int:
    """`split_plan`, when it is known which centre holds which line."""
    basket = case[BASKET]
    for centre in range(N_CENTRES):
        rank[centre] = option_cost(setup, case, np.int64(setup.facts[basket, WEIGHT]), centre, 0)
    return rules.plan_split(held, setup.facts[basket, LINES], picks, rank, plan)


@njit(**PART)
def part_weight(setup: Any, basket: int, plan: Any, centre: int) -> int:
    """Grams of the parcel that `centre` ships."""
    grams = 0
    for line in range(setup.facts[basket, LINES]):
        if plan[line] == centre:
            grams += setup.line_weight[basket, line]
    return grams


@njit(**PART)
def part_lines(setup: Any, basket: int, plan: Any, centre: int) -> int:
    """Lines of the parcel that `centre` ships."""
    count = 0
    for line in range(setup.facts[basket, LINES]):
        if plan[line] == centre:
            count += 1
    return count


@njit(**PART)
def parcel(setup: Any, day: int, region: int, centre: int, service: int, grams: int) -> tuple[int, int]:
    """Price of one parcel in cents, and the day on which the carrier should bring it."""
    zone = setup.zone[centre, region]
    price = rules.freight(np.int64(setup.parcel[zone, service]), np.int64(setup.per_kg[zone, service]), grams)
    return price, day + np.int64(setup.transit[zone, service])


@njit(**PART)
def _book_whole(setup: Any, case: Any, centre: int, service: int, booking: Any) -> None:
    """Book the one parcel that holds the whole order."""
    facts = setup.facts[case[BASKET]]
    price, arrival = parcel(setup, case[DAY], case[REGION], centre, service, np.int64(facts[WEIGHT]))
    booking[POSTED + rules.FREIGHT] = -price
    booking[POSTED + rules.PICKING] = -rules.picking(np.int64(facts[LINES]))
    booking[PARCELS] = rules.pack(0, centre, service)
    _book_sale(setup, case, arrival, booking)


@njit(**PART)
def _book_parcels(setup: Any, case: Any, plan: Any, booking: Any) -> None:
    """Book every parcel of `plan`, each by its best service."""
    basket = case[BASKET]
    nominal = np.int64(0)
    parcels = 0
    for centre in range(N_CENTRES):
        count = part_lines(setup, basket, plan, centre)
        if count == 0:
            continue
        grams = part_weight(setup, basket, plan, centre)
        service = best_service(setup, case, grams, centre)
        price, arrival = parcel(setup, case[DAY], case[REGION], centre, service, grams)
        booking[POSTED + rules.FREIGHT] -= price
        booking[POSTED + rules.PICKING] -= rules.picking(count)
        parcels = rules.pack(parcels, centre, service)
        nominal = max(nominal, arrival)
    booking[PARCELS] = parcels
    _book_sale(setup, case, nominal, booking)


@njit(**PART)
def _book_sale(setup: Any, case: Any, nominal: int, booking: Any) -> None:
    """Book the goods that ship and the lateness that is foreseen, all being there on day `nominal`."""
    basket = case[BASKET]
    booking[POSTED + rules.SALES] = setup.facts[basket, VALUE]
    booking[POSTED + rules.GOODS] = -np.int64(setup.facts[basket, COST])
    booking[POSTED + rules.LATENESS] = -rules.lateness(nominal - case[PROMISE], case[PRIORITY])
    booking[BROKEN] = 1 if nominal > case[PROMISE] else 0
    booking[STATUS] = rules.ALLOCATED


@njit(**PART)
def carrier_surprise(setup: Any, key: Any, number: int, row: Any) -> tuple[int, int]:
    """What the carriers do to an order of today's wave: (lateness cents booked, promises broken).

    Args:
        setup: constants of the season.
        key: key of the episode.
        number: the order's number.
        row: the order, columns of `scenario`; it ships on the day it was reviewed.
    """
    promise, priority = np.int64(row[ROW_PROMISE]), np.int64(row[ROW_PRIORITY])
    parcels, day, region = np.int64(row[ROW_PARCELS]), np.int64(row[ROW_REVIEWED]), np.int64(row[ROW_REGION])
    return surprise(setup, key, number, parcels, day, region, promise, priority)


@njit(**PART)
def surprise(
    setup: Any, key: Any, number: int, parcels: int, day: int, region: int, promise: int, priority: int
) -> tuple[int, int]:
    """`carrier_surprise` of an order whose columns are at hand; `day` is when it ships."""
    nominal, actual = np.int64(0), np.int64(0)
    for centre in range(N_CENTRES):
        level = rules.service_from(parcels, centre)
        if level < 0:
            continue
        arrival = day + np.int64(setup.transit[setup.zone[centre, region], level])
        nominal = max(nominal, arrival)
        actual = max(actual, arrival + carrier_delay(key, number, centre, level))
    return postponed(nominal, actual, promise, priority)


@njit(**PART)
def postponed(nominal: int, actual: int, promise: int, priority: int) -> tuple[int, int]:
    """What it books that an order comes on day `actual` instead of `nominal`: (cents, promises broken)."""
    cents = rules.lateness(nominal - promise, priority) - rules.lateness(actual - promise, priority)
    return cents, (1 if actual > promise else 0) - (1 if nominal > promise else 0)


@njit(**PART)
def decide(
    setup: Any,
    case: Any,
    status: int,
    free: Any,
    picks: Any,
    decision: int,
    rank: Any,
    plan: Any,
    booking: Any,
) -> None:
    """Fill `booking` (BOOKING_WIDTH,) and `plan` (line,) with what a decision changes.

    A refused decision books nothing but its reason. A promise is broken once, by the decision after
    which it cannot be kept any more, holding included. What the carriers do to it is booked when the
    day's wave has left (`carrier_surprise`).

    Args:
        setup: constants of the season.
        case: (CASE_WIDTH,) the order and its day.
        status: the order's status.
        free: (centre, line) free units of each line's SKU; only the named centre's row is read
            unless the decision is a split.
        picks: (centre,) lines that each centre can still pick today.
        decision: code of the decision.
        rank: (centre,) scratch.
        plan: (MAX_LINES,) centre of each line, -1 where nothing ships.
        booking: the result.
    """
    booking[:] = 0
    plan[:] = -1
    booking[STATUS] = status
    basket = case[BASKET]
    lines = np.int64(setup.facts[basket, LINES])
    split = split_code(N_CENTRES)
    if decision < 0 or decision > split + 2:
        booking[REFUSAL] = rules.UNKNOWN_ACTION
    elif status != rules.WAITING:
        booking[REFUSAL] = rules.NOT_WAITING
    elif decision < split:
        centre = decision // rules.N_SERVICES
        short = lines_short(setup.line_qty[basket], free, lines, centre)
        booking[REFUSAL] = rules.refuse_whole(status, short, lines, np.int64(picks[centre]))
        if booking[REFUSAL] == rules.OK:
            plan[:lines] = centre
            _book_whole(setup, case, centre, decision % rules.N_SERVICES, booking)
    elif decision == split:
        if can_ship_whole(setup, case, free, picks) or split_plan(setup, case, free, picks, rank, plan) == 0:
            booking[REFUSAL] = rules.NOT_SPLITTABLE
            plan[:] = -1
        else:
            _book_parcels(setup, case, plan, booking)
    elif decision == split + 1:
        booking[BROKEN] = 1 - keepable(setup, case[REGION], case[PROMISE], case[DAY] + 1)
    elif decision == split + 2:
        booking[STATUS] = rules.CANCELLED
        booking[BROKEN] = 1
        booking[POSTED + rules.GOODWILL] = -rules.goodwill(
            np.int64(setup.facts[basket, VALUE]), case[PRIORITY]
        )
    if booking[BROKEN] == 1 and keepable(setup, case[REGION], case[PROMISE], case[DAY]) == 0:
        booking[BROKEN] = 0  # it was lost before


@njit(**PART)
def can_ship_whole(setup: Any, case: Any, free: Any, picks: Any) -> bool:
    """Whether some centre can ship the order whole today."""
    basket = case[BASKET]
    lines = np.int64(setup.facts[basket, LINES])
    for centre in range(N_CENTRES):
        if picks[centre] >= lines and lines_short(setup.line_qty[basket], free, lines, centre) == 0:
            return True
    return False
