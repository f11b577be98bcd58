"""What was kept: model versions, and the verdicts on them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from workgym.factory import ledger
from workgym.factory.artifacts import canonical_json
from workgym.factory.entries import ModelVersion, RecordedVerdict, entry
from workgym.factory.records import Outcome, Scorecard, Verdict
from workgym.factory.runs import require_scenarios, required_row
from workgym.factory.states import VersionStatus, may_follow, moved
from workgym.factory.tables import AliasRow, MeasureRow, ModelVersionRow, RunRow, TrainingRow, VerdictRow
from workgym.factory.work import WorkBook
from workgym.services.kernel import BadInput, Conflict, NotFound, did_you_mean

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


class VersionBook(WorkBook):
    """The part of the registry that numbers candidates and remembers what the gates said."""

    def register(
        self,
        name: str,
        *,
        run_id: int,
        artifact_digest: str,
        scorecard: Scorecard,
        required_gates: Sequence[str],
        training_id: int | None = None,
        lineage: dict[str, Any] | None = None,
    ) -> ModelVersion:
        """Give a candidate the next version number.

        Within a run the same artifact is registered once: a second call returns the first version.

        Args:
            name: the model, "orders" for instance.
            run_id: where it was made; gives the env's version and the lineage.
            artifact_digest: the policy, already in the artifact store.
            scorecard: its results on the gate suite; its `policy` is the artifact's digest.
            required_gates: all must pass before it may serve; with none it never may.
            training_id: how it was made, or None for an imported policy.
            lineage: anything more to remember.

        Raises:
            Tampered: the artifact does not verify.
            Conflict: this run registered the artifact with results on another suite.
        """
        require_name("model", name)
        require_scenarios(scorecard)
        _require_own(scorecard, artifact_digest)
        canonical_json(lineage or {})
        self.artifacts.verify(artifact_digest)
        scorecard_digest = self.put_scorecard(scorecard)
        with self._database.write() as session:
            self._fence(session, run_id)
            run = required_row(session, RunRow, run_id, "run")
            training = _training_of(session, run, training_id, artifact_digest)
            _require_env(run, scorecard)
            same = {"name": name, "run_id": run_id, "artifact_digest": artifact_digest}
            row = session.scalar(select(ModelVersionRow).filter_by(**same))
            if row is None:
                row = ModelVersionRow(
                    **same,
                    **_origin(session, name, run, training, scorecard, lineage or {}),
                    version=_next_version(session, name),
                    scorecard_digest=scorecard_digest,
                    required_gates=sorted(set(required_gates)),
                    status=VersionStatus.REGISTERED,
                    created_at=self._now(),
                )
                session.add(row)
                session.flush()
                ledger.tell_registered(session, stored_version(session, row))
            version = entry(ModelVersion, row)
        _require_suite(version, scorecard)
        return version

    def record_verdicts(
        self,
        version: ModelVersion,
        verdicts: Sequence[Verdict],
        *,
        generation: int,
        alias: str = "champion",
        env_version: str | None = None,
    ) -> ModelVersion:
        """Add what the gates said and let the version's status follow.

        A repeated verdict is not written twice.

        Args:
            version: the judged version.
            verdicts: of any gates, required or not.
            generation: of the alias when its champion was read for the comparison.
            alias: whom the version was compared with.
            env_version: of the env that was played; by default the one that the version was made for.
        """
        played = env_version or version.env_version
        for verdict in verdicts:
            _require_about(verdict, version)
        with self._database.write() as session:
            self._fence(session, version.run_id)
            _require_past(generation, generation_of(session, version.name, alias), alias)
            row = required_row(session, ModelVersionRow, version.id, "model version")
            added = [self._add_verdict(session, row.id, one, alias, generation, played) for one in verdicts]
            session.flush()
            _tell_judged(session, row, [one.id for one in added if one is not None])
            _settle(session, row)
            return entry(ModelVersion, row)

    def version(self, name: str, version: int) -> ModelVersion:
        """One version of a model."""
        with self._database.read() as session:
            return entry(ModelVersion, version_row(session, name, version))

    def list_versions(self, name: str) -> tuple[ModelVersion, ...]:
        """A model's versions, the newest first."""
        query = select(ModelVersionRow).filter_by(name=name).order_by(ModelVersionRow.version.desc())
        with self._database.read() as session:
            found = tuple(entry(ModelVersion, row) for row in session.scalars(query))
            if not found:
                raise no_model(session, name)
            return found

    def verdicts(self, version: ModelVersion) -> tuple[RecordedVerdict, ...]:
        """All verdicts on a version in the order they were made; the latest of a gate counts."""
        query = select(VerdictRow).filter_by(version_id=version.id).order_by(VerdictRow.id)
        with self._database.read() as session:
            return tuple(entry(RecordedVerdict, row) for row in session.scalars(query))

    def record_measures(self, version: ModelVersion, alias: str, measures: Mapping[str, float]) -> None:
        """Keep what a version is measured by for a release; what is there already stays."""
        canonical_json(dict(measures))
        with self._database.write() as session:
            self._fence(session, version.run_id)
            row = required_row(session, ModelVersionRow, version.id, "model version")
            known = set(
                session.scalars(select(MeasureRow.name).filter_by(version_id=version.id, alias=alias))
            )
            fresh = {name: float(value) for name, value in measures.items() if name not in known}
            for name, value in fresh.items():
                session.add(MeasureRow(version_id=version.id, alias=alias, name=name, value=value))
            if fresh:
                ledger.tell_measured(session, stored_version(session, row), alias, fresh, self._now())

    def measures(self, version: ModelVersion, alias: str) -> dict[str, float]:
        """What a version was measured by for a release; empty when it never was."""
        query = select(MeasureRow).filter_by(version_id=version.id, alias=alias).order_by(MeasureRow.name)
        with self._database.read() as session:
            return {row.name: row.value for row in session.scalars(query)}

    def verdicts_at(self, version: ModelVersion, alias: str, generation: int) -> tuple[Verdict, ...]:
        """The latest verdict of each gate on a version, as a release of that generation decided by them."""
        query = select(VerdictRow).filter_by(version_id=version.id, alias=alias)
        query = query.filter_by(champion_generation=generation).order_by(VerdictRow.id)
        with self._database.read() as session:
            latest = {row.gate: row for row in session.scalars(query)}
            return tuple(_verdict(row, version) for row in latest.values())

    def _add_verdict(
        self,
        session: Session,
        version_id: int,
        verdict: Verdict,
        alias: str,
        generation: int,
        env_version: str,
    ) -> VerdictRow | None:
        """Add what a gate said, unless it said so last time."""
        row = VerdictRow(
            version_id=version_id,
            gate=verdict.gate,
            outcome=verdict.outcome,
            sentence=verdict.sentence,
            numbers=verdict.numbers,
            champion=verdict.champion,
            alias=alias,
            champion_generation=generation,
            suite_digest=verdict.suite,
            created_at=self._now(),
            env_version=env_version,
        )
        latest = latest_verdicts(session, version_id, alias).get(verdict.gate)
        if latest is not None and _says_the_same(latest, row):
            return None
        session.add(row)
        return row


