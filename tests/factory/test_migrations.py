"""The schema is the tables' own, whoever opens first and however many at once."""

import multiprocessing
import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from workgym.factory import database
from workgym.factory.database import VERSION_TABLE, Database, alembic_config, make_engine
from workgym.factory.tables import Base
from workgym.services.kernel import BadInput, InfrastructureFault


@pytest.fixture
def engine(database_url):
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


def differences(engine):
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)


def test_migrating_an_empty_database_gives_the_tables(engine):
    database.migrate(engine)
    assert differences(engine) == []
    assert set(Base.metadata.tables) < set(inspect(engine).get_table_names())


@pytest.mark.parametrize(
    "change",
    ["DROP TABLE curve_points", "ALTER TABLE runs ADD COLUMN mood VARCHAR", "DROP INDEX ix_runs_status"],
)
def test_a_schema_that_differs_is_noticed(engine, change):
    database.migrate(engine)
    with engine.begin() as connection:
        connection.execute(text(change))
    assert differences(engine)


def test_the_checks_and_keys_are_the_tables_own(engine):
    database.migrate(engine)
    found = inspect(engine)
    for name, table in Base.metadata.tables.items():
        said = {str(constraint.name) for constraint in table.constraints}
        stored = {check["name"] for check in found.get_check_constraints(name)}
        stored |= {key["name"] for key in found.get_foreign_keys(name)}
        stored |= {key["name"] for key in found.get_unique_constraints(name)}
        assert {*stored, found.get_pk_constraint(name)["name"]} == said


def test_migrating_twice_changes_nothing(engine):
    database.migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO aliases SELECT 'a', 'b', 1, 1 WHERE 1 = 0"))
    database.migrate(engine)
    assert differences(engine) == []


def test_many_may_open_an_empty_database_at_once(database_url):
    fork = multiprocessing.get_context("fork")
    count = 6
    barrier = fork.Barrier(count)

    def open_it():
        barrier.wait(20)
        Database(database_url).close()

    openers = [fork.Process(target=open_it) for _ in range(count)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join(60)
    assert [opener.exitcode for opener in openers] == [0] * count
    engine = make_engine(database_url)
    assert differences(engine) == []
    engine.dispose()


def test_a_migration_that_fails_leaves_nothing(engine, monkeypatch):
    def fail(*arguments):
        upgrade(*arguments)
        raise RuntimeError("pulled the plug")

    upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", fail)
    with pytest.raises(RuntimeError):
        database.migrate(engine)
    assert inspect(engine).get_table_names() == []
    monkeypatch.undo()
    database.migrate(engine)
    assert differences(engine) == []


def test_a_registry_from_the_future_is_left_alone(engine, database_url):
    database.migrate(engine)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(BadInput, match=rf"schema 9999, .*none after {newest()}; upgrade workgym"):
        Database(database_url)


def newest():
    (head,) = ScriptDirectory.from_config(alembic_config()).get_heads()
    return head


def test_a_migration_can_be_drafted_and_nothing_is_left_to_draft(engine, tmp_path):
    database.migrate(engine)
    with engine.begin() as connection:
        config = alembic_config(connection)
        folders = [ScriptDirectory.from_config(config).versions, str(tmp_path)]
        config.set_main_option("version_locations", ":".join(folders))
        command.revision(config, "nothing", autogenerate=True, version_path=str(tmp_path))
    draft = next(tmp_path.glob("*_nothing.py")).read_text()
    compile(draft, "draft", "exec")
    assert f"down_revision = '{newest()}'" in draft
    assert draft.rstrip().endswith("# ### end Alembic commands ###")
    assert "op." not in draft


# What opening a database means


def test_sqlite_is_opened_for_durability(tmp_path):
    opened = Database(f"sqlite:///{tmp_path}/registry.db")
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    with opened.read() as session:
        assert {name: session.scalar(text(f"PRAGMA {name}")) for name in wanted} == wanted
    opened.close()


def test_an_sqlite_writer_waits_for_another_one(tmp_path):
    opened = Database(f"sqlite:///{tmp_path}/registry.db")
    with opened.write(), pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite3.connect(tmp_path / "registry.db", timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
    opened.close()


def test_a_write_that_raises_changes_nothing(database_url):
    opened = Database(database_url)

    def fail_half_way():
        with opened.write() as session:
            session.execute(text("INSERT INTO registry_schema VALUES ('half')"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    with opened.read() as session:
        assert session.scalar(text("SELECT count(*) FROM registry_schema")) == 1
    opened.close()


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("sqlite:////nowhere/at/all/registry.db", InfrastructureFault),
        ("postgresql+psycopg://ada:secret@/x?host=/nowhere", InfrastructureFault),
        ("oracle+imaginary://host/db", BadInput),
    ],
)
def test_a_database_that_cannot_be_opened_is_named_without_its_password(url, error):
    with pytest.raises(error) as refusal:
        Database(url)
    assert "secret" not in str(refusal.value)
    assert any(part in str(refusal.value) for part in ("check that the server runs", "use a sqlite"))


def test_a_file_that_is_no_database_is_left_alone(tmp_path):
    path = tmp_path / "registry.db"
    path.write_bytes(b"my thesis, the only copy" * 100)
    with pytest.raises(InfrastructureFault, match="not a database"):
        Database(f"sqlite:///{path}")
    assert path.read_bytes() == b"my thesis, the only copy" * 100


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_uses_the_driver_that_the_extra_installs(scheme):
    engine = make_engine(f"{scheme}://ada@/x?host=/nowhere")
    assert (engine.dialect.driver, engine.dialect.name) == ("psycopg", "postgresql")


def test_migrations_travel_with_the_package():
    migrations = Path(database.__file__).parent / "migrations"
    assert {path.name for path in migrations.iterdir()} >= {"env.py", "script.py.mako", "versions"}
