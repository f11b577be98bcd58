"""The supply chain's speed beside other inventory gyms, in one run, as ratios.

    python -m benchmarks.speed_inventory [--or-gym OTHER/bin/python] [--invmgmt OTHER/bin/python] [--rounds 3]

The others live in environments of their own: or-gym 0.5.0 (needs gym 0.21 and numpy below 2) and gym-invmgmt
0.2.1; without a path they are left out, and the output says so. All play random legal orders, chosen
outside the timed part; resets are inside. Rates are steps of one world a CPU second on one thread;
contenders take turns, and medians over rounds count.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np

import workgym.envs  # noqa: F401  # registers the ids

OR_GYM, RETAIL = "workgym/SupplyChain.or-gym-v0", "workgym/SupplyChain.retail-v0"
SECONDS = 1.5  # of a contender's turn
GOALS = {  # least ratio of ours to theirs
    ("or-gym preset, 1,024 lanes", "OR-Gym InvManagement"): 300,
    ("or-gym preset, 1 world", "gym-invmgmt Serial"): 10,
    ("or-gym preset, 1,024 lanes", "gym-invmgmt Serial"): 300,
    ("retail, 100 SKUs at 5 nodes, by SKU", "OR-Gym NetworkManagement"): 100,
}

PEER = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy as np
def rate(make, seconds):
    env = make()
    env.reset()
    space = env.action_space
    actions = [space.sample() for _ in range(64)]
    spent, steps, done = 0.0, 0, False
    while spent < seconds:
        began = time.process_time()
        for action in actions:
            if done:
                env.reset()
            done = any(env.step(action)[2:-1])
        spent += time.process_time() - began
        steps += len(actions)
    return steps / spent
"""
OR_GYM_PEER = """
import or_gym
print(json.dumps({
    "OR-Gym InvManagement": rate(lambda: or_gym.make("InvManagement-v0"), SECONDS),
    "OR-Gym NetworkManagement": rate(lambda: or_gym.make("NetworkManagement-v0"), SECONDS),
}))
"""
INVMGMT_PEER = """
import gymnasium as gym, gym_invmgmt
print(json.dumps({
    "gym-invmgmt Serial": rate(lambda: gym.make("GymInvMgmt/Serial-v0"), SECONDS),
    "gym-invmgmt MultiEchelon": rate(lambda: gym.make("GymInvMgmt/MultiEchelon-v0"), SECONDS),
}))
"""


def peer(python: str, program: str) -> dict[str, float]:
    """Steps a CPU second of the others, in a process of their own environment."""
    code = PEER + program.replace("SECONDS", str(SECONDS))
    told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    rates: dict[str, float] = json.loads(told.strip().splitlines()[-1])
    return rates


class Lanes:
    """Our lanes, which play random orders."""

    def __init__(self, env_id: str, lanes: int, **arguments: Any) -> None:
        made: Any = gym.make_vec(env_id, num_envs=lanes, **arguments)
        self.env = made
        self.lanes = lanes
        made.reset(seed=0)
        rng, most = np.random.default_rng(0), made.backend.setup.most.ravel()
        self.actions = [rng.integers(0, most + 1, (lanes, len(most))) for _ in range(16)]

    def rate(self) -> float:
        """Steps of one world a CPU second."""
        spent, steps = 0.0, 0
        while spent < SECONDS:
            began = time.process_time()
            for actions in self.actions:
                self.env.step(actions)
            spent += time.process_time() - began
            steps += self.lanes * len(self.actions)
        return steps / spent


class World:
    """One env of ours, stepped as everybody steps a Gymnasium env."""

    def __init__(self, env_id: str, **arguments: Any) -> None:
        self.env: Any = gym.make(env_id, disable_env_checker=True, **arguments)
        self.env.reset(seed=0)
        self.env.action_space.seed(0)
        self.actions = [self.env.action_space.sample() for _ in range(64)]

    def rate(self) -> float:
        """Steps a CPU second."""
        spent, steps, done = 0.0, 0, False
        while spent < SECONDS:
            began = time.process_time()
            for action in self.actions:
                if done:
                    self.env.reset()
                done = any(self.env.step(action)[2:-1])
            spent += time.process_time() - began
            steps += len(self.actions)
        return steps / spent


def main() -> None:
    """Print the rates, their ratios, and whether the goals are met."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--or-gym", help="python with or-gym 0.5.0")
    arguments.add_argument("--invmgmt", help="python with gym-invmgmt")
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    skus = 100
    contenders: dict[str, tuple[Any, int]] = {
        "or-gym preset, 1 world": (World(OR_GYM), 1),
        "or-gym preset, 1 lane": (Lanes(OR_GYM, 1), 1),
        "or-gym preset, 1,024 lanes": (Lanes(OR_GYM, 1024), 1),
        "retail, 100 SKUs at 5 nodes, by SKU": (Lanes(RETAIL, 16, skus=skus, stores=4), skus),
    }
    rates: dict[str, list[float]] = {}
    peers = [(given.or_gym, OR_GYM_PEER), (given.invmgmt, INVMGMT_PEER)]
    for _ in range(given.rounds):
        for name, (contender, weight) in contenders.items():
            rates.setdefault(name, []).append(weight * contender.rate())
        for python, program in peers:
            for name, one in (peer(python, program) if python else {}).items():
                rates.setdefault(name, []).append(one)
    middle = {name: median(found) for name, found in rates.items()}
    _print(middle, list(contenders))
    for path, name in ((given.or_gym, "or-gym"), (given.invmgmt, "gym-invmgmt")):
        if not path:
            print(f"\n{name}: not compared, no path to an environment that has it")


def _print(middle: dict[str, float], ours: list[str]) -> None:
    others = [name for name in middle if name not in ours]
    print("| contender | steps a CPU second |", *(f"x {name} |" for name in others))
    print("|---|---:|" + "---:|" * len(others))
    for name, rate in middle.items():
        ratios = (
            [f"{rate / middle[other]:,.1f} |" for other in others] if name in ours else ["|"] * len(others)
        )
        print(f"| {name} | {rate:,.0f} |", *ratios)
    for (mine, theirs), least in GOALS.items():
        if theirs in middle:
            ratio = middle[mine] / middle[theirs]
            print(
                f"\ngoal {least}x {theirs} by {mine}: {ratio:,.0f}x, {'met' if ratio >= least else 'MISSED'}"
            )


if __name__ == "__main__":
    main()
