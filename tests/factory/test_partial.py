from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.factory.test_gate_errors import errors
from workgym.factory.gates import judge, promotable
from workgym.factory.partial import compose, propose_partial
from workgym.factory.records import Scorecard
from workgym.services.kernel import BadInput

GATES: dict[str, dict[str, Any]] = {"improvement": {}, "flips": {}, "no-harm": {}, "constraints": {}}
TWENTY = tuple(f"family-{at:02}" for at in range(20))


def play(seed: int, **world: Any) -> tuple[Scorecard, Scorecard]:
    ours, theirs = errors.World(**world).play(np.random.default_rng(seed))
    return ours, theirs


# The composed scorecard


def test_a_router_earns_the_champions_results_where_the_champion_is_kept() -> None:
    ours, theirs = play(0, gain=30)
    routed = compose(ours, theirs, {"outage", "remote"})
    kept = np.isin(ours.family, ["outage", "remote"])
    for name in ("profit", "success", "violations", "cases", "obligations"):
        assert (getattr(routed, name)[kept] == getattr(theirs, name)[kept]).all()
        assert (getattr(routed, name)[~kept] == getattr(ours, name)[~kept]).all()
    assert routed.policy == "candidate except outage, remote"


def test_keeping_nothing_is_the_candidate_and_keeping_all_the_champion() -> None:
    ours, theirs = play(0, gain=30)
    assert compose(ours, theirs, set()).digest() == ours.digest()
    everything = replace(compose(ours, theirs, set(ours.family)), policy=theirs.policy)
    assert everything.digest() == theirs.digest()


def test_a_router_is_as_slow_as_the_slower_of_its_two() -> None:
    ours, theirs = play(0)
    ours, theirs = replace(ours, latency_us={"p99": 90.0}), replace(theirs, latency_us={"p99": 400.0})
    assert compose(ours, theirs, {"outage"}).latency_us == {"p99": 400.0}
    assert compose(replace(ours, latency_us=None), theirs, {"outage"}).latency_us is None


def test_a_family_that_is_not_in_the_suite_is_refused() -> None:
    ours, theirs = play(0)
    with pytest.raises(BadInput, match=r"expected families of the suite \(normal, .*\), found recall"):
        compose(ours, theirs, {"recall"})


def test_scorecards_of_different_scenarios_are_not_composed() -> None:
    ours, theirs = play(0)
    with pytest.raises(BadInput, match="the same scenarios in the same order"):
        compose(ours, replace(theirs, seed=theirs.seed[::-1]), {"outage"})


# The plan


@pytest.mark.parametrize("seed", range(5))
def test_the_champion_is_kept_where_the_candidate_harms(seed: int) -> None:
    ours, theirs = play(seed, gain=30, harm={"outage": -0.05, "remote": -0.05})
    plan = propose_partial(ours, theirs, GATES)
    assert plan
    assert plan.kept == ("outage", "remote")
    assert plan.served == ("normal", "promotion", "stock-out", "supplier-late")
    assert [one.gate for one in plan.verdicts] == list(GATES)
    assert promotable(list(plan.verdicts))
    assert (plan.chosen_on, plan.judged_on) == (192, 192)
    assert (
        "champion goes on in outage, remote; chosen on 192 scenarios, judged on 192 others" in plan.sentence
    )


def test_the_gates_judge_only_scenarios_that_had_no_say_in_the_choice() -> None:
    """Every loss lies in the blocks between, so the choice cannot see it and the gates must."""
    ours, theirs = play(0, gain=30, harm={"outage": -0.05})
    between = (np.arange(384) % 64) % 2 == 1
    stock_out = np.array(ours.family) == "stock-out"
    profit = ours.profit - 4_000 * (between & stock_out)
    assert propose_partial(ours, theirs, GATES)
    assert propose_partial(replace(ours, profit=profit), theirs, GATES) is None


@pytest.mark.parametrize("world", [{"gain": 30}, {"gain": -30}, {}])
def test_there_is_no_plan_where_nothing_or_everything_is_safe(world: dict[str, float]) -> None:
    """All families gain: promote the candidate itself. All lose, or none gains: keep the champion."""
    assert propose_partial(*play(1, **world), GATES) is None


def test_a_plan_that_fails_another_gate_is_none() -> None:
    ours, theirs = play(0, gain=30, harm={"outage": -0.05}, flips=0.1)
    assert propose_partial(ours, theirs, GATES) is None
    assert propose_partial(ours, theirs, {"improvement": {}, "no-harm": {}})


@pytest.mark.parametrize("block", [0, 1])
def test_what_must_pass_must_pass_in_both_halves(block: int) -> None:
    ours, theirs = play(0, gain=30, harm={"outage": -0.05})
    name = f"{ours.family[block]}/{ours.seed[block]}"
    gates = {**GATES, "flips": {"must_pass": [name]}}
    handled = replace(ours, success=ours.success | (np.arange(ours.n) == block))
    failed = replace(ours, success=ours.success & (np.arange(ours.n) != block))
    assert propose_partial(handled, theirs, gates)
    assert propose_partial(failed, theirs, gates) is None


def test_many_candidates_make_a_plan_rarer() -> None:
    plans = [
        [propose_partial(*play(seed, gain=9, harm={"outage": -0.05}), GATES, tried) for tried in (1, 40)]
        for seed in range(6)
    ]
    assert sum(bool(among) for _, among in plans) < sum(bool(alone) for alone, _ in plans)


# A planted regression of one family, 5% of the suite, under a higher mean


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("how", ["profit", "success"])
def test_a_planted_regression_is_named_never_promoted_and_routed_around(how: str, seed: int) -> None:
    harm = {TWENTY[7]: -0.06} if how == "profit" else {}
    ours, theirs = play(seed, gain=30, harm=harm, families=TWENTY, each=32)
    planted = np.array(ours.family) == TWENTY[7]
    if how == "success":
        ours = replace(ours, success=ours.success & ~planted)
    assert planted.mean() == 0.05
    assert ours.profit.sum() > theirs.profit.sum()
    verdicts = {one.gate: one for one in judge(ours, theirs, GATES)}
    assert not promotable(list(verdicts.values()))
    assert TWENTY[7] in verdicts["no-harm" if how == "profit" else "flips"].sentence
    plan = propose_partial(ours, theirs, GATES)
    assert how == "success" or (plan and TWENTY[7] in plan.kept)
    assert how == "profit" or plan is None


# How often a router serves a family that it harms


def test_choosing_and_judging_on_the_same_scenarios_would_err_more_often() -> None:
    """Five families lie exactly at the tolerance: whatever luck makes look safe is served."""
    honest, naive = (
        next(row for row in errors.ROWS if row.gate == gate)
        for gate in ("partial", "partial, same scenarios")
    )
    reps = 100
    wrong = [errors.measure(row, reps)["pass"] / reps for row in (honest, naive)]
    assert wrong[0] <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / reps)
    assert wrong[1] > 0.1
