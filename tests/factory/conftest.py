"""A registry on an empty database, and someone who fills it."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.support.workspace import Command, make_workspace
from workgym.factory.artifacts import ArtifactStore
from workgym.factory.records import Outcome, Scorecard, Verdict
from workgym.factory.registry import Registry, open_registry, served

SUITE = "5" * 64


class Ticking:
    """A clock that moves one second with each look."""

    def __init__(self):
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self):
        self.now += timedelta(seconds=1)
        return self.now


def scorecard(policy, *, suite=SUITE, env_id="workgym/Orders-v0", profit=(100, 200, 300)):
    n = len(profit)
    return Scorecard(
        policy=policy,
        env_id=env_id,
        suite=suite,
        backend="twin",
        family=("normal",) * n,
        seed=tuple(range(n)),
        profit=np.array(profit, dtype=np.int64),
        cases=np.full(n, 10),
        success=np.ones(n, dtype=bool),
        violations=np.zeros(n, dtype=np.int64),
        obligations=np.full(n, 10),
    )


@dataclass
class Desk:
    """Makes candidates and verdicts in one line.

    Attributes:
        name: the model that they are versions of.
    """

    registry: Registry
    url: str
    name: str = "orders"
    numbers: itertools.count = field(default_factory=itertools.count)

    def reopen(self):
        """A registry with connections of its own, as another process has it."""
        return Registry(self.url, self.registry.artifacts, Ticking())

    def run(self):
        return self.registry.start_run(
            "pipelines/orders.toml",
            {"env": "workgym/Orders-v0", "seeds": [1, 2]},
            env_id="workgym/Orders-v0",
            env_version="Orders-v0+abc",
            code_version="0.1.0+def",
        )

    def training(self, run, variant="small", seed=1):
        return self.registry.start_training(
            run.id, variant, algorithm="MaskablePPO", seed=seed, recipe={"layers": [64, 64]}
        )

    def policy(self):
        """The digest of a policy that nobody has stored before."""
        weights = f"{self.name} {next(self.numbers)}".encode()
        return self.registry.artifacts.put_folder({"policy.safetensors": weights, "policy.json": b"{}"})

    def card(self, digest):
        """Results of a policy."""
        return scorecard(digest)

    def candidate(self, gates=("beats-champion",), run=None, digest=None):
        digest = digest or self.policy()
        return self.registry.register(
            self.name,
            run_id=(run or self.run()).id,
            artifact_digest=digest,
            scorecard=scorecard(digest),
            required_gates=gates,
        )

    def verdict(self, version, gate="beats-champion", outcome=Outcome.PASS, **changes):
        fields = {
            "sentence": f"{gate} says {outcome}",
            "numbers": {"n": 3, "low": 0.25},
            "candidate": version.artifact_digest,
            "champion": "cheapest-feasible",
            "suite": SUITE,
        }
        return Verdict(gate=gate, outcome=outcome, **{**fields, **changes})

    def judge(self, version, outcome=Outcome.PASS, *, generation=None, alias="champion"):
        """One verdict of each required gate, all with the same outcome."""
        now = self.registry.generation(self.name, alias) if generation is None else generation
        verdicts = [self.verdict(version, gate, outcome) for gate in version.required_gates]
        return self.registry.record_verdicts(version, verdicts, generation=now, alias=alias)

    def blessed(self, **wishes):
        return self.judge(self.candidate(**wishes))

    def promote(self, version, alias="champion", generation=None, registry=None):
        now = self.registry.generation(self.name, alias) if generation is None else generation
        return (registry or self.registry).promote(
            self.name,
            version.version,
            alias,
            expected_generation=now,
            actor="Ada",
            reason="it earns more",
        )

    def rollback(self, to=None, **wishes):
        return self.registry.rollback(self.name, to=to, actor="Bob", reason="it drifts", **wishes)

    def champions(self, count):
        """Promote so many new versions one after the other."""
        return [self.promote(self.blessed()).to_version for _ in range(count)]

    def serving(self):
        version = self.registry.champion(self.name)
        return version.version if version else None

    def assert_history_leads_here(self, alias="champion"):
        """The lines replay to the alias, and the generations count every move."""
        lines = [line for line in self.registry.history(self.name) if line.alias == alias]
        now = self.registry.alias(self.name, alias)
        versions = [line.to_version for line in lines]
        assert [line.generation for line in lines] == list(range(1, len(lines) + 1))
        assert [line.from_version for line in lines] == [None, *versions][: len(lines)]
        assert (now is None) == (not lines)
        if now is not None:
            assert (now.version, now.generation) == (versions[-1], len(lines))
            assert served(lines)[-1] == now.version


@pytest.fixture
def artifacts(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def desk(database_url, artifacts):
    with Registry(database_url, artifacts, Ticking()) as registry:
        yield Desk(registry, database_url)


@pytest.fixture
def registry(desk):
    return desk.registry


@pytest.fixture
def card():
    """A function that writes scorecards."""
    return scorecard


@pytest.fixture(scope="session")
def tiny_workspace(tmp_path_factory):
    """A workspace where a real run trained two small policies and version 1 serves; never written to."""
    with pytest.MonkeyPatch.context() as patch:
        return make_workspace(tmp_path_factory.mktemp("tiny"), patch)


@pytest.fixture
def tiny_registry(tiny_workspace):
    """The registry of that workspace."""
    with open_registry(tiny_workspace) as registry:
        yield registry


@pytest.fixture
def own_workspace(tiny_workspace, tmp_path):
    """A copy of that workspace to change."""
    return Path(shutil.copytree(tiny_workspace, tmp_path / "workspace"))


@pytest.fixture
def factory(monkeypatch, capsys):
    """The command line: `factory("show", "orders", home=...)` gives code, out and err."""
    return Command(monkeypatch, capsys)
