"""Who may do what: persons, their roles, and the table of permissions.

A viewer reads, an operator also acts, an admin also opens and drops worlds, lets time pass in them and hands
out tokens. An agent acts in the one world of its token and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple, get_args

Role = Literal["viewer", "operator", "agent", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
USER_ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")  # an agent has a token and no password

READS = frozenset(("GET", "HEAD", "OPTIONS"))
BUSINESS = "business"  # every operation whose tag is not in the table


@dataclass(frozen=True)
class Person:
    """Who asks.

    Attributes:
        name: as the audit log tells it.
        role: what they may do.
        world: id of the only world that an agent may use, else None.
    """

    name: str
    role: Role
    world: int | None = None


class Grant(NamedTuple):
    """Roles that may read, and roles that may act; None for everybody, signed in or not."""

    read: frozenset[Role] | None
    act: frozenset[Role] | None


_ANYBODY = None
_ALL: frozenset[Role] = frozenset(ROLES)
_PEOPLE: frozenset[Role] = frozenset(USER_ROLES)
_STAFF: frozenset[Role] = frozenset(("operator", "admin"))
_ADMIN: frozenset[Role] = frozenset(("admin",))

GRANTS: Mapping[str, Grant] = {
    "public": Grant(_ANYBODY, _ANYBODY),
    "health": Grant(_ANYBODY, _ANYBODY),
    BUSINESS: Grant(_ALL, _STAFF | {"agent"}),
    "pages": Grant(_PEOPLE, _STAFF),
    "mcp": Grant(_ALL, _ALL),  # what its tools may do is decided when they call an operation
    "telemetry": Grant(_PEOPLE, _ADMIN),
    "worlds": Grant(_PEOPLE, _ADMIN),
    "scenario": Grant(_ADMIN, _ADMIN),
    "gym": Grant(_ADMIN, _ADMIN),
    "access": Grant(_ADMIN, _ADMIN),
    "undeclared": Grant(_ADMIN, _ADMIN),  # mounted by a part that does not say for whom
}


def group_of(tags: Iterable[str | Enum]) -> str:
    """The row of the table for an operation with these tags."""
    return next((str(tag) for tag in tags if tag in GRANTS), BUSINESS)


def permitted(group: str, method: str) -> frozenset[Role] | None:
    """The roles that may do this; None for everybody, signed in or not."""
    grant = GRANTS[group]
    return grant.read if method in READS else grant.act
