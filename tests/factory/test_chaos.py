"""Kills change nothing, the proof of that notices what differs, and two schedulers never do a thing twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workgym.factory import crash
from workgym.factory.chaos import Kill, Report, chaos, compare
from workgym.factory.chaos_plant import TINY, plant
from workgym.factory.pipeline import Pipeline, read_pipeline
from workgym.factory.registry import open_registry
from workgym.factory.work import Done, Key, Lease


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills_at_every_boundary_change_nothing(tmp_path: Path) -> None:
    report = chaos(tmp_path, 20, None, print)
    print(report.counts())
    assert report.findings == []
    assert report.identical
    assert {kill.where for kill in report.kills} >= set(crash.PLACES)
    assert [kill.who for kill in report.kills].count("worker") == 10
    assert len(report.weights) == 2
    assert all(calm == wild for calm, wild in report.weights.values())


# The proof has teeth


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pipeline]:
    """A workspace where an untrained policy serves and one chunk is committed."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "tiny.toml").write_text(TINY)
    pipeline = read_pipeline(folder / "tiny.toml")
    plant(folder / "home", pipeline)
    do_chunk(folder / "home", 0, b"a state")
    return folder / "home", pipeline


def do_chunk(home: Path, seq: int, state: bytes) -> None:
    with open_registry(home) as registry:
        run = registry.open_run("by hand", {"seq": seq}, env_id="e", env_version="1", code_version="1").id
        (lease,) = registry.lease(run, [Key("chunk", "c" * 64, seq)])
        assert isinstance(lease, Lease)
        registry.commit(run, [Done(lease, registry.artifacts.put_bytes(state), {}, 1.0, 1.0)])
        registry.finish_run(run)


@pytest.mark.parametrize("what", ["nothing", "a chunk more", "another state"])
def test_whatever_differs_is_found(tmp_path: Path, planted: tuple[Path, Pipeline], what: str) -> None:
    home, pipeline = planted
    other = tmp_path / "other"
    shutil.copytree(home, other)
    if what == "a chunk more":
        do_chunk(other, 1, b"another state")
    if what == "another state":
        shutil.rmtree(other)
        plant(other, pipeline)
        do_chunk(other, 0, b"a damaged state")
    report = Report(wanted=0)
    compare(home, other, pipeline, report)
    assert report.identical == (what == "nothing")


def test_kills_that_did_not_happen_prove_nothing() -> None:
    assert not Report(wanted=2, kills=[Kill("worker", "in the middle of a chunk", "ray")]).identical


@pytest.mark.parametrize(
    ("armed", "ended"),
    [("", 0), ("task:leased", 0), ("task:committed/3", 0), ("task:committed/2", -9), ("task:committed", -9)],
)
def test_a_place_does_nothing_unless_it_is_named(armed: str, ended: int) -> None:
    program = "from workgym.factory import crash\nfor _ in range(2): crash.here('task:committed')"
    environ = {**os.environ, "WORKGYM_CRASH": armed}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, check=False)
    assert done.returncode == ended, done.stderr


# Two at once

RACE = """
name = "{name}"
env = "workgym/Orders-v0"
[suite]
per_family = 2
[training]
seeds = [1, 2]
recipe = {{ steps = 16384, chunk_steps = 2048, lanes = 32, n_steps = 32, minibatch = 512 }}
[[variants]]
name = "plain"
[gates.improvement]
"""


@pytest.mark.slow
def test_of_two_schedulers_one_wins_and_two_pipelines_share_their_chunks(tmp_path: Path) -> None:
    home = tmp_path / "home"
    running = []
    for name in ("one", "one", "other"):
        (tmp_path / f"{name}.toml").write_text(RACE.format(name=name))
        command = [str(Path(sys.executable).with_name("factory")), "run", str(tmp_path / f"{name}.toml")]
        environ = {**os.environ, "WORKGYM_HOME": str(home)}
        running.append(
            subprocess.Popen(
                [*command, "--engine", "local", "--json"],
                env=environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    told = [process.communicate(timeout=500) for process in running]
    codes = [process.returncode for process in running]
    assert sorted(codes[:2]) == [0, 5], told
    assert codes[2] == 0, told
    loser = codes.index(5)
    assert "is driven by" in told[loser][1]
    assert len({json.loads(out)["run"] for out, _ in told if out}) == 2
    with open_registry(home) as registry:
        tries = [one for run in registry.runs() for one in registry.attempts(run.id)]
    committed = [one.key for one in tries if one.outcome == "committed"]
    assert len(committed) == len(set(committed)) == 16
    assert {one.outcome for one in tries} == {"committed"}
