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

from workgym.services.orders import rules
from workgym.services.orders.scenario import COST, LINES, VALUE, WEIGHT, carrier_delay
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


@njit(cache=True, inline="always")
def split_code(n_centres: int) -> int:
    """Code of the split decision; hold and cancel are the next two."""
    return n_centres * rules.N_SERVICES


@njit(cache=True, forceinline=True)
def option_cost(setup: Any, case: Any, weight_g: int, centre: int, service: int) -> int:
    """Freight plus foreseen lateness of a parcel, in cents."""
    zone = setup.zone[centre, case[REGION]]
    late = case[DAY] + setup.transit[zone, service] - case[PROMISE]
    cost = rules.freight(
        np.int64(setup.parcel[zone, service]), np.int64(setup.per_kg[zone, service]), weight_g
    )
    return cost + rules.lateness(late, case[PRIORITY])


@njit(cache=True, forceinline=True)
def best_service(setup: Any, case: Any, weight_g: int, centre: int) -> int:
    """The service level with the least freight plus foreseen lateness; the slower one on a tie."""
    best = 0
    least = option_cost(setup, case, weight_g, centre, 0)
    for service in range(1, rules.N_SERVICES):
        cost = option_cost(setup, case, weight_g, centre, service)
        if cost < least:
            best, least = service, cost
    return best


@njit(cache=True, forceinline=True)
def keepable(setup: Any, region: int, promise: int, day: int) -> int:
    """1 while the fastest service from the nearest centre would keep the promise, else 0."""
    for centre in range(setup.zone.shape[0]):
        if day + setup.transit[setup.zone[centre, region], rules.N_SERVICES - 1] <= promise:
            return 1
    return 0


@njit(cache=True, forceinline=True)
def lines_short(qty: Any, free: Any, lines: int, centre: int) -> int:
    """How many of the order's lines a centre has too few free units of."""
    short = 0
    for line in range(lines):
        if free[centre, line] < qty[line]:
            short += 1
    return short


@njit(cache=True, forceinline=True)
def split_plan(setup: Any, case: Any, free: Any, picks: Any, rank: Any, plan: Any) -> int:
    """Fill `plan` (line,) with centres for a split shipment; the number of parcels, or 0."""
    basket = case[BASKET]
    for centre in range(len(picks)):
        rank[centre] = option_cost(setup, case, setup.facts[basket, WEIGHT], centre, 0)
    return rules.plan_split(free, setup.line_qty[basket], setup.facts[basket, LINES], picks, rank, plan)


@njit(cache=True, forceinline=True)
def part_weight(setup: Any, basket: int, plan: Any, centre: int) -> int:
    """Grams of the parcel that `centre` ships."""
    grams = 0
    for line in range(setup.facts[basket, LINES]):
        if plan[line] == centre:
            grams += setup.line_weight[basket, line]
    return grams


@njit(cache=True, forceinline=True)
def part_lines(setup: Any, basket: int, plan: Any, centre: int) -> int:
    """Lines of the parcel that `centre` ships."""
    count = 0
    for line in range(setup.facts[basket, LINES]):
        if plan[line] == centre:
            count += 1
    return count


@njit(cache=True, forceinline=True)
def _book_parcels(setup: Any, case: Any, service: int, plan: Any, booking: Any) -> None:
    """Book every parcel of `plan`; a negative `service` takes the best one of each parcel."""
    basket = case[BASKET]
    nominal = np.int64(0)
    parcels = 0
    for centre in range(setup.zone.shape[0]):
        count = part_lines(setup, basket, plan, centre)
        if count == 0:
            continue
        grams = part_weight(setup, basket, plan, centre)
        level = service if service >= 0 else best_service(setup, case, grams, centre)
        zone = setup.zone[centre, case[REGION]]
        price = rules.freight(np.int64(setup.parcel[zone, level]), np.int64(setup.per_kg[zone, level]), grams)
        booking[POSTED + rules.FREIGHT] -= price
        booking[POSTED + rules.PICKING] -= rules.picking(count)
        parcels = rules.pack(parcels, centre, level)
        arrival = case[DAY] + setup.transit[zone, level]
        nominal = max(nominal, arrival)
    foreseen = rules.lateness(nominal - case[PROMISE], case[PRIORITY])
    booking[POSTED + rules.SALES] = setup.facts[basket, VALUE]
    booking[POSTED + rules.GOODS] = -setup.facts[basket, COST]
    booking[POSTED + rules.LATENESS] = -foreseen
    booking[BROKEN] = 1 if nominal > case[PROMISE] else 0
    booking[STATUS] = rules.ALLOCATED
    booking[PARCELS] = parcels


@njit(cache=True, forceinline=True)
def carrier_surprise(setup: Any, key: Any, number: int, row: Any) -> tuple[int, int]:
    """What the carriers do to an order of today's wave: (lateness cents booked, promises broken).

    Args:
        setup: constants of the season.
        key: key of the episode.
        number: the order's number.
        row: the order, columns of `scenario`; it ships on the day it was reviewed.
    """
    nominal, actual = np.int64(0), np.int64(0)
    for centre in range(setup.zone.shape[0]):
        level = rules.service_from(np.int64(row[ROW_PARCELS]), centre)
        if level < 0:
            continue
        arrival = row[ROW_REVIEWED] + setup.transit[setup.zone[centre, row[ROW_REGION]], level]
        nominal = max(nominal, arrival)
        actual = max(actual, arrival + carrier_delay(key, number, centre, level))
    promise, priority = np.int64(row[ROW_PROMISE]), np.int64(row[ROW_PRIORITY])
    cents = rules.lateness(nominal - promise, priority) - rules.lateness(actual - promise, priority)
    return cents, (1 if actual > promise else 0) - (1 if nominal > promise else 0)


@njit(cache=True, forceinline=True)
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
    split = split_code(setup.zone.shape[0])
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
            _book_parcels(setup, case, decision % rules.N_SERVICES, plan, booking)
    elif decision == split:
        if can_ship_whole(setup, case, free, picks) or split_plan(setup, case, free, picks, rank, plan) == 0:
            booking[REFUSAL] = rules.NOT_SPLITTABLE
            plan[:] = -1
        else:
            _book_parcels(setup, case, -1, plan, booking)
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


@njit(cache=True, forceinline=True)
def can_ship_whole(setup: Any, case: Any, free: Any, picks: Any) -> bool:
    """Whether some centre can ship the order whole today."""
    basket = case[BASKET]
    lines = np.int64(setup.facts[basket, LINES])
    for centre in range(len(picks)):
        if picks[centre] >= lines and lines_short(setup.line_qty[basket], free, lines, centre) == 0:
            return True
    return False
