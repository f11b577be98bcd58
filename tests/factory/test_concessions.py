"""A margin is for all steps of a release together: many small losses are never a large one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workgym.agents.training import initial_state, make_recipe, policy_from
from workgym.factory.candidates import Candidate
from workgym.factory.concessions import GAINS, Step, conceded, step_of
from workgym.factory.judging import env_version, rule_cards, suite_of
from workgym.factory.pipeline import Pipeline
from workgym.factory.plan import code_digest
from workgym.factory.records import Outcome, Verdict
from workgym.factory.registry import Registry, open_registry
from workgym.factory.releasing import Desk, Released

MARGIN = -8.0
LOWS = st.floats(-20, 20, allow_nan=False)


def gained(low: float, margin: float = MARGIN, gate: str = GAINS[0]) -> Verdict:
    return Verdict(gate, Outcome.PASS, "told", {"low": low, "margin": margin}, "b", "a", "suite")


@given(lows=st.lists(LOWS, max_size=30))
def test_affordable_steps_never_cost_more_than_one_margin_together(lows: list[float]) -> None:
    standing, best, earned = 0.0, 0.0, 0.0  # what the lower limits prove
    for low in lows:
        if low < MARGIN or not Step(low, MARGIN).affordable(standing):
            continue
        standing = min(0.0, standing + low)
        earned += low
        best = max(best, earned)
        assert standing == pytest.approx(earned - best)
        assert standing >= MARGIN


@pytest.mark.parametrize("low", [-3.0, 0.0, 3.0])
def test_a_step_that_its_gate_let_pass_is_affordable_where_nothing_was_conceded(low: float) -> None:
    assert Step(low, MARGIN).affordable(0.0)


def test_what_no_gate_has_measured_is_no_step() -> None:
    assert step_of([]) is None
    assert step_of([gained(1.0, gate="flips"), gained(-2.0, gate=GAINS[1])]) == (-2.0, MARGIN)


def test_what_was_conceded_goes_back_with_a_rollback_and_is_earned_back_with_a_gain(desk: Any) -> None:
    def serve(low: float | None, alias: str = "champion") -> Any:
        version = desk.candidate(gates=("improvement",))
        numbers = {} if low is None else {"low": low, "margin": MARGIN}
        said = [desk.verdict(version, "improvement", numbers=numbers)]
        now = desk.registry.generation(desk.name, alias)
        desk.registry.record_verdicts(version, said, generation=now, alias=alias)
        return desk.promote(version, alias).to_version

    def standing() -> float:
        return conceded(desk.registry, desk.name, "champion")

    first = serve(12.0)
    assert standing() == 0.0
    serve(-3.0)
    serve(-2.0)
    assert standing() == -5.0
    serve(-7.0, alias="edge")
    assert standing() == -5.0
    serve(1.5)
    assert standing() == -3.5
    desk.rollback(to=first)
    assert standing() == 0.0
    serve(-1.0)
    serve(None)
    assert standing() == 0.0


# In a release

PIPELINE = Pipeline.model_validate(
    {
        "name": "orders",
        "env": "workgym/Orders-v0",
        "suite": {"per_family": 64},
        "variants": [{"name": "small"}],
        "gates": {"improvement": {"margin": MARGIN, "range": 0.02}},
        "releases": [{"alias": "edge", "profile": "small"}],
    }
)
VERSION = env_version(PIPELINE)


class Shop:
    """Runs of which each releases one candidate: it earns so many cents per order more than the best rule."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.suite = suite_of(PIPELINE)
        self.rules = rule_cards(PIPELINE, self.suite)
        self.recipe = make_recipe({"env_id": PIPELINE.env, "steps": 64, "chunk_steps": 64})

    def release(self, cents: int, size: int) -> Released:
        rule, name = self.rules[0], f"small of {size} bytes"
        files = policy_from(self.recipe, initial_state(self.recipe), name)
        artifact = self.registry.artifacts.put_folder(files)
        run = self.registry.open_run(
            PIPELINE.name,
            {"size": size},
            env_id=PIPELINE.env,
            env_version=VERSION,
            code_version=code_digest(),
        )
        version = self.registry.register(
            PIPELINE.name,
            run_id=run.id,
            artifact_digest=artifact,
            scorecard=replace(rule, policy=artifact, profit=rule.profit + cents * rule.cases),
            required_gates=["improvement"],
            lineage={"variant": "small"},
        )
        card = self.registry.scorecard(version.scorecard_digest)
        desk = Desk(PIPELINE, self.registry, run, self.suite, self.rules, tried=1)
        released = desk.release(PIPELINE.releases[0], [Candidate(name, None, version, card, size, 1.0)])
        self.registry.finish_run(run.id)
        return released


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with open_registry(tmp_path) as registry:
        yield Shop(registry)


@pytest.mark.slow
def test_a_release_walks_downhill_by_one_margin_and_no_further(shop: Shop) -> None:
    assert shop.release(50, size=1000).promoted
    assert shop.release(46, size=900).promoted  # 4 cents for 100 bytes
    downhill = shop.release(42, size=800)  # again 4 cents
    assert downhill.judged[0].passed
    assert not downhill.promoted
    assert "margin of 'edge' is spent: since it last gained it may have given up" in downhill.sentence
    assert shop.release(52, size=700).promoted
    assert shop.release(48, size=600).promoted
