"""The business verbs of order fulfilment, each one transaction that is committed when it returns.

    store = Store(Database("sqlite:///orders.db"), setup)
    world = store.open_world("shop", seed=7)
    store.start_season(world.id)                      # optional: let the scenario happen to it
    store.allocate(world.id, 0, "Leeds", "economy", actor="ann", idempotency_key="9f3")

Every verb that changes something takes

    actor               who asks; written to the audit log
    idempotency_key     the same key with the same request gives the same answer without a second
                        effect, also when the answer was a refusal; with another request: Conflict
    expected_version    (verbs on one order) the `version` that the caller read; Conflict when the
                        order has changed since

and raises `Refused` (the business says no, nothing changed), `NotFound`, `Conflict` or `BadInput`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from workgym.services.kernel import BadInput
from workgym.services.once import Request, carry_out
from workgym.services.orders import days, live_state, rules, scenario, season, tables, verbs, views, worlds
from workgym.services.orders.decisions import HOLD, SPLIT, decide_queues
from workgym.services.orders.floor import Floor, Journal, see, take
from workgym.services.orders.records import (
    Centre,
    Customer,
    Delivery,
    Line,
    Order,
    Outcome,
    Posting,
    Shelf,
    Wave,
    World,
)
from workgym.services.orders.scenario import CENTRES, Setup
from workgym.services.orders.soundness import require_sound_world, sound_state
from workgym.services.orders.views import Wanted
from workgym.services.orders.worlds import Catalogue, Templates
from workgym.services.scenario import episode_key
from workgym.services.storage import Database, Transaction
from workgym.services.worlds import WorldStore

T = TypeVar("T")
A = TypeVar("A")


class Store(WorldStore):
    """All worlds of one database.

    Args:
        database: where they live; the tables are made when they are missing.
        setup: constants of the seasons that this store opens.
        catalogue: what their SKUs are called and cost; without it nobody but the web shop can place orders.
    """

    metadata = tables.metadata
    _take = staticmethod(take)
    _see = staticmethod(see)

    def __init__(self, database: Database, setup: Setup, catalogue: Catalogue | None = None) -> None:
        self.database = database
        self.setup = setup
        self._templates = Templates(setup, catalogue or Catalogue.of_setup(setup))
        database.create(self.metadata)

    # Worlds

    def open_world(self, name: str, *, seed: int = 0, family: str = "normal", actor: str = "system") -> World:
        """A new world on its first day: catalogue, customers, opening stock, full capacity, no order yet.

        Raises:
            Conflict: the name is taken.
            BadInput: there is no such family.
        """
        code = scenario.family_index(family)
        with self.database.write() as tx:
            world = worlds.open_world(tx, self._templates, name, _key(seed), code)
            journal = Journal(actor)
            journal.note(world, 0, "open_world", f"world/{world}", family=family, seed=seed)
            journal.write(tx)
            return views.world(tx, world)

    def worlds(self) -> list[World]:
        """All worlds by name."""
        with self.database.read() as tx:
            return views.every_world(tx)

    def world(self, world: int) -> World:
        """One world (NotFound)."""
        with self.database.read() as tx:
            return views.world(tx, world)

    def drop_world(self, world: int) -> None:
        """Remove a world with everything in it, its audit log too (NotFound)."""
        with self.database.write() as tx:
            take(tx, [world])
            worlds.drop(tx, [world])

    def snapshot(self, world: int) -> bytes:
        """The world's canonical state; a twin reads it too."""
        with self.database.read() as tx:
            return live_state.of_world(tx, world).to_bytes()

    def restore(self, world: int, data: bytes, *, actor: str = "system") -> World:
        """Put a canonical state into a world, whatever it held.

        Raises:
            BadInput: the bytes are no state that the season can have.
        """
        state = sound_state(data, self.setup)
        with self.database.write() as tx:
            take(tx, [world])
            name = self._own(tx, world).name
            live_state.into_world(tx, self._templates, world, name, state, actor)
            return views.world(tx, world)

    def _require_sound(self, tx: Transaction, world: int) -> None:
        """Refuse a world of another season, or one that its scenario cannot have (BadInput)."""
        require_sound_world(tx, self.setup, self._templates.season, world)

    # The scenario: what happens to a world whose customers and suppliers are simulated

    def start_season(self, world: int, *, actor: str = "scenario") -> World:
        """Let the first day's orders come; days without any order are passed over."""

        def act(tx: Transaction, floor: Floor, journal: Journal) -> int:
            self._own(tx, world)
            verbs.require_fresh(tx, floor)
            season.begin(tx, self.setup, floor, journal)
            return world

        return self._verb(act, views.world, World, Request(world, "start_season", actor))

    def next_day(self, world: int, *, actor: str = "scenario", idempotency_key: str | None = None) -> World:
        """Close the day and open the next: deliveries, customers who give up, new orders, capacity.

        Raises:
            Refused: the season is over.
        """

        def act(tx: Transaction, floor: Floor, journal: Journal) -> int:
            self._own(tx, world)
            verbs.require_open(floor)
            season.next_day(tx, self.setup, floor, journal)
            return world

        return self._verb(act, views.world, World, Request(world, "next_day", actor, idempotency_key))

    # One order

    def place(
        self,
        world: int,
        customer: int,
        lines: Sequence[Line],
        *,
        actor: str,
        priority: bool = False,
        promise_on: int | None = None,
        idempotency_key: str | None = None,
    ) -> Order:
        """Accept an order of 1 to 4 lines of different SKUs; it ships to the customer's region.

        Args:
            world: its id.
            customer: number of the customer.
            lines: `sku` is the code, `centre` is ignored.
            actor: who asks.
            priority: whether broken promises cost threefold.
            promise_on: day of arrival; None for the usual: in 2 days, 1 with priority, 3 more abroad.
            idempotency_key: see the module.
        """

        def act(tx: Transaction, floor: Floor, journal: Journal) -> int:
            return verbs.place(tx, floor, customer, lines, priority, promise_on, journal)

        ordered = [(line.sku, line.qty) for line in lines]
        asked = (customer, ordered, priority, promise_on)
        return self._verb(
            act, _order_of(world), Order, Request(world, "place", actor, idempotency_key, asked)
        )

    def allocate(
        self,
        world: int,
        number: int,
        centre: str,
        service: str,
        *,
        actor: str,
        expected_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Order:
        """Ship a waiting order whole from a centre by a service: reserves stock and picks, posts the sale."""
        at, level = views.known("centre", centre, CENTRES), views.known("service", service, rules.SERVICES)
        asked = (number, centre, service, expected_version)
        request = Request(world, "allocate", actor, idempotency_key, asked)
        return self._decide(request, number, at * rules.N_SERVICES + level, expected_version)

    def split(
        self,
        world: int,
        number: int,
        *,
        actor: str,
        expected_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Order:
        """Ship a waiting order in parcels from as few centres as a greedy cover needs."""
        request = Request(world, "split", actor, idempotency_key, (number, expected_version))
        return self._decide(request, number, SPLIT, expected_version)

    def hold(
        self,
        world: int,
        number: int,
        *,
        actor: str,
        expected_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Order:
        """Let a waiting order wait until tomorrow."""
        request = Request(world, "hold", actor, idempotency_key, (number, expected_version))
        return self._decide(request, number, HOLD, expected_version)

    def expedite(
        self,
        world: int,
        number: int,
        service: str,
        *,
        actor: str,
        expected_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Order:
        """Raise the parcels of an allocated order to a faster service; posts the difference."""

        def act(tx: Transaction, floor: Floor, journal: Journal) -> int:
            verbs.expedite(tx, self.setup, floor, number, service, expected_version, journal)
            return number

        asked = (number, service, expected_version)
        return self._verb(
            act, _order_of(world), Order, Request(world, "expedite", actor, idempotency_key, asked)
        )

    def cancel(
        self,
        world: int,
        number: int,
        *,
        actor: str,
        expected_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Order:
        """Cancel an order that has not left; releases what it reserved, reverses what it posted."""

        def act(tx: Transaction, floor: Floor, journal: Journal) -> int:
            verbs.cancel(tx, self.setup, floor, number, expected_version, journal)
            return number

        request = Request(world, "cancel", actor, idempotency_key, (number, expected_version))
        return self._verb(act, _order_of(world), Order, request)

    # The day

    def ship_wave(self, world: int, *, actor: str, idempotency_key: str | None = None) -> Wave:
        """Everything allocated leaves the shelf; what the carriers do to promises is posted."""

        def act(tx: Transaction, floor: Floor, journal: Journal) -> Wave:
            verbs.require_open(floor)
            left = days.ship_wave(tx, self.setup, floor, journal)
            cents, broken = left[:, days.SURPRISE_CENTS :].sum(axis=0).tolist()
            return Wave(int(floor.day[0]), len(left), cents, broken)

        return self._verb(act, _itself, Wave, Request(world, "ship_wave", actor, idempotency_key))

    def announce(
        self,
        world: int,
        centre: str,
        sku: str,
        units: int,
        eta: int,
        *,
        actor: str,
        idempotency_key: str | None = None,
    ) -> Delivery:
        """Book a replenishment that a supplier has promised for day `eta`."""

        def act(tx: Transaction, floor: Floor, journal: Journal) -> int:
            return verbs.announce(tx, floor, centre, sku, units, eta, journal)

        request = Request(world, "announce", actor, idempotency_key, (centre, sku, units, eta))
        return self._verb(act, _delivery_of(world), Delivery, request)

    def receive(
        self, world: int, delivery: int, *, actor: str, idempotency_key: str | None = None
    ) -> Delivery:
        """Put an announced delivery on the shelf.

        Raises:
            Refused: it has been received already.
        """

        def act(tx: Transaction, floor: Floor, journal: Journal) -> int:
            verbs.receive(tx, floor, delivery, journal)
            return delivery

        request = Request(world, "receive", actor, idempotency_key, (delivery,))
        return self._verb(act, _delivery_of(world), Delivery, request)

    def close_day(self, world: int, *, actor: str, idempotency_key: str | None = None) -> World:
        """Ship what is still allocated and go to the next day.

        After the last day the season is over and every order that still waits is cancelled.
        """

        def act(tx: Transaction, floor: Floor, journal: Journal) -> int:
            verbs.require_open(floor)
            days.close_day(tx, self.setup, floor, journal)
            return world

        return self._verb(act, views.world, World, Request(world, "close_day", actor, idempotency_key))

    # Many worlds

    def decide(
        self, worlds: Sequence[int], decisions: Sequence[int], *, actor: str = "agent"
    ) -> list[Outcome]:
        """Decide the order in hand of each world, set-wise in one transaction.

        A decision is a code of `desk`: centre * 3 + service, then split, hold, cancel. Refusals are told
        by code; they do not stop the other worlds.
        """
        with self.database.write() as tx:
            return decide_queues(tx, self.setup, worlds, decisions, actor)

    # Reading

    def order(self, world: int, number: int) -> Order:
        """One order (NotFound)."""
        with self._reading(world) as tx:
            return views.order(tx, world, number)

    def orders(
        self,
        world: int,
        *,
        status: str | None = None,
        region: str | None = None,
        priority: bool | None = None,
        sku: str | None = None,
        text: str | None = None,
        late_on: int | None = None,
        after: int = -1,
        limit: int = 50,
    ) -> list[Order]:
        """Orders by number, `limit` at most, those with a number above `after`.

        Args:
            world: its id.
            status: one of `rules.STATUSES`.
            region: one of `scenario.REGIONS`.
            priority: only priority orders, or only others.
            sku: orders with a line of this SKU.
            text: part of the customer's name, case ignored.
            late_on: orders that wait and whose promise lies before this day.
            after: number of the last order of the page before.
            limit: size of a page, 1..1000.
        """
        wanted = Wanted(status, region, priority, sku, text, late_on)
        with self._reading(world) as tx:
            return views.search(tx, world, wanted, after, limit)

    def count_orders(
        self,
        world: int,
        *,
        status: str | None = None,
        region: str | None = None,
        priority: bool | None = None,
        sku: str | None = None,
        text: str | None = None,
        late_on: int | None = None,
    ) -> int:
        """How many orders `orders` finds on all its pages."""
        wanted = Wanted(status, region, priority, sku, text, late_on)
        with self._reading(world) as tx:
            return views.count(tx, world, wanted)

    def queue(self, world: int, limit: int = 50) -> list[Order]:
        """Orders that wait for a decision today, in the order in which the desk takes them."""
        with self._reading(world) as tx:
            return views.queue(tx, world, limit)

    def customers(self, world: int, text: str | None = None) -> list[Customer]:
        """Customers by number; `text` is part of the name."""
        with self._reading(world) as tx:
            return views.every_customer(tx, world, text)

    def centres(self, world: int) -> list[Centre]:
        """All centres."""
        with self._reading(world) as tx:
            return views.every_centre(tx, world)

    def stock(self, world: int, *, sku: str | None = None, centre: str | None = None) -> list[Shelf]:
        """Stock by SKU and centre."""
        with self._reading(world) as tx:
            return views.shelves(tx, world, sku, centre)

    def deliveries(self, world: int, *, open_only: bool = True) -> list[Delivery]:
        """Announced replenishments by date."""
        with self._reading(world) as tx:
            return views.every_delivery(tx, world, open_only)

    def ledger(self, world: int, *, order: int | None = None) -> list[Posting]:
        """Ledger entries in the order of posting, of one order or all."""
        with self._reading(world) as tx:
            return views.postings(tx, world, order)

    def books(self, world: int) -> dict[str, int]:
        """Cents by account."""
        with self._reading(world) as tx:
            return views.books(tx, world)

    # How a verb runs

    def _decide(self, request: Request, number: int, decision: int, expected: int | None) -> Order:
        def act(tx: Transaction, floor: Floor, journal: Journal) -> int:
            verbs.decide(tx, self.setup, floor, number, decision, expected, journal)
            return number

        return self._verb(act, _order_of(request.world), Order, request)

    def _verb(
        self,
        act: Callable[[Transaction, Floor, Journal], A],
        tell: Callable[[Transaction, A], T],
        kind: type[T],
        request: Request,
    ) -> T:
        """Run a verb once, whatever the number of calls with its idempotency key.

        Args:
            act: checks, changes and says on what; a Refused comes before its first change.
            tell: the answer.
            kind: type of the answer.
            request: who asks for what.
        """

        def done(tx: Transaction, floor: Floor) -> T:
            journal = Journal(request.actor)
            subject = act(tx, floor, journal)
            journal.write(tx)
            return tell(tx, subject)

        return carry_out(self.database, request, kind, lambda tx: take(tx, [request.world]), done)

    def _own(self, tx: Transaction, world: int) -> World:
        """The world, if its season is the one that this store simulates."""
        found = views.world(tx, world)
        if found.season != self._templates.season:
            raise BadInput(
                f"expected a world of season {self._templates.season[:8]}, found one of {found.season[:8]}; "
                "open the store with the setup and the catalogue that the world was opened with"
            )
        return found

    @contextmanager
    def _reading(self, world: int) -> Iterator[Transaction]:
        with self.database.read() as tx:
            views.require(tx, world)
            yield tx


def _key(seed: int) -> int:
    """The key of the first episode of a seed, in a scenario space of its own."""
    return int(episode_key(np.uint64(0), seed, 0))


def _order_of(world: int) -> Callable[[Transaction, int], Order]:
    return lambda tx, number: views.order(tx, world, number)


def _delivery_of(world: int) -> Callable[[Transaction, int], Delivery]:
    return lambda tx, number: views.delivery(tx, world, number)


def _itself(_tx: Transaction, answer: T) -> T:
    return answer
