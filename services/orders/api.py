"""The order department's REST interface: one operation for each business verb.

    app = create_app("sqlite:///orders.db")

An operation checks the shape of the request; the `Store` decides, in one transaction that is
committed before the answer leaves. The store blocks, so operations are plain functions, which
FastAPI runs on its threads. Errors become problem documents (`workgym.services.problems`).
"""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import APIRouter, Body, Depends, FastAPI, Path, Query, Request, Response

from workgym.services.orders import api_models as models
from workgym.services.orders import records
from workgym.services.orders.api_models import LARGEST
from workgym.services.orders.baskets import synthetic
from workgym.services.orders.pages import router as pages
from workgym.services.orders.rules import STATUSES
from workgym.services.orders.scenario import REGIONS, season
from workgym.services.orders.store import Store
from workgym.services.orders.worlds import Catalogue
from workgym.services.problems import documented
from workgym.services.rest import (
    ACT,
    CHANGE,
    DEFAULT_PAGE,
    LARGEST_ID,
    LARGEST_PAGE,
    READ,
    Actor,
    Key,
    Text,
    WorldId,
    one_of,
    rest_application,
)
from workgym.services.storage import Database

TITLE = "Orders"
ABOUT = """\
Order fulfilment of an online retailer: orders wait until the desk ships them from a centre by a
carrier, splits them over centres, holds or cancels them.

Everything happens in a *world*, an isolated business with its own customers, stock, books and
calendar. Days count from 0, money is integer cents, weight is grams. `X-Actor` says who asks and is
written to the audit log; where people have to sign in, whoever did is written there instead. A request
with an `Idempotency-Key` can be repeated: it gets the first answer and has one effect. Whatever is
refused changes nothing.
"""
TAGS = [
    {"name": "orders", "description": "Take orders and decide how they ship"},
    {"name": "day", "description": "The rhythm of the department: waves, deliveries, the end of the day"},
    {"name": "floor", "description": "Centres, shelves and customers"},
    {"name": "books", "description": "Ledger and audit log"},
    {"name": "worlds", "description": "Open, copy and drop businesses"},
    {"name": "scenario", "description": "Let simulated customers and suppliers act on a world"},
    {"name": "health", "description": "For whoever keeps the service running"},
]


async def _store_of(request: Request) -> Store:
    return cast(Store, request.app.state.store)


TheStore = Annotated[Store, Depends(_store_of)]
Number = Annotated[int, Path(ge=0, le=LARGEST, description="Number of the order")]
DeliveryId = Annotated[int, Path(ge=0, le=LARGEST_ID, description="Id of the delivery")]
AnyDecision = Annotated[models.Decision, Body()]
NOTHING = models.Decision(expected_version=None)


orders = APIRouter(prefix="/worlds/{world}", tags=["orders"])
day = APIRouter(prefix="/worlds/{world}", tags=["day"])
floor = APIRouter(prefix="/worlds/{world}", tags=["floor"])
books = APIRouter(prefix="/worlds/{world}", tags=["books"])
worlds = APIRouter(prefix="/worlds", tags=["worlds"])
scenario = APIRouter(prefix="/worlds/{world}", tags=["scenario"])


# Orders


@orders.post(
    "/orders", summary="Place an order", status_code=201, response_model=models.Order, responses=CHANGE
)
def place_order(
    store: TheStore, world: WorldId, wish: models.NewOrder, actor: Actor, response: Response, key: Key = None
) -> records.Order:
    """Accept an order of 1 to 4 lines of different SKUs; it ships to the customer's region and waits."""
    order = store.place(
        world,
        wish.customer,
        [records.Line(line.sku, line.qty) for line in wish.lines],
        actor=actor,
        priority=wish.priority,
        promise_on=wish.promise_on,
        idempotency_key=key,
    )
    response.headers["Location"] = f"/worlds/{world}/orders/{order.number}"
    return order


