"""The audit log that every service keeps: who did what to whom. It is append-only, and its lines are chained.

Every line stores a digest: SHA-256 in hex of

    "<digest of the line before> <world> <day> <len(actor)> <len(verb)> <len(subject)> " + actor + verb +
    subject + payload

in UTF-8, lengths in characters, `payload` the JSON text as it is stored; before the first line stands the
empty string. So a line that was changed, removed, inserted or moved breaks the chain at a place that `verify`
names. Whoever may rewrite the whole table may also chain it anew or cut its tail: keep the head that `verify`
tells somewhere else, and ask later whether it still stands in the log.

`recorded_at` is outside of the digest. The database writes it, each in its own precision, and without it the
same business has the same head on every database, in every rerun. Order and business days are proved, times
of the clock are not.

A copied world brings the log of its parent. Its lines keep their digests, over the parent's id, and a line of
`COPIED` follows that names the parent's id and head; lines from there on are the copy's own.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import (
    DDL,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    column,
    event,
    func,
    insert,
    literal_column,
    select,
    table,
)
from sqlalchemy.sql.ddl import ExecutableDDLElement

from workgym.services.kernel import NotFound
from workgym.services.storage import CLUSTERED, SERIAL, Among, Statement, Transaction

Line = tuple[int, int, str, str, str, str]  # world, day, actor, verb, subject, payload

COPIED = ("fork", "unpack")  # verbs by which a log goes on in another world
_START = ""
_PAGE = 1000  # lines that are read at once
_COLUMNS = ("world_id", "number", "day", "actor", "verb", "subject", "payload", "digest")
_audit = table("audit", *(column(name) for name in _COLUMNS))  # of whichever service it is
_worlds = table("worlds", column("id"))
_world: Any = _worlds.c.id
_LOG = Statement(insert(_audit).values({name: bindparam(name) for name in _COLUMNS}), *_COLUMNS)
_HEAD = Statement(
    select(_audit.c.world_id, _audit.c.number, _audit.c.digest)
    .where(_audit.c.world_id == bindparam("world"))
    .order_by(_audit.c.number.desc())
    .limit(literal_column("1"))
    .offset(literal_column("0")),  # else SQLite's compiler adds a parameter
    "world",
)
_older = _audit.alias("older")
_last = select(func.max(_older.c.number)).where(_older.c.world_id == _worlds.c.id).scalar_subquery()
_HEADS = Statement(
    select(_audit.c.world_id, _audit.c.number, _audit.c.digest)
    .select_from(_worlds.join(_audit, and_(_audit.c.world_id == _worlds.c.id, _audit.c.number == _last)))
    .where(Among(_world, "worlds")),
    "worlds",
)

_APPEND_ONLY = {
    "sqlite": (
        """CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
           BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
        """CREATE TRIGGER audit_is_never_shortened BEFORE DELETE ON audit
           WHEN EXISTS (SELECT 1 FROM worlds WHERE id = OLD.world_id)
           BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
    ),
    "postgresql": (
        """CREATE OR REPLACE FUNCTION keep_audit() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN
             IF TG_OP = 'DELETE' THEN
               IF NOT EXISTS (SELECT 1 FROM worlds WHERE id = OLD.world_id) THEN RETURN OLD; END IF;
             END IF;
             RAISE EXCEPTION 'the audit log is append-only';
           END $$""",
        """CREATE TRIGGER audit_is_never_changed BEFORE UPDATE OR DELETE ON audit
           FOR EACH ROW EXECUTE FUNCTION keep_audit()""",
        """CREATE TRIGGER audit_is_never_emptied BEFORE TRUNCATE ON audit
           FOR EACH STATEMENT EXECUTE FUNCTION keep_audit()""",
    ),
}


@dataclass(frozen=True)
class Entry:
    """One line of the audit log.

    Attributes:
        id: its number in the log of its world, from 0.
        day: business day.
        actor: who asked.
        verb: what was done.
        subject: to what.
        payload: JSON.
        digest: over the line and all lines before it.
    """

    id: int
    day: int
    actor: str
    verb: str
    subject: str
    payload: str
    digest: str


class Break(NamedTuple):
    """Where a log stops being the one that was written.

    Attributes:
        number: of the first line that is not the one that was written.
        found: what is wrong with it, as a sentence.
    """

    number: int
    found: str


@dataclass(frozen=True)
class Findings:
    """What the log of a world proves.

    Attributes:
        rows: lines that were read.
        head: digest of the last line, '' of an empty log. A log whose tail was cut looks whole from inside;
            that a head which was kept elsewhere still stands in it shows that it was not.
        broken: the first break, None when every line is the one that was written.
    """

    rows: int
    head: str
    broken: Break | None = None

    @property
    def whole(self) -> bool:
        """Whether every line is the one that was written."""
        return self.broken is None


def audit_table(metadata: MetaData) -> Table:
    """The log of a service that has a table `worlds`, with the triggers that guard it.

    Its key keeps two transactions of one world from continuing the same line.
    """
    # The only cascade: while a world exists nobody may shorten its log, and it goes with the world.
    world = ForeignKey("worlds.id", ondelete="CASCADE")
    audit = Table(
        "audit",
        metadata,
        Column("world_id", SERIAL, world, primary_key=True, autoincrement=False),
        Column("number", Integer, primary_key=True, autoincrement=False),  # in the log of its world, from 0
        Column("day", Integer, nullable=False),
        Column("actor", Text, nullable=False),
        Column("verb", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("payload", Text, nullable=False),  # JSON
        Column("digest", Text, nullable=False),
        Column("recorded_at", DateTime, nullable=False, server_default=func.current_timestamp()),
        **CLUSTERED,
    )
    for dialect, texts in _APPEND_ONLY.items():
        for text in texts:
            trigger: ExecutableDDLElement = DDL(text)  # type: ignore[no-untyped-call]  # SQLAlchemy's own
            event.listen(audit, "after_create", trigger.execute_if(dialect=dialect))
    return audit


def append(tx: Transaction, lines: Sequence[Line]) -> None:
    """Write lines of worlds that the transaction has taken, each after the last one of its world."""
    if not lines:
        return
    heads = _heads(tx, {line[0] for line in lines})
    rows = []
    for line in lines:
        number, before = heads.get(line[0], (-1, _START))
        digest = chained(before, *line)
        heads[line[0]] = number + 1, digest
        rows.append((line[0], number + 1, *line[1:], digest))
    tx.many(_LOG, rows)


def chained(before: str, world: int, day: int, actor: str, verb: str, subject: str, payload: str) -> str:
    """The digest of a line after a line with the digest `before`."""
    text = f"{before} {world} {day} {len(actor)} {len(verb)} {len(subject)} {actor}{verb}{subject}{payload}"
    return sha256(text.encode()).hexdigest()


def _heads(tx: Transaction, ids: Collection[int]) -> dict[int, tuple[int, str]]:
    """Number and digest of the last line of each world that has one."""
    rows = tx.rows(_HEAD, *ids) if len(ids) == 1 else tx.rows(_HEADS, tx.numbers(sorted(ids)))
    return {world: (number, digest) for world, number, digest in rows}


def head(tx: Transaction, world: int) -> str:
    """The digest of the last line of a world's log, '' of an empty one."""
    return _heads(tx, [world]).get(world, (-1, _START))[1]


