"""Claims about the adapter: what SB3 sees is what the lanes do."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import workgym.envs
from workgym.agents.sb3 import LanesVecEnv
from workgym.services.kernel import BadInput

LANES = 7
SHORT = {"days": 2, "orders_per_day": 4.0}  # a season of a dozen decisions


@pytest.fixture
def env_id():
    """The env of single masked decisions; tasks of many are in test_rows.py."""
    return workgym.envs.ENV_IDS[0]


def native(env_id, lanes=LANES, **kwargs):
    return gym.make_vec(
        env_id,
        lanes,
        vectorization_mode="vector_entry_point",
        autoreset_mode=AutoresetMode.SAME_STEP,
        **(SHORT | kwargs),
    )


@pytest.fixture
def adapter(env_id):
    made = LanesVecEnv.make(env_id, LANES, **SHORT)
    yield made
    made.close()


def legal(rng, mask):
    return (rng.random(mask.shape) * mask).argmax(1)


def anything(rng, mask):
    return rng.integers(mask.shape[1], size=len(mask))


@pytest.mark.parametrize("choose", [legal, anything])
def test_the_adapter_plays_what_the_lanes_play(env_id, adapter, choose):
    lanes = native(env_id)
    adapter.seed(5)
    expected, _ = lanes.reset(seed=5)
    np.testing.assert_array_equal(adapter.reset(), expected)
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(150):
        mask = lanes.action_masks()
        np.testing.assert_array_equal(np.stack(adapter.env_method("action_masks")), mask)
        actions = choose(rng, mask)
        obs, cents, terminated, truncated, info = lanes.step(actions)
        seen, rewards, dones, infos = adapter.step(actions)
        np.testing.assert_array_equal(seen, obs)
        np.testing.assert_array_equal(rewards, (cents * lanes.task.reward_scale).astype(np.float32))
        np.testing.assert_array_equal(dones, terminated | truncated)
        for lane in range(LANES):
            if not dones[lane]:
                assert infos[lane] == {}
                continue
            ends += 1
            assert infos[lane]["TimeLimit.truncated"] is False
            np.testing.assert_array_equal(infos[lane]["terminal_observation"], info["final_obs"][lane])
    assert ends > LANES


def test_a_lane_of_the_adapter_is_the_single_env(env_id, adapter):
    adapter.seed(11)
    seen = adapter.reset()
    single = gym.make(env_id, **SHORT)
    obs, info = single.reset(seed=11 + 3)
    np.testing.assert_array_equal(seen[3], obs)
    rng = np.random.default_rng(1)
    for _ in range(100):
        np.testing.assert_array_equal(adapter.env_method("action_masks", indices=3)[0], info["action_mask"])
        actions = legal(rng, adapter.action_masks())
        seen, rewards, dones, infos = adapter.step(actions)
        obs, cents, terminated, _, info = single.step(actions[3])
        assert rewards[3] == np.float32(cents * single.unwrapped.task.reward_scale)
        assert dones[3] == terminated
        if terminated:
            np.testing.assert_array_equal(infos[3]["terminal_observation"], obs)
            obs, info = single.reset()
        np.testing.assert_array_equal(seen[3], obs)


def test_episodes_are_told_in_cents_and_decisions(env_id, adapter):
    adapter.seed(0)
    adapter.reset()
    rng = np.random.default_rng(0)
    earned, length, told = np.zeros(LANES), np.zeros(LANES, dtype=int), []
    for _ in range(100):
        _, rewards, dones, infos = adapter.step(legal(rng, adapter.action_masks()))
        earned += rewards / adapter.env.task.reward_scale
        length += 1
        for lane in np.flatnonzero(dones):
            told.append(infos[lane]["episode"]["r"])
            assert told[-1] == pytest.approx(earned[lane], abs=0.1)
            assert infos[lane]["episode"]["l"] == length[lane]
            earned[lane] = length[lane] = 0
    assert adapter.finished == len(told)
    assert adapter.mean_return() == pytest.approx(np.mean(told))


def test_the_running_episodes_are_told_while_none_has_ended(adapter):
    adapter.seed(0)
    adapter.reset()
    _, rewards, dones, _ = adapter.step(legal(np.random.default_rng(0), adapter.action_masks()))
    assert not dones.any()
    assert adapter.mean_return() == pytest.approx(rewards.mean() / adapter.env.task.reward_scale, abs=0.01)


def test_a_time_limit_is_told_from_an_end(env_id):
    adapter = LanesVecEnv.make(env_id, LANES, max_episode_steps=4, **SHORT)
    adapter.seed(0)
    adapter.reset()
    for step in range(1, 9):
        mask = adapter.action_masks()
        _, _, dones, infos = adapter.step(legal(np.random.default_rng(step), mask))
        if step == 4:
            cut = [info.get("TimeLimit.truncated") for info in infos]
            assert dones.all()
            assert True in cut
            assert all(info["episode"]["l"] == 4 for info, was in zip(infos, cut, strict=True) if was)
    adapter.close()


def test_infos_are_not_shared(adapter):
    adapter.reset()
    rng = np.random.default_rng(0)
    *_, infos = adapter.step(legal(rng, adapter.action_masks()))
    infos[0]["mine"] = 1
    *_, later = adapter.step(legal(rng, adapter.action_masks()))
    assert "mine" not in infos[1]
    assert "mine" not in later[0]


def refused(adapter, actions):
    mask = adapter.action_masks()
    return ~mask[np.arange(len(mask)), actions]


def test_costs_of_refusals_and_violations_are_the_learners_alone(env_id):
    plain = LanesVecEnv.make(env_id, LANES, **SHORT)
    dear = LanesVecEnv.make(env_id, LANES, refusal_cost=0.25, violation_cost=500, **SHORT)
    scale = plain.env.task.reward_scale
    for env in (plain, dear):
        env.seed(3)
        env.reset()
    rng = np.random.default_rng(0)
    for _ in range(120):
        actions = anything(rng, plain.action_masks())
        off = 0.25 * refused(plain, actions)
        broken = np.array([facts["violations"] for facts in plain.env_method("facts")])
        _, rewards, dones, _ = plain.step(actions)
        _, charged, *_ = dear.step(actions)
        running = ~dones
        more = np.array([facts["violations"] for facts in plain.env_method("facts")]) - broken
        np.testing.assert_allclose(
            (rewards - charged)[running], (off + 500 * scale * more)[running], atol=1e-5
        )
        assert ((rewards - charged)[dones] >= off[dones] - 1e-5).all()
    assert dear.earned == plain.earned
    assert dear.finished == plain.finished > 0


def test_seeds_and_options_hold_for_one_reset(env_id, adapter):
    adapter.seed(9)
    adapter.set_options({"family": "stock-out"})
    first = adapter.reset()
    adapter.env.reset(seed=9, options={"family": "stock-out"})
    again = adapter.env.reset(seed=9, options={"family": "stock-out"})[0]
    np.testing.assert_array_equal(first, again)
    assert {facts["family"] for facts in adapter.env_method("facts")} == {2}
    assert not np.array_equal(adapter.reset(), first)


def test_sb3_contrib_finds_the_masks(adapter):
    from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported

    adapter.reset()
    assert is_masking_supported(adapter)
    np.testing.assert_array_equal(get_action_masks(adapter), adapter.env.action_masks())


def test_masks_of_some_lanes_are_theirs(adapter):
    adapter.reset()
    some = adapter.env_method("action_masks", indices=[4, 1])
    np.testing.assert_array_equal(np.stack(some), adapter.action_masks()[[4, 1]])


def test_another_autoreset_mode_is_refused(env_id):
    lanes = gym.make_vec(env_id, 2, vectorization_mode="vector_entry_point", **SHORT)
    with pytest.raises(BadInput, match="autoreset_mode='SameStep'"):
        LanesVecEnv(lanes)


def test_what_lanes_do_not_have_is_refused(adapter):
    assert not adapter.has_attr("no_such_thing")
    assert adapter.env_is_wrapped(gym.Wrapper) == [False] * LANES
    with pytest.raises(AttributeError, match="did you mean 'snapshot'"):
        adapter.env_method("snapshots")
    with pytest.raises(BadInput, match="make another env"):
        adapter.set_attr("limit", 3)


@pytest.mark.parametrize("algorithm", ["ppo", "maskable"])
def test_stable_baselines_trains_and_predicts_on_lanes(adapter, algorithm):
    from sb3_contrib import MaskablePPO
    from stable_baselines3 import PPO

    learner = MaskablePPO if algorithm == "maskable" else PPO
    model = learner("MlpPolicy", adapter, n_steps=8, batch_size=28, n_epochs=1, device="cpu", seed=0)
    model.learn(112, log_interval=None)
    told = {"action_masks": adapter.action_masks()} if algorithm == "maskable" else {}
    actions, _ = model.predict(adapter.env.reset(seed=0)[0], deterministic=True, **told)
    assert actions.shape == (LANES,)
