"""Claims about training with RLlib: chunks are pure, and actors play the learner's weights."""

import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from safetensors.numpy import load

from tests.support.chains import chain, sha
from workgym.agents import ppo, rllib, rllib_crew, rllib_parts
from workgym.agents.mlp import MlpPolicy
from workgym.agents.presets import PRESETS
from workgym.agents.rllib_parts import LanesRunner, Rollout, Steps, advantages
from workgym.agents.sb3 import LanesVecEnv
from workgym.agents.training import (
    LEARNERS,
    chunk_seed,
    initial_state,
    make_recipe,
    policy_from,
    train_chunk,
)
from workgym.services.kernel import BadInput, InfrastructureFault

ENV = "workgym/Orders-v0"
TINY = {
    "env_id": ENV,
    "algorithm": "rllib-ppo",
    "env_kwargs": {"days": 3, "orders_per_day": 5.0},
    "steps": 4096,
    "chunk_steps": 1024,
    "lanes": 64,
    "n_steps": 16,
    "minibatch": 512,
    "epochs": 2,
    "net": [16],
}


def recipe(**fields):
    return make_recipe(TINY | fields)


def learned(state):
    """What a state holds beside its stamp."""
    return {name: value for name, value in load(state).items() if name not in ("recipe", "chunk")}


def equal(these, those):
    return these.keys() == those.keys() and all((these[name] == those[name]).all() for name in these)


@pytest.fixture(scope="module")
def trained():
    one = recipe()
    return one, *chain(one)


def test_the_algorithm_is_known_by_name():
    one = recipe()
    assert type(one) is LEARNERS["rllib-ppo"].recipe
    again = make_recipe(json.loads(json.dumps(one.to_dict())))
    assert again.digest() == one.digest() != recipe(env_runners=1).digest()


def test_a_chunk_is_a_function_whatever_ran_before(trained):
    one, states, _ = trained
    np.random.seed(123)
    torch.manual_seed(5)
    assert sha(train_chunk(one, 1, states[1])[0]) == sha(states[2])
    assert sha(initial_state(one)) == sha(states[0])


def test_a_chunk_leaves_the_callers_randomness_and_torchs_settings_alone(trained):
    one, states, _ = trained
    np.random.seed(7)
    torch.manual_seed(7)
    expected = np.random.random(), float(torch.rand(()))
    np.random.seed(7)
    torch.manual_seed(7)
    train_chunk(one, 0, states[0])
    assert (np.random.random(), float(torch.rand(()))) == expected
    assert not torch.are_deterministic_algorithms_enabled()


def test_every_chunk_learns_something_and_says_how_it_went(trained):
    one, states, reports = trained
    assert len({sha(state) for state in states}) == one.chunks + 1 == 5
    for report in reports:
        assert report.steps == 1024
        assert report.episodes > 0
        assert report.cpu_seconds > 0
        assert 0 < report.entropy <= np.log(15) + 1e-6
        assert np.isfinite([report.mean_return, report.approx_kl, report.explained_variance]).all()
        json.dumps(report.__dict__, allow_nan=False)


@pytest.mark.slow
def test_without_env_runners_no_ray_is_started():
    code = (
        "import json, sys; from workgym.agents import training; import ray\n"
        "one = training.make_recipe(json.loads(sys.argv[1]))\n"
        "training.train_chunk(one, 0, training.initial_state(one)); sys.exit(ray.is_initialized())"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, json.dumps(recipe().to_dict())]
    assert subprocess.run(command, check=False).returncode == 0


def test_a_state_holds_plain_tensors_of_every_weight_and_moment(trained):
    _, states, _ = trained
    tensors = load(states[-1])
    weights = {name for name in tensors if name.startswith("module/")} - {"module/mean", "module/scale"}
    moments = {name for name in tensors if name.startswith("adam/")}
    assert len(moments) == 3 * len(weights) == 24
    assert tensors["adam/pi.0.weight/step"] == 4 * 2 * 2
    assert b"pickle" not in states[-1]


def test_a_state_is_played_only_by_its_recipe_and_in_its_turn(trained):
    one, states, _ = trained
    with pytest.raises(BadInput, match="begin with initial_state"):
        train_chunk(replace(one, gamma=0.5), 0, states[0])
    with pytest.raises(BadInput, match="found the one after 0"):
        train_chunk(one, 1, states[0])
    with pytest.raises(BadInput, match="found damage"):
        train_chunk(one, 0, states[0][:-20])


