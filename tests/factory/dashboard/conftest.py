"""A workspace with a life behind it: promotions, a rejection, a rollback, a killed run, one that goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from workgym.factory.dashboard.server import create_app
from workgym.factory.entries import CurvePoint
from workgym.factory.gates import judge
from workgym.factory.mirror import sync
from workgym.factory.profiles import measure, pick
from workgym.factory.records import Scorecard
from workgym.factory.registry import open_registry
from workgym.factory.trials import Trial, record_trials
from workgym.factory.work import Done, Key

FAMILIES = ("normal", "promotion", "stock-out", "centre-outage", "supplier-late", "remote-heavy")
PER_FAMILY = 64
GATES = {"improvement": {}, "flips": {}, "no-harm": {}, "constraints": {}, "latency": {}}
RULES = {"cheapest-feasible": 0, "nearest-with-stock": -41, "earliest-promise": -77}
ENV = "workgym/Orders-v0"
SUITE = "5" * 64
CHUNKS = "d" * 64  # the group of a training's chunks
PROFILE = {"champion": "profit", "edge": "small"}


class Working:
    """A clock that moves some minutes with each look."""

    def __init__(self):
        self.now = datetime(2026, 11, 17, 8, 12, tzinfo=UTC)

    def __call__(self):
        self.now += timedelta(minutes=3, seconds=7)
        return self.now


def scorecard(policy, gain, lost=0, seed=0):
    """Results that earn `gain` cents per order more than the best rule and fail `lost` more scenarios.

    `lost` is how many of those that the best rule handles, or which.
    """
    n = len(FAMILIES) * PER_FAMILY
    season = np.random.default_rng(7)  # the same scenarios for everyone
    cases = season.integers(70, 110, n)
    base = season.normal(1284, 160, n)
    success = season.random(n) > 0.04
    noise = np.random.default_rng(seed).normal(0, 22, n)
    success[np.flatnonzero(success)[lost if isinstance(lost, slice) else slice(lost)]] = False
    broken = season.binomial(cases, 0.031 if gain >= 0 else 0.036)
    return Scorecard(
        policy=policy,
        env_id=ENV,
        suite=SUITE,
        backend="twin",
        family=tuple(np.repeat(FAMILIES, PER_FAMILY).tolist()),
        seed=tuple(range(n)),
        profit=np.round(cases * (base + gain + (noise if gain else 0))).astype(np.int64),
        cases=cases,
        success=success,
        violations=broken,
        obligations=cases,
        latency_us={"p50": 61.0, "p99": 143.0},
    )


@dataclass
class Floor:
    """Works a registry the way a run does."""

    folder: Path
    clock: Working
    name: str = "orders"

    def open(self):
        return open_registry(self.folder, clock=self.clock)

    def start(self, registry, variants):
        run = registry.start_run(
            self.name,
            {"name": self.name, "env": ENV, "gates": GATES, "variants": [{"name": one} for one in variants]},
            env_id=ENV,
            env_version="orders-v0.1",
            code_version="0b5c" * 16,
        )
        for at, variant in enumerate(variants):
            training = registry.start_training(
                run.id, variant, algorithm="MaskablePPO", seed=0, recipe={"variant": variant}
            )
            registry.append_curve(training.id, curve(at, run.id))
        return run

    def work(self, registry, variants, message="", promote=True):
        """Train, judge and promote; `variants` are (gain, lost scenarios) by name. The promoted version."""
        run = self.start(registry, variants)
        rules = [scorecard(rule, gain, seed=1) for rule, gain in RULES.items()]
        champion = registry.champion(self.name)
        opponent = registry.scorecard(champion.scorecard_digest) if champion else rules[0]
        for card in rules:
            registry.record_baseline(run.id, card)
        made = [
            self.candidate(registry, run, one, wish, opponent, champion) for one, wish in variants.items()
        ]
        passed = [version for version in made if version.status == "blessed"]
        best = max(
            passed, key=lambda one: registry.scorecard(one.scorecard_digest).profit.sum(), default=None
        )
        if best and promote:
            won = next(one for one in registry.verdicts(best) if one.gate in ("improvement", "bootstrap"))
            reason = f"{best.lineage['variant']}/0 {won.sentence}"
            generation = registry.generation(self.name)
            registry.promote(
                self.name, best.version, expected_generation=generation, actor="factory run", reason=reason
            )
            message = message or f"{best} is champion: {won.sentence}"
        registry.finish_run(run.id, message)
        return best

    def candidate(self, registry, run, variant, wish, opponent, champion):
        gates = [*GATES, *([] if champion else ["bootstrap"])]
        version, card = self.register(registry, run, variant, wish, gates)
        verdicts = judge(card, opponent, GATES, candidates=4, bootstrap=champion is None)
        return registry.record_verdicts(version, verdicts, generation=registry.generation(self.name))

    def register(self, registry, run, variant, wish, gates, lineage=None):
        digest = registry.artifacts.put_folder({"policy.json": f"{run.id} {variant}".encode()})
        training = next(one for one in registry.trainings(run.id) if one.variant == variant)
        registry.finish_training(training.id, digest, steps=training.steps, cpu_seconds=training.cpu_seconds)
        card = scorecard(digest, *wish, seed=run.id * 10 + training.id)
        version = registry.register(
            self.name,
            run_id=run.id,
            artifact_digest=digest,
            scorecard=card,
            required_gates=gates,
            training_id=training.id,
            lineage=lineage or {"variant": variant, "purpose": "a purpose"},
        )
        return version, card

    def killed(self, variants):
        """A run whose process ends by SIGKILL in the middle of its trainings."""
        if (child := os.fork()) == 0:
            with self.open() as registry:
                self.start(registry, variants)
                os.kill(os.getpid(), signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL


def curve(variant, run):
    """Rises towards a profit per episode near the best rule's, some faster than others."""
    noise = np.random.default_rng(variant * 31 + run)
    steps = np.arange(1, 25) * 8192
    rise = 1 - np.exp(-steps / (26_000 + 14_000 * variant))
    values = 72_000 + (49_000 - 3_500 * variant) * rise + noise.normal(0, 900, len(steps))
    points = zip(steps.tolist(), values.tolist(), strict=True)
    return [CurvePoint(step, value, step / 21_000) for step, value in points]


