"""The supply chain's day at a glance: who waits, what to order, what comes, what it earned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from workgym.services.pages import may_act, page
from workgym.services.pages.asking import desk_of
from workgym.services.pages.forms import form
from workgym.services.pages.trail import trail
from workgym.services.rest import WorldId
from workgym.services.supply_chain.records import Link, Policy, Shelf
from workgym.services.supply_chain.store import Store

TEMPLATES = Path(__file__).parent / "templates"
FIRST = 8  # of each list
LARGEST_PAGE = 1000

router = APIRouter(prefix="/desk/{world}", tags=["pages"], include_in_schema=False)


class Advice(NamedTuple):
    """What a policy suggests to order now, and the form in which it is filled in already."""

    policy: Policy
    source: str
    href: str


@router.get("")
def overview(request: Request, world: WorldId) -> Response:
    """The day: who waits, what to order, what comes, what it earned."""
    store = cast(Store, request.app.state.store)
    facts = store.world(world)
    alarms = _alarms(store.stock(world))
    coming = sorted(store.shipments(world, limit=LARGEST_PAGE), key=lambda one: (one.due_on, one.number))
    advice = _advice(world, store.policies(world), store.links(world))
    return page(
        request,
        "supply_chain/overview.html",
        TEMPLATES,
        title=facts.name,
        world=vars(facts),
        unit="money" if facts.currency == "cents" else "count",
        alarms=alarms[:FIRST],
        n_alarms=len(alarms),
        coming=coming[:FIRST],
        n_coming=store.count_shipments(world),
        advice=advice[:FIRST],
        n_advice=len(advice),
        books=store.books(world),
        forms=[form(request, desk_of(request).by_id["close_day"])] if may_act(request) else [],
        events=trail(store.database, world, limit=FIRST),
    )


def _alarms(shelves: Sequence[Shelf]) -> list[Shelf]:
    """Shelves that customers wait for, and those where nothing is left; the longest queues first."""
    empty = [shelf for shelf in shelves if shelf.backlog or not shelf.on_hand]
    return sorted(empty, key=lambda shelf: (-shelf.backlog, -shelf.asked, shelf.position))


def _advice(world: int, policies: Sequence[Policy], links: Sequence[Link]) -> list[Advice]:
    supplied: Mapping[str, Link] = {link.target: link for link in reversed(links)}
    found = []
    for policy in policies:
        if policy.suggested and policy.node in supplied:
            link = supplied[policy.node]
            line = {"body.lines.0.sku": policy.sku, "body.lines.0.units": policy.suggested}
            if link.source == "supplier":
                verb, over = "purchases", {"body.link": str(link.number)}
            else:
                verb, over = "transfers", {"body.source": link.source, "body.target": link.target}
            found.append(Advice(policy, link.source, f"/desk/{world}/{verb}?{urlencode({**over, **line})}"))
    return found
