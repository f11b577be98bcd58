"""Claims about the textbooks' problems: their optima are met in the env, and no unit appears or vanishes."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from workgym.agents.baselines import inventory, make_baseline
from workgym.agents.inventory import dual_sourcing, lost_sales, serial
from workgym.envs.supply_chain.env import Parts, Wish, lanes_of
from workgym.services.supply_chain import presets, rules
from workgym.services.supply_chain.scenario import setup_of
from workgym.services.supply_chain.spec import SUPPLIER, Distribution, Link, Network, Node
from workgym.services.supply_chain.state import State

# Zipkin (2008), table 3, Poisson(5): by penalty, lead times 1 to 4.
ZIPKIN = {4: (4.04, 4.40, 4.60, 4.73), 9: (5.44, 6.09, 6.53, 6.84)}
# Pirhooshyaran and Snyder (2020), arXiv 2006.05608, tables 2 and 3; row 3 is Snyder and Shen's example 6.1.
SERIAL = {
    "two stages": ((3, 0.5), (5, 8.2), (1, 1), 25.5, 22.21),
    "Snyder-Shen 6.1": ((5, 1), (2, 4, 7), (2, 1, 1), 37.12, 47.65),
    "customers two periods away": ((100, 5), (25, 25, 50), (1, 2, 2), 100, 10568.23),
    "four stages": ((3, 0.4), (4, 5.75, 7.9, 10.8), (1, 1, 1, 1), 35.5, 63.39),
}


def average_cost(env_id, name, lanes, periods, warm_up=100, **parameters):
    """Cost a period in the env, in the network's unit of money, and its standard error."""
    env = gym.make_vec(env_id, num_envs=lanes, split="gate", periods=warm_up + periods, **parameters)
    policy, total = make_baseline(env_id, name), np.zeros(lanes)
    obs, _ = env.reset(seed=0)
    policy.begin(env)
    for period in range(warm_up + periods):
        obs, reward, _, _, _ = env.step(policy.act(obs, env.mask))
        if period >= warm_up:
            total -= reward
    means = total / periods
    return means.mean(), means.std(ddof=1) / np.sqrt(lanes)


# Long-run costs


@pytest.mark.parametrize("penalty", [4, 9])
@pytest.mark.parametrize("lead_time", [1, 2, 3, 4])
def test_the_solver_agrees_with_zipkins_table(lead_time, penalty):
    problem = inventory.lost_sales_problem(presets.lost_sales(lead_time=lead_time, penalty=penalty))
    assert round(lost_sales.optimum(problem).average.cost, 2) == ZIPKIN[penalty][lead_time - 1]


@pytest.mark.parametrize(("lead_time", "penalty"), [(1, 9), (4, 4)])
def test_lost_sales_cost_in_the_env_what_the_solver_says(lead_time, penalty):
    check_lost_sales(lead_time, penalty, 2_000, 500, 0.005)


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [4, 9])
@pytest.mark.parametrize("lead_time", [1, 2, 3, 4])
def test_lost_sales_cost_a_tenth_of_a_percent_of_what_the_solver_says(lead_time, penalty):
    check_lost_sales(lead_time, penalty, 4_096, 3_000, 0.001)


def check_lost_sales(lead_time, penalty, lanes, periods, tolerance):
    parameters = {"lead_time": lead_time, "penalty": penalty}
    problem = inventory.lost_sales_problem(presets.lost_sales(**parameters))
    best = lost_sales.optimum(problem).average.cost
    cost, error = average_cost(inventory.LOST_SALES, "optimal", lanes, periods, **parameters)
    assert error < 0.4 * tolerance * best
    assert cost == pytest.approx(best, rel=tolerance)


@pytest.mark.parametrize(("regular_lead", "express_cost"), [(2, 105), (4, 110)])
def test_dual_sourcing_costs_in_the_env_what_the_solver_says(regular_lead, express_cost):
    check_dual_sourcing(regular_lead, express_cost, 2_048, 500, 0.002)


@pytest.mark.slow
@pytest.mark.parametrize("express_cost", [105, 110])
@pytest.mark.parametrize("regular_lead", [2, 3, 4])
def test_dual_sourcing_costs_a_tenth_of_a_percent_of_what_the_solver_says(regular_lead, express_cost):
    check_dual_sourcing(regular_lead, express_cost, 4_096, 1_000, 0.001)


def check_dual_sourcing(regular_lead, express_cost, lanes, periods, tolerance):
    parameters = {"regular_lead": regular_lead, "express_cost": express_cost}
    problem = inventory.dual_sourcing_problem(presets.dual_sourcing(**parameters))
    best = dual_sourcing.optimum(problem).average.cost
    cost, error = average_cost(inventory.DUAL_SOURCING, "optimal", lanes, periods, **parameters)
    assert error < 0.4 * tolerance * best
    assert cost == pytest.approx(best, rel=tolerance)


@pytest.mark.parametrize("row", SERIAL)
def test_serial_systems_cost_in_the_env_what_clark_and_scarf_say(row):
    (mean, deviation), holding, lead_times, penalty, published = SERIAL[row]
    parameters = {
        "mean": mean, "deviation": deviation, "holding": holding, "lead_times": lead_times, "penalty": penalty
    }  # fmt: skip
    network = presets.serial(**parameters)
    best = serial.optimal_levels(inventory.serial_system(network)).cost
    assert best / network.scale == pytest.approx(published, rel=0.0005)
    cost, error = average_cost(inventory.SERIAL, "clark-scarf", 512, 300, **parameters)
    assert error < 0.002 * best
    assert cost == pytest.approx(best, rel=0.005)


