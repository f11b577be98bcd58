"""What the REST interface reads and writes. Periods count from 0; money is in the network's currency."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue

from workgym.services.rest import LARGEST_ID, Name, Request, one_of
from workgym.services.supply_chain import rules, verbs
from workgym.services.supply_chain.soundness import LARGEST, PRESETS
from workgym.services.supply_chain.tables import STATUSES

LARGEST_QTY = 10**6

# The `reason` of each refusal; every one has a word.
REASON_WORDS = {
    rules.NOT_POSITIVE: "not-positive",
    rules.TOO_MUCH: "too-much",
    rules.EPISODE_OVER: "episode-over",
    verbs.NO_PACK: "no-pack",
    verbs.NOTHING_LEFT: "nothing-left",
    verbs.NOT_DUE: "not-due",
    verbs.HAS_COME: "has-come",
    verbs.SHORT_OF_STOCK: "short-of-stock",
    verbs.NO_CUSTOMERS: "no-customers",
}


Units = Annotated[int, Field(ge=1, le=LARGEST_QTY)]
Money = Annotated[int, Field(json_schema_extra={"x-unit": "money"})]
Level = Annotated[int, Field(ge=0, le=LARGEST_QTY)]


class NewWorld(Request):
    """A business to open."""

    name: Name = Field(description="Unique among the worlds")
    preset: Name | None = Field(
        None,
        description="Network from the literature, or the default retailer",
        json_schema_extra=one_of(tuple(PRESETS)),
    )
    network: dict[str, JsonValue] | None = Field(
        None, description="A network of your own, as `GET /worlds/{world}/network` shows one"
    )
    seed: int = Field(0, ge=0, le=LARGEST_ID, description="Decides everything that will happen to the world")
    family: Name | None = Field(None, description="Business situation; none for the network's first")


class NewLine(Request):
    """One line of an order to place."""

    sku: Name = Field(description="Code of the SKU")
    units: Units = Field(description="Units; rounded to packs")


Lines = Annotated[list[NewLine], Field(min_length=1, max_length=1000, description="Lines of different SKUs")]


class Purchase(Request):
    """An order from a supplier."""

    link: int = Field(ge=0, le=LARGEST, description="Number of a link from a supplier")
    lines: Lines


class Transfer(Request):
    """An order of one node from another."""

    source: Name = Field(description="Name of the node that ships")
    target: Name = Field(description="Name of the node that orders")
    lines: Lines


class NewSale(Request):
    """What a customer asks for."""

    node: Name = Field(description="Name of a node that has customers")
    sku: Name = Field(description="Code of the SKU")
    units: Units = Field(description="Units wanted")
    backorder: bool = Field(False, description="The customer waits for what is missing")


class Levels(Request):
    """When a node orders, and up to where."""

    reorder_point: Level = Field(description="Order when the inventory position is here or lower")
    base_stock: Level = Field(description="Order up to here; at least the reorder point")
    expected_version: int | None = Field(
        None,
        ge=0,
        le=LARGEST,
        description="`version` of the policy as you read it, 0 where there was none; 409 if it changed since",
    )


class World(BaseModel):
    """One isolated business."""

    id: int = Field(description="Assigned by the service; part of every other address")
    name: str = Field(description="Unique among the worlds")
    network: str = Field(description="Name of its network")
    digest: str = Field(description="Content hash of its network")
    currency: str = Field(description="What money is counted in")
    family: str = Field(description="Business situation")
    day: int = Field(description="The period to decide")
    periods: int = Field(description="Length of the episode")
    ended: bool = Field(description="Whether the episode is over")
    demanded: int = Field(description="Units that customers have asked for")
    missed: int = Field(description="Units of them that were not served at once")
    orders: int = Field(description="Orders placed so far")
    result: Money = Field(description="Sum of the ledger")


class Link(BaseModel):
    """How a node is supplied."""

    number: int = Field(description="What purchases name")
    source: str = Field(description="Name of a node, or `supplier`")
    target: str = Field(description="Name of a node")
    lead_times: list[tuple[int, int]] = Field(description="Periods, and how often per mille")
    order_delay: int = Field(description="Periods until an order reaches the source")
    keeps_orders: bool = Field(description="Whether what the source cannot ship waits there")
    capacity: int = Field(description="Units that leave in one period; 0 for no limit")


class Shelf(BaseModel):
    """Stock of a SKU at a node."""

    node: str = Field(description="Name of the node")
    sku: str = Field(description="Code of the SKU")
    on_hand: int = Field(description="Units on the shelf")
    backlog: int = Field(description="Units that customers wait for")
    position: int = Field(description="On hand, on order and on the way, less what customers wait for")
    asked: int = Field(description="Units asked for in the last period, as far as the node saw it")
    opening: int = Field(description="Units on the shelf when the world was opened or restored")
    sold: int = Field(description="Units sold since then")


class Line(BaseModel):
    """One line of an order."""

    sku: str = Field(description="Code of the SKU")
    units: int = Field(description="Units ordered, in whole packs")
    shipped: int = Field(description="Units that left the source")
    owed: int = Field(description="Units that it still has to ship")
    reaches_on: int = Field(description="Period in which the order reaches the source")
    status: str = Field(description="Where it stands", json_schema_extra=one_of(STATUSES))


class Order(BaseModel):
    """What was ordered over a link."""

    number: int = Field(description="Unique in its world, ascending")
    link: int = Field(description="Number of the link")
    kind: Literal["purchase", "transfer"] = Field(description="From a supplier, or between nodes")
    source: str = Field(description="Name of a node, or `supplier`")
    target: str = Field(description="Name of a node")
    placed_on: int | None = Field(description="Period; none for what was ordered before the world opened")
    lines: list[Line] = Field(description="One a SKU")


class OrderPage(BaseModel):
    """One page of a search."""

    items: list[Order] = Field(description="Orders by number")
    total: int = Field(description="Orders that match, on all pages")
    next: int | None = Field(description="Pass it as `after` for the next page; none on the last page")


class Shipment(BaseModel):
    """Goods of one SKU that left a source together."""

    number: int = Field(description="Unique in its world, ascending")
    link: int = Field(description="Number of the link")
    source: str = Field(description="Name of a node, or `supplier`")
    target: str = Field(description="Name of a node")
    sku: str = Field(description="Code of the SKU")
    units: int = Field(description="Units that arrive")
    lost: int = Field(description="Units that left with them and never arrive")
    sent_on: int | None = Field(description="Period; none for what was on its way when the world opened")
    due_on: int = Field(description="Period of arrival")
    received_on: int | None = Field(description="Period in which it came; none while it travels")


class ShipmentPage(BaseModel):
    """One page of shipments."""

    items: list[Shipment] = Field(description="Shipments by number")
    total: int = Field(description="Shipments on all pages")
    next: int | None = Field(description="Pass it as `after` for the next page; none on the last page")


class Policy(BaseModel):
    """When a node orders a SKU, and up to where."""

    node: str = Field(description="Name of the node")
    sku: str = Field(description="Code of the SKU")
    reorder_point: int = Field(description="Order when the inventory position is here or lower")
    base_stock: int = Field(description="Order up to here")
    position: int = Field(description="Inventory position now")
    suggested: int = Field(description="Units to order now")
    version: int = Field(description="Grows with every change; pass it as `expected_version`")


class Sale(BaseModel):
    """What a customer got."""

    node: str = Field(description="Name of the node")
    sku: str = Field(description="Code of the SKU")
    sold: int = Field(description="Units handed over")
    waiting: int = Field(description="Units that the customer waits for")
    price: Money = Field(description="What a unit costs today")


class Posting(BaseModel):
    """One ledger entry."""

    day: int = Field(description="Period")
    node: str | None = Field(description="Name of the node; none for what was carried forward")
    account: str = Field(description="Account", json_schema_extra=one_of(rules.ACCOUNTS))
    money: Money = Field(description="Positive is income, negative is cost")


class Books(BaseModel):
    """The ledger's sums by account."""

    sales: Money = Field(description="What customers paid")
    purchases: Money = Field(description="What goods cost when they left their source")
    ordering: Money = Field(description="What orders cost, whatever their size")
    holding: Money = Field(description="What stock cost, on shelves and on the way")
    shortage: Money = Field(description="Lost and waiting customers, orders that a source could not ship")
    salvage: Money = Field(description="Value of what was left at the end")
