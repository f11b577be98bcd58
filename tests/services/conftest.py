"""A small business of every service, and what can happen to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select

from workgym.services import orders, services, supply_chain
from workgym.services.kernel import Refused
from workgym.services.orders import scenario
from workgym.services.orders.baskets import synthetic
from workgym.services.orders.records import Line
from workgym.services.orders.store import Store as OrderStore
from workgym.services.orders.worlds import Catalogue
from workgym.services.storage import Database
from workgym.services.supply_chain.store import Store as SupplyStore
from workgym.services.supply_chain.verbs import Wanted

BASKETS = synthetic("train")
SEASON = scenario.season(BASKETS, days=5, orders_per_day=6.0)
BY = {"actor": "ann"}


@dataclass(frozen=True)
class Business:
    """How to play with a service.

    Attributes:
        store: over a database.
        begin: opens a world of a name and seed in which something has happened; its id.
        deeds: what can be done to a world, by a number that says how.
    """

    store: Callable[[str], Any]
    begin: Callable[[Any, str, int], int]
    deeds: Sequence[Callable[[Any, int, int], Any]]

    def do(self, store: Any, world: int, deed: int, how: int) -> str:
        """Do something; what came of it, refusals included."""
        try:
            return repr(self.deeds[deed % len(self.deeds)](store, world, how))
        except Refused as refusal:
            return refusal.reason

    def play(self, store: Any, world: int, plan: Sequence[tuple[int, int]]) -> list[str]:
        """Do one thing after the other."""
        return [self.do(store, world, deed, how) for deed, how in plan]

    @staticmethod
    def contents(store: Any, world: int) -> dict[str, list[Any]]:
        """All rows of a world but for what tells a copy from its parent."""
        found: dict[str, list[Any]] = {}
        with store.database.read() as tx:
            for table in store.metadata.sorted_tables:
                mine = [c for c in table.c if c.name not in ("world_id", "digest", "recorded_at")]
                mine = [c for c in mine if c is not table.autoincrement_column]
                at = table.c.id if table.name == "worlds" else table.c.get("world_id")
                if at is not None:
                    mine = [
                        c
                        for c in mine
                        if (table.name, c.name) not in (("worlds", "name"), ("audit", "number"))
                    ]
                    query = select(*mine).where(at == world).order_by(*table.primary_key)
                    found[table.name] = [tuple(row) for row in tx.connection.execute(query)]
        found["audit"] = [row for row in found["audit"] if not {"fork", "unpack"} & set(row)]
        return found


def _begun_shop(store: OrderStore, name: str, seed: int) -> int:
    world = store.open_world(name, seed=seed).id
    store.start_season(world)
    return world


def _decided(store: OrderStore, world: int, how: int) -> Any:
    (outcome,) = store.decide([world], [how % 15])
    return outcome.order, outcome.refusal


def _placed(store: OrderStore, world: int, how: int) -> Any:
    goods = [Line(store.stock(world)[4 * (how % 7 + i)].sku, 1 + how % 3) for i in range(1 + how % 2)]
    return store.place(world, how % 40, goods, **BY)


def _announced(store: OrderStore, world: int, how: int) -> Any:
    day = store.world(world).day
    return store.announce(world, "Leeds", store.stock(world)[how % 20].sku, 1 + how, day + how % 3, **BY)


def _received(store: OrderStore, world: int, how: int) -> Any:
    return store.receive(world, store.deliveries(world, open_only=False)[how % 20].id, **BY)


def _began_chain(store: SupplyStore, name: str, seed: int) -> int:
    world = store.open_world(name, "one-warehouse", seed=seed).id
    store.close_day(world, **BY)
    return world


def _ordered(store: SupplyStore, world: int, how: int) -> Any:
    link = store.links(world)[how % len(store.links(world))]
    goods = [Wanted(store.stock(world)[0].sku, 1 + how)]
    if link.source == "supplier":
        return store.purchase(world, link.number, goods, **BY)
    return store.transfer(world, link.source, link.target, goods, **BY)


def _sold(store: SupplyStore, world: int, how: int) -> Any:
    shelves = store.stock(world)
    shelf = shelves[how % len(shelves)]
    return store.sell(world, shelf.node, shelf.sku, 1 + how % 4, backorder=how % 2 == 0, **BY)


def _set_policy(store: SupplyStore, world: int, how: int) -> Any:
    shelf = store.stock(world)[0]
    return store.set_policy(world, shelf.node, shelf.sku, reorder_point=how, base_stock=how + 9, **BY)


def _day_of(answer: Any) -> Any:
    return answer.day


BUSINESSES = {
    orders.SERVICE.name: Business(
        lambda url: OrderStore(Database(url), SEASON, Catalogue.of_baskets(BASKETS)),
        _begun_shop,
        (
            _decided,
            _decided,
            _decided,
            _placed,
            _announced,
            _received,
            lambda store, world, how: _day_of(store.next_day(world, **BY)),
            lambda store, world, how: store.ship_wave(world, **BY),
        ),
    ),
    supply_chain.SERVICE.name: Business(
        lambda url: SupplyStore(Database(url)),
        _began_chain,
        (
            _ordered,
            _ordered,
            _sold,
            _set_policy,
            lambda store, world, how: _day_of(store.close_day(world, **BY)),
        ),
    ),
}


@pytest.fixture(params=services())
def business(request: pytest.FixtureRequest) -> Business:
    """A service of the catalogue."""
    return BUSINESSES[request.param]


@pytest.fixture
def businesses() -> dict[str, Business]:
    """All services by name."""
    return BUSINESSES
