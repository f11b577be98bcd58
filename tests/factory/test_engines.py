"""Every engine does calls, tells an error from a lost worker, and forgets what is cancelled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from workgym.factory.engines import ENGINES, Answer, Call, Engine, Finished, Resources, make_engine
from workgym.factory.ray_engine import RayEngine, reap
from workgym.services.kernel import BadInput


def double(number: int) -> Answer:
    return bytes([2 * number]), {"pid": os.getpid()}


def refuse(number: int) -> Answer:
    raise BadInput(f"expected less than {number}")


def die() -> Answer:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def sleep(seconds: float) -> Answer:
    time.sleep(seconds)
    return None, None


@pytest.fixture(scope="module", params=[*sorted(ENGINES)])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = make_engine(request.param, tmp_path_factory.mktemp(request.param))
    yield made
    made.close()


def ended(engine: Engine, count: int, patience: float = 90.0) -> list[Finished]:
    """The next calls that came to an end."""
    found: list[Finished] = []
    deadline = time.monotonic() + patience
    while len(found) < count and time.monotonic() < deadline:
        found += engine.wait(0.25)
    return found


def test_calls_come_back_with_their_tickets_bytes_and_costs(engine: Engine) -> None:
    tickets = {engine.submit(Call(f"double {n}", double, (n,), Resources(cpus=0.5))): n for n in range(1, 5)}
    found = ended(engine, 4)
    assert {one.ticket for one in found} == set(tickets)
    for one in found:
        assert one.output is not None
        assert one.output.artifact == bytes([2 * tickets[one.ticket]])
        assert one.output.worker.endswith(str(one.output.result["pid"]))
        assert one.output.wall_seconds >= 0
    assert engine.wait(0.01) == []


def test_an_error_of_the_call_comes_back_as_itself(engine: Engine) -> None:
    engine.submit(Call("refuse", refuse, (3,)))
    (one,) = ended(engine, 1)
    assert isinstance(one.error, BadInput)
    assert str(one.error) == "expected less than 3"
    assert not one.lost


def test_a_cancelled_call_is_never_spoken_of(engine: Engine) -> None:
    engine.cancel(engine.submit(Call("sleep", sleep, (60,))))
    ticket = engine.submit(Call("double", double, (1,)))
    assert [one.ticket for one in ended(engine, 1)] == [ticket]
    assert engine.wait(0.01) == []


def test_an_engine_has_a_slot_and_may_be_told_what_waits(engine: Engine) -> None:
    assert engine.slots >= 1
    engine.expect([Resources(cpus=1, memory_mb=100, custom={"gpu": 1})])
    engine.expect([])


def test_a_killed_worker_is_a_loss_and_no_error(tmp_path: Path) -> None:
    engine = make_engine("ray", tmp_path)
    try:
        engine.submit(Call("die", die, ()))
        (one,) = ended(engine, 1)
        assert (one.output, one.error) == (None, None)
        assert "WorkerCrashedError" in one.lost
    finally:
        engine.close()


def test_a_cluster_is_asked_for_what_runs_and_waits_and_released_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.autoscaler import sdk

    asked: list[Any] = []
    monkeypatch.setattr(sdk, "request_resources", lambda *, bundles: asked.append(bundles))
    monkeypatch.setattr(RayEngine, "slots", 1)
    engine = RayEngine(tmp_path, "head:6379")
    engine._remote = object()  # joined
    needs = [Resources(cpus=2, memory_mb=1), Resources(custom={"big": 1})]
    for _ in range(3):
        engine.expect(needs)
    engine.close()
    assert asked == [[{"CPU": 2, "memory": 2**20}, {"CPU": 1.0, "big": 1}], []]


def test_an_unknown_engine_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no engine named 'rya'; did you mean 'ray'"):
        make_engine("rya", tmp_path)
    with pytest.raises(BadInput, match="expected --address with --engine ray alone"):
        make_engine("local", tmp_path, "head:6379")


# What a killed scheduler leaves behind


@pytest.fixture
def sleeper() -> Iterator[Any]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield psutil.Process(child.pid)
    child.kill()
    child.wait()


def noted(home: Path, driver: list[Any], children: list[list[Any]]) -> Path:
    book = home / "ray-processes" / "1.json"
    book.parent.mkdir()
    book.write_text(json.dumps({"driver": driver, "children": children}))
    return book


def test_processes_of_a_killed_scheduler_are_ended(tmp_path: Path, sleeper: Any) -> None:
    book = noted(tmp_path, [999_999_999, 0.0], [[sleeper.pid, sleeper.create_time()]])
    assert reap(tmp_path) == 1
    assert sleeper.wait(10) is not None
    assert not book.exists()


@pytest.mark.parametrize("what", ["the scheduler lives", "the number was given to another process"])
def test_nothing_else_is_ended(tmp_path: Path, sleeper: Any, what: str) -> None:
    lives = what == "the scheduler lives"
    me = psutil.Process()
    driver = [me.pid, me.create_time()] if lives else [999_999_999, 0.0]
    started = sleeper.create_time() - (0 if lives else 60)
    book = noted(tmp_path, driver, [[sleeper.pid, started]])
    assert reap(tmp_path) == 0
    assert sleeper.is_running()
    assert book.exists() == lives
