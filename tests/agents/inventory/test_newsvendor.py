"""Backlogged demand: closed forms against sums, and (s, S) against its own Markov chain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workgym.agents.inventory import demand as demands
from workgym.agents.inventory.chains import Moves, average_cost, reachable
from workgym.agents.inventory.lost_sales_policies import ReorderUpTo
from workgym.agents.inventory.newsvendor import (
    base_stock,
    critical_fractile,
    normal_base_stock,
    reorder_cost,
    reorder_up_to,
)
from workgym.services.kernel import BadInput

HDPO = [  # lead time, cost at penalty 4, 9, 19, 39: test losses on a backlogged store, normal(5, 1.6), h = 1
    (1, (3.17, 3.97, 4.67, 5.29)),
    (4, (5.01, 6.28, 7.38, 8.37)),
    (7, (6.33, 7.94, 9.33, 10.58)),
    (10, (7.43, 9.31, 10.96, 12.42)),
    (15, (8.95, 11.23, 13.21, 14.97)),
    (20, (10.26, 12.88, 15.13, 17.14)),
]


@pytest.mark.parametrize(("lead_time", "costs"), HDPO)
def test_the_closed_form_is_what_hdpo_reaches(lead_time, costs):
    """Alvo et al. (2023) print losses of a trained policy on samples, so the last digit may be off by one."""
    for penalty, printed in zip((4, 9, 19, 39), costs, strict=True):
        assert normal_base_stock(5, 1.6, lead_time, 1, penalty).cost == pytest.approx(printed, abs=0.016)


def test_the_closed_form_is_the_worked_figure():
    assert normal_base_stock(5, 1.6, 1, 1, 4).cost == pytest.approx(3.167, abs=1e-3)
    assert critical_fractile(1, 4) == 0.8


@settings(deadline=None)
@given(st.floats(0.5, 30), st.floats(0.3, 5), st.floats(0.5, 60), st.integers(0, 4))
def test_no_other_base_stock_level_costs_less(mean, holding, penalty, lead_time):
    demand = demands.poisson(mean)
    best = base_stock(demand, lead_time, holding, penalty)
    faced = demand.over(lead_time + 1)
    every = faced.expected_cost(np.arange(faced.largest + 1), holding, penalty)
    assert best.cost == pytest.approx(every.min(), rel=1e-9)


def test_reorder_up_to_is_the_textbook_answer():
    """Snyder and Shen, example 4.7: Poisson(6), h = 1, p = 4, K = 5."""
    found = reorder_up_to(demands.poisson(6), 0, 1, 4, 5)
    assert (found.policy.reorder, found.policy.level) == (4, 10)
    assert found.cost == pytest.approx(8.034111561471642, rel=1e-9)


FIXED = st.tuples(
    st.one_of(st.builds(demands.poisson, st.floats(0.3, 8)), st.builds(demands.geometric, st.floats(0.3, 5))),
    st.integers(0, 3),
    st.floats(0.5, 3),
    st.floats(2, 30),
    st.floats(0, 80),
)


@settings(max_examples=12, deadline=None)
@given(FIXED)
def test_no_other_reorder_policy_costs_less(problem):
    found = reorder_up_to(*problem)
    s, S = found.policy.reorder, found.policy.level
    for reorder in range(s - 6, s + 7):
        for level in range(max(reorder + 1, S - 9), S + 10):
            assert reorder_cost(*problem, ReorderUpTo(reorder, level)) >= found.cost * (1 - 1e-9)


@settings(max_examples=15, deadline=None)
@given(FIXED, st.integers(-3, 6), st.integers(1, 12))
def test_the_cost_of_a_reorder_policy_is_that_of_its_chain(problem, reorder, span):
    demand, lead_time, holding, penalty, fixed = problem
    policy = ReorderUpTo(reorder, reorder + span)
    drawn = np.arange(len(demand.pmf))

    def period(position, pipeline):
        order = policy.order(position, pipeline)
        after = position + order
        cost = demand.over(lead_time + 1).expected_cost(after, holding, penalty) + fixed * (order > 0)
        return Moves(after[:, None] - drawn, np.tile(demand.pmf, (len(after), 1)), pipeline, cost)

    chain = reachable(period, policy.level, np.zeros(0, dtype=np.int64))
    assert reorder_cost(*problem, policy) == pytest.approx(average_cost(chain, 1e-9).cost, rel=1e-6)


def test_without_a_fixed_cost_it_is_the_base_stock():
    demand = demands.poisson(5)
    found, plain = reorder_up_to(demand, 2, 1, 9, 0), base_stock(demand, 2, 1, 9)
    assert found.policy.level == plain.policy.level
    assert found.cost == pytest.approx(plain.cost, rel=1e-9)


def test_nonsense_is_refused():
    with pytest.raises(BadInput, match="positive"):
        critical_fractile(0, 4)
    with pytest.raises(BadInput, match="s < S"):
        reorder_cost(demands.poisson(5), 0, 1, 4, 5, ReorderUpTo(5, 5))
    with pytest.raises(BadInput, match="spread"):
        normal_base_stock(5, 0, 1, 1, 4)
