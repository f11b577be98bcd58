"""What the baker does today, and what tries to cheat."""

from __future__ import annotations

import numpy as np

from bakery.rules import SHELF
from workgym.agents.baselines import Role, baseline
from workgym.envs.base import Bools, Floats, Ints, VectorEnv

ENV_ID = "acme/Bakery-v0"


class FillTo:
    """Bakes what is missing to a level."""

    def __init__(self, name: str, level: int) -> None:
        self.name = name
        self.level = level

    def begin(self, env: VectorEnv) -> None:
        """Nothing to learn about the shop."""

    def act(self, obs: Floats, mask: Bools) -> Ints:
        """Loaves of all lanes."""
        shelf = np.rint(obs[:, 2] * SHELF).astype(np.int64)
        most = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
        return np.clip(self.level - shelf, 0, most)


@baseline(ENV_ID, "fill-to-six", Role.RULE)
def fill_to_six() -> FillTo:
    """What the baker does today."""
    return FillTo("fill-to-six", 6)


@baseline(ENV_ID, "closed", Role.NOOP)
def closed() -> FillTo:
    """Bakes nothing."""
    return FillTo("closed", 0)


@baseline(ENV_ID, "oven-always-full", Role.ADVERSARY)
def oven_always_full() -> FillTo:
    """Bakes as much as it can."""
    return FillTo("oven-always-full", SHELF)
