"""The front holds whom nobody beats, a profile picks from it, and what is given up is told."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workgym.factory.profiles import (
    MEASURES,
    PROFILES,
    comparable,
    dominates,
    flip_matrix,
    flip_rate,
    front,
    is_better,
    measure,
    measured_by,
    pick,
    within,
)
from workgym.factory.records import Scorecard
from workgym.services.kernel import BadInput

values = st.integers(0, 3).map(float)
everything = st.fixed_dictionaries(dict.fromkeys(MEASURES, values))
some = st.lists(everything, min_size=1, max_size=6).map(lambda all_: dict(enumerate(all_, start=1)))


def card(success=(1, 1, 0, 0), profit=(100, 200, 300, 400), policy="one", seed=(0, 1, 0, 1)):
    n = len(success)
    return Scorecard(
        policy=policy,
        env_id="workgym/Orders-v0",
        suite="5" * 64,
        backend="twin",
        family=("calm", "calm", "storm", "storm"),
        seed=seed,
        profit=np.array(profit, dtype=np.int64),
        cases=np.full(n, 10),
        success=np.array(success, dtype=bool),
        violations=np.zeros(n, dtype=np.int64),
        obligations=np.full(n, 10),
        latency_us={"p50": 1.0, "p99": 2.0},
    )


@given(some)
def test_nobody_on_the_front_is_dominated_and_everybody_else_is(candidates):
    over = comparable(candidates)
    best = front(candidates)
    assert best
    for number, own in candidates.items():
        beaten = any(dominates(other, own, over) for other in candidates.values())
        assert beaten == (number not in best)


@given(some)
def test_the_front_is_the_one_that_optuna_finds(candidates):
    over = comparable(candidates)
    study = optuna.create_study(
        directions=["maximize" if MEASURES[name].more else "minimize" for name in over]
    )
    for own in candidates.values():
        study.add_trial(optuna.trial.create_trial(values=[own[name] for name in over]))
    theirs = {trial.number + 1 for trial in study.best_trials}
    assert set(front(candidates)) == theirs


@pytest.mark.parametrize("profile", PROFILES)
@given(candidates=some)
def test_a_profile_picks_the_best_by_its_measure_and_never_one_that_is_dominated(profile, candidates):
    chosen = pick(candidates, profile, {})
    by = PROFILES[profile]
    own = candidates[chosen.number]
    assert not any(is_better(by, other[by], own[by]) for other in candidates.values())
    assert chosen.number in front(candidates)


@pytest.mark.parametrize("profile", PROFILES)
@given(candidates=some)
def test_whatever_is_given_up_is_told_with_who_had_it(profile, candidates):
    chosen = pick(candidates, profile, {})
    own = candidates[chosen.number]
    for name in comparable(candidates):
        better = [number for number, other in candidates.items() if is_better(name, other[name], own[name])]
        assert (name in chosen.given_up) == bool(better)
        if better:
            assert chosen.given_up[name]["version"] in better
            assert f"version {chosen.given_up[name]['version']}" in chosen.sentence


def test_a_specialist_is_picked_by_the_profit_of_its_family():
    storm = {"profit": 5.0, "profit.storm": 9.0}
    calm = {"profit": 8.0, "profit.storm": 1.0}
    chosen = pick({1: calm, 2: storm}, "specialist:storm", {})
    assert chosen.number == 2
    assert chosen.given_up["profit"] == {"chosen": 5.0, "best": 8.0, "version": 1}


def test_limits_keep_out_whoever_breaks_them_and_whoever_was_not_measured():
    large, small, unknown = (
        {"profit": 9.0, "bytes": 900.0},
        {"profit": 5.0, "bytes": 90.0},
        {"profit": 10.0},
    )
    assert within(large, {"bytes": 100}) == within(unknown, {"bytes": 100}) == ["bytes"]
    assert pick({1: large, 2: small, 3: unknown}, "profit", {"bytes": 100}).number == 2
    assert pick({1: large}, "profit", {"bytes": 100}) is None


def test_a_profile_that_needs_what_nobody_measured_picks_nobody():
    assert pick({1: {"profit": 9.0}}, "robust", {}) is None


def test_measures_say_what_a_candidate_earns_loses_and_costs():
    champion = card(success=(1, 1, 1, 0), policy="two")
    found = measure(card(), champion, bytes_=1234, cpu_seconds=5.5, robustness=0.75)
    assert found == {
        "profit": 25.0,
        "worst_family": 15.0,
        "profit.calm": 15.0,
        "profit.storm": 35.0,
        "flips": 0.25,
        "p99_us": 2.0,
        "bytes": 1234.0,
        "cpu_seconds": 5.5,
        "robustness": 0.75,
    }


def test_a_flip_matrix_counts_what_the_row_handles_and_the_column_does_not():
    one, other = card(), card(success=(1, 0, 1, 1), policy="two")
    np.testing.assert_allclose(flip_matrix({"one": one, "other": other}), [[0, 0.25], [0.5, 0]])


def test_flips_of_different_scenarios_are_refused():
    with pytest.raises(BadInput, match="same scenarios"):
        flip_rate(card(), card(seed=(0, 1, 0, 2)))


@pytest.mark.parametrize(
    ("profile", "wanted"),
    [("smal", "did you mean 'small'"), ("specialist:strm", "did you mean 'storm'"), ("", "no profile")],
)
def test_an_unknown_profile_is_named_with_what_there_is(profile, wanted):
    with pytest.raises(BadInput, match=wanted):
        measured_by(profile, ["calm", "storm"])
