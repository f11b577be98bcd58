"""Where services keep their tables: engines, transactions, and statements compiled once.

SQLAlchemy Core is the language in which statements are written. Compiling and wrapping one at every
call costs ten times what SQLite needs to run it, so a `Statement` is compiled to text once per
database and runs on the driver's cursor, inside SQLAlchemy's transaction.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from threading import RLock
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Engine,
    Integer,
    MetaData,
    Select,
    StaticPool,
    Table,
    bindparam,
    create_engine,
    event,
    insert,
    make_url,
)
from sqlalchemy.exc import DBAPIError, NoSuchModuleError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import NULLTYPE

from workgym.services.kernel import BadInput, Conflict, InfrastructureFault

Row = tuple[Any, ...]
Moment = Literal["begin", "commit", "committed"]
Hazard = Callable[[Moment], None]  # told of a transaction's moments, it may raise an InfrastructureFault

SERIAL = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows in INTEGER columns only
CLUSTERED: dict[str, Any] = {"sqlite_with_rowid": False}  # rows lie in the order of their key

_WRITES = "workgym_writes"
_PATIENCE_S = 30.0
_CACHE_KIB, _CHECKPOINT_PAGES = 65_536, 16_384  # 64 MB of either
_CREATION = int.from_bytes(b"services")
_UNIQUE_VIOLATION = "23505"  # SQLite has one writer and cannot race


class Compiled(NamedTuple):
    """A statement as text.

    Attributes:
        sql: with the driver's positional markers.
        names: of the parameters, in the order of the markers.
    """

    sql: str
    names: tuple[str, ...]


def compiled(statement: ClauseElement, dialect: Dialect) -> Compiled:
    """The text of a Core statement, and which parameter goes where."""
    kind: Any = type(dialect)
    text = statement.compile(dialect=kind(paramstyle="qmark" if dialect.name == "sqlite" else "format"))
    assert isinstance(text, SQLCompiler)
    return Compiled(str(text), tuple(text.positiontup or ()))


class Statement:
    """A Core statement with the order in which its parameters are passed.

    Args:
        core: a select, insert, update or delete over `bindparam`s.
        names: of the parameters, in the order in which they stand in the text; a name that stands there
            twice is named twice.
    """

    def __init__(self, core: ClauseElement, *names: str) -> None:
        self.core = core
        self.names = names

    @cached_property
    def record(self) -> Callable[[Row], Any]:
        """From a row of a select to a named tuple of its columns."""
        assert isinstance(self.core, Select)
        made: Any = namedtuple("Record", list(self.core.selected_columns.keys()))  # type: ignore[misc]  # named by the select
        return cast("Callable[[Row], Any]", made._make)

    def text(self, dialect: Dialect) -> str:
        """SQL for a dialect.

        Raises:
            TypeError: the parameters stand in another order than `names`.
        """
        sql, names = compiled(self.core, dialect)
        if names != self.names:
            raise TypeError(f"expected parameters {self.names}, found {names}; name them in this order")
        return sql


def insert_into(table: Table, *names: str) -> Statement:
    """One row; columns that are not named are left to the database."""
    ordered = [column.name for column in table.columns if column.name in names]
    assert tuple(ordered) == names, f"name the columns of {table.name} in their order: {ordered}"
    return Statement(insert(table).values({name: bindparam(name) for name in names}).inline(), *names)


def table_of(rows: Sequence[Row], width: int) -> NDArray[np.int64]:
    """Rows of numbers as an array."""
    flat = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=len(rows) * width)
    return flat.reshape(len(rows), width)


class Among(ColumnElement[bool]):
    """`column` is one of the numbers of one parameter, whose value is `Transaction.numbers(...)`."""

    inherit_cache = False
    type: Any = NULLTYPE  # a Boolean is rendered as `... = 1` on SQLite, which no index serves

    def __init__(self, column: Column[int], name: str) -> None:
        self.column = column
        self.values: ColumnElement[Any] = bindparam(name)


@compiles(Among, "sqlite")
def _among_sqlite(element: Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = compiler.process(element.column, **kw), compiler.process(element.values, **kw)
    return f"{column} IN (SELECT value FROM json_each({values}))"


@compiles(Among, "postgresql")
def _among_postgresql(element: Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = compiler.process(element.column, **kw), compiler.process(element.values, **kw)
    return f"{column} = ANY({values})"


class Transaction:
    """An open transaction; it commits when the block that opened it ends without an error."""

    def __init__(self, connection: Connection, texts: dict[Statement, str]) -> None:
        self.connection = connection
        self.dialect = connection.dialect
        self._texts = texts
        self._cursor = connection.connection.cursor()
        self._as_json = self.dialect.name == "sqlite"

    def numbers(self, values: Sequence[int]) -> object:
        """The value of an `Among` parameter."""
        return json.dumps(values) if self._as_json else values

    def rows(self, statement: Statement, *values: Any) -> list[Row]:
        """All rows of a query."""
        self._cursor.execute(self._text(statement), values)
        return list(self._cursor.fetchall())

    def records(self, statement: Statement, *values: Any) -> list[Any]:
        """All rows of a select as named tuples."""
        return [statement.record(row) for row in self.rows(statement, *values)]

    def run(self, statement: Statement, *values: Any) -> int:
        """Change rows; how many."""
        self._cursor.execute(self._text(statement), values)
        return int(self._cursor.rowcount)

    def many(self, statement: Statement, rows: Sequence[Sequence[Any]]) -> None:
        """Change rows once for each row of parameters."""
        if rows:
            self._cursor.executemany(self._text(statement), rows)

    def take_turns(self, subject: str) -> None:
        """Wait until other transactions with this subject have ended; SQLite has one writer anyway."""
        if self.dialect.name == "postgresql":
            number = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], signed=True)
            self.connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({number})")

    def _text(self, statement: Statement) -> str:
        text = self._texts.get(statement)
        if text is None:
            text = self._texts[statement] = statement.text(self.dialect)
        return text


class Database:
    """A relational database: SQLite in memory or in a file, or PostgreSQL.

    A database in memory is one connection, used by one transaction at a time; others are many.

    Args:
        url: SQLAlchemy URL; `sqlite://` is in memory and gone when this object is closed.

    Attributes:
        engine: SQLAlchemy's.
        hazard: makes what a transaction, which writes or not, is exposed to; None for nothing.
    """

    hazard: Callable[[bool], Hazard] | None = None

    def __init__(self, url: str | URL = "sqlite://") -> None:
        self.engine = make_engine(url)
        self._writer = self.engine.execution_options(**{_WRITES: True})
        self._reader = self._isolated()
        self._texts: dict[Statement, str] = {}
        self._turn = RLock()
        self._only = self.engine.connect() if _in_memory(self.engine.url) else None

    def create(self, metadata: MetaData) -> None:
        """Make the tables that are missing."""
        with self.write() as tx:
            if tx.dialect.name == "postgresql":  # else two that start together both find nothing
                tx.connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_CREATION})")
            metadata.create_all(tx.connection)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction that changes something; it is whole or it never was.

        Raises:
            InfrastructureFault: the database cannot be reached or is locked.
            Conflict: somebody else was faster.
        """
        with self._begun(self._writer) as connection:
            yield Transaction(connection, self._texts)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A transaction that sees one moment and changes nothing.

        Raises:
            InfrastructureFault: the database cannot be reached.
        """
        with self._begun(self._reader) as connection:
            yield Transaction(connection, self._texts)

    def _isolated(self) -> Engine:
        if self.engine.dialect.name == "postgresql":
            return self.engine.execution_options(isolation_level="REPEATABLE READ")
        return self.engine

    @contextmanager
    def _begun(self, engine: Engine) -> Iterator[Connection]:
        strike = None if self.hazard is None else self.hazard(engine is self._writer)
        if strike is not None:
            strike("begin")
        with _faults_of(engine):
            if self._only is None:
                with engine.begin() as connection:
                    yield connection
                    if strike is not None:
                        strike("commit")
            else:
                with self._turn, self._only.begin():
                    yield self._only
                    if strike is not None:
                        strike("commit")
        if strike is not None:
            strike("committed")

    def close(self) -> None:
        """Give the connections back."""
        if self._only is not None:
            self._only.close()
        self.engine.dispose()


@contextmanager
def _faults_of(engine: Engine) -> Iterator[None]:
    """Tell what went wrong with the database itself apart from what the business refuses."""
    driver = engine.dialect.loaded_dbapi
    try:
        yield
    except driver.IntegrityError as error:
        if getattr(error, "sqlstate", None) != _UNIQUE_VIOLATION:
            raise
        raise Conflict("somebody else did the same at the same moment; read again and try again") from error
    except driver.OperationalError as error:
        raise InfrastructureFault(_out_of_reach(engine, error), _fate(error)) from error
    except DBAPIError as error:
        if not isinstance(error.orig, driver.OperationalError):
            raise
        raise InfrastructureFault(_out_of_reach(engine, error.orig), _fate(error.orig)) from error


def _out_of_reach(engine: Engine, error: BaseException) -> str:
    return f"the database {engine.url!r} did not do its work: {error}; check that it runs and try again"


def _fate(error: BaseException) -> Literal["no", "unknown"]:
    """A locked or deadlocked transaction was rolled back; a lost connection tells nothing."""
    lost = isinstance(error, sqlite3.OperationalError) or getattr(error, "sqlstate", None)
    return "no" if lost else "unknown"


def make_engine(url: str | URL) -> Engine:
    """An engine that begins and locks the way services need.

    Raises:
        BadInput: the driver is not installed.
    """
    where = _with_driver(make_url(url))
    options: dict[str, Any] = {}
    if _in_memory(where):
        # A second connection would be a second database.
        options = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    try:
        engine = create_engine(where, pool_pre_ping=not _is_sqlite(where), **options)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise BadInput(
            f"no driver for {where!r}: {error}; pip install 'workgym[postgres]' or use a sqlite:/// URL"
        ) from error
    if _is_sqlite(where):
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _with_driver(url: URL) -> URL:
    """The driver that the postgres extra installs, where the URL names none."""
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url


def _is_sqlite(url: URL) -> bool:
    return url.drivername.startswith("sqlite")


def _in_memory(url: URL) -> bool:
    return _is_sqlite(url) and url.database in (None, "", ":memory:")


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # else the driver begins transactions of its own, too late
    connection.execute(f"PRAGMA busy_timeout = {int(_PATIENCE_S * 1000)}")
    _switch_to_wal(connection)
    pragmas: Iterable[str] = (
        "synchronous = NORMAL",
        "foreign_keys = ON",
        "recursive_triggers = ON",  # else REPLACE deletes rows behind the triggers' back
        "secure_delete = OFF",  # Debian's build overwrites what it deletes: twice the time
        f"cache_size = {-_CACHE_KIB}",  # some hundred worlds that are stepped together
        f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",  # else a step of many worlds writes all of it twice
    )
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")


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


def _begin_sqlite(connection: Connection) -> None:
    """Take the writer's lock at once: a reader that becomes a writer later may find the world changed."""
    driver: Any = connection.connection.dbapi_connection
    driver.execute("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITES) else "BEGIN")
