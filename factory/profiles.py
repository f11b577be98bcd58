"""What a release is for: measures of a candidate, the Pareto front over them, and the pick of a profile.

A profile names the measure that a release is chosen by, among the candidates that passed every gate and
are on the front. What the chosen one gives up against the others is recorded with the promotion, in numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workgym.factory.records import Scorecard
from workgym.services.kernel import BadInput, did_you_mean

Measures = dict[str, float]

SPECIALIST = "specialist:"
OF_FAMILY = "profit."


@dataclass(frozen=True)
class Measure:
    """One thing that a candidate is measured by.

    Attributes:
        unit: of its value.
        more: whether more is better.
        told: a sentence for people.
    """

    unit: str
    more: bool
    told: str


MEASURES: dict[str, Measure] = {
    "profit": Measure("cents per case", True, "earned over the whole suite"),
    "worst_family": Measure("cents per case", True, "earned in the family where it earns least"),
    "robustness": Measure("share", True, "of its profit that is left under the worst perturbation"),
    "flips": Measure("share", False, "of scenarios that the champion handles and it does not"),
    "p99_us": Measure("microseconds", False, "within which 99 of 100 decisions are made, on one thread"),
    "bytes": Measure("bytes", False, "of the files that are served"),
    "cpu_seconds": Measure("seconds", False, "of processor time that its training took"),
}

PROFILES: dict[str, str] = {
    "profit": "profit",
    "robust": "robustness",
    "even": "worst_family",
    "graceful": "flips",
    "fast": "p99_us",
    "small": "bytes",
    "cheap": "cpu_seconds",
}


def measured_by(profile: str, families: Sequence[str] | None = None) -> str:
    """The measure that a profile is chosen by; `specialist:<family>` by the profit in that family.

    Raises:
        BadInput: there is no such profile, or no such family.
    """
    if profile in PROFILES:
        return PROFILES[profile]
    if profile.startswith(SPECIALIST):
        family = profile.removeprefix(SPECIALIST)
        if families is not None and family not in families:
            raise BadInput(did_you_mean(f"family of profile {profile!r}", family, list(families)))
        return OF_FAMILY + family
    raise BadInput(did_you_mean("profile", profile, [*PROFILES, f"{SPECIALIST}<family>"]))


def is_better(measure: str, one: float, other: float) -> bool:
    """Whether `one` is the better value of a measure."""
    return one > other if _more(measure) else one < other


def _more(measure: str) -> bool:
    if measure.startswith(OF_FAMILY):
        return True
    if measure not in MEASURES:
        raise BadInput(did_you_mean("measure", measure, [*MEASURES, f"{OF_FAMILY}<family>"]))
    return MEASURES[measure].more


def measure(
    card: Scorecard, champion: Scorecard, *, bytes_: int, cpu_seconds: float, robustness: float | None = None
) -> Measures:
    """All measures of a candidate; what was not measured is left out.

    Args:
        card: its results.
        champion: of whom it would replace, on the same scenarios.
        bytes_: size of its files.
        cpu_seconds: processor time of its training.
        robustness: the least share of its profit that is left under a perturbation.
    """
    by_family = family_profits(card)
    found = {
        "profit": card.profit_per_case(),
        "worst_family": min(by_family.values()),
        "flips": flip_rate(champion, card),
        "bytes": float(bytes_),
        "cpu_seconds": cpu_seconds,
        **{OF_FAMILY + family: value for family, value in by_family.items()},
    }
    if card.latency_us is not None:
        found["p99_us"] = card.latency_us["p99"]
    if robustness is not None:
        found["robustness"] = robustness
    return found


def family_profits(card: Scorecard) -> dict[str, float]:
    """Cents per case in each family."""
    families = np.array(card.family)
    profits = {}
    for family in sorted(set(card.family)):
        here = families == family
        profits[family] = float(card.profit[here].sum() / max(int(card.cases[here].sum()), 1))
    return profits


def flip_rate(one: Scorecard, other: Scorecard) -> float:
    """Share of all scenarios that `one` handles and `other` does not.

    Raises:
        BadInput: the two did not play the same scenarios.
    """
    if (one.family, one.seed) != (other.family, other.seed):
        raise BadInput(
            f"expected results of the same scenarios, found {one.n} of {one.policy} and {other.n} of "
            f"{other.policy}; evaluate both on one suite"
        )
    return float((one.success & ~other.success).mean()) if one.n else 0.0


def flip_matrix(cards: Mapping[str, Scorecard]) -> NDArray[np.float64]:
    """(n, n) share of scenarios that the row's policy handles and the column's does not."""
    return np.array([[flip_rate(one, other) for other in cards.values()] for one in cards.values()])


def dominates(one: Measures, other: Measures, over: Sequence[str]) -> bool:
    """Whether `one` is at least as good everywhere and better somewhere."""
    worse = any(is_better(name, other[name], one[name]) for name in over)
    return not worse and any(is_better(name, one[name], other[name]) for name in over)


def comparable(candidates: Mapping[int, Measures]) -> list[str]:
    """The measures that all candidates have, without those of single families."""
    return [name for name in MEASURES if candidates and all(name in one for one in candidates.values())]


def front(candidates: Mapping[int, Measures], over: Sequence[str] | None = None) -> list[int]:
    """Who is not dominated by another, in the order given."""
    names = comparable(candidates) if over is None else list(over)
    return [
        number
        for number, own in candidates.items()
        if not any(dominates(other, own, names) for other in candidates.values())
    ]


@dataclass(frozen=True)
class Pick:
    """Whom a profile chose.

    Attributes:
        number: the version.
        given_up: by measure, what another candidate that passed would have had: its value, its version,
            and the chosen one's value.
        sentence: the trade-off in one sentence.
    """

    number: int
    given_up: dict[str, dict[str, Any]]
    sentence: str


def within(measures: Measures, limits: Mapping[str, float]) -> list[str]:
    """Which limits are not kept; one whose measure is missing is not kept."""
    return [
        name
        for name, limit in limits.items()
        if name not in measures or is_better(name, limit, measures[name])
    ]


def pick(candidates: Mapping[int, Measures], profile: str, limits: Mapping[str, float]) -> Pick | None:
    """The candidate that a profile chooses, or None when none keeps the limits.

    Among those on the front: the best by the profile's measure, then by profit, then the oldest.

    Args:
        candidates: measures of those that passed every gate, by version.
        profile: a name of `PROFILES`, or `specialist:<family>`.
        limits: worst allowed value by measure.
    """
    by = measured_by(profile)
    kept = {number: own for number, own in candidates.items() if not within(own, limits) and by in own}
    if not kept:
        return None
    eligible = front(kept, _names(kept, by))

    def rank(number: int) -> tuple[float, float, int]:
        value = kept[number][by]
        return (-value if _more(by) else value, -kept[number]["profit"], number)

    chosen = min(eligible, key=rank)
    lost = given_up(kept, chosen, by)
    return Pick(chosen, lost, _told(by, kept[chosen], lost))


def _names(kept: Mapping[int, Measures], by: str) -> list[str]:
    """The measures over which candidates are compared for a release that is chosen by one of them."""
    return list(dict.fromkeys([*comparable(kept), by]))


def given_up(kept: Mapping[int, Measures], chosen: int, by: str) -> dict[str, dict[str, Any]]:
    """What `chosen`, for being the best by a measure, has less of than others; see `Pick.given_up`."""
    lost: dict[str, dict[str, Any]] = {}
    for name in _names(kept, by):
        own = kept[chosen][name]
        best = min(kept, key=lambda number: -kept[number][name] if _more(name) else kept[number][name])
        if is_better(name, kept[best][name], own):
            lost[name] = {"chosen": own, "best": kept[best][name], "version": best}
    return lost


def _told(by: str, own: Measures, given_up: Mapping[str, Mapping[str, Any]]) -> str:
    chosen = f"chosen for {shown(by, own[by])}"
    if not given_up:
        return f"{chosen}; no other candidate that passed is better in anything"
    lost = [
        f"{shown(name, one['chosen'])} where version {one['version']} has {figure(one['best'])}"
        for name, one in given_up.items()
    ]
    return f"{chosen}; gives up {', '.join(lost)}"


def shown(name: str, value: float) -> str:
    """A measure with its value and unit."""
    unit = MEASURES[name].unit if name in MEASURES else "cents per case"
    return f"{name} {figure(value)} {unit}"


def figure(value: float) -> str:
    """Four digits of a number, or all before its point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
