"""From candidates to releases: judge, pick by profile, promote."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workgym.factory import crash
from workgym.factory.approvals import Unapproved
from workgym.factory.candidates import Candidate, Intake
from workgym.factory.concessions import GAINS, Step, conceded, step_of
from workgym.factory.early import opposite
from workgym.factory.entries import HistoryLine
from workgym.factory.gates import promotable
from workgym.factory.judging import Opponent, judge_against, lab_of, opponent_before, opponent_of
from workgym.factory.lab import Lab
from workgym.factory.partial import PartialPlan
from workgym.factory.pipeline import ReleaseSpec
from workgym.factory.profiles import Measures, Pick, is_better, measure, measured_by, pick, within
from workgym.factory.records import Outcome, Verdict
from workgym.factory.routing import judge_router, propose, require_as_planned, router

ACTOR = "factory run"


@dataclass(frozen=True)
class Judged:
    """A candidate for a release."""

    candidate: Candidate
    verdicts: tuple[Verdict, ...]
    measures: Measures

    @property
    def passed(self) -> bool:
        """Whether every gate let it through."""
        return promotable(list(self.verdicts))

    @property
    def step(self) -> Step | None:
        """What its gates have measured that it gains or costs."""
        return step_of(self.verdicts)

    def reason(self) -> str:
        """Why it may not serve, or what it proved: the sentence of its worst verdict."""
        order = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)
        worst = min(self.verdicts, key=lambda verdict: order.index(verdict.outcome))
        return f"{worst.gate}: {worst.sentence}"


@dataclass(frozen=True)
class Released:
    """What a release came to.

    Attributes:
        spec: its alias and profile.
        opponent: whom the candidates had to beat.
        judged: the candidates, the best first.
        promoted: the line of history, or None when whoever served goes on.
        sentence: the outcome in one sentence.
    """

    spec: ReleaseSpec
    opponent: Opponent
    judged: tuple[Judged, ...]
    promoted: HistoryLine | None
    sentence: str


@dataclass(frozen=True)
class Desk(Intake):
    """Judges what was kept, and promotes.

    Attributes:
        tell: is told what is being done.
        labs: where gates let two policies play, by the pair.
    """

    tell: Callable[[str], Any] = lambda _: None
    labs: dict[tuple[str, str], Lab] = field(default_factory=dict)

    def release(self, spec: ReleaseSpec, candidates: Sequence[Candidate]) -> Released:
        """Judge every candidate for a release and promote the one that its profile picks.

        A run that promoted before it was killed tells what it did, and does nothing twice.
        """
        if (line := self._moved(spec)) is not None:
            return self._told(spec, line, candidates)
        opponent = opponent_of(self.pipeline, self.registry, self.suite, self.rules, spec.alias)
        judged = [self._judge(spec, opponent, candidate) for candidate in candidates]
        judged.sort(key=lambda one: -one.measures["profit"])
        passed = {one.candidate.version.version: one for one in judged if one.passed}
        if not passed and (routed := self._partial(spec, opponent, judged)) is not None:
            judged.append(routed)
            passed = {routed.candidate.version.version: routed} if routed.passed else {}
        chosen = self._pick(spec, opponent, passed)
        if isinstance(chosen, str):
            return Released(spec, opponent, tuple(judged), None, _stays(opponent, judged, chosen))
        return self._promote(spec, opponent, tuple(judged), passed[chosen.number], chosen)

    def _moved(self, spec: ReleaseSpec) -> HistoryLine | None:
        """How this run moved the release's alias before it was killed, if it did."""
        lines = self.registry.history(self.pipeline.name)
        own = (line for line in lines if line.run_id == self.record.id and line.alias == spec.alias)
        return next(own, None)

    def _told(self, spec: ReleaseSpec, line: HistoryLine, candidates: Sequence[Candidate]) -> Released:
        """What a release came to, from what was recorded of it."""
        opponent = opponent_before(self.pipeline, self.registry, self.suite, self.rules, line)
        judged = [
            Judged(
                candidate,
                self.registry.verdicts_at(candidate.version, spec.alias, opponent.generation),
                self.registry.measures(candidate.version, spec.alias),
            )
            for candidate in candidates
        ]
        judged.sort(key=lambda one: -one.measures["profit"])
        sentence = f"{self.pipeline.name} version {line.to_version} is {spec.alias}: {line.reason}"
        return Released(spec, opponent, tuple(judged), line, sentence)

    def _judge(self, spec: ReleaseSpec, opponent: Opponent, candidate: Candidate) -> Judged:
        met = opposite(opponent, candidate.card, len(self.suite.scenarios))
        opponent = replace(opponent, card=met)
        self.tell(f"judging {candidate.name} for {spec.alias}, against {opponent.name}")
        lab = self._lab(candidate, opponent)
        verdicts = judge_against(self.pipeline, spec, candidate.card, opponent, self.tried, lab)
        return self._record(spec, opponent, candidate, tuple(verdicts))

    def _record(
        self, spec: ReleaseSpec, opponent: Opponent, candidate: Candidate, verdicts: tuple[Verdict, ...]
    ) -> Judged:
        """Keep what the gates said, and what the candidate is measured by."""
        version = self.registry.record_verdicts(
            candidate.version, verdicts, generation=opponent.generation, alias=spec.alias
        )
        measures = measure(
            candidate.card,
            opponent.card,
            bytes_=candidate.bytes,
            cpu_seconds=candidate.cpu_seconds,
            robustness=_worst_share(verdicts),
        )
        self.registry.record_measures(version, spec.alias, measures)
        crash.here("version:judged")
        kept = replace(candidate, version=version)
        return Judged(kept, verdicts, measures)

    def _partial(self, spec: ReleaseSpec, opponent: Opponent, judged: Sequence[Judged]) -> Judged | None:
        """The best candidate that harms some families, behind a router that keeps who serves there."""
        if opponent.version is None:
            return None
        gates = self.pipeline.gates_of(spec)
        for one in judged:
            card = one.candidate.card
            planned = propose(card, opponent.card, gates, one.verdicts, self.tried)
            if planned is not None:
                return self._route(spec, opponent, one.candidate, planned)
        return None

    def _route(
        self,
        spec: ReleaseSpec,
        opponent: Opponent,
        candidate: Candidate,
        planned: PartialPlan,
    ) -> Judged:
        assert opponent.version is not None  # the caller looked
        parts = opponent.version.artifact_digest, candidate.version.artifact_digest
        champion, other = (self.registry.artifacts.get_folder(digest) for digest in parts)
        name = f"{candidate.name} but in {', '.join(planned.kept)}"
        files = router(name, champion, other, planned)
        lineage = {
            "variant": name,
            "purpose": planned.sentence,
            "inputs": list(parts),
            "kept": list(planned.kept),
            "served": list(planned.served),
        }
        routed = self._combined(name, files, lineage, candidate.cpu_seconds)
        require_as_planned(routed.card, candidate.card, opponent.card, planned)
        lab = self._lab(routed, opponent)
        gates = self.pipeline.gates_of(spec)
        verdicts = judge_router(routed.card, opponent.card, gates, planned, self.tried, lab)
        return self._record(spec, opponent, routed, verdicts)

    def _lab(self, candidate: Candidate, opponent: Opponent) -> Lab:
        """One for each pair: what two policies played for one release is not played again for another."""
        artifact = candidate.version.artifact_digest
        pair = artifact, opponent.version.artifact_digest if opponent.version else opponent.name
        if pair not in self.labs:
            self.labs[pair] = lab_of(self.pipeline, self.registry, artifact, opponent)
        return self.labs[pair]

    def _pick(self, spec: ReleaseSpec, opponent: Opponent, passed: Mapping[int, Judged]) -> Pick | str:
        """Whom the profile chooses, or why nobody."""
        if not passed:
            return ""
        by = measured_by(spec.profile)
        better = {number: one for number, one in passed.items() if self._betters(one, opponent, by)}
        if not better:
            return f"who passed is no better in {by}, which {spec.alias!r} is chosen for"
        before = 0.0
        if any(one.step is not None and one.step.low < 0 for one in better.values()):
            before = conceded(self.registry, self.pipeline.name, spec.alias)
        found = {
            number: one.measures
            for number, one in better.items()
            if one.step is None or one.step.affordable(before)
        }
        if not found:
            return (
                f"the margin of {spec.alias!r} is spent: since it last gained it may have given up "
                f"{-before:,.2f} cents per order, and who passed would add to it"
            )
        chosen = pick(found, spec.profile, spec.limits)
        if chosen is None:
            broken = sorted({name for own in found.values() for name in within(own, spec.limits)})
            return f"nobody who passed keeps the limits of {spec.alias!r} on {', '.join(broken) or by}"
        return chosen

    def _betters(self, judged: Judged, opponent: Opponent, by: str) -> bool:
        """Whether a candidate that passed is worth a change of who serves: a margin is no reason."""
        if opponent.version is None:
            return True
        if opponent.version.artifact_digest == judged.candidate.version.artifact_digest:
            return False
        gained = judged.step is not None and judged.step.low > 0
        theirs = self.registry.measures(opponent.version, opponent.alias)
        if by not in theirs or by not in judged.measures:
            return gained
        ours = judged.measures[by]
        return is_better(by, ours, theirs[by]) or (gained and not is_better(by, theirs[by], ours))

    def _promote(
        self,
        spec: ReleaseSpec,
        opponent: Opponent,
        judged: tuple[Judged, ...],
        best: Judged,
        chosen: Pick,
    ) -> Released:
        gains = [one.sentence for one in best.verdicts if one.gate in (*GAINS, "bootstrap")]
        why = "; ".join(gains[:1] if gains and spec.profile == "profit" else [chosen.sentence, *gains[:1]])
        name = best.candidate.name
        try:
            line = self.registry.promote(
                self.pipeline.name,
                best.candidate.version.version,
                spec.alias,
                expected_generation=opponent.generation,
                actor=ACTOR,
                reason=f"{name} {why}",
                run_id=self.record.id,
                profile=spec.profile,
                given_up=chosen.given_up,
                env_version=self.record.env_version,
                suite_digest=self.suite.digest,
            )
        except Unapproved as waiting:
            return Released(spec, opponent, judged, None, f"{waiting}: {name} {why}")
        crash.here("alias:promoted")
        sentence = f"{best.candidate.version} ({name}) is {spec.alias}: {why}"
        return Released(spec, opponent, judged, line, sentence)


def _stays(opponent: Opponent, judged: Sequence[Judged], why: str) -> str:
    """Why whoever serves goes on."""
    who = f"{opponent.version} stays" if opponent.version else f"nothing serves yet, {opponent.name} goes on"
    if why:
        return f"{who}: {why}"
    nearest = judged[0]
    return f"{who}: the best of {len(judged)}, {nearest.candidate.name}, {nearest.reason()}"


def _worst_share(verdicts: Sequence[Verdict]) -> float | None:
    """What the gate `robustness` measured, where it was asked."""
    for verdict in verdicts:
        if verdict.gate == "robustness" and "worst_share" in verdict.numbers:
            return float(verdict.numbers["worst_share"])
    return None
