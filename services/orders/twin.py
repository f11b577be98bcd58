"""The twin: the retailer's state in arrays, N lanes advanced by one compiled loop.

It holds no rule of its own: what may be decided and what it books is `desk.py`, what happens is
`scenario.py`. Here is only how the state is kept and in which order a day runs:

    open   receive deliveries, customers give up, new orders come, capacity is set
    decide one waiting order after the other, oldest first
    close  the wave leaves, what the carriers did to promises is booked

What limits its speed is memory, so the state of a lane is small, and what one decision needs of it
lies together: the order in hand is laid out in a row (`Lanes.hand`) before it is looked at and decided.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.services import four
from workgym.services.compiled import KERNEL, PART
from workgym.services.orders import desk, rules
from workgym.services.orders.scenario import (
    COST,
    LINES,
    N_CENTRES,
    VALUE,
    WEIGHT,
    Setup,
    Supply,
    capacity_today,
    carrier_delay,
    newcomer,
    opening_stock,
    receive_all,
    supply_of,
    volume,
)

# Columns of a lane.
DAY, CURSOR, QUEUE, N_ORDERS, PICKS_ASKED, HELD, PICKS_HELD, ENDED, FAMILY, BROKEN = range(10)
LATER_LATENESS, LATER_BROKEN = 10, 11
LANE_WIDTH = 16  # one cache line

# Columns of an order, single bytes behind the four of its basket.
REGION, PRIORITY, PLACED, PROMISE, GIVE_UP, STATUS, PARCELS, REVIEWED = range(4, 12)
ORDER_WIDTH = 12
NEVER = 255  # the day of review of an order that nobody has looked at

# Columns of a hand: the basket of the order in hand, then the order. A line that a basket lacks asks for
# no unit of the SKU behind the last.
SKU, UNITS, N_LINES, GRAMS, WORTH, SPENT = 0, rules.MAX_LINES, 8, 9, 10, 11
BASKET_WIDTH = 12
NUMBER, BASKET, HAND_REGION, HAND_PRIORITY, HAND_PLACED, HAND_PROMISE, LAST_DAY, ABLE, LACKING = range(12, 21)
HAND_WIDTH = 24
PLENTY = 2**20  # units of the SKU that nobody orders

SPLIT = N_CENTRES * rules.N_SERVICES
HOLD, CANCEL = SPLIT + 1, SPLIT + 2


class Handbook(NamedTuple):
    """What the twin looks up in one place instead of working it out."""

    baskets: NDArray[np.int32]  # (B, BASKET_WIDTH) the first columns of a hand with each basket
    fastest: NDArray[np.int32]  # (R,) days that the fastest service needs from the nearest centre
    offers: NDArray[np.int32]  # (R, C * services, 4) cents a parcel, cents a kilogram, transit days
    opening: NDArray[np.int32]  # (F, K + 1, C) units on the shelves when a season opens
    supply: Supply


def handbook_of(setup: Setup) -> Handbook:
    """The handbook of a season."""
    centres, skus = setup.stock.shape
    listed = setup.line_sku >= 0
    baskets = np.zeros((len(setup.facts), BASKET_WIDTH), dtype=np.int32)
    baskets[:, SKU:UNITS] = np.where(listed, setup.line_sku, skus)
    baskets[:, UNITS:N_LINES] = np.where(listed, setup.line_qty, 0)
    baskets[:, N_LINES:] = setup.facts[:, [LINES, WEIGHT, VALUE, COST]]
    opening = np.full((len(setup.families), skus + 1, centres), PLENTY, dtype=np.int32)
    _fill_shelves(setup, opening)
    return Handbook(
        baskets=baskets,
        fastest=setup.transit[setup.zone, rules.N_SERVICES - 1].min(axis=0).astype(np.int32),
        offers=_offers(setup),
        opening=opening,
        supply=supply_of(setup),
    )


def _offers(setup: Setup) -> NDArray[np.int32]:
    columns = [
        setup.parcel[setup.zone],
        setup.per_kg[setup.zone],
        setup.transit[setup.zone],
    ]  # (C, R, services)
    offers = np.stack([*columns, np.zeros_like(columns[0])], axis=-1).swapaxes(0, 1)
    return np.ascontiguousarray(offers.reshape(setup.zone.shape[1], SPLIT, 4))


@njit(**KERNEL)
def _fill_shelves(setup: Any, opening: Any) -> None:
    for family in range(setup.families.shape[0]):
        for sku in range(setup.stock.shape[1]):
            for centre in range(N_CENTRES):
                opening[family, sku, centre] = opening_stock(setup, family, centre, sku)


class Lanes(NamedTuple):
    """State of N lanes."""

    key: NDArray[np.uint64]  # (N,) key of the running episode
    lane: NDArray[np.int32]  # (N, LANE_WIDTH) counters, see the columns above
    orders: NDArray[np.uint8]  # (N, max_orders, ORDER_WIDTH) every order of the season
    basket: NDArray[np.int32]  # (N, max_orders, 3) the same memory; the first number is the order's basket
    queue: NDArray[
        np.int32
    ]  # (N, max_orders) orders to decide today, oldest first; the held ones move to the front
    hand: NDArray[np.int32]  # (N, HAND_WIDTH) the order to decide next
    free: NDArray[np.int32]  # (N, K + 1, C) units that are on the shelf and not reserved; PLENTY of the last
    picks: NDArray[np.int32]  # (N, C) lines that can still be picked today
    ledger: NDArray[np.int64]  # (N, accounts) cents booked since the season opened, accounts apart in memory
    some: NDArray[np.int64]  # (N,) scratch: lanes that need more than the others
    book: Handbook


def empty_lanes(setup: Setup, n: int) -> Lanes:
    """Room for `n` lanes; `open_season` fills one."""
    centres, skus = setup.stock.shape
    orders = np.zeros((n, setup.max_orders, ORDER_WIDTH), dtype=np.uint8)
    return Lanes(
        key=np.zeros(n, dtype=np.uint64),
        lane=np.zeros((n, LANE_WIDTH), dtype=np.int32),
        orders=orders,
        basket=orders.view(np.int32),
        queue=np.zeros((n, setup.max_orders), dtype=np.int32),
        hand=np.zeros((n, HAND_WIDTH), dtype=np.int32),
        free=np.full((n, skus + 1, centres), PLENTY, dtype=np.int32),
        picks=np.zeros((n, centres), dtype=np.int32),
        ledger=np.zeros((len(rules.ACCOUNTS), n), dtype=np.int64).T,
        some=np.zeros(n, dtype=np.int64),
        book=handbook_of(setup),
    )


@njit(**PART)
def open_season(setup: Any, lanes: Any, i: int, key: Any, family: int, terms: Any) -> None:
    """Begin an episode in lane `i`: open days until an order waits, and take it in hand."""
    prepare_season(lanes, i, key, family)
    turn_day(setup, lanes, i, terms)
    pick_up(lanes, i)


@njit(**PART)
def prepare_season(lanes: Any, i: int, key: Any, family: int) -> None:
    """Fill the shelves on the eve of the season."""
    lane = lanes.lane[i]
    lane[:] = 0
    lane[FAMILY] = family
    lane[DAY] = -1
    lanes.key[i] = key
    for account in range(len(rules.ACCOUNTS)):
        lanes.ledger[i, account] = 0
    for sku in range(lanes.book.opening.shape[1]):
        shelves = four.load(lanes.book.opening, (family * lanes.book.opening.shape[1] + sku) * N_CENTRES)
        four.store(lanes.free, (i * lanes.free.shape[1] + sku) * N_CENTRES, 1, shelves)


@njit(**PART)
def _open_day(setup: Any, lanes: Any, i: int, terms: Any) -> None:
    lane, key = lanes.lane[i], lanes.key[i]
    day, family = np.int64(lane[DAY]), np.uint64(lane[FAMILY])
    receive_all(setup, lanes.book.supply, key, family, day, lanes.free[i])
    for centre in range(N_CENTRES):
        lanes.picks[i, centre] = capacity_today(setup, key, family, centre, day)
    _withdraw_impatient(lanes, i, terms)
    first, waiting, picks = np.uint64(lane[N_ORDERS]), np.uint64(lane[HELD]), np.int64(lane[PICKS_HELD])
    count = np.uint64(volume(setup, key, family, day))
    for n in range(count):
        basket, region, priority, promise, give_up = newcomer(setup, key, family, day, n)
        lanes.basket[i, first + n, 0] = basket
        order = lanes.orders[i, first + n]
        order[REGION] = region
        order[PRIORITY] = priority
        order[PLACED] = day
        order[PROMISE] = promise
        order[GIVE_UP] = give_up
        order[STATUS] = rules.WAITING
        order[PARCELS] = 0
        order[REVIEWED] = NEVER
        lanes.queue[i, waiting + n] = first + n
        picks += lanes.book.baskets[basket, N_LINES]
    lane[N_ORDERS] = first + count
    lane[QUEUE] = waiting + count
    lane[PICKS_ASKED] = picks
    lane[CURSOR] = 0
    lane[HELD] = 0
    lane[PICKS_HELD] = 0


@njit(**PART)
def _withdraw_impatient(lanes: Any, i: int, terms: Any) -> None:
    """Drop from the held orders those whose customers gave up."""
    lane = lanes.lane[i]
    kept = 0
    for position in range(lane[HELD]):
        number = np.uint64(lanes.queue[i, position])
        order = lanes.orders[i, number]
        if order[GIVE_UP] > lane[DAY]:
            lanes.queue[i, kept] = number
            kept += 1
            continue
        basket = lanes.book.baskets[np.uint64(lanes.basket[i, number, 0])]
        order[STATUS] = rules.WITHDRAWN
        terms[rules.GOODWILL] -= rules.withdrawal(np.int64(basket[WORTH]), order[PRIORITY])
        lane[PICKS_HELD] -= basket[N_LINES]
    lane[HELD] = kept


@njit(**PART)
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
    for position in range(lane[HELD]):
        number = lanes.queue[i, position]
        order = lanes.orders[i, number]
        order[STATUS] = rules.CANCELLED
        worth = np.int64(lanes.book.baskets[lanes.basket[i, number, 0], WORTH])
        terms[rules.GOODWILL] -= rules.goodwill(worth, order[PRIORITY])
        lane[BROKEN] += desk.keepable(setup, order[REGION], np.int64(order[PROMISE]), np.int64(lane[DAY]))


@njit(**PART)
def is_over(lanes: Any, i: int) -> bool:
    """Whether no order waits for a decision any more today."""
    return lanes.lane[i, CURSOR] >= lanes.lane[i, QUEUE]


@njit(**PART)
def turn_day(setup: Any, lanes: Any, i: int, terms: Any) -> None:
    """Close and open days until an order waits for a decision or the season ends."""
    while is_over(lanes, i) and lanes.lane[i, ENDED] == 0:
        _close_day(setup, lanes, i, terms)
        if lanes.lane[i, ENDED] == 0:
            _open_day(setup, lanes, i, terms)


@njit(**PART)
def pick_up(lanes: Any, i: int) -> None:
    """Lay out the next order of the queue in `Lanes.hand`; needed after all that may move the queue."""
    lane, hand = lanes.lane[i], lanes.hand[i]
    if lane[ENDED] == 1:
        return
    number = np.uint64(lanes.queue[i, np.uint64(lane[CURSOR])])
    basket, order = np.int64(lanes.basket[i, number, 0]), lanes.orders[i, number]
    for column in range(0, BASKET_WIDTH, four.WIDTH):
        numbers = four.load(lanes.book.baskets, basket * BASKET_WIDTH + column)
        four.store(lanes.hand, i * HAND_WIDTH + column, 1, numbers)
    hand[NUMBER] = number
    hand[BASKET] = basket
    hand[HAND_REGION] = order[REGION]
    hand[HAND_PRIORITY] = order[PRIORITY]
    hand[HAND_PLACED] = order[PLACED]
    hand[HAND_PROMISE] = order[PROMISE]
    hand[LAST_DAY] = np.int64(order[PROMISE]) - lanes.book.fastest[order[REGION]]
    hand[ABLE] = 0


@njit(**PART)
def fill_case(lanes: Any, i: int, case: Any) -> None:
    """Describe the order in hand of a lane whose season runs in `case` (CASE_WIDTH,)."""
    lane, hand = lanes.lane[i], lanes.hand[i]
    case[desk.DAY] = lane[DAY]
    case[desk.ORDER] = hand[NUMBER]
    case[desk.BASKET] = hand[BASKET]
    case[desk.REGION] = hand[HAND_REGION]
    case[desk.PRIORITY] = hand[HAND_PRIORITY]
    case[desk.PLACED] = hand[HAND_PLACED]
    case[desk.PROMISE] = hand[HAND_PROMISE]
    case[desk.BEHIND] = lane[QUEUE] - lane[CURSOR] - 1
    case[desk.BEHIND_PICKS] = lane[PICKS_ASKED] - hand[N_LINES]


@njit(**PART)
def fill_free(lanes: Any, i: int, free: Any) -> None:
    """Copy what the centres hold of the order in hand's lines to `free` (centre, line)."""
    for line in range(rules.MAX_LINES):
        for centre in range(N_CENTRES):
            free[centre, line] = lanes.free[i, np.uint64(lanes.hand[i, SKU + line]), centre]


