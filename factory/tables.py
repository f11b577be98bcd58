"""The registry's tables.

Alembic creates them (`factory/migrations`), together with the triggers that keep `history`, `ledger`,
`approvals`, `verdicts` and all of `model_versions` but its status append-only.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from workgym.factory.artifacts import canonical_json


class CanonicalJson(TypeDecorator[Any]):
    """JSON as canonical text, so that a column hashes and compares the same on every database."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        """Write it canonically."""
        return canonical_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Read it back."""
        return None if value is None else json.loads(value)


class Base(DeclarativeBase):
    """All tables, with constraint names that a migration can drop on any database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {float: Double}


class RunRow(Base):
    """An execution of a pipeline."""

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint("status IN ('running', 'finished', 'failed', 'abandoned')", name="status"),
        Index(None, "status"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    pipeline: Mapped[str]
    spec: Mapped[Any] = mapped_column(CanonicalJson)
    spec_digest: Mapped[str]
    env_id: Mapped[str]
    env_version: Mapped[str]
    code_version: Mapped[str]
    status: Mapped[str]
    started_at: Mapped[str]
    finished_at: Mapped[str | None]
    host: Mapped[str]
    pid: Mapped[int] = mapped_column(BigInteger)
    process_started: Mapped[float]
    message: Mapped[str]


class TrainingRow(Base):
    """A variant trained with one seed."""

    __tablename__ = "trainings"
    __table_args__ = (
        CheckConstraint("status IN ('running', 'finished', 'failed', 'abandoned')", name="status"),
        CheckConstraint("status <> 'finished' OR policy_digest IS NOT NULL", name="policy"),
        UniqueConstraint("run_id", "variant", "seed"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    variant: Mapped[str]
    algorithm: Mapped[str]
    seed: Mapped[int] = mapped_column(BigInteger)
    recipe: Mapped[Any] = mapped_column(CanonicalJson)
    recipe_digest: Mapped[str]
    status: Mapped[str]
    steps: Mapped[int] = mapped_column(BigInteger)
    cpu_seconds: Mapped[float]
    policy_digest: Mapped[str | None]
    attempts: Mapped[int]
    message: Mapped[str]


class CurvePointRow(Base):
    """A point of a learning curve."""

    __tablename__ = "curve_points"

    training_id: Mapped[int] = mapped_column(ForeignKey("trainings.id"), primary_key=True)
    steps: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    value: Mapped[float]
    cpu_seconds: Mapped[float]


class BaselineRow(Base):
    """A baseline's scorecard in a run."""

    __tablename__ = "baselines"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    suite_digest: Mapped[str]
    scorecard_digest: Mapped[str]
    scenarios: Mapped[int]
    profit_per_case: Mapped[float]
    created_at: Mapped[str]


