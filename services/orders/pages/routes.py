"""Pages of the order department that know more than its operations say: the day, the search, an order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import RedirectResponse

from workgym.services.orders import rules
from workgym.services.orders.api_models import LARGEST
from workgym.services.orders.pages.offers import choices, least_cost
from workgym.services.orders.records import Order, Shelf
from workgym.services.orders.store import Store
from workgym.services.pages import may_act, page
from workgym.services.pages.asking import desk_of
from workgym.services.pages.forms import Form, form
from workgym.services.pages.trail import trail
from workgym.services.rest import WorldId

TEMPLATES = Path(__file__).parent / "templates"
PAGE = 50  # orders
FIRST = 8  # of each list on the overview
SCARCE = 5  # units from which on a shelf counts as short
_AT_ONCE = ("ship_wave", "close_day")
Number = Annotated[int, InPath(ge=0, le=LARGEST)]
After = Annotated[int, Query(ge=-1, le=LARGEST)]

router = APIRouter(prefix="/desk/{world}", tags=["pages"], include_in_schema=False)


def _store(request: Request) -> Store:
    return cast(Store, request.app.state.store)


@router.get("")
def overview(request: Request, world: WorldId) -> Response:
    """The day: what waits, what comes, what runs short, what it earned."""
    store = _store(request)
    facts = store.world(world)
    due = [one for one in store.deliveries(world) if one.eta <= facts.day]
    short = _short(store.stock(world))
    return page(
        request,
        "orders/overview.html",
        TEMPLATES,
        title=facts.name,
        world=vars(facts),
        queue=store.queue(world, FIRST),
        undecided=len(store.queue(world, 1000)),
        late=store.count_orders(world, late_on=facts.day),
        allocated=store.count_orders(world, status="allocated"),
        centres=store.centres(world),
        due=due[:FIRST],
        n_due=len(due),
        short=short[:FIRST],
        n_short=len(short),
        books=store.books(world),
        forms=_verbs(request, _AT_ONCE),
        events=trail(store.database, world, limit=FIRST),
    )


def _short(shelves: list[Shelf]) -> list[Shelf]:
    """Shelves with few free units, the emptiest first."""
    few = [shelf for shelf in shelves if shelf.on_hand - shelf.reserved < SCARCE and shelf.on_hand > 0]
    return sorted(few, key=lambda shelf: shelf.on_hand - shelf.reserved)


@router.get("/orders")
def search(
    request: Request,
    world: WorldId,
    find: str = "",
    status: str = "",
    region: str = "",
    priority: str = "",
    sku: str = "",
    customer: str = "",
    late: str = "",
    after: After = -1,
) -> Response:
    """Search orders; a number leads straight to the order."""
    if find.strip().isdecimal():
        return RedirectResponse(f"/desk/{world}/orders/{find.strip()}", 303)
    store = _store(request)
    facts = store.world(world)
    wanted: dict[str, Any] = {
        "status": status or None,
        "region": region or None,
        "priority": {"true": True, "false": False}.get(priority),
        "sku": sku or None,
        "text": customer or find.strip() or None,
        "late_on": facts.day if late == "true" else None,
    }
    found = store.orders(world, **wanted, after=after, limit=PAGE + 1)
    operation = desk_of(request).by_id["list_orders"]
    typed = {f"query.{name}": value for name, value in request.query_params.items()}
    skus = sorted(
        {(shelf.sku, shelf.name) for shelf in store.stock(world, centre=store.centres(world)[0].name)}
    )
    kept = {k: v for k, v in request.query_params.items() if v and k not in ("after", "done")}
    pages = {"First": "?" + urlencode(kept)} if after >= 0 else {}
    if len(found) > PAGE:
        pages["Next"] = "?" + urlencode({**kept, "after": found[PAGE - 1].number})
    return page(
        request,
        "orders/search.html",
        TEMPLATES,
        title="Orders",
        world=vars(facts),
        orders=found[:PAGE],
        total=store.count_orders(world, **wanted),
        pages=pages,
        search=Form(operation, {}, operation.filters, typed, {"query.sku": skus}),
        place=_placing(request, store, world, skus),
    )


def _placing(request: Request, store: Store, world: int, skus: list[tuple[str, str]]) -> Form | None:
    if not may_act(request):
        return None
    customers = [(str(one.number), f"{one.name}, {one.region}") for one in store.customers(world)]
    known = {"body.customer": customers, "body.lines.sku": skus}
    return form(request, desk_of(request).by_id["place_order"], choices=known)


@router.get("/queue")
def queue(request: Request, world: WorldId) -> Response:
    """What to decide today, in the order in which the desk takes it."""
    store = _store(request)
    facts = store.world(world)
    waiting = store.queue(world, 1000)
    return page(
        request,
        "orders/queue.html",
        TEMPLATES,
        title="Queue",
        world=vars(facts),
        orders=waiting[: 2 * PAGE],
        total=len(waiting),
    )


@router.get("/orders/{number}")
def read_order(request: Request, world: WorldId, number: Number) -> Response:
    """One order: what it needs, what each centre could do for it, what was done."""
    store = _store(request)
    order, facts = store.order(world, number), store.world(world)
    offered = choices(store, world, order, facts.day)
    subject = f"order/{number}"
    following = [one for one in store.queue(world, 2) if one.number != number]
    return page(
        request,
        "orders/order.html",
        TEMPLATES,
        title=f"Order {number}",
        world=vars(facts),
        order=order,
        late=order.status == "waiting" and order.promise_on < facts.day,
        offered=offered,
        best=least_cost(offered),
        forms=_verbs_of(request, order),
        allocate=lambda: _verb(request, "allocate_order", order),
        goodwill=rules.goodwill(order.value_cents, int(order.priority)),
        postings=store.ledger(world, order=number),
        events=trail(store.database, world, subject=subject),
        following=following[0].number if following else None,
    )


@router.get("/orders/{number}/{verb}")
def show_verb(world: WorldId, number: Number, verb: str) -> RedirectResponse:
    """The verbs on an order stand on its page."""
    return RedirectResponse(f"/desk/{world}/orders/{number}", 303)


def _verb(request: Request, name: str, order: Order) -> Form:
    operation = desk_of(request).by_id[name]
    return form(request, operation, fixed={"number": str(order.number)}, version=order.version)


def _verbs_of(request: Request, order: Order) -> dict[str, Form]:
    """The verbs that make sense where an order stands."""
    if not may_act(request):
        return {}
    names = {
        "waiting": ("allocate_order", "split_order", "hold_order", "cancel_order"),
        "allocated": ("expedite_order", "cancel_order"),
    }.get(order.status, ())
    return {name: _verb(request, name, order) for name in names}


def _verbs(request: Request, names: tuple[str, ...]) -> list[Form]:
    known = desk_of(request).by_id
    return [form(request, known[name]) for name in names] if may_act(request) else []
