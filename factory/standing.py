"""Where a run stands: who drives it, what is done, what waits, and what a resumption would do again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from workgym.agents.training import make_recipe
from workgym.factory.drivers import Driver
from workgym.factory.entries import Run, Training
from workgym.factory.plan import training_digest
from workgym.factory.registry import Registry
from workgym.factory.train import CHUNK
from workgym.factory.work import Attempt, Task
from workgym.services.kernel import NotFound, did_you_mean

TASK_STATES = ("leased", "waiting", "committed", "failed")


@dataclass(frozen=True)
class Chain:
    """A training of a run.

    Attributes:
        chunks: committed ones.
        of: all.
        again: what a resumption would do a second time: 1 where a chunk is in work, else 0.
        bad: tries that were lost or failed.
    """

    name: str
    status: str
    chunks: int
    of: int
    again: int
    bad: int


@dataclass(frozen=True)
class Standing:
    """A run as it stands now.

    Attributes:
        driver: who drives it, or drove it last.
        silent_s: seconds until the driver's lease ends; negative once it has.
        queue: how many tasks there are in each state.
        workers: committed tasks of each worker.
        quiet_s: seconds since the last commit, or None before the first.
    """

    run: Run
    driver: Driver | None
    silent_s: float | None
    queue: dict[str, int]
    workers: dict[str, int]
    quiet_s: float | None
    trainings: tuple[Chain, ...]

    @property
    def chunks(self) -> tuple[int, int]:
        """Committed chunks, and all."""
        return sum(one.chunks for one in self.trainings), sum(one.of for one in self.trainings)


def standing(registry: Registry, run_id: int) -> Standing:
    """Where a run stands."""
    run, now = registry.run(run_id), datetime.now(UTC)
    tasks, attempts = registry.tasks(run_id), registry.attempts(run_id)
    driver = registry.driver(run_id)
    ended = [one.ended_at for one in attempts if one.outcome == "committed" and one.ended_at]
    queue = Counter(task.status for task in tasks)
    return Standing(
        run=run,
        driver=driver,
        silent_s=driver.lease_until - now.timestamp() if driver else None,
        queue={state: queue[state] for state in TASK_STATES},
        workers=dict(Counter(one.worker for one in attempts if one.outcome == "committed")),
        quiet_s=(now - datetime.fromisoformat(max(ended))).total_seconds() if ended else None,
        trainings=tuple(_chain(registry, run, one, tasks) for one in registry.trainings(run_id)),
    )


def _chain(registry: Registry, run: Run, training: Training, tasks: Sequence[Task]) -> Chain:
    group = _group(run, training)
    own = [task for task in tasks if task.grp == group]
    return Chain(
        name=_name(training),
        status=str(training.status),
        chunks=len(registry.committed(CHUNK, group)),
        of=make_recipe(training.recipe).chunks,
        again=sum(task.status in ("leased", "waiting") for task in own),
        bad=registry.tries(CHUNK, group),
    )


def _group(run: Run, training: Training) -> str:
    return training_digest(make_recipe(training.recipe), run.code_version)


def _name(training: Training) -> str:
    return f"{training.variant}/{training.seed}"


def newest(registry: Registry) -> int:
    """The newest run.

    Raises:
        NotFound: there is none.
    """
    runs = registry.runs()
    if not runs:
        raise NotFound("no runs yet; `factory run pipelines/orders.toml` begins the first")
    return runs[0].id


def attempts_of(registry: Registry, run_id: int, training: str | None) -> tuple[Attempt, ...]:
    """A run's tries, or those of one of its trainings.

    Raises:
        NotFound: the run has no such training.
    """
    run = registry.run(run_id)
    if training is None:
        return registry.attempts(run_id)
    known = {_name(one): one for one in registry.trainings(run_id)}
    if training not in known:
        raise NotFound(did_you_mean(f"training of run {run_id}", training, sorted(known)))
    return registry.attempts(run_id, _group(run, known[training]))


def standing_table(one: Standing) -> RenderableType:
    """A run on a screen."""
    run = one.run
    table = Table(title="trainings", title_justify="left")
    for column in ("training", "status", "chunks", "done again on resume", "bad tries"):
        table.add_column(column, justify="left" if column in ("training", "status") else "right")
    for chain in one.trainings:
        done = f"{chain.chunks} of {chain.of}"
        table.add_row(chain.name, chain.status, done, str(chain.again), str(chain.bad))
    queue = (
        ", ".join(f"{count} {state}" for state, count in one.queue.items() if count) or "nothing asked yet"
    )
    workers = ", ".join(f"{name} ({count})" for name, count in sorted(one.workers.items()))
    last = "none yet" if one.quiet_s is None else f"{one.quiet_s:.0f} s ago"
    lines = [
        f"run {run.id} of {run.pipeline}: {run.status}" + (f", {run.message}" if run.message else ""),
        f"driven by {_driver(one)}",
        f"tasks: {queue}; last commit {last}" + (f"; by {workers}" if workers else ""),
    ]
    return Group(*map(Text, lines), table)


def _driver(one: Standing) -> str:
    if one.driver is None or one.silent_s is None:
        return "nobody yet"
    if str(one.run.status) != "running":
        return f"nobody; last by {one.driver.owner}"
    word = f"its word holds for {one.silent_s:.0f} s" if one.silent_s > 0 else "and has gone silent"
    return f"{one.driver.owner}, {word}"


def attempts_table(attempts: Sequence[Attempt]) -> RenderableType:
    """Every try with its worker, times and outcome."""
    table = Table(title=f"{len(attempts)} tries", title_justify="left")
    for column in ("task", "token", "worker", "began", "ended", "outcome", "what happened"):
        table.add_column(column, overflow="fold")
    styles = {"committed": "green", "lost": "yellow", "late": "yellow", "failed": "red"}
    for one in attempts:
        table.add_row(
            f"{one.key.kind} {one.key.group[:8]}/{one.key.seq}",
            str(one.token),
            one.worker,
            one.began_at[11:23],
            (one.ended_at or "")[11:23],
            Text(one.outcome, style=styles.get(one.outcome, "")),
            one.message,
        )
    return table