def fill(folder):
    """The whole life."""
    floor = Floor(folder, Working())
    with floor.open() as registry:
        four = {"steady": (38, 0), "small": (21, 0), "patient": (52, 0), "explorer": (-95, 31)}
        floor.work(registry, four)
        floor.work(registry, {"steady": (66, 0), "small": (50.4, 0), "patient": (58, 0), "explorer": (31, 9)})
        registry.rollback("orders", actor="ada", reason="complaints about late parcels from Cork")
        floor.work(
            registry, {"steady": (71, 0), "small": (53, 0), "patient": (79, 0), "explorer": (-140, 44)}
        )
        lonely = {"wide": (-20, 12)}
        Floor(folder, floor.clock, "returns").work(
            registry, lonely, "nothing serves yet, cheapest-feasible goes on: wide harms four families"
        )
    floor.killed(["steady", "small"])
    with floor.open() as registry:
        floor.start(registry, ["steady", "small", "patient"])
    return folder


@dataclass
class House(Floor):
    """A floor whose model is released twice, protected, searched for, and followed by a mirror."""

    gates = GATES | {"flips": {"budget": 0.05}}

    def fill(self):
        """Everything that the owner of a model may have to look at."""
        with self.open() as registry:
            self.first(registry)
            for alias, people in (("champion", 2), ("edge", 1)):
                registry.protect(self.name, alias, people, actor="ada", reason="parcels are promises")
            self.second(registry)
        self.killed(["steady"])
        with self.open() as registry:
            sync(registry.database, Away())
            sync(registry.database, Away())
        return self.folder

    def start(self, registry, variants):
        spec = {
            "name": self.name,
            "env": ENV,
            "gates": self.gates,
            "variants": [{"name": one} for one in variants],
            "releases": [
                {"alias": "champion", "profile": "profit"},
                {"alias": "edge", "profile": "small"},
                {"alias": "night", "profile": "specialist:promotion"},
            ],
        }
        run = registry.open_run(
            self.name, spec, env_id=ENV, env_version="orders-v0.1", code_version="0b5c" * 16
        )
        for at, variant in enumerate(variants):
            kind = {"algorithm": "MaskablePPO", "seed": 0, "recipe": {"variant": variant}}
            training = registry.start_training(run.id, variant, **kind)
            registry.append_curve(training.id, curve(at, run.id))
        return run

    def first(self, registry):
        """Two releases of one run; the cheap one gives up profit, in numbers."""
        run = self.start(registry, ["steady", "small", "patient"])
        rules = [scorecard(rule, gain, seed=1) for rule, gain in RULES.items()]
        for card in rules:
            registry.record_baseline(run.id, card)
        wishes = {"steady": (38, 0), "small": (21, 0), "patient": (52, 1)}
        sizes = {"steady": 90_000, "small": 11_000, "patient": 640_000}
        made = {
            name: self.register(registry, run, name, wish, [*GATES, "bootstrap"])
            for name, wish in wishes.items()
        }
        for alias in ("champion", "edge"):
            for name, (version, card) in made.items():
                self.judged(registry, version, card, rules[0], alias, bytes_=sizes[name])
            found = {version.version: registry.measures(version, alias) for version, _ in made.values()}
            chosen = pick(found, PROFILE[alias], {})
            registry.promote(
                self.name,
                chosen.number,
                alias,
                expected_generation=0,
                actor="factory run",
                reason=chosen.sentence,
                run_id=run.id,
                profile=PROFILE[alias],
                given_up=chosen.given_up,
            )
        registry.finish_run(run.id, "two releases")

    def judged(self, registry, version, card, opponent, alias, bytes_):
        generation = registry.generation(self.name, alias)
        verdicts = judge(card, opponent, self.gates, candidates=3, bootstrap=generation == 0)
        registry.record_verdicts(version, verdicts, generation=generation, alias=alias)
        measures = measure(card, opponent, bytes_=bytes_, cpu_seconds=41.5)
        registry.record_measures(version, alias, measures)

    def second(self, registry):
        """Work that was lost and done again, a search, a router, and a version that waits for people."""
        run = self.start(registry, ["wide", "patient"])
        for rule, gain in RULES.items():
            registry.record_baseline(run.id, scorecard(rule, gain, seed=1))
        self.tasks(registry, run)
        record_trials(registry.database, run.id, "wide", trials())
        champion = registry.champion(self.name)
        theirs = registry.scorecard(champion.scorecard_digest)
        opponent = replace(theirs, policy=f"champion v{champion.version}")
        better, card = self.register(
            registry, run, "wide", (88, slice(5, 6)), [*GATES], {"training": CHUNKS, "variant": "wide"}
        )
        self.judged(registry, better, card, opponent, "champion", bytes_=210_000)
        worse, card = self.register(registry, run, "patient", (-70, 24), [*GATES])
        self.judged(registry, worse, card, opponent, "champion", bytes_=640_000)
        self.router(registry, run, champion, worse, opponent)
        registry.approve(self.name, better.version, actor="ada", reason="the flips hurt nobody")
        registry.finish_run(run.id, "waits for people")

    def tasks(self, registry, run):
        """Three chunks; the second is lost once on its way, the third is still waiting."""
        keys = [Key("chunk", CHUNKS, seq) for seq in range(3)]
        one, two, three = registry.lease(run.id, keys)
        registry.commit(run.id, [Done(one, "a1" * 32, {}, 2.0, 2.5, "rack-1:411")])
        registry.lose(run.id, two, "the worker died: exit code -9", worker="rack-2:93")
        registry.give_back(run.id, three, "the engine closes")
        self.clock.now += timedelta(seconds=30)
        (again,) = registry.lease(run.id, keys[1:2])
        registry.commit(run.id, [Done(again, "b2" * 32, {}, 2.0, 2.5, "rack-1:411")])

    def router(self, registry, run, champion, other, opponent):
        """The champion where the other harms, the other elsewhere."""
        inputs = [champion.artifact_digest, other.artifact_digest]
        digest = registry.artifacts.put_folder({"policy.json": b"a router"})
        card = scorecard(digest, 53, 1, seed=77)
        lineage = {
            "variant": "patient but in stock-out",
            "purpose": "It leaves stock-out to whom it replaces.",
            "inputs": inputs,
            "kept": ["stock-out"],
            "served": ["normal", "promotion"],
        }
        version = registry.register(
            self.name,
            run_id=run.id,
            artifact_digest=digest,
            scorecard=card,
            required_gates=[*GATES],
            lineage=lineage,
        )
        self.judged(registry, version, card, opponent, "champion", bytes_=730_000)


