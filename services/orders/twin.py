"""The twin: the retailer's state in arrays, N lanes advanced by one compiled loop.

It holds no rule of its own: what may be decided and what it books is `desk.py`, what happens is
`scenario.py`. Here is only how the state is kept and in which order a day runs:

    open   receive deliveries, customers give up, new orders come, capacity is set
    decide one waiting order after the other, oldest first
    close  the wave leaves, what the carriers did to promises is booked
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.services.orders import desk, rules
from workgym.services.orders.scenario import (
    BASKET,
    GIVE_UP,
    LINES,
    ORDER_WIDTH,
    PARCELS,
    PLACED,
    PRIORITY,
    PROMISE,
    REGION,
    REVIEWED,
    STATUS,
    VALUE,
    Setup,
    arrive,
    capacity_today,
    opening_stock,
    receive,
)

# Columns of a lane.
(
    DAY,
    CURSOR,
    N_WAITING,
    N_ORDERS,
    BEHIND_PICKS,
    LATER_LATENESS,
    LATER_BROKEN,
    ENDED,
    FAMILY,
    BROKEN,
    REFUSED,
) = range(11)
LANE_WIDTH = 12


class Lanes(NamedTuple):
    """State of N lanes."""

    key: NDArray[np.uint64]  # (N,) key of the running episode
    lane: NDArray[np.int64]  # (N, LANE_WIDTH) counters, see the columns above
    orders: NDArray[np.int32]  # (N, max_orders, ORDER_WIDTH) every order of the season
    waiting: NDArray[np.int32]  # (N, max_orders) orders that wait, oldest first
    free: NDArray[np.int32]  # (N, K, C) units that are on the shelf and not reserved
    picks: NDArray[np.int32]  # (N, C) lines that can still be picked today
    ledger: NDArray[np.int64]  # (N, accounts) cents booked since the season opened


def empty_lanes(setup: Setup, n: int) -> Lanes:
    """Room for `n` lanes; `open_season` fills one."""
    centres, skus = setup.stock.shape
    return Lanes(
        key=np.zeros(n, dtype=np.uint64),
        lane=np.zeros((n, LANE_WIDTH), dtype=np.int64),
        orders=np.zeros((n, setup.max_orders, ORDER_WIDTH), dtype=np.int32),
        waiting=np.zeros((n, setup.max_orders), dtype=np.int32),
        free=np.zeros((n, skus, centres), dtype=np.int32),
        picks=np.zeros((n, centres), dtype=np.int32),
        ledger=np.zeros((n, len(rules.ACCOUNTS)), dtype=np.int64),
    )


@njit(cache=True)
def open_season(setup: Any, lanes: Any, i: int, key: Any, family: int, terms: Any) -> None:
    """Begin an episode in lane `i` and open its first day."""
    lane = lanes.lane[i]
    lane[:] = 0
    lane[FAMILY] = family
    lanes.key[i] = key
    lanes.ledger[i, :] = 0
    for centre in range(setup.stock.shape[0]):
        for sku in range(setup.stock.shape[1]):
            lanes.free[i, sku, centre] = opening_stock(setup, family, centre, sku)
    _open_day(setup, lanes, i, terms)
    _skip_idle_days(setup, lanes, i, terms)


@njit(cache=True)
def _open_day(setup: Any, lanes: Any, i: int, terms: Any) -> None:
    lane, key = lanes.lane[i], lanes.key[i]
    day, family = lane[DAY], lane[FAMILY]
    receive(setup, key, family, day, lanes.free[i])
    for centre in range(setup.zone.shape[0]):
        lanes.picks[i, centre] = capacity_today(setup, key, family, centre, day)
    _withdraw_impatient(setup, lanes, i, terms)
    first = lane[N_ORDERS]
    count = arrive(setup, key, family, day, lanes.orders[i, first:])
    for order in range(first, first + count):
        lanes.waiting[i, lane[N_WAITING]] = order
        lane[N_WAITING] += 1
        lane[BEHIND_PICKS] += setup.facts[lanes.orders[i, order, BASKET], LINES]
    lane[N_ORDERS] += count
    lane[CURSOR] = 0


@njit(cache=True)
def _withdraw_impatient(setup: Any, lanes: Any, i: int, terms: Any) -> None:
    """Drop from the waiting list those who gave up; recount the picks that the rest needs."""
    lane = lanes.lane[i]
    kept = 0
    lane[BEHIND_PICKS] = 0
    for position in range(lane[N_WAITING]):
        number = lanes.waiting[i, position]
        order = lanes.orders[i, number]
        if order[STATUS] != rules.WAITING:
            continue
        basket = order[BASKET]
        if order[GIVE_UP] <= lane[DAY]:
            order[STATUS] = rules.WITHDRAWN
            value = np.int64(setup.facts[basket, VALUE])
            terms[rules.GOODWILL] -= rules.withdrawal(value, order[PRIORITY])
            continue
        lanes.waiting[i, kept] = number
        kept += 1
        lane[BEHIND_PICKS] += setup.facts[basket, LINES]
    lane[N_WAITING] = kept


@njit(cache=True)
def _close_day(setup: Any, lanes: Any, i: int, terms: Any) -> None:
    """Let the wave leave; at the end of the season apologise to everyone who still waits."""
    lane = lanes.lane[i]
    terms[rules.LATENESS] += lane[LATER_LATENESS]
    lane[BROKEN] += lane[LATER_BROKEN]
    lane[LATER_LATENESS] = 0
    lane[LATER_BROKEN] = 0
    lane[DAY] += 1
    if lane[DAY] < setup.days:
        return
    lane[ENDED] = 1
    for position in range(lane[N_WAITING]):
        order = lanes.orders[i, lanes.waiting[i, position]]
        if order[STATUS] == rules.WAITING:
            order[STATUS] = rules.CANCELLED
            value = np.int64(setup.facts[order[BASKET], VALUE])
            terms[rules.GOODWILL] -= rules.goodwill(value, order[PRIORITY])
            lane[BROKEN] += desk.keepable(setup, order[REGION], order[PROMISE], lane[DAY])


@njit(cache=True)
def _skip_idle_days(setup: Any, lanes: Any, i: int, terms: Any) -> None:
    """Close and open days until an order waits for a decision or the season ends."""
    lane = lanes.lane[i]
    while lane[CURSOR] >= lane[N_WAITING] and lane[ENDED] == 0:
        _close_day(setup, lanes, i, terms)
        if lane[ENDED] == 0:
            _open_day(setup, lanes, i, terms)


@njit(cache=True, forceinline=True)
def fill_case(setup: Any, lanes: Any, i: int, case: Any, free: Any, centre: int) -> int:
    """Describe the order in hand; its status.

    Args:
        setup: constants of the season.
        lanes: the state.
        i: lane.
        case: (CASE_WIDTH,) filled; its order is NO_ORDER when the season is over.
        free: (centre, line) filled for every centre, or for one when `centre` names it.
        centre: the only centre to fill, or -1.
    """
    lane = lanes.lane[i]
    case[desk.DAY] = lane[DAY]
    if lane[ENDED] == 1:
        case[:] = 0
        case[desk.ORDER] = desk.NO_ORDER
        return rules.CANCELLED
    number = lanes.waiting[i, lane[CURSOR]]
    order = lanes.orders[i, number]
    basket = order[BASKET]
    lines = setup.facts[basket, LINES]
    case[desk.ORDER] = number
    case[desk.BASKET] = basket
    case[desk.REGION] = order[REGION]
    case[desk.PRIORITY] = order[PRIORITY]
    case[desk.PLACED] = order[PLACED]
    case[desk.PROMISE] = order[PROMISE]
    case[desk.BEHIND] = lane[N_WAITING] - lane[CURSOR] - 1
    case[desk.BEHIND_PICKS] = lane[BEHIND_PICKS] - lines
    lo, hi = (0, setup.zone.shape[0]) if centre < 0 else (centre, centre + 1)
    for line in range(lines):
        sku = setup.line_sku[basket, line]
        for c in range(lo, hi):
            free[c, line] = lanes.free[i, sku, c]
    return order[STATUS]


@njit(cache=True, forceinline=True)
def take_decision(setup: Any, lanes: Any, i: int, decision: int, scratch: Any, terms: Any) -> int:
    """Decide the order in hand of lane `i`; add what was booked to `terms`; the refusal code."""
    lane = lanes.lane[i]
    if lane[ENDED] == 1:
        return rules.EPISODE_OVER
    split = desk.split_code(setup.zone.shape[0])
    centre = decision // rules.N_SERVICES if 0 <= decision < split else -1
    status = fill_case(setup, lanes, i, scratch.case, scratch.free, centre)
    booking, plan = scratch.booking, scratch.plan
    desk.decide(
        setup, scratch.case, status, scratch.free, lanes.picks[i], decision, scratch.rank, plan, booking
    )
    if booking[desk.REFUSAL] != rules.OK:
        return booking[desk.REFUSAL]
    _apply(setup, lanes, i, scratch.case, plan, booking, terms)
    _skip_idle_days(setup, lanes, i, terms)
    return rules.OK


@njit(cache=True, forceinline=True)
def _apply(setup: Any, lanes: Any, i: int, case: Any, plan: Any, booking: Any, terms: Any) -> None:
    lane = lanes.lane[i]
    order = lanes.orders[i, case[desk.ORDER]]
    basket = case[desk.BASKET]
    order[STATUS] = booking[desk.STATUS]
    order[PARCELS] = booking[desk.PARCELS]
    order[REVIEWED] = lane[DAY]
    for line in range(setup.facts[basket, LINES]):
        if plan[line] >= 0:
            lanes.free[i, setup.line_sku[basket, line], plan[line]] -= setup.line_qty[basket, line]
            lanes.picks[i, plan[line]] -= 1
    for account in range(len(terms)):
        terms[account] += booking[desk.POSTED + account]
    lane[BROKEN] += booking[desk.BROKEN]
    if order[PARCELS] != 0:
        cents, broken = desk.carrier_surprise(setup, lanes.key[i], case[desk.ORDER], order)
        lane[LATER_LATENESS] += cents
        lane[LATER_BROKEN] += broken
    lane[BEHIND_PICKS] -= setup.facts[basket, LINES]
    lane[CURSOR] += 1


class Scratch(NamedTuple):
    """Working arrays of one decision, reused from lane to lane."""

    case: NDArray[np.int64]
    free: NDArray[np.int32]
    plan: NDArray[np.int64]
    rank: NDArray[np.int64]
    booking: NDArray[np.int64]


def new_scratch(setup: Setup) -> Scratch:
    """Working arrays for kernels over this season."""
    centres = setup.zone.shape[0]
    return Scratch(
        case=np.zeros(desk.CASE_WIDTH, dtype=np.int64),
        free=np.zeros((centres, rules.MAX_LINES), dtype=np.int32),
        plan=np.zeros(rules.MAX_LINES, dtype=np.int64),
        rank=np.zeros(centres, dtype=np.int64),
        booking=np.zeros(desk.BOOKING_WIDTH, dtype=np.int64),
    )
