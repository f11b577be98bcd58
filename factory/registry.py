"""Who serves: the registry's aliases, moved by promotion and rollback, one line of history each.

Opened with `open_registry()`, which finds the workspace: `WORKGYM_HOME`, or `.workgym` here;
`WORKGYM_DATABASE` and `WORKGYM_ARTIFACTS` put its rows and its bytes where many machines reach them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import URL, func, select, update
from sqlalchemy.orm import Session

from workgym.factory import ledger
from workgym.factory.approvals import (
    ApprovalBook,
    approval_rows,
    require_approved,
    require_said,
)
from workgym.factory.artifacts import ArtifactStore
from workgym.factory.entries import Alias, HistoryLine, Kind, ModelSummary, ModelVersion, entry
from workgym.factory.records import Outcome
from workgym.factory.runs import Clock, required_row, utc_now
from workgym.factory.tables import AliasRow, ApprovalRow, HistoryRow, ModelVersionRow, RunRow, VerdictRow
from workgym.factory.versions import (
    gates_for,
    generation_of,
    latest_verdicts,
    no_model,
    require_name,
    stored_version,
    version_row,
)
from workgym.services.kernel import Conflict, NotFound, Refused


class Stale(Refused):
    """The verdicts are about another champion, env or suite than today's; gate the version again."""


class Registry(ApprovalBook):
    """All that the factory remembers; the only writer of who serves."""

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def promote(
        self,
        name: str,
        version: int,
        alias: str = "champion",
        *,
        expected_generation: int,
        actor: str,
        reason: str,
        run_id: int | None = None,
        profile: str | None = None,
        given_up: dict[str, Any] | None = None,
        env_version: str | None = None,
        suite_digest: str | None = None,
    ) -> HistoryLine:
        """Let a version serve, if it earned it against whom it replaces.

        Args:
            name: the model.
            version: who is to serve.
            alias: what it serves as.
            expected_generation: the alias's generation that the decision was made on.
            actor: who decides.
            reason: one sentence, shown as is.
            run_id: the run that decides, if one does.
            profile: what the release was chosen for.
            given_up: what the choice gave up against the other candidates, in numbers.
            env_version: of today's env; where given, every required verdict must be about it.
            suite_digest: of today's suite; where given, every required verdict must be about it.

        Raises:
            Conflict: the alias moved since.
            Stale: a required verdict compares with an earlier champion, or is about another env or suite.
            Refused: a required verdict is missing or no pass, somebody rejected the version, or it
                serves already.
            Unapproved: all is earned, and the protected alias waits for people.
            Tampered: the policy's bytes are not the registered ones.
        """
        require_said(actor, reason)
        require_name("alias", alias)
        self.artifacts.verify(self.version(name, version).artifact_digest)
        with self._database.write() as session:
            if run_id is not None:
                self._fence(session, run_id)
            generation = generation_of(session, name, alias)
            _require_generation(name, alias, generation, expected_generation)
            row = version_row(session, name, version)
            _require_other(session, row, alias)
            verdicts = _require_earned(session, row, alias, generation)
            _require_todays(row, verdicts, "env_version", env_version)
            _require_todays(row, verdicts, "suite_digest", suite_digest)
            approvals = require_approved(session, row, alias, generation)
            why = _Why(actor, reason, run_id, profile, given_up, verdicts, approvals)
            return self._move(session, row, alias, Kind.PROMOTE, why)

    def rollback(
        self,
        name: str,
        alias: str = "champion",
        *,
        to: int | None = None,
        actor: str,
        reason: str,
        expected_generation: int | None = None,
        run_id: int | None = None,
        profile: str | None = None,
        given_up: dict[str, Any] | None = None,
    ) -> HistoryLine:
        """Let a version serve again that served before; no gate is asked.

        Args:
            name: the model.
            alias: what it serves as.
            to: any version that has served as `alias`; by default the one before the present, so
                that rolling back twice goes back two champions.
            actor: who decides.
            reason: one sentence, shown as is.
            expected_generation: where given, the alias must still be there.
            run_id: the run that decides, if one does.
            profile: what the release is for.
            given_up: what the choice gives up, in numbers.

        Raises:
            Refused: no such version served before.
            Tampered: its bytes are not the registered ones; `to` may name another.
            Conflict: the alias moved since.
        """
        require_said(actor, reason)
        with self._database.write() as session:
            generation = generation_of(session, name, alias)
            if expected_generation is not None:
                _require_generation(name, alias, generation, expected_generation)
            lines = _lines(session, name, alias)
            row = version_row(session, name, _rollback_target(name, alias, lines, to))
            self.artifacts.verify(row.artifact_digest)
            why = _Why(actor, reason, run_id, profile, given_up)
            return self._move(session, row, alias, Kind.ROLLBACK, why)

    def champion(self, name: str, alias: str = "champion") -> ModelVersion | None:
        """The version that serves, or None before the first promotion."""
        with self._database.read() as session:
            row = session.get(AliasRow, (name, alias))
            return entry(ModelVersion, version_row(session, name, row.version)) if row else None

    def alias(self, name: str, alias: str = "champion") -> Alias | None:
        """Who serves and at which generation, read together."""
        with self._database.read() as session:
            row = session.get(AliasRow, (name, alias))
            return entry(Alias, row) if row else None

    def generation(self, name: str, alias: str = "champion") -> int:
        """How often the alias has moved; read it before evaluating against its champion."""
        with self._database.read() as session:
            return generation_of(session, name, alias)

    def history(self, name: str) -> tuple[HistoryLine, ...]:
        """Every move of the model's aliases, the oldest first."""
        with self._database.read() as session:
            lines = _lines(session, name)
            if not lines and session.scalar(select(ModelVersionRow.id).filter_by(name=name).limit(1)) is None:
                raise no_model(session, name)
            return lines

    def list_models(self) -> tuple[ModelSummary, ...]:
        """All models by name."""
        query = (
            select(ModelVersionRow.name, func.count())
            .group_by(ModelVersionRow.name)
            .order_by(ModelVersionRow.name)
        )
        with self._database.read() as session:
            return tuple(_summary(session, name, count) for name, count in session.execute(query))

    def _move(self, session: Session, row: ModelVersionRow, alias: str, kind: Kind, why: _Why) -> HistoryLine:
        """Point the alias at a version and write history and ledger, in the caller's transaction."""
        before = session.get(AliasRow, (row.name, alias))
        generation = before.generation + 1 if before else 1
        line = HistoryRow(
            model=row.name,
            alias=alias,
            from_version=before.version if before else None,
            to_version=row.version,
            kind=kind,
            actor=why.actor,
            reason=why.reason,
            at=self._now(),
            generation=generation,
            run_id=why.run_id,
            profile=why.profile,
            given_up=why.given_up,
        )
        _point(session, row, alias, generation)
        session.add(line)
        session.flush()
        _chain(session, row, line, why)
        return entry(HistoryLine, line)


