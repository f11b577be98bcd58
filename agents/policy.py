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
        """Legal actions of N lanes.

        Args:
            obs: (N, features), or (N, rows, features) where every row is a decision.
            mask: `VectorEnv.mask`: (N, actions), or (N, 0) where every action is legal.

        Returns:
            What the env's `step` takes: (N,), or (N, D) where an action is D decisions.
        """
