"""What the baker does today, and what tries to cheat."""

from __future__ import annotations

import numpy as np

from bakery.rules import OVEN
from workgym.agents.baselines import Role, baseline
from workgym.envs.base import Bools, Floats, Ints, VectorEnv

ENV_ID = "acme/Bakery-v0"


class SameEveryDay:
    """Bakes a number of loaves every morning, or what the shelf has room for."""

    def __init__(self, name: str, loaves: int) -> None:
        self.name = name
        self.loaves = loaves

    def begin(self, env: VectorEnv) -> None:
        """Nothing to learn about the shop."""

    def act(self, obs: Floats, mask: Bools) -> Ints:
        """Loaves of all lanes."""
        most = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
        return np.minimum(self.loaves, most)


@baseline(ENV_ID, "five-a-day", Role.RULE)
def five_a_day() -> SameEveryDay:
    """What the baker does today."""
    return SameEveryDay("five-a-day", 5)


@baseline(ENV_ID, "closed", Role.NOOP)
def closed() -> SameEveryDay:
    """Bakes nothing."""
    return SameEveryDay("closed", 0)


@baseline(ENV_ID, "oven-always-full", Role.ADVERSARY)
def oven_always_full() -> SameEveryDay:
    """Bakes as much as it can."""
    return SameEveryDay("oven-always-full", OVEN)
