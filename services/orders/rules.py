"""The business rules of order fulfilment: plain functions over small integers.

No clock, no random number, no SQL, no float. The live service calls them inside its transactions;
the twin compiles the same functions with Numba. Money is integer cents, weight grams, time days.
"""

from __future__ import annotations

from typing import Any

from workgym.services.kernel import Cents, rule

MAX_LINES = 4  # a fulfilment order is one picking tote; longer invoices become several orders
MAX_CENTRES = 4  # as many as have a bit in a line's group of bits
_EACH_LINE = sum(1 << (MAX_CENTRES * line) for line in range(MAX_LINES))
SERVICES = ("economy", "standard", "express")
N_SERVICES = len(SERVICES)

WAITING, ALLOCATED, SHIPPED, CANCELLED, WITHDRAWN = range(5)
STATUSES = ("waiting", "allocated", "shipped", "cancelled", "withdrawn")

SALES, GOODS, FREIGHT, PICKING, LATENESS, GOODWILL = range(6)
ACCOUNTS = ("sales", "goods", "freight", "picking", "lateness", "goodwill")

OK, NOT_WAITING, SHORT_OF_STOCK, NO_CAPACITY, NOT_SPLITTABLE, EPISODE_OVER, UNKNOWN_ACTION = range(7)
REASONS = (
    "",
    "the order is not waiting for a decision",
    "the centre has too little free stock for at least one line",
    "the centre has no picking capacity left for this order today",
    "the order cannot be split over centres: one centre can ship it whole, or no set of centres holds it",
    "the season is over; no order can be decided any more",
    "there is no such action",
)


@rule
def freight(base: Cents, per_kg: Cents, weight_g: int) -> Cents:
    """Carrier's price of one parcel; a started kilogram counts whole."""
    return base + per_kg * ((weight_g + 999) // 1000)


@rule
def picking(lines: int) -> Cents:
    """Cost of picking and packing one parcel with `lines` order lines."""
    return 80 + 15 * lines


@rule
def lateness(days_late: int, priority: int) -> Cents:
    """Compensation for an order that arrives `days_late` days after its promise.

    A broken promise costs a fixed sum and a daily one for up to five days; priority customers get
    three times as much.
    """
    if days_late <= 0:
        return 0
    return (200 + 150 * min(days_late, 5)) * (3 if priority else 1)


@rule
def goodwill(sales: Cents, priority: int) -> Cents:
    """Cost of cancelling an accepted order: an apology voucher and a share of its value."""
    return (300 + sales // 20) * (2 if priority else 1)


@rule
def withdrawal(sales: Cents, priority: int) -> Cents:
    """Cost of a customer who gave up waiting and cancelled."""
    return goodwill(sales, priority) // 2


@rule
def refuse_whole(status: int, lines_short: int, lines: int, picks_left: int) -> int:
    """Why one centre may not ship this order whole, or OK."""
    if status != WAITING:
        return NOT_WAITING
    if lines_short > 0:
        return SHORT_OF_STOCK
    if picks_left < lines:
        return NO_CAPACITY
    return OK


@rule
def holds(held: int, line: int, centre: int) -> int:
    """`held`, and that a centre holds enough of a line: four bits a line, one a centre."""
    return held | (1 << (MAX_CENTRES * line + centre))


@rule
def plan_split(held: int, lines: int, picks_left: Any, rank: Any, plan: Any) -> int:
    """Spread an order's lines over as few centres as a greedy cover needs.

    Each round takes the centre that can ship most of the open lines today; ties go to the better
    `rank`. Each line ships whole from one centre.

    Args:
        held: which centres hold enough of which line, see `holds`.
        lines: how many lines the order has.
        picks_left: (centre,) lines that each centre can still pick today.
        rank: (centre,) lower is preferred, the freight of the order from there.
        plan: (line,) filled with the centre of each line.

    Returns:
        The number of parcels, or 0 when the order cannot be covered today or one centre covers it.
    """
    for line in range(lines):
        plan[line] = -1
    open_lines = _EACH_LINE & ((1 << (MAX_CENTRES * lines)) - 1)
    parcels = 0
    while open_lines:
        best, best_cover = -1, 0
        for centre in range(len(picks_left)):
            held_open = (held >> centre) & open_lines
            cover = min((held_open * _EACH_LINE >> (MAX_CENTRES * (MAX_LINES - 1))) & 7, picks_left[centre])
            if cover > best_cover or (cover == best_cover and cover > 0 and rank[centre] < rank[best]):
                best, best_cover = centre, cover
        if best < 0:
            return 0
        taken = 0
        for line in range(lines):
            if taken < best_cover and (held & open_lines << best) >> (MAX_CENTRES * line + best) & 1:
                plan[line] = best
                open_lines &= ~(1 << (MAX_CENTRES * line))
                taken += 1
        held &= ~(_EACH_LINE << best)
        parcels += 1
    return parcels if parcels > 1 else 0


@rule
def pack(parcels: int, centre: int, service: int) -> int:
    """Add one parcel to an order's compact shipping code: two bits a centre, 0 for none."""
    return parcels | ((service + 1) << (2 * centre))


@rule
def service_from(parcels: int, centre: int) -> int:
    """The service level of the parcel from `centre`, or -1 when none ships from there."""
    return ((parcels >> (2 * centre)) & 3) - 1
