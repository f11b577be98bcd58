"""What scorecards say to a reader: profit per order, gains with their intervals, families."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from workgym.factory.artifacts import Tampered
from workgym.factory.builtin_gates.improvement import gains_of
from workgym.factory.entries import Baseline, ModelVersion, RecordedVerdict
from workgym.factory.gates import select
from workgym.factory.records import Scorecard
from workgym.factory.registry import Registry
from workgym.factory.statistics import Bounds, ratio
from workgym.services.kernel import WorkgymError

ALPHA, RANGE = 0.05, 0.1  # where no verdict says otherwise: the gates' own defaults


@dataclass(frozen=True)
class Gain:
    """What a policy earns more than another, in cents per order.

    Attributes:
        against: whom it is compared with.
        theirs: what that one earns, or None where only the difference was kept.
        low: lower end of the interval, or None where nothing bounds it.
        high: upper end, likewise.
        digest: of the one it is compared with, where that is a version; verdicts call it by its first digits.
    """

    against: str
    theirs: float | None
    value: float
    low: float | None
    high: float | None
    digest: str = ""


@dataclass(frozen=True)
class Level:
    """How sure an interval is.

    Attributes:
        alpha: chance that any of the joint intervals misses.
        candidates: how many intervals it is shared by.
        range: share of the champion's profit by which a block may miss a margin, as the gate was told.
    """

    alpha: float
    candidates: int
    range: float = RANGE

    @property
    def error(self) -> float:
        """Chance that one interval misses on one side."""
        return self.alpha / self.candidates / 2

    def __str__(self) -> str:
        jointly = f", jointly over {self.candidates} candidates" if self.candidates > 1 else ""
        return f"{100 * (1 - self.alpha):g}% interval{jointly}"


@dataclass(frozen=True)
class Family:
    """A policy's results in one business situation.

    Attributes:
        profit: cents per order.
        gain: against the best baseline, or None where that is not known.
        handled: share of the scenarios.
        violated: share of the obligations, or None where there were none.
    """

    name: str
    scenarios: int
    profit: float
    gain: Gain | None
    handled: float
    violated: float | None


@dataclass(frozen=True)
class Reading:
    """A scorecard, or the sentence that says why there is none."""

    card: Scorecard | None
    trouble: str = ""

    @property
    def profit(self) -> float | None:
        """Cents per order."""
        return self.card.profit_per_case() if self.card else None


class Cards:
    """Scorecards of a registry, each read and verified once a page."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._read: dict[str, Reading] = {}

    def __call__(self, digest: str) -> Reading:
        """The scorecard under a digest."""
        if digest not in self._read:
            self._read[digest] = self._reading(digest)
        return self._read[digest]

    def _reading(self, digest: str) -> Reading:
        found: list[Scorecard] = []
        trouble = _tried("scorecard", lambda: found.append(_parsed(self._registry.artifacts.get(digest))))
        return Reading(found[0] if found else None, trouble)


@lru_cache(maxsize=256)
def _parsed(content: bytes) -> Scorecard:
    """A scorecard from its verified bytes; reading JSON is most of what a page costs."""
    return Scorecard.from_json(content.decode())


def policy_trouble(registry: Registry, version: ModelVersion) -> str:
    """What is wrong with the stored policy, or nothing."""
    return _tried("policy", lambda: registry.artifacts.verify(version.artifact_digest))


def _tried(what: str, read: Callable[[], object]) -> str:
    """Read an artifact; a page goes on without it and says so."""
    try:
        read()
    except Tampered as error:
        return f"The {what} was tampered with: {error}"
    except (WorkgymError, OSError) as error:
        return f"The {what} cannot be read: {error}"
    return ""


def level_of(verdicts: Sequence[RecordedVerdict], trained: int) -> Level:
    """The level at which a version was judged, so that a page's interval never contradicts the gate's."""
    told = [verdict.numbers["range"] for verdict in verdicts if "range_cents" in verdict.numbers]
    share = told[0] if told and isinstance(told[0], float) and told[0] > 0 else RANGE
    for verdict in verdicts:
        alpha, candidates = verdict.numbers.get("alpha"), verdict.numbers.get("candidates")
        if isinstance(alpha, float) and isinstance(candidates, int) and 0 < alpha < 1 <= candidates:
            return Level(alpha, candidates, share)
    return Level(ALPHA, max(trained, 1))


