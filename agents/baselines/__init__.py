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
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from workgym.agents.policy import Policy
from workgym.services.kernel import BadInput, Conflict, did_you_mean

GROUP = "workgym.baselines"
OURS = tuple(
    EntryPoint(name, f"workgym.agents.baselines.{name}", GROUP)
    for name in ("orders", "milp", "oracle", "supply_chain", "inventory")
)
Factory = Callable[[], Policy]


class Role(StrEnum):
    """What a baseline is there for."""

    RULE = "rule"  # what the department does today
    PLANNER = "planner"  # re-solves a model of the business; reads its state, never its future
    NOOP = "noop"  # does nothing: the floor
    ADVERSARY = "adversary"  # tries to earn without doing the work
    ORACLE = "oracle"  # knows the future: the top


class _Entry(NamedTuple):
    env_id: str
    name: str
    role: Role
    make: Factory


_ENTRIES: dict[tuple[str, str], _Entry] = {}


def baseline(env_id: str, name: str, role: Role) -> Callable[[Factory], Factory]:
    """Enter a factory of policies as the baseline `name` of an env."""

    def enter(make: Factory) -> Factory:
        known = _ENTRIES.get((env_id, name))
        if known and _address(known.make) != _address(make):
            raise Conflict(
                f"two baselines of {env_id} are named {name!r}: {_address(known.make)} and {_address(make)}"
            )
        _ENTRIES.setdefault((env_id, name), _Entry(env_id, name, role, make))
        return make

    return enter


def _address(make: Factory) -> str:
    return f"{getattr(make, '__module__', '')}:{getattr(make, '__qualname__', make)}"


@cache
def _load_plug_ins() -> None:
    for point in (*OURS, *entry_points(group=GROUP)):
        try:
            point.load()
        except (ImportError, AttributeError) as error:
            raise BadInput(
                f"the baselines of {point.name!r} ({point.value}) do not load: {error}; repair or remove it"
            ) from error


def baselines(env_id: str, role: Role | str | None = None) -> dict[str, Factory]:
    """Factories of an env's baselines by name, all of them or those of one role.

    Raises:
        BadInput: no baseline is known for this env, or there is no such role.
    """
    _load_plug_ins()
    if role is not None and role not in list(Role):
        raise BadInput(did_you_mean("role of a baseline", role, [str(known) for known in Role]))
    if env_id not in {entry.env_id for entry in _ENTRIES.values()}:
        envs = sorted({entry.env_id for entry in _ENTRIES.values()})
        raise BadInput(did_you_mean("env with baselines", env_id, envs))
    return {
        entry.name: entry.make
        for entry in _ENTRIES.values()
        if entry.env_id == env_id and role in (None, entry.role)
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