@dataclass(frozen=True)
class _Why:
    """Who moves an alias, and what the move rests on."""

    actor: str
    reason: str
    run_id: int | None
    profile: str | None
    given_up: dict[str, Any] | None
    verdicts: Sequence[VerdictRow] = ()
    approvals: Sequence[ApprovalRow] = ()


def _chain(session: Session, row: ModelVersionRow, line: HistoryRow, why: _Why) -> None:
    """Write the move into the ledger, and tell the outbox."""
    (move,) = ledger.stored(session, "history", ledger.column("history", "seq") == line.seq)
    version = stored_version(session, row)
    run = required_row(session, RunRow, row.run_id, "run")
    ids = [verdict.id for verdict in why.verdicts]
    verdicts = ledger.stored(session, "verdicts", ledger.column("verdicts", "id").in_(ids))
    approvals = approval_rows(session, why.approvals)
    payload = ledger.move_payload(move, version, run.code_version, verdicts, approvals)
    head = ledger.append(session, "move", row.name, line.alias, payload, line.at)
    ledger.tell_moved(session, move, row.artifact_digest, head)


def open_registry(
    workspace: Path | None = None,
    *,
    url: str | URL | None = None,
    artifacts: str | None = None,
    clock: Clock = utc_now,
) -> Registry:
    """Open the registry of a workspace, creating and migrating it as needed.

    Args:
        workspace: folder of the SQLite file and the artifacts, where nothing else is said; by default
            `WORKGYM_HOME`, else `.workgym` in the current directory.
        url: another database, PostgreSQL for many machines; by default `WORKGYM_DATABASE`.
        artifacts: another place for the bytes, any URL of fsspec; by default `WORKGYM_ARTIFACTS`.
        clock: what stamps the rows.
    """
    home = Path(workspace or os.environ.get("WORKGYM_HOME") or ".workgym").absolute()
    home.mkdir(parents=True, exist_ok=True)
    file = URL.create("sqlite", database=str(home / "registry.db"))
    database = url or os.environ.get("WORKGYM_DATABASE") or file
    store = artifacts or os.environ.get("WORKGYM_ARTIFACTS") or home / "artifacts"
    return Registry(database, ArtifactStore(store), clock)