def judged_gain(verdicts: Sequence[RecordedVerdict]) -> Gain | None:
    """The gain that the latest verdict about one measured, against the policy as the verdict names it."""
    # The first promotion has two gates that measure it; the interval is the one that does nothing else.
    for prefix in ("", "gain_"):
        for verdict in reversed(verdicts):
            ends = [verdict.numbers.get(name) for name in ("gain", f"{prefix}low", f"{prefix}high")]
            if isinstance(ends[0], (int, float)) and None not in ends:
                return Gain(verdict.champion, None, float(ends[0]), _finite(ends[1]), _finite(ends[2]))
    return None


def baseline_gains(
    ours: Scorecard | None, baselines: Sequence[Baseline], cards: Cards, level: Level
) -> tuple[Gain, ...]:
    """Gains on each of a run's baselines, the best first; without ends where they cannot be paired."""
    if ours is None:
        return ()
    paired = [paired_gain(ours, one.name, cards(one.scorecard_digest).card, level) for one in baselines]
    return tuple(
        gain or Gain(one.name, one.profit_per_case, ours.profit_per_case() - one.profit_per_case, None, None)
        for gain, one in zip(paired, baselines, strict=True)
    )


def paired_gain(ours: Scorecard, name: str, theirs: Scorecard | None, level: Level) -> Gain | None:
    """The mean gain over the scenarios, both counted over the baseline's orders.

    Over all families with the interval of the gate `improvement`, in one family with that of `no-harm`.
    """
    if theirs is None or not _same_scenarios(ours, theirs) or theirs.cases.sum() <= 0:
        return None
    if len(set(theirs.family)) > 1:
        gains = gains_of(ours, theirs, level.range)
        return _gain(name, theirs, gains.mean, gains.bounds(level.error))
    mean = ratio(ours.profit - theirs.profit, theirs.cases, theirs.family)
    return _gain(name, theirs, mean.value, mean.bounds(level.error))


def _gain(name: str, theirs: Scorecard, value: float, ends: Bounds) -> Gain:
    return Gain(name, theirs.profit_per_case(), value, _finite(ends.low), _finite(ends.high))


def like(theirs: Scorecard, ours: Scorecard) -> Scorecard | None:
    """Their results on what we played, in our order; None where they did not play all of it."""
    place = {scenario: at for at, scenario in enumerate(zip(theirs.family, theirs.seed, strict=True))}
    wanted = list(zip(ours.family, ours.seed, strict=True))
    if theirs.suite != ours.suite or not place.keys() >= set(wanted):
        return None
    return select(theirs, [place[scenario] for scenario in wanted])


def families(ours: Scorecard, name: str, theirs: Scorecard | None, level: Level) -> tuple[Family, ...]:
    """Results by family in the suite's order, and over all of them last."""
    names = dict.fromkeys(ours.family)
    parts = [(one, _only(ours, one), _only(theirs, one) if theirs else None) for one in names]
    return tuple(_family(*part, name, level) for part in [*parts, ("all", ours, theirs)])


def _family(family: str, ours: Scorecard, theirs: Scorecard | None, name: str, level: Level) -> Family:
    due = int(ours.obligations.sum())
    return Family(
        name=family,
        scenarios=ours.n,
        profit=ours.profit_per_case(),
        gain=paired_gain(ours, name, theirs, level),
        handled=float(ours.success.mean()),
        violated=float(ours.violations.sum() / due) if due else None,
    )


def _only(card: Scorecard, family: str) -> Scorecard:
    at = np.flatnonzero(np.array(card.family) == family)
    columns = ("profit", "cases", "success", "violations", "obligations")
    chosen = {name: getattr(card, name)[at] for name in columns}
    return replace(card, family=(family,) * len(at), seed=tuple(card.seed[i] for i in at), **chosen)


def _same_scenarios(ours: Scorecard, theirs: Scorecard) -> bool:
    return all(getattr(ours, name) == getattr(theirs, name) for name in ("suite", "family", "seed"))


def _finite(value: float | int | str | None) -> float | None:
    number = float(value) if isinstance(value, (int, float)) else np.inf
    return number if np.isfinite(number) else None


def short(policy: str) -> str:
    """What people call a policy: a baseline's name, or the first digits of a digest."""
    return policy[:12] if len(policy) == 64 else policy
