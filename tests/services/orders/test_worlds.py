"""Worlds of one database do not know of each other."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from workgym.services.kernel import BadInput, NotFound, Refused
from workgym.services.orders import desk, rules, scenario
from workgym.services.orders.baskets import synthetic
from workgym.services.orders.store import Store
from workgym.services.orders.tables import metadata, order_lines, orders, stock, worlds
from workgym.services.orders.worlds import Catalogue
from workgym.services.storage import Database

BASKETS = synthetic("train")
SETUP = scenario.season(BASKETS, days=4, orders_per_day=6.0)
CATALOGUE = Catalogue.of_baskets(BASKETS)
SPLIT = desk.split_code(len(scenario.CENTRES))
N = 16


def open_store(url: str = "sqlite://") -> Store:
    return Store(Database(url), SETUP, CATALOGUE)


def begin(store: Store, number: int) -> int:
    family = scenario.FAMILY_NAMES[number % len(scenario.FAMILY_NAMES)]
    world = store.open_world(f"world {number}", seed=number, family=family).id
    store.start_season(world)
    return world


def plan(number: int, length: int = 24) -> list[str | int]:
    """What is done to a world: decisions on the order in hand, and the ends of days."""
    rng = random.Random(number)
    return [rng.choice(["day", *range(SPLIT + 3), *range(SPLIT + 3)]) for _ in range(length)]


def act(store: Store, world: int, what: str | int) -> None:
    if isinstance(what, int):
        store.decide([world], [what])
    elif not store.world(world).ended:
        store.next_day(world)


def alone(number: int) -> bytes:
    store = open_store()
    world = begin(store, number)
    for what in plan(number):
        act(store, world, what)
    return store.snapshot(world)


def test_sixteen_interleaved_worlds_each_equal_their_solo_run(database_url: str) -> None:
    store = open_store(database_url)
    ids = [begin(store, number) for number in range(N)]
    left = {number: list(reversed(plan(number))) for number in range(N)}
    rng = random.Random(0)
    while left:
        number = rng.choice(list(left))
        act(store, ids[number], left[number].pop())
        if not left[number]:
            del left[number]
    assert [store.snapshot(world) for world in ids] == [alone(number) for number in range(N)]


def test_worlds_decided_together_equal_worlds_decided_one_by_one(database_url: str) -> None:
    together, apart = open_store(database_url), open_store()
    ids, others = [[begin(store, number) for number in range(N)] for store in (together, apart)]
    rng = random.Random(1)
    for _ in range(12):
        chosen = rng.sample(range(N), rng.randrange(1, N))
        codes = [rng.randrange(SPLIT + 4) for _ in chosen]
        told = together.decide([ids[i] for i in chosen], codes)
        for i, code, outcome in zip(chosen, codes, told, strict=True):
            (one,) = apart.decide([others[i]], [code])
            assert (outcome.world, outcome.order, outcome.refusal) == (ids[i], one.order, one.refusal)
    assert [together.snapshot(world) for world in ids] == [apart.snapshot(world) for world in others]


def test_dropping_a_world_leaves_the_others_as_they_are(database_url: str) -> None:
    store = open_store(database_url)
    ids = [begin(store, number) for number in range(4)]
    for number, world in enumerate(ids):
        for what in plan(number, 8):
            act(store, world, what)
    before = {world: store.snapshot(world) for world in ids[1:]}
    store.drop_world(ids[0])
    assert {world: store.snapshot(world) for world in ids[1:]} == before
    with store.database.read() as tx:
        for table in metadata.sorted_tables:
            column = worlds.c.id if table is worlds else table.c.world_id
            assert not tx.connection.execute(select(table).where(column == ids[0])).all()


def test_a_decision_names_each_world_once(database_url: str) -> None:
    store = open_store(database_url)
    world = begin(store, 0)
    for ids, codes in (([world, world], [0, 0]), ([world], [0, 0]), ([world], [])):
        with pytest.raises(BadInput, match="one decision for each"):
            store.decide(ids, codes)
    with pytest.raises(NotFound, match="world with id 999"):
        store.decide([world, 999], [0, 0])
    assert store.decide([], []) == []


def test_a_template_is_no_world_to_work_in(database_url: str) -> None:
    store = open_store(database_url)
    begin(store, 0)
    with store.database.read() as tx:
        template = tx.connection.execute(select(worlds.c.id).where(worlds.c.template == 1)).scalar_one()
    for call in (store.world, store.centres, store.snapshot, store.next_day, store.drop_world):
        with pytest.raises(NotFound):
            call(template)
    assert [world.name for world in store.worlds()] == ["world 0"]


def test_a_world_of_another_season_is_not_simulated_by_this_store(database_url: str) -> None:
    store = open_store(database_url)
    world = begin(store, 0)
    other = Store(Database(database_url), SETUP._replace(days=5), CATALOGUE)
    with pytest.raises(BadInput, match="season"):
        other.next_day(world)


VERBS = st.sampled_from(["allocate", "split", "hold", "expedite", "cancel", "ship", "day", "receive"])


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    asked=st.lists(
        st.tuples(VERBS, st.integers(0, 12), st.integers(0, 3), st.integers(0, 2)), min_size=5, max_size=40
    ),
)
def test_whatever_people_ask_the_stock_and_the_books_stay_true(
    seed: int, asked: list[tuple[str, int, int, int]]
) -> None:
    store = open_store()
    world = store.open_world("shop", seed=seed).id
    store.start_season(world)
    for verb, number, centre, service in asked:
        try:
            _ask(store, world, verb, number, scenario.CENTRES[centre], rules.SERVICES[service])
        except (Refused, NotFound):
            continue
        _require_true(store, world)
    store.database.close()


def _ask(store: Store, world: int, verb: str, number: int, centre: str, service: str) -> None:
    calls: dict[str, Any] = {
        "allocate": lambda: store.allocate(world, number, centre, service, actor="x"),
        "split": lambda: store.split(world, number, actor="x"),
        "hold": lambda: store.hold(world, number, actor="x"),
        "expedite": lambda: store.expedite(world, number, service, actor="x"),
        "cancel": lambda: store.cancel(world, number, actor="x"),
        "ship": lambda: store.ship_wave(world, actor="x"),
        "day": lambda: store.next_day(world),
        "receive": lambda: store.receive(world, store.deliveries(world)[number].id, actor="x"),
    }
    calls[verb]()


def _require_true(store: Store, world: int) -> None:
    """Reservations are what allocated orders hold; the books are the sum of what orders explain."""
    with store.database.read() as tx:
        held = (
            select(order_lines.c.sku, order_lines.c.centre, order_lines.c.qty)
            .join(
                orders,
                (orders.c.world_id == order_lines.c.world_id) & (orders.c.number == order_lines.c.number),
            )
            .where(orders.c.status == "allocated")
        )
        expected: dict[tuple[int, int], int] = {}
        for sku, centre, qty in tx.connection.execute(held):
            expected[sku, centre] = expected.get((sku, centre), 0) + qty
        shelves = tx.connection.execute(select(stock).where(stock.c.world_id == world)).all()
    assert {(s.sku, s.centre): s.reserved for s in shelves if s.reserved} == expected
    assert all(0 <= s.reserved <= s.on_hand for s in shelves)
    now = store.world(world)
    assert 0 <= now.broken <= now.orders  # a promise is broken once
    assert sum(store.books(world).values()) == now.profit_cents
    for order in store.orders(world, status="cancelled"):
        cents = sum(entry.cents for entry in store.ledger(world, order=order.number))
        assert cents == -rules.goodwill(order.value_cents, int(order.priority))
