"""How many decisions a second a training learns from, beside Stable-Baselines3 as it is usually run.

python -m benchmarks.speed_training [rounds]

One process, one thread, the contenders taking turns; decisions by CPU second, median and range over
the rounds. Before anything is timed, a lane of the adapter is compared with the single env.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import platform
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3.common.vec_env import DummyVecEnv

from workgym.agents import ppo
from workgym.agents.sb3 import LanesVecEnv
from workgym.agents.training import make_recipe

ENV = "workgym/Orders-v0"
FEWEST = 10.0  # times faster than single envs at SB3's own settings, or the script fails

Play = Callable[[], int]  # learns a little more; how many decisions from


def check_lanes(lanes: LanesVecEnv, steps: int = 300) -> None:
    """Refuse to time lanes that are not the single env."""
    single = gym.make(ENV)
    lanes.seed(7)
    seen, (obs, info) = lanes.reset(), single.reset(seed=7)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        np.testing.assert_array_equal(seen[0], obs)
        np.testing.assert_array_equal(lanes.action_masks()[0], info["action_mask"])
        legal = lanes.action_masks()
        actions = (rng.random(legal.shape) * legal).argmax(1)
        seen, rewards, dones, _ = lanes.step(actions)
        obs, cents, ended, _, info = single.step(actions[0])
        assert rewards[0] == np.float32(cents * lanes.env.task.reward_scale)
        assert dones[0] == ended
        if ended:
            obs, info = single.reset()


def preset() -> Play:
    """The default recipe on lanes."""
    recipe = make_recipe({"env_id": ENV})
    lanes = LanesVecEnv.make(ENV, recipe.lanes)
    check_lanes(lanes)
    return learning(ppo.build(recipe, lanes, lambda _: recipe.learning_rate, 0), recipe.rollout)


def sb3_defaults() -> Play:
    """Eight single envs at SB3's settings: minibatches of 64, ten epochs; only the rollouts are shorter."""
    envs = DummyVecEnv([lambda: gym.make(ENV)] * 8)
    return learning(MaskablePPO("MlpPolicy", envs, n_steps=256, device="cpu", seed=0), 2048)


def sb3_large_batches() -> Play:
    """Sixty-four single envs with the default recipe's rollouts, minibatches, epochs and network."""
    recipe = make_recipe({"env_id": ENV, "lanes": 64, "n_steps": 128})
    envs = DummyVecEnv([lambda: gym.make(ENV)] * 64)
    model = MaskablePPO(
        "MlpPolicy",
        envs,
        n_steps=recipe.n_steps,
        batch_size=recipe.minibatch,
        n_epochs=recipe.epochs,
        policy_kwargs={"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "activation_fn": torch.nn.ReLU},
        device="cpu",
        seed=0,
    )
    return learning(model, recipe.rollout)


def learning(model: Any, steps: int) -> Play:
    def play() -> int:
        model.learn(steps, log_interval=None)
        return steps

    return play


def adapter_share(rounds: int = 200) -> tuple[float, float]:
    """CPU microseconds a decision in the lanes themselves, and in the adapter around them."""
    recipe = make_recipe({"env_id": ENV})
    lanes = LanesVecEnv.make(ENV, recipe.lanes)
    lanes.reset()
    inside, whole, step = [0.0], 0.0, lanes.env.step

    def timed(actions: Any) -> Any:
        began = time.process_time()
        told = step(actions)
        inside[0] += time.process_time() - began
        return told

    lanes.env.step = timed  # type: ignore[method-assign]  # only to look inside
    for _ in range(rounds):
        began = time.process_time()
        masks = np.stack(lanes.env_method("action_masks"))
        lanes.step(masks.argmax(1))
        whole += time.process_time() - began
    decisions = rounds * recipe.lanes
    return 1e6 * inside[0] / decisions, 1e6 * (whole - inside[0]) / decisions


def measure(contenders: dict[str, Play], rounds: int) -> dict[str, list[float]]:
    """Decisions by CPU second, one number a round, the contenders taking turns."""
    for play in contenders.values():
        play()
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, play in contenders.items():
            began, steps = time.process_time(), 0
            while time.process_time() - began < 0.5:
                steps += play()
            rates[name].append(steps / (time.process_time() - began))
    return rates


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    rates = measure(
        {
            "lanes, default recipe": preset(),
            "64 single envs, same batches": sb3_large_batches(),
            "8 single envs, SB3's settings": sb3_defaults(),
        },
        rounds=int(arguments[0]) if arguments else 7,
    )
    print(f"MaskablePPO on {ENV}, one thread, {platform.machine()}, load {os.getloadavg()[0]:.1f}")
    print(f"{'':32}{'decisions/CPU-s':>16}{'range':>20}{'times':>8}")
    slowest = median(rates["8 single envs, SB3's settings"])
    for name, values in rates.items():
        spread = f"{min(values):,.0f}..{max(values):,.0f}"
        print(f"{name:32}{median(values):>16,.0f}{spread:>20}{median(values) / slowest:>8.1f}")
    lanes, adapter = adapter_share()
    whole = 1e6 / median(rates["lanes, default recipe"])
    share = f"{lanes:.2f} in the lanes, {adapter:.2f} ({adapter / whole:.1%}) in the adapter"
    print(f"of {whole:.1f} us a decision: {share}")
    if median(rates["lanes, default recipe"]) < FEWEST * slowest:
        sys.exit(f"expected at least {FEWEST:g} times the speed of single envs at SB3's settings")


if __name__ == "__main__":
    main(sys.argv[1:])
