"""The line, from a pipeline to a champion: train, evaluate, gate, register, promote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

import gymnasium as gym

from workgym.envs.base import VectorEnv
from workgym.factory.entries import CurvePoint, Run
from workgym.factory.gates import configure
from workgym.factory.judging import env_version, rule_cards, suite_of
from workgym.factory.pipeline import Pipeline
from workgym.factory.plan import Job, code_digest, plan
from workgym.factory.profiles import is_better, measured_by
from workgym.factory.records import Scorecard
from workgym.factory.registry import Registry
from workgym.factory.releasing import Candidate, Desk, Released
from workgym.factory.train import Engine, Progress, Trained, train


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


def run(pipeline: Pipeline, registry: Registry, home: Path, engine: Engine, watcher: Watcher) -> Result:
    """Run a pipeline from end to end.

    Raises:
        BadInput: the pipeline names something that does not exist; nothing was trained.
        InfrastructureFault: a worker died too often; the same command continues.
    """
    jobs = _prepare(pipeline)
    with _recorded(pipeline, registry) as record:
        watcher.stage(f"training {len(jobs)} candidates")
        trainings = _start_trainings(registry, record, jobs)
        trained = train(home, jobs, engine, _curves(registry, trainings, watcher.training))
        watcher.stage(f"evaluating on the {pipeline.suite.split} suite")
        suite = suite_of(pipeline)
        rules = rule_cards(pipeline, suite)
        for card in rules:
            registry.record_baseline(record.id, card)
        desk = Desk(pipeline, registry, record, suite, rules, len(jobs))
        candidates = [_keep(desk, one, trainings[one.job.name]) for one in trained]
        releases = tuple(desk.release(spec, candidates) for spec in pipeline.releases)
        result = Result(record, rules, releases)
        return replace(result, run=registry.finish_run(record.id, result.sentence))


def _keep(desk: Desk, trained: Trained, training: int) -> Candidate:
    last = curve_points(trained.progress)[-1]
    return desk.keep(trained, training, last.steps, last.cpu_seconds)


def _prepare(pipeline: Pipeline) -> list[Job]:
    """Refuse a wrong pipeline before anything is trained; compile the env once, for all workers."""
    jobs = plan(pipeline)
    env = cast("VectorEnv", gym.make_vec(pipeline.env, num_envs=1, **pipeline.env_kwargs))
    env.reset(seed=0)
    for release in pipeline.releases:
        configure(pipeline.gates_of(release))
        measured_by(release.profile, env.task.families)
        for name in release.limits:
            is_better(name, 0.0, 0.0)
    env.close()
    return jobs


@contextmanager
def _recorded(pipeline: Pipeline, registry: Registry) -> Iterator[Run]:
    """A row for the run, closed whatever happens."""
    record = registry.start_run(
        pipeline.name,
        pipeline.model_dump(mode="json"),
        env_id=pipeline.env,
        env_version=env_version(pipeline),
        code_version=code_digest(),
    )
    try:
        yield record
    except BaseException as error:
        registry.fail_run(
            record.id, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        )
        raise


def _start_trainings(registry: Registry, record: Run, jobs: list[Job]) -> dict[str, int]:
    """A row for each training; their ids by the job's name."""
    ids = {}
    for job in jobs:
        recipe = job.recipe
        row = registry.start_training(
            record.id, job.variant, algorithm=recipe.algorithm, seed=recipe.seed, recipe=recipe.to_dict()
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