def entries(tx: Transaction, world: int, subject: str | None, limit: int) -> list[Entry]:
    """The latest lines of a world's log, newest first."""
    query = select(_audit).where(_audit.c.world_id == world).order_by(_audit.c.number.desc()).limit(limit)
    if subject is not None:
        query = query.where(_audit.c.subject == subject)
    return [
        Entry(row.number, row.day, row.actor, row.verb, row.subject, row.payload, row.digest)
        for row in tx.connection.execute(query)
    ]


def verify(tx: Transaction, world: int) -> Findings:
    """Read a world's log from its first line to its last, and tell where it was tampered with.

    Raises:
        NotFound: there is no such world.
    """
    if not tx.connection.execute(select(_worlds).where(_worlds.c.id == world)).first():
        raise NotFound(f"no world with id {world}; list the worlds to see the ids")
    home, before, count = _first_home(tx, world), _START, 0
    for count, row in enumerate(_streamed(tx, world), 1):
        if row.number != count - 1:
            return Findings(count, before, Break(count - 1, f"it is missing; line {row.number} comes next"))
        if row.verb in COPIED:
            if _told(row) != (home, before):
                flaw = "it continues the log of another world than the one that stands before it"
                return Findings(count, before, Break(row.number, flaw))
            home = _named(row)
        line = (home, row.day, row.actor, row.verb, row.subject, row.payload)
        if row.digest != chained(before, *line):
            flaw = "it was changed, inserted or moved, or the line before it was removed"
            return Findings(count, row.digest, Break(row.number, flaw))
        before = row.digest
    if count and home != world:
        return Findings(count, before, Break(count, f"it is missing; the log before is that of world {home}"))
    return Findings(count, before)


def _streamed(tx: Transaction, world: int) -> Iterator[Any]:
    """The lines of a log, in pages, so that a long one needs no more memory than a short one."""
    after = -1
    page = select(_audit).where(_audit.c.world_id == world).order_by(_audit.c.number).limit(_PAGE)
    while rows := tx.connection.execute(page.where(_audit.c.number > after)).all():
        yield from rows
        after = rows[-1].number


def _first_home(tx: Transaction, world: int) -> int:
    """The world in which the log began."""
    copied = _audit.c.verb.in_(COPIED)
    query = select(_audit).where(_audit.c.world_id == world, copied).order_by(_audit.c.number).limit(1)
    row = tx.connection.execute(query).first()
    return world if row is None else _told(row)[0]


def copied_line(verb: str, world: int, day: int, actor: str, parent: int, parents_head: str) -> Line:
    """The line by which the log of `parent` goes on in a copy."""
    payload = json.dumps({"head": parents_head, "of": parent}, sort_keys=True)
    return world, day, actor, verb, f"world/{world}", payload


def _told(row: Any) -> tuple[int, str]:
    """Parent and its head of a line of `COPIED`; (-1, '') of one that names none."""
    try:
        payload = json.loads(row.payload)
        return int(payload["of"]), str(payload["head"])
    except (ValueError, KeyError, TypeError):
        return -1, _START


def _named(row: Any) -> int:
    """The world that a line of `COPIED` names, -1 for none."""
    number = row.subject.removeprefix("world/")
    return int(number) if number.isdecimal() else -1
