"""Demand distributions: probabilities, exact tails, sums and quantiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from workgym.agents.inventory import demand as demands
from workgym.services.kernel import BadInput

FAMILIES = st.one_of(
    st.builds(demands.poisson, st.floats(0.1, 40)),
    st.builds(demands.geometric, st.floats(0.1, 15)),
    st.builds(demands.negative_binomial, st.floats(0.1, 20), st.floats(0.2, 20)),
    st.builds(lambda low, more: demands.uniform(low, low + more), st.integers(0, 9), st.integers(0, 20)),
    st.builds(demands.discretised_normal, st.floats(-3, 30), st.floats(0.1, 12)),
)


@settings(deadline=None)
@given(FAMILIES)
def test_probabilities_and_tails_add_up(demand):
    assert demand.pmf.sum() == pytest.approx(1, abs=1e-12)
    assert demand.tail[0] == pytest.approx(1, abs=1e-12)
    assert demand.tail[1:].sum() == pytest.approx(demand.mean, abs=1e-9)  # E D = sum of P(D >= k), k >= 1
    assert (np.diff(demand.cdf) >= -1e-15).all()


@settings(deadline=None)
@given(FAMILIES, st.floats(0, 1))
def test_a_quantile_is_the_least_level_that_covers(demand, level):
    k = demand.quantile(level)
    assert demand.cdf[k] >= level - 1e-11
    assert k == 0 or demand.cdf[k - 1] < level


@settings(deadline=None)
@given(FAMILIES, st.integers(1, 6))
def test_periods_together_have_the_sum_of_means_and_variances(demand, periods):
    together = demand.over(periods)
    assert together.mean == pytest.approx(periods * demand.mean, rel=1e-7, abs=1e-7)
    assert together.variance == pytest.approx(periods * demand.variance, rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(FAMILIES, st.integers(1, 4))
def test_a_closed_form_sum_is_the_convolution(demand, periods):
    plain = demands.Demand(demand.pmf)
    ours, theirs = demand.over(periods), plain.over(periods)
    length = max(len(ours.pmf), len(theirs.pmf))
    np.testing.assert_allclose(ours.padded(length)[0], theirs.padded(length)[0], atol=1e-9)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-9])
def test_the_cut_leaves_no_more_than_the_tolerance_and_keeps_tails_exact(tolerance):
    law, demand = stats.poisson(7), demands.poisson(7, tolerance)
    assert law.sf(demand.largest) <= tolerance < law.sf(demand.largest - 2)
    np.testing.assert_allclose(demand.tail, law.sf(np.arange(len(demand.pmf)) - 1), rtol=1e-9)


def test_geometric_demand_starts_at_zero():
    """P(k) = (1/6) (5/6)^k, the convention of Zipkin (2008)."""
    pmf = demands.geometric(5).pmf
    np.testing.assert_allclose(pmf[:4], [(1 / 6) * (5 / 6) ** k for k in range(4)])


def test_a_normal_is_rounded_and_its_negatives_are_zero():
    demand = demands.discretised_normal(2, 3)
    assert demand.pmf[0] == pytest.approx(stats.norm.cdf(0.5, 2, 3))
    assert demand.pmf[4] == pytest.approx(stats.norm.cdf(4.5, 2, 3) - stats.norm.cdf(3.5, 2, 3))


@settings(deadline=None)
@given(FAMILIES, st.integers(-20, 60), st.floats(0.1, 9), st.floats(0.1, 40))
def test_the_expected_cost_is_the_sum_over_demands(demand, level, holding, penalty):
    d = np.arange(len(demand.pmf))
    each = holding * np.maximum(level - d, 0) + penalty * np.maximum(d - level, 0)
    assert demand.expected_cost(level, holding, penalty) == pytest.approx(
        demand.pmf @ each, rel=1e-9, abs=1e-9
    )


def test_samples_follow_the_distribution():
    demand = demands.poisson(5)
    drawn = demand.sample(np.random.default_rng(0), 200_000)
    assert np.abs(np.bincount(drawn, minlength=30)[:12] / 200_000 - demand.pmf[:12]).max() < 0.004


def test_half_a_period_is_for_families_that_divide():
    assert demands.poisson(16).over(0.25).mean == pytest.approx(4)
    with pytest.raises(BadInput, match="whole periods"):
        demands.uniform(0, 4).over(0.5)


def test_what_is_no_distribution_is_refused():
    with pytest.raises(BadInput, match="sum"):
        demands.Demand(np.array([0.5, 0.4]))
    with pytest.raises(BadInput, match="low <= high"):
        demands.uniform(3, 1)
    with pytest.raises(BadInput, match="positive"):
        demands.poisson(-1)