class ModelVersionRow(Base):
    """A candidate that was kept; only its status moves."""

    __tablename__ = "model_versions"
    __table_args__ = (
        CheckConstraint("status IN ('registered', 'blessed', 'rejected')", name="status"),
        CheckConstraint("version >= 1", name="version"),
        UniqueConstraint("name", "version"),
        UniqueConstraint("name", "run_id", "artifact_digest"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[int]
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    training_id: Mapped[int | None] = mapped_column(ForeignKey("trainings.id"))
    artifact_digest: Mapped[str]
    scorecard_digest: Mapped[str]
    suite_digest: Mapped[str]
    env_id: Mapped[str]
    env_version: Mapped[str]
    required_gates: Mapped[Any] = mapped_column(CanonicalJson)
    lineage: Mapped[Any] = mapped_column(CanonicalJson)
    status: Mapped[str]
    created_at: Mapped[str]


class VerdictRow(Base):
    """A gate's verdict; never changed, the latest of a gate counts."""

    __tablename__ = "verdicts"
    __table_args__ = (
        CheckConstraint("outcome IN ('pass', 'fail', 'inconclusive')", name="outcome"),
        Index(None, "version_id", "gate"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    gate: Mapped[str]
    outcome: Mapped[str]
    sentence: Mapped[str]
    numbers: Mapped[Any] = mapped_column(CanonicalJson)
    champion: Mapped[str]
    alias: Mapped[str]
    champion_generation: Mapped[int]
    suite_digest: Mapped[str]
    created_at: Mapped[str]
    env_version: Mapped[str | None]


class AliasRow(Base):
    """Which version serves; the generation grows by one with each move."""

    __tablename__ = "aliases"
    __table_args__ = (
        ForeignKeyConstraint(["model", "version"], ["model_versions.name", "model_versions.version"]),
        CheckConstraint("generation >= 1", name="generation"),
    )

    model: Mapped[str] = mapped_column(primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    generation: Mapped[int]


class HistoryRow(Base):
    """A move of an alias; never changed."""

    __tablename__ = "history"
    __table_args__ = (
        ForeignKeyConstraint(["model", "to_version"], ["model_versions.name", "model_versions.version"]),
        CheckConstraint("kind IN ('promote', 'rollback')", name="kind"),
        UniqueConstraint("model", "alias", "generation"),
    )

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str]
    alias: Mapped[str]
    from_version: Mapped[int | None]
    to_version: Mapped[int]
    kind: Mapped[str]
    actor: Mapped[str]
    reason: Mapped[str]
    at: Mapped[str]
    generation: Mapped[int]
    run_id: Mapped[int | None]
    profile: Mapped[str | None]
    given_up: Mapped[Any | None] = mapped_column(CanonicalJson)


class MeasureRow(Base):
    """What a version is measured by when releases choose, against who served as `alias` then."""

    __tablename__ = "measures"

    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float]


class LedgerRow(Base):
    """A line of the ledger: every move, approval and protection, each hashed with the line before."""

    __tablename__ = "ledger"
    __table_args__ = (
        CheckConstraint("kind IN ('move', 'approve', 'reject', 'protect')", name="kind"),
        UniqueConstraint("hash"),
        UniqueConstraint("prev_hash"),
    )

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    kind: Mapped[str]
    model: Mapped[str]
    alias: Mapped[str]
    payload: Mapped[Any] = mapped_column(CanonicalJson)
    at: Mapped[str]
    prev_hash: Mapped[str]
    hash: Mapped[str]


class ProtectionRow(Base):
    """An alias that moves only after somebody approved."""

    __tablename__ = "protections"

    model: Mapped[str] = mapped_column(primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    approvals: Mapped[int]


class ApprovalRow(Base):
    """Somebody's word on a version that wants to serve as a protected alias; never changed."""

    __tablename__ = "approvals"
    __table_args__ = (
        CheckConstraint("decision IN ('approve', 'reject')", name="decision"),
        UniqueConstraint("version_id", "alias", "generation", "actor"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    alias: Mapped[str]
    generation: Mapped[int]
    decision: Mapped[str]
    actor: Mapped[str]
    reason: Mapped[str]
    at: Mapped[str]


class OutboxRow(Base):
    """What a mirror must hear of, written in the transaction that made it true."""

    __tablename__ = "outbox"

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    topic: Mapped[str]
    payload: Mapped[Any] = mapped_column(CanonicalJson)
    at: Mapped[str]


class MirrorRow(Base):
    """How far a mirror has come in the outbox."""

    __tablename__ = "mirrors"

    name: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    failures: Mapped[int]
    message: Mapped[str]
    at: Mapped[str]


class DriverRow(Base):
    """Which scheduler drives a run; each takeover raises the epoch and fences the others off."""

    __tablename__ = "drivers"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    epoch: Mapped[int]
    owner: Mapped[str]
    lease_until: Mapped[float]


class TaskRow(Base):
    """A piece of work that is a pure function of its key: a chunk of a training, a shard of an evaluation."""

    __tablename__ = "tasks"
    __table_args__ = (
        CheckConstraint("status IN ('leased', 'waiting', 'committed', 'failed')", name="status"),
        UniqueConstraint("kind", "grp", "seq"),
        Index(None, "status"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    grp: Mapped[str]
    seq: Mapped[int]
    status: Mapped[str]
    token: Mapped[int]
    attempts: Mapped[int]
    owner: Mapped[str]
    lease_until: Mapped[float]
    retry_at: Mapped[float]
    artifact: Mapped[str | None]
    result: Mapped[Any | None] = mapped_column(CanonicalJson)
    cpu_seconds: Mapped[float]
    wall_seconds: Mapped[float]
    message: Mapped[str]


class AttemptRow(Base):
    """A worker's try at a task."""

    __tablename__ = "attempts"
    __table_args__ = (
        CheckConstraint("outcome IN ('running', 'committed', 'lost', 'failed', 'late')", name="outcome"),
        UniqueConstraint("task_id", "token"),
        Index(None, "run_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"))
    token: Mapped[int]
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    owner: Mapped[str]
    worker: Mapped[str]
    began_at: Mapped[str]
    ended_at: Mapped[str | None]
    outcome: Mapped[str]
    message: Mapped[str]


class TrialRow(Base):
    """What a search tried, and how far it let it go."""

    __tablename__ = "trials"
    __table_args__ = (CheckConstraint("state IN ('running', 'pruned', 'complete')", name="state"),)

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    variant: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    params: Mapped[Any] = mapped_column(CanonicalJson)
    training_digest: Mapped[str]
    chunks: Mapped[int]
    value: Mapped[float | None]
    state: Mapped[str]


class SuiteUseRow(Base):
    """A sealed suite was shown to a candidate's gates; each time wears it out a little."""

    __tablename__ = "suite_uses"

    suite_digest: Mapped[str] = mapped_column(primary_key=True)
    policy: Mapped[str] = mapped_column(primary_key=True)
    purpose: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[str]
