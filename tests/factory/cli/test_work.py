"""Commands on runs show where they stand, stop them and go on, and refuse what cannot be."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from workgym.factory.cli import main
from workgym.factory.registry import Registry, open_registry
from workgym.factory.work import Done, Key, Lease

SPEC = {"name": "tiny"}
VERSIONS = {"env_id": "workgym/Orders-v0", "env_version": "1", "code_version": "2"}
RECIPE = {"env_id": "workgym/Orders-v0", "algorithm": "maskable-ppo", "seed": 1}


@dataclass(frozen=True)
class Told:
    returncode: int
    stdout: str
    stderr: str


def factory(home: Path, *arguments: str) -> Told:
    """The real command in this process: starting one takes seconds."""
    out, err = io.StringIO(), io.StringIO()
    given = {"WORKGYM_HOME": str(home), "WORKGYM_ACTOR": "ann"}
    with (
        mock.patch.dict(os.environ, given),
        mock.patch.object(sys, "argv", ["factory", *arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return Told(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A workspace with a run that this process drives: one chunk committed, one in work, one lost."""
    with open_registry(tmp_path) as registry:
        begin(registry)
    return tmp_path


def begin(registry: Registry) -> None:
    run = registry.open_run("tiny", SPEC, **VERSIONS).id
    row = registry.start_training(run, "small", algorithm="maskable-ppo", seed=1, recipe=RECIPE)
    from workgym.agents.training import make_recipe
    from workgym.factory.plan import training_digest

    group = training_digest(make_recipe(row.recipe), VERSIONS["code_version"])
    keys = [Key("chunk", group, seq) for seq in range(2)]
    one, other = registry.lease(run, keys)
    assert isinstance(one, Lease)
    assert isinstance(other, Lease)
    digest = registry.artifacts.put_bytes(b"state")
    registry.commit(run, [Done(one, digest, {"report": {}}, 1.0, 1.0, "here:1")])
    registry.lose(run, other, "WorkerCrashedError: SIGKILL")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["resume"], 2, "Missing argument 'run'"),
        (["resume", "one"], 2, "should be a valid integer"),
        (["resume", "7"], 2, "no run 7; the registry has 1"),
        (["resume", "1", "--engine", "rya"], 2, "did you mean 'ray'"),
        (["resume", "1", "--engine", "local", "--address", "head:6379"], 2, "with --engine ray alone"),
        (["resume", "1", "--engine", "local"], 2, "was written by hand"),
        (["retry", "7"], 2, "no run 7"),
        (["retry", "1"], 5, "run 1 is running, expected failed or abandoned"),
        (["cancel", "1"], 2, "Missing option '--reason'"),
        (["cancel", "1", "--reason", " "], 2, "expected why the run is cancelled"),
        (["cancel", "7", "--reason", "lunch"], 2, "no run 7"),
        (["status", "7"], 2, "no run 7"),
        (["status", "0"], 2, "should be greater than or equal to"),
        (["watch", "7"], 2, "no run 7"),
        (["watch", "1", "--every", "0"], 2, "should be greater than or equal to"),
        (["logs"], 2, "Missing argument 'run'"),
        (["logs", "7"], 2, "no run 7"),
        (["logs", "1", "--training", "smal/1"], 2, "did you mean 'small/1'"),
        (["--database", "nonsense", "models"], 2, "expected the URL of a database"),
        (["--database", "oracl://here", "models"], 2, "no driver for"),
        (["--artifacts", "s4://here", "models"], 2, "expected a folder or a URL of fsspec"),
        (["chaos", "--kills", "0"], 2, "should be greater than or equal to"),
        (["chaos", "nothing.toml"], 2, "no pipeline file at nothing.toml"),
    ],
)
def test_wrong_arguments_get_one_line_and_a_stable_code(
    home: Path, arguments: list[str], code: int, sentence: str
) -> None:
    with open_registry(home) as registry:
        done = factory(home, *arguments)
        assert registry.runs()[0].id == 1
    assert done.returncode == code, done.stderr
    assert sentence in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["status", "watch"])
def test_an_empty_workspace_says_how_to_begin(tmp_path: Path, command: str) -> None:
    done = factory(tmp_path, command)
    assert (done.returncode, "factory run pipelines/orders.toml" in done.stderr) == (2, True)


def test_status_tells_queue_driver_workers_and_what_would_be_done_again(home: Path) -> None:
    told = json.loads(factory(home, "status", "--json").stdout)
    assert told["queue"] == {"leased": 0, "waiting": 1, "committed": 1, "failed": 0}
    assert told["workers"] == {"here:1": 1}
    assert told["driver"]["epoch"] == 1
    (training,) = told["trainings"]
    assert (training["name"], training["chunks"], training["again"], training["bad"]) == ("small/1", 1, 1, 1)
    text = factory(home, "status", "1").stdout
    assert "1 waiting, 1 committed" in text
    assert f":{os.getpid()}, run 1, epoch 1" in text


def test_logs_tell_every_try(home: Path) -> None:
    tries = json.loads(factory(home, "logs", "1", "--training", "small/1", "--json").stdout)
    assert [one["outcome"] for one in tries] == ["committed", "lost"]
    assert tries[1]["message"] == "WorkerCrashedError: SIGKILL"
    assert "WorkerCrashedError" in factory(home, "logs", "1").stdout


def test_a_cancelled_run_says_by_whom_and_why_and_watching_it_ends(home: Path) -> None:
    done = factory(home, "cancel", "1", "--reason", "the wrong history", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["status"], told["message"]) == ("abandoned", "cancelled by ann: the wrong history")
    again = factory(home, "cancel", "1", "--reason", "twice")
    assert again.returncode == 5
    (line,) = factory(home, "watch", "1", "--json").stdout.splitlines()
    assert json.loads(line)["run"]["message"] == "cancelled by ann: the wrong history"
