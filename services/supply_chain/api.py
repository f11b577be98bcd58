"""The supply chain's REST interface: one operation for each business verb.

    app = create_app("sqlite:///supply_chain.db")

An operation checks the shape of the request; the `Store` decides, in one transaction that is
committed before the answer leaves. The store blocks, so operations are plain functions, which
FastAPI runs on its threads. Errors become problem documents (`workgym.services.problems`).
"""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response

from workgym.services.kernel import BadInput
from workgym.services.problems import documented
from workgym.services.rest import (
    ACT,
    CHANGE,
    DEFAULT_PAGE,
    LARGEST_PAGE,
    PLAIN,
    READ,
    Actor,
    Key,
    Text,
    WorldId,
    one_of,
    rest_application,
)
from workgym.services.storage import Database
from workgym.services.supply_chain import api_models as models
from workgym.services.supply_chain import records
from workgym.services.supply_chain.pages import router as pages
from workgym.services.supply_chain.soundness import LARGEST, named_network, sound_network
from workgym.services.supply_chain.store import Store
from workgym.services.supply_chain.tables import STATUSES
from workgym.services.supply_chain.verbs import Wanted

TITLE = "Supply chain"
ABOUT = """\
Buying and placing stock: nodes order from suppliers and from each other, goods travel, customers take
what is there, and leave or wait for what is not.

Everything happens in a *world*, an isolated business with its own network, stock, books and calendar.
Periods count from 0, quantities are whole units, money is whole units of the network's currency.
`X-Actor` says who asks and is written to the audit log; where people have to sign in, whoever did is
written there instead. A request with an `Idempotency-Key` can be repeated: it gets the first answer and
has one effect. Whatever is refused changes nothing.
"""
TAGS = [
    {"name": "orders", "description": "Buy from suppliers, move goods between nodes"},
    {"name": "day", "description": "Shipments, sales, the end of the day"},
    {"name": "stock", "description": "Shelves, links, and when to order"},
    {"name": "books", "description": "Ledger and audit log"},
    {"name": "worlds", "description": "Open, copy and drop businesses"},
    {"name": "health", "description": "For whoever keeps the service running"},
]


async def _store_of(request: Request) -> Store:
    return cast(Store, request.app.state.store)


