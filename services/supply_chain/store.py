"""The business verbs of buying and placing stock, each one transaction that is committed when it returns.

    store = Store(Database("sqlite:///supply_chain.db"))
    world = store.open_world("shop", "lost-sales", seed=7)
    order = store.purchase(world.id, 0, [Wanted("SKU", 6)], actor="ann", idempotency_key="9f3")
    store.close_day(world.id, actor="ann")

Every verb that changes something takes

    actor               who asks; written to the audit log
    idempotency_key     the same key with the same request gives the same answer without a second
                        effect, also when the answer was a refusal; with another request: Conflict
    expected_version    (policies) the `version` that the caller read, 0 where there was none;
                        Conflict when the policy has changed since

and raises `Refused` (the business says no, nothing changed), `NotFound`, `Conflict` or `BadInput`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from workgym.services.once import Request, carry_out
from workgym.services.scenario import episode_key
from workgym.services.storage import Database, Transaction
from workgym.services.supply_chain import live_state, tables, verbs, views, worlds
from workgym.services.supply_chain.floor import Floor, Journal, see, take
from workgym.services.supply_chain.records import (
    Link,
    Order,
    Policy,
    Posting,
    Sale,
    Shelf,
    Shipment,
    World,
)
from workgym.services.supply_chain.soundness import named_network, require_sound_world, sound_state
from workgym.services.supply_chain.spec import Network
from workgym.services.supply_chain.verbs import Wanted
from workgym.services.supply_chain.worlds import Plan, plan_of
from workgym.services.worlds import WorldStore

T = TypeVar("T")


class Store(WorldStore):
    """All worlds of one database.

    Args:
        database: where they live; the tables are made when they are missing.
        plans: networks whose demand replays a history, which no table holds.
    """

    metadata = tables.metadata
    _take = staticmethod(take)
    _see = staticmethod(see)

    def __init__(self, database: Database, plans: Iterable[Plan] = ()) -> None:
        self.database = database
        self._plans = {plan.digest: plan for plan in plans}
        database.create(self.metadata)

    # Worlds

    def open_world(
        self,
        name: str,
        network: str | Network | Plan = "retail",
        *,
        seed: int = 0,
        family: str | None = None,
        actor: str = "system",
    ) -> World:
        """A new world before anything happened: opening stock, and what is on its way.

        Args:
            name: unique.
            network: name of a preset, or a description.
            seed: decides everything that will happen to the world.
            family: business situation; None for the network's first.
            actor: who asks.

        Raises:
            Conflict: the name is taken.
            BadInput: there is no such preset or family.
        """
        if isinstance(network, Plan):
            plan = network
        else:
            plan = plan_of(named_network(network) if isinstance(network, str) else network)
        self._plans[plan.digest] = plan
        code = 0 if family is None else views.family_of(plan, family)
        with self.database.write() as tx:
            world = worlds.open_world(tx, plan, name, _key(seed), code)
            journal = Journal(actor)
            journal.note(world, 0, "open_world", f"world/{world}", network=plan.network.name, seed=seed)
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
        with self._reading(world) as (tx, plan):
            return live_state.of_world(tx, plan, world).to_bytes()

    def restore(self, world: int, data: bytes, *, actor: str = "system") -> World:
        """Put a canonical state into a world, whatever it held; its policies go, too.

        Raises:
            BadInput: the bytes are no state of the world's network.
        """
        with self.database.write() as tx:
            take(tx, [world])
            plan = self._plan(tx, world)
            state = sound_state(data, plan.setup)
            name = views.world(tx, world).name
            live_state.into_world(tx, plan, world, name, state, actor)
            return views.world(tx, world)

    def _require_sound(self, tx: Transaction, world: int) -> None:
        """Refuse a world whose network or rows are not what they say (BadInput)."""
        require_sound_world(tx, world, lambda: self._plan(tx, world))

    # Orders

    def purchase(
        self,
        world: int,
        link: int,
        lines: Sequence[Wanted],
        *,
        actor: str,
        idempotency_key: str | None = None,
    ) -> Order:
        """Order from a supplier; quantities are rounded to packs.

        Args:
            world: its id.
            link: number of a link from a supplier.
            lines: different SKUs.
            actor: who asks.
            idempotency_key: see the module.

        Raises:
            Refused: a line is larger than the link takes, or less than half a pack.
        """

        def act(tx: Transaction, plan: Plan, floor: Floor, journal: Journal) -> Order:
            number = verbs.purchase(tx, plan, floor, link, lines, journal)
            return views.order(tx, plan, world, number)

        asked = (link, [tuple(line) for line in lines])
        return self._verb(act, Order, Request(world, "purchase", actor, idempotency_key, asked))

    def transfer(
        self,
        world: int,
        source: str,
        target: str,
        lines: Sequence[Wanted],
        *,
        actor: str,
        idempotency_key: str | None = None,
    ) -> Order:
        """Order goods from another node; see `purchase`."""

        def act(tx: Transaction, plan: Plan, floor: Floor, journal: Journal) -> Order:
            number = verbs.transfer(tx, plan, floor, source, target, lines, journal)
            return views.order(tx, plan, world, number)

        asked = (source, target, [tuple(line) for line in lines])
        return self._verb(act, Order, Request(world, "transfer", actor, idempotency_key, asked))

    def cancel(self, world: int, number: int, *, actor: str, idempotency_key: str | None = None) -> Order:
        """Cancel what has not left the source; what it cost to order stays booked.

        Raises:
            Refused: nothing of the order is left to ship.
        """

        def act(tx: Transaction, plan: Plan, floor: Floor, journal: Journal) -> Order:
            verbs.cancel(tx, floor, number, journal)
            return views.order(tx, plan, world, number)

        return self._verb(act, Order, Request(world, "cancel", actor, idempotency_key, (number,)))

    # The day

    def receive(self, world: int, number: int, *, actor: str, idempotency_key: str | None = None) -> Shipment:
        """Put a shipment that is due on the shelf, before the day is closed.

        Raises:
            Refused: it is not due yet, or has been received already.
        """

        def act(tx: Transaction, plan: Plan, floor: Floor, journal: Journal) -> Shipment:
            verbs.receive(tx, plan, floor, number, journal)
            return views.shipment(tx, plan, world, number)

        return self._verb(act, Shipment, Request(world, "receive", actor, idempotency_key, (number,)))

    def sell(
        self,
        world: int,
        node: str,
        sku: str,
        units: int,
        *,
        actor: str,
        backorder: bool = False,
        idempotency_key: str | None = None,
    ) -> Sale:
        """Sell to a customer at today's price, besides those whom the scenario sends.

        Args:
            world: its id.
            node: name of a node that has customers.
            sku: code.
            units: wanted.
            actor: who asks.
            backorder: the customer waits for what is missing, which is sold when it has come.
            idempotency_key: see the module.

        Raises:
            Refused: the node has fewer units and the customer does not wait, or it has no customers.
        """

        def act(tx: Transaction, plan: Plan, floor: Floor, journal: Journal) -> Sale:
            return verbs.sell(tx, plan, floor, node, sku, units, backorder, journal)

        asked = (node, sku, units, backorder)
        return self._verb(act, Sale, Request(world, "sell", actor, idempotency_key, asked))

    def close_day(self, world: int, *, actor: str, idempotency_key: str | None = None) -> World:
        """Close the day and open the next: sources ship, goods arrive, customers buy, costs are booked.

        Raises:
            Refused: the episode is over.
        """

        def act(tx: Transaction, plan: Plan, floor: Floor, journal: Journal) -> World:
            verbs.close_day(tx, plan, floor, journal)
            journal.write(tx)
            return views.world(tx, world)

        return self._verb(act, World, Request(world, "close_day", actor, idempotency_key))

    # Policies

    def set_policy(
        self,
        world: int,
        node: str,
        sku: str,
        *,
        reorder_point: int,
        base_stock: int,
        actor: str,
        expected_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Policy:
        """Set when a node orders a SKU, and up to where."""

        def act(tx: Transaction, plan: Plan, floor: Floor, journal: Journal) -> Policy:
            where = verbs.set_policy(
                tx, plan, floor, node, sku, reorder_point, base_stock, expected_version, journal
            )
            return views.policy(tx, plan, world, *where)

        asked = (node, sku, reorder_point, base_stock, expected_version)
        return self._verb(act, Policy, Request(world, "set_policy", actor, idempotency_key, asked))

    def policies(self, world: int) -> list[Policy]:
        """The policies that somebody has set, and what they suggest to order now."""
        with self._reading(world) as (tx, plan):
            return views.every_policy(tx, plan, world)

    # Reading

    def network(self, world: int) -> Network:
        """What the world is made of."""
        with self._reading(world) as (_, plan):
            return plan.network

    def links(self, world: int) -> list[Link]:
        """How nodes are supplied."""
        with self._reading(world) as (_, plan):
            return views.every_link(plan)

    def stock(self, world: int, *, node: str | None = None, sku: str | None = None) -> list[Shelf]:
        """Stock by node and SKU."""
        with self._reading(world) as (tx, plan):
            return views.shelves(tx, plan, world, node, sku)

    def order(self, world: int, number: int) -> Order:
        """One order (NotFound)."""
        with self._reading(world) as (tx, plan):
            return views.order(tx, plan, world, number)

    def orders(
        self,
        world: int,
        *,
        status: str | None = None,
        target: str | None = None,
        after: int = -1,
        limit: int = 50,
    ) -> list[Order]:
        """Orders by number, `limit` at most, those with a number above `after`.

        Args:
            world: its id.
            status: orders with a line of this status, one of `tables.STATUSES`.
            target: orders for this node.
            after: number of the last order of the page before.
            limit: size of a page, 1..1000.
        """
        with self._reading(world) as (tx, plan):
            wanted = views.wanted_orders(plan, world, status, target)
            return views.search_orders(tx, plan, world, wanted, after, limit)

    def count_orders(self, world: int, *, status: str | None = None, target: str | None = None) -> int:
        """How many orders `orders` finds on all its pages."""
        with self._reading(world) as (tx, plan):
            return views.count_orders(tx, world, views.wanted_orders(plan, world, status, target))

    def shipment(self, world: int, number: int) -> Shipment:
        """One shipment (NotFound)."""
        with self._reading(world) as (tx, plan):
            return views.shipment(tx, plan, world, number)

    def shipments(
        self, world: int, *, open_only: bool = True, after: int = -1, limit: int = 50
    ) -> list[Shipment]:
        """Shipments by number; see `orders`."""
        with self._reading(world) as (tx, plan):
            return views.search_shipments(tx, plan, world, open_only, after, limit)

    def count_shipments(self, world: int, *, open_only: bool = True) -> int:
        """How many shipments `shipments` finds on all its pages."""
        with self._reading(world) as (tx, _):
            return views.count_shipments(tx, world, open_only)

    def ledger(self, world: int, *, day: int | None = None) -> list[Posting]:
        """Ledger entries in the order of posting, of one period or all."""
        with self._reading(world) as (tx, plan):
            return views.postings(tx, plan, world, day)

    def books(self, world: int) -> dict[str, int]:
        """Money by account."""
        with self._reading(world) as (tx, _):
            return views.books(tx, world)

    # How a verb runs

    def _verb(
        self, act: Callable[[Transaction, Plan, Floor, Journal], T], kind: type[T], request: Request
    ) -> T:
        """Run a verb once, whatever the number of calls with its idempotency key.

        Args:
            act: checks, changes and answers; a Refused comes before its first change.
            kind: type of the answer.
            request: who asks for what.
        """

        def done(tx: Transaction, floor: Floor) -> T:
            journal = Journal(request.actor)
            answer = act(tx, self._plan(tx, request.world), floor, journal)
            journal.write(tx)
            return answer

        return carry_out(self.database, request, kind, lambda tx: take(tx, [request.world]), done)

    def _plan(self, tx: Transaction, world: int) -> Plan:
        return worlds.plan_in(tx, world, self._plans)

    @contextmanager
    def _reading(self, world: int) -> Iterator[tuple[Transaction, Plan]]:
        with self.database.read() as tx:
            views.require(tx, world)
            yield tx, self._plan(tx, world)


def _key(seed: int) -> int:
    """The key of the first episode of a seed, in a scenario space of its own."""
    return int(episode_key(np.uint64(0), seed, 0))
