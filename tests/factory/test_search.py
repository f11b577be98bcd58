"""A search is a pure function of its specification: killed anywhere, it goes on to the same winner."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from workgym.agents.policy import files_digest
from workgym.factory import evaluate
from workgym.factory.engines import Finished, LocalEngine
from workgym.factory.foreman import Foreman
from workgym.factory.pipeline import Pipeline, read_pipeline
from workgym.factory.plan import Job, plan
from workgym.factory.registry import open_registry
from workgym.factory.run import run
from workgym.factory.search import Bench, Search, searches
from workgym.factory.space import SearchSpec
from workgym.factory.teachers import train_in_turns
from workgym.factory.train import CHUNK, Progress, Trained, Trainings
from workgym.factory.trials import Trial, trials_of
from workgym.services.kernel import BadInput

TINY = {
    "steps": 6144,
    "chunk_steps": 2048,
    "lanes": 32,
    "n_steps": 32,
    "minibatch": 512,
    "net": [8],
    "final_rate": 1.0,
}
SEARCH = {
    "space": {
        "learning_rate": {"low": 1e-4, "high": 3e-2, "log": True},
        "gamma": {"choices": [0.9, 0.95]},
    },
    "trials": 6,
    "batch": 3,
    "rungs": [1, 2],
    "per_family": 1,
    "best": 2,
}
PIPELINE = {
    "name": "tiny",
    "env": "workgym/Orders-v0",
    "suite": {"per_family": 1},
    "training": {"recipe": TINY},
    "gates": {"improvement": {}},
}


def pipeline(search: dict[str, Any] | None = None, **variant: Any) -> Pipeline:
    whole = {"name": "tuned", "search": {**SEARCH, **(search or {})}, **variant}
    return Pipeline.model_validate({**PIPELINE, "variants": [whole]})


class Impatient(LocalEngine):
    """Is interrupted before the call with this number."""

    def __init__(self, patience: int = 10**9) -> None:
        super().__init__()
        self.patience = patience
        self.calls: list[str] = []

    def wait(self, timeout: float) -> list[Finished]:
        if self._queue:
            if len(self.calls) == self.patience:
                raise KeyboardInterrupt
            self.calls.append(self._queue[0][1].function.__name__)
        return super().wait(timeout)


class Silent:
    """Hears how a run goes on, and says nothing."""

    def stage(self, text: str) -> None:
        """Nothing."""

    def training(self, progress: list[Progress]) -> None:
        """Nothing."""


@contextmanager
def bench(home: Path, engine: LocalEngine) -> Iterator[Bench]:
    versions = {"env_id": "workgym/Orders-v0", "env_version": "1", "code_version": "2"}
    with open_registry(home) as registry:
        run_id = registry.open_run("tiny", {"name": "tiny"}, **versions).id
        foreman = Foreman(registry, run_id, engine)
        try:
            yield Bench(registry, run_id, foreman, Trainings(registry, foreman), lambda _: None)
            registry.finish_run(run_id)
        except KeyboardInterrupt:
            registry.abandon_run(run_id, "interrupted")
            raise


def found(home: Path, engine: LocalEngine) -> tuple[list[str], tuple[Trial, ...], list[str]]:
    """The winners, all trials, and the SHA-256 of every state of the winners."""
    with bench(home, engine) as desk:
        (search,) = searches(pipeline())
        jobs = desk.candidates(search)
        trials = trials_of(desk.registry.database, desk.run_id)["tuned"]
        states = [desk.trainings.state(job, k) for job in jobs for k in (1, 2)]
    return [job.name for job in jobs], trials, [hashlib.sha256(state).hexdigest() for state in states]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return found(tmp_path_factory.mktemp("undisturbed"), Impatient())


@pytest.mark.parametrize("patience", [4, 11, 17])
def test_an_interrupted_search_goes_on_to_the_same_winners(
    tmp_path: Path, patience: int, undisturbed: Any
) -> None:
    first, second = Impatient(patience), Impatient()
    with pytest.raises(KeyboardInterrupt):
        found(tmp_path, first)
    assert found(tmp_path, second) == undisturbed
    assert len(first.calls) + len(second.calls) == 20, "10 chunks and 10 comparisons, none of them twice"


def test_another_run_finds_every_trial_done(tmp_path: Path, undisturbed: Any) -> None:
    found(tmp_path, Impatient())
    again = Impatient()
    assert found(tmp_path, again) == undisturbed
    assert again.calls == []


def test_a_pruned_trial_trains_no_more(tmp_path: Path) -> None:
    with bench(tmp_path, Impatient()) as desk:
        (search,) = searches(pipeline())
        for one in desk.tried(search):
            assert one.job is not None
            done = [task.key.seq for task in desk.registry.committed(CHUNK, one.job.digest)]
            assert done == list(range(one.trial.chunks))
            assert (one.trial.chunks == 1) == (one.trial.state == "pruned")


def test_a_search_plays_scenarios_of_the_train_split_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits: list[str] = []
    lanes = evaluate._lanes

    def noting(env_id: str, kwargs: Any, split: str, backend: str, n: int) -> Any:
        splits.append(split)
        return lanes(env_id, kwargs, split, backend, n)

    monkeypatch.setattr(evaluate, "_lanes", noting)
    with bench(tmp_path, Impatient()) as desk:
        desk.candidates(*searches(pipeline({"trials": 2})))
    assert set(splits) == {"train"}


def test_the_gates_count_those_that_a_search_hands_over(tmp_path: Path) -> None:
    with open_registry(tmp_path) as registry, closing(LocalEngine()) as engine:
        run(pipeline(seeds=[0, 1]), registry, engine, Silent())
        versions = registry.list_versions("tiny")
        counted = [
            verdict.numbers["candidates"]
            for version in versions
            for verdict in registry.verdicts(version)
            if verdict.gate == "improvement"
        ]
        assert counted == [4] * 4
        done = [len(registry.committed(CHUNK, version.lineage["training"])) for version in versions]
        assert done == [3] * 4
        assert len(trials_of(registry.database, 1)["tuned"]) == 6


@pytest.mark.slow
def test_a_killed_process_is_followed_by_one_that_ends_with_the_same_candidates(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(_toml())
    assert read_pipeline(path).digest() == pipeline().digest()
    command = [
        str(Path(sys.executable).with_name("factory")),
        "run",
        str(path),
        "--engine",
        "local",
        "--json",
    ]
    told: list[Any] = []
    for name, kill in (("undisturbed", False), ("disturbed", True)):
        home = tmp_path / name
        environ = {**os.environ, "WORKGYM_HOME": str(home)}
        if kill:
            child = subprocess.Popen(
                command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            _wait_for_trials(home, 3)
            child.send_signal(signal.SIGKILL)
            child.wait()
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=True)
        with open_registry(home) as registry:
            versions = registry.list_versions("tiny")
            runs = [one.id for one in registry.runs()]
            trials = trials_of(registry.database, 1)
        assert runs == [1]
        told.append((json.loads(done.stdout)["sentence"], [v.artifact_digest for v in versions], trials))
    assert told[0] == told[1]


def _wait_for_trials(home: Path, number: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (home / "registry.db").exists():
            with open_registry(home) as registry:
                if registry.runs() and len(trials_of(registry.database, 1).get("tuned", ())) > number:
                    return
        time.sleep(0.05)
    raise AssertionError("the search does not get on")


def _toml() -> str:
    def lines(table: dict[str, Any]) -> str:
        return "\n".join(f"{name} = {json.dumps(value)}" for name, value in table.items())

    flat = {name: value for name, value in SEARCH.items() if name != "space"}
    space = "[variants.search.space]\ngamma = { choices = [0.9, 0.95] }\n"
    space += "learning_rate = { low = 1e-4, high = 3e-2, log = true }\n"
    head = 'name = "tiny"\nenv = "workgym/Orders-v0"\n[suite]\nper_family = 1\n[gates.improvement]\n'
    variant = f'[[variants]]\nname = "tuned"\n[variants.search]\n{lines(flat)}\n{space}'
    return f"{head}[training.recipe]\n{lines(TINY)}\n{variant}"


def test_searched_variants_are_not_planned_but_others_are() -> None:
    beside = {"name": "plain"}
    whole = Pipeline.model_validate({**PIPELINE, "variants": [beside, {"name": "tuned", "search": SEARCH}]})
    assert [job.name for job in plan(whole)] == ["plain/0"]
    assert [search.variant.name for search in searches(whole)] == ["tuned"]


def test_who_learns_from_a_searched_variant_learns_from_its_best() -> None:
    student = {"name": "student", "teacher": "variant:tuned", "recipe": {"algorithm": "distil"}}
    both = [{"name": "tuned", "search": SEARCH}, student]
    whole = Pipeline.model_validate({**PIPELINE, "training": {}, "variants": both})
    search = Search(whole, whole.variants[0], SearchSpec.model_validate({**SEARCH, "rungs": [1]}))
    winners = [search.job(4, {"gamma": 0.9}), search.job(2, {"gamma": 0.95})]

    def trained(jobs: Sequence[Job]) -> list[Trained]:
        return [
            Trained(job, {"policy.json": job.name.encode()}, Progress(job, 1, 1, 1, ()), False)
            for job in jobs
        ]

    *found, last = train_in_turns(whole, {}, winners, trained, lambda _: None)[::-1]
    assert [one.job.name for one in found] == ["tuned.2/0", "tuned.4/0"]
    assert last.job.recipe.to_dict()["teacher"] == files_digest({"policy.json": b"tuned.4/0"})


@pytest.mark.parametrize(
    ("search", "variant", "sentence"),
    [
        (
            {"rungs": [1, 4]},
            {},
            "expected trainings as long as the last rung of tuned, 4 chunks, found one of 3",
        ),
        ({"space": {"gama": {"low": 0.1, "high": 0.9}}}, {}, "did you mean 'gamma'"),
        ({"engine": "pbt", "space": {"net": {"choices": [[8], [16]]}}}, {}, "that pbt may move named 'net'"),
        ({}, {"teacher": "champion"}, "expected a teacher or a search of variant tuned, found both"),
        ({}, {"preset": "proft"}, "did you mean 'profit'"),
    ],
)
def test_a_search_that_cannot_work_is_refused_before_anything_is_trained(
    search: dict[str, Any], variant: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        searches(pipeline(search, **variant))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('engin = "pbt"', "did you mean 'engine'"),
        ("space.gamma.lo = 1", "no field named 'lo'; did you mean 'low'"),
        ("trials = 1", "variants.0.search.trials"),
    ],
)
def test_a_wrong_field_in_the_file_is_named(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(
        'name = "tiny"\nenv = "workgym/Orders-v0"\n[[variants]]\nname = "tuned"\n[variants.search]\n'
        f"space.epochs = {{ low = 1, high = 4 }}\n{line}\n[gates.improvement]\n"
    )
    with pytest.raises(BadInput, match=sentence):
        read_pipeline(path)
