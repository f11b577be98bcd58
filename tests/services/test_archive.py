"""Whole copies of worlds: equal to the last row, and independent from then on."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, text

from workgym.services import application, archive, services
from workgym.services.audit import verify
from workgym.services.kernel import BadInput, Conflict, NotFound
from workgym.services.orders import desk, scenario

PLAN = [(deed, how) for how in range(2) for deed in range(8)]
LATER = [(deed, how) for how in range(11, 13) for deed in range(8)]
DEEDS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 30)), max_size=12)
BY = {"actor": "ann"}
NUMBERS = count()


@pytest.fixture
def store(business: Any, database_url: str) -> Any:
    return business.store(database_url)


@pytest.fixture
def world(business: Any, store: Any) -> int:
    """A world in which a lot has happened."""
    world: int = business.begin(store, "shop", 7)
    business.play(store, world, PLAN)
    return world


def rows_of(store: Any) -> dict[str, list[Any]]:
    """Every row of the database."""
    with store.database.read() as tx:
        return {
            table.name: sorted(map(repr, tx.connection.execute(table.select())))
            for table in store.metadata.sorted_tables
        }


def chained(store: Any, world: int) -> Any:
    with store.database.read() as tx:
        return verify(tx, world)


# Equal, and independent


@cache
def _open_store(business: Any) -> Any:
    return business.store("sqlite://")


def test_a_fork_has_every_row_of_its_parent(business: Any, store: Any, world: int) -> None:
    before = business.contents(store, world)
    assert sum(map(len, before.values())) > 50
    copies = store.fork(world, ["a", "b", "c"], **BY)
    assert [copy.name for copy in copies] == ["a", "b", "c"]
    assert len({copy.id for copy in copies} | {world}) == 4
    for copy in copies:
        assert business.contents(store, copy.id) == before
        assert store.world(copy.id).name == copy.name
    assert business.contents(store, world) == before


@pytest.mark.parametrize("there", ["sqlite://", "the same kind"])
def test_an_archive_opens_elsewhere(
    business: Any, store: Any, world: int, database_url: str, there: str
) -> None:
    elsewhere = store if there == "the same kind" else business.store(there)
    business.begin(elsewhere, "somebody else", 1)  # so that ids differ
    data = store.archive(world)
    assert store.archive(world) == data
    copy = elsewhere.unpack("moved", data, **BY)
    assert business.contents(elsewhere, copy.id) == business.contents(store, world)
    back = store.unpack("back", elsewhere.archive(copy.id), **BY)
    assert business.contents(store, back.id) == business.contents(store, world)
    assert chained(store, back.id).whole
    played = [business.play(at, one, LATER) for at, one in ((elsewhere, copy.id), (store, back.id))]
    assert played[0] == played[1] == business.play(store, world, LATER)
    assert business.contents(elsewhere, copy.id) == business.contents(store, world)


def test_copies_have_the_canonical_state_of_their_parent(business: Any, store: Any) -> None:
    world = business.begin(store, "shop", 3)
    (fork,), moved = store.fork(world, ["fork"]), store.unpack("moved", store.archive(world))
    assert store.snapshot(fork.id) == store.snapshot(moved.id) == store.snapshot(world)


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(before=DEEDS, apart=DEEDS, after=DEEDS)
def test_a_copy_goes_on_like_its_parent_and_neither_sees_the_other(
    business: Any, before: Any, apart: Any, after: Any
) -> None:
    store, number = _open_store(business), next(NUMBERS)
    world = business.begin(store, f"shop {number}", 7)
    business.play(store, world, before)
    twin, stranger = (copy.id for copy in store.fork(world, [f"twin {number}", f"stranger {number}"]))
    kept = business.contents(store, world)
    business.play(store, stranger, apart)
    assert business.contents(store, world) == business.contents(store, twin) == kept
    assert business.play(store, twin, after) == business.play(store, world, after)
    assert business.contents(store, twin) == business.contents(store, world)


def test_a_copy_goes_on_like_its_parent_on_each_database(business: Any, store: Any, world: int) -> None:
    twin, stranger = (copy.id for copy in store.fork(world, ["twin", "stranger"]))
    kept = business.contents(store, twin)
    business.play(store, stranger, LATER)
    assert business.contents(store, twin) == kept
    assert business.play(store, twin, LATER) == business.play(store, world, LATER)
    assert business.contents(store, twin) == business.contents(store, world)


def test_a_world_outlives_its_parent(business: Any, store: Any, world: int) -> None:
    (copy,) = store.fork(world, ["heir"])
    kept = business.contents(store, copy.id)
    store.drop_world(world)
    assert business.contents(store, copy.id) == kept
    assert chained(store, copy.id).whole


# What a canonical state leaves out


def test_an_archive_knows_which_centre_ships_which_line_of_a_split_order() -> None:
    """A canonical state tells which centres ship, not what, and deals the lines out in turn."""
    store, split = _split_order()
    world = store.worlds()[0].id
    told = store.order(world, split)
    copies = [store.unpack("moved", store.archive(world)), *store.fork(world, ["fork"])]
    for copy in copies:
        assert store.order(copy.id, split) == told
    state = store.snapshot(world)
    store.restore(world, state)
    assert store.snapshot(world) == state
    assert store.order(world, split).lines != told.lines


def _split_order() -> tuple[Any, int]:
    """A store with one world and an order of it whose lines are not dealt out in turn."""
    from workgym.services.orders.baskets import synthetic
    from workgym.services.orders.store import Store
    from workgym.services.storage import Database

    setup = scenario.season(synthetic("train"), days=6)
    code = desk.split_code(len(scenario.CENTRES))
    for seed in range(20):
        store = Store(Database("sqlite://"), setup)
        world = store.open_world("shop", seed=seed, family="stock-out").id
        store.start_season(world)
        while not store.world(world).ended:
            (outcome,) = store.decide([world], [code])
            if outcome.order is None:
                store.next_day(world)
            elif outcome.refusal == 0:
                before, state = store.order(world, outcome.order).lines, store.snapshot(world)
                (copy,) = store.fork(world, [f"trial {outcome.order}"])
                store.restore(copy.id, state)
                other = store.order(copy.id, outcome.order).lines
                store.drop_world(copy.id)
                if other != before:
                    return store, outcome.order
            else:
                store.decide([world], [code + 1])
    raise AssertionError("no split order was found")


def test_a_key_is_answered_alike_in_a_copy(business: Any, store: Any, world: int) -> None:
    close = store.next_day if hasattr(store, "next_day") else store.close_day
    fresh = business.begin(store, "fresh", 9)
    told = close(fresh, **BY, idempotency_key="once")
    copies = [store.unpack("moved", store.archive(fresh)), *store.fork(fresh, ["fork"])]
    for copy in copies:
        kept = business.contents(store, copy.id)
        assert close(copy.id, **BY, idempotency_key="once") == told
        assert business.contents(store, copy.id) == kept
        with pytest.raises(Conflict, match="another request"):
            store.fork(copy.id, ["x"], idempotency_key="once")


def test_a_fork_is_made_once_for_a_key(store: Any, world: int) -> None:
    first = store.fork(world, ["a", "b"], idempotency_key="once")
    assert store.fork(world, ["a", "b"], idempotency_key="once") == first
    with pytest.raises(Conflict):
        store.fork(world, ["c"], idempotency_key="once")


# The log


def test_a_copy_continues_the_chain_of_its_parent(store: Any, world: int) -> None:
    before = chained(store, world)
    (fork,) = store.fork(world, ["fork"], **BY)
    (grandchild,) = store.fork(fork.id, ["grandchild"], **BY)
    moved = store.unpack("moved", store.archive(grandchild.id), **BY)
    for generation, copy in enumerate((fork, grandchild, moved), 1):
        found = chained(store, copy.id)
        assert found.whole
        assert found.rows == before.rows + generation
        line = store.audit(copy.id, limit=1)[0]
        assert (line.actor, line.subject, line.digest) == ("ann", f"world/{copy.id}", found.head)
    line = store.audit(fork.id, limit=1)[0]
    assert (line.verb, json.loads(line.payload)) == ("fork", {"of": world, "head": before.head})
    assert store.audit(moved.id, limit=1)[0].verb == "unpack"
    assert chained(store, world) == before


def test_a_log_without_its_last_line_is_not_that_of_a_copy(store: Any, world: int) -> None:
    (fork,) = store.fork(world, ["fork"])
    last = chained(store, fork.id).rows - 1
    guards = {
        "sqlite": ["DROP TRIGGER audit_is_never_changed", "DROP TRIGGER audit_is_never_shortened"],
        "postgresql": ["ALTER TABLE audit DISABLE TRIGGER USER"],
    }
    with store.database.write() as tx:
        for guard in guards[tx.dialect.name]:
            tx.connection.execute(text(guard))
        tx.connection.execute(text(f"DELETE FROM audit WHERE world_id = {fork.id} AND number = {last}"))
    found = chained(store, fork.id)
    assert found.broken is not None
    assert found.broken.number == 0


# What is refused


def _damaged(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


def _other_body(data: bytes) -> bytes:
    return forged(data, lambda told: told.pop("rows"))


def _quoted(data: bytes) -> bytes:
    return forged(data, lambda told: told["world"].__setitem__(-1, "1"))


def _too_large(data: bytes) -> bytes:
    return forged(data, lambda told: told["rows"]["audit"][0].__setitem__(1, 2**31))


def _no_text(data: bytes) -> bytes:
    return forged(data, lambda told: told["rows"]["audit"][0].__setitem__(2, "a\x00b"))


def _orphans(data: bytes) -> bytes:
    return forged(data, lambda told: told["rows"]["skus"].clear())


def forged(data: bytes, change: Callable[[Any], object]) -> bytes:
    """An archive with another content, and the digest of that."""
    head, _, body = data.partition(b"\n")
    told = json.loads(zlib.decompress(body))
    change(told)
    return sealed(head, zlib.compress(json.dumps(told).encode()))


def sealed(head: bytes, body: bytes) -> bytes:
    return b" ".join([*head.split(b" ")[:-1], hashlib.sha256(body).hexdigest().encode()]) + b"\n" + body


def _bomb(data: bytes) -> bytes:
    return sealed(data.partition(b"\n")[0], zlib.compress(b" " * (archive.LARGEST + 1)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: b"\n",
        lambda data: b"workgym-world 1",
        lambda data: b"\x80\x04N." + data,
        lambda data: data[: len(data) // 2],
        lambda data: sealed(data.partition(b"\n")[0], data.partition(b"\n")[2][:-20]),
        lambda data: sealed(data.partition(b"\n")[0], b"no zlib"),
        _damaged,
        _other_body,
        _quoted,
        _too_large,
        _no_text,
        _orphans,
        _bomb,
    ],
)
def test_bytes_that_are_no_archive_change_nothing(business: Any, spoil: Callable[[bytes], bytes]) -> None:
    store = business.store("sqlite://")
    spoilt = spoil(store.archive(business.begin(store, "shop", 7)))
    before = rows_of(store)
    with pytest.raises(BadInput, match="expected"):
        store.unpack("spoilt", spoilt)
    assert rows_of(store) == before


def test_an_archive_of_another_service_is_refused(store: Any, world: int) -> None:
    other = MetaData()
    Table("worlds", other, Column("id", Integer, primary_key=True))
    with store.database.write() as tx, pytest.raises(BadInput, match="another"):
        archive.unpack(tx, other, "x", store.archive(world))


def test_an_archive_of_another_version_is_refused(store: Any, world: int) -> None:
    other = MetaData()
    for table in store.metadata.sorted_tables:
        table.to_metadata(other)
    other.tables["worlds"].append_column(Column("mood", Integer))
    with store.database.write() as tx, pytest.raises(BadInput, match="version"):
        archive.unpack(tx, other, "x", store.archive(world))


def test_names_are_unused_and_differ(store: Any, world: int) -> None:
    data, before = store.archive(world), rows_of(store)
    for names in ([], ["a", "a"]):
        with pytest.raises(BadInput, match="names that differ"):
            store.fork(world, names)
    for call in (lambda: store.fork(world, ["a", "shop"]), lambda: store.unpack("shop", data)):
        with pytest.raises(Conflict, match="named 'shop'"):
            call()
    for missing in (lambda: store.fork(999, ["a"]), lambda: store.archive(999)):
        with pytest.raises(NotFound):
            missing()
    assert rows_of(store) == before


# REST


@pytest.mark.parametrize("name", services())
def test_every_service_copies_worlds_over_rest(name: str, database_url: str) -> None:
    octets = {"Content-Type": "application/octet-stream"}
    with TestClient(application(services()[name], database_url), headers={"X-Actor": "ann"}) as client:
        home = client.post("/worlds", json={"name": "shop"}).headers["Location"]
        once = {"Idempotency-Key": "k"}
        copies = client.post(f"{home}/fork", json={"names": ["a", "b"]}, headers=once)
        assert (copies.status_code, [copy["name"] for copy in copies.json()]) == (201, ["a", "b"])
        assert client.post(f"{home}/fork", json={"names": ["a", "b"]}, headers=once).json() == copies.json()
        data = client.get(f"{home}/archive")
        assert data.headers["content-type"] == octets["Content-Type"]
        moved = client.post("/worlds/archive?name=moved", content=data.content, headers=octets)
        assert moved.status_code == 201
        there = moved.headers["Location"]
        assert client.get(f"{there}/snapshot").content == client.get(f"{home}/snapshot").content
        line = client.get(f"{there}/audit?limit=1").json()[0]
        assert (line["verb"], len(line["digest"])) == ("unpack", 64)
        for answer, status in (
            (client.post("/worlds/archive?name=x", content=b"junk", headers=octets), 422),
            (client.post("/worlds/archive?name=moved", content=data.content, headers=octets), 409),
            (client.post(f"{home}/fork", json={"names": []}), 422),
            (client.post(f"{home}/fork", json={"names": ["a"]}), 409),
            (client.post("/worlds/999/fork", json={"names": ["c"]}), 404),
            (client.get("/worlds/999/archive"), 404),
        ):
            assert answer.status_code == status, answer.text


# Worlds that compiled code must not read


def _in_row(table: str, at: int, value: object) -> Callable[[Any], None]:
    def change(told: Any) -> None:
        for row in told["rows"][table]:
            row[at] = value

    return change


def _in_world(at: int, value: object) -> Callable[[Any], None]:
    return lambda told: told["world"].__setitem__(at, value)


def _in_network(at: int, value: object) -> Callable[[Any], None]:
    return lambda told: told["shared"]["networks"][0].__setitem__(at, value)


def _renamed_network(told: Any) -> None:
    told["shared"]["networks"][0][0] = told["world"][0] = "0" * 64


UNSOUND = {
    "orders": {
        "another season": _in_world(0, "0" * 64),
        "a template": _in_world(1, 1),
        "no such family": _in_world(3, 99),
        "no such basket": _in_row("orders", 2, 10**6),
        "lines that are missing": lambda told: told["rows"]["order_lines"].pop(),
        "lines beyond the tote": _in_row("order_lines", 1, 9),
        "shelves that are missing": lambda told: told["rows"]["stock"].pop(),
        "a wrong number of orders": _in_world(7, 10**6),
    },
    "supply_chain": {
        "no such family": _in_world(2, 99),
        "another description": _in_network(2, "{}"),
        "a network under a false digest": _renamed_network,
        "shipments beyond the horizon": _in_row("shipments", 4, 10**6),
        "links that lead elsewhere": _in_row("links", 2, 0),
        "shelves that are missing": lambda told: told["rows"]["stock"].pop(),
    },
}


@pytest.mark.parametrize(
    ("name", "flaw"), [(name, flaw) for name, flaws in UNSOUND.items() for flaw in flaws]
)
def test_an_archive_of_a_world_that_cannot_be_changes_nothing(businesses: Any, name: str, flaw: str) -> None:
    business = businesses[name]
    store = _open_store(business)
    world = business.begin(store, f"sound {next(NUMBERS)}", 7)
    business.play(store, world, PLAN)
    before = rows_of(store)
    with pytest.raises(BadInput, match="expected"):
        store.unpack(f"unsound {next(NUMBERS)}", forged(store.archive(world), UNSOUND[name][flaw]))
    assert rows_of(store) == before
