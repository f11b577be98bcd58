"""What was tried: runs, the trainings in them, their learning curves, and the baselines to beat."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import psutil
from sqlalchemy import URL, func, select
from sqlalchemy.orm import Session

from workgym.factory.artifacts import ArtifactStore, digest_of
from workgym.factory.database import Database
from workgym.factory.entries import Baseline, CurvePoint, Run, Training, entry
from workgym.factory.records import Scorecard
from workgym.factory.states import RunStatus, TrainingStatus, moved
from workgym.factory.tables import Base, BaselineRow, CurvePointRow, DriverRow, RunRow, TrainingRow
from workgym.services.kernel import BadInput, Conflict, NotFound

Clock = Callable[[], datetime]
R = TypeVar("R", bound=Base)
# The kernel derives a process's start from the boot time, which a clock correction moves a little.
_SAME_START_S = 2.0


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Fenced(Conflict):
    """The run is no longer ours: somebody took it over or cancelled it; nothing was changed."""


class RunBook:
    """The part of the registry that a run writes while it works.

    Opening migrates the database and marks the runs of this host whose process is gone.

    Attributes:
        artifacts: where the bytes stand that the rows name.
    """

    def __init__(self, url: str | URL, artifacts: ArtifactStore, clock: Clock = utc_now) -> None:
        self.artifacts = artifacts
        self._clock = clock
        self._epochs: dict[int, int] = {}  # of the runs that this registry drives
        self._database = Database(url)
        self.reap_abandoned()

    @property
    def database(self) -> Database:
        """Where the rows stand, for what follows the registry without being part of it."""
        return self._database

    def close(self) -> None:
        """Give the database connections back."""
        self._database.close()

    def start_run(
        self, pipeline: str, spec: dict[str, Any], *, env_id: str, env_version: str, code_version: str
    ) -> Run:
        """Open a run that belongs to this process."""
        with self._database.write() as session:
            row = self._begin(
                session, pipeline, spec, env_id=env_id, env_version=env_version, code_version=code_version
            )
            return entry(Run, row)

    def _begin(self, session: Session, pipeline: str, spec: dict[str, Any], **versions: str) -> RunRow:
        """Write a run that belongs to this process, in the caller's transaction."""
        row = RunRow(
            pipeline=pipeline,
            spec=spec,
            spec_digest=digest_of(spec),
            status=RunStatus.RUNNING,
            started_at=self._now(),
            message="",
            **versions,
            **this_process(),
        )
        session.add(row)
        session.flush()
        return row

    def finish_run(self, run_id: int, message: str = "") -> Run:
        """Close a run that did all it was asked."""
        return self._close_run(run_id, RunStatus.FINISHED, message)

    def fail_run(self, run_id: int, message: str) -> Run:
        """Close a run that could not go on; `message` says why."""
        return self._close_run(run_id, RunStatus.FAILED, message)

    def resume_run(self, run_id: int) -> Run:
        """Take an abandoned run over into this process."""
        with self._database.write() as session:
            row = required_row(session, RunRow, run_id, "run")
            row.status = moved(f"run {run_id}", RunStatus(row.status), RunStatus.RUNNING)
            row.finished_at, row.message = None, ""
            for name, value in this_process().items():
                setattr(row, name, value)
            return entry(Run, row)

    def reap_abandoned(self) -> tuple[Run, ...]:
        """Mark this host's running runs whose process is gone."""
        if not any(run.status is RunStatus.ABANDONED for run in self._running()):
            return ()
        with self._database.write() as session:
            dead = [row for row in session.scalars(_running_rows()) if process_is_gone(row)]
            for row in dead:
                self._close(session, row, RunStatus.ABANDONED, f"process {row.pid} ended without a word")
            return tuple(entry(Run, row) for row in dead)

    def runs(self) -> tuple[Run, ...]:
        """All runs, the newest first."""
        with self._database.read() as session:
            return tuple(_shown(row) for row in session.scalars(select(RunRow).order_by(RunRow.id.desc())))

    def run(self, run_id: int) -> Run:
        """One run."""
        with self._database.read() as session:
            return _shown(required_row(session, RunRow, run_id, "run"))

    def start_training(
        self,
        run_id: int,
        variant: str,
        *,
        algorithm: str,
        seed: int,
        recipe: dict[str, Any],
        from_steps: int = 0,
    ) -> Training:
        """Begin a training, or begin it again after its worker was lost.

        The same variant and seed of a run is one training: another start counts an attempt and
        keeps the curve up to `from_steps`, the checkpoint it goes on from. A finished one is
        returned as it is.

        Raises:
            Conflict: the run is over, or the recipe is another one than at the first start.
        """
        with self._database.write() as session:
            self._fence(session, run_id)
            _require_running(required_row(session, RunRow, run_id, "run"))
            row = session.scalar(select(TrainingRow).filter_by(run_id=run_id, variant=variant, seed=seed))
            if row is None:
                row = _new_training(run_id, variant, algorithm, seed, recipe)
                session.add(row)
            elif row.status != TrainingStatus.FINISHED:
                _start_again(session, row, recipe, from_steps)
            session.flush()
            return entry(Training, row)

    def append_curve(self, training_id: int, points: Sequence[CurvePoint]) -> None:
        """Add a batch of points; points that are already there stay as they are."""
        for point in points:
            if not (math.isfinite(point.value) and math.isfinite(point.cpu_seconds)):
                raise BadInput(f"expected finite numbers on a learning curve, found {point}; drop the point")
        with self._database.write() as session:
            row = required_row(session, TrainingRow, training_id, "training")
            self._fence(session, row.run_id)
            known = set(session.scalars(select(CurvePointRow.steps).filter_by(training_id=training_id)))
            fresh = {point.steps: point for point in points if point.steps not in known}
            if not fresh:
                return
            moved(f"training {training_id}", TrainingStatus(row.status), TrainingStatus.RUNNING)
            session.add_all(CurvePointRow(training_id=training_id, **vars(point)) for point in fresh.values())
            row.steps = max([row.steps, *fresh])
            row.cpu_seconds = max([row.cpu_seconds, *(point.cpu_seconds for point in fresh.values())])

    def finish_training(
        self, training_id: int, policy_digest: str, *, steps: int, cpu_seconds: float
    ) -> Training:
        """Close a training whose policy is in the artifact store; saying it twice changes nothing."""
        self.artifacts.verify(policy_digest)
        with self._database.write() as session:
            row = required_row(session, TrainingRow, training_id, "training")
            self._fence(session, row.run_id)
            if row.status == TrainingStatus.FINISHED and row.policy_digest == policy_digest:
                return entry(Training, row)
            row = self._move_training(session, training_id, TrainingStatus.FINISHED)
            row.policy_digest, row.steps, row.cpu_seconds = policy_digest, steps, cpu_seconds
            return entry(Training, row)

    def fail_training(self, training_id: int, message: str) -> Training:
        """Close a training that gave no policy; `start_training` may begin it again."""
        with self._database.write() as session:
            row = self._move_training(session, training_id, TrainingStatus.FAILED)
            self._fence(session, row.run_id)
            row.message = message
            return entry(Training, row)

    def trainings(self, run_id: int) -> tuple[Training, ...]:
        """A run's trainings in the order of their first start."""
        query = select(TrainingRow).filter_by(run_id=run_id).order_by(TrainingRow.id)
        with self._database.read() as session:
            return tuple(entry(Training, row) for row in session.scalars(query))

    def curve(self, training_id: int) -> tuple[CurvePoint, ...]:
        """A training's learning curve in the order of its steps."""
        query = select(CurvePointRow).filter_by(training_id=training_id).order_by(CurvePointRow.steps)
        with self._database.read() as session:
            return tuple(entry(CurvePoint, row) for row in session.scalars(query))

    def record_baseline(self, run_id: int, card: Scorecard) -> Baseline:
        """Keep what a baseline earned on the run's suite.

        Raises:
            Conflict: the run has other results under this name.
        """
        require_scenarios(card)
        digest = self.put_scorecard(card)
        with self._database.write() as session:
            self._fence(session, run_id)
            required_row(session, RunRow, run_id, "run")
            row = session.get(BaselineRow, (run_id, card.policy))
            if row is None:
                row = self._new_baseline(run_id, card, digest)
                session.add(row)
            elif self.scorecard(row.scorecard_digest).digest() != card.digest():
                raise Conflict(
                    f"run {run_id} has other results for baseline {card.policy!r}; give this one another name"
                )
            return entry(Baseline, row)

    def baselines(self, run_id: int) -> tuple[Baseline, ...]:
        """A run's baselines, the best first."""
        order = (BaselineRow.profit_per_case.desc(), BaselineRow.name)
        with self._database.read() as session:
            rows = session.scalars(select(BaselineRow).filter_by(run_id=run_id).order_by(*order))
            return tuple(entry(Baseline, row) for row in rows)

    def put_scorecard(self, card: Scorecard) -> str:
        """Store a scorecard and return its artifact's digest."""
        return self.artifacts.put_bytes(card.to_json().encode())

    def scorecard(self, digest: str) -> Scorecard:
        """The scorecard that a row names."""
        return Scorecard.from_json(self.artifacts.get(digest).decode())

    def _now(self) -> str:
        return self._clock().astimezone(UTC).isoformat(timespec="microseconds")

    def _running(self) -> list[Run]:
        with self._database.read() as session:
            return [_shown(row) for row in session.scalars(_running_rows())]

    def _close_run(self, run_id: int, status: RunStatus, message: str) -> Run:
        with self._database.write() as session:
            self._fence(session, run_id)
            row = required_row(session, RunRow, run_id, "run")
            self._close(session, row, status, message)
            return entry(Run, row)

    def _fence(self, session: Session, run_id: int) -> None:
        """Refuse a scheduler whose run was taken over or cancelled; others, by hand, may pass."""
        epoch = self._epochs.get(run_id)
        if epoch is None:
            return
        driver = session.get_one(DriverRow, run_id)
        if driver.epoch != epoch:
            raise Fenced(f"run {run_id} was taken over by {driver.owner}; this scheduler stops")
        run = session.get_one(RunRow, run_id)
        if run.status != RunStatus.RUNNING:
            raise Fenced(f"run {run_id} is {run.status}: {run.message or 'closed elsewhere'}")

    def _close(self, session: Session, row: RunRow, status: RunStatus, message: str) -> None:
        """End a run, and the trainings that it leaves behind."""
        row.status = moved(f"run {row.id}", RunStatus(row.status), status)
        row.finished_at, row.message = self._now(), message
        for training in session.scalars(select(TrainingRow).filter_by(run_id=row.id, status="running")):
            self._move_training(session, training.id, TrainingStatus.ABANDONED)

    def _move_training(self, session: Session, training_id: int, status: TrainingStatus) -> TrainingRow:
        row = required_row(session, TrainingRow, training_id, "training")
        row.status = moved(f"training {training_id}", TrainingStatus(row.status), status)
        return row

    def _new_baseline(self, run_id: int, card: Scorecard, digest: str) -> BaselineRow:
        return BaselineRow(
            run_id=run_id,
            name=card.policy,
            suite_digest=card.suite,
            scorecard_digest=digest,
            scenarios=card.n,
            profit_per_case=card.profit_per_case(),
            created_at=self._now(),
        )


