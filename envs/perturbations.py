"""What can be disturbed in an env to see who copes: the axes along which a policy must be robust.

An env declares its own, in its class, where it says what is observed and played:

    class ReturnsEnv(base.Env):
        perturbations = (Perturbation("demand", "twice as many come back", {"stress": {"demand": 2.0}}),)
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium as gym

import workgym.envs  # noqa: F401  # registers the ids
from workgym.services.kernel import BadInput, did_you_mean

AXES = ("demand", "lead-time", "capacity", "faults", "schema")


class Perturbation(NamedTuple):
    """One disturbance of an env.

    Attributes:
        axis: one of `AXES`.
        says: what happens, as a report says it.
        env_kwargs: arguments of the env that make it so, on top of the usual ones.
        reads: features that a policy reads as a constant, whatever is true: what it sees of a field that a
            service has renamed and whose reader falls back on a default. What the env derives from the
            same field for other features, the mask and the business are not touched.
    """

    axis: str
    says: str
    env_kwargs: Mapping[str, Any] = {}
    reads: Mapping[str, float] = {}


FAULTS = Perturbation(
    "faults",
    "of the decisions 5% are carried out unacknowledged, 2% delivered twice, and 5% decided on a stale page",
    {"mishaps": {"lost-acknowledgement": 0.05, "duplicate-delivery": 0.02, "stale-read": 0.05}},
)


def perturbations(env_id: str) -> tuple[Perturbation, ...]:
    """What an env declares; nothing where it declares nothing.

    Raises:
        BadInput: there is no such env, or a declared axis is none.
    """
    if env_id not in gym.registry:
        raise BadInput(did_you_mean("env", env_id, [id_ for id_ in gym.registry if "/" in id_]))
    found: tuple[Perturbation, ...] = getattr(_class_of(env_id), "perturbations", ())
    for one in found:
        if one.axis not in AXES:
            raise BadInput(did_you_mean(f"axis of {env_id}", one.axis, list(AXES)))
    return found


def _class_of(env_id: str) -> Any:
    point = gym.registry[env_id].entry_point
    if not isinstance(point, str):
        return point
    module, _, name = point.partition(":")
    return getattr(importlib.import_module(module), name)
