"""Rows of decisions are learned as lanes of their own, and decided by one shared network.

The subject is `tests/support/counters.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from workgym.agents import seasons
from workgym.agents.mlp import MlpPolicy, random_policy
from workgym.agents.sb3 import LanesVecEnv
from workgym.agents.training import initial_state, make_recipe, policy_from, train_chunk
from workgym.envs import ENV_IDS
from workgym.envs.base import Board, VectorEnv
from workgym.factory import evaluate
from workgym.services.kernel import BadInput
from workgym.services.scenario import Scenario

SUPPORT = str(Path(__file__).parent.parent / "support")
sys.path.insert(0, SUPPORT)
import counters  # noqa: E402  # it registers its ids

LANES, ROWS = 4, counters.ROWS
ROWED = ("rows", "masked", "number-rows")


def env_id(shape: str) -> str:
    return f"test/Counters-{shape}-v0"


def lanes(shape: str, **kwargs: Any) -> Any:
    return gym.make_vec(env_id(shape), num_envs=LANES, autoreset_mode=AutoresetMode.SAME_STEP, **kwargs)


def actions_for(adapter: LanesVecEnv) -> Any:
    """Any actions, legal or not."""
    return np.stack([adapter.action_space.sample() for _ in range(adapter.num_envs)])


@pytest.mark.parametrize("shape", ROWED)
def test_every_row_is_a_lane_of_the_learner(shape: str) -> None:
    adapter, native = LanesVecEnv(lanes(shape)), lanes(shape)
    adapter.action_space.seed(0)
    adapter.seed(5)
    seen, (obs, _) = adapter.reset(), native.reset(seed=5)
    assert adapter.num_envs == LANES * ROWS
    assert adapter.observation_space.shape == (2,)
    ends = 0
    for _ in range(3 * counters.DAYS):
        np.testing.assert_array_equal(seen.reshape(LANES, ROWS, 2), obs)
        actions = actions_for(adapter)
        seen, rewards, dones, infos = adapter.step(actions)
        obs, _, ended, _, told = native.step(actions.reshape(LANES, ROWS))
        credit = told.get("final_info", told)["credit"]
        np.testing.assert_array_equal(rewards.reshape(LANES, ROWS), credit * 0.5)
        np.testing.assert_array_equal(dones.reshape(LANES, ROWS), np.repeat(ended[:, None], ROWS, axis=1))
        for i in np.flatnonzero(dones):
            lane, row = divmod(int(i), ROWS)
            np.testing.assert_array_equal(infos[i]["terminal_observation"], told["final_obs"][lane, row])
            assert ("episode" in infos[i]) == (row == 0)
        ends += int(ended.sum())
    assert adapter.finished == ends > 0


def test_episodes_stay_those_of_the_lanes() -> None:
    adapter = LanesVecEnv(lanes("rows"))
    adapter.seed(1)
    adapter.reset()
    earned, told = np.zeros(LANES), []
    while len(told) < 2 * LANES:
        _, rewards, _, infos = adapter.step(np.ones(LANES * ROWS, dtype=np.int64))
        earned += rewards.reshape(LANES, ROWS).sum(axis=1) / 0.5
        for i, info in enumerate(infos):
            if "episode" in info:
                told.append(info["episode"])
                assert told[-1]["r"] == earned[i // ROWS]
                assert told[-1]["l"] == counters.DAYS
                earned[i // ROWS] = 0
    assert adapter.mean_return() == np.mean([one["r"] for one in told])


def test_seeds_options_and_facts_are_those_of_the_lane() -> None:
    adapter, native = LanesVecEnv(lanes("rows")), lanes("rows")
    adapter.seed(7)
    adapter.set_options({"family": "usual"})
    np.testing.assert_array_equal(adapter.reset(), native.reset(seed=7)[0].reshape(-1, 2))
    hashes = adapter.env_method("state_hash")
    assert hashes == [native.state_hash(lane) for lane in range(LANES) for _ in range(ROWS)]
    assert adapter.env_method("state_hash", indices=ROWS) == [native.state_hash(1)]


def test_a_reward_without_credit_and_costs_are_shared_equally(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = counters.Shelves.advance

    def advance(self: Any, *arguments: Any) -> Board:
        return honest(self, *arguments)._replace(credit=None)

    monkeypatch.setattr(counters.Shelves, "advance", advance)
    plain = LanesVecEnv(lanes("masked"))
    dear = LanesVecEnv(lanes("masked"), refusal_cost=0.6, violation_cost=12)
    native = lanes("masked")
    for env in (plain, dear):
        env.seed(2)
        env.reset()
    native.reset(seed=2)
    rng, refusals, violations = np.random.default_rng(0), 0, 0
    for _ in range(60):
        actions = rng.integers(3, size=LANES * ROWS)
        _, earned, _, _, told = native.step(actions.reshape(LANES, ROWS))
        before = told.get("final_info", told)
        cost, refused = before["constraint_cost"], before.get("_refused", np.zeros(LANES, dtype=bool))
        mine = plain.step(actions)[1].reshape(LANES, ROWS)
        charged = dear.step(actions)[1].reshape(LANES, ROWS)
        np.testing.assert_allclose(mine, np.repeat(earned[:, None] * 0.5 / ROWS, ROWS, axis=1), rtol=1e-6)
        off = (0.6 * refused + 12 * 0.5 * cost) / ROWS
        np.testing.assert_allclose(mine - charged, np.repeat(off[:, None], ROWS, axis=1), atol=1e-5)
        refusals, violations = refusals + refused.sum(), violations + cost.sum()
    assert min(refusals, violations) > 0


def test_masks_of_the_rows_are_cut_from_the_masks_of_the_lanes() -> None:
    masked, free = LanesVecEnv(lanes("masked")), LanesVecEnv(lanes("rows"))
    masked.reset()
    free.reset()
    native = masked.env.mask
    assert not native.all()
    np.testing.assert_array_equal(masked.mask.reshape(LANES, 9), native)
    np.testing.assert_array_equal(masked.action_masks(), masked.mask)
    np.testing.assert_array_equal(np.stack(masked.env_method("action_masks", indices=[5])), masked.mask[[5]])
    assert free.mask.shape == (LANES * ROWS, 0)
    assert free.action_masks().shape == (LANES * ROWS, 3)
    assert free.action_masks().all()


RECIPE = {"steps": 512, "chunk_steps": 256, "lanes": 8, "n_steps": 16, "minibatch": 64, "net": [8]}


@pytest.mark.parametrize(
    ("shape", "algorithm"), [("rows", "ppo"), ("rows", "maskable-ppo"), ("masked", "maskable-ppo")]
)
def test_a_training_on_rows_makes_a_policy_for_rows(shape: str, algorithm: str) -> None:
    recipe = make_recipe({**RECIPE, "env_id": env_id(shape), "algorithm": algorithm})
    state = initial_state(recipe)
    for k in range(recipe.chunks):
        state, report = train_chunk(recipe, k, state)
        assert report.steps == 256 * ROWS
    policy = MlpPolicy.load(policy_from(recipe, state))
    assert (policy.features, policy.actions) == (2, 3)
    env = lanes(shape)
    policy.begin(env)
    obs, _ = env.reset(seed=0)
    for _ in range(counters.DAYS):
        obs, _, _, _, info = env.step(policy.act(obs, env.mask))
        assert "refused" not in info


def policy_of(sizes: tuple[int, ...] = (2, 8, 3), shape: str = "rows") -> MlpPolicy:
    return random_policy("x", env_id(shape), "counters-v0", sizes, seed=1)


def test_rows_are_decided_as_lanes_are() -> None:
    policy, rng = policy_of(), np.random.default_rng(0)
    obs = rng.uniform(-1, 1, (20, 5, 2)).astype(np.float32)
    mask = rng.random((20, 5, 3)) < 0.5
    mask[:, :, 0] = True
    alone = [policy.act(obs[:, row], mask[:, row]) for row in range(5)]
    np.testing.assert_array_equal(policy.act(obs, mask.reshape(20, 15)), np.stack(alone, axis=1))


@pytest.mark.parametrize("n", [0, 1, 6])
def test_a_mask_of_no_columns_allows_everything(n: int) -> None:
    policy = policy_of()
    obs = np.random.default_rng(0).uniform(-1, 1, (n, 5, 2)).astype(np.float32)
    free, full = np.ones((n, 0), dtype=bool), np.ones((n, 15), dtype=bool)
    np.testing.assert_array_equal(policy.act(obs, free), policy.act(obs, full))
    np.testing.assert_array_equal(policy.act(obs[:, 0], free), policy.act(obs[:, 0], full[:, :3]))


def test_a_row_that_is_not_finite_is_refused_without_masks_too() -> None:
    obs = np.zeros((2, 3, 2), dtype=np.float32)
    obs[1, 0, 1] = np.nan
    with pytest.raises(BadInput, match="row 3"):
        policy_of().act(obs, np.ones((2, 0), dtype=bool))


@pytest.mark.parametrize("columns", [3, 8])
def test_masks_of_another_number_of_rows_are_refused(columns: int) -> None:
    with pytest.raises(BadInput, match=r"expected masks \(2, 9\) for 3 rows of 3 actions, or \(2, 0\)"):
        policy_of().act(np.zeros((2, 3, 2), dtype=np.float32), np.ones((2, columns), dtype=bool))


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [((2, 4), "rows"), ((5, 3), "rows"), ((6, 9), "flat"), ((6, 3), "numbers"), ((2, 3), "number-rows")],
)
def test_a_policy_for_other_decisions_is_refused(sizes: tuple[int, ...], shape: str) -> None:
    policy_of().begin(lanes("rows"))
    with pytest.raises(BadInput, match="actions a decision, found an observation of shape"):
        policy_of(sizes, shape).begin(lanes(shape))


class Fill:
    """Orders one unit for every shelf."""

    name = "fill"

    def begin(self, env: VectorEnv) -> None:
        """Nothing to meet."""

    def act(self, obs: Any, mask: Any) -> Any:
        return np.ones((len(obs), ROWS), dtype=np.int64)


def test_a_scorecard_of_rows_is_what_single_envs_earn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seasons, "noop_of", lambda env_id: Fill())
    batch = [Scenario(env_id("rows"), "gate", "usual", seed) for seed in range(5)]
    played = evaluate._play_fresh(Fill(), batch, {}, "twin")
    for scenario, one in zip(batch, played, strict=True):
        env = gym.make(env_id("rows"), split="gate")
        env.reset(seed=scenario.seed)
        steps = [env.step(np.ones(ROWS, dtype=np.int64)) for _ in range(counters.DAYS)]
        assert steps[-1][2]
        assert one.profit == sum(float(step[1]) for step in steps)


def test_latency_is_that_of_all_rows_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "LATENCY_CALLS", 20)
    shapes = []

    class Watched(Fill):
        def act(self, obs: Any, mask: Any) -> Any:
            shapes.append((obs.shape, mask.shape))
            return super().act(obs, mask)

    told = evaluate.latency(Watched(), env_id("rows"), {})
    assert set(shapes) == {((1, ROWS, 2), (1, 0))}
    assert 0 < told["p50"] <= told["p99"]


CHAINS = [one for one in ENV_IDS if "SupplyChain" in one]


@pytest.mark.parametrize("chain", CHAINS)
def test_every_supply_chain_plays_through_the_adapter(chain: str) -> None:
    adapter = LanesVecEnv.make(chain, 2)
    adapter.action_space.seed(0)
    assert adapter.reset().shape == (adapter.num_envs, *adapter.observation_space.shape)
    for _ in range(5):
        seen, rewards, dones, infos = adapter.step(actions_for(adapter))
        assert np.isfinite(seen).all()
        assert rewards.shape == dones.shape == (adapter.num_envs,) == (len(infos),)
        assert np.isfinite(rewards).all()
    adapter.close()