def test_loading_puts_back_what_was_saved(trained):
    one, states, _ = trained
    with closing(rllib.crew_of(one, 2)) as crew:
        crew.load(load(states[2]))
        assert equal(rllib_crew.tensors_of(crew.learners), learned(states[2]))


def observations(one, n):
    """Features and masks (n, ...) as legal random play meets them."""
    rng = np.random.default_rng(3)
    with closing(LanesVecEnv.make(ENV, 100, **one.env_kwargs)) as env:
        env.seed(11)
        obs, seen = env.reset(), []
        while len(seen) < n // 100:
            mask = env.mask
            seen.append((obs, mask))
            obs, *_ = env.step((rng.random(mask.shape) * mask).argmax(1))
    return tuple(np.concatenate(part) for part in zip(*seen, strict=True))


def test_the_policy_acts_as_the_module_that_was_trained(trained):
    one, states, _ = trained
    policy = MlpPolicy.load(policy_from(one, states[-1], "mine"))
    obs, mask = observations(one, 10_000)
    with closing(rllib.crew_of(one, 3)) as crew:
        crew.load(load(states[-1]))
        batch = {"obs": torch.from_numpy(obs), "action_mask": torch.from_numpy(mask)}
        logits = crew.runner.module.forward_inference(batch)["action_dist_inputs"].numpy()
    np.testing.assert_array_equal(policy.act(obs, mask), logits.argmax(1))
    assert (logits[~mask] == ppo.NEVER).all()
    assert policy.name == "mine"


def test_only_legal_actions_are_taken(trained, monkeypatch):
    one, states, _ = trained
    taken, step = [], LanesVecEnv.step_async

    def watched(self, actions):
        taken.append(self.action_masks()[np.arange(self.num_envs), actions].all())
        step(self, actions)

    monkeypatch.setattr(LanesVecEnv, "step_async", watched)
    train_chunk(one, 0, states[0])
    assert len(taken) == 16
    assert all(taken)


def test_rewards_reach_the_learner_in_its_unit(trained):
    one, states, _ = trained
    one = replace(one, violation_cost=700)
    with closing(rllib.crew_of(one, 0)) as crew, closing(ppo.lanes_of(one)) as lanes:
        crew.load(load(states[0]))
        (rollout,) = crew.sample()
        lanes.seed(chunk_seed(one, 0))
        lanes.reset()
        for actions, rewards in zip(rollout.steps.actions, rollout.steps.rewards, strict=True):
            np.testing.assert_array_equal(lanes.step(actions)[1], rewards)
        assert crew.runner.config.violation_cost == 700


def test_a_task_of_many_rows_learns_from_every_row():
    one = make_recipe(
        {
            "env_id": "workgym/SupplyChain.retail-v0",
            "algorithm": "rllib-ppo",
            "env_kwargs": {"actions": "cover"},
            "steps": 80,
            "chunk_steps": 80,
            "lanes": 4,
            "n_steps": 20,
            "minibatch": 20,
            "epochs": 1,
        }
    )
    with closing(ppo.survey_lanes(one)) as lanes:
        rows = lanes.rows
    state, report = train_chunk(one, 0, initial_state(one))
    assert report.steps == 80 * rows > 80
    policy = MlpPolicy.load(policy_from(one, state))
    assert policy.view == {"actions": "cover"}
    assert load(state)["adam/pi.0.weight/step"] == 4


def by_hand(rollout, values, after, gamma, lam):
    """Advantages by their definition: a discounted sum of surprises, one lane at a time."""
    played = rollout.steps
    steps, lanes = played.rewards.shape
    found = np.zeros((steps, lanes))
    ahead = dict(zip(rollout.cut.tolist(), after, strict=True))
    for lane in range(lanes):
        better = 0.0
        for t in reversed(range(steps)):
            over = bool(played.ended[t, lane])
            following = ahead.get(t * lanes + lane, 0.0) if over else values[t + 1, lane]
            surprise = played.rewards[t, lane] + gamma * following - values[t, lane]
            better = surprise + gamma * lam * (0.0 if over else better)
            found[t, lane] = better
    return found


