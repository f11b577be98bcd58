"""Demand tables: what is drawn from them is the distribution that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from workgym.services.kernel import BadInput
from workgym.services.supply_chain.demand import (
    HIGHEST_STEP,
    LOWEST_STEP,
    factors_pm,
    mean_at,
    probabilities,
    step_of,
    tables_for,
)
from workgym.services.supply_chain.spec import Distribution

LAWS = [
    (Distribution("poisson", (5.0,)), stats.poisson(5.0)),
    (Distribution("geometric", (5.0,)), stats.geom(1 / 6, loc=-1)),
    (Distribution("negative-binomial", (6.0, 2.0)), stats.nbinom(6.0, 0.5)),
    (Distribution("uniform", (2, 9)), stats.randint(2, 10)),
]


@pytest.mark.parametrize(("law", "truth"), LAWS, ids=lambda one: getattr(one, "kind", ""))
def test_a_table_is_the_distribution_to_the_last_bit_that_it_keeps(law, truth):
    tables, [(group, step)] = tables_for([law])
    assert (group, step) == (0, 0)
    cdf = tables.cdf / 2.0**32
    values = tables.low[0] + np.arange(len(cdf))
    assert np.abs(cdf - truth.cdf(values)).max() < 1e-8
    assert tables.mean[0] == pytest.approx(1000 * truth.mean(), abs=1)


@pytest.mark.parametrize(("law", "truth"), LAWS, ids=lambda one: getattr(one, "kind", ""))
def test_the_guide_never_passes_the_entry_that_a_draw_belongs_to(law, truth):
    tables, _ = tables_for([law])
    draws = np.arange(256, dtype=np.uint64) << 24
    right = np.searchsorted(tables.cdf, draws, side="right")
    assert (tables.guide[0] <= right).all()
    assert (right - tables.guide[0]).max() <= 0 or right.max() == len(tables.cdf)


@given(st.floats(0.02, 2000))
def test_a_mean_lies_within_half_a_step_of_the_grid(mean):
    assert mean_at(step_of(mean)) == pytest.approx(mean, rel=2 ** (1 / 32) - 1 + 1e-9)


def test_sixteen_steps_are_an_octave():
    factors = factors_pm()
    assert factors[HIGHEST_STEP] == 1000
    assert factors[HIGHEST_STEP + 16] == 2000
    assert factors[HIGHEST_STEP - 16] == 500
    assert (np.diff(factors) >= 0).all()


@given(st.floats(0.05, 20), st.floats(0, 0.95))
def test_intermittent_demand_has_the_mean_and_at_least_the_empty_periods_asked_for(mean, empty):
    low, pmf = probabilities(Distribution("intermittent", (mean, empty)))
    assert low == 0
    assert pmf @ np.arange(len(pmf)) == pytest.approx(mean, rel=1e-6)
    assert pmf[0] >= empty - 1e-9


def test_normal_demand_below_zero_counts_as_none():
    low, pmf = probabilities(Distribution("normal", (0.0, 4.0)))
    assert low == 0
    assert pmf[0] == pytest.approx(stats.norm.cdf(0.5 / 4.0), abs=1e-6)


def test_moving_demands_of_one_shape_share_a_group():
    laws = [Distribution("negative-binomial", (mean, 2.0), moves=True) for mean in (0.5, 1.0, 40.0)]
    tables, places = tables_for([*laws, Distribution("poisson", (3.0,), moves=True)])
    assert [group for group, _ in places] == [0, 0, 0, 1]
    assert [step for _, step in places[:3]] == [-16, 0, step_of(40.0)]
    first, _, lowest = tables.group[0]
    assert tables.mean[first + 0 - lowest] == pytest.approx(1000, abs=2)


@pytest.mark.parametrize(
    ("law", "said"),
    [
        (Distribution("poison", (1.0,)), "did you mean 'poisson'"),
        (Distribution("poisson", (1.0, 2.0)), "expected 1 parameters"),
        (Distribution("poisson", (-1.0,)), "positive mean"),
        (Distribution("poisson", (float("nan"),)), "parameters"),
        (Distribution("negative-binomial", (5.0, 0.5)), "more variance than mean"),
        (Distribution("uniform", (3, 1)), "whole bounds"),
        (Distribution("normal", (5.0, 0.0)), "positive deviation"),
        (Distribution("intermittent", (5.0, 1.0)), "empty periods"),
        (Distribution("uniform", (0, 4), moves=True), "cannot move"),
    ],
)
def test_a_law_that_makes_no_sense_is_refused_with_a_way_out(law, said):
    with pytest.raises(BadInput, match=said):
        tables_for([law])


def test_steps_beyond_the_grid_are_its_ends():
    assert step_of(1e-9) == LOWEST_STEP
    assert step_of(0) == LOWEST_STEP
    assert step_of(1e9) == HIGHEST_STEP