TheStore = Annotated[Store, Depends(_store_of)]
OrderNumber = Annotated[int, Path(ge=0, le=LARGEST, description="Number of the order")]
ShipmentNumber = Annotated[int, Path(ge=0, le=LARGEST, description="Number of the shipment")]
NodeName = Annotated[str, Path(max_length=100, pattern=PLAIN, description="Name of the node")]
SkuCode = Annotated[str, Path(max_length=100, pattern=PLAIN, description="Code of the SKU")]
After = Annotated[int, Query(ge=-1, le=LARGEST, description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Size of a page")]


orders = APIRouter(prefix="/worlds/{world}", tags=["orders"])
day = APIRouter(prefix="/worlds/{world}", tags=["day"])
stock = APIRouter(prefix="/worlds/{world}", tags=["stock"])
books = APIRouter(prefix="/worlds/{world}", tags=["books"])
worlds = APIRouter(prefix="/worlds", tags=["worlds"])


# Orders


@orders.post(
    "/purchases",
    summary="Buy from a supplier",
    status_code=201,
    response_model=models.Order,
    responses=CHANGE,
)
def place_purchase(
    store: TheStore, world: WorldId, wish: models.Purchase, actor: Actor, response: Response, key: Key = None
) -> records.Order:
    """Order over a link from a supplier; quantities are rounded to packs.

    Refused with `too-much`, `no-pack` or `episode-over`.
    """
    order = store.purchase(world, wish.link, _lines(wish.lines), actor=actor, idempotency_key=key)
    response.headers["Location"] = f"/worlds/{world}/orders/{order.number}"
    return order


@orders.post(
    "/transfers",
    summary="Move goods between nodes",
    status_code=201,
    response_model=models.Order,
    responses=CHANGE,
)
def place_transfer(
    store: TheStore, world: WorldId, wish: models.Transfer, actor: Actor, response: Response, key: Key = None
) -> records.Order:
    """Order from another node; it ships what it has when the day is closed.

    Refused with `too-much`, `no-pack` or `episode-over`.
    """
    order = store.transfer(
        world, wish.source, wish.target, _lines(wish.lines), actor=actor, idempotency_key=key
    )
    response.headers["Location"] = f"/worlds/{world}/orders/{order.number}"
    return order


def _lines(lines: list[models.NewLine]) -> list[Wanted]:
    return [Wanted(line.sku, line.units) for line in lines]


@orders.get("/orders", summary="Search orders", response_model=models.OrderPage, responses=READ)
def list_orders(
    store: TheStore,
    world: WorldId,
    status: Annotated[
        Text, Query(description="With a line that stands there", json_schema_extra=one_of(STATUSES))
    ] = None,
    target: Annotated[Text, Query(description="For this node")] = None,
    after: After = -1,
    limit: Limit = DEFAULT_PAGE,
) -> models.OrderPage:
    """Find purchases and transfers by number; every filter that is given must hold."""
    wanted: dict[str, Any] = {"status": status, "target": target}
    found = store.orders(world, **wanted, after=after, limit=limit + 1)
    items = [models.Order.model_validate(order, from_attributes=True) for order in found[:limit]]
    more = items[-1].number if len(found) > limit else None
    return models.OrderPage(items=items, total=store.count_orders(world, **wanted), next=more)


@orders.get("/orders/{number}", summary="Read an order", response_model=models.Order, responses=READ)
def read_order(store: TheStore, world: WorldId, number: OrderNumber) -> records.Order:
    """One order with its lines."""
    return store.order(world, number)


@orders.post("/orders/{number}/cancel", summary="Cancel an order", response_model=models.Order, responses=ACT)
def cancel_order(
    store: TheStore, world: WorldId, number: OrderNumber, actor: Actor, key: Key = None
) -> records.Order:
    """Cancel what has not left the source; what it cost to order stays booked.

    Refused with `nothing-left` when everything is shipped, forgotten or cancelled.
    """
    return store.cancel(world, number, actor=actor, idempotency_key=key)


# The day


@day.get("/shipments", summary="List shipments", response_model=models.ShipmentPage, responses=READ)
def list_shipments(
    store: TheStore,
    world: WorldId,
    open_only: Annotated[bool, Query(description="Only those that are on their way")] = True,
    after: After = -1,
    limit: Limit = DEFAULT_PAGE,
) -> models.ShipmentPage:
    """What left the sources, by number."""
    found = store.shipments(world, open_only=open_only, after=after, limit=limit + 1)
    items = [models.Shipment.model_validate(one, from_attributes=True) for one in found[:limit]]
    more = items[-1].number if len(found) > limit else None
    total = store.count_shipments(world, open_only=open_only)
    return models.ShipmentPage(items=items, total=total, next=more)


@day.post(
    "/shipments/{number}/receive",
    summary="Receive a shipment",
    response_model=models.Shipment,
    responses=ACT,
)
def receive_shipment(
    store: TheStore, world: WorldId, number: ShipmentNumber, actor: Actor, key: Key = None
) -> records.Shipment:
    """Put a shipment that is due on the shelf before the day is closed.

    Refused with `not-due` or `has-come`.
    """
    return store.receive(world, number, actor=actor, idempotency_key=key)


@day.post("/sales", summary="Sell to a customer", response_model=models.Sale, responses=CHANGE)
def sell_units(
    store: TheStore, world: WorldId, wish: models.NewSale, actor: Actor, key: Key = None
) -> records.Sale:
    """Sell at today's price, besides those customers whom the scenario sends.

    Refused with `short-of-stock` unless the customer waits, and with `no-customers`.
    """
    return store.sell(
        world, wish.node, wish.sku, wish.units, actor=actor, backorder=wish.backorder, idempotency_key=key
    )


@day.post("/close-day", summary="Close the day", response_model=models.World, responses=ACT)
def close_day(store: TheStore, world: WorldId, actor: Actor, key: Key = None) -> records.World:
    """Sources ship, goods arrive, customers buy, costs are booked, the next day opens.

    After the last day the episode is over and what is left is valued.
    """
    return store.close_day(world, actor=actor, idempotency_key=key)


# Stock


@stock.get("/stock", summary="List stock", response_model=list[models.Shelf], responses=READ)
def list_stock(
    store: TheStore,
    world: WorldId,
    node: Annotated[Text, Query(description="Name of one node")] = None,
    sku: Annotated[Text, Query(description="Code of one SKU")] = None,
) -> list[records.Shelf]:
    """Stock by node and SKU."""
    return store.stock(world, node=node, sku=sku)


@stock.get("/links", summary="List links", response_model=list[models.Link], responses=READ)
def list_links(store: TheStore, world: WorldId) -> list[records.Link]:
    """How nodes are supplied."""
    return store.links(world)


@stock.get("/policies", summary="List policies", response_model=list[models.Policy], responses=READ)
def list_policies(store: TheStore, world: WorldId) -> list[records.Policy]:
    """The policies that somebody has set, and what they suggest to order now."""
    return store.policies(world)


@stock.put(
    "/policies/{node}/{sku:path}", summary="Set a policy", response_model=models.Policy, responses=CHANGE
)
def set_policy(
    store: TheStore,
    world: WorldId,
    node: NodeName,
    sku: SkuCode,
    wish: models.Levels,
    actor: Actor,
    key: Key = None,
) -> records.Policy:
    """Say when a node orders a SKU, and up to where; it orders nothing by itself."""
    return store.set_policy(
        world,
        node,
        sku,
        reorder_point=wish.reorder_point,
        base_stock=wish.base_stock,
        actor=actor,
        expected_version=wish.expected_version,
        idempotency_key=key,
    )


# The books


@books.get("/ledger", summary="List postings", response_model=list[models.Posting], responses=READ)
def list_ledger(
    store: TheStore,
    world: WorldId,
    day: Annotated[int | None, Query(ge=0, le=LARGEST, description="Only those of this period")] = None,
) -> list[records.Posting]:
    """Ledger entries in the order of posting."""
    return store.ledger(world, day=day)


@books.get("/books", summary="Sum the ledger", response_model=models.Books, responses=READ)
def read_books(store: TheStore, world: WorldId) -> dict[str, int]:
    """Money by account."""
    return store.books(world)


# Worlds


@worlds.post(
    "",
    summary="Open a world",
    status_code=201,
    response_model=models.World,
    responses=documented(409, 413, 422, 503),
)
def open_world(store: TheStore, wish: models.NewWorld, actor: Actor, response: Response) -> records.World:
    """A new business before anything happened, of a preset's network or one of your own."""
    if wish.preset is not None and wish.network is not None:
        raise BadInput("expected a preset or a network, found both; leave one out")
    network = named_network(wish.preset or "retail") if wish.network is None else sound_network(wish.network)
    world = store.open_world(wish.name, network, seed=wish.seed, family=wish.family, actor=actor)
    response.headers["Location"] = f"/worlds/{world.id}"
    return world


@worlds.get("/{world}/network", summary="Read the network", responses=READ)
def read_network(store: TheStore, world: WorldId) -> dict[str, Any]:
    """What the world is made of; change it and open another world of it."""
    return store.network(world).to_dict()


# The application


def application(store: Store) -> FastAPI:
    """The REST interface of a store."""
    routers = (orders, day, stock, books, worlds, pages)
    return rest_application(
        store,
        routers,
        world=models.World,
        title=TITLE,
        about=ABOUT,
        tags=TAGS,
        reasons=models.REASON_WORDS,
    )


def create_app(database: str) -> FastAPI:
    """Supply chains of any network.

    Args:
        database: SQLAlchemy URL; missing tables are made.
    """
    return application(Store(Database(database)))
