"""Scorecards are deterministic, blind to how lanes are cut, and never score an infrastructure fault."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from workgym.agents.baselines import baselines, make_baseline
from workgym.envs.base import Board
from workgym.envs.orders import ENV_ID, TwinBackend, task
from workgym.factory import evaluate as module
from workgym.factory.evaluate import evaluate, gate_suite, latency
from workgym.services.kernel import InfrastructureFault

SMALL = {"days": 3, "orders_per_day": 6.0}
SUITE = gate_suite(ENV_ID, SMALL, "gate", 3)
RULE = task().reference
# A changed generator changes these; then `envs.orders.VERSION` must change too.
FROZEN = {
    "gate": "d17ddc43ab2592ed1e0d3eaa20b0f12612dc948843a7b0baecd6889efea7a080",
    "audit": "f98edf842ee33762604f0b9d63a5814b0b1eb994e9b0aa8a7eb53e1ec4fe4482",
}


@pytest.mark.parametrize("lanes", [1, 5, 512])
def test_a_scorecard_does_not_depend_on_how_the_lanes_are_cut(lanes: int) -> None:
    whole = evaluate(make_baseline(ENV_ID, RULE), SUITE, SMALL)
    assert evaluate(make_baseline(ENV_ID, RULE), SUITE, SMALL, lanes=lanes).digest() == whole.digest()


def test_a_scorecard_is_what_a_single_env_earns() -> None:
    card = evaluate(make_baseline(ENV_ID, "hold"), SUITE, SMALL)
    env = gym.make(ENV_ID, split="gate", **SMALL)
    for scenario, profit in zip(SUITE.scenarios, card.profit, strict=True):
        env.reset(seed=scenario.seed, options={"family": scenario.family})
        earned, ended = 0.0, False
        while not ended:
            _, reward, ended, _, _ = env.step(len(task().action_names) - 2)
            earned += float(reward)
        assert earned == profit


def test_the_reference_rule_handles_every_scenario() -> None:
    assert evaluate(make_baseline(ENV_ID, RULE), SUITE, SMALL).success.all()
    assert not evaluate(make_baseline(ENV_ID, "hold"), SUITE, SMALL).success.any()


@pytest.mark.parametrize("name", baselines(ENV_ID, "adversary"))
def test_no_adversary_earns_more_than_the_best_rule(name: str) -> None:
    suite = gate_suite(ENV_ID, {}, "gate", 4)
    best = max(
        evaluate(make_baseline(ENV_ID, rule), suite, {}).profit.sum() for rule in baselines(ENV_ID, "rule")
    )
    assert evaluate(make_baseline(ENV_ID, name), suite, {}).profit.sum() <= best


def test_suites_of_two_splits_share_no_history() -> None:
    contents = {gate_suite(ENV_ID, SMALL, split, 3).content for split in ("train", "gate", "audit")}
    assert len(contents) == 3


def test_the_default_suites_are_frozen() -> None:
    assert gate_suite(ENV_ID, {}, "gate", 4).digest == FROZEN["gate"]
    assert gate_suite(ENV_ID, {}, "audit", 4).digest == FROZEN["audit"]


def test_a_fault_is_played_again_and_then_dropped_never_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = TwinBackend.advance
    unlucky = SUITE.scenarios[4].seed

    def advance(backend: TwinBackend, mode: object, actions: object, episodes: object) -> Board:
        if unlucky in episodes.seed:  # type: ignore[attr-defined]  # the backend's own record
            raise InfrastructureFault("the line is down", committed="unknown")
        return honest(backend, mode, actions, episodes)  # type: ignore[arg-type]  # passed on as they came

    whole = evaluate(make_baseline(ENV_ID, RULE), SUITE, SMALL)
    monkeypatch.setattr(TwinBackend, "advance", advance)
    card = evaluate(make_baseline(ENV_ID, RULE), SUITE, SMALL)
    kept = [seed != unlucky for seed in whole.seed]
    assert card.dropped == kept.count(False) > 0
    assert np.array_equal(card.profit, whole.profit[kept])


def test_latency_is_measured_on_single_decisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATENCY_CALLS", 50)
    told = latency(make_baseline(ENV_ID, RULE), ENV_ID, SMALL)
    assert 0 < told["p50"] <= told["p99"]
