"""Whole copies of worlds: every row of every table, the audit log and the idempotency keys too.

    copies = fork(tx, metadata, world, ["a", "b"])     # within one database, set-wise
    data = pack(tx, metadata, world)                   # or as bytes, for any database of the service
    world = unpack(tx, metadata, "elsewhere", data)

Where a canonical snapshot tells what a twin must know, a copy keeps everything: what is on its way, who is
about to give up, which centre ships which line. It works for any `MetaData` with a table `worlds` (`id`,
`name`, `day`) and an audit log: tables with a `world_id` are copied, rows that a world refers to in others
go along. A table's own serial key is given anew, so no other table, answer or log may name it.

An archive is one line of ASCII and a compressed JSON body:

    workgym-world 1 <digest of the tables' names> <of their columns> <of the body>
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    bindparam,
    cast,
    insert,
    select,
)
from sqlalchemy.exc import DataError, IntegrityError

from workgym.services import audit
from workgym.services.kernel import BadInput, Conflict, NotFound
from workgym.services.storage import Among, Statement, Transaction

LARGEST = 2**25  # bytes of an archive's body; 60 busy days of orders have 6 MB
_MAGIC = "workgym-world 1"
_TEXT = Annotated[str, Field(pattern=r"\A[^\x00]*\z")]  # PostgreSQL has no NUL


class _Copy(NamedTuple):
    """The statements of a fork.

    Attributes:
        world: adds a world with the columns of another: name, parent; its id.
        tables: add the rows of the parent to many worlds, parents of foreign keys first.
    """

    world: Statement
    tables: tuple[Statement, ...]


def fork(
    tx: Transaction, metadata: MetaData, world: int, names: Sequence[str], actor: str = "system"
) -> list[int]:
    """Copy a world that the transaction has taken, once for each name; the ids of the copies.

    Raises:
        Conflict: a name is taken.
        BadInput: no name, or one twice.
    """
    if not names or len(set(names)) != len(names):
        raise BadInput(f"expected names that differ, one at least, found {list(names)}")
    _require_free(tx, metadata, names)
    statements, day = _copy(metadata), _row_of(tx, metadata, world).day
    before = audit.head(tx, world)
    ids = [int(tx.rows(statements.world, name, world)[0][0]) for name in names]
    copies = tx.numbers(ids)
    for statement in statements.tables:
        tx.run(statement, world, copies)
    audit.append(tx, [audit.copied_line("fork", one, day, actor, world, before) for one in ids])
    return ids


def pack(tx: Transaction, metadata: MetaData, world: int) -> bytes:
    """A world as an archive; equal worlds of one id give equal bytes.

    Raises:
        NotFound: there is no such world.
    """
    row = _row_of(tx, metadata, world)
    rows = {table.name: _rows(tx, table, table.c.world_id == world) for table in _parts(metadata)}
    content = {
        "of": world,
        "world": [getattr(row, column.name) for column in _given(metadata.tables["worlds"])],
        "shared": _shared(tx, metadata, row),
        "rows": rows,
    }
    body = zlib.compress(json.dumps(content, separators=(",", ":"), default=datetime.isoformat).encode())
    return f"{_MAGIC} {_names(metadata)} {_columns(metadata)} {_digest(body)}\n".encode() + body


def unpack(tx: Transaction, metadata: MetaData, name: str, data: bytes, actor: str = "system") -> int:
    """A new world with everything that an archive holds; its id.

    Raises:
        Conflict: the name is taken.
        BadInput: the bytes are no archive of this service and version, or one of a world that cannot be.
    """
    told = _read(metadata, data)
    _require_free(tx, metadata, [name])
    worlds, shape = metadata.tables["worlds"], [column.name for column in _given(metadata.tables["worlds"])]
    try:
        for table in _outside(metadata):
            _share(tx, table, getattr(told.shared, table.name))
        new = insert(worlds).values(name=name, **dict(zip(shape, told.world, strict=True)))
        world = int(tx.connection.execute(new.returning(worlds.c.id)).scalar_one())
        for table in _parts(metadata):
            names = [column.name for column in _own(table)]
            rows = [
                {"world_id": world, **dict(zip(names, row, strict=True))}
                for row in getattr(told.rows, table.name)
            ]
            if rows:
                tx.connection.execute(insert(table), rows)
    except (IntegrityError, DataError) as error:
        raise BadInput(
            f"expected the archive of a sound world, found rows that no world has ({error.orig})"
        ) from error
    line = audit.copied_line(
        "unpack", world, told.world[shape.index("day")], actor, told.of, audit.head(tx, world)
    )
    audit.append(tx, [line])
    return world


def _require_free(tx: Transaction, metadata: MetaData, names: Sequence[str]) -> None:
    worlds = metadata.tables["worlds"]
    taken = tx.connection.execute(select(worlds.c.name).where(worlds.c.name.in_(names)).limit(1)).scalar()
    if taken is not None:
        raise Conflict(f"there is a world named {taken!r} already; choose another name, or drop it")


def _row_of(tx: Transaction, metadata: MetaData, world: int) -> Any:
    worlds = metadata.tables["worlds"]
    row = tx.connection.execute(select(worlds).where(worlds.c.id == world)).first()
    if row is None:
        raise NotFound(f"no world with id {world}; open one, or list them")
    return row


# Which tables and columns


def _parts(metadata: MetaData) -> list[Table]:
    """Tables whose rows belong to worlds, parents of foreign keys first."""
    return [table for table in metadata.sorted_tables if "world_id" in table.c]


def _outside(metadata: MetaData) -> list[Table]:
    """Tables that a world refers to."""
    return sorted(
        {key.column.table for key in metadata.tables["worlds"].foreign_keys}, key=lambda table: table.name
    )


def _given(worlds: Table) -> list[Column[Any]]:
    """What a copy has from its parent."""
    return [column for column in worlds.columns if column.name not in ("id", "name")]


def _own(table: Table) -> list[Column[Any]]:
    """What a row has of its own: not the world, and no number that the database gives."""
    serial = table.autoincrement_column
    return [column for column in table.columns if column.name != "world_id" and column is not serial]


def _order(table: Table) -> list[Column[Any]]:
    return [column for column in table.primary_key if column.name != "world_id"]


@lru_cache(maxsize=8)
def _copy(metadata: MetaData) -> _Copy:
    worlds = metadata.tables["worlds"]
    given = _given(worlds)
    row = select(cast(bindparam("name"), Text), *given).where(worlds.c.id == bindparam("parent"))
    add = insert(worlds).from_select(["name", *(column.name for column in given)], row)
    world = Statement(add.returning(worlds.c.id), "name", "parent")
    return _Copy(world, tuple(_copied(worlds, table) for table in _parts(metadata)))


def _copied(worlds: Table, table: Table) -> Statement:
    rows = (
        select(worlds.c.id, *_own(table))
        .select_from(worlds.join(table, table.c.world_id == bindparam("parent")))
        .where(Among(worlds.c.id, "worlds"))
    )
    if table.autoincrement_column is not None:
        rows = rows.order_by(worlds.c.id, *_order(table))
    names = ["world_id", *(column.name for column in _own(table))]
    return Statement(insert(table).from_select(names, rows), "parent", "worlds")


# Archives


def _rows(tx: Transaction, table: Table, where: Any) -> list[list[Any]]:
    query = select(*_own(table)).where(where).order_by(*_order(table))
    return [list(row) for row in tx.connection.execute(query)]


def _shared(tx: Transaction, metadata: MetaData, row: Any) -> dict[str, list[list[Any]]]:
    """The rows that a world refers to, by table."""
    found: dict[str, list[list[Any]]] = {}
    for key in metadata.tables["worlds"].foreign_keys:
        where = key.column == getattr(row, key.parent.name)
        found.setdefault(key.column.table.name, []).extend(_rows(tx, key.column.table, where))
    return found


def _share(tx: Transaction, table: Table, rows: list[tuple[Any, ...]]) -> None:
    """Add the rows that are missing.

    Raises:
        BadInput: another row has the same key.
    """
    for row in rows:
        values = dict(zip((column.name for column in _own(table)), row, strict=True))
        same = [column == values[column.name] for column in table.primary_key]
        kept = tx.connection.execute(select(*_own(table)).where(*same)).first()
        if kept is None:
            tx.connection.execute(insert(table).values(values))
        elif tuple(kept) != tuple(row):
            raise BadInput(f"expected the {table.name} that are known here, found others under the same key")


def _read(metadata: MetaData, data: bytes) -> Any:
    """What an archive says, every value of its column's kind."""
    first, _, body = data.partition(b"\n")
    magic, _, digests = first.decode("ascii", "replace").rpartition(" ")[0].partition(f"{_MAGIC} ")
    if magic or not digests or first.split(b" ")[-1] != _digest(body).encode():
        raise BadInput("expected the archive of a world, found other bytes, or damaged ones; take it again")
    names, _, columns = digests.partition(" ")
    if names != _names(metadata):
        raise BadInput("expected an archive of this service, found one of another; unpack it there")
    if columns != _columns(metadata):
        raise BadInput("expected an archive of this version of the service, found another; use that version")
    return _parsed(metadata, body)


