"""Which status may follow which, in one table."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from workgym.services.kernel import Conflict

S = TypeVar("S", bound=StrEnum)


class RunStatus(StrEnum):
    """Where a run stands. Abandoned: its process died without saying so."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    ABANDONED = "abandoned"


class TrainingStatus(StrEnum):
    """Where one training of a run stands."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    ABANDONED = "abandoned"


class VersionStatus(StrEnum):
    """What the gates have said of a model version so far."""

    REGISTERED = "registered"
    BLESSED = "blessed"
    REJECTED = "rejected"


_FOLLOWS: dict[type[StrEnum], dict[str, set[str]]] = {
    RunStatus: {
        "running": {"finished", "failed", "abandoned"},
        "abandoned": {"running"},
        "finished": set(),
        "failed": {"abandoned"},  # by `factory retry`
    },
    TrainingStatus: {
        "running": {"running", "finished", "failed", "abandoned"},
        "failed": {"running"},
        "abandoned": {"running"},
        "finished": set(),
    },
    # An inconclusive verdict takes a blessing back, but never lifts a rejection.
    VersionStatus: {
        "registered": {"registered", "blessed", "rejected"},
        "blessed": {"registered", "blessed", "rejected"},
        "rejected": {"blessed", "rejected"},
    },
}


def may_follow(now: S, then: S) -> bool:
    """Whether the table has this step."""
    return str(then) in _FOLLOWS[type(now)][str(now)]


def moved(what: str, now: S, then: S) -> S:
    """The new status of `what`.

    Raises:
        Conflict: the table has no such step; somebody else moved it first.
    """
    if not may_follow(now, then):
        ways = ", ".join(sorted(_FOLLOWS[type(now)][str(now)])) or "nothing"
        raise Conflict(f"{what} is {now} and cannot become {then}; after {now} comes {ways}: read it again")
    return then
