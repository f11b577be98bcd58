"""Opening, emptying and dropping worlds; the networks that they are made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.services.compiled import KERNEL
from workgym.services.kernel import BadInput, Conflict
from workgym.services.storage import Transaction
from workgym.services.supply_chain import state as canonical
from workgym.services.supply_chain import statements as sql
from workgym.services.supply_chain import tables, twin
from workgym.services.supply_chain.scenario import EXTERNAL, Setup, setup_of
from workgym.services.supply_chain.spec import Network, network_from
from workgym.services.supply_chain.state import State

Ints = NDArray[np.int64]


class Plan:
    """A network, ready to be played.

    Attributes:
        network: its description, with the names.
        setup: its arrays; with a history, if its demand replays one.
    """

    def __init__(self, network: Network, setup: Setup) -> None:
        self.network = network
        self.setup = setup
        self.description = json.dumps(network.to_dict(), sort_keys=True)
        self.history = ""
        if len(setup.history):
            replayed = setup.history.tobytes() + setup.promoted.tobytes()
            self.history = hashlib.sha256(replayed).hexdigest()
        self.digest = hashlib.sha256((self.description + self.history).encode()).hexdigest()

    @cached_property
    def opening(self) -> State:
        """What a world of this network is before anything happened; the key is yet to be told."""
        lanes = twin.empty_lanes(self.setup, 1)
        _open(self.setup, lanes)
        return canonical.of_lane(lanes, 0)


@njit(**KERNEL)
def _open(setup: Any, lanes: Any) -> None:
    twin.open_episode(setup, lanes, 0, np.uint64(0), 0)


@lru_cache(maxsize=32)
def plan_of(network: Network) -> Plan:
    """The plan of a network that draws its demand."""
    return Plan(network, setup_of(network))


def signed(key: int) -> int:
    """A key's 64 bits as the signed number that databases know."""
    return key - 2**64 if key >= 2**63 else key


def plan_in(tx: Transaction, world: int, known: dict[str, Plan]) -> Plan:
    """The plan of a world that exists; plans in `known` are not made again.

    Raises:
        BadInput: its demand replays a history that is not at hand.
    """
    digest = str(tx.rows(sql.SEE_NETWORK, world)[0][0])
    if digest not in known:
        description, history = tx.rows(sql.FIND_NETWORK, digest)[0]
        if history:
            raise BadInput(
                f"expected a world whose demand is drawn, found one that replays history {history[:8]}; "
                "open the store with that plan"
            )
        known[digest] = plan_of(network_from(json.loads(description)))
    return known[digest]


def open_world(tx: Transaction, plan: Plan, name: str, key: int, family: int) -> int:
    """A new world before anything happened; its id.

    Raises:
        Conflict: the name is taken.
    """
    if tx.rows(sql.FIND_WORLD, name):
        raise Conflict(f"there is a world named {name!r} already; choose another name, or drop it")
    remember(tx, plan)
    made = tx.rows(
        sql.NEW_WORLD, name, plan.digest, signed(key), family, 0, plan.setup.periods, 0, 0, 0, 0, 0
    )
    world = int(made[0][0])
    _furnish(tx, plan, [world])
    return world


def reopen(
    tx: Transaction,
    plan: Plan,
    ids: Sequence[int],
    names: Sequence[str],
    keys: Sequence[int],
    families: Sequence[int],
) -> None:
    """Empty worlds and put them at their beginning again, under the same ids; they need not exist.

    Args:
        tx: the transaction.
        plan: of their network.
        ids: ascending.
        names: one a world.
        keys: of their episodes.
        families: of their episodes.
    """
    empty(tx, plan, ids, names, keys, families)
    _furnish(tx, plan, ids)


def empty(
    tx: Transaction,
    plan: Plan,
    ids: Sequence[int],
    names: Sequence[str],
    keys: Sequence[int],
    families: Sequence[int],
) -> None:
    """Like `reopen`, without nodes, links, SKUs and stock: `fill` is yet to come."""
    drop(tx, ids)
    remember(tx, plan)
    rows = zip(ids, names, keys, families, strict=True)
    periods = plan.setup.periods
    tx.many(
        sql.ADD_WORLD,
        [
            (world, name, plan.digest, signed(key), family, 0, periods, 0, 0, 0, 0, 0)
            for world, name, key, family in rows
        ],
    )


def remember(tx: Transaction, plan: Plan) -> None:
    """Write a network down, once."""
    if tx.rows(sql.FIND_NETWORK, plan.digest):
        return
    tx.take_turns(plan.digest)
    if not tx.rows(sql.FIND_NETWORK, plan.digest):
        tx.run(sql.ADD_NETWORK, plan.digest, plan.network.name, plan.description, plan.history)


def _furnish(tx: Transaction, plan: Plan, ids: Sequence[int]) -> None:
    for world in ids:
        fill(tx, plan, world, plan.opening)


def fill(tx: Transaction, plan: Plan, world: int, state: State) -> None:
    """Write nodes, links, SKUs, and a state's stock, orders and shipments into an empty world.

    What the state owes and carries becomes one order line or shipment for each number that is not 0.
    """
    network, setup = plan.network, plan.setup
    tx.many(sql.ADD_NODE, [(world, n, node.name) for n, node in enumerate(network.nodes)])
    tx.many(sql.ADD_SKU, [(world, k, code) for k, code in enumerate(network.skus)])
    ends = zip(setup.source.tolist(), setup.target.tolist(), strict=True)
    tx.many(sql.ADD_LINK, [(world, a, None if s == EXTERNAL else s, t) for a, (s, t) in enumerate(ends)])
    shelves = np.stack([state.on_hand, state.on_hand, state.backlog, state.asked, state.level])
    nodes, skus = np.indices(state.on_hand.shape).reshape(2, -1).tolist()
    counts = shelves.reshape(5, -1).tolist()
    tx.many(sql.ADD_STOCK, [(world, *row, 0) for row in zip(nodes, skus, *counts, strict=True)])
    ordered = _write_orders(tx, world, state)
    travelling = np.argwhere(state.way > 0).tolist()
    tx.many(
        sql.ADD_SHIPMENT,
        [
            (world, n, a, k, tables.BEFORE, state.day + h, int(state.way[a, k, h]), 0, None)
            for n, (a, k, h) in enumerate(travelling)
        ],
    )
    counters = state.day, int(state.ended), state.demanded, state.missed, ordered, len(travelling)
    tx.run(sql.SET_WORLD, *counters, world)


def _write_orders(tx: Transaction, world: int, state: State) -> int:
    """One order for each link and period in which it reaches its source; how many."""
    waiting = np.concatenate([state.owed[:, :, None], state.mail], axis=2)
    heads = np.argwhere(waiting.sum(axis=1) > 0).tolist()
    lines = []
    for number, (a, h) in enumerate(heads):
        status, reaches = (tables.OPEN, state.day) if h == 0 else (tables.MAILED, state.day + h - 1)
        lines += [
            (world, number, k, units, 0, units, reaches, status)
            for k, units in enumerate(waiting[a, :, h].tolist())
            if units
        ]
    tx.many(sql.ADD_ORDER, [(world, number, a, tables.BEFORE) for number, (a, _) in enumerate(heads)])
    tx.many(sql.ADD_LINE, lines)
    return len(heads)


def drop(tx: Transaction, ids: Sequence[int]) -> None:
    """Remove worlds with everything in them."""
    worlds = tx.numbers(ids)
    for statement in sql.EMPTY_WORLDS:
        tx.run(statement, worlds)
    tx.run(sql.DROP_WORLDS, worlds)
