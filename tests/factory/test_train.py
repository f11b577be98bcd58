"""Trainings survive kills, are shared between runs, and end with the same weights on every engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from workgym.factory.engines import ENGINES, Call, Engine, Finished, LocalEngine, make_engine, perform
from workgym.factory.foreman import Foreman
from workgym.factory.pipeline import Pipeline
from workgym.factory.plan import Job, plan
from workgym.factory.registry import Registry, open_registry
from workgym.factory.train import Progress, Trainings, train
from workgym.factory.work import ATTEMPTS
from workgym.services.kernel import BadInput, InfrastructureFault

TINY = {"steps": 12_288, "chunk_steps": 4096, "lanes": 64, "n_steps": 32, "minibatch": 512}
SPEC = {"name": "tiny"}
VERSIONS = {"env_id": "workgym/Orders-v0", "env_version": "1", "code_version": "2"}


def jobs_of(*seeds: int, **recipe: object) -> list[Job]:
    pipeline = Pipeline.model_validate(
        {
            "name": "tiny",
            "env": "workgym/Orders-v0",
            "training": {"seeds": seeds, "recipe": {**TINY, **recipe}},
            "variants": [{"name": "plain"}],
            "gates": {"improvement": {}},
        }
    )
    return plan(pipeline)


def quiet(_: list[Progress]) -> None:
    """Watch nothing."""


class Unlucky(LocalEngine):
    """Loses the worker of its first calls, as a machine that dies does."""

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.losses = losses

    def wait(self, timeout: float) -> list[Finished]:
        if self.losses and self._queue:
            self.losses -= 1
            return [Finished(self._queue.popleft()[0], lost="SIGKILL")]
        return super().wait(timeout)


def begun(home: Path, name: str = "tiny") -> tuple[Registry, int]:
    registry = open_registry(home)
    return registry, registry.open_run(name, SPEC, **VERSIONS).id


def states(registry: Registry, job: Job) -> list[str | None]:
    return [done.artifact for done in registry.committed("chunk", job.digest)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str | None]]:
    """The digests of all states of two trainings, by digest of the training."""
    registry, run = begun(tmp_path_factory.mktemp("undisturbed"))
    jobs = jobs_of(1, 2)
    train(Trainings(registry, Foreman(registry, run, LocalEngine())), jobs, quiet)
    found = {job.digest: states(registry, job) for job in jobs}
    registry.close()
    return found


@pytest.fixture
def home(tmp_path: Path) -> Iterator[tuple[Registry, int]]:
    registry, run = begun(tmp_path)
    yield registry, run
    registry.close()


def trainings(registry: Registry, run: int, engine: Engine) -> Trainings:
    return Trainings(registry, Foreman(registry, run, engine))


def finish(line: Trainings) -> None:
    while line.busy:
        line.collect()


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_every_engine_gives_the_same_states(
    home: tuple[Registry, int], tmp_path: Path, undisturbed: dict[str, list[str | None]], name: str
) -> None:
    registry, run = home
    engine = make_engine(name, tmp_path)
    try:
        trained = train(trainings(registry, run, engine), jobs_of(1, 2), quiet)
    finally:
        engine.close()
    for one in trained:
        assert states(registry, one.job) == undisturbed[one.job.digest]
        assert (one.reused, one.progress.chunks, one.progress.attempts) == (False, 3, 1)


def test_lost_workers_cost_a_try_and_change_no_weight(
    home: tuple[Registry, int], undisturbed: dict[str, list[str | None]]
) -> None:
    registry, run = home
    (job,) = jobs_of(1)
    (trained,) = train(trainings(registry, run, Unlucky(2)), [job], quiet)
    assert states(registry, job) == undisturbed[job.digest]
    assert trained.progress.attempts == 3
    assert [one.outcome for one in registry.attempts(run)] == ["lost", "lost"] + ["committed"] * 3


def test_a_chunk_whose_worker_always_dies_is_given_up_with_a_way_out(home: tuple[Registry, int]) -> None:
    registry, run = home
    with pytest.raises(
        InfrastructureFault, match=rf"failed too often, at last: SIGKILL.*factory retry {run}"
    ):
        train(trainings(registry, run, Unlucky(ATTEMPTS)), jobs_of(1), quiet)
    assert [task.status for task in registry.tasks(run)] == ["failed"]


def test_a_refusal_of_the_chunk_itself_is_not_tried_again(
    home: tuple[Registry, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, run = home
    (job,) = jobs_of(1)
    line = trainings(registry, run, LocalEngine())
    line.want(job, 1)
    finish(line)
    damaged = registry.artifacts.put_bytes(b"no state")
    monkeypatch.setattr(line._lines[job.digest], "states", [damaged])
    line.want(job)
    with pytest.raises(BadInput):
        finish(line)
    assert [one.outcome for one in registry.attempts(run)] == ["committed", "failed"]


def test_another_run_goes_on_where_a_killed_one_stopped(
    home: tuple[Registry, int], tmp_path: Path, undisturbed: dict[str, list[str | None]]
) -> None:
    registry, run = home
    (job,) = jobs_of(1)
    line = trainings(registry, run, LocalEngine())
    line.want(job, 2)
    finish(line)
    registry.close()
    other, second = begun(tmp_path, "other")
    (trained,) = train(trainings(other, second, LocalEngine()), [job], quiet)
    assert len(other.attempts(second)) == 1
    assert states(other, job) == undisturbed[job.digest]
    assert not trained.reused
    other.close()


def test_two_runs_side_by_side_do_no_chunk_twice(home: tuple[Registry, int], tmp_path: Path) -> None:
    registry, run = home
    other, second = begun(tmp_path, "other")
    jobs = jobs_of(1, 2)
    lines = [trainings(registry, run, LocalEngine()), trainings(other, second, LocalEngine())]
    for line, job in zip(lines, jobs, strict=True):
        line.want(job)
        line.collect()
    for line in lines:
        for job in jobs:
            line.want(job)
    while any(line.busy for line in lines):
        for line in lines:
            line.collect(0.0)
    tries = [*registry.attempts(run), *registry.attempts(second)]
    assert {one.outcome for one in tries} == {"committed"}
    assert len(tries) == len({one.key for one in tries}) == 6
    assert {one.run_id for one in tries} == {run, second}
    other.close()


def test_a_finished_training_is_not_done_again(home: tuple[Registry, int]) -> None:
    registry, run = home
    jobs = jobs_of(3, steps=4096)
    (first,) = train(trainings(registry, run, LocalEngine()), jobs, quiet)
    (again,) = train(trainings(registry, run, LocalEngine()), jobs, quiet)
    assert (first.reused, again.reused) == (False, True)
    assert first.files == again.files
    assert len(registry.attempts(run)) == 1


def test_what_is_stopped_trains_no_more_and_may_go_on_later(home: tuple[Registry, int]) -> None:
    registry, run = home
    (job,) = jobs_of(1)
    line = trainings(registry, run, LocalEngine())
    line.want(job, 1)
    finish(line)
    line.want(job)
    line.stop(job)
    assert not line.busy
    assert line.collect(0.0) == []
    assert line.progress(job).chunks == 1
    assert line.want(job, 2).of == 3
    finish(line)
    assert line.policy(job, 1) != line.policy(job)


@pytest.mark.slow
def test_ray_goes_on_after_a_worker_was_killed_in_the_middle_of_a_chunk(
    home: tuple[Registry, int], tmp_path: Path
) -> None:
    registry, run = home
    jobs = jobs_of(1, 2, steps=65_536, chunk_steps=8192)
    killed: list[int] = []
    engine = make_engine("ray", tmp_path)

    def kill_once(progress: list[Progress]) -> None:
        if not killed and progress[0].chunks >= 2:
            busy = [one for one in psutil.Process().children(recursive=True) if "chunk" in title(one)]
            killed.extend(one.pid for one in busy[:1])
            for one in busy[:1]:
                one.kill()

    try:
        train(trainings(registry, run, engine), jobs, kill_once)
    finally:
        engine.close()
    assert killed
    lost = [one for one in registry.attempts(run) if one.outcome == "lost"]
    assert len(lost) == 1
    assert "WorkerCrashedError" in lost[0].message
    alone, second = begun(tmp_path / "alone")
    train(trainings(alone, second, LocalEngine()), jobs, quiet)
    for job in jobs:
        assert states(registry, job) == states(alone, job)
    alone.close()


def title(process: Any) -> str:
    """What a Ray worker says it does."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_seeds_and_recipes_have_identities_of_their_own() -> None:
    digests = [job.digest for job in (*jobs_of(1, 2), *jobs_of(1, gamma=0.9))]
    assert len(set(digests)) == 3
    assert [job.digest for job in jobs_of(1)] == digests[:1]


def test_a_call_costs_processor_time_and_names_its_worker() -> None:
    made = perform(lambda: (b"", sum(range(10**6))), ())
    assert made.cpu_seconds > 0
    assert str(psutil.Process().pid) in made.worker
    assert Call("c", lambda: (None, None), ()).resources.bundle() == {"CPU": 1.0}