def test_advantages_are_sums_of_surprises_and_go_on_past_a_time_limit(trained):
    one, states, _ = trained
    rng = np.random.default_rng(0)
    shape = 12, 5
    ended = rng.random(shape) < 0.3
    cut = np.flatnonzero(ended)[::2]
    with closing(rllib.crew_of(one, 0)) as crew:
        crew.load(load(states[0]))
        features = crew.learners.foreach_learner(lambda learner: learner.module[DEFAULT_MODULE_ID].mean)
        width = len(next(iter(features)).get())
        obs = rng.normal(size=(13, 5, width)).astype(np.float32)
        cut_obs = rng.normal(size=(len(cut), width)).astype(np.float32)
        nothing = np.zeros(shape, dtype=np.float32)
        rewards = rng.normal(size=shape).astype(np.float32)
        played = Steps(obs[:12], *[nothing] * 4, rewards, ended)
        rollout = Rollout(played, obs[12], cut, cut_obs, episodes=0, earned=0.0, running=0.0)
        values = rllib_parts.values_of(crew.learners, obs.reshape(-1, width)).reshape(13, 5)
        after = rllib_parts.values_of(crew.learners, cut_obs)
        found, returns = advantages(crew.learners, rollout, 0.9, 0.8)
    np.testing.assert_allclose(found, by_hand(rollout, values, after, 0.9, 0.8), atol=1e-5)
    np.testing.assert_allclose(returns, found + values[:12], atol=1e-6)


def test_env_runners_play_other_lanes_each():
    one = recipe(env_runners=2)
    with closing(LanesVecEnv.make(ENV, one.lanes, **one.env_kwargs)) as lanes:
        lanes.seed(chunk_seed(one, 0))
        all_lanes = lanes.reset()
    config = rllib.config_of(one, 0)
    for number, whose in ((1, slice(0, 32)), (2, slice(32, 64))):
        runner = LanesRunner(config=config, worker_index=number)
        np.testing.assert_array_equal(runner.sample().steps.obs[0], all_lanes[whose])
        runner.stop()


@pytest.fixture(scope="module")
def cluster():
    """Ray as the adapter starts it for a process that has none."""
    import ray

    own = not ray.is_initialized()
    rllib_crew.start_ray()
    yield ray
    if own:
        ray.shutdown()


@pytest.mark.slow
def test_chunks_with_an_actor_in_tasks_of_their_own_end_where_one_process_without_ray_does(cluster, trained):
    """Each chunk is a Ray task in a fresh process, as the factory runs it, and starts an env runner there."""
    _, states, _ = trained
    one = recipe(env_runners=1)
    chunk = cluster.remote(num_cpus=1, max_retries=0, max_calls=1)(train_chunk)
    state = initial_state(one)
    for k in range(one.chunks):
        before, (state, report) = state, cluster.get(chunk.remote(one, k, state))
        assert equal(learned(state), learned(states[k + 1])), f"chunk {k} went another way"
        assert report.episodes > 0
    assert sha(train_chunk(one, one.chunks - 1, before)[0]) == sha(state)


def busy(monkeypatch, gate, repaired):
    """Env runners that take in no state before the weights are delivered: the race, lost every time."""

    class Busy(LanesRunner):
        def set_state(self, state):
            import time

            while self.worker_index and not gate.exists():
                time.sleep(0.01)
            super().set_state(state)

    repair = rllib_crew.deliver_weights

    def deliver(algorithm):
        gate.touch()
        if repaired:
            repair(algorithm)

    monkeypatch.setattr(rllib, "LanesRunner", Busy)
    monkeypatch.setattr(rllib_crew, "deliver_weights", deliver)


@pytest.mark.slow
def test_env_runners_hold_the_learners_weights_right_after_a_load(cluster, monkeypatch, tmp_path):
    busy(monkeypatch, tmp_path / "gate", repaired=True)
    one = recipe(env_runners=1)
    state = load(initial_state(one))
    with closing(rllib.crew_of(one, 0)) as crew:
        crew.load(state)
        (held,) = rllib_crew.env_runner_weights(crew.algorithm)
    names = {name.removeprefix("module/") for name in state if name.startswith("module/")}
    assert held.keys() == {name for name in names if not name.startswith("vf.")}
    assert all((held[name] == state[f"module/{name}"]).all() for name in held)