def test_the_dual_sourcing_transition_is_the_published_one():
    """Gijsbrechts et al. (2022), section 6.2: stock 8, orders 3 and 1; 2 regular, 1 express, demand 4."""
    network = presets.dual_sourcing(regular_lead=3, periods=1)
    network = Network(**{**vars(network), "nodes": (constant(network.nodes[0], 4),)})
    env = vector(network, 1)
    env.reset(seed=0)
    state = State.from_bytes(env.backend.state_bytes(0))
    way = np.zeros_like(state.way)
    way[0, 0, 1], way[0, 0, 2] = 3, 1
    start = State(**{**vars(state), "on_hand": np.array([[8]]), "way": way})
    env.backend.load_state(0, start.to_bytes())
    _, reward, _, _, _ = env.step(np.array([[2, 1]]))
    after = State.from_bytes(env.backend.state_bytes(0))
    assert reward[0] == -330
    assert after.on_hand[0, 0] == 8
    assert after.way[0, 0, 1:3].tolist() == [1, 2]


def constant(node, units):
    """The same node with the same demand every period."""
    return Node(**{**vars(node), "demand": Distribution("constant", (units,))})


def vector(network, lanes):
    """Lanes of any network."""
    setup = setup_of(network)
    parts = Parts("workgym/SupplyChain-v0", network, setup, lambda split: parts)
    return lanes_of(parts, lanes, Wish())


def test_the_beer_games_benchmark_costs_204():
    """Sterman (1989): 46, 50, 54 and 54 for retailer, wholesaler, distributor and factory."""
    env = gym.make_vec(inventory.BEER_GAME, num_envs=1, autoreset_mode=AutoresetMode.DISABLED)
    policy = make_baseline(inventory.BEER_GAME, "sterman")
    obs, _ = env.reset(seed=0)
    policy.begin(env)
    before, booked, costs = State.from_bytes(env.backend.state_bytes(0)), 0.0, np.zeros(4)
    for _ in range(36):
        obs, reward, _, _, _ = env.step(policy.act(obs, env.mask))
        now = State.from_bytes(env.backend.state_bytes(0))
        booked -= reward[0] / 10
        came = before.way[:, 0, 1]  # since the books of the week were closed
        owes = np.append(now.owed[1:, 0], now.backlog[3, 0])
        costs += 0.5 * (now.on_hand[:, 0] - came) + owes
        before = now
    assert costs.tolist() == [54, 54, 50, 46]
    assert booked == 204


# Laws

chances = st.integers(0, 1000)


@st.composite
def networks(draw):
    """Two stores behind a warehouse; a unit costs 1 at the supplier and 1 in the store, a lost customer 1."""
    whole = draw(st.booleans())
    waits = draw(st.sampled_from([0, 350, 1000]))
    law = Distribution("poisson", (draw(st.sampled_from([0.5, 3.0])),))
    store = {"demand": law, "price": 1, "lost": 1, "waits_pm": waits, "opening": draw(st.integers(0, 5))}
    instalments = draw(st.sampled_from([(1000,), (500, 500), (300, 0, 700)]))
    leads = st.sampled_from([0, 1, 3, ((1, 500), (4, 500))])
    first = Link(
        SUPPLIER, "warehouse", draw(leads), crosses=draw(st.booleans()), instalments_pm=instalments,
        order_delay=draw(st.integers(0, 2)), keeps_orders=draw(st.booleans()), most=9, cost=1,
        capacity=draw(st.sampled_from([0, 5])), opening=draw(st.integers(0, 3)),
    )  # fmt: skip
    links = [
        Link("warehouse", name, draw(leads), keeps_orders=draw(st.booleans()), most=9, pack=1 if whole else 3)
        for name in ("north", "south")
    ]
    nodes = (
        Node("warehouse", opening=draw(st.integers(0, 9))),
        Node("north", **store),
        Node("south", **store),
    )
    return Network(
        "any", nodes, (first, *links), periods=12, receives_first=draw(st.booleans()), currency="units"
    )


@given(network=networks(), seed=st.integers(0, 2**31 - 1))
@settings(max_examples=60, deadline=None)
def test_no_unit_and_no_customer_appears_or_vanishes(network, seed):
    env, rng = vector(network, 4), np.random.default_rng(seed)
    env.reset(seed=seed)
    worlds = [State.from_bytes(env.backend.state_bytes(lane)) for lane in range(4)]
    for _ in range(network.periods):
        env.step(rng.integers(0, 10, (4, 3)))
        for lane in range(4):
            now = State.from_bytes(env.backend.state_bytes(lane))
            check_period(worlds[lane], now)
            worlds[lane] = now


def check_period(before, now):
    """Units bought, sold and left over add up; so do customers who came, were served, wait and left."""
    booked = dict(zip(rules.ACCOUNTS, (now.ledger - before.ledger).tolist(), strict=True))
    bought, sold, left = -booked["purchases"], booked["sales"], -booked["shortage"]
    units = [int(one.on_hand.sum() + one.way.sum()) for one in (before, now)]
    assert units[1] - units[0] == bought - sold
    assert now.demanded - before.demanded == sold + left + int(now.backlog.sum() - before.backlog.sum())
    for part in (now.on_hand, now.backlog, now.owed, now.mail, now.way):
        assert part.min() >= 0
    assert sold >= 0
    assert left >= 0
