"""Claims about who knows the future: nobody earns more than the bound, and the clairvoyant comes close."""

from functools import lru_cache

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workgym.agents.baselines import Role, baselines, make_baseline
from workgym.agents.baselines.foresight import foresee, opening
from workgym.agents.baselines.oracle import bound, regret, upper_bound
from workgym.agents.baselines.program import Program, Unsolved
from workgym.envs.orders import ENV_ID, setup_for
from workgym.services.orders.scenario import FAMILY_NAMES
from workgym.services.orders.state import State
from workgym.services.scenario import episode_key, split_salt

HOLD = 13
PATIENCE = 300  # decisions; longer than any season here
PLAYERS = [*baselines(ENV_ID), "random", "random split"]


class Random:
    """Any legal action, or the split wherever it is legal."""

    def __init__(self, seed, splits=False):
        self.rng = np.random.default_rng(seed)
        self.splits = splits

    def begin(self, env):
        pass

    def act(self, obs, mask):
        chance = self.rng.random(mask.shape) * mask
        chance[:, 13:] *= 0.5  # rather ship than wait
        chance[:, 12] += 2.0 * (mask[:, 12] & self.splits)
        return chance.argmax(axis=1)


def player(name, seed=0):
    return Random(seed, name == "random split") if name.startswith("random") else make_baseline(ENV_ID, name)


def profit_of(name, seed, family, size):
    """What a policy earns in one season; who stalls holds from then on."""
    env = season(size)
    obs, info = env.reset(seed=[seed], options={"family": [family]})
    policy, profit, ended = player(name, seed), 0.0, False
    policy.begin(env)
    for step in range(2 * PATIENCE):
        action = policy.act(obs, info["action_mask"]) if step < PATIENCE else np.array([HOLD])
        obs, reward, over, _, info = env.step(action)
        profit += float(reward[0])
        if ended := bool(over[0]):
            break
    assert ended
    return int(profit)


@lru_cache
def season(size):
    days, volume = size
    mode = AutoresetMode.DISABLED
    return gym.make_vec(ENV_ID, num_envs=1, days=days, orders_per_day=volume, autoreset_mode=mode)


def key_of(seed):
    return episode_key(split_salt(ENV_ID, "train"), seed, 0)


@lru_cache(maxsize=256)
def bound_of(seed, family, size):
    return upper_bound(setup_for("train", None, *size), key_of(seed), FAMILY_NAMES.index(family))


seeds, families = st.integers(0, 2**31 - 1), st.sampled_from(FAMILY_NAMES)
sizes = st.sampled_from([(1, 6.0), (2, 3.0), (3, 2.0), (3, 4.0)])
slowly = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", PLAYERS)
@slowly
@given(seeds, families, sizes)
def test_nobody_earns_more_than_the_bound(name, seed, family, size):
    profit = profit_of(name, seed, family, size)
    assert profit <= bound_of(seed, family, size)
    assert regret(setup_for("train", None, *size), key_of(seed), FAMILY_NAMES.index(family), profit) >= 0


def best_of_all(seed, family, size):
    """The most that any sequence of decisions earns, by trying all of them side by side."""
    days, volume = size
    env = gym.make_vec(
        ENV_ID, num_envs=1, days=days, orders_per_day=volume, autoreset_mode=AutoresetMode.DISABLED
    )
    _, info = env.reset(seed=[seed], options={"family": [family]})
    frontier, best = {env.snapshot(0).state: info["action_mask"][0]}, -np.inf
    while frontier:
        grown = {}
        for state, mask in frontier.items():
            for action in np.flatnonzero(mask):
                env.backend.load_state(0, state)
                env._done[0] = False
                _, _, over, _, info = env.step(np.array([action]))
                after = env.snapshot(0).state
                if over[0]:
                    best = max(best, int(State.from_bytes(after).ledger.sum()))
                else:
                    grown[after] = info["action_mask"][0]
        frontier = grown
    return best


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_the_clairvoyant_finds_the_best_of_all_plans(seed, family):
    size = (2, 1.0)
    best = best_of_all(seed, family, size)
    assert profit_of("clairvoyant", seed, family, size) == best <= bound_of(seed, family, size)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_clairvoyant_beats_all_others_and_comes_close_to_the_bound(family):
    size = (3, 4.0)
    total = {name: sum(profit_of(name, seed, family, size) for seed in range(3)) for name in PLAYERS}
    top = sum(bound_of(seed, family, size) for seed in range(3))
    others = max(profit for name, profit in total.items() if name != "clairvoyant")
    best_rule = max(total[name] for name in baselines(ENV_ID, Role.RULE))
    assert others < total["clairvoyant"] <= top
    assert top - total["clairvoyant"] < 0.35 * (top - best_rule)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_bound_never_rises_and_ends_at_the_profit(family):
    """What was missed is missed: the bound from any state on is at most the one before."""
    env, setup = season((3, 4.0)), setup_for("train", None, 3, 4.0)
    policy = Random(1)
    obs, info = env.reset(seed=[1], options={"family": [family]})
    last, over = np.inf, [False]
    while not over[0]:
        now = bound(foresee(setup, State.from_bytes(env.backend.state_bytes(0))))
        assert now <= last * (1 + 2e-3 * np.sign(last)) + 50  # the solver stops within its gap
        last = now
        obs, _, over, _, info = env.step(policy.act(obs, info["action_mask"]))
    final = State.from_bytes(env.backend.state_bytes(0))
    assert bound(foresee(setup, final)) == final.ledger.sum()


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("seed", [0, 7])
def test_what_is_foreseen_happens(seed, family):
    """Left alone, a season books what is foreseen for orders that never ship, and shelves fill so."""
    env, setup = season((6, 4.0)), setup_for("train", None, 6, 4.0)
    env.reset(seed=[seed], options={"family": [family]})
    future = foresee(setup, opening(setup, int(key_of(seed)), FAMILY_NAMES.index(family)))
    over, before = [False], State.from_bytes(env.backend.state_bytes(0))
    while not over[0]:
        before = State.from_bytes(env.backend.state_bytes(0))
        assert before.free.tolist() == future.supply[before.day].tolist()
        assert before.picks.tolist() == future.picks[before.day].tolist()
        _, _, over, _, _ = env.step(np.array([HOLD]))
    after = State.from_bytes(env.backend.state_bytes(0))
    assert len(after.orders) == len(future.number)
    assert after.ledger.sum() == future.booked + future.lost.sum()


def test_the_same_season_has_the_same_plan():
    """The search stops by nodes, not by seconds, so a busy machine changes nothing."""
    again = [profit_of("clairvoyant", 4, "promotion", (3, 4.0)) for _ in range(2)]
    assert again[0] == again[1]


# The program


def test_a_program_is_solved_to_the_best_plan():
    program = Program()
    program.row("weight", 5)
    for gain, weight in [(6, 3), (5, 3), (4, 2)]:
        program.column(gain, {"weight": weight})
    found = program.solve()
    assert found.chosen.round().tolist() == [1, 0, 1]
    assert found.gain == pytest.approx(10) == pytest.approx(found.bound)


def test_a_program_without_columns_gains_nothing():
    assert Program().solve().bound == 0.0


def test_a_program_that_cannot_be_met_is_refused():
    program = Program()
    program.row("impossible", 3, exact=True)
    program.column(1.0, {"impossible": 1})
    with pytest.raises(Unsolved, match="no plan"):
        program.solve()
