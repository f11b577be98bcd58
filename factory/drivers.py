"""Who drives a run: one scheduler at a time, each with an epoch that fences the earlier ones off."""

from __future__ import annotations

import _thread
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from workgym.factory.artifacts import digest_of
from workgym.factory.entries import Run, entry
from workgym.factory.runs import Fenced, RunBook, process_is_gone, required_row, this_process
from workgym.factory.states import RunStatus, TrainingStatus, moved
from workgym.factory.tables import AttemptRow, DriverRow, RunRow, TaskRow, TrainingRow
from workgym.services.kernel import Conflict

LEASE_S = 30.0  # how long a silent scheduler of another machine keeps its run and its tasks
BEAT_S = 5.0  # between two renewals
LOOK_S = 1.0  # between two looks whether the run is still ours


@dataclass(frozen=True)
class Driver:
    """The scheduler of a run.

    Attributes:
        epoch: how often the run was taken up.
        owner: host, process, run and epoch.
        lease_until: seconds since the epoch of the clock; another host's silence is believed then.
    """

    run_id: int
    epoch: int
    owner: str
    lease_until: float


class DriverBook(RunBook):
    """The part of the registry that lets one scheduler at a time drive a run.

    What a registry writes for a run that it drives is refused once another one drives it, or once it
    is cancelled.
    """

    def open_run(
        self, pipeline: str, spec: dict[str, Any], *, env_id: str, env_version: str, code_version: str
    ) -> Run:
        """Drive the unfinished run of this specification and code, or begin one.

        Raises:
            Conflict: another scheduler drives it.
        """
        versions = {"env_version": env_version, "code_version": code_version}
        unfinished = select(RunRow).filter_by(pipeline=pipeline, spec_digest=digest_of(spec), **versions)
        unfinished = unfinished.where(RunRow.status.in_((RunStatus.RUNNING, RunStatus.ABANDONED)))
        with self._database.write() as session:
            row = session.scalar(unfinished.order_by(RunRow.id.desc()).limit(1))
            if row is None:
                row = self._begin(session, pipeline, spec, env_id=env_id, **versions)
            run = self._take(session, row)
        return self._driven(run)

    def drive(self, run_id: int) -> Run:
        """Drive a run that is unfinished.

        Raises:
            Conflict: it is over, or another scheduler drives it.
        """
        with self._database.write() as session:
            run = self._take(session, required_row(session, RunRow, run_id, "run"))
        return self._driven(run)

    def driver(self, run_id: int) -> Driver | None:
        """Who drives a run, or drove it last; None where nobody ever did."""
        with self._database.read() as session:
            row = session.get(DriverRow, run_id)
            return entry(Driver, row) if row else None

    def heartbeat(self, run_id: int) -> None:
        """Keep a run that this registry drives, and the tasks that it holds.

        Raises:
            Fenced: it is no longer ours.
        """
        with self._database.write() as session:
            self._fence(session, run_id)
            driver = session.get_one(DriverRow, run_id)
            driver.lease_until = self._seconds() + LEASE_S
            held = update(TaskRow).where(TaskRow.owner == driver.owner, TaskRow.status == "leased")
            session.execute(held.values(lease_until=driver.lease_until))

    def require_driving(self, run_id: int) -> None:
        """Look whether a run is still ours, without writing.

        Raises:
            Fenced: it is not.
        """
        with self._database.read() as session:
            self._fence(session, run_id)

    def has_finished(self, run_id: int) -> bool:
        """Whether a run was finished by this registry, and not by another that took it over."""
        with self._database.read() as session:
            ours = session.get_one(DriverRow, run_id).epoch == self._epochs.get(run_id)
            return ours and session.get_one(RunRow, run_id).status == RunStatus.FINISHED

    def abandon_run(self, run_id: int, message: str) -> Run:
        """Leave a run so that anybody may take it up at once."""
        return self._close_run(run_id, RunStatus.ABANDONED, message)

    def cancel_run(self, run_id: int, actor: str, reason: str) -> Run:
        """Take a run from whoever drives it; it may be resumed later.

        Raises:
            Conflict: it is over.
        """
        with self._database.write() as session:
            row = required_row(session, RunRow, run_id, "run")
            self._close(session, row, RunStatus.ABANDONED, f"cancelled by {actor}: {reason}")
            return entry(Run, row)

    def reopen_run(self, run_id: int) -> int:
        """Give a run's failed tasks new attempts, and let a failed run be resumed; how many tasks.

        Raises:
            Conflict: the run is finished, or somebody drives it.
        """
        with self._database.write() as session:
            row = required_row(session, RunRow, run_id, "run")
            if row.status == RunStatus.FAILED:
                row.status = moved(f"run {run_id}", RunStatus.FAILED, RunStatus.ABANDONED)
                row.message = f"opened again after: {row.message}"
            if row.status != RunStatus.ABANDONED:
                raise Conflict(f"run {run_id} is {row.status}, expected failed or abandoned; see its status")
            failed = [task for task in session.scalars(_tasks_of(run_id)) if task.status == "failed"]
            for task in failed:
                task.status, task.attempts, task.retry_at = "waiting", 0, self._seconds()
            return len(failed)

    def _driven(self, run: Run) -> Run:
        """Remember that we drive it, once that is written."""
        with self._database.read() as session:
            self._epochs[run.id] = session.get_one(DriverRow, run.id).epoch
        return run

    def _take(self, session: Session, row: RunRow) -> Run:
        """Make this process the driver, in the caller's transaction."""
        before = session.get(DriverRow, row.id)
        if row.status == RunStatus.RUNNING and before is not None:
            self._require_gone(row, before)
        if row.status != RunStatus.RUNNING:
            row.status = moved(f"run {row.id}", RunStatus(row.status), RunStatus.RUNNING)
        row.finished_at, row.message = None, ""
        for name, value in this_process().items():
            setattr(row, name, value)
        self._release(session, row.id, "its scheduler was lost")
        for training in session.scalars(select(TrainingRow).filter_by(run_id=row.id, status="running")):
            self._move_training(session, training.id, TrainingStatus.ABANDONED)
        driver = before or DriverRow(run_id=row.id, epoch=0)
        driver.epoch += 1
        driver.owner = f"{row.host}:{row.pid}, run {row.id}, epoch {driver.epoch}"
        driver.lease_until = self._seconds() + LEASE_S
        session.add(driver)
        session.flush()
        return entry(Run, row)

    def _require_gone(self, row: RunRow, driver: DriverRow) -> None:
        if not process_is_gone(row) and driver.lease_until > self._seconds():
            way = "its process lives" if row.host == socket.gethostname() else "its last word is fresh"
            raise Conflict(
                f"run {row.id} is driven by {driver.owner}, and {way}; wait for it, follow it with "
                f"`factory watch {row.id}`, or stop it with `factory cancel {row.id}`"
            )

    def _close(self, session: Session, row: RunRow, status: RunStatus, message: str) -> None:
        super()._close(session, row, status, message)
        self._release(session, row.id, message)
        driver = session.get(DriverRow, row.id)
        if driver is not None:
            driver.lease_until = 0.0

    def _release(self, session: Session, run_id: int, why: str) -> None:
        """Give back the tasks that a run holds; losing a scheduler is no fault of a task."""
        holding = select(TaskRow, AttemptRow).join(
            AttemptRow, (AttemptRow.task_id == TaskRow.id) & (AttemptRow.token == TaskRow.token)
        )
        holding = holding.where(TaskRow.status == "leased", AttemptRow.run_id == run_id)
        for task, attempt in session.execute(holding):
            task.status, task.retry_at = "waiting", self._seconds()
            attempt.outcome, attempt.ended_at, attempt.message = "lost", self._now(), why

    def _seconds(self) -> float:
        return self._clock().timestamp()


