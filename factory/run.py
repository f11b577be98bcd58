"""The line, from a pipeline to a champion: train, evaluate, gate, register, promote."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Protocol, cast

import gymnasium as gym

from workgym.envs.base import VectorEnv
from workgym.factory import crash
from workgym.factory.candidates import Candidate
from workgym.factory.drivers import Pulse
from workgym.factory.engines import Engine, Resources
from workgym.factory.entries import CurvePoint, Run
from workgym.factory.foreman import Foreman
from workgym.factory.gates import configure
from workgym.factory.judging import env_version, rule_cards, suite_of
from workgym.factory.pipeline import Pipeline
from workgym.factory.plan import Job, code_digest, plan
from workgym.factory.profiles import is_better, measured_by
from workgym.factory.records import Scorecard
from workgym.factory.registry import Registry
from workgym.factory.releasing import Desk, Released
from workgym.factory.runs import Fenced
from workgym.factory.search import Bench, searches
from workgym.factory.sequential import committed_order
from workgym.factory.shards import Evaluation
from workgym.factory.teachers import kept_teachers, train_in_turns
from workgym.factory.tiers import pairs
from workgym.factory.train import CHUNK, Progress, Trained, Trainings, train
from workgym.services.kernel import BadInput, Conflict


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        run: its row in the registry.
        rules: scorecards of the department's rules, the best first.
        releases: in the pipeline's order.
    """

    run: Run
    rules: tuple[Scorecard, ...]
    releases: tuple[Released, ...]

    @property
    def sentence(self) -> str:
        """The outcome in a sentence for each release."""
        return " ".join(f"{one.sentence}." for one in self.releases).removesuffix(".")


class Watcher(Protocol):
    """Is told how a run goes on."""

    def stage(self, text: str) -> None:
        """A new stage begins."""

    def training(self, progress: list[Progress]) -> None:
        """Trainings moved on."""


def run(
    pipeline: Pipeline, registry: Registry, engine: Engine, watcher: Watcher, run_id: int | None = None
) -> Result:
    """Run a pipeline from end to end.

    An unfinished run of the same pipeline and code is continued: what is committed is not done again.

    Args:
        pipeline: what to do.
        registry: remembers it.
        engine: does the calls.
        watcher: is told.
        run_id: an unfinished run of this pipeline, to go on with that one.

    Raises:
        BadInput: the pipeline names something that does not exist; nothing was trained.
        Conflict: another scheduler drives the run.
        Fenced: another scheduler took the run over, or somebody cancelled it.
        InfrastructureFault: a worker died too often; `factory retry` goes on.
    """
    _prepare(pipeline, registry)
    with _driven(registry, _opened(pipeline, registry, run_id)) as record:
        foreman = Foreman(registry, record.id, engine)
        trained, trainings = _train(pipeline, registry, record, foreman, watcher)
        watcher.stage(f"evaluating on the {pipeline.suite.split} suite")
        suite = suite_of(pipeline)
        rules = rule_cards(pipeline, suite)
        for card in rules:
            registry.record_baseline(record.id, card)
        order = committed_order(suite, str(record.id))
        shards = Evaluation(foreman, suite, pipeline.env_kwargs, record.env_version, order)
        routers = pairs(pipeline, list(trainings))
        tried = len(trained) + len(routers)
        desk = Desk(pipeline, registry, record, suite, rules, tried, shards, watcher.stage)
        kept = [_keep(desk, one, trainings[one.job.name]) for one in trained]
        candidates = [*kept, *desk.assembled(routers, kept)]
        releases = tuple(desk.release(spec, candidates) for spec in pipeline.releases)
        result = Result(record, rules, releases)
        crash.here("run:finishing")
        return replace(result, run=registry.finish_run(record.id, result.sentence))


def _train(
    pipeline: Pipeline, registry: Registry, record: Run, foreman: Foreman, watcher: Watcher
) -> tuple[list[Trained], dict[str, int]]:
    """Every candidate, and the rows of their trainings by the job's name."""
    line = Trainings(registry, foreman, Resources(**pipeline.training.resources.model_dump()))
    rows: dict[str, int] = {}

    def train_some(jobs: Sequence[Job]) -> list[Trained]:
        watcher.stage(f"training {len(jobs)} candidates")
        started = _start_trainings(registry, record, jobs)
        rows.update(started)
        trained = train(line, jobs, _curves(registry, started, watcher.training))
        for one in trained:
            registry.artifacts.put_folder(one.files)
        return trained

    found: list[Job] = []
    for search in searches(pipeline):
        watcher.stage(f"searching for {search.variant.name}")
        found += Bench(registry, record.id, foreman, line, watcher.training).candidates(search)
    known = kept_teachers(pipeline, registry, record)
    return train_in_turns(pipeline, known, found, train_some, watcher.stage), rows


