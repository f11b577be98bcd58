"""Claims about OR-Gym: its profit, period by period, on episodes that the package itself recorded.

`python -m benchmarks.or_gym_exact` records the episodes and compares hundreds more with the package.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from workgym.envs.supply_chain.env import Parts, Wish, lanes_of
from workgym.services.supply_chain.presets import or_gym
from workgym.services.supply_chain.scenario import setup_of

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "or_gym_golden.json"
EPISODES = json.loads(GOLDEN.read_text())
DISCOUNT = 0.97


def profits(lost, demand, orders):
    """Mills of each period of our env on a given demand."""
    network = or_gym(lost=lost, periods=len(demand))
    history = np.zeros((len(demand), 3, 1), np.int32)
    history[:, 0, 0] = demand
    setup = setup_of(network, history, np.zeros((len(demand), 1), np.bool_))
    parts = Parts("workgym/SupplyChain.or-gym-v0", network, setup, lambda split: parts)
    env = lanes_of(parts, 1, Wish())
    env.reset(seed=0)
    return np.array([env.step(np.array([order]))[1][0] for order in orders])


@pytest.mark.parametrize(("lost", "demand", "orders", "recorded"), EPISODES)
def test_every_period_earns_what_or_gym_recorded(lost, demand, orders, recorded):
    ours = DISCOUNT ** np.arange(len(demand)) * profits(lost, demand, orders) / 1000
    assert np.abs(ours - recorded).max() < 1e-9


def test_the_record_holds_both_versions_and_meets_every_limit():
    """Capacity, empty shelves and backlog: else the record would prove little."""
    assert {episode[0] for episode in EPISODES} == {False, True}
    assert any(max(order) >= 80 for episode in EPISODES for order in episode[2])
    assert any(min(episode[3]) < 0 < max(episode[3]) for episode in EPISODES)


@pytest.mark.parametrize(("lost", "wanted"), [(False, 3 * 75), (True, 75)])
def test_an_order_that_is_not_filled_waits_unless_it_is_lost(lost, wanted):
    """Stage 1 asks for one unit more than stage 2 ever has; a waiting order is penalised every period."""
    orders = [[100, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]
    idle = [[100, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    no_demand = [0] * 4
    missed = profits(lost, no_demand, idle).sum() - profits(lost, no_demand, orders).sum()
    assert missed == wanted