class Pulse:
    """Keeps a run ours while it is worked on, in a thread of its own.

    The registry meanwhile waits, as long as a lease lasts, for a server that is away: work is at stake.

    Once the run is no longer ours, the main thread is interrupted in whatever it does, and the block
    ends with `Fenced`.

    Args:
        registry: drives the run.
        run_id: the run.
    """

    def __init__(self, registry: DriverBook, run_id: int) -> None:
        self._lost: Fenced | None = None
        self._registry = registry
        self._run_id = run_id
        self._over = threading.Event()
        self._interrupts = threading.current_thread() is threading.main_thread()
        self._thread = threading.Thread(target=self._beat, name=f"pulse of run {run_id}", daemon=True)

    def __enter__(self) -> Pulse:
        self._registry.database.patience_s = LEASE_S
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._registry.database.patience_s = 0.0
        with suppress(KeyboardInterrupt):  # that of the last beat, if it comes only now
            self._thread.join()
        if self._lost is not None and (kind is None or issubclass(kind, KeyboardInterrupt)):
            raise self._lost

    def _beat(self) -> None:
        looks = 0
        while not self._over.wait(LOOK_S):
            looks += 1
            try:
                if looks * LOOK_S % BEAT_S:
                    self._registry.require_driving(self._run_id)
                else:
                    self._registry.heartbeat(self._run_id)
            except Fenced as error:
                if self._registry.has_finished(self._run_id):
                    return  # by ourselves, a moment ago
                self._lost = error
                if self._interrupts and not self._over.is_set():
                    _thread.interrupt_main()
                return
            except DBAPIError:
                continue  # a database that is away for a moment; the lease outlives several beats


def _tasks_of(run_id: int) -> Any:
    """The tasks that a run has tried."""
    tried = select(AttemptRow.task_id).filter_by(run_id=run_id)
    return select(TaskRow).where(TaskRow.id.in_(tried)).order_by(TaskRow.id)
