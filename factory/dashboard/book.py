"""A registry read for one page: its entries put together into what is shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from workgym.factory.dashboard.results import (
    Cards,
    Gain,
    Level,
    baseline_gains,
    judged_gain,
    level_of,
    policy_trouble,
)
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

_ORDER = (Outcome.FAIL, Outcome.INCONCLUSIVE, MISSING, Outcome.PASS)


class Book:
    """A registry read for one page."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.cards = Cards(registry)
        self.summaries = registry.list_models()
        self.versions = {one.name: registry.list_versions(one.name) for one in self.summaries}
        self.history = {one.name: registry.history(one.name) for one in self.summaries}
        self._made: dict[int, list[ModelVersion]] = defaultdict(list)
        for version in chain.from_iterable(self.versions.values()):
            self._made[version.run_id].append(version)

    # Models

    def model(self, name: str, lines: int | None = None) -> Model:
        """A model with so many lines of history, or all."""
        history = self.history[name][::-1]
        return Model(
            summary=next(one for one in self.summaries if one.name == name),
            holders=tuple(self._holder(name, alias) for alias in _aliases(history)),
            under_way=tuple(self.run(run) for run in self._under_way(name)),
            latest=self._latest(name),
            history=history[:lines],
            earlier=len(history[lines:]) if lines else 0,
        )

    def _under_way(self, name: str) -> list[Run]:
        going_on = [run for run in self.registry.runs() if run.status is RunStatus.RUNNING]
        return [run for run in going_on if name in self._models_of(run)]

    def _holder(self, name: str, alias: str) -> Holder:
        line = next(line for line in reversed(self.history[name]) if line.alias == alias)
        version = self.registry.version(name, line.to_version)
        shown = self.version(version)
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
        lines = [self.version(version) for version in made]
        return tuple(sorted(lines, key=lambda line: (line.profit is None, -(line.profit or 0.0))))

    def version(self, version: ModelVersion) -> VersionLine:
        """One line."""
        verdicts = self.registry.verdicts(version)
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
            gain=self._judged(version, verdicts),
            judgements=tuple(sorted(judgements, key=lambda one: _ORDER.index(one.outcome))),
            trouble=" ".join(filter(None, (policy_trouble(self.registry, version), reading.trouble))),
        )

    def _judged(self, version: ModelVersion, verdicts: Sequence[RecordedVerdict]) -> Gain | None:
        """The gain that the gates measured, with the opponent's number where it is a version."""
        gain = judged_gain(verdicts)
        versions = self.versions[version.name]
        other = next((one for one in versions if gain and one.artifact_digest == gain.against), None)
        if gain is None or other is None:
            return gain
        same = other.suite_digest == version.suite_digest
        theirs = self.cards(other.scorecard_digest).profit if same else None
        return replace(gain, against=f"version {other.version}", digest=gain.against, theirs=theirs)

    def judgements(self, version: ModelVersion, verdicts: Sequence[RecordedVerdict]) -> tuple[Judgement, ...]:
        """What the gates said and which were not asked, in that order."""
        latest = {(one.alias, one.gate): one.id for one in verdicts}
        names = self._names(version.name)
        said = [
            Judgement(
                gate=one.gate,
                outcome=one.outcome,
                sentence=one.sentence,
                against=names.get(one.champion, one.champion),
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
        return baseline_gains(ours, self.registry.baselines(version.run_id), self.cards, level), level

    def baseline_trouble(self, run_id: int) -> str:
        """What is wrong with the stored results of a run's baselines, or nothing."""
        found = [
            (one.name, self.cards(one.scorecard_digest).trouble) for one in self.registry.baselines(run_id)
        ]
        return " ".join(f"Of baseline {name}: {trouble}" for name, trouble in found if trouble)

    def level(self, version: ModelVersion) -> Level:
        """How sure a version's intervals are."""
        trained = len(self.registry.trainings(version.run_id))
        return level_of(self.registry.verdicts(version), trained)

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

    def _names(self, model: str) -> dict[str, str]:
        return {one.artifact_digest: f"version {one.version}" for one in reversed(self.versions[model])}

    # Runs

    def run(self, run: Run) -> RunLine:
        """One run with its learning curves."""
        trainings = [_settled(run, training) for training in self.registry.trainings(run.id)]
        named = _training_names(trainings)
        return RunLine(
            run=run,
            models=self._models_of(run),
            curves=tuple(
                Curve(name, training, self.registry.curve(training.id))
                for name, training in zip(named, trainings, strict=True)
            ),
            reference=self._reference(run.id),
        )

    def runs(self, before: int | None, size: int, model: str | None = None) -> RunList:
        """So many runs that began before one, the newest first."""
        found = [
            run
            for run in self.registry.runs()
            if (before is None or run.id < before) and (model is None or model in self._models_of(run))
        ]
        older = found[size - 1].id if len(found) > size else None
        return RunList(tuple(self.run(run) for run in found[:size]), older)

    def _models_of(self, run: Run) -> tuple[str, ...]:
        made = {version.name for version in self.made(run.id)}
        return tuple(sorted(made | ({run.pipeline} & set(self.versions))))

    def _reference(self, run_id: int) -> Reference | None:
        for baseline in self.registry.baselines(run_id)[:1]:
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
