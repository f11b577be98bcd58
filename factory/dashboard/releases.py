"""What a model is released as: each alias with its profile, what it gave up, and whose word it waits for."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from workgym.factory.dashboard.text import amount, measure, measured
from workgym.factory.entries import Approval, HistoryLine, ModelVersion, RecordedVerdict, entry
from workgym.factory.profiles import MEASURES, measured_by
from workgym.factory.records import Outcome
from workgym.factory.registry import Registry
from workgym.factory.tables import AliasRow, ApprovalRow, ProtectionRow, VerdictRow
from workgym.factory.versions import gates_for
from workgym.services.kernel import BadInput


@dataclass(frozen=True)
class Waiting:
    """A version that earned a protected alias, and what people said of it so far.

    Attributes:
        missing: how many more must approve; 0 when somebody only has to promote it.
        rejected: whether somebody said no, which no approval outweighs.
        said: every word at the alias's present generation, the oldest first.
        command: what to type next; empty where somebody rejected it.
    """

    alias: str
    version: int
    missing: int
    rejected: bool
    said: tuple[Approval, ...]
    command: str


@dataclass(frozen=True)
class Release:
    """An alias, served or only named by the newest pipeline.

    Attributes:
        profile: what it is chosen for; empty where nobody said.
        chosen_for: the measure behind the profile, in words.
        line: the move that put its holder there, or None while nobody serves.
        given_up: what the choice gave up against the other candidates, a phrase each.
        approvals: how many people it asks; 0 where it is not protected.
    """

    alias: str
    profile: str
    chosen_for: str
    line: HistoryLine | None
    given_up: tuple[str, ...]
    approvals: int


def releases(
    history: Sequence[HistoryLine], spec: Mapping[str, Any], protections: Mapping[str, int]
) -> tuple[Release, ...]:
    """The releases of a model, the champion first.

    Args:
        history: of the model.
        spec: the newest pipeline, for the releases that nobody serves as yet.
        protections: people asked, by alias.
    """
    last = {line.alias: line for line in history}
    named = {str(one["alias"]): str(one.get("profile", "")) for one in spec.get("releases", ())}
    aliases = sorted({*last, *named, *protections}, key=lambda alias: (alias != "champion", alias))
    found = []
    for alias in aliases:
        line = last.get(alias)
        profile = (line.profile if line else None) or named.get(alias, "")
        given_up = given_up_words(line.given_up if line else None)
        found.append(Release(alias, profile, chosen_for(profile), line, given_up, protections.get(alias, 0)))
    return tuple(found)


def chosen_for(profile: str) -> str:
    """What a profile looks at, in words."""
    try:
        by = measured_by(profile)
    except BadInput:  # none, or one of another workgym
        return ""
    if by not in MEASURES:
        return "most profit in that family"
    return f"{'most' if MEASURES[by].more else 'least'} {measure(by)[0]}"


def given_up_words(given_up: Any) -> tuple[str, ...]:
    """What a choice gave up, as the ledger says it, for people."""
    if not isinstance(given_up, dict):
        return ()
    return tuple(
        f"{amount(name, one['chosen'])}, where version {one['version']} has {measured(name, one['best'])}"
        for name, one in given_up.items()
    )


def protections_of(registry: Registry, model: str) -> dict[str, int]:
    """How many people each protected alias of a model asks."""
    with registry.reading() as session:
        rows = session.scalars(select(ProtectionRow).filter_by(model=model))
        return {row.alias: row.approvals for row in rows if row.approvals}


def waiting(
    registry: Registry, model: str, versions: Sequence[ModelVersion], protections: Mapping[str, int]
) -> tuple[Waiting, ...]:
    """Who earned a protected alias against whom serves as it today, the newest version first."""
    known = {version.id: version for version in versions}
    found = []
    for alias, asked in sorted(protections.items()):
        serving, generation, verdicts, said = _at_stake(registry, model, alias, list(known))
        for number in sorted(verdicts, reverse=True):
            version = known[number]
            if version.version != serving and _earned(version, verdicts[number], generation):
                found.append(_waiting(version, alias, asked, said[number]))
    return tuple(found)


def _at_stake(
    registry: Registry, model: str, alias: str, ids: Sequence[int]
) -> tuple[int | None, int, dict[int, list[RecordedVerdict]], dict[int, list[Approval]]]:
    """Who serves, the generation, and what gates and people said at it, by the id of a version."""
    verdicts: dict[int, list[RecordedVerdict]] = defaultdict(list)
    said: dict[int, list[Approval]] = defaultdict(list)
    with registry.reading() as session:
        row = session.get(AliasRow, (model, alias))
        generation = row.generation if row else 0
        of_gates = select(VerdictRow).filter_by(alias=alias, champion_generation=generation)
        of_gates = of_gates.where(VerdictRow.version_id.in_(ids))
        for one in session.scalars(of_gates.order_by(VerdictRow.id)):
            verdicts[one.version_id].append(entry(RecordedVerdict, one))
        of_people = select(ApprovalRow).filter_by(alias=alias, generation=generation)
        of_people = of_people.where(ApprovalRow.version_id.in_(ids))
        for word in session.scalars(of_people.order_by(ApprovalRow.id)):
            said[word.version_id].append(entry(Approval, word))
        return (row.version if row else None), generation, verdicts, said


def _earned(version: ModelVersion, verdicts: Sequence[RecordedVerdict], generation: int) -> bool:
    latest = {one.gate: one.outcome for one in verdicts}
    required = gates_for(version.required_gates, generation)
    return bool(required) and all(latest.get(gate) == Outcome.PASS for gate in required)


def _waiting(version: ModelVersion, alias: str, asked: int, said: Sequence[Approval]) -> Waiting:
    rejected = any(one.decision == "reject" for one in said)
    missing = max(asked - sum(one.decision == "approve" for one in said), 0)
    words = ["factory", "approve" if missing else "promote", version.name, str(version.version)]
    command = shlex.join([*words, "--alias", alias]) + " --reason ..."
    return Waiting(alias, version.version, missing, rejected, tuple(said), "" if rejected else command)
