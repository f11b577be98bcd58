"""How the work of a run goes: who drives it, its tasks, the tries that were lost, what it searched for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select

from workgym.factory.dashboard.charts import Cloud, Spot, cloud
from workgym.factory.drivers import Driver
from workgym.factory.entries import ModelVersion, Run
from workgym.factory.registry import Registry
from workgym.factory.states import RunStatus
from workgym.factory.tables import AttemptRow, TaskRow
from workgym.factory.trials import Trial, trials_of

STATES = ("committed", "leased", "waiting", "failed")
TRIES, TRIALS = 20, 24  # lines of a table


@dataclass(frozen=True)
class Try:
    """A try at a task that brought nothing.

    Attributes:
        task: its kind, group and place.
        worker: host and process, or who leased it where the worker never answered.
    """

    task: str
    outcome: str
    worker: str
    began: str
    ended: str | None
    message: str


@dataclass(frozen=True)
class Search:
    """What a variant's search tried.

    Attributes:
        fields: of the recipe, that were looked for.
        trials: who came furthest and earned most first.
        more: how many are not shown.
        chunks: of training, over all trials.
        states: how many trials stand in each.
        chart: value upwards, chunks across.
    """

    variant: str
    fields: tuple[str, ...]
    trials: tuple[Trial, ...]
    more: int
    chunks: int
    states: dict[str, int]
    chart: Cloud | None


@dataclass(frozen=True)
class Work:
    """The work of a run.

    Attributes:
        driver: in a sentence.
        tasks: by kind, how many stand in each of `STATES`.
        workers: committed tasks of each, the busiest first.
        lost: tries that brought nothing, the newest first.
        more: how many of those are not shown.
        searches: by variant.
    """

    driver: str
    tasks: tuple[tuple[str, dict[str, int]], ...]
    workers: tuple[tuple[str, int], ...]
    last: str | None
    lost: tuple[Try, ...]
    more: int
    searches: tuple[Search, ...]

    @property
    def failed(self) -> int:
        """Tasks that nobody tries any more."""
        return sum(states["failed"] for _, states in self.tasks)


def work(registry: Registry, run: Run, now: float) -> Work:
    """The work of a run, at a time in seconds since the epoch."""
    tried = select(AttemptRow.task_id).where(AttemptRow.run_id == run.id)
    tasks = select(TaskRow.kind, TaskRow.status, func.count()).where(TaskRow.id.in_(tried))
    done = select(AttemptRow.worker, func.count(), func.max(AttemptRow.ended_at))
    done = done.where(AttemptRow.run_id == run.id, AttemptRow.outcome == "committed")
    wasted = _wasted(run.id)
    with registry.reading() as session:
        states: dict[str, dict[str, int]] = {}
        for kind, status, count in session.execute(tasks.group_by(TaskRow.kind, TaskRow.status)):
            states.setdefault(kind, dict.fromkeys(STATES, 0))[status] = count
        workers = [(row[0], row[1], row[2]) for row in session.execute(done.group_by(AttemptRow.worker))]
        count = session.scalar(select(func.count()).select_from(wasted.subquery())) or 0
        lost = tuple(_try(*row) for row in session.execute(wasted.limit(TRIES)))
    return Work(
        driver=_driven(run, registry.driver(run.id), now),
        tasks=tuple(sorted(states.items())),
        workers=tuple(sorted(((name, done) for name, done, _ in workers), key=lambda one: -one[1])),
        last=max((at for *_, at in workers if at), default=None),
        lost=lost,
        more=count - len(lost),
        searches=tuple(_search(*one) for one in trials_of(registry.database, run.id).items()),
    )


def _wasted(run_id: int) -> Select[Any]:
    row = AttemptRow
    columns: list[Any] = [TaskRow.kind, TaskRow.grp, TaskRow.seq, row.outcome, row.worker, row.owner]
    query = select(*columns, row.began_at, row.ended_at, row.message)
    query = query.join(TaskRow, TaskRow.id == row.task_id).where(row.run_id == run_id)
    return query.where(row.outcome.in_(("lost", "failed", "late"))).order_by(row.id.desc())


def _try(
    kind: str,
    group: str,
    seq: int,
    outcome: str,
    worker: str,
    owner: str,
    began: str,
    ended: str | None,
    message: str,
) -> Try:
    return Try(f"{kind} {group[:12]}/{seq}", outcome, worker or owner, began, ended, message)


def _driven(run: Run, driver: Driver | None, now: float) -> str:
    if driver is None:
        return "" if run.status is not RunStatus.RUNNING else f"driven by {run.host}, process {run.pid}"
    times = "" if driver.epoch == 1 else f", taken up {driver.epoch} times"
    if run.status is not RunStatus.RUNNING:
        return f"last driven by {driver.owner}{times}"
    left = driver.lease_until - now
    word = f"its word holds for {left:.0f} s" if left > 0 else f"silent for {-left:.0f} s past its lease"
    return f"driven by {driver.owner}{times}; {word}"


def _search(variant: str, trials: Sequence[Trial]) -> Search:
    ranked = sorted(trials, key=lambda one: (-one.chunks, -(one.value or 0.0), one.number))
    spots = [
        Spot(
            float(one.chunks),
            one.value,
            {"complete": "front", "pruned": "beaten"}.get(one.state, "unproven"),
            f"{variant}.{one.number}, {one.state}: {one.value:,.1f} cents per order, {one.chunks} chunks",
        )
        for one in trials
        if one.value is not None
    ]
    return Search(
        variant=variant,
        fields=tuple(dict.fromkeys(name for one in trials for name in one.params)),
        trials=tuple(ranked[:TRIALS]),
        more=len(ranked[TRIALS:]),
        chunks=sum(one.chunks for one in trials),
        states=dict(Counter(one.state for one in trials)),
        chart=cloud(spots),
    )


@dataclass(frozen=True)
class Part:
    """A policy inside another.

    Attributes:
        number: of the version that it is, or None where no version has its bytes.
        does: what it does there.
    """

    number: int | None
    digest: str
    does: str


def parts(version: ModelVersion, known: dict[str, int]) -> tuple[Part, ...]:
    """What a router or a tier was put together from, by its lineage.

    Args:
        version: any; one that was trained has no parts.
        known: numbers of versions by the digest of their policy.
    """
    said = version.lineage.get("inputs") or ()
    inputs = [str(one) for one in (said.values() if isinstance(said, dict) else said)]
    kept, served = (tuple(map(str, version.lineage.get(name) or ())) for name in ("kept", "served"))
    told: tuple[str, ...]
    if (kept or served) and len(inputs) == 2:
        told = (f"goes on in {', '.join(kept)}", f"decides in {', '.join(served)}")
    elif version.training_id is None and len(inputs) == 2:
        told = ("decides", "is asked where the first is of two minds")
    else:
        told = ("is part of it",) * len(inputs)
    return tuple(Part(known.get(one), one, does) for one, does in zip(inputs, told, strict=True))
