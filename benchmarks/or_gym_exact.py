"""OR-Gym's InvManagement against `.or-gym`: the same demand and orders, profit period by period.

    python -m benchmarks.or_gym_exact --peer OTHER/bin/python [--episodes 500] [--record FILE]

OTHER is an environment of its own with or-gym 0.5.0 (it needs gym 0.21 and numpy below 2). Both versions
play random demand and random orders. Prints the largest difference between their discounted profits;
`--record` writes a few of the episodes as the test-suite reads them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from workgym.envs.supply_chain.env import Parts, Wish, lanes_of
from workgym.services.supply_chain.presets import or_gym
from workgym.services.supply_chain.scenario import setup_of

DISCOUNT = 0.97
MOST = (100, 90, 80)
RECORDED = 4  # episodes of each version

PEER = """
import json, sys
import numpy as np, or_gym
out = []
for lost, demand, orders in json.load(sys.stdin):
    env = or_gym.make("InvManagement-v1" if lost else "InvManagement-v0",
                      env_config={"dist": 5, "user_D": demand})
    env.reset()
    out.append([float(env.step(np.array(order))[1]) for order in orders])
print(json.dumps(out))
"""


def episodes(n: int, rng: np.random.Generator) -> list[Any]:
    """Random demand (30,) and orders (30, 3) of both versions; some scarce, some plenty."""
    out = []
    for number in range(n):
        mean, share = rng.choice([5, 20, 60]), rng.choice([0.2, 0.5, 1.0])
        orders = rng.integers(0, np.array(MOST) * share + 1, (30, 3))
        out.append([bool(number % 2), rng.poisson(mean, 30).tolist(), orders.tolist()])
    return out


def ours(lost: bool, demand: list[int], orders: list[list[int]]) -> list[float]:
    """Discounted profit of each period, in OR-Gym's unit of money."""
    network = or_gym(lost=lost)
    history = np.zeros((len(demand), 3, 1), np.int32)
    history[:, 0, 0] = demand
    setup = setup_of(network, history, np.zeros((len(demand), 1), np.bool_))
    parts = Parts("workgym/SupplyChain.or-gym-v0", network, setup, lambda split: parts)
    env = lanes_of(parts, 1, Wish())
    env.reset(seed=0)
    mills = [float(env.step(np.array([order]))[1][0]) for order in orders]
    return [DISCOUNT**n * money / 1000 for n, money in enumerate(mills)]


def main() -> None:
    """Compare, and record if asked to."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--peer", required=True)
    arguments.add_argument("--episodes", type=int, default=500)
    arguments.add_argument("--record", type=Path)
    given = arguments.parse_args()
    played = episodes(given.episodes, np.random.default_rng(0))
    answer = subprocess.run(
        [given.peer, "-W", "ignore", "-c", PEER],
        input=json.dumps(played),
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = json.loads(answer.stdout)
    worst = max(
        float(np.abs(np.array(ours(*episode)) - profit).max())
        for episode, profit in zip(played, theirs, strict=True)
    )
    print(f"{len(played)} episodes, {30 * len(played)} periods: largest difference {worst:.2e}")
    if given.record:
        kept = [[*episode, profit] for episode, profit in zip(played, theirs, strict=True)][: 2 * RECORDED]
        given.record.write_text("\n".join(["[", ",\n".join(json.dumps(one) for one in kept), "]"]) + "\n")


if __name__ == "__main__":
    main()