@pytest.mark.slow
def test_without_the_repair_env_runners_keep_their_first_weights_and_chunks_are_refused(
    cluster, monkeypatch, tmp_path
):
    busy(monkeypatch, tmp_path / "gate", repaired=False)
    one = recipe(env_runners=1)
    wanted = load(initial_state(one))
    with closing(rllib.crew_of(one, 0)) as crew:
        with pytest.raises(InfrastructureFault, match="plays other weights than the learner's"):
            crew.load(wanted)
        (held,) = rllib_crew.env_runner_weights(crew.algorithm)
    assert not any((held[f"pi.{i}.weight"] == wanted[f"module/pi.{i}.weight"]).any() for i in (0, 2))


@pytest.mark.slow
def test_an_env_runner_that_dies_is_a_fault(cluster, monkeypatch):
    deliver = rllib_crew.deliver_weights

    def deliver_and_kill(algorithm):
        deliver(algorithm)
        group = algorithm.env_runner_group
        (pid,) = group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
        os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(rllib_crew, "deliver_weights", deliver_and_kill)
    one = recipe(env_runners=1)
    with pytest.raises(InfrastructureFault, match="an env runner died"):
        train_chunk(one, 0, initial_state(one))


# What the adapter leans on beyond RLlib's public API, and the parameters that it passes.
LEANS_ON = {
    "ray.rllib.env.env_runner_group:EnvRunnerGroup.sync_weights": (
        "from_worker_or_learner_group",
        "timeout_seconds",
        "inference_only",
    ),
    "ray.rllib.env.env_runner_group:EnvRunnerGroup.foreach_env_runner": ("func", "local_env_runner"),
    "ray.rllib.env.single_agent_env_runner:SingleAgentEnvRunner.make_env": (),
    "ray.rllib.env.single_agent_env_runner:SingleAgentEnvRunner.get_spaces": (),
    "ray.rllib.env.single_agent_env_runner:SingleAgentEnvRunner.set_state": ("state",),
    "ray.rllib.core.learner.learner_group:LearnerGroup.update": ("batch", "timesteps", "kwargs"),
    "ray.rllib.core.learner.learner:Learner.update": (
        "num_epochs",
        "minibatch_size",
        "shuffle_batch_per_epoch",
    ),
    "ray.rllib.core.learner.learner_group:LearnerGroup.foreach_learner": ("func",),
    "ray.rllib.core.learner.learner_group:LearnerGroup.get_state": ("components", "kwargs"),
    "ray.rllib.core.learner.learner_group:LearnerGroup.set_state": ("state",),
    "ray.rllib.algorithms.algorithm:Algorithm.set_state": ("state",),
    "ray.rllib.algorithms.algorithm_config:AlgorithmConfig.build_learner_group": ("spaces",),
    "ray.rllib.algorithms.ppo.torch.ppo_torch_learner:PPOTorchLearner.compute_loss_for_module": (
        "batch",
        "fwd_out",
    ),
    "ray.rllib.utils.actor_manager:FaultTolerantActorManager.foreach_actor_async": ("tag",),
}


@pytest.mark.parametrize("where", LEANS_ON)
def test_ray_still_has_what_the_adapter_leans_on(where):
    module, _, path = where.partition(":")
    found = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    assert set(LEANS_ON[where]) <= inspect.signature(found).parameters.keys()


def test_the_ray_that_is_installed_is_one_that_these_claims_were_tested_with():
    import ray

    assert ray.__version__.rsplit(".", 1)[0] in rllib_crew.TESTED_RAY, (
        "run tests/agents/test_rllib.py, slow ones too, then add this version to agents.rllib_crew.TESTED_RAY"
    )


WRONG = {
    "full": ({"checkpoint": "full"}, "expected checkpoint 'boundary'"),
    "shares": ({"env_runners": 3}, "that 3 env runners share evenly, found 64"),
    "range": ({"env_runners": 65}, r"whole number in 0\.\.64 as env_runners"),
    "algorithm": ({"algorithm": "rllib_ppo"}, "did you mean 'rllib-ppo'"),
    "field": ({"num_env_runners": 1}, "did you mean 'env_runners'"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_recipe_is_refused_with_the_way_out(kind):
    fields, reason = WRONG[kind]
    with pytest.raises(BadInput, match=reason):
        recipe(**fields)


def test_the_preset_is_a_recipe_whose_chunks_hold_whole_episodes():
    one = make_recipe({"env_id": ENV, **PRESETS["rllib"]})
    assert one.chunk_steps / one.lanes >= 500
    assert not one.env_runners
