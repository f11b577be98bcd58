"""Laws of stock, and what is refused before compiled code sees it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from workgym.envs import base
from workgym.envs.supply_chain.env import TwinBackend
from workgym.services.kernel import BadInput, NotFound, Refused
from workgym.services.storage import Database
from workgym.services.supply_chain import spec, tables
from workgym.services.supply_chain.scenario import EXTERNAL
from workgym.services.supply_chain.soundness import (
    MOST_UNITS,
    PRESETS,
    named_network,
    sound_network,
    sound_state,
)
from workgym.services.supply_chain.store import Store
from workgym.services.supply_chain.tables import ledger, order_lines, shipments, stock
from workgym.services.supply_chain.verbs import Wanted
from workgym.services.supply_chain.worlds import Plan, plan_of

ANN = {"actor": "ann"}


@lru_cache
def shop() -> Store:
    return Store(Database("sqlite://"))


def require_laws(store: Store, world: int, plan: Plan) -> None:
    """No unit appears or vanishes: at each node, and over the whole network."""
    setup = plan.setup
    with store.database.read() as tx:
        shelves = tx.connection.execute(select(stock).where(stock.c.world_id == world)).all()
        sent = tx.connection.execute(select(shipments).where(shipments.c.world_id == world)).all()
        lines = tx.connection.execute(select(order_lines).where(order_lines.c.world_id == world)).all()
        booked = tx.connection.execute(select(ledger.c.money).where(ledger.c.world_id == world)).all()
    balance = {(row.node, row.sku): row.opening - row.sold - row.on_hand for row in shelves}
    new = {row.sku: 0 for row in shelves}
    for row in sent:
        source, target = setup.source[row.link], setup.target[row.link]
        if row.received_on is not None:
            balance[target, row.sku] += row.units
        if source != EXTERNAL and row.sent_on != tables.BEFORE:
            balance[source, row.sku] -= row.units + row.lost
        if source == EXTERNAL or row.sent_on == tables.BEFORE:
            new[row.sku] += row.units + row.lost
    assert not any(balance.values()), balance
    for sku, came in new.items():
        kept = sum(row.on_hand + row.sold - row.opening for row in shelves if row.sku == sku)
        travels = sum(row.units for row in sent if row.sku == sku and row.received_on is None)
        assert came == kept + travels + sum(row.lost for row in sent if row.sku == sku)
    left = sum(row.units + row.lost for row in sent if row.sent_on != tables.BEFORE)
    assert left == sum(row.shipped for row in lines)
    assert min(row.on_hand for row in shelves) >= 0
    assert store.world(world).result == sum(row.money for row in booked)


ACTS = st.one_of(
    st.tuples(st.just("close"), st.none(), st.none()),
    st.tuples(st.just("close"), st.none(), st.none()),
    st.tuples(st.just("purchase"), st.sampled_from([0, 2]), st.integers(1, 60)),
    st.tuples(st.just("transfer"), st.none(), st.integers(1, 30)),
    st.tuples(st.just("sell"), st.booleans(), st.integers(1, 9)),
    st.tuples(st.just("cancel"), st.integers(0, 6), st.none()),
    st.tuples(st.just("receive"), st.integers(0, 20), st.none()),
)


def do(store: Store, world: int, act: tuple[str, Any, Any], sku: str) -> None:
    verb, which, amount = act
    if verb == "close":
        store.close_day(world, **ANN)
    elif verb == "purchase":
        store.purchase(world, which, [Wanted(sku, amount)], **ANN)
    elif verb == "transfer":
        store.transfer(world, "hub", "shop", [Wanted(sku, amount)], **ANN)
    elif verb == "sell":
        store.sell(world, "shop", sku, amount, backorder=which, **ANN)
    elif verb == "cancel":
        store.cancel(world, which, **ANN)
    else:
        store.receive(world, which, **ANN)


def require_the_twin_goes_on(store: Store, world: int, plan: Plan) -> None:
    """What people did between two closings is part of the state: the twin closes the same day."""
    twin = TwinBackend(plan.setup, 1)
    twin.load_state(0, store.snapshot(world))
    nothing = np.zeros(1, dtype=np.int64)
    orders = np.zeros((1, plan.setup.most.size), dtype=np.int64)
    episodes = base.Episodes(np.uint64(0), nothing, nothing, nothing)
    twin.advance(np.zeros(1, dtype=np.int8), orders, episodes)
    store.close_day(world, **ANN)
    assert twin.state_bytes(0) == store.snapshot(world)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**40),
    at_once=st.booleans(),
    family=st.sampled_from(["normal", "late"]),
    acts=st.lists(st.tuples(ACTS, st.sampled_from(["a", "b"])), max_size=25),
)
def test_whatever_people_do_no_unit_appears_or_vanishes(small, seed, at_once, family, acts):
    store, plan = shop(), plan_of(replace(small, receives_first=at_once))
    world = store.open_world("w", plan, seed=seed, family=family).id
    try:
        for act, sku in acts:
            try:
                do(store, world, act, sku)
            except (Refused, NotFound):
                continue
            require_laws(store, world, plan)
        here = store.snapshot(world)
        assert sound_state(here, plan.setup).to_bytes() == here
        if not store.world(world).ended:
            require_the_twin_goes_on(store, world, plan)
    finally:
        store.drop_world(world)


@pytest.mark.parametrize("name", PRESETS)
def test_units_are_conserved_over_an_episode_of_every_preset(name):
    network = named_network(name)
    store, plan = shop(), plan_of(network)
    rng = np.random.default_rng(3)
    world = store.open_world(name, plan, seed=5, family=network.families[-1].name).id
    for _ in range(6):
        for a, link in enumerate(network.links):
            sku = network.skus[int(rng.integers(len(network.skus)))]
            pack = int(plan.setup.pack[a, network.skus.index(sku)])
            wish = [Wanted(sku, pack * int(rng.integers(1, 3)))]
            if link.source == spec.SUPPLIER:
                store.purchase(world, a, wish, **ANN)
            else:
                store.transfer(world, link.source, link.target, wish, **ANN)
        store.close_day(world, **ANN)
        require_laws(store, world, plan)
    store.drop_world(world)


# Snapshots


@lru_cache
def states(plan: Plan) -> list[bytes]:
    store = shop()
    world = store.open_world("states", plan, seed=3, family="late").id
    found = []
    for day in range(plan.setup.periods + 1):
        found.append(store.snapshot(world))
        if day < plan.setup.periods:
            store.purchase(world, 0, [Wanted("a", 12), Wanted("b", 30)], **ANN)
            store.transfer(world, "hub", "shop", [Wanted("a", 3)], **ANN)
            found.append(store.snapshot(world))
            store.close_day(world, **ANN)
    store.drop_world(world)
    return found


def test_every_state_of_an_episode_is_sound(small):
    plan = plan_of(small)
    for one in states(plan):
        assert sound_state(one, plan.setup).to_bytes() == one


NUMBERS = st.integers(-(2**70), 2**70) | st.integers(-3, 300)
ODD = st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=3) | st.lists(NUMBERS, max_size=3)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_spoilt_state_is_refused_or_harmless(small, data):
    """What is let through can be put into a world, played on and read back."""
    store, plan = shop(), plan_of(small)
    whole = json.loads(data.draw(st.sampled_from(states(plan)[::3])))
    place: Any = whole
    key: Any = data.draw(st.sampled_from(sorted(whole)))
    while isinstance(place[key], list) and place[key]:
        place, key = place[key], data.draw(st.integers(0, len(place[key]) - 1))
    place[key] = data.draw(ODD)
    try:
        told = sound_state(json.dumps(whole).encode(), plan.setup)
    except BadInput:
        return
    world = store.open_world("spoilt", plan).id
    try:
        store.restore(world, told.to_bytes())
        assert store.snapshot(world) == told.to_bytes()
        if not told.ended:
            store.close_day(world, **ANN)
            sound_state(store.snapshot(world), plan.setup)
    finally:
        store.drop_world(world)


def test_a_world_never_holds_more_units_than_its_columns(small):
    store, plan = shop(), plan_of(small)
    world = store.open_world("full", plan).id
    state = json.loads(store.snapshot(world))
    there = sum(shelf.position + 2 * shelf.backlog for shelf in store.stock(world, sku="a"))
    state["on_hand"][0][0] += MOST_UNITS - there
    store.restore(world, json.dumps(state).encode())
    before = store.snapshot(world)
    with pytest.raises(BadInput, match="order less"):
        store.purchase(world, 0, [Wanted("a", 6)], **ANN)
    with pytest.raises(BadInput, match="order less"):
        store.sell(world, "shop", "a", 99, backorder=True, **ANN)
    assert store.snapshot(world) == before
    state["on_hand"][0][0] += 1
    with pytest.raises(BadInput, match="more than 1,000,000,000 units"):
        store.restore(world, json.dumps(state).encode())
    store.drop_world(world)


# Networks


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_sound_as_json(name):
    network = named_network(name)
    assert sound_network(json.loads(json.dumps(network.to_dict()))) == network


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_spoilt_network_is_refused_or_can_be_opened(small, data):
    whole = json.loads(json.dumps(small.to_dict()))
    place: Any = whole
    key: Any = data.draw(st.sampled_from(sorted(whole)))
    while isinstance(place[key], (list, dict)) and place[key]:
        place = place[key]
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(list(keys)))
    place[key] = data.draw(ODD)
    try:
        network = sound_network(whole)
        store, plan = shop(), plan_of(network)
    except BadInput:
        return
    world = store.open_world("odd", plan).id
    try:
        store.close_day(world, **ANN)
        require_laws(store, world, plan)
    finally:
        store.drop_world(world)


def test_a_preset_that_is_none_is_answered_with_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'beer-game'"):
        named_network("beer-gane")
