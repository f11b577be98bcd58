"""What can act: the protocol that baselines, planners and trained models share."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workgym.envs.base import VectorEnv

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Policy(Protocol):
    """Decides for N lanes at once; the same inputs give the same actions."""

    name: str

    def begin(self, env: VectorEnv) -> None:
        """Meet the env before its first decision; planners keep it to read the state."""

    def act(self, obs: Floats, mask: Bools) -> Ints:
        """(N,) legal actions for observations (N, features) and masks (N, actions)."""