@njit(**PART)
def take_decision(setup: Any, lanes: Any, i: int, decision: int, scratch: Any, terms: Any) -> int:
    """Decide the order in hand of lane `i`; add what was booked to `terms` (accounts,); the refusal code."""
    refusal = decide(setup, lanes, i, decision, scratch, terms)
    turn_day(setup, lanes, i, terms)
    pick_up(lanes, i)
    return refusal


@njit(**PART)
def decide(setup: Any, lanes: Any, i: int, decision: int, scratch: Any, terms: Any) -> int:
    """`take_decision` without what follows: the day may be over, and the hand holds what was decided.

    The three frequent decisions are taken straight on the state, with `desk`'s and `rules`' prices;
    the others, and all that might be refused, go through `desk.decide`.
    """
    lane, hand = lanes.lane[i], lanes.hand[i]
    if lane[ENDED] == 1:
        return rules.EPISODE_OVER
    order = lanes.orders[i, np.uint64(hand[NUMBER])]
    centre = np.uint64(decision) // np.uint64(rules.N_SERVICES)
    if decision == HOLD:
        lane[BROKEN] += hand[LAST_DAY] == lane[DAY]
        lanes.queue[i, np.uint64(lane[HELD])] = hand[NUMBER]
        lane[HELD] += 1
        lane[PICKS_HELD] += hand[N_LINES]
    elif centre < np.uint64(N_CENTRES) and (np.uint64(hand[ABLE]) >> centre) & np.uint64(1):
        _ship_whole(lanes, i, order, decision, centre, terms)
    elif decision == CANCEL:
        terms[rules.GOODWILL] -= rules.goodwill(np.int64(hand[WORTH]), np.int64(hand[HAND_PRIORITY]))
        lane[BROKEN] += hand[LAST_DAY] >= lane[DAY]
        order[STATUS] = rules.CANCELLED
    else:
        refusal = _decide_carefully(setup, lanes, i, order, decision, scratch, terms)
        if refusal != rules.OK:
            return refusal
    order[REVIEWED] = lane[DAY]
    lane[PICKS_ASKED] -= hand[N_LINES]
    lane[CURSOR] += 1
    return rules.OK


