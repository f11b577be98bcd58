"""Two versions side by side on the same scenarios, and the ways they were trained over all their seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from workgym.factory.aggregate import bootstrap, improvement_probability, iqm, scores_of, stacked
from workgym.factory.entries import ModelVersion
from workgym.factory.judging import card_of, pipeline_of, suite_of
from workgym.factory.records import Scorecard
from workgym.factory.registry import Registry
from workgym.factory.statistics import Mean, mcnemar_p, proportion_bounds, rate_difference, ratio
from workgym.services.kernel import BadInput, NotFound, did_you_mean

ERROR = 0.05  # both limits of an interval together are wrong at most so often
_FEWEST_SEEDS = 2


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        variant: how it was trained.
        bytes: size of the files that are served.
        cpu_seconds: processor time of its training; None for an imported policy.
        iqm: interquartile mean of the cents per case of its scenarios.
    """

    version: int
    variant: str
    artifact: str
    profit_per_case: float
    iqm: float
    success_rate: float
    latency_us: dict[str, float] | None
    bytes: int
    cpu_seconds: float | None


@dataclass(frozen=True)
class Difference:
    """What changes for whoever goes from the first to the second, with limits that hold 95% of the time.

    Attributes:
        value: negative where the second is less.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Flips:
    """Scenarios that only one of the two handles.

    Attributes:
        lost: those that the first handles and the second fails, as family/seed.
        won: how many the second handles and the first fails.
        share: of all scenarios that are lost.
        low: exact limit of the share.
        high: exact limit of the share.
        mcnemar_p: exact p-value that losing and winning are equally likely.
    """

    lost: tuple[str, ...]
    won: int
    share: float
    low: float
    high: float
    mcnemar_p: float


@dataclass(frozen=True)
class Trained:
    """The two ways to train, over every seed that was kept of the same run.

    Attributes:
        seeds: how many of each.
        iqm: of each, with percentile limits of a stratified bootstrap; None with a single seed.
        improvement: how likely a seed of the second beats one of the first on a scenario, with limits.
    """

    variants: tuple[str, str]
    seeds: tuple[int, int]
    iqm: tuple[Difference, Difference] | None
    improvement: Difference | None


@dataclass(frozen=True)
class Comparison:
    """The second against the first.

    Attributes:
        gain: cents per case of the first, over the suite.
        families: the same by family, the worst first; each with limits of its own.
        improvement: share of scenarios on which the second earns more; ties count half.
        violations: how much more often the second violates constraints; None without obligations.
    """

    model: str
    suite: str
    n: int
    first: Side
    second: Side
    gain: Difference
    families: dict[str, Difference]
    flips: Flips
    improvement: float
    violations: Difference | None
    trained: Trained


def compare(registry: Registry, model: str, first: str, second: str) -> Comparison:
    """Pair two versions, each named by its number or by an alias, on the first one's gate suite."""
    versions = named(registry, model, first), named(registry, model, second)
    cards = cards_of(registry, versions)
    ours, theirs = cards[1], cards[0]
    return Comparison(
        model=model,
        suite=ours.suite,
        n=ours.n,
        first=_side(registry, versions[0], cards[0]),
        second=_side(registry, versions[1], cards[1]),
        gain=_gain(ours, theirs),
        families=_by_family(ours, theirs),
        flips=_flips(ours, theirs),
        improvement=improvement_probability([scores_of(ours)], [scores_of(theirs)]),
        violations=_violations(ours, theirs),
        trained=_trained(registry, versions),
    )


def named(registry: Registry, model: str, name: str) -> ModelVersion:
    """A version by its number or by an alias that it serves as."""
    if name.isdigit():
        return registry.version(model, int(name))
    registry.list_versions(model)
    version = registry.champion(model, name)
    if version is None:
        known = sorted({line.alias for line in registry.history(model)})
        raise NotFound(f"{did_you_mean('alias', name, known)}; or give a version's number")
    return version


