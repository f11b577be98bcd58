"""The line, end to end: a candidate that earns it is promoted, a worse one is not, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from workgym.factory.registry import Registry, open_registry
from workgym.factory.states import RunStatus

pytestmark = pytest.mark.slow

PIPELINE = """
name = "orders"
env = "workgym/Orders-v0"
[suite]
per_family = 24
[training.recipe]
{recipe}
[[variants]]
name = "{variant}"
preset = "profit"
[gates.improvement]
[gates.no-harm]
tolerance = 0.5
"""
GOOD = "steps = 786_432\nchunk_steps = 262_144"
WORSE = "steps = 16_384\nchunk_steps = 16_384\nlanes = 256\nminibatch = 1024"


def factory(home: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the real command."""
    environ = {**os.environ, "WORKGYM_HOME": str(home), "WORKGYM_ACTOR": "ann"}
    command = [str(Path(sys.executable).with_name("factory")), *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=500, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def write(folder: Path, variant: str, recipe: str) -> str:
    path = folder / f"{variant}.toml"
    path.write_text(PIPELINE.format(variant=variant, recipe=recipe))
    return str(path)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace where one run has promoted the first champion."""
    home = tmp_path_factory.mktemp("workspace")
    told = json.loads(factory(home, "run", write(home, "good", GOOD), "--engine", "local", "--json").stdout)
    assert told["releases"][0]["promoted"] is not None, told["sentence"]
    return home


@pytest.fixture
def registry(home: Path) -> Any:
    with open_registry(home) as registry:
        yield registry


def test_the_first_champion_beat_the_best_rule_with_an_interval_above_zero(registry: Registry) -> None:
    champion = registry.champion("orders")
    assert champion is not None
    verdicts = {verdict.gate: verdict for verdict in registry.verdicts(champion)}
    assert verdicts["improvement"].numbers["low"] > 0  # type: ignore[operator]  # a number in this gate
    assert "bootstrap" in verdicts
    best = registry.baselines(champion.run_id)[0]
    assert verdicts["improvement"].champion == best.name


def test_a_worse_variant_keeps_the_champion_and_the_reason_is_one_sentence(
    home: Path, registry: Registry
) -> None:
    before = registry.champion("orders")
    told = json.loads(factory(home, "run", write(home, "worse", WORSE), "--engine", "local", "--json").stdout)
    (released,) = told["releases"]
    assert released["promoted"] is None
    assert released["opponent"] == "champion v1"
    assert told["sentence"].startswith(
        "orders version 1 stays: the best of 1, worse/0, improvement: does not beat"
    )
    assert "\n" not in told["sentence"]
    assert registry.champion("orders") == before
    assert registry.runs()[0].message == told["sentence"]


def test_the_same_run_again_trains_nothing_and_says_identical(home: Path, registry: Registry) -> None:
    told = json.loads(factory(home, "run", str(home / "good.toml"), "--engine", "local", "--json").stdout)
    (released,) = told["releases"]
    (candidate,) = released["candidates"]
    assert candidate["reused"]
    assert released["promoted"] is None
    assert "IDENTICAL" in told["sentence"]


def test_a_version_that_did_not_pass_cannot_be_promoted_by_hand(home: Path) -> None:
    factory(home, "run", write(home, "worse", WORSE), "--engine", "local")
    worse = json.loads(factory(home, "show", "orders", "--json").stdout)["versions"][0]
    refused = factory(home, "promote", "orders", str(worse["version"]), check=False)
    assert refused.returncode == 5
    assert "did not pass gate" in refused.stderr


def test_gating_a_bad_version_exits_with_three(home: Path) -> None:
    factory(home, "run", write(home, "worse", WORSE), "--engine", "local")
    worse = json.loads(factory(home, "show", "orders", "--json").stdout)["versions"][0]
    assert factory(home, "gate", "orders", str(worse["version"]), check=False).returncode == 3


def test_evaluate_prints_every_family_on_the_sealed_suite(home: Path) -> None:
    told = json.loads(
        factory(home, "evaluate", "orders", "--split", "audit", "--per-family", "4", "--json").stdout
    )
    assert len(told[0]["families"]) == 6
    assert {"cheapest-feasible"} < {card["policy"] for card in told}


def started(home: Path, path: str) -> tuple[subprocess.Popen[bytes], int]:
    """A run in a process of its own that has finished two chunks, and the run's number."""
    environ = {**os.environ, "WORKGYM_HOME": str(home)}
    command = [str(Path(sys.executable).with_name("factory")), "run", path, "--engine", "local"]
    before = home.exists() and open_and_ask(home, lambda registry: len(registry.runs()))
    child = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        run = open_and_ask(home, lambda registry: registry.runs()[0].id)
        if run > before and done_chunks(home, run) >= 2:
            return child, run
        time.sleep(0.1)
    child.kill()
    raise AssertionError("the run does not get on")


def open_and_ask(home: Path, question: Any) -> Any:
    with open_registry(home) as registry:
        return question(registry)


def done_chunks(home: Path, run: int) -> int:
    tasks = open_and_ask(home, lambda registry: registry.tasks(run))
    return sum(task.status == "committed" for task in tasks)


CHUNKS = 16


def long(gamma: float) -> str:
    """A recipe of its own: equal ones share their chunks."""
    steps = f"steps = {CHUNKS * 8192}\nchunk_steps = 8192\ngamma = {gamma}"
    return f"{steps}\nlanes = 64\nn_steps = 32\nminibatch = 512"


@pytest.mark.parametrize(
    ("number", "message", "gamma"),
    [(signal.SIGKILL, "ended without a word", 0.91), (signal.SIGTERM, "interrupted", 0.92)],
)
def test_a_run_that_is_stopped_goes_on_with_the_same_command(
    home: Path, number: signal.Signals, message: str, gamma: float
) -> None:
    path = write(home, f"long-{number.name.lower()}", long(gamma))
    child, run = started(home, path)
    child.send_signal(number)
    assert child.wait(60) == (-number if number == signal.SIGKILL else 130)
    assert "orders" in factory(home, "models").stdout
    stopped = open_and_ask(home, lambda registry: registry.run(run))
    assert stopped.status is RunStatus.ABANDONED
    assert message in stopped.message
    done = done_chunks(home, run)
    told = json.loads(factory(home, "run", path, "--engine", "local", "--json").stdout)
    assert told["run"] == run
    attempts = open_and_ask(home, lambda registry: registry.attempts(run))
    assert 2 <= done < CHUNKS
    assert [one.outcome for one in attempts].count("committed") == CHUNKS
    assert len({one.owner for one in attempts}) == 2


def test_a_second_scheduler_of_a_live_run_is_refused(home: Path) -> None:
    path = write(home, "twice", long(0.93))
    child, run = started(home, path)
    try:
        refused = factory(home, "run", path, "--engine", "local", check=False)
        assert refused.returncode == 5
        assert f"run {run} is driven by" in refused.stderr
    finally:
        child.terminate()
        child.wait()


def test_a_cancelled_run_stops_within_seconds_and_can_be_resumed(home: Path) -> None:
    path = write(home, "cancelled", long(0.94))
    child, run = started(home, path)
    factory(home, "cancel", str(run), "--reason", "lunch")
    assert child.wait(30) == 5
    assert open_and_ask(home, lambda registry: registry.run(run)).message == "cancelled by ann: lunch"
    told = json.loads(factory(home, "resume", str(run), "--engine", "local", "--json").stdout)
    assert told["run"] == run
    over = factory(home, "resume", str(run), "--engine", "local", check=False)
    assert (over.returncode, "finished" in over.stderr) == (5, True)


def test_a_tampered_champion_is_refused_with_the_way_out(home: Path, registry: Registry) -> None:
    champion = registry.champion("orders")
    assert champion is not None
    path = Path(registry.artifacts.path(champion.artifact_digest))
    honest = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(honest.replace(b"policy", b"polizy", 1))
    try:
        refused = factory(home, "evaluate", "orders", "1", "--per-family", "1", check=False)
        assert refused.returncode == 7
        assert champion.artifact_digest[:12] in refused.stderr
        assert factory(home, "doctor", check=False).returncode == 6
    finally:
        path.write_bytes(honest)
    factory(home, "evaluate", "orders", "1", "--per-family", "1")
