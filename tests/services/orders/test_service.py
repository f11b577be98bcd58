"""What the order department may rely on, on every database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest
from sqlalchemy import select, update

from workgym.services.kernel import BadInput, Conflict, NotFound, Refused
from workgym.services.orders import rules, scenario, verbs
from workgym.services.orders.baskets import synthetic
from workgym.services.orders.records import Delivery, Line, Order, World
from workgym.services.orders.store import Store
from workgym.services.orders.tables import centres, metadata
from workgym.services.orders.worlds import Catalogue
from workgym.services.storage import Database

ANN = {"actor": "ann"}


@lru_cache
def shop_of(days: int) -> tuple[scenario.Setup, Catalogue]:
    baskets = synthetic("train")
    return scenario.season(baskets, days), Catalogue.of_baskets(baskets)


@dataclass
class Shop:
    """A store and the one world that a test works in."""

    store: Store
    world: int

    def dump(self) -> dict[str, list[Any]]:
        """Every row of every table."""
        with self.store.database.read() as tx:
            return {
                table.name: sorted(map(tuple, tx.connection.execute(select(table))), key=repr)
                for table in metadata.sorted_tables
            }

    def free(self, sku: str, centre: str) -> int:
        (shelf,) = self.store.stock(self.world, sku=sku, centre=centre)
        return shelf.on_hand - shelf.reserved

    def reserved(self) -> int:
        return sum(shelf.reserved for shelf in self.store.stock(self.world))

    def picks(self) -> dict[str, int]:
        return {centre.name: centre.picks_left for centre in self.store.centres(self.world)}

    def whole(self) -> tuple[Order, str]:
        """An order that waits, and a centre that can ship it whole."""
        for order in self.store.queue(self.world):
            for centre, picks in self.picks().items():
                stocked = all(self.free(line.sku, centre) >= line.qty for line in order.lines)
                if stocked and picks >= len(order.lines):
                    return order, centre
        raise AssertionError("no order can be shipped whole; take another seed")

    def allocated(self, service: str = "economy") -> Order:
        order, centre = self.whole()
        return self.store.allocate(self.world, order.number, centre, service, **ANN)

    def stocked(self, sku: str, centre: str, units: int) -> Delivery:
        day = self.store.world(self.world).day
        announced = self.store.announce(self.world, centre, sku, units, day, **ANN)
        return self.store.receive(self.world, announced.id, **ANN)

    def scattered(self) -> Order:
        """An order of two lines that only two centres together can ship."""
        self.stocked("A001", "Leeds", 5000)
        self.stocked("A002", "Cork", 5000)
        return self.store.place(self.world, 3, [Line("A001", 4000), Line("A002", 4000)], **ANN)


@pytest.fixture
def shop(database_url: str) -> Shop:
    setup, catalogue = shop_of(10)
    store = Store(Database(database_url), setup, catalogue)
    world = store.open_world("shop", seed=7)
    store.start_season(world.id)
    return Shop(store, world.id)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.reason


# One order


def test_allocation_reserves_stock_and_picks_and_posts_the_sale(shop: Shop) -> None:
    order, centre = shop.whole()
    free = {line.sku: shop.free(line.sku, centre) for line in order.lines}
    picks = shop.picks()[centre]
    shipped = shop.store.allocate(shop.world, order.number, centre, "standard", **ANN)
    (parcel,) = shipped.parcels
    assert (shipped.status, shipped.reviewed_on, parcel.centre, parcel.service) == (
        "allocated",
        0,
        centre,
        "standard",
    )
    assert {line.centre for line in shipped.lines} == {centre}
    assert all(shop.free(line.sku, centre) == free[line.sku] - line.qty for line in order.lines)
    assert shop.picks()[centre] == picks - len(order.lines)
    posted = {entry.account: entry.cents for entry in shop.store.ledger(shop.world, order=order.number)}
    late = rules.lateness(parcel.due_on - order.promise_on, int(order.priority))
    assert posted["sales"] == order.value_cents
    assert posted["freight"] == -parcel.freight_cents
    assert posted["picking"] == -rules.picking(len(order.lines))
    assert posted.get("lateness", 0) == -late


def test_what_no_centre_has_is_refused_and_changes_nothing(shop: Shop) -> None:
    order = shop.store.place(shop.world, 0, [Line("A001", 100_000)], **ANN)
    before = shop.dump()
    reason = refused(lambda: shop.store.allocate(shop.world, order.number, "Leeds", "economy", **ANN))
    assert reason == rules.REASONS[rules.SHORT_OF_STOCK]
    assert shop.dump() == before


def test_a_centre_without_capacity_refuses(shop: Shop) -> None:
    order, centre = shop.whole()
    with shop.store.database.write() as tx:
        tx.connection.execute(update(centres).values(picks_left=len(order.lines) - 1))
    before = shop.dump()
    reason = refused(lambda: shop.store.allocate(shop.world, order.number, centre, "economy", **ANN))
    assert reason == rules.REASONS[rules.NO_CAPACITY]
    assert shop.dump() == before


def test_an_order_is_decided_once(shop: Shop) -> None:
    order = shop.allocated()
    not_waiting = rules.REASONS[rules.NOT_WAITING]
    centre = order.parcels[0].centre
    assert (
        refused(lambda: shop.store.allocate(shop.world, order.number, centre, "express", **ANN))
        == not_waiting
    )
    assert refused(lambda: shop.store.split(shop.world, order.number, **ANN)) == not_waiting
    assert refused(lambda: shop.store.hold(shop.world, order.number, **ANN)) == not_waiting


def test_names_that_nobody_knows_are_told_with_the_nearest_one(shop: Shop) -> None:
    with pytest.raises(BadInput, match="did you mean 'Leeds'"):
        shop.store.allocate(shop.world, 0, "Leads", "economy", **ANN)
    with pytest.raises(BadInput, match="did you mean 'express'"):
        shop.store.allocate(shop.world, 0, "Leeds", "expres", **ANN)
    with pytest.raises(NotFound, match="no order 999"):
        shop.store.hold(shop.world, 999, **ANN)
    with pytest.raises(NotFound, match="no world with id 999"):
        shop.store.hold(999, 0, **ANN)


def test_a_scattered_order_is_split_over_the_centres_that_have_it(shop: Shop) -> None:
    order = shop.scattered()
    split = shop.store.split(shop.world, order.number, **ANN)
    assert [(line.sku, line.centre) for line in split.lines] == [("A001", "Leeds"), ("A002", "Cork")]
    assert {parcel.centre for parcel in split.parcels} == {"Leeds", "Cork"}
    posted = {entry.account: entry.cents for entry in shop.store.ledger(shop.world, order=order.number)}
    assert posted["freight"] == -sum(parcel.freight_cents for parcel in split.parcels)
    assert posted["picking"] == -2 * rules.picking(1)
    assert shop.reserved() == 8000


def test_an_order_that_one_centre_can_ship_is_not_split(shop: Shop) -> None:
    order, _ = shop.whole()
    before = shop.dump()
    assert (
        refused(lambda: shop.store.split(shop.world, order.number, **ANN))
        == rules.REASONS[rules.NOT_SPLITTABLE]
    )
    assert shop.dump() == before


def test_a_held_order_comes_back_tomorrow(shop: Shop) -> None:
    first = shop.store.queue(shop.world)[0]
    held = shop.store.hold(shop.world, first.number, **ANN)
    assert (held.status, held.reviewed_on) == ("waiting", 0)
    assert first.number not in [order.number for order in shop.store.queue(shop.world)]
    shop.store.close_day(shop.world, **ANN)
    assert shop.store.queue(shop.world)[0].number == first.number


def test_a_promise_is_broken_once_and_saved_by_whoever_saves_it(shop: Shop) -> None:
    shop.stocked("A001", "Leeds", 500)
    store, here = shop.store, shop.world
    order = store.place(here, 0, [Line("A001", 400)], promise_on=1, **ANN)
    for _ in range(2):
        store.hold(here, order.number, **ANN)
        assert store.world(here).broken == 1
    store.allocate(here, order.number, "Leeds", "express", **ANN)
    assert store.world(here).broken == 0
    store.cancel(here, order.number, **ANN)
    assert store.world(here).broken == 1


def test_a_promise_that_nobody_looked_at_is_broken_too(shop: Shop) -> None:
    order = shop.store.place(shop.world, 0, [Line("A001", 1)], promise_on=1, **ANN)
    for other in shop.store.queue(shop.world):
        if other.number != order.number:
            shop.store.cancel(shop.world, other.number, **ANN)
    before = shop.store.world(shop.world).broken
    assert [shop.store.close_day(shop.world, **ANN).broken - before for _ in range(3)] == [1, 1, 1]


def test_expediting_posts_the_difference_and_brings_the_parcel_earlier(shop: Shop) -> None:
    order = shop.allocated("economy")
    books = shop.store.books(shop.world)
    faster = shop.store.expedite(shop.world, order.number, "express", **ANN)
    before, after = order.parcels[0], faster.parcels[0]
    assert (after.service, after.due_on <= before.due_on) == ("express", True)
    now = shop.store.books(shop.world)
    assert now["freight"] - books["freight"] == before.freight_cents - after.freight_cents < 0
    late = [rules.lateness(p.due_on - order.promise_on, int(order.priority)) for p in (before, after)]
    assert now["lateness"] - books["lateness"] == late[0] - late[1]


def test_expediting_keeps_a_promise_that_would_have_been_broken(shop: Shop) -> None:
    shop.stocked("A001", "Leeds", 500)
    slow = shop.store.place(shop.world, 47, [Line("A001", 400)], priority=True, promise_on=4, **ANN)
    shop.store.allocate(shop.world, slow.number, "Leeds", "economy", **ANN)
    assert shop.store.world(shop.world).broken == 1
    shop.store.expedite(shop.world, slow.number, "express", **ANN)
    assert shop.store.world(shop.world).broken == 0
    assert shop.store.books(shop.world)["lateness"] == 0


def test_only_an_allocated_order_is_expedited_and_only_to_a_faster_service(shop: Shop) -> None:
    waiting, _ = shop.whole()
    assert (
        refused(lambda: shop.store.expedite(shop.world, waiting.number, "express", **ANN))
        == verbs.NOT_ALLOCATED
    )
    order = shop.allocated("standard")
    before = shop.dump()
    for service in ("economy", "standard"):
        reason = refused(lambda s=service: shop.store.expedite(shop.world, order.number, s, **ANN))  # type: ignore[misc]  # a default binds the loop's value
        assert reason == verbs.FAST_ALREADY
    assert shop.dump() == before
    shop.store.ship_wave(shop.world, **ANN)
    assert refused(lambda: shop.store.expedite(shop.world, order.number, "express", **ANN)) == verbs.HAS_LEFT


def test_cancelling_a_waiting_order_costs_goodwill_and_a_promise(shop: Shop) -> None:
    order = shop.store.queue(shop.world)[0]
    cancelled = shop.store.cancel(shop.world, order.number, **ANN)
    assert cancelled.status == "cancelled"
    assert shop.store.books(shop.world)["goodwill"] == -rules.goodwill(order.value_cents, int(order.priority))
    assert shop.store.world(shop.world).broken == 1


def test_cancelling_an_allocated_order_leaves_no_trace_but_goodwill(shop: Shop) -> None:
    stock_before, picks = shop.store.stock(shop.world), shop.picks()
    order = shop.allocated("express")
    cancelled = shop.store.cancel(shop.world, order.number, **ANN)
    assert (cancelled.status, cancelled.parcels, {line.centre for line in cancelled.lines}) == (
        "cancelled",
        (),
        {None},
    )
    assert (shop.store.stock(shop.world), shop.picks()) == (stock_before, picks)
    goodwill = -rules.goodwill(order.value_cents, int(order.priority))
    assert shop.store.books(shop.world) == {**dict.fromkeys(rules.ACCOUNTS, 0), "goodwill": goodwill}
    assert shop.store.world(shop.world).broken == 1


def test_cancelling_a_split_order_releases_every_part(shop: Shop) -> None:
    order = shop.scattered()
    shop.store.split(shop.world, order.number, **ANN)
    shop.store.cancel(shop.world, order.number, **ANN)
    assert shop.reserved() == 0
    assert shop.free("A001", "Leeds") >= 5000


def test_what_has_left_is_not_cancelled(shop: Shop) -> None:
    order = shop.allocated()
    shop.store.ship_wave(shop.world, **ANN)
    before = shop.dump()
    assert refused(lambda: shop.store.cancel(shop.world, order.number, **ANN)) == verbs.HAS_LEFT
    assert shop.dump() == before


# Typed in


def test_an_order_typed_in_costs_what_the_catalogue_says(shop: Shop) -> None:
    _, catalogue = shop_of(10)
    order = shop.store.place(shop.world, 40, [Line("A003", 2), Line("A001", 5)], **ANN)
    assert order.value_cents == 2 * catalogue.price_cents[2] + 5 * catalogue.price_cents[0]  # type: ignore[operator]  # this catalogue has prices
    assert (order.status, order.reference, order.region) == ("waiting", None, "far abroad")
    assert order.promise_on == 5
    assert order.number == shop.store.world(shop.world).orders - 1
    assert order in shop.store.queue(shop.world)


@pytest.mark.parametrize(
    ("lines", "error", "words"),
    [
        ([], BadInput, "1 to 4 lines"),
        ([Line(f"A00{k}", 1) for k in range(1, 6)], BadInput, "1 to 4 lines"),
        ([Line("A001", 1), Line("A001", 2)], BadInput, "different SKUs"),
        ([Line("A001", 0)], BadInput, "1 or more"),
        ([Line("A001", 2**31 - 1)], BadInput, "at most"),
        ([Line("B999", 1)], NotFound, "B999"),
    ],
)
def test_an_impossible_order_is_not_accepted(shop: Shop, lines: list[Line], error: type, words: str) -> None:
    before = shop.dump()
    with pytest.raises(error, match=words):
        shop.store.place(shop.world, 0, lines, **ANN)
    assert shop.dump() == before


def test_a_promise_lies_in_the_future_and_a_customer_exists(shop: Shop) -> None:
    with pytest.raises(BadInput, match="promise"):
        shop.store.place(shop.world, 0, [Line("A001", 1)], promise_on=-1, **ANN)
    with pytest.raises(NotFound, match="customer 48"):
        shop.store.place(shop.world, 48, [Line("A001", 1)], **ANN)


# The day


def test_the_wave_takes_what_was_reserved_off_the_shelf(shop: Shop) -> None:
    order = shop.allocated()
    centre = order.parcels[0].centre
    before = {line.sku: shop.free(line.sku, centre) for line in order.lines}
    wave = shop.store.ship_wave(shop.world, **ANN)
    shipped = shop.store.order(shop.world, order.number)
    assert (wave.shipped, shipped.status, shipped.parcels[0].shipped_on) == (1, "shipped", 0)
    assert shop.reserved() == 0
    assert {line.sku: shop.free(line.sku, centre) for line in order.lines} == before
    assert shop.store.books(shop.world)["lateness"] == wave.lateness_cents
    assert shop.store.ship_wave(shop.world, **ANN).shipped == 0


def test_a_new_day_brings_new_picks(shop: Shop) -> None:
    fresh = shop.picks()
    shop.allocated()
    assert shop.picks() != fresh
    shop.store.close_day(shop.world, **ANN)
    assert shop.picks() == fresh


def test_a_delivery_is_received_once(shop: Shop) -> None:
    free = shop.free("A005", "Glasgow")
    delivery = shop.stocked("A005", "Glasgow", 25)
    assert (delivery.received_on, shop.free("A005", "Glasgow")) == (0, free + 25)
    assert refused(lambda: shop.store.receive(shop.world, delivery.id, **ANN)) == verbs.HAS_COME
    assert shop.free("A005", "Glasgow") == free + 25
    with pytest.raises(NotFound, match="delivery"):
        shop.store.receive(shop.world, 10**9, **ANN)


def test_suppliers_bring_what_they_announced(shop: Shop) -> None:
    due = [delivery for delivery in shop.store.deliveries(shop.world) if delivery.eta == 1]
    free = {(d.sku, d.centre): shop.free(d.sku, d.centre) for d in due}
    shop.store.next_day(shop.world)
    assert due
    assert all(shop.free(d.sku, d.centre) == free[d.sku, d.centre] + d.units for d in due)
    assert not {d.id for d in due} & {d.id for d in shop.store.deliveries(shop.world)}


def test_a_day_brings_orders_and_takes_the_impatient(shop: Shop) -> None:
    world = shop.store.world(shop.world)
    for _ in range(9):
        world = shop.store.next_day(shop.world)
    withdrawn = shop.store.orders(shop.world, status="withdrawn", limit=1000)
    assert world.orders > 90
    assert withdrawn
    assert all(order.promise_on < world.day for order in withdrawn)
    cost = sum(rules.withdrawal(order.value_cents, int(order.priority)) for order in withdrawn)
    assert shop.store.books(shop.world)["goodwill"] == -cost
    assert world.broken >= len(withdrawn)


def test_after_the_last_day_nobody_waits_and_nothing_can_be_decided(shop: Shop) -> None:
    for _ in range(9):
        shop.store.close_day(shop.world, **ANN)
    last = shop.store.place(shop.world, 0, [Line("A001", 1)], **ANN)
    world = shop.store.close_day(shop.world, **ANN)
    assert (world.ended, world.waiting, world.day) == (True, 0, 10)
    assert shop.store.order(shop.world, last.number).status == "cancelled"
    over = rules.REASONS[rules.EPISODE_OVER]
    store, here = shop.store, shop.world
    for call in (
        lambda: store.hold(here, 0, **ANN),
        lambda: store.cancel(here, 0, **ANN),
        lambda: store.expedite(here, 0, "express", **ANN),
        lambda: store.place(here, 0, [Line("A001", 1)], **ANN),
        lambda: store.ship_wave(here, **ANN),
        lambda: store.close_day(here, **ANN),
        lambda: store.next_day(here),
    ):
        assert refused(call) == over


def test_a_season_begins_once(shop: Shop) -> None:
    assert refused(lambda: shop.store.start_season(shop.world)) == verbs.HAS_BEGUN


# Asked twice


def test_the_same_key_with_the_same_request_has_one_effect(shop: Shop) -> None:
    order, centre = shop.whole()
    first = shop.store.allocate(shop.world, order.number, centre, "economy", idempotency_key="k", **ANN)
    after = shop.dump()
    again = shop.store.allocate(shop.world, order.number, centre, "economy", idempotency_key="k", **ANN)
    assert again == first
    assert shop.dump() == after


def test_every_verb_answers_a_retry_like_the_first_time(shop: Shop) -> None:
    store, here = shop.store, shop.world
    shop.allocated()
    announced = store.announce(here, "Leeds", "A001", 5, 3, **ANN)
    waiting = [order.number for order in store.queue(here)]
    lines = [Line("A001", 1)]
    calls: list[Callable[[str], object]] = [
        lambda key: store.place(here, 0, lines, idempotency_key=key, **ANN),
        lambda key: store.hold(here, waiting[0], idempotency_key=key, **ANN),
        lambda key: store.cancel(here, waiting[1], idempotency_key=key, **ANN),
        lambda key: store.announce(here, "Leeds", "A001", 5, 3, idempotency_key=key, **ANN),
        lambda key: store.receive(here, announced.id, idempotency_key=key, **ANN),
        lambda key: store.ship_wave(here, idempotency_key=key, **ANN),
        lambda key: store.close_day(here, idempotency_key=key, **ANN),
        lambda key: store.next_day(here, idempotency_key=key),
    ]
    for number, call in enumerate(calls):
        first = call(f"key {number}")
        after = shop.dump()
        assert call(f"key {number}") == first
        assert shop.dump() == after


def test_the_same_key_with_another_request_is_a_conflict(shop: Shop) -> None:
    first, second = (order.number for order in shop.store.queue(shop.world)[:2])
    shop.store.hold(shop.world, first, idempotency_key="k", **ANN)
    before = shop.dump()
    with pytest.raises(Conflict, match="another request"):
        shop.store.hold(shop.world, second, idempotency_key="k", **ANN)
    with pytest.raises(Conflict, match="another request"):
        shop.store.cancel(shop.world, first, idempotency_key="k", **ANN)
    assert shop.dump() == before


def test_a_refusal_is_repeated_even_when_the_business_would_say_yes_by_now(shop: Shop) -> None:
    order = shop.store.place(shop.world, 0, [Line("A001", 3000)], **ANN)

    def ask(key: str) -> Order:
        return shop.store.allocate(shop.world, order.number, "Cork", "express", idempotency_key=key, **ANN)

    reason = refused(lambda: ask("k"))
    shop.stocked("A001", "Cork", 3000)
    assert refused(lambda: ask("k")) == reason
    assert ask("another").status == "allocated"


def test_keys_belong_to_a_world(shop: Shop) -> None:
    other = shop.store.open_world("other", seed=8)
    shop.store.start_season(other.id)
    shop.store.hold(shop.world, 0, idempotency_key="k", **ANN)
    assert shop.store.hold(other.id, 0, idempotency_key="k", **ANN).reviewed_on == 0


# Two people at once


def test_a_stale_version_is_a_conflict_and_changes_nothing(shop: Shop) -> None:
    order, centre = shop.whole()
    assert shop.store.hold(shop.world, order.number, expected_version=order.version, **ANN).version == 2
    before = shop.dump()
    store, here, number = shop.store, shop.world, order.number
    for call in (
        lambda: store.allocate(here, number, centre, "economy", expected_version=1, **ANN),
        lambda: store.split(here, number, expected_version=1, **ANN),
        lambda: store.hold(here, number, expected_version=1, **ANN),
        lambda: store.expedite(here, number, "express", expected_version=1, **ANN),
        lambda: store.cancel(here, number, expected_version=1, **ANN),
    ):
        with pytest.raises(Conflict, match="expected version 1"):
            call()
    assert shop.dump() == before


def test_of_two_clerks_at_once_one_wins(shop: Shop, database_url: str) -> None:
    order, centre = shop.whole()
    outcomes: list[str] = []
    together = threading.Barrier(2)

    def clerk(name: str) -> None:
        store = Store(Database(database_url), *shop_of(10))
        together.wait()
        try:
            store.allocate(shop.world, order.number, centre, "economy", actor=name, expected_version=1)
            outcomes.append("won")
        except Conflict:
            outcomes.append("lost")
        store.database.close()

    clerks = [threading.Thread(target=clerk, args=(name,)) for name in ("ann", "bob")]
    for thread in clerks:
        thread.start()
    for thread in clerks:
        thread.join()
    assert sorted(outcomes) == ["lost", "won"]
    assert shop.reserved() == sum(line.qty for line in order.lines)


# The audit log


def test_every_verb_writes_one_line(shop: Shop) -> None:
    store, here = shop.store, shop.world
    order = shop.allocated("economy")
    store.expedite(here, order.number, "express", **ANN)
    store.cancel(here, order.number, **ANN)
    said = [(line.actor, line.verb) for line in store.audit(here, subject=f"order/{order.number}")]
    assert said == [("ann", "cancel"), ("ann", "expedite"), ("ann", "allocate"), ("scenario", "place")]
    store.close_day(here, actor="bob")
    newest = store.audit(here, limit=1)[0]
    assert (newest.actor, newest.verb, newest.subject, newest.day) == ("bob", "close_day", "day/0", 0)


# Reading


def test_searching_finds_exactly_what_was_asked_for(shop: Shop) -> None:
    shop.allocated()
    everything = shop.store.orders(shop.world, limit=1000)
    assert len(everything) == shop.store.world(shop.world).orders
    claims: list[tuple[dict[str, Any], Callable[[Order], bool]]] = [
        ({"status": "waiting"}, lambda order: order.status == "waiting"),
        ({"region": "north"}, lambda order: order.region == "north"),
        ({"priority": True}, lambda order: order.priority),
        ({"priority": False}, lambda order: not order.priority),
        ({"sku": "A001"}, lambda order: "A001" in [line.sku for line in order.lines]),
        ({"text": "ARCH"}, lambda order: "arch" in order.customer.lower()),
        ({"text": "100%"}, lambda order: False),
        ({"late_on": 4}, lambda order: order.status == "waiting" and order.promise_on < 4),
        ({"after": 4}, lambda order: order.number > 4),
        ({"status": "waiting", "priority": True}, lambda order: order.status == "waiting" and order.priority),
    ]
    for wanted, holds in claims:
        expected = [order for order in everything if holds(order)]
        assert shop.store.orders(shop.world, **wanted) == expected
        if "after" not in wanted:
            assert shop.store.count_orders(shop.world, **wanted) == len(expected)
    assert shop.store.orders(shop.world, limit=2) == everything[:2]


@pytest.mark.parametrize("wanted", [{"status": "lost"}, {"region": "moon"}, {"limit": 0}, {"limit": 10**6}])
def test_a_search_that_cannot_be_meant_is_told(shop: Shop, wanted: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        shop.store.orders(shop.world, **wanted)


def test_reading_changes_nothing(shop: Shop) -> None:
    shop.allocated()
    before = shop.dump()
    store, here = shop.store, shop.world
    store.worlds(), store.world(here), store.snapshot(here)
    store.order(here, 0), store.orders(here), store.queue(here), store.count_orders(here)
    (
        store.customers(here, "a"),
        store.centres(here),
        store.stock(here),
        store.deliveries(here, open_only=False),
    )
    store.ledger(here), store.books(here), store.audit(here)
    assert shop.dump() == before


def test_the_books_add_up(shop: Shop) -> None:
    for _ in range(4):
        shop.allocated("standard")
    shop.store.next_day(shop.world)
    entries, books = shop.store.ledger(shop.world), shop.store.books(shop.world)
    for account in rules.ACCOUNTS:
        assert books[account] == sum(entry.cents for entry in entries if entry.account == account)
    assert shop.store.world(shop.world).profit_cents == sum(books.values())


# Snapshots


def test_a_snapshot_brings_the_business_back(shop: Shop) -> None:
    for _ in range(3):
        shop.allocated()
    shop.store.next_day(shop.world)
    order = shop.allocated()
    data = shop.store.snapshot(shop.world)
    then = (shop.store.world(shop.world), shop.store.stock(shop.world), shop.picks())
    for _ in range(4):
        shop.store.next_day(shop.world)
    assert shop.store.restore(shop.world, data) == then[0]
    assert (shop.store.stock(shop.world), shop.picks()) == then[1:]
    assert shop.store.snapshot(shop.world) == data
    assert shop.store.order(shop.world, order.number).parcels == order.parcels
    expected = [line for line in shop.store.deliveries(shop.world) if line.eta > 1]
    assert expected


def test_a_restored_world_takes_back_an_allocated_order_to_the_cent(shop: Shop) -> None:
    books, stock_before = shop.store.books(shop.world), shop.store.stock(shop.world)
    order = shop.allocated("express")
    shop.store.restore(shop.world, shop.store.snapshot(shop.world))
    shop.store.cancel(shop.world, order.number, **ANN)
    goodwill = -rules.goodwill(order.value_cents, int(order.priority))
    assert shop.store.books(shop.world) == {**books, "goodwill": goodwill}
    assert shop.store.stock(shop.world) == stock_before


def test_a_world_with_an_order_typed_in_is_not_carried_away(shop: Shop) -> None:
    shop.store.place(shop.world, 0, [Line("A001", 1)], **ANN)
    with pytest.raises(BadInput, match="typed in"):
        shop.store.snapshot(shop.world)


def test_a_state_of_another_season_is_refused(shop: Shop) -> None:
    before = shop.dump()
    with pytest.raises(BadInput, match="snapshot"):
        shop.store.restore(shop.world, b"{}")
    other = scenario.season(synthetic("train", n_skus=8))
    theirs = Store(Database(), other)
    world = theirs.open_world("theirs")
    with pytest.raises(BadInput, match="same arguments"):
        shop.store.restore(shop.world, theirs.snapshot(world.id))
    assert shop.dump() == before


def test_a_name_is_taken_once(shop: Shop) -> None:
    with pytest.raises(Conflict, match="'shop'"):
        shop.store.open_world("shop")
    with pytest.raises(BadInput, match="did you mean 'promotion'"):
        shop.store.open_world("second", family="promotoin")
    names: list[World] = shop.store.worlds()
    assert [world.name for world in names] == ["shop"]
