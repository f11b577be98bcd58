"""What Ray Tune's population finds is a schedule that replays without Tune, to the same bytes."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import ray

from workgym.agents.training import initial_state, train_chunk
from workgym.factory.engines import LocalEngine
from workgym.factory.foreman import Foreman
from workgym.factory.pipeline import Pipeline
from workgym.factory.ray_engine import RayEngine
from workgym.factory.registry import open_registry
from workgym.factory.schedules import POPULATION
from workgym.factory.search import Bench, searches
from workgym.factory.space import SearchSpec
from workgym.factory.train import Trainings, train
from workgym.factory.trials import trials_of
from workgym.factory.tune import Member, Population, _within, alone

BASE = {"steps": 6144, "chunk_steps": 2048, "lanes": 32, "n_steps": 32, "minibatch": 512, "net": [8]}
SEARCH = {
    "engine": "pbt",
    "space": {
        "learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
        "epochs": {"low": 1, "high": 4},
        "gamma": {"choices": [0.9, 0.95]},
    },
    "trials": 2,
    "rungs": [1, 2],
    "per_family": 1,
}
PEOPLE = Population(BASE, "workgym/Orders-v0", {}, seed=4, per_family=1, stops=(1, 2, 3))
BOLD, SHY = {"learning_rate": 1e-2, "gamma": 0.95}, {"learning_rate": 1e-3, "gamma": 0.9}


def sha(state: bytes) -> str:
    return hashlib.sha256(state).hexdigest()


def replayed(recipe: Any) -> str:
    state = initial_state(recipe)
    for k in range(recipe.chunks):
        state, _ = train_chunk(recipe, k, state)
    return sha(state)


def member(changes: Mapping[str, Any]) -> Member:
    """A member as Tune holds it, without a process of its own."""
    one = Member.__new__(Member)
    one.setup(dict(changes), PEOPLE)
    return one


def copied(one: Member, from_other: Member, changes: Mapping[str, Any], folder: Path) -> None:
    """What Tune does to a member that falls behind."""
    folder.mkdir()
    from_other.save_checkpoint(str(folder))
    assert one.reset_config(dict(changes))
    one.load_checkpoint(str(folder))


def test_a_member_that_copied_another_has_the_other_in_its_line(tmp_path: Path) -> None:
    bold, shy = member(BOLD), member(SHY)
    first = bold.step(), shy.step()
    assert [one["chunks"] for one in first] == [1, 1]
    parent = sha(bold.state)
    nudged = {**BOLD, "learning_rate": 8e-3}
    copied(shy, bold, nudged, tmp_path / "one")
    ends = [shy.step(), shy.step()]
    assert [one["done"] for one in ends] == [False, True]
    schedule = PEOPLE.schedule(shy.lineage)
    assert [(stage.start, stage.changes) for stage in schedule.stages] == [(0, BOLD), (1, nudged)]
    assert schedule.stages[1].parent == parent
    assert replayed(schedule) == sha(shy.state)


def test_a_member_that_goes_on_alone_is_its_recipe(tmp_path: Path) -> None:
    alone = member(SHY)
    alone.step()
    copied(alone, alone, SHY, tmp_path / "one")
    alone.step()
    alone.step()
    schedule = PEOPLE.schedule(alone.lineage)
    assert len(schedule.stages) == 1
    assert replayed(PEOPLE.recipe(SHY)) == replayed(schedule) == sha(alone.state)


def test_what_tune_moves_stays_in_its_range() -> None:
    spec = SearchSpec.model_validate(SEARCH)
    assert _within(spec, "learning_rate", 2e-2) == 1e-2
    assert _within(spec, "epochs", 0) == 1
    assert isinstance(_within(spec, "epochs", 9), int)
    assert _within(spec, "gamma", 0.9) == 0.9


@pytest.mark.slow
def test_a_population_is_trained_once_and_its_best_schedule_replays_to_the_same_bytes(tmp_path: Path) -> None:
    pipeline = Pipeline.model_validate(
        {
            "name": "tiny",
            "env": "workgym/Orders-v0",
            "training": {"seeds": [4, 5], "recipe": BASE},
            "variants": [{"name": "bred", "search": SEARCH}],
            "gates": {"improvement": {}},
        }
    )
    versions = {"env_id": "workgym/Orders-v0", "env_version": "1", "code_version": "2"}
    with open_registry(tmp_path) as registry, closing(LocalEngine()) as engine:
        run_id = registry.open_run("tiny", {"name": "tiny"}, **versions).id
        foreman = Foreman(registry, run_id, engine)
        line = Trainings(registry, foreman)
        bench = Bench(registry, run_id, foreman, line, lambda _: None)
        (search,) = searches(pipeline)
        jobs = bench.candidates(search)
        assert not ray.is_initialized()
        assert [job.name for job in jobs] == ["bred.0/4", "bred.0/5"]
        trials = trials_of(registry.database, run_id)["bred"]
        assert [(trial.chunks, trial.state) for trial in trials] == [(3, "complete")] * 2
        assert trials[0].value >= trials[1].value  # type: ignore[operator]  # complete trials have values
        assert bench.candidates(search) == jobs, "the second time it is found, not bred"
        (task,) = [task for task in registry.tasks(run_id) if task.kind == POPULATION]
        assert task.token == 1
        best = registry.committed(POPULATION, task.grp)[0].result["survivors"][0]
        train(line, jobs, lambda _: None)
        assert sha(line.state(jobs[0])) == best["final"]
        assert sha(line.state(jobs[1])) != best["final"]
        for stage in jobs[0].recipe.stages[1:]:  # type: ignore[union-attr]  # it is a schedule
            assert sha(line.state(jobs[0], stage.start)) == stage.parent


def test_nothing_of_the_process_is_changed_for_longer_than_tune_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(RayEngine, "begin", lambda engine: None)
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "1")
    dice = random.getstate()
    with alone(3, tmp_path):
        random.random()
    assert random.getstate() == dice
    assert os.environ["RAY_AIR_NEW_OUTPUT"] == "1"
