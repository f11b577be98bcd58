"""Serial systems: published instances, simulation, and both conventions of time.

Figures: Pirhooshyaran and Snyder (2020), tables 1-3, as solved again by stockpyl 1.0.2, whose grid errs by
about 0.01 %; problems 6.x of Snyder and Shen and row 1 of Shang and Song (2003) with the data of stockpyl.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workgym.agents.inventory import demand as demands
from workgym.agents.inventory import serial
from workgym.agents.inventory.demand import Normal
from workgym.agents.inventory.newsvendor import base_stock, normal_base_stock
from workgym.agents.inventory.serial import EchelonBaseStock, Serial, expected_cost, optimal_levels, simulate
from workgym.services.kernel import BadInput

ROWS = [
    (3, 0.5, (5, 8.2), (1, 1), 25.5, 22.217),
    (6, 1.5, (1.9, 4.1), (2, 1), 11.3, 23.080),
    (5, 1, (2, 4, 7), (2, 1, 1), 37.12, 47.665),
    (50, 3, (5, 10, 25), (2, 1, 1), 50, 879.996),
    (100, 5, (25, 25, 50), (1, 2, 2), 100, 10568.216),
    (100, 10, (10, 20, 30), (1, 1, 1), 100, 3631.326),
    (3, 0.4, (4, 5.75, 7.9, 10.8), (1, 1, 1, 1), 35.5, 63.407),
    (5, 1.2, (5, 5, 5, 10), (1, 1, 1, 1), 30, 101.505),
    (80, 4, (10, 20, 30, 40, 50), (1, 1, 1, 1, 1), 200, 8560.647),
    (25, 2, (5, 10, 25, 50, 50), (2, 1, 1, 1, 1), 150, 2501.156),
]
NAMED = [
    (Serial(Normal(100, 15), (1, 2), (1, 1), 15), 166.2705),
    (Serial(Normal(64, 8), (1, 2, 3, 5, 7), (0.5,) * 5, 24), 451.7288),
    (Serial(demands.poisson(64), (1, 2, 3, 5, 7), (0.5,) * 5, 24), 453.6856),
    (Serial(Normal(20, 4), (2, 7), (3, 8), 24), 438.2396),
    (Serial(demands.poisson(16), (0.25, 0.5, 0.75, 1), (0.25,) * 4, 9), 12.6869),
]


@pytest.mark.parametrize(("mean", "sd", "holding", "lead_times", "penalty", "cost"), ROWS)
def test_the_ten_rows_agree_to_the_grid_they_were_solved_on(mean, sd, holding, lead_times, penalty, cost):
    found = optimal_levels(Serial(Normal(mean, sd), holding, lead_times, penalty))
    assert found.cost == pytest.approx(cost, rel=2e-4)


@pytest.mark.parametrize(("mean", "sd", "holding", "lead_times", "penalty", "cost"), ROWS)
def test_a_finer_lattice_does_not_move_the_cost(monkeypatch, mean, sd, holding, lead_times, penalty, cost):
    system = Serial(Normal(mean, sd), holding, lead_times, penalty)
    coarse = optimal_levels(system)
    monkeypatch.setattr(serial, "FINE", 3 * serial.FINE)
    assert optimal_levels(system).cost == pytest.approx(coarse.cost, rel=1e-7)


@pytest.mark.parametrize(("system", "cost"), NAMED)
def test_the_named_instances_agree(system, cost):
    assert optimal_levels(system).cost == pytest.approx(cost, rel=3e-4)


def test_levels_agree_where_they_were_published():
    assert optimal_levels(NAMED[4][0]).policy.levels == (22, 18, 13, 8)  # Shang and Song
    example = Serial(Normal(5, 1), (2, 4, 7), (2, 1, 1), 37.12)  # Snyder and Shen: 10.69 + 5.53 + 6.49
    levels = optimal_levels(example).policy.levels
    assert -np.diff([*levels, 0.0]) == pytest.approx((10.69, 5.53, 6.49), abs=6e-3)
    assert optimal_levels(NAMED[0][0]).policy.levels == pytest.approx(
        (228.49, 123.94), rel=5e-3
    )  # flat there


@pytest.mark.parametrize(
    ("mean", "sd", "level", "cost"),
    [(10, 1, 10.67, 12.71), (10, 2, 11.35, 25.42), (50, 5, 53.37, 63.56), (100, 10, 106.74, 127.11)],
)
def test_a_single_stage_is_the_newsvendor_of_the_literature(mean, sd, level, cost):
    found = optimal_levels(Serial(Normal(mean, sd), (10,), (1,), 30))
    assert (found.policy.levels[0], found.cost) == pytest.approx((level, cost), abs=6e-3)


@pytest.mark.parametrize("lead_time", [0, 1, 4])
def test_a_single_stage_in_periodic_review_is_the_base_stock_closed_form(lead_time):
    normal = optimal_levels(Serial(Normal(5, 1.6), (1,), (lead_time,), 9, "L+1"))
    closed = normal_base_stock(5, 1.6, lead_time, 1, 9)
    assert (normal.policy.levels[0], normal.cost) == pytest.approx(closed, rel=1e-5)
    whole = optimal_levels(Serial(demands.poisson(5), (1,), (lead_time,), 9, "L+1"))
    exact = base_stock(demands.poisson(5), lead_time, 1, 9)
    assert whole.policy.levels == (exact.policy.level,)
    assert whole.cost == pytest.approx(exact.cost, rel=1e-9)


@pytest.mark.parametrize("counts", ["L", "L+1"])
@pytest.mark.parametrize(
    ("demand", "holding", "lead_times", "penalty", "levels"),
    [
        (Normal(5, 1), (2, 4, 7), (2, 1, 1), 37.12, (27.0, 16.0, 11.5)),
        (demands.poisson(5), (1, 2), (0, 3), 9, (22, 20)),
        (demands.geometric(3), (1, 1.5, 4), (1, 0, 2), 20, (30, 24, 17)),
    ],
)
def test_simulation_agrees_with_the_exact_cost(counts, demand, holding, lead_times, penalty, levels):
    system = Serial(demand, holding, lead_times, penalty, counts)
    for policy in (EchelonBaseStock(levels), optimal_levels(system).policy):
        estimate = simulate(system, policy, np.random.default_rng(7), lanes=600, periods=400)
        exact = expected_cost(system, policy)
        assert abs(estimate.cost - exact) < 4.5 * estimate.error
        assert estimate.error < 0.02 * exact


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_other_levels_cost_less(data):
    stages = data.draw(st.integers(1, 4))
    steps = data.draw(st.lists(st.floats(0.2, 3), min_size=stages, max_size=stages))
    lead_times = data.draw(st.lists(st.integers(0, 3), min_size=stages, max_size=stages))
    demand = data.draw(st.sampled_from([Normal(5, 1.5), demands.poisson(4), demands.uniform(0, 6)]))
    counts = data.draw(st.sampled_from(["L", "L+1"]))
    system = Serial(demand, tuple(np.cumsum(steps)), tuple(lead_times), data.draw(st.floats(2, 40)), counts)
    found = optimal_levels(system)
    moves = data.draw(st.lists(st.integers(-4, 4), min_size=stages, max_size=stages))
    other = tuple(level + move for level, move in zip(found.policy.levels, moves, strict=True))
    assert expected_cost(system, found.policy) == pytest.approx(found.cost, rel=1e-6, abs=1e-9)
    assert expected_cost(system, EchelonBaseStock(other)) >= found.cost * (1 - 1e-6) - 1e-9


HDPO = [  # lead time of the store, (test loss, gap in percent to the best echelon stock) at p = 4, 9, 19, 39
    (1, ((6.94, 0.60), (8.42, 0.62), (9.65, 0.42), (10.76, 0.56))),
    (2, ((7.65, 0.66), (9.32, 0.58), (10.73, 0.56), (11.97, 0.45))),
    (3, ((8.26, 0.54), (10.12, 0.76), (11.65, 0.44), (13.04, 0.52))),
    (4, ((8.82, 0.62), (10.82, 0.70), (12.51, 0.63), (14.01, 0.61))),
]


@pytest.mark.parametrize(("lead_time", "losses"), HDPO)
def test_the_optimum_of_hdpos_four_stages_is_what_their_best_echelon_stock_costs(lead_time, losses):
    """Alvo et al. (2023): normal(5, 2) cut at 0, here in tenths of a piece; their levels are trained."""
    demand = demands.discretised_normal(50, 20)
    for penalty, (loss, gap) in zip((4, 9, 19, 39), losses, strict=True):
        system = Serial(demand, (0.1, 0.2, 0.5, 1), (2, 4, 3, lead_time), penalty, "L+1")
        cost = (optimal_levels(system).cost - system.in_transit) / 10
        trained = loss / (1 + gap / 100)
        assert 0.998 * trained < cost < 1.0005 * trained


@pytest.mark.parametrize("levels", [(24, 16, 11), (30, 13, 12)])
def test_stock_in_transit_costs_the_same_under_any_levels(levels):
    """Charge nothing but the way from stage 1 to 2, by the difference of two systems that agree elsewhere."""
    near = Serial(demands.poisson(3), (1, 2, 5), (1, 2, 3), 20)
    policy = EchelonBaseStock(levels)
    later = Serial(demands.poisson(3), (1 + 1e-3, 2 + 1e-3, 5 + 1e-3), (1, 2, 3), 20)
    on_hand = (expected_cost(later, policy) - expected_cost(near, policy)) / 1e-3 - 3 * (2 + 3)
    assert near.in_transit == pytest.approx(3 * (1 * 2 + 2 * 3))
    assert later.in_transit - near.in_transit == pytest.approx(1e-3 * 3 * (2 + 3))
    assert on_hand > 0  # what is left of the extra charge lies at the stages


def test_five_stages_take_less_than_a_tenth_of_a_second():
    system = Serial(Normal(80, 4), (10, 20, 30, 40, 50), (1,) * 5, 200)
    optimal_levels(system)
    begin = time.process_time()
    optimal_levels(system)
    assert time.process_time() - begin < 0.1


def test_what_is_no_system_is_refused():
    with pytest.raises(BadInput, match="source first"):
        Serial(Normal(5, 1), (4, 2), (1, 1), 9)
    with pytest.raises(BadInput, match="whole levels"):
        expected_cost(Serial(demands.poisson(5), (1,), (1,), 9), EchelonBaseStock((5.5,)))
    with pytest.raises(BadInput, match="whole periods"):
        simulate(NAMED[4][0], EchelonBaseStock((22, 18, 13, 8)), np.random.default_rng(0))
