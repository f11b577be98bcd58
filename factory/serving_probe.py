"""A server's half of the serving gate: a fresh process that has a policy's files and nothing else.

    python -m workgym.factory.serving_probe FOLDER

The folder holds `policy/`, the files; `wish.json`, what env they decide for; `sights.npz`, observations and
masks. The probe adds `actions.npy` and `answer.json`. It imports what a server imports, and no library that
trains.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np

import workgym.envs  # noqa: F401  # registers the ids
from workgym.agents.policy import Bools, Floats, Policy, load_policy, played_with
from workgym.envs.base import VectorEnv

TRAINERS = ("torch", "stable_baselines3", "sb3_contrib", "ray", "onnx")
BATCH = 500
CALLS, BLOCKS = 2000, 3


def answer(folder: Path) -> dict[str, Any]:
    """Load, decide, and measure; what the gate wants to know."""
    began = time.perf_counter()
    wish = json.loads((folder / "wish.json").read_text())
    policy = load_policy(_files(folder / "policy"))
    given = played_with(policy, wish["env_kwargs"])
    env = cast("VectorEnv", gym.make_vec(wish["env_id"], num_envs=BATCH, **given))
    env.reset(seed=0)
    policy.begin(env)
    loaded = time.perf_counter() - began
    with np.load(folder / "sights.npz") as sights:
        obs, mask = sights["obs"], sights["mask"]
    parts = [policy.act(obs[at : at + BATCH], mask[at : at + BATCH]) for at in range(0, len(obs), BATCH)]
    actions = np.concatenate(parts)
    np.save(folder / "actions.npy", actions)
    p99, alone = _one_by_one(policy, obs, mask)
    return {
        "load_s": loaded,
        "p99_us": p99,
        "alone": bool(np.array_equal(alone, actions[: len(alone)])),
        "trainers": [name for name in TRAINERS if name in sys.modules],
    }


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _one_by_one(policy: Policy, obs: Floats, mask: Bools) -> tuple[float, Any]:
    """Microseconds of 99 in 100 single decisions, the best of some blocks; and what was decided.

    Processor time of this thread: how busy the machine is with others says nothing about the policy.
    """
    calls = min(len(obs), CALLS)
    taken = np.empty((BLOCKS, calls))
    actions: list[Any] = []
    for block in range(BLOCKS):
        actions.clear()
        for at in range(calls):
            began = time.thread_time_ns()
            decided = policy.act(obs[at : at + 1], mask[at : at + 1])
            taken[block, at] = time.thread_time_ns() - began
            actions.append(decided)
    return float(np.percentile(taken, 99, axis=1).min() / 1000), np.concatenate(actions)


def main() -> None:
    """Answer the wish in the folder that the command line names."""
    folder = Path(sys.argv[1])
    (folder / "answer.json").write_text(json.dumps(answer(folder)))


if __name__ == "__main__":
    main()