def cards_of(registry: Registry, versions: tuple[ModelVersion, ModelVersion]) -> tuple[Scorecard, Scorecard]:
    """Their results on one suite: the recorded ones, or the first one's suite played now."""
    one, other = (registry.scorecard(version.scorecard_digest) for version in versions)
    if one.suite == other.suite:
        return one, other
    if one.env_id != other.env_id:
        raise BadInput(f"expected versions of one env, found {one.env_id} and {other.env_id}")
    pipeline = pipeline_of(registry, versions[0])
    suite = suite_of(pipeline)
    return card_of(registry, versions[0], pipeline, suite), card_of(registry, versions[1], pipeline, suite)


def _side(registry: Registry, version: ModelVersion, card: Scorecard) -> Side:
    files = registry.artifacts.get_folder(version.artifact_digest)
    trainings = {one.id: one for one in registry.trainings(version.run_id)}
    training = None if version.training_id is None else trainings[version.training_id]
    return Side(
        version=version.version,
        variant=str(version.lineage.get("variant", "")),
        artifact=version.artifact_digest,
        profit_per_case=card.profit_per_case(),
        iqm=iqm([scores_of(card)]),
        success_rate=float(card.success.mean()),
        latency_us=card.latency_us,
        bytes=sum(map(len, files.values())),
        cpu_seconds=training.cpu_seconds if training else None,
    )


def _gain(ours: Scorecard, theirs: Scorecard) -> Difference:
    return _difference(ratio(ours.profit - theirs.profit, theirs.cases, theirs.family))


def _difference(mean: Mean) -> Difference:
    return Difference(mean.value, *mean.bounds(ERROR / 2))


def _by_family(ours: Scorecard, theirs: Scorecard) -> dict[str, Difference]:
    families, found = np.array(theirs.family), {}
    for family in sorted(set(theirs.family)):
        here = families == family
        if theirs.cases[here].sum() > 0:
            change = ratio(
                (ours.profit - theirs.profit)[here], theirs.cases[here], [family] * int(here.sum())
            )
            found[family] = _difference(change)
    return dict(sorted(found.items(), key=lambda item: item[1].value))


def _flips(ours: Scorecard, theirs: Scorecard) -> Flips:
    lost, won = theirs.success & ~ours.success, int((ours.success & ~theirs.success).sum())
    broken = int(lost.sum())
    return Flips(
        lost=tuple(f"{theirs.family[at]}/{theirs.seed[at]}" for at in np.flatnonzero(lost)),
        won=won,
        share=broken / theirs.n,
        **proportion_bounds(broken, theirs.n, ERROR / 2)._asdict(),
        mcnemar_p=mcnemar_p(broken, won),
    )


def _violations(ours: Scorecard, theirs: Scorecard) -> Difference | None:
    if not (ours.obligations.sum() and theirs.obligations.sum()):
        return None
    rates = (ours.violations, ours.obligations), (theirs.violations, theirs.obligations)
    return _difference(rate_difference(*rates, theirs.family))


def seeds_of(registry: Registry, version: ModelVersion) -> list[Scorecard]:
    """Scorecards of every version of the same run and variant, on the version's suite."""
    variant = version.lineage.get("variant")
    return [
        registry.scorecard(one.scorecard_digest)
        for one in reversed(registry.list_versions(version.name))
        if (one.run_id, one.suite_digest) == (version.run_id, version.suite_digest)
        and one.lineage.get("variant") == variant
    ]


def _trained(registry: Registry, versions: tuple[ModelVersion, ModelVersion]) -> Trained:
    one, other = (seeds_of(registry, version) for version in versions)
    variants = tuple(str(version.lineage.get("variant", "")) for version in versions)
    seeds = len(one), len(other)
    if min(seeds) < _FEWEST_SEEDS or one[0].suite != other[0].suite:
        return Trained((variants[0], variants[1]), seeds, None, None)
    first, second = stacked(one), stacked(other)
    chance = improvement_probability(second, first)
    limits = bootstrap(improvement_probability, second, first, alpha=ERROR)
    middles = [Difference(iqm(scores), *bootstrap(iqm, scores, alpha=ERROR)) for scores in (first, second)]
    return Trained((variants[0], variants[1]), seeds, (middles[0], middles[1]), Difference(chance, *limits))