class Away:
    """A mirror whose other side is gone."""

    name = "mlflow"

    def hear(self, line):
        raise OSError("no MLflow server answers")


def trials():
    """What a search by halving leaves: few went far."""
    far = {0: (8, 1301.5, "complete"), 1: (4, 1288.25, "pruned"), 2: (2, 1240.0, "pruned")}
    return [
        Trial(number, {"learning_rate": 0.0003 * (number + 1), "layers": [64, 64]}, "c" * 64, *rest)
        for number, rest in far.items()
    ]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A filled house; tests only read it."""
    return House(tmp_path_factory.mktemp("house"), Working()).fill()


@pytest.fixture(scope="module")
def home(house):
    """Asks its dashboard."""
    return client_of(house)


@pytest.fixture
def own_house(house, tmp_path):
    """A copy of the filled house, to write in, and who asks its dashboard."""
    shutil.copytree(house, tmp_path / "house")
    return House(tmp_path / "house", Working()), client_of(tmp_path / "house")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A filled workspace; tests only read it."""
    return fill(tmp_path_factory.mktemp("workspace"))


def client_of(folder):
    return TestClient(create_app(lambda: open_registry(folder)), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def site(workspace):
    """Asks the dashboard of the filled workspace."""
    return client_of(workspace)


@pytest.fixture
def floor(tmp_path):
    """A workspace of one's own, still empty."""
    return Floor(tmp_path / "home", Working())


@pytest.fixture
def own_site(floor):
    """Asks its dashboard."""
    return client_of(floor.folder)


@pytest.fixture
def tamper():
    """Changes a stored artifact behind the registry's back."""

    def change(registry, digest):
        path = Path(registry.artifacts.path(digest))
        path.chmod(0o644)
        path.write_bytes(json.dumps("not what was written").encode())

    return change
