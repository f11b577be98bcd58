"""What the tables hold true, whoever writes to them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from workgym.services.kernel import NotFound
from workgym.services.orders import scenario
from workgym.services.orders.baskets import synthetic
from workgym.services.orders.store import Store
from workgym.services.orders.tables import audit, centres, order_lines, orders, stock
from workgym.services.storage import Database

SETUP = scenario.season(synthetic("train"), days=3)


@pytest.fixture
def store(database_url: str) -> Store:
    return Store(Database(database_url), SETUP)


@pytest.fixture
def world(store: Store) -> int:
    world = store.open_world("shop", seed=7).id
    store.start_season(world)
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
        update(stock).values(reserved=stock.c.on_hand + 1),
        update(stock).values(on_hand=-1),
        update(centres).values(picks_left=-1),
        update(orders).values(status="lost"),
        update(orders).values(customer=999),
        update(order_lines).values(sku=999),
        update(order_lines).values(qty=0),
        delete(centres),
        insert(stock).values(world_id=999, sku=0, centre=0, on_hand=0, reserved=0),
    ],
    ids=lambda statement: str(statement).split("WHERE")[0][:40],
)
def test_the_tables_hold_no_nonsense(store: Store, world: int, statement: Any) -> None:
    with pytest.raises(IntegrityError), store.database.write() as tx:
        tx.connection.execute(statement)
