"""What a clerk may choose from for an order that waits: every centre and service, with price and arrival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from workgym.services.orders import rules
from workgym.services.orders.records import Order
from workgym.services.orders.scenario import REGIONS
from workgym.services.orders.store import Store


class Offer(NamedTuple):
    """Shipping an order whole from one centre by one service.

    Attributes:
        service: of the carrier.
        freight_cents: price of the parcel.
        arrives_on: day by the carrier's timetable.
        days_late: after the promise, 0 for none.
        cost_cents: freight and the compensation that is foreseen.
    """

    service: str
    freight_cents: int
    arrives_on: int
    days_late: int
    cost_cents: int


class Choice(NamedTuple):
    """One centre as a place to ship an order from.

    Attributes:
        centre: its name.
        free: (line,) units of each line's SKU that nobody has reserved.
        picks_left: lines that it can still pick today.
        refusal: why it cannot ship the order whole today, empty if it can.
        offers: one a service; none if it cannot.
    """

    centre: str
    free: tuple[int, ...]
    picks_left: int
    refusal: str
    offers: tuple[Offer, ...]


def choices(store: Store, world: int, order: Order, day: int) -> list[Choice]:
    """Every centre as a place to ship an order from today."""
    shelves = [
        {shelf.centre: shelf.on_hand - shelf.reserved for shelf in store.stock(world, sku=line.sku)}
        for line in order.lines
    ]
    return [
        _choice(store, order, day, at, centre.name, centre.picks_left, shelves)
        for at, centre in enumerate(store.centres(world))
    ]


def _choice(
    store: Store, order: Order, day: int, at: int, name: str, picks: int, shelves: Sequence[Mapping[str, int]]
) -> Choice:
    free = tuple(shelf.get(name, 0) for shelf in shelves)
    short = sum(left < line.qty for left, line in zip(free, order.lines, strict=True))
    status = rules.STATUSES.index(order.status)
    code = rules.refuse_whole(status, short, len(order.lines), picks)
    offers = () if code else tuple(_offer(store, order, day, at, k) for k in range(rules.N_SERVICES))
    return Choice(name, free, picks, rules.REASONS[code], offers)


def _offer(store: Store, order: Order, day: int, at: int, service: int) -> Offer:
    setup = store.setup
    zone = int(setup.zone[at, REGIONS.index(order.region)])
    freight = rules.freight(
        int(setup.parcel[zone, service]), int(setup.per_kg[zone, service]), order.weight_g
    )
    arrives = day + int(setup.transit[zone, service])
    late = max(0, arrives - order.promise_on)
    cost = freight + rules.lateness(late, int(order.priority))
    return Offer(rules.SERVICES[service], freight, arrives, late, cost)


def least_cost(offered: list[Choice]) -> int | None:
    """What the best offer costs; None without any."""
    return min((offer.cost_cents for choice in offered for offer in choice.offers), default=None)
