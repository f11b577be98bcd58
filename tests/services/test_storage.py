"""What services may rely on below their tables."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, bindparam, insert, select, update

from workgym.services.kernel import BadInput, InfrastructureFault
from workgym.services.storage import Among, Database, Statement, compiled, make_engine

metadata = MetaData()
boxes = Table(
    "boxes", metadata, Column("id", Integer, primary_key=True), Column("units", Integer, nullable=False)
)

ADD = Statement(insert(boxes).values(id=bindparam("id"), units=bindparam("units")), "id", "units")
ALL = Statement(select(boxes.c.id, boxes.c.units).order_by(boxes.c.id))
SOME = Statement(select(boxes.c.units).where(Among(boxes.c.id, "ids")).order_by(boxes.c.id), "ids")
FILL = Statement(
    update(boxes).values(units=boxes.c.units + bindparam("more")).where(boxes.c.id == bindparam("which")),
    "more",
    "which",
)


@pytest.fixture
def database(database_url: str) -> Database:
    database = Database(database_url)
    database.create(metadata)
    return database


def test_statements_read_and_write_what_core_says(database: Database) -> None:
    with database.write() as tx:
        tx.many(ADD, [(1, 10), (2, 20), (3, 30)])
        assert tx.run(FILL, 5, 2) == 1
    with database.read() as tx:
        assert tx.rows(ALL) == [(1, 10), (2, 25), (3, 30)]
        assert tx.rows(SOME, tx.numbers([1, 3, 9])) == [(10,), (30,)]


def test_an_error_leaves_nothing_behind(database: Database) -> None:
    def fail() -> None:
        with database.write() as tx:
            tx.run(ADD, 1, 10)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.read() as tx:
        assert tx.rows(ALL) == []


def test_a_reader_sees_one_moment(database_url: str) -> None:
    mine, theirs = Database(database_url), Database(database_url)
    mine.create(metadata)
    with mine.read() as tx:
        assert tx.rows(ALL) == []
        with theirs.write() as other:
            other.run(ADD, 1, 10)
        assert tx.rows(ALL) == []
    with mine.read() as tx:
        assert tx.rows(ALL) == [(1, 10)]


@pytest.mark.parametrize("url", ["sqlite://", "postgresql+psycopg://nobody@/nothing"])
def test_parameters_are_passed_in_the_order_of_the_text(url: str) -> None:
    sql, names = compiled(FILL.core, make_engine(url).dialect)
    assert names == ("more", "which")
    assert sql.count("?" if url.startswith("sqlite") else "%s") == 2


def test_a_statement_with_its_parameters_in_disorder_is_found_at_once() -> None:
    wrong = Statement(FILL.core, "which", "more")
    with pytest.raises(TypeError, match="name them in this order"):
        wrong.text(make_engine("sqlite://").dialect)


def test_threads_take_turns_on_a_database_in_memory() -> None:
    database = Database()
    database.create(metadata)
    with database.write() as tx:
        tx.run(ADD, 1, 0)

    def work() -> None:
        for _ in range(50):
            with database.write() as tx:
                ((units,),) = tx.rows(SOME, tx.numbers([1]))
                tx.run(FILL, 1 if units < 1000 else 0, 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as tx:
        assert tx.rows(ALL) == [(1, 200)]


def test_many_may_open_a_new_database_together(database_url: str) -> None:
    together = threading.Barrier(6)
    faults: list[BaseException] = []

    def start() -> None:
        together.wait()
        try:
            Database(database_url).create(metadata)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_two_databases_in_memory_are_two() -> None:
    mine, theirs = Database(), Database()
    mine.create(metadata)
    theirs.create(metadata)
    with mine.write() as tx:
        tx.run(ADD, 1, 1)
    with theirs.read() as tx:
        assert tx.rows(ALL) == []


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/at/all.db", "postgresql+psycopg://nobody@/nothing?host=/nowhere&port=1"]
)
def test_a_database_out_of_reach_is_an_infrastructure_fault(url: str) -> None:
    with pytest.raises(InfrastructureFault, match="check that it runs"):
        Database(url).create(metadata)


def test_a_locked_database_is_an_infrastructure_fault_that_changed_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/one.db"
    mine, theirs = Database(url), Database(url)
    mine.create(metadata)
    with mine.write() as tx:
        tx.connection.exec_driver_sql("SELECT 1")
        with theirs.read() as other:
            other.connection.exec_driver_sql("PRAGMA busy_timeout = 10")
        with pytest.raises(InfrastructureFault) as caught, theirs.write():
            pytest.fail("two writers at once")
    assert caught.value.committed == "no"


def test_an_unknown_kind_of_database_is_the_callers_mistake() -> None:
    with pytest.raises(BadInput, match="no driver"):
        make_engine("mongodb://somewhere")
