"""What the registry answers with: frozen records, never live rows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, get_type_hints

from workgym.factory.records import Outcome
from workgym.factory.states import RunStatus, TrainingStatus, VersionStatus

E = TypeVar("E")


class Kind(StrEnum):
    """Why an alias moved."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class Run:
    """One execution of a pipeline.

    Attributes:
        status: as stored, except that a running run whose process is gone reads as abandoned.
        started_at: UTC, ISO 8601, as every time here.
        process_started: seconds since the epoch; tells a process from a later one with its number.
    """

    id: int
    pipeline: str
    spec: dict[str, Any]
    spec_digest: str
    env_id: str
    env_version: str
    code_version: str
    status: RunStatus
    started_at: str
    finished_at: str | None
    host: str
    pid: int
    process_started: float
    message: str


@dataclass(frozen=True)
class Training:
    """One variant trained with one seed.

    Attributes:
        attempts: how often it was started; more than one when a worker was lost.
        policy_digest: the trained policy, once finished.
    """

    id: int
    run_id: int
    variant: str
    algorithm: str
    seed: int
    recipe: dict[str, Any]
    recipe_digest: str
    status: TrainingStatus
    steps: int
    cpu_seconds: float
    policy_digest: str | None
    attempts: int
    message: str


@dataclass(frozen=True)
class CurvePoint:
    """A point of a learning curve: what the policy earned after so many env steps."""

    steps: int
    value: float
    cpu_seconds: float


@dataclass(frozen=True)
class Baseline:
    """What a policy that was not trained here earned on the run's suite.

    Attributes:
        profit_per_case: cents.
    """

    run_id: int
    name: str
    suite_digest: str
    scorecard_digest: str
    scenarios: int
    profit_per_case: float
    created_at: str


@dataclass(frozen=True)
class ModelVersion:
    """A candidate that was kept.

    Attributes:
        required_gates: each must have passed before the version may serve.
        lineage: spec, seeds, code, suite and the champion at the time of registration.
    """

    id: int
    name: str
    version: int
    run_id: int
    training_id: int | None
    artifact_digest: str
    scorecard_digest: str
    suite_digest: str
    env_id: str
    env_version: str
    required_gates: tuple[str, ...]
    lineage: dict[str, Any]
    status: VersionStatus
    created_at: str

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"


@dataclass(frozen=True)
class RecordedVerdict:
    """A gate's verdict on a version, bound to what served when it was made.

    Attributes:
        champion: digest or baseline name of what the version was compared with.
        champion_generation: the alias's generation then; 0 before the first promotion.
        env_version: of the env that was played; None where nobody wrote it down.
    """

    id: int
    version_id: int
    gate: str
    outcome: Outcome
    sentence: str
    numbers: dict[str, float | int | str]
    champion: str
    alias: str
    champion_generation: int
    suite_digest: str
    created_at: str
    env_version: str | None = None


@dataclass(frozen=True)
class Alias:
    """Which version serves under a name, and how often that has changed."""

    model: str
    alias: str
    version: int
    generation: int


@dataclass(frozen=True)
class HistoryLine:
    """One move of an alias; the lines of an alias replay to where it stands.

    Attributes:
        run_id: the run that moved it, or None where a person did.
        profile: what a release was chosen for.
        given_up: what the choice gave up against the other candidates, in numbers.
    """

    seq: int
    model: str
    alias: str
    from_version: int | None
    to_version: int
    kind: Kind
    actor: str
    reason: str
    at: str
    generation: int
    run_id: int | None = None
    profile: str | None = None
    given_up: Any | None = None


@dataclass(frozen=True)
class Approval:
    """Somebody's word on a version that wants to serve as a protected alias.

    Attributes:
        generation: of the alias then; at another one the word no longer counts.
        decision: "approve" or "reject".
    """

    id: int
    version_id: int
    alias: str
    generation: int
    decision: str
    actor: str
    reason: str
    at: str


@dataclass(frozen=True)
class LedgerLine:
    """A line of the ledger; `workgym.factory.ledger` says how its hash is made.

    Attributes:
        kind: "move", "approve", "reject" or "protect".
    """

    seq: int
    kind: str
    model: str
    alias: str
    payload: dict[str, Any]
    at: str
    prev_hash: str
    hash: str


@dataclass(frozen=True)
class ModelSummary:
    """A model in one line: who serves, since when, out of how many.

    Attributes:
        champion: version, or None before the first promotion.
        since: when that version took over.
    """

    name: str
    env_id: str
    versions: int
    champion: int | None
    generation: int
    since: str | None


def entry(kind: type[E], row: Any) -> E:
    """Copy a table's row into its frozen record."""
    record: Any = kind
    return kind(**{name: _read(hint, getattr(row, name)) for name, hint in _hints(record)})


@cache
def _hints(kind: Any) -> tuple[tuple[str, Any], ...]:
    """The fields of a record with their types."""
    hints = get_type_hints(kind)
    return tuple((one.name, hints[one.name]) for one in fields(kind))


def _read(hint: Any, value: Any) -> Any:
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint(value)
    return tuple(value) if isinstance(value, list) else value
