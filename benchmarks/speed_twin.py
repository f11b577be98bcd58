"""The vector twin against the same rules in plain Python and against Gymnasium's vectorised CartPole.

    python -m benchmarks.speed_twin [--rounds 9] [--lanes 1024]

One process and one thread; contenders take turns. Actions are random, legal, and chosen outside the timed
part; autoreset and observations are inside. The plain-Python figure comes from a child process in which
Numba compiles nothing. Nothing is printed before lanes were found equal to single envs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np

import workgym.envs
from workgym.envs import conformance

PLAIN = """
import time, json, numpy as np, gymnasium as gym, workgym.envs
env = gym.make("workgym/Orders-v0").unwrapped
rng = np.random.default_rng(0)
_, info = env.reset(seed=0)
spent, steps = 0.0, 0
while spent < 4.0:
    mask = info["action_mask"]
    action = int((rng.random(len(mask)) * mask).argmax())
    began = time.process_time()
    _, _, ended, _, info = env.step(action)
    spent += time.process_time() - began
    steps += 1
    if ended:
        began = time.process_time()
        _, info = env.reset()
        spent += time.process_time() - began
print(json.dumps(steps / spent))
"""


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--lanes", type=int, default=1024)
    given = arguments.parse_args()
    subject = conformance.Subject(workgym.envs.ENV_IDS[0], "twin", {}, None, 200)
    print(f"checked first: {conformance.lanes_are_singles(subject):,} steps of lanes equal single envs")
    ours, cartpole, single = [], [], []
    contenders = (Desks(given.lanes), Poles(given.lanes), Desks(1))
    for _ in range(given.rounds):
        for contender, rates in zip(contenders, (ours, cartpole, single), strict=True):
            rates.append(contender.rate())
    plain = python_rate()
    rows = {
        f"twin, {given.lanes} lanes": ours,
        f"CartPole of Gymnasium, {given.lanes} lanes": cartpole,
        "twin, 1 lane through the vector env": single,
        "same rules in plain Python, 1 env": [plain],
    }
    print("\n| contender | steps a CPU second | range | twin is |\n|---|---:|---:|---:|")
    for name, rates in rows.items():
        spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
        print(f"| {name} | {median(rates):,.0f} | {spread} | {median(ours) / median(rates):,.2f}x |")


class Desks:
    """Order desks that play random legal actions."""

    def __init__(self, lanes: int) -> None:
        self.env: Any = gym.make_vec(workgym.envs.ENV_IDS[0], num_envs=lanes)
        self.rng = np.random.default_rng(0)
        _, self.info = self.env.reset(seed=0)
        for _ in range(30):  # past the first day, where all lanes do the same
            self.step()

    def step(self) -> float:
        """CPU seconds of one step."""
        mask = self.info["action_mask"]
        actions = (self.rng.random(mask.shape, dtype=np.float32) * mask).argmax(axis=1)
        began = time.process_time()
        self.info = self.env.step(actions)[4]
        return time.process_time() - began

    def rate(self, steps: int = 300) -> float:
        """Steps of all lanes a CPU second."""
        return steps * self.env.num_envs / sum(self.step() for _ in range(steps))


class Poles:
    """CartPoles with actions made beforehand."""

    def __init__(self, lanes: int) -> None:
        self.env = gym.make_vec("CartPole-v1", num_envs=lanes, vectorization_mode="vector_entry_point")
        self.env.reset(seed=0)
        self.actions = np.random.default_rng(0).integers(0, 2, (16, lanes))

    def rate(self, steps: int = 300) -> float:
        """Steps of all lanes a CPU second."""
        spent = 0.0
        for step in range(steps):
            began = time.process_time()
            self.env.step(self.actions[step % 16])
            spent += time.process_time() - began
        return steps * self.env.num_envs / spent


def python_rate() -> float:
    """Steps a CPU second of one env whose kernels are not compiled."""
    environ = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-W", "ignore", "-c", PLAIN]
    done = subprocess.run(command, check=False, env=environ, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return float(json.loads(done.stdout))


if __name__ == "__main__":
    main()
