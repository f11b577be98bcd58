"""What can act: the protocol that baselines, planners and trained models share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from workgym.envs.base import VectorEnv
from workgym.services.kernel import BadInput, did_you_mean

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

VIEW = ("actions", "observation")  # arguments of an env that say how it is seen and acted in, not what it is


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


def view_of(env_kwargs: Mapping[str, Any]) -> dict[str, str]:
    """Those arguments of an env that a policy brings along wherever it plays."""
    return {name: str(env_kwargs[name]) for name in VIEW if env_kwargs.get(name) is not None}


def played_with(policy: Policy, env_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an env that this policy plays: those given, with its own view if it has one."""
    return {**env_kwargs, **getattr(policy, "view", {})}


HEADER = "policy.json"  # of a saved policy; its `kind` tells who reads the files
MLP = "mlp"  # the kind of files that name none


def _mlp(files: Mapping[str, bytes]) -> Policy:
    from workgym.agents.mlp import MlpPolicy

    return MlpPolicy.load(files)


def _quantities(files: Mapping[str, bytes]) -> Policy:
    from workgym.agents.pathwise.policy import QuantityPolicy

    return QuantityPolicy.load(files)


def _escalating(files: Mapping[str, bytes]) -> Policy:
    from workgym.agents.routers import Escalating

    return Escalating.load(files)


def _by_family(files: Mapping[str, bytes]) -> Policy:
    from workgym.agents.routers import ByFamily

    return ByFamily.load(files)


KINDS: dict[str, Callable[[Mapping[str, bytes]], Policy]] = {
    MLP: _mlp,
    "quantities": _quantities,
    "escalating": _escalating,
    "by-family": _by_family,
}


def files_digest(files: Mapping[str, bytes]) -> str:
    """The content hash of a saved policy: what the factory's artifact store calls its folder."""
    manifest = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def load_policy(files: Mapping[str, bytes]) -> Policy:
    """The policy that was saved as these files, whatever its kind.

    Raises:
        BadInput: this workgym has no such kind, or the files are no policy of it.
    """
    try:
        header = json.loads(files.get(HEADER, b""))
    except ValueError:
        header = None  # its reader says what is wrong with it
    kind = header.get("kind", MLP) if isinstance(header, dict) else MLP
    if kind not in KINDS:
        raise BadInput(did_you_mean("kind of policy", str(kind), list(KINDS)))
    return KINDS[kind](files)