def required_row(session: Session, kind: type[R], key: int, noun: str) -> R:
    """The row, or NotFound."""
    row = session.get(kind, key)
    if row is None:
        count = session.scalar(select(func.count()).select_from(kind))
        raise NotFound(f"no {noun} {key}; the registry has {count}, `factory show` lists them")
    return row


def _require_running(row: RunRow) -> None:
    if row.status != RunStatus.RUNNING:
        raise Conflict(f"run {row.id} is {row.status}, expected running; resume it or start another")


def require_scenarios(card: Scorecard) -> None:
    """An empty suite would let anything pass."""
    if card.n == 0:
        raise BadInput(f"the scorecard of {card.policy!r} has no scenario; evaluate on a suite that has some")


def _new_training(
    run_id: int, variant: str, algorithm: str, seed: int, recipe: dict[str, Any]
) -> TrainingRow:
    return TrainingRow(
        run_id=run_id,
        variant=variant,
        algorithm=algorithm,
        seed=seed,
        recipe=recipe,
        recipe_digest=digest_of(recipe),
        status=TrainingStatus.RUNNING,
        steps=0,
        cpu_seconds=0.0,
        attempts=1,
        message="",
    )


def _start_again(session: Session, row: TrainingRow, recipe: dict[str, Any], from_steps: int) -> None:
    if row.recipe_digest != digest_of(recipe):
        raise Conflict(
            f"variant {row.variant!r} with seed {row.seed} was started with another recipe in run "
            f"{row.run_id}; name it differently or start another run"
        )
    row.status = moved(f"training {row.id}", TrainingStatus(row.status), TrainingStatus.RUNNING)
    row.attempts, row.steps, row.message = row.attempts + 1, from_steps, ""
    ahead = select(CurvePointRow).where(CurvePointRow.training_id == row.id, CurvePointRow.steps > from_steps)
    for point in session.scalars(ahead):
        session.delete(point)


def _running_rows() -> Any:
    return select(RunRow).filter_by(status=RunStatus.RUNNING).order_by(RunRow.id)


def this_process() -> dict[str, Any]:
    """The columns of a run that name this process."""
    started = psutil.Process().create_time()
    return {"host": socket.gethostname(), "pid": os.getpid(), "process_started": started}


def _shown(row: RunRow) -> Run:
    run = entry(Run, row)
    gone = run.status is RunStatus.RUNNING and process_is_gone(row)
    return Run(**{**vars(run), "status": RunStatus.ABANDONED}) if gone else run


def process_is_gone(row: RunRow) -> bool:
    """Whether this host can tell that the run's process ended; another host's is left alone."""
    if row.host != socket.gethostname():
        return False
    try:
        process = psutil.Process(row.pid)
        same = abs(process.create_time() - row.process_started) < _SAME_START_S
        return not same or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