def _keep(desk: Desk, trained: Trained, training: int) -> Candidate:
    last = curve_points(trained.progress)[-1]
    return desk.keep(trained, training, last.steps, last.cpu_seconds)


def _prepare(pipeline: Pipeline, registry: Registry) -> None:
    """Refuse a wrong pipeline before anything is trained; compile the env once, for all workers."""
    searches(pipeline)
    plan(pipeline, kept_teachers(pipeline, registry))
    env = cast("VectorEnv", gym.make_vec(pipeline.env, num_envs=1, **pipeline.env_kwargs))
    env.reset(seed=0)
    for release in pipeline.releases:
        configure(pipeline.gates_of(release))
        measured_by(release.profile, env.task.families)
        for name in release.limits:
            is_better(name, 0.0, 0.0)
    env.close()


def resume(registry: Registry, run_id: int, engine: Engine, watcher: Watcher) -> Result:
    """Go on with an unfinished run, by the pipeline that it was begun with.

    Raises:
        Conflict: it is over, another scheduler drives it, or today's code is not the run's.
    """
    record = registry.run(run_id)
    if "variants" not in record.spec:
        raise BadInput(f"run {run_id} was written by hand, expected a pipeline behind it; run one")
    pipeline = Pipeline.model_validate(record.spec)
    now = {"code": code_digest(), "env": env_version(pipeline)}
    then = {"code": record.code_version, "env": record.env_version}
    if changed := [name for name in now if now[name] != then[name]]:
        raise Conflict(
            f"run {run_id} was begun with other {' and '.join(changed)}: {then}, today's are {now}; "
            "go back to those, or begin another run with `factory run`"
        )
    return run(pipeline, registry, engine, watcher, run_id)


def _opened(pipeline: Pipeline, registry: Registry, run_id: int | None) -> Run:
    """The run that this process drives from now on."""
    if run_id is not None:
        return registry.drive(run_id)
    return registry.open_run(
        pipeline.name,
        pipeline.model_dump(mode="json"),
        env_id=pipeline.env,
        env_version=env_version(pipeline),
        code_version=code_digest(),
    )


@contextmanager
def _driven(registry: Registry, record: Run) -> Iterator[Run]:
    """A run that stays ours while the block lasts, and can be resumed at once when it is interrupted."""
    try:
        with _terminable(), Pulse(registry, record.id):
            yield record
    except Fenced:
        raise
    except (KeyboardInterrupt, SystemExit):  # Ray turns SIGTERM into the latter
        with suppress(Fenced):
            registry.abandon_run(record.id, f"interrupted; `factory resume {record.id}` goes on")
        raise KeyboardInterrupt from None
    except BaseException as error:
        registry.fail_run(
            record.id, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        )
        raise


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _start_trainings(registry: Registry, record: Run, jobs: Sequence[Job]) -> dict[str, int]:
    """A row for each training; their ids by the job's name."""
    ids = {}
    for job in jobs:
        recipe = job.recipe
        done = registry.committed(CHUNK, job.digest)
        row = registry.start_training(
            record.id,
            job.variant,
            algorithm=recipe.algorithm,
            seed=recipe.seed,
            recipe=recipe.to_dict(),
            from_steps=sum(int(one.result["report"]["steps"]) for one in done),
        )
        ids[job.name] = row.id
    return ids


def _curves(
    registry: Registry, trainings: dict[str, int], watch: Callable[[list[Progress]], None]
) -> Callable[[list[Progress]], None]:
    """A watcher of trainings that also keeps their learning curves."""
    kept = dict.fromkeys(trainings, 0)

    def keep(progress: list[Progress]) -> None:
        for one in progress:
            name = one.job.name
            points = curve_points(one)
            if len(points) > kept[name]:
                registry.append_curve(trainings[name], points[kept[name] :])
                kept[name] = len(points)
        watch(progress)

    return keep


def curve_points(progress: Progress) -> list[CurvePoint]:
    """A training's learning curve: mean episode profit after so many steps and CPU seconds."""
    points: list[CurvePoint] = []
    steps, seconds = 0, 0.0
    for chunk in progress.curve:
        steps, seconds = steps + int(chunk["steps"]), seconds + float(chunk["cpu_seconds"])
        points.append(CurvePoint(steps, float(chunk["mean_return"]), seconds))
    return points