def _parsed(metadata: MetaData, body: bytes) -> Any:
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(body, LARGEST)
        if not reader.eof:
            raise BadInput(f"expected an archive of at most {LARGEST:,} bytes, found a larger one, or a part")
        return _shape(metadata).model_validate_json(text)
    except zlib.error as error:
        raise BadInput(f"expected a compressed archive, found other bytes ({error})") from error
    except ValidationError as error:
        where, why = error.errors()[0]["loc"], error.errors()[0]["msg"]
        raise BadInput(f"expected an archive, found one where {'/'.join(map(str, where))}: {why}") from error


@lru_cache(maxsize=8)
def _shape(metadata: MetaData) -> type[BaseModel]:
    strict = ConfigDict(extra="forbid", strict=True)

    def tables(name: str, them: list[Table]) -> Any:
        fields: dict[str, Any] = {table.name: (list[_row(_own(table))], ...) for table in them}  # type: ignore[misc]  # a type made at run time
        return create_model(name, __config__=strict, **fields)

    return create_model(
        "Archive",
        __config__=strict,
        of=(int, ...),
        world=(_row(_given(metadata.tables["worlds"])), ...),
        shared=(tables("Shared", _outside(metadata)), ...),
        rows=(tables("Rows", _parts(metadata)), ...),
    )


def _row(columns: list[Column[Any]]) -> Any:
    return tuple[tuple(_kind(column) for column in columns)]  # type: ignore[misc]  # a type made at run time


def _kind(column: Column[Any]) -> Any:
    kind: Any = _TEXT
    if isinstance(column.type, DateTime):
        kind = datetime
    elif isinstance(column.type, Integer):
        bits = (
            63 if isinstance(column.type, BigInteger) else 15 if isinstance(column.type, SmallInteger) else 31
        )
        kind = Annotated[int, Field(ge=-(2**bits), lt=2**bits)]
    return kind | None if column.nullable else kind


def _names(metadata: MetaData) -> str:
    return _digest(repr(sorted(metadata.tables)).encode())[:16]


def _columns(metadata: MetaData) -> str:
    """Digest of what the rows of an archive look like."""
    tables = [metadata.tables["worlds"], *_outside(metadata), *_parts(metadata)]
    shape = [(t.name, c.name, str(c.type), c.nullable) for t in tables for c in t.columns]
    return _digest(repr(shape).encode())[:16]


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()
