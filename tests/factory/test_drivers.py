"""The pulse of a run stops whoever lost it, and nobody who finished it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workgym.factory import drivers
from workgym.factory.drivers import Pulse
from workgym.factory.registry import Registry, open_registry
from workgym.factory.runs import Fenced

OPENED = {"env_id": "workgym/Orders-v0", "env_version": "1", "code_version": "1"}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(drivers, "LOOK_S", 0.02)
    with open_registry(tmp_path) as opened:
        yield opened


def wait_for_the_pulse_to_end() -> None:
    deadline = time.monotonic() + 20
    while any(thread.name.startswith("pulse") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the pulse goes on"
        time.sleep(0.01)


def test_who_finishes_a_run_is_not_told_that_it_was_lost(registry: Registry) -> None:
    run = registry.open_run("orders", {}, **OPENED)
    with Pulse(registry, run.id):
        registry.finish_run(run.id, "done")
        wait_for_the_pulse_to_end()


def work_while(registry: Registry, tmp_path: Path, interfere: Callable[[Registry, int], object]) -> None:
    """Drive a run for long, while another scheduler interferes."""
    run = registry.open_run("orders", {}, **OPENED)
    with Pulse(registry, run.id):
        with open_registry(tmp_path) as other:
            interfere(other, run.id)
        time.sleep(20)


def test_who_loses_a_run_is_interrupted_and_told(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(Fenced, match="cancelled by Ada"):
        work_while(registry, tmp_path, lambda other, run: other.cancel_run(run, "Ada", "enough"))


def test_who_is_overtaken_by_another_that_finishes_is_told(registry: Registry, tmp_path: Path) -> None:
    def overtake(other: Registry, run: int) -> None:
        other.cancel_run(run, "Ada", "enough")
        other.drive(run)
        other.finish_run(run, "done by another")

    with pytest.raises(Fenced):
        work_while(registry, tmp_path, overtake)
