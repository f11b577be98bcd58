"""Decisions on orders in hand, for many worlds in one transaction.

A few queries bring the orders, their lines and what the centres have free; the compiled desk decides
(`desk.decide`, the very code that the twin runs); a few statements write what changed. One order of
one world goes the same way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.services.kernel import BadInput, Conflict, NotFound
from workgym.services.orders import desk, rules, scenario
from workgym.services.orders import statements as sql
from workgym.services.orders.floor import Bools, Floor, Ints, Journal, take
from workgym.services.orders.records import Outcome
from workgym.services.orders.scenario import Setup
from workgym.services.storage import Transaction, table_of

SPLIT = desk.split_code(len(scenario.CENTRES))
HOLD, CANCEL = SPLIT + 1, SPLIT + 2
_HEADS = sql.queue_heads(len(scenario.CENTRES))
_NAMED = sql.named_order(len(scenario.CENTRES))
_WIDTH = sql.HAND_FREE + len(scenario.CENTRES)

# What the audit log says of each decision.
_SAID = (
    *(
        ("allocate", json.dumps({"centre": centre, "service": service}))
        for centre in scenario.CENTRES
        for service in rules.SERVICES
    ),
    ("split", "{}"),
    ("hold", "{}"),
    ("cancel", "{}"),
)

# Columns of what a decision writes, in the order of the statements' parameters.
_SHIP_WIDTH, _POST_WIDTH, _RESERVE_WIDTH, _ASSIGN_WIDTH, _PICK_WIDTH, _REVIEW_WIDTH = 6, 5, 4, 4, 3, 5


class Hands(NamedTuple):
    """The orders in hand of B worlds, as the compiled desk reads them."""

    case: Ints  # (B, CASE_WIDTH); its basket is the row itself
    status: Ints  # (B,)
    queue: Ints  # (B,) orders that wait for today's decision, this one included
    version: Ints  # (B,)
    free: NDArray[np.int32]  # (B, C, MAX_LINES) units
    picks: NDArray[np.int32]  # (B, C) lines
    line_sku: NDArray[np.int32]  # (B, MAX_LINES)
    line_qty: NDArray[np.int32]  # (B, MAX_LINES)
    line_weight: NDArray[np.int32]  # (B, MAX_LINES) grams
    facts: NDArray[np.int32]  # (B, 6) columns of a basket's facts


class Decided(NamedTuple):
    """What became of B decisions."""

    refusal: Ints  # (B,) codes of `rules.REASONS`
    last: Bools  # (B,) taken, and no other order waits for today's decision


def queue_hands(tx: Transaction, floor: Floor) -> Hands:
    """The oldest order that waits for today's decision in each world."""
    return _hands(tx, floor, tx.rows(_HEADS, floor.worlds))


def named_hand(tx: Transaction, floor: Floor, number: int) -> Hands:
    """One order of the one world of `floor`, whatever its status.

    Raises:
        NotFound: there is no such order.
    """
    rows = tx.rows(_NAMED, int(floor.ids[0]), number)
    if not rows:
        raise NotFound(f"no order {number} in world {int(floor.ids[0])}; list its orders to see the numbers")
    return _hands(tx, floor, rows)


def _hands(tx: Transaction, floor: Floor, rows: list[Any]) -> Hands:
    n, centres = len(floor), len(scenario.CENTRES)
    picks = table_of(tx.rows(sql.PICKS, floor.worlds), 1).astype(np.int32).reshape(n, centres)
    lines = np.full((4, n, rules.MAX_LINES), -1, dtype=np.int32)
    counts = np.zeros((3, n), dtype=np.int64)
    hands = Hands(
        case=np.zeros((n, desk.CASE_WIDTH), dtype=np.int64),
        status=counts[0],
        queue=counts[1],
        version=counts[2],
        free=np.zeros((n, centres, rules.MAX_LINES), dtype=np.int32),
        picks=picks,
        line_sku=lines[0],
        line_qty=lines[1],
        line_weight=lines[2],
        facts=np.zeros((n, 6), dtype=np.int32),
    )
    _fill(table_of(rows, _WIDTH), floor.ids, floor.day, hands)
    return hands


