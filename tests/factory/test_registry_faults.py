"""Two at once, a kill in the middle, raw SQL: still one champion, and the past as it was written."""

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from workgym.factory.database import make_engine
from workgym.factory.tables import ModelVersionRow
from workgym.services.kernel import Conflict

FORK = multiprocessing.get_context("fork")


# Two at once


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_of_two_promoters_one_wins_and_the_other_is_told(desk, registry, kind):
    desk.champions(1)
    rivals = [desk.blessed(), desk.blessed()]
    barrier = (FORK if kind == "processes" else threading).Barrier(2)
    told = race(kind, [lambda version=version: attempt(desk, version, barrier) for version in rivals])
    assert sorted(told) == ["Conflict", "won"]
    assert desk.serving() == rivals[told.index("won")].version
    assert registry.generation("orders") == 2
    desk.assert_history_leads_here()


def attempt(desk, version, barrier):
    """Promote from a registry of its own, at the moment when the other does."""
    with desk.reopen() as registry:
        barrier.wait(20)
        try:
            desk.promote(version, generation=1, registry=registry)
        except Conflict:
            return "Conflict"
        return "won"


def race(kind, acts):
    if kind == "threads":
        with concurrent.futures.ThreadPoolExecutor(len(acts)) as pool:
            return list(pool.map(lambda act: act(), acts))
    told = [FORK.SimpleQueue() for _ in acts]
    children = [
        FORK.Process(target=lambda act=act, told=queue: told.put(act()))
        for act, queue in zip(acts, told, strict=True)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    return [queue.get() for queue in told]


# Killed in the middle


def killed_after(statements, act):
    """Run `act` in a child that is killed before its so-many-th statement; whether it got there.

    The commit counts as a statement too: the last kill strikes between the last row and the commit.
    """
    if (child := os.fork()) == 0:
        seen = iter(range(10**6))

        def strike(*_):
            if next(seen) == statements:
                os.kill(os.getpid(), signal.SIGKILL)

        with contextlib.suppress(BaseException):
            act(strike)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("move", ["first promotion", "next promotion", "rollback"])
def test_killed_anywhere_in_a_move_the_next_opening_reads_before_or_after(desk, registry, move):
    desk.champions({"first promotion": 0, "next promotion": 1, "rollback": 2}[move])
    version, before = desk.blessed(), desk.serving()
    after = 1 if move == "rollback" else version.version

    def act(strike):
        mine = desk.reopen()
        event.listen(mine._database.engine, "before_cursor_execute", strike)
        event.listen(mine._database.engine, "commit", strike)
        desk.registry = mine
        desk.rollback() if move == "rollback" else desk.promote(version)

    points = 0
    while killed_after(points, act):
        with desk.reopen() as reopened:
            seen = dataclasses.replace(desk, registry=reopened)
            assert seen.serving() == before
            seen.assert_history_leads_here()
        points += 1
    assert points > 6
    assert desk.serving() == after
    desk.assert_history_leads_here()


# What was written stays, also against raw SQL


@pytest.fixture
def raw(desk):
    """Runs a statement as somebody would who has the database's password."""
    desk.champions(2)
    engine = make_engine(desk.url)

    def execute(statement):
        with engine.begin() as connection:
            return connection.execute(text(statement)).rowcount

    yield execute
    engine.dispose()


FIXED = [name for name in ModelVersionRow.__table__.columns.keys() if name != "status"]  # noqa: SIM118 - no dict
FORBIDDEN = {
    "history": ["UPDATE history SET reason = 'none'", "UPDATE history SET reason = reason"],
    "verdicts": [
        "UPDATE verdicts SET outcome = 'pass'",
        "UPDATE verdicts SET sentence = 'fine' WHERE id = 1",
    ],
    "model_versions": [f"UPDATE model_versions SET status = status, {name} = {name}" for name in FIXED],
    "aliases": [
        "UPDATE aliases SET version = 1",
        "UPDATE aliases SET version = 1, generation = generation - 1",
        "UPDATE aliases SET version = 1, generation = generation + 2",
    ],
}
ANOTHER_WAY = {"sqlite": "REPLACE INTO {0} SELECT * FROM {0}", "postgresql": "TRUNCATE {0} CASCADE"}


@pytest.mark.parametrize("table", FORBIDDEN)
def test_the_database_itself_refuses_to_change_the_past(desk, registry, raw, table):
    before = (registry.history("orders"), registry.list_versions("orders"), registry.alias("orders"))
    another = ANOTHER_WAY[registry._database.engine.dialect.name].format(table)
    for statement in (*FORBIDDEN[table], f"DELETE FROM {table}", another):
        with pytest.raises(DBAPIError, match=r"append-only|next generation"):
            raw(statement)
    assert (registry.history("orders"), registry.list_versions("orders"), registry.alias("orders")) == before


def test_a_status_may_change(raw):
    assert raw("UPDATE model_versions SET status = 'rejected'") == 2