def _verdict(row: VerdictRow, version: ModelVersion) -> Verdict:
    return Verdict(
        gate=row.gate,
        outcome=Outcome(row.outcome),
        sentence=row.sentence,
        numbers=row.numbers,
        candidate=version.artifact_digest,
        champion=row.champion,
        suite=row.suite_digest,
    )


def require_name(noun: str, name: str) -> None:
    """Refuse names that a URL or a command line would mangle."""
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"expected a {noun} name of lower-case letters, digits, dot, dash or underscore, "
            f"found {name!r}; rename it"
        )


def _require_own(card: Scorecard, artifact_digest: str) -> None:
    if card.policy != artifact_digest:
        raise BadInput(
            f"the scorecard is of policy {card.policy!r}, expected artifact {artifact_digest}; "
            "store the policy first and evaluate it under its digest"
        )


def _require_about(verdict: Verdict, version: ModelVersion) -> None:
    if verdict.candidate != version.artifact_digest:
        raise BadInput(
            f"gate {verdict.gate!r} judged {verdict.candidate!r}, expected {version.artifact_digest}, "
            f"which is {version}; judge that version's own scorecard"
        )
    canonical_json(verdict.numbers)


def _require_past(generation: int, now: int, alias: str) -> None:
    if generation > now:
        raise BadInput(
            f"alias {alias!r} is at generation {now}, found verdicts of generation {generation}; "
            "read the generation before evaluating"
        )


def _training_of(
    session: Session, run: RunRow, training_id: int | None, artifact_digest: str
) -> TrainingRow | None:
    if training_id is None:
        return None
    row = required_row(session, TrainingRow, training_id, "training")
    if (row.run_id, row.policy_digest) != (run.id, artifact_digest):
        raise BadInput(
            f"training {row.id} of run {row.run_id} made policy {row.policy_digest}, expected run {run.id} "
            f"and {artifact_digest}; register the policy under the training that made it"
        )
    return row


def _require_env(run: RunRow, card: Scorecard) -> None:
    if run.env_id != card.env_id:
        raise BadInput(
            f"run {run.id} is about {run.env_id}, found a scorecard on {card.env_id}; evaluate on its env"
        )


def _require_suite(version: ModelVersion, card: Scorecard) -> None:
    if version.suite_digest != card.suite:
        raise Conflict(
            f"{version} has results on suite {version.suite_digest}, found suite {card.suite}; "
            "start another run for another suite"
        )


