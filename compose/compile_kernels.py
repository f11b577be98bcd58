"""Keeps the compiled kernels of the services here: plays the first days of each of their gyms.

    python compile_kernels.py [SERVICE ...]

An image runs this while it is built, so that a container's first step need not wait for Numba.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import gymnasium as gym

import workgym.envs  # noqa: F401  # the import registers the ids
from workgym.envs.gyms import env_ids_of
from workgym.services.catalogue import services

DAYS = 3


def main(names: Sequence[str]) -> None:
    """Play every gym of the services of these names; of all that are installed when none is named."""
    for name in names or services():
        for env_id in env_ids_of(name):
            start = time.perf_counter()
            play(env_id)
            print(f"{name}: {env_id} {time.perf_counter() - start:.1f} s", flush=True)


def play(env_id: str) -> None:
    """The first days of one episode on the live service."""
    env = gym.make(env_id, backend="embedded", disable_env_checker=True)
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(DAYS):
        env.step(env.action_space.sample())
    env.close()


if __name__ == "__main__":
    main(sys.argv[1:])
