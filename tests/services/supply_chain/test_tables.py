"""What the tables hold true, whoever writes to them, and who comes to the same world at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from workgym.services.kernel import BadInput, NotFound, Refused
from workgym.services.storage import Database
from workgym.services.supply_chain.scenario import setup_of
from workgym.services.supply_chain.spec import Network
from workgym.services.supply_chain.store import Store
from workgym.services.supply_chain.tables import (
    audit,
    ledger,
    links,
    nodes,
    order_lines,
    orders,
    policies,
    shipments,
    stock,
    worlds,
)
from workgym.services.supply_chain.verbs import Wanted
from workgym.services.supply_chain.worlds import Plan, plan_of

ANN = {"actor": "ann"}


@pytest.fixture
def store(database_url: str) -> Store:
    return Store(Database(database_url))


@pytest.fixture
def world(store: Store, small: Network) -> int:
    world = store.open_world("small", small, seed=7).id
    store.purchase(world, 0, [Wanted("a", 12)], **ANN)
    store.transfer(world, "hub", "shop", [Wanted("a", 2)], **ANN)
    store.set_policy(world, "shop", "a", reorder_point=3, base_stock=9, **ANN)
    store.close_day(world, **ANN)
    return world


def test_the_audit_log_is_append_only(store: Store, world: int) -> None:
    before = store.audit(world)
    attempts: list[Any] = [update(audit).values(actor="nobody"), delete(audit)]
    if store.database.engine.dialect.name == "sqlite":
        attempts.append(
            text("REPLACE INTO audit SELECT world_id, number, 9, 'x', 'x', 'x', 'x', 'x', 0 FROM audit")
        )
    else:
        attempts.append(text("TRUNCATE audit CASCADE"))
    for attempt in attempts:
        with pytest.raises(DBAPIError, match="append-only"), store.database.write() as tx:
            tx.connection.execute(attempt)
    assert store.audit(world) == before


def test_the_log_goes_with_its_world(store: Store, world: int) -> None:
    here = select(audit).where(audit.c.world_id == world)
    with store.database.read() as tx:
        assert tx.connection.execute(here).all()
    store.drop_world(world)
    with store.database.read() as tx:
        assert not tx.connection.execute(here).all()
    with pytest.raises(NotFound):
        store.drop_world(world)


@pytest.mark.parametrize(
    "statement",
    [
        update(stock).values(on_hand=-1),
        update(stock).values(backlog=-1),
        update(stock).values(sold=-1),
        update(stock).values(sku=99),
        update(worlds).values(day=worlds.c.periods),
        update(worlds).values(day=99),
        update(worlds).values(missed=worlds.c.demanded + 1),
        update(worlds).values(network="nothing"),
        update(links).values(source=links.c.target),
        update(links).values(target=9),
        update(orders).values(link=9),
        update(order_lines).values(owed=0, status=0),
        update(order_lines).values(owed=1, status=2),
        update(order_lines).values(units=0, shipped=0, owed=0, status=4),
        update(order_lines).values(shipped=order_lines.c.units + 1),
        update(order_lines).values(status=5),
        update(shipments).values(units=0, lost=0),
        update(shipments).values(lost=-1),
        update(shipments).values(due_on=shipments.c.sent_on - 1),
        update(shipments).values(received_on=shipments.c.due_on - 1),
        update(policies).values(reorder_point=policies.c.base_stock + 1),
        update(ledger).values(account=9),
        update(ledger).values(money=0),
        delete(nodes),
        insert(stock).values(
            world_id=999, node=0, sku=0, opening=0, on_hand=0, backlog=0, asked=0, level=0, sold=0
        ),
    ],
    ids=lambda statement: str(statement.compile()).split("WHERE")[0][:60],
)
def test_the_tables_hold_no_nonsense(store: Store, world: int, statement: Any) -> None:
    with pytest.raises(IntegrityError), store.database.write() as tx:
        tx.connection.execute(statement)


def test_a_network_is_written_once_and_read_back(database_url: str, small: Network) -> None:
    first, second = Store(Database(database_url)), Store(Database(database_url))
    world = first.open_world("one", small).id
    first.open_world("two", small)
    assert second.network(world) == small
    second.close_day(world, **ANN)
    first.close_day(first.worlds()[1].id, **ANN)
    assert first.snapshot(world) == second.snapshot(first.worlds()[1].id)


def test_a_history_must_be_at_hand(database_url: str, small: Network) -> None:
    import numpy as np

    demand = np.ones((20, 2, 2), dtype=np.int32)
    plan = Plan(small, setup_of(small, demand))
    assert plan.digest != plan_of(small).digest
    world = Store(Database(database_url)).open_world("replayed", plan).id
    with pytest.raises(BadInput, match="open the store with that plan"):
        Store(Database(database_url)).close_day(world, **ANN)
    assert Store(Database(database_url), [plan]).close_day(world, **ANN).demanded == 2


def test_rivals_take_turns_and_each_unit_is_sold_once(store: Store, world: int) -> None:
    """Eight customers come at once for goods that suffice for some of them."""
    (shelf,) = store.stock(world, node="shop", sku="b")
    sold, missed = [], []

    def buy() -> None:
        try:
            sold.append(store.sell(world, "shop", "b", 1, **ANN).sold)
        except Refused:
            missed.append(1)

    rivals = [threading.Thread(target=buy) for _ in range(8)]
    for rival in rivals:
        rival.start()
    for rival in rivals:
        rival.join()
    assert len(sold) + len(missed) == 8
    assert sum(sold) == min(shelf.on_hand, 8)
    (after,) = store.stock(world, node="shop", sku="b")
    assert (after.on_hand, after.sold) == (shelf.on_hand - sum(sold), shelf.sold + sum(sold))


def test_two_who_close_the_same_day_with_one_key_close_one(store: Store, world: int) -> None:
    days = []

    def close() -> None:
        days.append(store.close_day(world, actor="ann", idempotency_key="k").day)

    rivals = [threading.Thread(target=close) for _ in range(4)]
    for rival in rivals:
        rival.start()
    for rival in rivals:
        rival.join()
    assert days == [2] * 4
    assert store.world(world).day == 2
