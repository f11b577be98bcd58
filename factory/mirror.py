"""What others must hear of: lines written with the change itself, read in order by every mirror.

A mirror shows the registry's facts elsewhere, in MLflow for instance. It hears every line of the outbox
at least once, and a line says only what changed: the mirror reads the registry and makes the other side
say the same. So a repeated line changes nothing, and a mirror that was away for a week ends where the
registry stands. docs/design/mirror.md has the reasons.
"""

from __future__ import annotations

import fcntl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, func, insert, select
from sqlalchemy.orm import Session

from workgym.factory.database import Database
from workgym.factory.tables import MirrorRow, OutboxRow

VERSION_REGISTERED = "version.registered"
VERSION_JUDGED = "version.judged"
ALIAS_MOVED = "alias.moved"
_MESSAGE_LENGTH = 500


def announce(rows: Session | Connection, topic: str, payload: dict[str, Any], at: str) -> None:
    """Write a line into the outbox, in the transaction of the change that it tells of.

    Lines are numbered without gaps, so that a proof can tell that none is missing.

    Args:
        rows: the writer that makes the change; a line of a change that is undone is undone too.
        topic: what happened, one of the topics above.
        payload: plain JSON; names at least `model` and `version`, and `alias` where one moved.
        at: UTC, ISO 8601.
    """
    last = rows.execute(select(func.max(OutboxRow.seq))).scalar() or 0
    line = {"seq": last + 1, "topic": topic, "payload": payload, "at": at}
    rows.execute(insert(OutboxRow).values(**line))


@dataclass(frozen=True)
class Line:
    """One thing that happened.

    Attributes:
        seq: its place; later lines have larger numbers.
    """

    seq: int
    topic: str
    payload: dict[str, Any]
    at: str


class Mirror(Protocol):
    """Another place that shows what the registry says."""

    name: str

    def hear(self, line: Line) -> None:
        """Bring the other place up to date on what the line is about; it may have heard the line before."""


@dataclass(frozen=True)
class Report:
    """How far a mirror has come.

    Attributes:
        done: lines heard just now.
        behind: lines that it still has to hear.
        since: when the oldest of them was written, or None.
        failures: attempts in a row that heard nothing because of `error`.
        error: why it is behind, or nothing.
    """

    mirror: str
    done: int
    behind: int
    since: str | None
    failures: int
    error: str

    @property
    def sentence(self) -> str:
        """The report for a person."""
        if not self.behind:
            return f"mirror {self.mirror} is up to date"
        lines = "1 line" if self.behind == 1 else f"{self.behind} lines"
        return f"mirror {self.mirror} is {lines} behind" + (f": {self.error}" if self.error else "")


def sync(database: Database, mirror: Mirror, patience_s: float = float("inf")) -> Report:
    """Let a mirror hear what it has not heard yet.

    Whatever it raises ends the attempt, is kept in the report and never raised here: what others show
    must not stop the factory. The next attempt begins at the line that failed.

    Args:
        database: the registry's.
        mirror: who listens; one process at a time, another one's attempt ends at once.
        patience_s: begin no other line after so many seconds.
    """
    with _alone(database.engine, mirror.name) as is_alone:
        if not is_alone:
            return status(database, mirror.name, error="another process is telling it right now")
        began, done = time.monotonic(), 0
        for line in _unheard(database, mirror.name):
            if done and time.monotonic() - began > patience_s:
                return status(database, mirror.name, done, f"stopped after {patience_s:g} seconds")
            try:
                mirror.hear(line)
            except Exception as error:  # the other side's library may raise anything at all
                _remember_failure(database, mirror.name, _sentence(error))
                return status(database, mirror.name, done)
            _remember(database, mirror.name, line.seq)
            done += 1
        return status(database, mirror.name, done)


def status(database: Database, name: str, done: int = 0, error: str | None = None) -> Report:
    """How far a mirror is behind; one that never heard anything is behind by the whole outbox."""
    with database.read() as session:
        row = session.get(MirrorRow, name)
        waiting = select(func.count(), func.min(OutboxRow.at)).where(OutboxRow.seq > (row.seq if row else 0))
        behind, since = session.execute(waiting).one()
        failures, message = (row.failures, row.message) if row else (0, "")
        return Report(name, done, behind, since, failures, message if error is None else error)


@contextmanager
def followed(
    database: Database, mirror: Mirror, tell: Callable[[str], None], patience_s: float = 15.0
) -> Iterator[None]:
    """Let a mirror hear what the block does: one attempt when the block wrote a line.

    Args:
        database: the registry's.
        mirror: who listens.
        tell: gets a sentence when the mirror is still behind.
        patience_s: wait no longer; the attempt is then left to end with this process, which is as good
            as any other moment to stop it.
    """
    before = _newest(database)
    yield
    if _newest(database) == before:
        return
    reports: list[Report] = []
    attempt = threading.Thread(
        target=lambda: reports.append(sync(database, mirror, patience_s)), daemon=True, name="mirror"
    )
    attempt.start()
    attempt.join(patience_s)
    slow = f"no answer within {patience_s:g} seconds"
    report = reports[0] if reports else status(database, mirror.name, error=slow)
    if report.behind:
        tell(f"{report.sentence}; `factory mirror sync` goes on")


def forget(database: Database, name: str) -> None:
    """Let a mirror hear everything once more, when the other side lost what it had."""
    _remember(database, name, 0)


def _unheard(database: Database, name: str) -> Iterator[Line]:
    """The lines after the cursor, also those that are written meanwhile."""
    while True:
        with database.read() as session:
            row = session.get(MirrorRow, name)
            query = select(OutboxRow).where(OutboxRow.seq > (row.seq if row else 0)).order_by(OutboxRow.seq)
            found = session.scalar(query.limit(1))
            line = Line(found.seq, found.topic, found.payload, found.at) if found else None
        if line is None:
            return
        yield line


def _newest(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.max(OutboxRow.seq))) or 0


def _remember(database: Database, name: str, seq: int) -> None:
    with database.write() as session:
        session.merge(MirrorRow(name=name, seq=seq, failures=0, message="", at=_now()))


def _remember_failure(database: Database, name: str, message: str) -> None:
    with database.write() as session:
        row = session.get(MirrorRow, name) or MirrorRow(name=name, seq=0, failures=0)
        row.failures, row.message, row.at = row.failures + 1, message, _now()
        session.add(row)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MESSAGE_LENGTH else f"{text[:_MESSAGE_LENGTH]} ..."


@contextmanager
def _alone(engine: Engine, name: str) -> Iterator[bool]:
    """Whether nobody else tells this mirror anything meanwhile; a killed process lets go by itself."""
    hold = _hold_file if engine.dialect.name == "sqlite" else _hold_advisory
    with hold(engine, name) as held:
        yield held


@contextmanager
def _hold_file(engine: Engine, name: str) -> Iterator[bool]:
    with open(f"{engine.url.database}.{name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def _hold_advisory(engine: Engine, name: str) -> Iterator[bool]:
    key = zlib.crc32(f"workgym mirror {name}".encode())
    with engine.connect() as connection:
        held = bool(connection.scalar(select(func.pg_try_advisory_lock(key))))
        connection.commit()
        try:
            yield held
        finally:
            if held:
                connection.execute(select(func.pg_advisory_unlock(key)))
                connection.commit()