@njit(**PART)
def _ship_whole(lanes: Any, i: int, order: Any, decision: int, centre: Any, terms: Any) -> None:
    """Ship the order in hand from a centre that was seen to be able to."""
    service = decision - np.int64(centre) * rules.N_SERVICES
    lane, hand = lanes.lane[i], lanes.hand[i]
    for line in range(rules.MAX_LINES):
        lanes.free[i, np.uint64(hand[SKU + line]), centre] -= hand[UNITS + line]
    lanes.picks[i, centre] -= hand[N_LINES]
    day, promise, priority = np.int64(lane[DAY]), np.int64(hand[HAND_PROMISE]), np.int64(hand[HAND_PRIORITY])
    offer = lanes.book.offers[np.uint64(hand[HAND_REGION]), np.uint64(decision)]
    price = rules.freight(np.int64(offer[0]), np.int64(offer[1]), np.int64(hand[GRAMS]))
    arrival = day + offer[2]
    terms[rules.SALES] += hand[WORTH]
    terms[rules.GOODS] -= hand[SPENT]
    terms[rules.FREIGHT] -= price
    terms[rules.PICKING] -= rules.picking(np.int64(hand[N_LINES]))
    terms[rules.LATENESS] -= rules.lateness(arrival - promise, priority)
    lane[BROKEN] += (arrival > promise) & (hand[LAST_DAY] >= lane[DAY])
    delay = carrier_delay(lanes.key[i], hand[NUMBER], np.int64(centre), service)
    if delay > 0:
        cents, broken = desk.postponed(arrival, arrival + delay, promise, priority)
        lane[LATER_LATENESS] += cents
        lane[LATER_BROKEN] += broken
    order[STATUS] = rules.ALLOCATED
    order[PARCELS] = rules.pack(0, np.int64(centre), service)


