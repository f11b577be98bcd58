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

from collections.abc import Sequence

from workgym.services.orders.records import (
    Centre,
    Customer,
    Delivery,
    Entry,
    Line,
    Order,
    Outcome,
    Posting,
    Shelf,
    Wave,
    World,
)
from workgym.services.orders.scenario import Setup
from workgym.services.storage import Database


class Store:
    """All worlds of one database.

    Args:
        database: where they live; the tables are made when they are missing.
        setup: constants of the seasons that this store opens.
    """

    def __init__(self, database: Database, setup: Setup) -> None:
        raise NotImplementedError

    # Worlds

    def open_world(self, name: str, *, seed: int = 0, family: str = "normal", actor: str = "system") -> World:
        """A new world on its first day: catalogue, customers, opening stock, full capacity, no order yet.

        Raises:
            Conflict: the name is taken.
            BadInput: there is no such family.
        """
        raise NotImplementedError

    def worlds(self) -> list[World]:
        """All worlds by name."""
        raise NotImplementedError

    def world(self, world: int) -> World:
        """One world (NotFound)."""
        raise NotImplementedError

    def drop_world(self, world: int) -> None:
        """Remove a world with everything in it, its audit log too (NotFound)."""
        raise NotImplementedError

    def snapshot(self, world: int) -> bytes:
        """The world's canonical state; a twin reads it too."""
        raise NotImplementedError

    def restore(self, world: int, data: bytes, *, actor: str = "system") -> World:
        """Put a canonical state into a world, whatever it held."""
        raise NotImplementedError

    # The scenario: what happens to a world whose customers and suppliers are simulated

    def start_season(self, world: int, *, actor: str = "scenario") -> World:
        """Let the first day's orders come; days without any order are passed over."""
        raise NotImplementedError

    def next_day(self, world: int, *, actor: str = "scenario", idempotency_key: str | None = None) -> World:
        """Close the day and open the next: deliveries, customers who give up, new orders, capacity.

        Raises:
            Refused: the season is over.
        """
        raise NotImplementedError

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
            promise_on: day of arrival; None for what the shop promises (2 days, 1 with priority, 3 more abroad).
            idempotency_key: see the module.
        """
        raise NotImplementedError

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
        raise NotImplementedError

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
        raise NotImplementedError

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
        raise NotImplementedError

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
        """Raise the parcels of an allocated order that has not left to a faster service; posts the difference."""
        raise NotImplementedError

    def cancel(
        self,
        world: int,
        number: int,
        *,
        actor: str,
        expected_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Order:
        """Cancel an order that has not left: releases what was reserved, reverses its postings, posts goodwill."""
        raise NotImplementedError

    # The day

    def ship_wave(self, world: int, *, actor: str, idempotency_key: str | None = None) -> Wave:
        """Everything allocated leaves: reservations leave the shelf, what carriers do to promises is posted."""
        raise NotImplementedError

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
        raise NotImplementedError

    def receive(
        self, world: int, delivery: int, *, actor: str, idempotency_key: str | None = None
    ) -> Delivery:
        """Put an announced delivery on the shelf.

        Raises:
            Refused: it has been received already.
        """
        raise NotImplementedError

    def close_day(self, world: int, *, actor: str, idempotency_key: str | None = None) -> World:
        """Ship what is still allocated and go to the next day.

        After the last day the season is over and every order that still waits is cancelled.
        """
        raise NotImplementedError

    # Many worlds

    def decide(
        self, worlds: Sequence[int], decisions: Sequence[int], *, actor: str = "agent"
    ) -> list[Outcome]:
        """Decide the order in hand of each world, set-wise in one transaction.

        A decision is a code of `desk`: centre * 3 + service, then split, hold, cancel. Refusals are told
        by code; they do not stop the other worlds.
        """
        raise NotImplementedError

    # Reading

    def order(self, world: int, number: int) -> Order:
        """One order (NotFound)."""
        raise NotImplementedError

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
            limit: size of a page, 1..500.
        """
        raise NotImplementedError

    def queue(self, world: int, limit: int = 50) -> list[Order]:
        """Orders that wait for a decision today, in the order in which the desk takes them."""
        raise NotImplementedError

    def customers(self, world: int, text: str | None = None) -> list[Customer]:
        """Customers by number; `text` is part of the name."""
        raise NotImplementedError

    def centres(self, world: int) -> list[Centre]:
        """All centres."""
        raise NotImplementedError

    def stock(self, world: int, *, sku: str | None = None, centre: str | None = None) -> list[Shelf]:
        """Stock by SKU and centre."""
        raise NotImplementedError

    def deliveries(self, world: int, *, open_only: bool = True) -> list[Delivery]:
        """Announced replenishments by date."""
        raise NotImplementedError

    def ledger(self, world: int, *, order: int | None = None) -> list[Posting]:
        """Ledger entries in the order of posting, of one order or all."""
        raise NotImplementedError

    def books(self, world: int) -> dict[str, int]:
        """Cents by account."""
        raise NotImplementedError

    def audit(self, world: int, *, subject: str | None = None, limit: int = 100) -> list[Entry]:
        """The latest lines of the audit log, newest first; subjects are `order/7`, `delivery/3`, `day/2`."""
        raise NotImplementedError