def _origin(
    session: Session,
    name: str,
    run: RunRow,
    training: TrainingRow | None,
    card: Scorecard,
    more: dict[str, Any],
) -> dict[str, Any]:
    """The columns that say where a version comes from; the registry's own facts win over the caller's."""
    parent = session.get(AliasRow, (name, "champion"))
    facts = {
        "spec_digest": run.spec_digest,
        "code_version": run.code_version,
        "env_version": run.env_version,
        "suite_digest": card.suite,
        "recipe_digest": training.recipe_digest if training else None,
        "seeds": [training.seed] if training else [],
        "parent": parent.version if parent else None,
    }
    return {
        "training_id": training.id if training else None,
        "env_id": run.env_id,
        "env_version": run.env_version,
        "suite_digest": card.suite,
        "lineage": {**more, **facts},
    }


def _next_version(session: Session, name: str) -> int:
    newest = session.scalar(select(func.max(ModelVersionRow.version)).filter_by(name=name))
    return (newest or 0) + 1


def version_row(session: Session, name: str, version: int) -> ModelVersionRow:
    """The row, or NotFound with what there is."""
    row = session.scalar(select(ModelVersionRow).filter_by(name=name, version=version))
    if row is None:
        newest = _next_version(session, name) - 1
        if newest == 0:
            raise no_model(session, name)
        raise NotFound(f"no {name} version {version}; there are versions 1 to {newest}")
    return row


def stored_version(session: Session, row: ModelVersionRow) -> dict[str, Any]:
    """A version's row as the ledger hashes it."""
    return ledger.stored(session, "model_versions", ledger.column("model_versions", "id") == row.id)[0]


def no_model(session: Session, name: str) -> NotFound:
    """The error for a model that has no version."""
    known = session.scalars(select(ModelVersionRow.name).distinct())
    return NotFound(did_you_mean("model", name, list(known)))


def generation_of(session: Session, name: str, alias: str) -> int:
    """How often the alias has moved; 0 before its first promotion."""
    row = session.get(AliasRow, (name, alias))
    return row.generation if row else 0


def latest_verdicts(session: Session, version_id: int, alias: str | None = None) -> dict[str, VerdictRow]:
    """The verdict that counts, by gate."""
    query = select(VerdictRow).filter_by(version_id=version_id).order_by(VerdictRow.id)
    rows = session.scalars(query if alias is None else query.filter_by(alias=alias))
    return {row.gate: row for row in rows}


def _tell_judged(session: Session, row: ModelVersionRow, ids: list[int]) -> None:
    """Tell the outbox of new verdicts, if there are any."""
    if ids:
        added = ledger.stored(session, "verdicts", ledger.column("verdicts", "id").in_(ids))
        ledger.tell_judged(session, stored_version(session, row), added)


def _says_the_same(one: VerdictRow, other: VerdictRow) -> bool:
    said = (
        "outcome",
        "sentence",
        "numbers",
        "champion",
        "champion_generation",
        "suite_digest",
        "env_version",
    )
    return all(getattr(one, name) == getattr(other, name) for name in said)


def gates_for(required: Sequence[str], generation: int) -> list[str]:
    """The required gates that count at a generation: `bootstrap` asks for the first promotion alone."""
    return [gate for gate in required if gate != "bootstrap" or generation == 0]


class Said(NamedTuple):
    """A verdict, as far as a version's status follows from it."""

    gate: str
    alias: str
    outcome: str
    generation: int


def status_after(required: Sequence[str], said: Iterable[Said]) -> VersionStatus:
    """What verdicts in the order they were made come to.

    Blessed when the version may serve as something, rejected when it failed for all that it asked for,
    else open.
    """
    aliases: dict[str, dict[str, Said]] = {}
    for one in said:
        aliases.setdefault(one.alias, {})[one.gate] = one
    found = {_status_for(required, latest) for latest in aliases.values()}
    if VersionStatus.BLESSED in found:
        return VersionStatus.BLESSED
    return VersionStatus.REJECTED if found == {VersionStatus.REJECTED} else VersionStatus.REGISTERED


def _status_for(required: Sequence[str], latest: Mapping[str, Said]) -> VersionStatus:
    asked = gates_for(required, max(one.generation for one in latest.values()))
    outcomes = {latest[gate].outcome if gate in latest else None for gate in asked}
    if Outcome.FAIL in outcomes:
        return VersionStatus.REJECTED
    return VersionStatus.BLESSED if outcomes == {Outcome.PASS} else VersionStatus.REGISTERED


def _settle(session: Session, row: ModelVersionRow) -> None:
    query = select(VerdictRow).filter_by(version_id=row.id).order_by(VerdictRow.id)
    said = [Said(one.gate, one.alias, one.outcome, one.champion_generation) for one in session.scalars(query)]
    now, then = VersionStatus(row.status), status_after(row.required_gates, said)
    if may_follow(now, then):
        row.status = moved(f"version {row.version}", now, then)
