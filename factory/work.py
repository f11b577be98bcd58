"""Tasks: pieces of work that are pure functions of their keys, leased, committed once, never lost.

Whoever wants a task's result asks for it by its key: `registry.lease(run_id, [key])` answers with a
`Lease` (do it, store its bytes, then `commit`), `Committed` (some run has done it), `Busy` (another
is at it) or `Broken` (it failed too often). Results are kept for every run that asks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from workgym.factory.drivers import LEASE_S, DriverBook
from workgym.factory.entries import entry
from workgym.factory.runs import Fenced
from workgym.factory.tables import AttemptRow, DriverRow, TaskRow

ATTEMPTS = 4  # bad ones before a task is given up: machines die, code that always dies must not loop
BACKOFF_S = 0.5  # before the second attempt; doubles with each


class Key(NamedTuple):
    """What a task is about; equal keys have equal results, whichever run asks.

    Attributes:
        kind: chunk, shard.
        group: digest of all that decides the result, but the place in the group.
        seq: place in the group.
    """

    kind: str
    group: str
    seq: int


@dataclass(frozen=True)
class Lease:
    """The right to commit a task, until somebody else leases it.

    Attributes:
        token: grows with every lease of the task; only the newest may commit.
        attempt: 1 for the first try.
    """

    key: Key
    token: int
    attempt: int


@dataclass(frozen=True)
class Committed:
    """A finished task.

    Attributes:
        artifact: digest of its bytes, where it has some.
        result: plain JSON.
    """

    key: Key
    artifact: str | None
    result: Any
    cpu_seconds: float
    wall_seconds: float


@dataclass(frozen=True)
class Busy:
    """Another holds the task, or it waits after a failure.

    Attributes:
        until: when to ask again at the latest, in seconds since the epoch.
    """

    key: Key
    until: float
    owner: str


@dataclass(frozen=True)
class Broken:
    """The task failed too often; `factory retry` opens it again."""

    key: Key
    message: str


@dataclass(frozen=True)
class Late:
    """A commit that came after the task was given to somebody else; nothing was changed."""

    key: Key
    message: str


@dataclass(frozen=True)
class Done:
    """What a worker brought back; its bytes are in the artifact store already."""

    lease: Lease
    artifact: str | None
    result: Any
    cpu_seconds: float
    wall_seconds: float
    worker: str = ""


@dataclass(frozen=True)
class Task:
    """Where a task stands.

    Attributes:
        attempts: that were lost or failed since it was last opened.
        token: how often it was leased.
    """

    id: int
    kind: str
    grp: str
    seq: int
    status: str
    token: int
    attempts: int
    owner: str
    lease_until: float
    retry_at: float
    artifact: str | None
    cpu_seconds: float
    wall_seconds: float
    message: str


@dataclass(frozen=True)
class Attempt:
    """A try at a task.

    Attributes:
        worker: host and process, once it has answered.
    """

    key: Key
    token: int
    run_id: int
    owner: str
    worker: str
    began_at: str
    ended_at: str | None
    outcome: str
    message: str


class WorkBook(DriverBook):
    """The part of the registry that gives tasks out and takes their results, each exactly once."""

    def lease(self, run_id: int, keys: Sequence[Key]) -> list[Lease | Committed | Busy | Broken]:
        """Ask for tasks in one transaction; one answer a key.

        Raises:
            Fenced: the run is no longer ours.
        """
        with self._database.write() as session:
            self._fence(session, run_id)
            return [self._lease(session, run_id, key) for key in keys]

    def commit(self, run_id: int, done: Sequence[Done]) -> list[Committed | Late]:
        """Take results in one transaction; one answer each.

        Raises:
            Fenced: the run is no longer ours; the results are noted as late and change nothing.
        """
        with self._database.write() as session:
            fenced = None
            try:
                self._fence(session, run_id)
            except Fenced as error:
                fenced = error
            answers = [self._commit(session, one, fenced) for one in done]
        if fenced is not None:
            raise fenced
        return answers

    def lose(self, run_id: int, lease: Lease, why: str, *, worker: str = "", final: bool = False) -> Task:
        """Give a task back that its worker did not finish; it is tried again after a pause.

        Args:
            run_id: the run that leased it.
            lease: a stale one changes nothing.
            why: shown as is.
            worker: host and process, where known.
            final: whether another try would fail in the same way.
        """
        with self._database.write() as session:
            self._fence(session, run_id)
            row, attempt = _leased(session, lease)
            if row.token == lease.token and row.status == "leased":
                row.attempts += 1
                row.message = why
                broken = final or row.attempts >= ATTEMPTS
                row.status = "failed" if broken else "waiting"
                row.retry_at = self._seconds() + BACKOFF_S * 2 ** (row.attempts - 1)
                attempt.outcome, attempt.message = ("failed" if final else "lost"), why
                attempt.ended_at, attempt.worker = self._now(), worker
            return entry(Task, row)

    def give_back(self, run_id: int, lease: Lease, why: str) -> None:
        """Return a task that was not done, for no fault of its own."""
        with self._database.write() as session:
            self._fence(session, run_id)
            row, attempt = _leased(session, lease)
            if row.token == lease.token and row.status == "leased":
                row.status, row.retry_at = "waiting", self._seconds()
                attempt.outcome, attempt.message, attempt.ended_at = "lost", why, self._now()

    def committed(self, kind: str, group: str) -> tuple[Committed, ...]:
        """The finished tasks of a group by their places."""
        query = select(TaskRow).filter_by(kind=kind, grp=group, status="committed").order_by(TaskRow.seq)
        with self._database.read() as session:
            return tuple(_committed(row) for row in session.scalars(query))

    def tasks(self, run_id: int) -> tuple[Task, ...]:
        """The tasks that a run has tried, whoever finished them."""
        tried = select(AttemptRow.task_id).filter_by(run_id=run_id)
        query = select(TaskRow).where(TaskRow.id.in_(tried)).order_by(TaskRow.id)
        with self._database.read() as session:
            return tuple(entry(Task, row) for row in session.scalars(query))

    def attempts(self, run_id: int, group: str | None = None) -> tuple[Attempt, ...]:
        """A run's tries in the order in which they began."""
        query = select(AttemptRow, TaskRow).join(TaskRow, TaskRow.id == AttemptRow.task_id)
        query = query.where(AttemptRow.run_id == run_id).order_by(AttemptRow.id)
        if group is not None:
            query = query.where(TaskRow.grp == group)
        with self._database.read() as session:
            return tuple(_attempt(row, task) for row, task in session.execute(query))

    def tries(self, kind: str, group: str) -> int:
        """How many tries at a group's tasks were lost or failed, in all runs."""
        query = select(func.count()).select_from(AttemptRow).join(TaskRow, TaskRow.id == AttemptRow.task_id)
        query = query.where(TaskRow.kind == kind, TaskRow.grp == group)
        with self._database.read() as session:
            return session.scalar(query.where(AttemptRow.outcome.in_(("lost", "failed")))) or 0

    def _lease(self, session: Session, run_id: int, key: Key) -> Lease | Committed | Busy | Broken:
        now = self._seconds()
        driver = session.get(DriverRow, run_id)
        row = session.scalar(select(TaskRow).filter_by(kind=key.kind, grp=key.group, seq=key.seq))
        if row is None:
            row = _new_task(key)
        elif row.status == "committed":
            return _committed(row)
        elif row.status == "failed":
            return Broken(key, row.message)
        elif row.status == "leased" and row.lease_until > now:
            return Busy(key, row.lease_until, row.owner)
        elif row.status == "leased":
            _expire(session, row, self._now())
        elif row.retry_at > now:
            return Busy(key, row.retry_at, "")
        row.status, row.token = "leased", row.token + 1
        row.owner = driver.owner if driver else f"run {run_id}"
        row.lease_until = now + LEASE_S
        session.add(row)
        session.flush()
        session.add(_new_attempt(row, run_id, self._now()))
        return Lease(key, row.token, row.attempts + 1)

    def _commit(self, session: Session, done: Done, fenced: Fenced | None) -> Committed | Late:
        row, attempt = _leased(session, done.lease)
        if attempt.outcome == "committed" and row.artifact == done.artifact:
            return _committed(row)  # said again, because the first answer was lost on its way
        attempt.ended_at, attempt.worker = self._now(), done.worker
        if fenced is None and row.status == "leased" and row.token == done.lease.token:
            row.status, row.artifact, row.result = "committed", done.artifact, done.result
            row.cpu_seconds, row.wall_seconds = done.cpu_seconds, done.wall_seconds
            attempt.outcome, attempt.message = "committed", ""
            return _committed(row)
        why = str(fenced) if fenced else f"it was leased again with token {row.token}"
        if row.status == "committed" and row.artifact != done.artifact:
            why += f"; it gave {done.artifact}, not {row.artifact} as the attempt that was committed"
        attempt.outcome, attempt.message = "late", why
        return Late(done.lease.key, f"the result of {done.lease} came late: {why}")