@orders.get("/orders", summary="Search orders", response_model=models.OrderPage, responses=READ)
def list_orders(
    store: TheStore,
    world: WorldId,
    status: Annotated[Text, Query(description="Where they stand", json_schema_extra=one_of(STATUSES))] = None,
    region: Annotated[
        Text, Query(description="Where they ship to", json_schema_extra=one_of(REGIONS))
    ] = None,
    priority: Annotated[bool | None, Query(description="Only priority orders, or only others")] = None,
    sku: Annotated[Text, Query(description="With a line of this SKU")] = None,
    customer: Annotated[Text, Query(description="Part of the customer's name, case ignored")] = None,
    late: Annotated[bool, Query(description="Only those that wait past their promise")] = False,
    after: Annotated[int, Query(ge=-1, le=LARGEST, description="`next` of the page before")] = -1,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Size of a page")] = DEFAULT_PAGE,
) -> models.OrderPage:
    """Find orders by number; every filter that is given must hold."""
    wanted: dict[str, Any] = {
        "status": status,
        "region": region,
        "priority": priority,
        "sku": sku,
        "text": customer,
        "late_on": store.world(world).day if late else None,
    }
    found = store.orders(world, **wanted, after=after, limit=limit + 1)
    items = [models.Order.model_validate(order, from_attributes=True) for order in found[:limit]]
    more = items[-1].number if len(found) > limit else None
    return models.OrderPage(items=items, total=store.count_orders(world, **wanted), next=more)


@orders.get("/queue", summary="List what to decide today", response_model=list[models.Order], responses=READ)
def list_queue(
    store: TheStore,
    world: WorldId,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Orders at most")] = DEFAULT_PAGE,
) -> list[records.Order]:
    """Orders that wait for a decision today, in the order in which the desk takes them."""
    return store.queue(world, limit)


@orders.get("/orders/{number}", summary="Read an order", response_model=models.Order, responses=READ)
def read_order(store: TheStore, world: WorldId, number: Number) -> records.Order:
    """One order with its lines and parcels."""
    return store.order(world, number)


@orders.post(
    "/orders/{number}/allocate",
    summary="Ship an order whole",
    response_model=models.Order,
    responses=CHANGE,
)
def allocate_order(
    store: TheStore, world: WorldId, number: Number, wish: models.Allocation, actor: Actor, key: Key = None
) -> records.Order:
    """Reserve stock and picks at one centre, post the sale and what it costs.

    Refused with `not-waiting`, `short-of-stock` or `no-capacity`.
    """
    return store.allocate(
        world,
        number,
        wish.centre,
        wish.service,
        actor=actor,
        expected_version=wish.expected_version,
        idempotency_key=key,
    )


@orders.post(
    "/orders/{number}/split",
    summary="Ship an order in parcels",
    response_model=models.Order,
    responses=CHANGE,
)
def split_order(
    store: TheStore,
    world: WorldId,
    number: Number,
    actor: Actor,
    wish: AnyDecision = NOTHING,
    key: Key = None,
) -> records.Order:
    """Ship from as few centres as a greedy cover needs, each parcel by its cheapest service.

    Refused with `not-splittable` when one centre can ship the order whole, or no set of centres holds it.
    """
    return store.split(
        world, number, actor=actor, expected_version=wish.expected_version, idempotency_key=key
    )


@orders.post("/orders/{number}/hold", summary="Hold an order", response_model=models.Order, responses=CHANGE)
def hold_order(
    store: TheStore,
    world: WorldId,
    number: Number,
    actor: Actor,
    wish: AnyDecision = NOTHING,
    key: Key = None,
) -> records.Order:
    """Let a waiting order wait until tomorrow."""
    return store.hold(world, number, actor=actor, expected_version=wish.expected_version, idempotency_key=key)


@orders.post(
    "/orders/{number}/expedite",
    summary="Ship an allocated order faster",
    response_model=models.Order,
    responses=CHANGE,
)
def expedite_order(
    store: TheStore, world: WorldId, number: Number, wish: models.Expedition, actor: Actor, key: Key = None
) -> records.Order:
    """Raise the parcels of an order that has not left to a faster service; posts the difference."""
    return store.expedite(
        world, number, wish.service, actor=actor, expected_version=wish.expected_version, idempotency_key=key
    )


@orders.post(
    "/orders/{number}/cancel", summary="Cancel an order", response_model=models.Order, responses=CHANGE
)
def cancel_order(
    store: TheStore,
    world: WorldId,
    number: Number,
    actor: Actor,
    wish: AnyDecision = NOTHING,
    key: Key = None,
) -> records.Order:
    """Cancel an order that has not left: releases what was reserved, posts goodwill."""
    return store.cancel(
        world, number, actor=actor, expected_version=wish.expected_version, idempotency_key=key
    )


# The day


@day.post("/ship-wave", summary="Ship the day's wave", response_model=models.Wave, responses=ACT)
def ship_wave(store: TheStore, world: WorldId, actor: Actor, key: Key = None) -> records.Wave:
    """Everything allocated leaves; what the carriers do to its promises is posted."""
    return store.ship_wave(world, actor=actor, idempotency_key=key)


