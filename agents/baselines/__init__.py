"""What each department does today, and what tries to cheat: the policies that others are measured by.

A baseline is a factory of a `Policy` under a name, entered with the decorator:

    @baseline("acme/Returns-v0", "oldest-first", Role.RULE)
    def oldest_first() -> Policy: ...

Packages that bring an env of their own name the module of its baselines in the entry point group
`workgym.baselines`; ours enter by the same decorator.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from workgym.agents.policy import Policy
from workgym.services.kernel import BadInput, did_you_mean
from workgym.services.plugins import Plugins

OURS = ("orders", "milp", "oracle", "supply_chain", "inventory")
Factory = Callable[[], Policy]


class Role(StrEnum):
    """What a baseline is there for."""

    RULE = "rule"  # what the department does today
    PLANNER = "planner"  # re-solves a model of the business; reads its state, never its future
    NOOP = "noop"  # does nothing: the floor
    ADVERSARY = "adversary"  # tries to earn without doing the work
    ORACLE = "oracle"  # knows the future: the top


class _Entry(NamedTuple):
    role: Role
    make: Factory


_ENTRIES = Plugins[tuple[str, str], _Entry](
    "workgym.baselines", "baselines", {name: f"{__name__}.{name}" for name in OURS}
)


def baseline(env_id: str, name: str, role: Role) -> Callable[[Factory], Factory]:
    """Enter a factory of policies as the baseline `name` of an env."""

    def enter(make: Factory) -> Factory:
        _ENTRIES.enter((env_id, name), _Entry(role, make), make, f"{name!r} of {env_id}")
        return make

    return enter


def baselines(env_id: str, role: Role | str | None = None) -> dict[str, Factory]:
    """Factories of an env's baselines by name, all of them or those of one role.

    Raises:
        BadInput: no baseline is known for this env, or there is no such role.
    """
    known = _ENTRIES.known()
    if role is not None and role not in list(Role):
        raise BadInput(did_you_mean("role of a baseline", role, [str(one) for one in Role]))
    envs = {own for own, _ in known}
    if env_id not in envs:
        raise BadInput(did_you_mean("env with baselines", env_id, sorted(envs)))
    return {
        name: entry.make
        for (own, name), entry in known.items()
        if own == env_id and role in (None, entry.role)
    }


def make_baseline(env_id: str, name: str) -> Policy:
    """A fresh policy by the name of its baseline.

    Raises:
        BadInput: there is no such baseline.
    """
    known = baselines(env_id)
    if name not in known:
        raise BadInput(did_you_mean("baseline", name, list(known)))
    return known[name]()
