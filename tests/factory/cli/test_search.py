"""`factory trials` shows what a search tried, and says what is wrong in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workgym.factory.registry import open_registry
from workgym.factory.trials import Trial, record_trials

TRIALS = [
    Trial(0, {"gamma": 0.9, "net": [8]}, "a" * 64, 1, 512.25, "pruned"),
    Trial(1, {"gamma": 0.95, "net": [16]}, "b" * 64, 2, 612.5, "complete"),
    Trial(2, {"gamma": 2.0, "net": [16]}, "", 0, None, "pruned"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run that searched, and one that did not."""
    home = tmp_path_factory.mktemp("workspace")
    versions = {"env_id": "workgym/Orders-v0", "env_version": "1", "code_version": "2"}
    with open_registry(home) as registry:
        for name in ("searched", "plain"):
            run = registry.start_run(name, {"name": name}, **versions)
            if name == "searched":
                record_trials(registry.database, run.id, "tuned", TRIALS)
                record_trials(registry.database, run.id, "small", TRIALS[:1])
            registry.finish_run(run.id)
    return home


def factory(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "WORKGYM_HOME": str(home)}
    command = [str(Path(sys.executable).with_name("factory")), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)


def test_trials_are_told_in_full_as_json(home: Path) -> None:
    told = json.loads(factory(home, "trials", "1", "--variant", "tuned", "--json").stdout)
    assert told == [{"variant": "tuned", **vars(trial)} for trial in TRIALS]


def test_the_table_begins_with_who_came_furthest(home: Path) -> None:
    told = factory(home, "trials", "1").stdout
    assert "tuned: 3 trials, 3 chunks" in told
    assert told.index("tuned.1") < told.index("tuned.0") < told.index("tuned.2")
    assert "small.0" in told
    assert "612.5" in told


def test_a_run_without_a_search_says_how_to_have_one(home: Path) -> None:
    assert "[variants.search]" in factory(home, "trials", "2").stdout
    assert json.loads(factory(home, "trials", "2", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["7"], "no run 7; the registry has 2"),
        (["one"], "Invalid value for"),
        (["0"], "Invalid value for"),
        ([], "Missing argument"),
        (["1", "--variant", "tuend"], "no search in run 1 named 'tuend'; did you mean 'tuned'?"),
        (["1", "--varient", "tuned"], "No such option"),
    ],
)
def test_wrong_arguments_get_one_line(home: Path, arguments: list[str], sentence: str) -> None:
    done = factory(home, "trials", *arguments)
    assert done.returncode == 2, done.stderr
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
