"""A training survives kills and ends with the same weights."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from workgym.factory.pipeline import Pipeline
from workgym.factory.plan import Job, plan
from workgym.factory.train import Progress, TrainingFolder, train, work

TINY = {"steps": 24_576, "chunk_steps": 4096, "lanes": 64, "n_steps": 32, "minibatch": 512}


def pipeline(*seeds: int, **recipe: object) -> Pipeline:
    return Pipeline.model_validate(
        {
            "name": "tiny",
            "env": "workgym/Orders-v0",
            "training": {"seeds": seeds, "recipe": {**TINY, **recipe}},
            "variants": [{"name": "plain"}],
            "gates": {"improvement": {}},
        }
    )


def final_state(root: Path, job: Job) -> str:
    folder = TrainingFolder(root, job)
    return hashlib.sha256(folder.read(job.recipe.chunks)).hexdigest()


def quiet(_: list[Progress]) -> None:
    """Watch nothing."""


def test_a_killed_process_continues_to_the_same_weights(tmp_path: Path) -> None:
    (job,) = plan(pipeline(1))
    work(tmp_path / "undisturbed", job)
    disturbed = tmp_path / "disturbed"
    program = (
        "import sys; from pathlib import Path; from workgym.factory.train import work; "
        "from tests_pipeline import plan, pipeline; work(Path(sys.argv[1]), plan(pipeline(1))[0])"
    )
    (tmp_path / "tests_pipeline.py").write_text(Path(__file__).read_text())
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    child = subprocess.Popen([sys.executable, "-c", program, str(disturbed)], env=environ)
    wait_for_chunk(TrainingFolder(disturbed, job), 2)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert 0 < TrainingFolder(disturbed, job).last() < job.recipe.chunks
    work(disturbed, job)
    assert final_state(disturbed, job) == final_state(tmp_path / "undisturbed", job)
    assert TrainingFolder(disturbed, job).progress().attempts == 2


def wait_for_chunk(folder: TrainingFolder, chunk: int) -> None:
    deadline = time.monotonic() + 120
    while folder.last() < chunk:
        assert time.monotonic() < deadline, "the training does not get on"
        time.sleep(0.02)


@pytest.mark.slow
def test_ray_takes_a_killed_worker_up_again_from_its_last_chunk(tmp_path: Path) -> None:
    jobs = plan(pipeline(1, 2, steps=65_536))
    for job in jobs:
        work(tmp_path / "undisturbed", job)
    killed: list[int] = []

    def kill_once(progress: list[Progress]) -> None:
        folder = TrainingFolder(tmp_path / "disturbed", jobs[0])
        if not killed and 2 <= folder.last() < jobs[0].recipe.chunks - 2:
            killed.append(folder.pids()[-1])
            psutil.Process(killed[0]).kill()

    trained = train(tmp_path / "disturbed", jobs, "ray", kill_once)
    assert killed
    assert trained[0].progress.attempts == 2
    assert trained[1].progress.attempts == 1
    for job in jobs:
        assert final_state(tmp_path / "disturbed", job) == final_state(tmp_path / "undisturbed", job)


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    jobs = plan(pipeline(3, steps=4096))
    first = train(tmp_path, jobs, "local", quiet)
    again = train(tmp_path, jobs, "local", quiet)
    assert (first[0].reused, again[0].reused) == (False, True)
    assert first[0].files == again[0].files
    assert again[0].progress.attempts == 1


def test_seeds_and_recipes_have_identities_of_their_own() -> None:
    digests = [job.digest for job in (*plan(pipeline(1, 2)), *plan(pipeline(1, gamma=0.9)))]
    assert len(set(digests)) == 3
    assert [job.digest for job in plan(pipeline(1))] == digests[:1]


def test_a_half_written_chunk_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = plan(pipeline(1))
    folder = TrainingFolder(tmp_path, job)
    folder.open()
    folder.write(1, b"one", {"steps": 1})

    def die(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(OSError, match="disk full"):
        folder.write(2, b"two", {"steps": 2})
    assert (folder.last(), folder.read(1)) == (1, b"one")