@njit(cache=True)
def _fill(rows: Any, ids: Any, day: Any, hands: Any) -> None:
    """Sort the rows of a `HAND` query into arrays."""
    for i in range(len(ids)):
        hands.case[i, desk.ORDER] = desk.NO_ORDER
        hands.status[i] = rules.CANCELLED
    i = 0
    for r in range(rows.shape[0]):
        row = rows[r]
        if ids[i] != row[sql.HAND_WORLD]:
            i = np.searchsorted(ids, row[sql.HAND_WORLD])
        case, facts = hands.case[i], hands.facts[i]
        case[desk.ORDER] = row[sql.HAND_NUMBER]
        case[desk.DAY] = day[i]
        case[desk.BASKET] = i
        case[desk.REGION] = row[sql.HAND_REGION]
        case[desk.PRIORITY] = row[sql.HAND_PRIORITY]
        case[desk.PLACED] = row[sql.HAND_PLACED]
        case[desk.PROMISE] = row[sql.HAND_PROMISE]
        case[desk.BEHIND] = row[sql.HAND_QUEUE] - 1
        case[desk.BEHIND_PICKS] = row[sql.HAND_QUEUE_PICKS] - row[sql.HAND_PICKS]
        facts[scenario.LINES] = row[sql.HAND_PICKS]
        facts[scenario.UNITS] = row[sql.HAND_UNITS]
        facts[scenario.WEIGHT] = row[sql.HAND_WEIGHT]
        facts[scenario.VALUE] = row[sql.HAND_VALUE]
        facts[scenario.COST] = row[sql.HAND_GOODS]
        hands.status[i] = rules.WAITING if row[sql.HAND_STATUS] == 0 else rules.SHIPPED
        hands.queue[i] = row[sql.HAND_QUEUE]
        hands.version[i] = row[sql.HAND_VERSION]
        line = row[sql.HAND_LINE]
        hands.line_sku[i, line] = row[sql.HAND_SKU]
        hands.line_qty[i, line] = row[sql.HAND_QTY]
        hands.line_weight[i, line] = row[sql.HAND_LINE_WEIGHT]
        for centre in range(hands.free.shape[1]):
            hands.free[i, centre, line] = row[sql.HAND_FREE + centre]


def desk_setup(setup: Setup, hands: Hands) -> Setup:
    """The season's constants over the orders in hand instead of the web shop's baskets."""
    return setup._replace(
        line_sku=hands.line_sku, line_qty=hands.line_qty, line_weight=hands.line_weight, facts=hands.facts
    )


def require_version(hands: Hands, expected: int | None) -> None:
    """Raise Conflict when the one order in hand has changed since `expected`."""
    found = int(hands.version[0])
    if expected is not None and found != expected:
        raise Conflict(
            f"expected version {expected} of the order, found {found}; read it again and decide anew"
        )


def decide(
    tx: Transaction, setup: Setup, floor: Floor, hands: Hands, decisions: Ints, journal: Journal
) -> Decided:
    """Decide the orders in hand; a refused decision changes nothing in its world.

    Args:
        tx: the transaction.
        setup: constants of the season.
        floor: B worlds, taken.
        hands: their orders in hand.
        decisions: (B,) codes of `desk`.
        journal: what is posted and logged.
    """
    written = _room(len(floor))
    ended = floor.rows[:, sql.WORLD_ENDED]
    _decide(desk_setup(setup, hands), hands, floor.ids, ended, decisions, written)
    refusal = written.booking[:, desk.REFUSAL]
    parcels, postings, lines, reviews = written.counts.tolist()
    if reviews:
        _write(tx, written, parcels, lines, written.review[:reviews].tolist(), journal)
        journal.post(written.post[:postings])
        journal.broke(written.broke[:reviews])
    return Decided(refusal, (refusal == rules.OK) & (hands.queue == 1))


def decide_queues(
    tx: Transaction, setup: Setup, worlds: Sequence[int], codes: Sequence[int], actor: str
) -> list[Outcome]:
    """Decide the order in hand of each world.

    Raises:
        BadInput: a world stands there twice, or decisions are missing.
        NotFound: there is no such world.
    """
    if len(set(worlds)) != len(worlds) or len(codes) != len(worlds):
        raise BadInput("expected one decision for each of different worlds; send a second one later")
    ranked = np.argsort(np.asarray(worlds, dtype=np.int64))
    floor, journal = take(tx, sorted(worlds)), Journal(actor)
    hands = queue_hands(tx, floor)
    decided = decide(tx, setup, floor, hands, np.asarray(codes, dtype=np.int64)[ranked], journal)
    journal.write(tx)
    numbers, refusals = hands.case[:, desk.ORDER].tolist(), decided.refusal.tolist()
    outcomes = {
        world: Outcome(world, None if number == desk.NO_ORDER else number, refusal)
        for world, number, refusal in zip(sorted(worlds), numbers, refusals, strict=True)
    }
    return [outcomes[world] for world in worlds]


class _Written(NamedTuple):
    """What B decisions write; the first `counts` rows of each table are filled."""

    booking: Ints  # (B, BOOKING_WIDTH)
    counts: Ints  # (4,) parcels, postings, lines, decisions taken
    ship: Ints  # (n, 6) world, order, centre, service, freight, due
    post: Ints  # (n, 5) world, day, order, account, cents
    reserve: Ints  # (n, 4) units, world, SKU, centre
    assign: Ints  # (n, 4) centre, world, order, line
    pick: Ints  # (n, 3) lines, world, centre
    review: Ints  # (n, 5) status, day, world, order, decision
    broke: Ints  # (n, 2) promises broken, world


