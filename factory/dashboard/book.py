"""A registry read for one page: its entries put together into what is shown."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

from workgym.factory.dashboard.fronts import TradeOffs, trade_offs
from workgym.factory.dashboard.releases import Release, protections_of, releases, waiting
from workgym.factory.dashboard.results import (
    Cards,
    Gain,
    Level,
    baseline_gains,
    judged_gain,
    level_of,
    policy_trouble,
)
from workgym.factory.dashboard.serving import Tiers, tiers
from workgym.factory.dashboard.shelf import Shelf
from workgym.factory.dashboard.shown import (
    MISSING,
    Curve,
    Holder,
    Judgement,
    Latest,
    Model,
    Reference,
    RunLine,
    RunList,
    VersionLine,
)
from workgym.factory.entries import HistoryLine, ModelVersion, RecordedVerdict, Run, Training
from workgym.factory.records import Outcome
from workgym.factory.registry import Registry
from workgym.factory.states import RunStatus, TrainingStatus, VersionStatus
from workgym.services.kernel import NotFound, did_you_mean

_ORDER = (Outcome.FAIL, Outcome.INCONCLUSIVE, MISSING, Outcome.PASS)


_ALIASED = re.compile(r".+ v(\d+)")


@dataclass(frozen=True)
class Opponent:
    """Whom a version was compared with.

    Attributes:
        who: as the factory's commands call it.
        version: where it is one; else a rule of the department.
        scorecard: digest of its recorded results.
    """

    label: str
    who: str
    version: ModelVersion | None
    scorecard: str


class Book:
    """A registry read for one page."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.cards = Cards(registry)
        self.shelf = Shelf(registry)
        self.summaries = registry.list_models()
        self.versions = {one.name: registry.list_versions(one.name) for one in self.summaries}
        self.history = {one.name: registry.history(one.name) for one in self.summaries}
        self._protections: dict[str, dict[str, int]] = {}
        self._made: dict[int, list[ModelVersion]] = defaultdict(list)
        for version in chain.from_iterable(self.versions.values()):
            self._made[version.run_id].append(version)

    @cached_property
    def all_runs(self) -> tuple[Run, ...]:
        """The newest first."""
        return self.registry.runs()

    # Models

    def model(self, name: str, lines: int | None = None) -> Model:
        """A model with so many lines of history, or all."""
        history = self.history[name][::-1]
        return Model(
            summary=next(one for one in self.summaries if one.name == name),
            holders=tuple(self._holder(name, alias) for alias in _aliases(history)),
            under_way=tuple(self.run(run) for run in self._under_way(name)),
            waiting=waiting(self.registry, name, self.versions[name], self.protections(name)),
            latest=self._latest(name),
            history=history[:lines],
            earlier=len(history[lines:]) if lines else 0,
        )

    def protections(self, name: str) -> dict[str, int]:
        """How many people each protected alias asks."""
        if name not in self._protections:
            self._protections[name] = protections_of(self.registry, name)
        return self._protections[name]

    def releases(self, name: str) -> tuple[Release, ...]:
        """Every alias, served or planned by the newest pipeline."""
        spec = self.registry.run(self.versions[name][0].run_id).spec
        return releases(self.history[name], spec, self.protections(name))

    def trade_offs(self, name: str, alias: str | None, against: str) -> TradeOffs | None:
        """The versions measured for a release, the champion's where none is named.

        Raises:
            NotFound: nothing was measured for that alias.
        """
        measures = self.shelf.measures(name)
        if not measures:
            return None
        known = sorted(measures, key=lambda one: (one != "champion", one))
        if alias is not None and alias not in known:
            raise NotFound(did_you_mean(f"release of {name}", alias, known))
        chosen = alias or known[0]
        serving = {line.alias: line.to_version for line in self.history[name]}
        return trade_offs(self.versions[name], measures, chosen, against, serving.get(chosen))

    def tiers(self, name: str) -> Tiers | None:
        """How those that serve differ."""
        numbered = {one.version: one for one in self.versions[name]}
        last = {line.alias: line.to_version for line in self.history[name]}
        return tiers(
            {
                alias: (last[alias], self.cards(numbered[last[alias]].scorecard_digest).card)
                for alias in _aliases(self.history[name])
            }
        )

    def _under_way(self, name: str) -> list[Run]:
        going_on = [run for run in self.all_runs if run.status is RunStatus.RUNNING]
        return [run for run in going_on if name in self._models_of(run)]

    def _holder(self, name: str, alias: str) -> Holder:
        line = next(line for line in reversed(self.history[name]) if line.alias == alias)
        version = self.registry.version(name, line.to_version)
        shown = self.version(version, alias)
        gains, level = self.gains(version)
        baselines = {gain.against for gain in gains}
        replaced = None if shown.gain is None or shown.gain.against in baselines else shown.gain
        trouble = " ".join(filter(None, (shown.trouble, self.baseline_trouble(version.run_id))))
        return Holder(alias, shown, line, gains, replaced, str(level), trouble)

    def _latest(self, name: str) -> Latest:
        made = self.made(max(version.run_id for version in self.versions[name]), name)
        run = self.run(self.registry.run(made[0].run_id))
        return Latest(run, self.candidates(made), str(self.level(made[0])))

    # Versions

    def made(self, run_id: int, name: str | None = None) -> list[ModelVersion]:
        """The versions that a run made, of one model or of all."""
        return [one for one in self._made.get(run_id, ()) if name in (None, one.name)]

    def candidates(self, made: Sequence[ModelVersion]) -> tuple[VersionLine, ...]:
        """Lines of versions, the best first."""
        lines = self.lines(made)
        return tuple(sorted(lines, key=lambda line: (line.profit is None, -(line.profit or 0.0))))

    def lines(self, versions: Sequence[ModelVersion]) -> tuple[VersionLine, ...]:
        """A line each."""
        self.shelf.announce(versions, {one.run_id for one in versions})
        return tuple(map(self.version, versions))

    def version(self, version: ModelVersion, alias: str = "champion") -> VersionLine:
        """One line, with the gain on whom it wanted to replace as `alias`."""
        verdicts = self.shelf.verdicts(version)
        reading = self.cards(version.scorecard_digest)
        standing, tone = self._standing(version)
        judgements = [one for one in self.judgements(version, verdicts) if one.counts]
        return VersionLine(
            model=version.name,
            version=version.version,
            variant=_variant(version),
            run_id=version.run_id,
            made=version.created_at,
            standing=standing,
            tone=tone,
            profit=reading.profit,
            gain=self._judged(version, [one for one in verdicts if one.alias == alias] or verdicts),
            judgements=tuple(sorted(judgements, key=lambda one: _ORDER.index(one.outcome))),
            trouble=" ".join(filter(None, (policy_trouble(self.registry, version), reading.trouble))),
        )

    def _judged(self, version: ModelVersion, verdicts: Sequence[RecordedVerdict]) -> Gain | None:
        """The gain that the gates measured, with the opponent's number where it is a version."""
        gain = judged_gain(verdicts)
        other = self.opponent(version, gain.against) if gain else None
        if gain is None or other is None or other.version is None:
            return gain
        same = other.version.suite_digest == version.suite_digest
        theirs = self.cards(other.scorecard).profit if same else None
        return replace(gain, against=other.label, digest=other.version.artifact_digest, theirs=theirs)

    def opponent(self, version: ModelVersion, name: str) -> Opponent | None:
        """Whom a verdict on a version means: "champion v3", a policy's digest, or a rule of its run."""
        aliased = _ALIASED.fullmatch(name)
        for one in self.versions[version.name]:
            if name == one.artifact_digest or (aliased and one.version == int(aliased[1])):
                return Opponent(f"version {one.version}", str(one.version), one, one.scorecard_digest)
        for rule in self.shelf.baselines(version.run_id):
            if rule.name == name:
                return Opponent(name, name, None, rule.scorecard_digest)
        return None

    def replaced(self, version: ModelVersion) -> tuple[Opponent, str] | None:
        """Whom a version replaced, or was judged against, and which of the two."""
        for line in reversed(self.history[version.name]):
            if line.to_version == version.version and line.from_version is not None:
                found = self.opponent(version, f"{line.alias} v{line.from_version}")
                if found is not None:
                    return found, f"whom it replaced as {line.alias}"
        for verdict in sorted(
            self.shelf.verdicts(version), key=lambda one: (one.alias != "champion", -one.id)
        ):
            found = self.opponent(version, verdict.champion)
            if found is not None:
                return found, "whom it was judged against"
        return None

    def judgements(self, version: ModelVersion, verdicts: Sequence[RecordedVerdict]) -> tuple[Judgement, ...]:
        """What the gates said and which were not asked, in that order."""
        latest = {(one.alias, one.gate): one.id for one in verdicts}
        said = [
            Judgement(
                gate=one.gate,
                outcome=one.outcome,
                sentence=one.sentence,
                against=self._called(version, one.champion),
                alias=one.alias,
                at=one.created_at,
                required=one.gate in version.required_gates,
                counts=latest[one.alias, one.gate] == one.id,
            )
            for one in verdicts
        ]
        asked = {one.gate for one in verdicts}
        return (*said, *(_missing(gate) for gate in version.required_gates if gate not in asked))

    def gains(self, version: ModelVersion) -> tuple[tuple[Gain, ...], Level]:
        """Against each baseline of its run, and how sure."""
        level = self.level(version)
        ours = self.cards(version.scorecard_digest).card
        return baseline_gains(ours, self.shelf.baselines(version.run_id), self.cards, level), level

    def baseline_trouble(self, run_id: int) -> str:
        """What is wrong with the stored results of a run's baselines, or nothing."""
        found = [(one.name, self.cards(one.scorecard_digest).trouble) for one in self.shelf.baselines(run_id)]
        return " ".join(f"Of baseline {name}: {trouble}" for name, trouble in found if trouble)

    def level(self, version: ModelVersion) -> Level:
        """How sure a version's intervals are."""
        trained = len(self.shelf.trainings(version.run_id))
        return level_of(self.shelf.verdicts(version), trained)

    def serves(self, version: ModelVersion) -> tuple[str, ...]:
        """The aliases that a version serves under."""
        last = {line.alias: line.to_version for line in self.history[version.name]}
        return tuple(sorted(alias for alias, to in last.items() if to == version.version))

    def _standing(self, version: ModelVersion) -> tuple[str, str]:
        if serves := self.serves(version):
            return f"serves as {' and '.join(serves)}", "serves"
        if any(line.to_version == version.version for line in self.history[version.name]):
            return "served before", "before"
        return {
            VersionStatus.BLESSED: ("passed every gate", str(Outcome.PASS)),
            VersionStatus.REJECTED: ("rejected", str(Outcome.FAIL)),
            VersionStatus.REGISTERED: ("undecided", str(Outcome.INCONCLUSIVE)),
        }[version.status]

    def _called(self, version: ModelVersion, name: str) -> str:
        found = self.opponent(version, name)
        return found.label if found else name

    def numbers(self, model: str) -> dict[str, int]:
        """Numbers of a model's versions by the digest of their policy, of equal ones the oldest."""
        return {one.artifact_digest: one.version for one in self.versions[model]}

    # Runs

    def run(self, run: Run) -> RunLine:
        """One run with its learning curves."""
        trainings = [_settled(run, training) for training in self.shelf.trainings(run.id)]
        named = _training_names(trainings)
        return RunLine(
            run=run,
            models=self._models_of(run),
            curves=tuple(
                Curve(name, training, self.shelf.curve(training))
                for name, training in zip(named, trainings, strict=True)
            ),
            reference=self._reference(run.id),
        )

    def runs(self, before: int | None, size: int, model: str | None = None) -> RunList:
        """So many runs that began before one, the newest first."""
        found = [
            run
            for run in self.all_runs
            if (before is None or run.id < before) and (model is None or model in self._models_of(run))
        ]
        older = found[size - 1].id if len(found) > size else None
        self.shelf.announce_curves(run.id for run in found[:size])
        return RunList(tuple(self.run(run) for run in found[:size]), older)

    def _models_of(self, run: Run) -> tuple[str, ...]:
        made = {version.name for version in self.made(run.id)}
        return tuple(sorted(made | ({run.pipeline} & set(self.versions))))

    def _reference(self, run_id: int) -> Reference | None:
        for baseline in self.shelf.baselines(run_id)[:1]:
            if card := self.cards(baseline.scorecard_digest).card:
                return Reference(baseline.name, float(card.profit.mean()))
        return None


def _aliases(history: Sequence[HistoryLine]) -> list[str]:
    return sorted({line.alias for line in history}, key=lambda alias: (alias != "champion", alias))


def _variant(version: ModelVersion) -> str:
    """The variant with its seed, as `factory run` calls it; versions made by hand have none."""
    variant = version.lineage.get("variant")
    seeds: list[Any] = version.lineage.get("seeds") or []
    return "/".join(map(str, [variant, *seeds])) if variant else ""


def _training_names(trainings: Sequence[Training]) -> list[str]:
    """Variants, with the seed where a variant was trained with several."""
    variants = [training.variant for training in trainings]
    return [
        f"{one.variant}/{one.seed}" if variants.count(one.variant) > 1 else one.variant for one in trainings
    ]


def _settled(run: Run, training: Training) -> Training:
    """A training cannot go on when its run's process is gone, whoever has noticed so far."""
    if run.status is RunStatus.ABANDONED and training.status is TrainingStatus.RUNNING:
        return Training(**{**vars(training), "status": TrainingStatus.ABANDONED})
    return training


def _missing(gate: str) -> Judgement:
    return Judgement(gate, MISSING, "required, but not asked yet", "", "", "", required=True, counts=True)
