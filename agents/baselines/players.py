"""Who plays an env for the law of order."""

from __future__ import annotations

from typing import Any

from workgym.agents.baselines import Role, baselines
from workgym.envs.conformance import Players

# Seasons small enough for a plan that knows the future.
_SMALL: dict[str, dict[str, Any]] = {"workgym/Orders-v0": {"days": 3, "orders_per_day": 4.0}}


def players(env_id: str) -> Players:
    """The department's rules, a noop, adversaries, and the oracle if the env has one.

    Raises:
        BadInput: no baseline is known for this env.
    """
    made = {role: [make() for make in baselines(env_id, role).values()] for role in Role}
    oracles = made[Role.ORACLE]
    return Players(
        rules=made[Role.RULE],
        noop=made[Role.NOOP][0],
        adversaries=made[Role.ADVERSARY],
        oracle=oracles[0] if oracles else None,
        oracle_kwargs=_SMALL.get(env_id, {}),
    )