def _room(n: int) -> _Written:
    most, entries = n * rules.MAX_LINES, n * len(rules.ACCOUNTS)
    return _Written(
        booking=np.empty((n, desk.BOOKING_WIDTH), dtype=np.int64),
        counts=np.zeros(4, dtype=np.int64),
        ship=np.empty((most, _SHIP_WIDTH), dtype=np.int64),
        post=np.empty((entries, _POST_WIDTH), dtype=np.int64),
        reserve=np.empty((most, _RESERVE_WIDTH), dtype=np.int64),
        assign=np.empty((most, _ASSIGN_WIDTH), dtype=np.int64),
        pick=np.empty((most, _PICK_WIDTH), dtype=np.int64),
        review=np.empty((n, _REVIEW_WIDTH), dtype=np.int64),
        broke=np.empty((n, 2), dtype=np.int64),
    )


@njit(cache=True)
def _decide(setup: Any, hands: Any, ids: Any, ended: Any, decisions: Any, out: Any) -> None:
    """Let the desk decide, and list what its bookings change."""
    rank = np.zeros(setup.zone.shape[0], dtype=np.int64)
    plan = np.zeros(rules.MAX_LINES, dtype=np.int64)
    for i in range(len(ids)):
        case, booking = hands.case[i], out.booking[i]
        if case[desk.ORDER] == desk.NO_ORDER:
            booking[:] = 0
            booking[desk.REFUSAL] = rules.EPISODE_OVER if ended[i] else rules.NOT_WAITING
            continue
        desk.decide(
            setup, case, hands.status[i], hands.free[i], hands.picks[i], decisions[i], rank, plan, booking
        )
        if booking[desk.REFUSAL] == rules.OK:
            review, broke = out.review[out.counts[3]], out.broke[out.counts[3]]
            review[0], review[1], review[2] = booking[desk.STATUS], case[desk.DAY], ids[i]
            review[3], review[4] = case[desk.ORDER], decisions[i]
            broke[0], broke[1] = booking[desk.BROKEN], ids[i]
            out.counts[3] += 1
            _list_changes(setup, case, ids[i], plan, booking, out)


@njit(cache=True)
def desk_price(setup: Any, zone: int, service: int, grams: int) -> Any:
    """What the carrier charges for a parcel."""
    base, per_kg = setup.parcel[zone, service], setup.per_kg[zone, service]
    return rules.freight(np.int64(base), np.int64(per_kg), grams)  # type: ignore[arg-type]  # Numba's one integer


@njit(cache=True)
def _list_changes(setup: Any, case: Any, world: int, plan: Any, booking: Any, out: Any) -> None:
    """Append the rows that one decision writes."""
    basket, number, day = case[desk.BASKET], case[desk.ORDER], case[desk.DAY]
    for account in range(len(rules.ACCOUNTS)):
        if booking[desk.POSTED + account] != 0:
            post = out.post[out.counts[1]]
            post[0], post[1], post[2], post[3] = world, day, number, account
            post[4] = booking[desk.POSTED + account]
            out.counts[1] += 1
    for line in range(setup.facts[basket, scenario.LINES]):
        if plan[line] >= 0:
            reserve, assign = out.reserve[out.counts[2]], out.assign[out.counts[2]]
            reserve[0], reserve[1] = setup.line_qty[basket, line], world
            reserve[2], reserve[3] = setup.line_sku[basket, line], plan[line]
            assign[0], assign[1], assign[2], assign[3] = plan[line], world, number, line
            out.counts[2] += 1
    for centre in range(setup.zone.shape[0]):
        service = rules.service_from(booking[desk.PARCELS], centre)
        if service >= 0:
            zone = setup.zone[centre, case[desk.REGION]]
            grams = desk.part_weight(setup, basket, plan, centre)
            ship, pick = out.ship[out.counts[0]], out.pick[out.counts[0]]
            ship[0], ship[1], ship[2], ship[3] = world, number, centre, service
            ship[4] = desk_price(setup, zone, service, grams)
            ship[5] = day + setup.transit[zone, service]
            pick[0], pick[1], pick[2] = desk.part_lines(setup, basket, plan, centre), world, centre
            out.counts[0] += 1


def _write(
    tx: Transaction, written: _Written, parcels: int, lines: int, reviews: list[list[int]], journal: Journal
) -> None:
    status, levels, said = rules.STATUSES, rules.SERVICES, _SAID
    tx.many(sql.REVIEW, [(status[code], day, world, number) for code, day, world, number, _ in reviews])
    if parcels:
        tx.many(sql.RESERVE, written.reserve[:lines].tolist())
        tx.many(sql.ASSIGN, written.assign[:lines].tolist())
        tx.many(sql.PICK, written.pick[:parcels].tolist())
        ships = written.ship[:parcels].tolist()
        tx.many(sql.SHIP, [(w, n, c, levels[s], freight, due) for w, n, c, s, freight, due in ships])
    journal.log((world, day, said[d][0], f"order/{n}", said[d][1]) for _, day, world, n, d in reviews)