@njit(**PART)
def _decide_carefully(
    setup: Any, lanes: Any, i: int, order: Any, decision: int, scratch: Any, terms: Any
) -> int:
    """Take a decision that is rare or may be refused; the refusal code."""
    lane, hand, case, plan, booking = (
        lanes.lane[i],
        lanes.hand[i],
        scratch.case,
        scratch.plan,
        scratch.booking,
    )
    fill_case(lanes, i, case)
    fill_free(lanes, i, scratch.free)
    desk.decide(
        setup, case, rules.WAITING, scratch.free, lanes.picks[i], decision, scratch.rank, plan, booking
    )
    if booking[desk.REFUSAL] != rules.OK:
        return booking[desk.REFUSAL]
    order[STATUS] = booking[desk.STATUS]
    order[PARCELS] = booking[desk.PARCELS]
    for line in range(rules.MAX_LINES):
        if plan[line] >= 0:
            lanes.free[i, hand[SKU + line], plan[line]] -= hand[UNITS + line]
            lanes.picks[i, plan[line]] -= 1
    for account in range(len(rules.ACCOUNTS)):
        terms[account] += booking[desk.POSTED + account]
    lane[BROKEN] += booking[desk.BROKEN]
    if booking[desk.PARCELS] != 0:
        cents, broken = surprise(setup, lanes, i, np.int64(hand[NUMBER]))
        lane[LATER_LATENESS] += cents
        lane[LATER_BROKEN] += broken
    return rules.OK