@day.get("/deliveries", summary="List deliveries", response_model=list[models.Delivery], responses=READ)
def list_deliveries(
    store: TheStore,
    world: WorldId,
    open_only: Annotated[bool, Query(description="Only those that are on their way")] = True,
) -> list[records.Delivery]:
    """Announced replenishments by date."""
    return store.deliveries(world, open_only=open_only)


@day.post(
    "/deliveries",
    summary="Announce a delivery",
    status_code=201,
    response_model=models.Delivery,
    responses=CHANGE,
)
def announce_delivery(
    store: TheStore, world: WorldId, wish: models.Announcement, actor: Actor, key: Key = None
) -> records.Delivery:
    """Book a replenishment that a supplier has promised."""
    return store.announce(
        world, wish.centre, wish.sku, wish.units, wish.eta, actor=actor, idempotency_key=key
    )


@day.post(
    "/deliveries/{delivery}/receive",
    summary="Receive a delivery",
    response_model=models.Delivery,
    responses=ACT,
)
def receive_delivery(
    store: TheStore, world: WorldId, delivery: DeliveryId, actor: Actor, key: Key = None
) -> records.Delivery:
    """Put an announced delivery on the shelf; refused when it is there already."""
    return store.receive(world, delivery, actor=actor, idempotency_key=key)


@day.post("/close-day", summary="Close the day", response_model=models.World, responses=ACT)
def close_day(store: TheStore, world: WorldId, actor: Actor, key: Key = None) -> records.World:
    """Ship what is still allocated and go to the next day.

    After the last day the season is over and every order that still waits is cancelled.
    """
    return store.close_day(world, actor=actor, idempotency_key=key)


# The floor


@floor.get("/centres", summary="List centres", response_model=list[models.Centre], responses=READ)
def list_centres(store: TheStore, world: WorldId) -> list[records.Centre]:
    """All centres with the picks that they have left today."""
    return store.centres(world)


@floor.get("/stock", summary="List stock", response_model=list[models.Shelf], responses=READ)
def list_stock(
    store: TheStore,
    world: WorldId,
    sku: Annotated[Text, Query(description="Code of one SKU")] = None,
    centre: Annotated[Text, Query(description="Name of one centre")] = None,
) -> list[records.Shelf]:
    """Stock by SKU and centre."""
    return store.stock(world, sku=sku, centre=centre)


@floor.get("/customers", summary="Search customers", response_model=list[models.Customer], responses=READ)
def list_customers(
    store: TheStore,
    world: WorldId,
    text: Annotated[Text, Query(description="Part of the name, case ignored")] = None,
) -> list[records.Customer]:
    """Customers by number."""
    return store.customers(world, text)


# The books


@books.get("/ledger", summary="List postings", response_model=list[models.Posting], responses=READ)
def list_ledger(
    store: TheStore,
    world: WorldId,
    order: Annotated[int | None, Query(ge=0, le=LARGEST, description="Only those of this order")] = None,
) -> list[records.Posting]:
    """Ledger entries in the order of posting."""
    return store.ledger(world, order=order)


@books.get("/books", summary="Sum the ledger", response_model=models.Books, responses=READ)
def read_books(store: TheStore, world: WorldId) -> dict[str, int]:
    """Cents by account."""
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
    """A new business on its first day: customers, opening stock, full capacity, no order yet."""
    world = store.open_world(wish.name, seed=wish.seed, family=wish.family, actor=actor)
    response.headers["Location"] = f"/worlds/{world.id}"
    return world


# The scenario


@scenario.post("/start-season", summary="Start the season", response_model=models.World, responses=ACT)
def start_season(store: TheStore, world: WorldId, actor: Actor) -> records.World:
    """Let the first day's simulated orders come; days without any order are passed over."""
    return store.start_season(world, actor=actor)


@scenario.post("/next-day", summary="Go to the next day", response_model=models.World, responses=ACT)
def next_day(store: TheStore, world: WorldId, actor: Actor, key: Key = None) -> records.World:
    """Close the day and open the next: deliveries, customers who give up, new orders, capacity."""
    return store.next_day(world, actor=actor, idempotency_key=key)


# The application


def application(store: Store) -> FastAPI:
    """The REST interface of a store."""
    routers = (orders, day, floor, books, worlds, scenario, pages)
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
    """The order department of the default shop.

    Args:
        database: SQLAlchemy URL; missing tables are made.
    """
    where, baskets = Database(database), synthetic("train")
    return application(Store(where, season(baskets), Catalogue.of_baskets(baskets)))
