"""What the live service answers: plain records, ready for JSON.

Days count from 0 within a world; money is integer cents; names are those of `rules` and `scenario`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """One isolated business.

    Attributes:
        id: assigned by the database.
        name: unique.
        season: digest of the season's constants.
        family: business situation.
        day: the business day.
        days: length of the season.
        ended: whether the season is over.
        broken: promises broken so far.
        orders: orders placed so far.
        waiting: orders that wait.
        profit_cents: sum of the ledger.
    """

    id: int
    name: str
    season: str
    family: str
    day: int
    days: int
    ended: bool
    broken: int
    orders: int
    waiting: int
    profit_cents: int


@dataclass(frozen=True)
class Line:
    """One line of an order: `qty` units of a SKU, and the centre that it ships from once allocated."""

    sku: str
    qty: int
    centre: str | None = None


@dataclass(frozen=True)
class Parcel:
    """What one centre ships of an order; `shipped_on` is None until the wave has left."""

    centre: str
    service: str
    freight_cents: int
    shipped_on: int | None
    due_on: int


@dataclass(frozen=True)
class Order:
    """An order with its lines and parcels.

    Attributes:
        number: unique in its world, ascending.
        customer: name.
        reference: basket of the web shop that it came from, None when it was typed in.
        region: where it ships to.
        priority: whether broken promises cost threefold.
        placed_on: day.
        promise_on: day by which it was promised to arrive.
        status: one of `rules.STATUSES`.
        reviewed_on: day of the last decision on it, None before the first.
        value_cents: what the customer pays.
        weight_g: grams of the whole order.
        version: grows with every change; pass it as `expected_version`.
        lines: what was ordered.
        parcels: how it ships; empty until it is allocated.
    """

    number: int
    customer: str
    reference: int | None
    region: str
    priority: bool
    placed_on: int
    promise_on: int
    status: str
    reviewed_on: int | None
    value_cents: int
    weight_g: int
    version: int
    lines: tuple[Line, ...]
    parcels: tuple[Parcel, ...]


@dataclass(frozen=True)
class Customer:
    """Somebody who orders; `number` is unique in the world."""

    number: int
    name: str
    region: str


@dataclass(frozen=True)
class Centre:
    """A fulfilment centre; it picks `capacity` order lines on a normal day, `picks_left` more today."""

    name: str
    capacity: int
    picks_left: int


@dataclass(frozen=True)
class Shelf:
    """Stock of a SKU at a centre; `reserved` units of `on_hand` belong to allocated orders."""

    sku: str
    name: str
    centre: str
    on_hand: int
    reserved: int


@dataclass(frozen=True)
class Delivery:
    """An announced replenishment; `received_on` is None while it is on its way."""

    id: int
    centre: str
    sku: str
    units: int
    eta: int
    received_on: int | None


@dataclass(frozen=True)
class Posting:
    """One ledger entry; `order` is None for what belongs to no single order."""

    day: int
    order: int | None
    account: str
    cents: int


@dataclass(frozen=True)
class Wave:
    """What left the centres: `shipped` orders, and what the carriers will do to their promises."""

    day: int
    shipped: int
    lateness_cents: int
    promises_broken: int


@dataclass(frozen=True)
class Outcome:
    """What one set-wise decision did to a world; `refusal` is a code of `rules.REASONS`, 0 for none."""

    world: int
    order: int | None
    refusal: int
