"""The registry's database: one writer at a time, migrated when it is opened.

SQLite locks the file for a writer; on PostgreSQL an advisory lock does the same. Registry writes
are rare and short, and in return no verb can see half of another.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session

from workgym.services.kernel import BadInput, InfrastructureFault

# The schema's own version table: a company may keep other Alembic schemas in the same database.
VERSION_TABLE = "registry_schema"
_MIGRATIONS = Path(__file__).parent / "migrations"
_WRITES = "workgym_writes"
_ADVISORY_KEY = int.from_bytes(b"workgym")
_PATIENCE_S = 30.0
_AGAIN_S = 1.0
_log = logging.getLogger(__name__)


class Database:
    """An engine on a registry whose schema is the newest.

    Not to be carried over a fork: a child opens its own.

    Attributes:
        patience_s: how long a transaction waits to begin while the server is away.
    """

    def __init__(self, url: str | URL) -> None:
        self.patience_s = 0.0
        self.engine = make_engine(url)
        self._writer = self.engine.execution_options(**{_WRITES: True})
        self._snapshot = self.engine
        if not _is_sqlite(self.engine.url):  # whose transactions see one moment anyway
            self._snapshot = self.engine.execution_options(isolation_level="REPEATABLE READ")
        try:
            migrate(self.engine)
        except DBAPIError as error:
            raise InfrastructureFault(
                f"cannot open the registry {self.engine.url!r}: {error.orig}; "
                "check that the server runs, that you may write there, and that it holds no other tables",
                committed="no",
            ) from error

    @contextmanager
    def read(self, *, one_moment: bool = False) -> Iterator[Session]:
        """A session for queries; all of them may be asked to see the same moment."""
        with self._begun(self._snapshot if one_moment else self.engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """The one writer: commits when the block ends, changes nothing when it raises."""
        with self._begun(self._writer) as session:  # takes the lock now, not at the first statement
            yield session
            session.commit()

    def _begun(self, engine: Engine) -> Session:
        """A session in a transaction in which nothing has been done, so that it may be begun again."""
        began, told = time.monotonic(), False
        while True:
            try:
                return _opened(engine)
            except OperationalError:
                if _is_sqlite(engine.url) or time.monotonic() - began > self.patience_s:
                    raise
            if not told:
                _log.warning("the registry's server is away; trying again for %g s", self.patience_s)
            told = True
            time.sleep(_AGAIN_S)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()


def _opened(engine: Engine) -> Session:
    session = Session(engine)
    try:
        session.connection()
    except BaseException:
        session.close()
        raise
    return session


def make_engine(url: str | URL) -> Engine:
    """An engine that begins, locks and syncs the way the registry needs."""
    try:
        where = _with_driver(make_url(url))
    except ArgumentError as error:
        raise BadInput(
            f"expected the URL of a database, sqlite:///file or postgresql://...: {error}"
        ) from error
    options: dict[str, Any] = {}
    if where.drivername.startswith("postgresql"):
        # A snapshot per statement: one per transaction would be taken before the lock is granted.
        options["isolation_level"] = "READ COMMITTED"
    try:
        engine = create_engine(where, pool_pre_ping=not _is_sqlite(where), **options)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise BadInput(
            f"no driver for {where!r}: {error}; pip install 'workgym[postgres]' or use a sqlite:/// URL"
        ) from error
    event.listen(engine, "begin", _begin)
    if _is_sqlite(where):
        event.listen(engine, "connect", _configure_sqlite)
    return engine


def _with_driver(url: URL) -> URL:
    """The driver that the postgres extra installs, where the URL names none."""
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url


def _is_sqlite(url: URL) -> bool:
    return url.drivername.startswith("sqlite")


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # else the driver begins transactions of its own, too late
    connection.execute(f"PRAGMA busy_timeout = {int(_PATIENCE_S * 1000)}")
    _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Turn the write-ahead log on; SQLite does not wait for this lock by itself."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin(connection: Connection) -> None:
    writes = bool(connection.get_execution_options().get(_WRITES))
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
    elif connection.dialect.name == "postgresql" and writes:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_KEY})")


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest; several processes may do so at once.

    Raises:
        BadInput: a newer workgym has been here.
    """
    with engine.connect() as connection:
        if _is_newest(connection):
            return
    with engine.execution_options(**{_WRITES: True}).begin() as connection:
        if not _is_newest(connection):
            command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without an alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _is_newest(connection: Connection) -> bool:
    scripts = ScriptDirectory.from_config(alembic_config())
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    here = set(context.get_current_heads())
    known = {script.revision for script in scripts.walk_revisions()}
    if not here <= known:
        raise BadInput(
            f"the registry {connection.engine.url!r} has schema {', '.join(sorted(here))}, and this workgym "
            f"knows none after {', '.join(scripts.get_heads())}; upgrade workgym, or open another workspace"
        )
    return here == set(scripts.get_heads())
