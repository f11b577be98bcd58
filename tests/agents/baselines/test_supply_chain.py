"""Claims about buyers' rules, the noop, and those who try to cheat, over every supply chain."""

from __future__ import annotations

from functools import lru_cache

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from workgym.agents.baselines import Role, baselines, make_baseline
from workgym.agents.baselines.supply_chain import SUPPLY_CHAINS, Levels, OrderUpTo, tuned
from workgym.services.kernel import BadInput

SMALL = {"workgym/SupplyChain.retail-v0": {"skus": 4, "stores": 2, "periods": 30}}


def lanes(env_id, n=8, **kwargs):
    given = {**SMALL.get(env_id, {}), **kwargs}
    return gym.make_vec(env_id, num_envs=n, split="gate", autoreset_mode=AutoresetMode.DISABLED, **given)


def play(policy, env_id, **kwargs):
    """Mean profit of eight episodes."""
    env = lanes(env_id, **kwargs)
    obs, _ = env.reset(seed=1)
    policy.begin(env)
    profit, running = np.zeros(8), np.ones(8, bool)
    while running.any():
        obs, rewards, ended, _, info = env.step(policy.act(obs, env.mask))
        assert "refused" not in info
        profit += rewards * running
        running &= ~ended
    return profit.mean()


@lru_cache
def earned(env_id, name):
    return play(make_baseline(env_id, name), env_id)


CHEATS = [(env_id, name) for env_id in SUPPLY_CHAINS[1:] for name in baselines(env_id, Role.ADVERSARY)]


@pytest.mark.parametrize("env_id", SUPPLY_CHAINS[1:])
def test_the_tuned_rule_beats_doing_nothing(env_id):
    assert earned(env_id, "tuned-base-stock") > earned(env_id, "noop")


@pytest.mark.parametrize(("env_id", "cheat"), CHEATS)
def test_an_adversary_gains_nothing(env_id, cheat):
    assert earned(env_id, cheat) < earned(env_id, "tuned-base-stock")


@pytest.mark.parametrize("env_id", SUPPLY_CHAINS[1:])
def test_tuning_finds_no_neighbour_that_is_better(env_id):
    env = lanes(env_id, 1)
    levels = tuned(env, batches=False)
    assert tuned(lanes(env_id, 1), batches=False) is levels  # once a process
    assert levels.batch == (0.0, 0.0)


def test_a_batch_waits_until_enough_is_missing():
    env_id = "workgym/SupplyChain.lost-sales-v0"
    often, seldom = (OrderUpTo("trial", Levels((1.5, 1.5), (batch, batch))) for batch in (0.0, 3.0))
    counts = []
    for policy in (often, seldom):
        env = lanes(env_id)
        obs, _ = env.reset(seed=1)
        policy.begin(env)
        ordered = []
        for _ in range(60):
            actions = policy.act(obs, env.mask)
            ordered.append((actions > 0).mean())
            obs, *_ = env.step(actions)
        counts.append(np.mean(ordered))
    assert counts[1] < counts[0] / 2


def test_the_rule_orders_the_same_through_numbers_as_through_units():
    env_id = "workgym/SupplyChain.or-gym-v0"
    levels = Levels((1.0, 1.0), (0.0, 0.0))
    by_units = play(OrderUpTo("trial", levels), env_id, actions="units")
    assert play(OrderUpTo("trial", levels), env_id, actions="box") == by_units


@pytest.mark.parametrize("actions", ["units", "box", "cover"])
def test_the_noop_does_nothing_in_any_encoding(actions):
    env_id = "workgym/SupplyChain.or-gym-v0"
    assert play(make_baseline(env_id, "noop"), env_id, actions=actions) == earned(env_id, "noop")


def test_a_rule_in_units_refuses_an_env_of_levels():
    with pytest.raises(BadInput, match="actions='units'"):
        OrderUpTo("trial", Levels((1.0,), (0.0,))).begin(
            lanes("workgym/SupplyChain.retail-v0", actions="cover")
        )
