"""A workspace where a real run trained two small policies, of which one serves, and the command on it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from workgym.factory.cli import main
from workgym.factory.records import Outcome, Verdict
from workgym.factory.registry import Registry, open_registry

PIPELINE = """
name = "orders"
env = "workgym/Orders-v0"
description = "A tiny line."
[suite]
per_family = 2
[training]
seeds = [0, 1]
[training.recipe]
steps = 4_096
chunk_steps = 2_048
lanes = 32
n_steps = 64
minibatch = 1024
[[variants]]
name = "small"
purpose = "For the edge."
preset = "small"
[gates.improvement]
[gates.latency]
budget = 1e6
"""
CHUNKS = 2  # of each training


class Told(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.out)
        return found

    @property
    def line(self) -> str:
        """All that it complained of, on one line."""
        return " ".join(self.err.split())


class Command:
    """The `factory` command, in this process."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._capture = capture

    def __call__(self, *arguments: str, home: Path, actor: str = "Ada") -> Told:
        self._patch.setenv("WORKGYM_HOME", str(home))
        self._patch.setenv("WORKGYM_ACTOR", actor)
        self._patch.setattr(sys, "argv", ["factory", *arguments])
        self._capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._capture.readouterr()
        return Told(int(ended.value.code or 0), said.out, said.err)


def bless(registry: Registry, number: int) -> None:
    """Say in every required gate's name that a version passes."""
    version = registry.version("orders", number)
    generation = registry.generation("orders")
    verdicts = [
        Verdict(
            gate,
            Outcome.PASS,
            f"{gate} passes",
            {"n": 12},
            version.artifact_digest,
            "nobody",
            version.suite_digest,
        )
        for gate in version.required_gates
    ]
    registry.record_verdicts(version, verdicts, generation=generation)


def make_workspace(home: Path, patch: pytest.MonkeyPatch) -> Path:
    """Run the line, then let version 1 serve."""
    spec = home / "tiny.toml"
    spec.write_text(PIPELINE)
    patch.setenv("WORKGYM_HOME", str(home))
    patch.setattr(sys, "argv", ["factory", "run", str(spec), "--engine", "local", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    with open_registry(home) as registry:
        bless(registry, 1)
        registry.promote("orders", 1, expected_generation=0, actor="Ada", reason="it is the first")
    return home
