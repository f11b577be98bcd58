"""What the REST interface reads and writes. Days count from 0; money is integer cents; weight is grams."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from workgym.services.orders import rules
from workgym.services.orders.scenario import FAMILY_NAMES, REGIONS
from workgym.services.rest import LARGEST_ID, Name, Request, one_of

LARGEST = 2**31 - 1
LARGEST_QTY = 100_000

# The `reason` of each refusal by the rules; other refusals are just `refused`.
REASON_WORDS = {
    rules.NOT_WAITING: "not-waiting",
    rules.SHORT_OF_STOCK: "short-of-stock",
    rules.NO_CAPACITY: "no-capacity",
    rules.NOT_SPLITTABLE: "not-splittable",
    rules.EPISODE_OVER: "season-over",
    rules.UNKNOWN_ACTION: "unknown-action",
}


Day = Annotated[int, Field(ge=0, le=LARGEST)]
CarrierService = Annotated[Name, Field(json_schema_extra=one_of(rules.SERVICES))]


class NewWorld(Request):
    """A business to open."""

    name: Name = Field(description="Unique among the worlds")
    seed: int = Field(0, ge=0, le=LARGEST_ID, description="Decides everything that will happen to the world")
    family: Name = Field("normal", description="Business situation", json_schema_extra=one_of(FAMILY_NAMES))


class NewLine(Request):
    """One line of an order to place."""

    sku: Name = Field(description="Code of the SKU")
    qty: int = Field(ge=1, le=LARGEST_QTY, description="Units")


class NewOrder(Request):
    """An order to place."""

    customer: int = Field(ge=0, le=LARGEST, description="Number of the customer; it ships to their region")
    lines: list[NewLine] = Field(
        min_length=1, max_length=rules.MAX_LINES, description="Lines of different SKUs"
    )
    priority: bool = Field(False, description="Whether a broken promise costs threefold")
    promise_on: Day | None = Field(
        None, description="Day by which it must arrive; none for what the shop usually promises"
    )


class Decision(Request):
    """A decision on one order."""

    expected_version: int | None = Field(
        None, ge=0, le=LARGEST, description="`version` of the order as you read it; 409 if it changed since"
    )


class Allocation(Decision):
    """Ship an order whole."""

    centre: Name = Field(description="Name of the centre that ships")
    service: CarrierService = Field(description="Service level of the carrier")


class Expedition(Decision):
    """Ship an allocated order faster."""

    service: CarrierService = Field(description="A faster service level than the present one")


class Announcement(Request):
    """A replenishment that a supplier has promised."""

    centre: Name = Field(description="Name of the centre that it goes to")
    sku: Name = Field(description="Code of the SKU")
    units: int = Field(ge=1, le=LARGEST_QTY, description="Units")
    eta: Day = Field(description="Day on which it is expected")


class World(BaseModel):
    """One isolated business."""

    id: int = Field(description="Assigned by the service; part of every other address")
    name: str = Field(description="Unique among the worlds")
    season: str = Field(description="Digest of the season's constants")
    family: str = Field(description="Business situation", json_schema_extra=one_of(FAMILY_NAMES))
    day: int = Field(description="The business day")
    days: int = Field(description="Length of the season in days")
    ended: bool = Field(description="Whether the season is over")
    broken: int = Field(description="Promises broken so far")
    orders: int = Field(description="Orders placed so far")
    waiting: int = Field(description="Orders that wait for a decision")
    profit_cents: int = Field(description="Sum of the ledger")


class Line(BaseModel):
    """One line of an order."""

    sku: str = Field(description="Code of the SKU")
    qty: int = Field(description="Units")
    centre: str | None = Field(description="Centre that ships it; none until the order is allocated")


class Parcel(BaseModel):
    """What one centre ships of an order."""

    centre: str = Field(description="Name of the centre")
    service: str = Field(description="Service level of the carrier", json_schema_extra=one_of(rules.SERVICES))
    freight_cents: int = Field(description="Price of the carrier")
    shipped_on: int | None = Field(description="Day on which it left; none until the wave has left")
    due_on: int = Field(description="Day of arrival by the carrier's timetable")


class Order(BaseModel):
    """An order with its lines and parcels."""

    number: int = Field(description="Unique in its world, ascending")
    customer: str = Field(description="Name of the customer")
    reference: int | None = Field(description="Basket of the web shop; none when it was typed in")
    region: str = Field(description="Where it ships to", json_schema_extra=one_of(REGIONS))
    priority: bool = Field(description="Whether a broken promise costs threefold")
    placed_on: int = Field(description="Day")
    promise_on: int = Field(description="Day by which it was promised to arrive")
    status: str = Field(description="Where it stands", json_schema_extra=one_of(rules.STATUSES))
    reviewed_on: int | None = Field(description="Day of the last decision on it; none before the first")
    value_cents: int = Field(description="What the customer pays")
    weight_g: int = Field(description="Grams of the whole order")
    version: int = Field(description="Grows with every change; pass it as `expected_version`")
    lines: list[Line] = Field(description="What was ordered")
    parcels: list[Parcel] = Field(description="How it ships; empty until it is allocated")


class OrderPage(BaseModel):
    """One page of a search."""

    items: list[Order] = Field(description="Orders by number")
    total: int = Field(description="Orders that match, on all pages")
    next: int | None = Field(description="Pass it as `after` for the next page; none on the last page")


class Customer(BaseModel):
    """Somebody who orders."""

    number: int = Field(description="Unique in the world")
    name: str = Field(description="What people call them")
    region: str = Field(description="Where they live", json_schema_extra=one_of(REGIONS))


class Centre(BaseModel):
    """A fulfilment centre."""

    name: str = Field(description="Unique in the world")
    capacity: int = Field(description="Order lines that it picks on a normal day")
    picks_left: int = Field(description="Order lines that it can still pick today")


class Shelf(BaseModel):
    """Stock of a SKU at a centre."""

    sku: str = Field(description="Code of the SKU")
    name: str = Field(description="What people call it")
    centre: str = Field(description="Name of the centre")
    on_hand: int = Field(description="Units on the shelf")
    reserved: int = Field(description="Units of those that belong to allocated orders")


class Delivery(BaseModel):
    """An announced replenishment."""

    id: int = Field(description="Assigned by the service")
    centre: str = Field(description="Name of the centre")
    sku: str = Field(description="Code of the SKU")
    units: int = Field(description="Units")
    eta: int = Field(description="Day on which it is expected")
    received_on: int | None = Field(description="Day on which it came; none while it is on its way")


class Wave(BaseModel):
    """What left the centres."""

    day: int = Field(description="The business day")
    shipped: int = Field(description="Orders that left")
    lateness_cents: int = Field(description="What carriers post beyond their timetable; a cost is negative")
    promises_broken: int = Field(description="Promises that late carriers break")


class Posting(BaseModel):
    """One ledger entry."""

    day: int = Field(description="Business day")
    order: int | None = Field(description="Number of the order; none for what belongs to no single one")
    account: str = Field(description="Account", json_schema_extra=one_of(rules.ACCOUNTS))
    cents: int = Field(description="Positive is income, negative is cost")


class Books(BaseModel):
    """The ledger's sums by account."""

    sales: int = Field(description="Cents")
    goods: int = Field(description="Cents")
    freight: int = Field(description="Cents")
    picking: int = Field(description="Cents")
    lateness: int = Field(description="Cents")
    goodwill: int = Field(description="Cents")
