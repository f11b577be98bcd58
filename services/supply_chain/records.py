"""What the live service answers: plain records, ready for JSON.

Periods count from 0 within a world; money is whole units of the network's currency.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """One isolated business.

    Attributes:
        id: assigned by the database.
        name: unique.
        network: name of its network.
        digest: content hash of the network.
        currency: what money is counted in.
        family: business situation.
        day: the period to decide.
        periods: length of the episode.
        ended: whether it is over.
        demanded: units that customers have asked for.
        missed: units of them that were not served at once.
        orders: orders placed so far.
        result: sum of the ledger.
    """

    id: int
    name: str
    network: str
    digest: str
    currency: str
    family: str
    day: int
    periods: int
    ended: bool
    demanded: int
    missed: int
    orders: int
    result: int


@dataclass(frozen=True)
class Link:
    """How a node is supplied; `number` is what orders name.

    Attributes:
        number: position in the network.
        source: name of a node, or `supplier`.
        target: name of a node.
        lead_times: (periods, per mille) pairs.
        order_delay: periods until an order reaches the source.
        keeps_orders: whether what the source cannot ship waits there.
        capacity: units that leave in one period, 0 for no limit.
    """

    number: int
    source: str
    target: str
    lead_times: tuple[tuple[int, int], ...]
    order_delay: int
    keeps_orders: bool
    capacity: int


@dataclass(frozen=True)
class Shelf:
    """Stock of a SKU at a node.

    Attributes:
        node: name.
        sku: code.
        on_hand: units on the shelf.
        backlog: units that customers wait for.
        position: on hand, on order and on the way, less what customers wait for.
        asked: units asked for in the last period, as far as the node saw it.
        opening: units on the shelf when the world was opened or restored.
        sold: units since then.
    """

    node: str
    sku: str
    on_hand: int
    backlog: int
    position: int
    asked: int
    opening: int
    sold: int


@dataclass(frozen=True)
class Line:
    """One line of an order.

    Attributes:
        sku: code.
        units: ordered, in whole packs.
        shipped: units that left the source.
        owed: units that it still has to ship.
        reaches_on: period in which the order reaches the source.
        status: one of `tables.STATUSES`.
    """

    sku: str
    units: int
    shipped: int
    owed: int
    reaches_on: int
    status: str


@dataclass(frozen=True)
class Order:
    """What was ordered over a link.

    Attributes:
        number: unique in its world, ascending.
        link: number of the link.
        kind: `purchase` from a supplier, or `transfer` between nodes.
        source: name of a node, or `supplier`.
        target: name of a node.
        placed_on: period; None for what was ordered before the world was opened or restored.
        lines: one a SKU.
    """

    number: int
    link: int
    kind: str
    source: str
    target: str
    placed_on: int | None
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Shipment:
    """Goods of one SKU that left a source together.

    Attributes:
        number: unique in its world, ascending.
        link: number of the link.
        source: name of a node, or `supplier`.
        target: name of a node.
        sku: code.
        units: that arrive.
        lost: that left with them and never arrive.
        sent_on: period; None for what was on its way when the world was opened or restored.
        due_on: period.
        received_on: period; None while it travels.
    """

    number: int
    link: int
    source: str
    target: str
    sku: str
    units: int
    lost: int
    sent_on: int | None
    due_on: int
    received_on: int | None


@dataclass(frozen=True)
class Policy:
    """When a node orders a SKU, and up to where.

    Attributes:
        node: name.
        sku: code.
        reorder_point: order when the position is here or lower.
        base_stock: order up to here.
        position: inventory position now.
        suggested: units to order now.
        version: grows with every change; pass it as `expected_version`.
    """

    node: str
    sku: str
    reorder_point: int
    base_stock: int
    position: int
    suggested: int
    version: int


@dataclass(frozen=True)
class Sale:
    """What a customer got: `sold` units at `price` each; `waiting` more are promised."""

    node: str
    sku: str
    sold: int
    waiting: int
    price: int


@dataclass(frozen=True)
class Posting:
    """One ledger entry; `node` is None for what was carried forward."""

    day: int
    node: str | None
    account: str
    money: int