def served(lines: Iterable[HistoryLine]) -> list[int]:
    """One alias's champions from the first to the present, without those that were rolled back.

    A promotion goes on top. A rollback takes off all that stands above its target, or puts the
    target on top when it had itself been rolled back.
    """
    stack: list[int] = []
    for line in lines:
        below = stack[:-1]
        if line.kind is Kind.ROLLBACK and line.to_version in below:
            nearest = len(below) - below[::-1].index(line.to_version)
            del stack[nearest:]
        else:
            stack.append(line.to_version)
    return stack


def _rollback_target(name: str, alias: str, lines: tuple[HistoryLine, ...], to: int | None) -> int:
    stack = served(lines)
    if not stack:
        raise NotFound(f"no version of {name!r} has served as {alias!r} yet; promote one first")
    if to is None and len(stack) == 1:
        raise Refused(
            f"nothing served as {alias!r} before {name} version {stack[0]}; promote another version, "
            "or name one that has served with `to`"
        )
    target = stack[-2] if to is None else to
    others = sorted({line.to_version for line in lines} - {stack[-1]})
    if target not in others:
        raise Refused(
            f"{name} version {target} is not one that served as {alias!r} before version {stack[-1]}; "
            f"expected one of {others}; promote it instead"
        )
    return target


def _require_generation(name: str, alias: str, now: int, expected: int) -> None:
    if now != expected:
        raise Conflict(
            f"{name}@{alias} is at generation {now}, expected {expected}: somebody moved it meanwhile; "
            f"see `factory show {name}` and gate against the present champion"
        )


def _require_other(session: Session, row: ModelVersionRow, alias: str) -> None:
    present = session.get(AliasRow, (row.name, alias))
    if present is not None and present.version == row.version:
        raise Refused(f"{row.name} version {row.version} already serves as {alias!r}; there is nothing to do")


def _require_earned(session: Session, row: ModelVersionRow, alias: str, generation: int) -> list[VerdictRow]:
    """The verdicts of the required gates: all passed, against the champion that is about to be replaced."""
    this = f"{row.name} version {row.version}"
    again = f"run `factory gate {row.name} {row.version}`"
    required = gates_for(row.required_gates, generation)
    if not required:
        raise Refused(f"{this} was registered without a required gate, so nothing can earn it {alias!r}")
    latest = latest_verdicts(session, row.id, alias)
    for gate in required:
        verdict = latest.get(gate)
        if verdict is None:
            raise Refused(f"{this} has no verdict of gate {gate!r} for {alias!r}; {again}")
        if verdict.outcome != Outcome.PASS:
            raise Refused(f"{this} did not pass gate {gate!r} ({verdict.outcome}): {verdict.sentence}")
        if verdict.champion_generation != generation:
            raise Stale(
                f"STALE: gate {gate!r} compared {this} with {verdict.champion} at generation "
                f"{verdict.champion_generation} of {alias!r}, which is now at {generation}; {again}"
            )
    return [latest[gate] for gate in required]


def _require_todays(row: ModelVersionRow, verdicts: list[VerdictRow], what: str, now: str | None) -> None:
    """The verdicts are about the env and the suite that there are today."""
    if now is None:
        return
    for verdict in verdicts:
        then = getattr(verdict, what) or getattr(row, what)
        if then != now:
            raise Stale(
                f"STALE: gate {verdict.gate!r} judged {row.name} version {row.version} on "
                f"{what.replace('_', ' ')} {then}, which is now {now}; "
                f"run `factory gate {row.name} {row.version}`"
            )


def _point(session: Session, row: ModelVersionRow, alias: str, generation: int) -> None:
    """Compare and set: the move fails when the alias is not at the generation before."""
    if generation == 1:
        session.add(AliasRow(model=row.name, alias=alias, version=row.version, generation=1))
        return
    step = update(AliasRow).where(
        AliasRow.model == row.name, AliasRow.alias == alias, AliasRow.generation == generation - 1
    )
    step = step.values(version=row.version, generation=generation)
    if session.scalar(step.returning(AliasRow.generation)) is None:
        raise Conflict(f"{row.name}@{alias} moved while it was being moved; read it and decide again")


def _lines(session: Session, name: str, alias: str | None = None) -> tuple[HistoryLine, ...]:
    query = select(HistoryRow).filter_by(model=name).order_by(HistoryRow.seq)
    rows = session.scalars(query if alias is None else query.filter_by(alias=alias))
    return tuple(entry(HistoryLine, row) for row in rows)


def _summary(session: Session, name: str, versions: int) -> ModelSummary:
    newest = version_row(session, name, versions)
    present = session.get(AliasRow, (name, "champion"))
    lines = _lines(session, name, "champion")
    return ModelSummary(
        name=name,
        env_id=newest.env_id,
        versions=versions,
        champion=present.version if present else None,
        generation=present.generation if present else 0,
        since=lines[-1].at if lines else None,
    )