def _new_task(key: Key) -> TaskRow:
    return TaskRow(
        kind=key.kind,
        grp=key.group,
        seq=key.seq,
        token=0,
        attempts=0,
        retry_at=0.0,
        artifact=None,
        result=None,
        cpu_seconds=0.0,
        wall_seconds=0.0,
        message="",
    )


def _new_attempt(task: TaskRow, run_id: int, now: str) -> AttemptRow:
    return AttemptRow(
        task_id=task.id,
        token=task.token,
        run_id=run_id,
        owner=task.owner,
        worker="",
        began_at=now,
        ended_at=None,
        outcome="running",
        message="",
    )


def _leased(session: Session, lease: Lease) -> tuple[TaskRow, AttemptRow]:
    key = lease.key
    row = session.scalars(select(TaskRow).filter_by(kind=key.kind, grp=key.group, seq=key.seq)).one()
    attempt = session.scalars(select(AttemptRow).filter_by(task_id=row.id, token=lease.token)).one()
    return row, attempt


def _expire(session: Session, row: TaskRow, now: str) -> None:
    attempt = session.scalars(select(AttemptRow).filter_by(task_id=row.id, token=row.token)).one()
    attempt.outcome, attempt.ended_at, attempt.message = "lost", now, "its lease ran out"


def _committed(row: TaskRow) -> Committed:
    key = Key(row.kind, row.grp, row.seq)
    return Committed(key, row.artifact, row.result, row.cpu_seconds, row.wall_seconds)


def _attempt(row: AttemptRow, task: TaskRow) -> Attempt:
    return Attempt(
        key=Key(task.kind, task.grp, task.seq),
        token=row.token,
        run_id=row.run_id,
        owner=row.owner,
        worker=row.worker,
        began_at=row.began_at,
        ended_at=row.ended_at,
        outcome=row.outcome,
        message=row.message,
    )