@njit(**PART)
def surprise(setup: Any, lanes: Any, i: int, number: int) -> tuple[int, int]:
    """`desk.carrier_surprise` of an order of today's wave."""
    order = lanes.orders[i, number]
    parcels, region = np.int64(order[PARCELS]), np.int64(order[REGION])
    promise, priority = np.int64(order[PROMISE]), np.int64(order[PRIORITY])
    day = np.int64(lanes.lane[i, DAY])
    return desk.surprise(setup, lanes.key[i], number, parcels, day, region, promise, priority)


class Scratch(NamedTuple):
    """Working arrays of one decision, reused from lane to lane."""

    case: NDArray[np.int64]
    free: NDArray[np.int64]
    plan: NDArray[np.int64]
    rank: NDArray[np.int64]
    booking: NDArray[np.int64]


def new_scratch(setup: Setup) -> Scratch:
    """Working arrays for kernels over this season."""
    return Scratch(
        case=np.zeros(desk.CASE_WIDTH, dtype=np.int64),
        free=np.zeros((N_CENTRES, rules.MAX_LINES), dtype=np.int64),
        plan=np.zeros(rules.MAX_LINES, dtype=np.int64),
        rank=np.zeros(N_CENTRES, dtype=np.int64),
        booking=np.zeros(desk.BOOKING_WIDTH, dtype=np.int64),
    )