def comparison_table(found: Comparison) -> RenderableType:
    """The comparison for people."""
    one, other = found.first, found.second
    title = (
        f"{found.model}: version {other.version} against version {one.version}, n={found.n} paired scenarios"
    )
    table = Table(title=title, title_justify="left")
    for name in ("", f"v{one.version} {one.variant}", f"v{other.version} {other.variant}", "change"):
        table.add_column(name, overflow="fold", justify="left" if not name else "right")
    for row in _rows(found):
        table.add_row(*row)
    return Group(table, Text(_flips_told(found.flips, found)), Text(_trained_told(found.trained)))


def _rows(found: Comparison) -> list[tuple[str, str, str, str]]:
    one, other = found.first, found.second
    rows = [
        ("profit/order", f"{one.profit_per_case:.1f}", f"{other.profit_per_case:.1f}", _told(found.gain)),
        ("interquartile mean", f"{one.iqm:.1f}", f"{other.iqm:.1f}", f"{other.iqm - one.iqm:+.1f}"),
        ("handled", f"{one.success_rate:.1%}", f"{other.success_rate:.1%}", ""),
    ]
    rows += [(f"in {family}", "", "", _told(change)) for family, change in found.families.items()]
    if found.violations is not None:
        rows.append(("violations", "", "", _told(found.violations, "{:+.2%}")))
    for percentile in ("p50", "p99"):
        rows.append(
            (f"latency {percentile}", *_numbers(_latency(one, percentile), _latency(other, percentile), "us"))
        )
    rows.append(("size", *_numbers(one.bytes, other.bytes, "bytes")))
    rows.append(("training", *_numbers(one.cpu_seconds, other.cpu_seconds, "CPU s")))
    return rows


def _latency(side: Side, percentile: str) -> float | None:
    return (side.latency_us or {}).get(percentile)


def _told(change: Difference, pattern: str = "{:+.1f}") -> str:
    limits = f"{pattern.format(change.low)} to {pattern.format(change.high)}"
    return f"{pattern.format(change.value)} ({limits})"


def _numbers(one: float | None, other: float | None, unit: str) -> tuple[str, str, str]:
    told = tuple("-" if value is None else f"{value:,.0f} {unit}" for value in (one, other))
    change = f"x{other / one:.2f}" if one and other else ""
    return told[0], told[1], change


def _flips_told(flips: Flips, found: Comparison) -> str:
    listed = ", ".join(flips.lost[:5]) + (" ..." if len(flips.lost) > 5 else "")
    share = f"{flips.share:.2%} ({flips.low:.2%} to {flips.high:.2%})"
    return (
        f"Flips: {len(flips.lost)} of {found.n} lost, {share}, and {flips.won} won; McNemar "
        f"p={flips.mcnemar_p:.3g}{': ' + listed if listed else ''}. "
        f"Version {found.second.version} earns more on {found.improvement:.0%} of the scenarios."
    )


def _trained_told(trained: Trained) -> str:
    one, other = trained.variants
    seeds = f"{trained.seeds[0]} and {trained.seeds[1]} seeds"
    if trained.iqm is None or trained.improvement is None:
        return f"Nothing is said of {one!r} and {other!r} as ways to train: {seeds} on one suite."
    middles = [f"{_told(middle, '{:.1f}')}" for middle in trained.iqm]
    return (
        f"As ways to train, over {seeds}: interquartile mean {middles[0]} for {one!r}, {middles[1]} for "
        f"{other!r}; a seed of {other!r} beats one of {one!r} on a scenario with probability "
        f"{_told(trained.improvement, '{:.2f}')}."
    )
