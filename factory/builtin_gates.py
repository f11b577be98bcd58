"""The gates that come with the factory.

Two kinds of wrong answer count. A wrong pass lets a candidate in that is not what its gate claims: all of a
gate's claims must hold at once, so each is tested at the full `alpha` (intersection-union). A wrong fail
turns a good candidate away: any one broken claim suffices, so each is tested at `alpha` over the number of
claims (Bonferroni). Both are measured in docs/design/gates.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from pydantic import Field

from workgym.factory.gates import Finding, Numbers, Options, Statistical, gate, short, undecided
from workgym.factory.records import Outcome, Scorecard
from workgym.factory.statistics import (
    Bounds,
    Mean,
    mcnemar_p,
    proportion_bounds,
    rate_difference,
    ratio,
    scenarios_needed,
    stratified_mean,
)

UNLED = "BOOTSTRAP, there is no champion yet: "
SHOWN = 5  # names in a sentence before "and 12 more"


class Claim(NamedTuple):
    """A quantity that must not lie below a floor.

    Attributes:
        name: what the sentence calls it.
        bounds: its one-sided limits at an error rate.
        floor: in the quantity's unit.
        above: whether reaching the floor is not enough.
    """

    name: str
    bounds: Callable[[float], Bounds]
    floor: float
    above: bool = False

    def holds(self, error: float) -> bool:
        """Whether the lower limit says so."""
        low = self.bounds(error).low
        return low > self.floor if self.above else low >= self.floor

    def broken(self, error: float) -> bool:
        """Whether the upper limit rules it out."""
        high = self.bounds(error).high
        return high <= self.floor if self.above else high < self.floor


def conclude(claims: list[Claim], error: float) -> Outcome:
    """Pass when every claim holds, fail when one is broken."""
    if claims and all(claim.holds(error) for claim in claims):
        return Outcome.PASS
    if any(claim.broken(error / len(claims)) for claim in claims):
        return Outcome.FAIL
    return Outcome.INCONCLUSIVE


def at_most(name: str, bounds: Callable[[float], Bounds], ceiling: float) -> Claim:
    """The claim that a quantity does not exceed a ceiling."""

    def mirrored(error: float) -> Bounds:
        low, high = bounds(error)
        return Bounds(-high, -low)

    return Claim(name, mirrored, -ceiling)


class Improvement(Statistical):
    """Options of `improvement`."""

    margin: float = Field(
        default=0.0, ge=0, description="cents per order that a change must bring; 0: any proven gain pays"
    )
    minimum: int = Field(
        default=32, ge=2, description="scenarios; below, skewed profits mislead the limits too often"
    )


@gate("improvement")
def improvement(candidate: Scorecard, champion: Scorecard, options: Improvement) -> Finding:
    """Claims that the candidate earns more per order, in the mean over the suite."""
    gain = _gain(candidate, champion, options.margin)
    side, n = options.error / 2, candidate.n
    low, high = gain.bounds(side)
    numbers = _sampled(n, options) | {"gain": gain.value, "low": low, "high": high, "margin": options.margin}
    if n < options.minimum:
        return _too_few(n, options.minimum, numbers)
    outcome = conclude([Claim("gain", gain.bounds, options.margin, above=True)], side)
    interval = f"{options.level} CI{options.jointly} {low:+,.2f} to {high:+,.2f}"
    measured = f"{_cents(gain.value)} ({interval}, n={n} paired scenarios)"
    than = short(champion) + (f" by more than {_cents(options.margin)}" if options.margin else "")
    sentence = {
        Outcome.PASS: f"beats {than}: {measured}",
        Outcome.FAIL: f"does not beat {than}: {measured}",
        Outcome.INCONCLUSIVE: f"may or may not beat {than}: {measured}{_more(gain, options, n)}",
    }
    return Finding(outcome, sentence[outcome], numbers)


def _gain(candidate: Scorecard, champion: Scorecard, at: float) -> Mean:
    """Cents per order gained, with both policies counted over the champion's orders.

    Counted over its own, a candidate would gain by deciding only the orders that pay.
    """
    return ratio(candidate.profit - champion.profit, champion.cases, champion.family, at)


def _more(gain: Mean, options: Improvement, n: int) -> str:
    """How many scenarios would decide if the estimate stayed where it is."""
    low, high = gain.bounds(options.error / 2)
    distance = gain.value - options.margin
    reach = gain.value - low if distance > 0 else high - gain.value
    needed = n * (reach / distance) ** 2 if distance else np.inf
    if not needed < 100 * n:
        return "; too close to tell with any practical number of scenarios"
    return f"; about {int(np.ceil(needed)):,} scenarios would tell"


class Flips(Statistical):
    """Options of `flips`."""

    budget: float = Field(
        default=0.02, gt=0, lt=1, description="share of scenarios; 149 without a flip prove 2%, 299 prove 1%"
    )


@gate("flips")
def flips(candidate: Scorecard, champion: Scorecard, options: Flips) -> Finding:
    """Claims that few scenarios that the champion handles are failed by the candidate."""
    ours, theirs = candidate.success.astype(bool), champion.success.astype(bool)
    lost = theirs & ~ours
    n, broken, fixed, handled = candidate.n, int(lost.sum()), int((ours & ~theirs).sum()), int(theirs.sum())
    numbers = _sampled(n, options) | _flip_numbers(n, broken, fixed, handled, options)
    if not handled:
        why = f"{short(champion)} handles none of n={n} scenarios, so none could flip"
        return undecided(f"{why}; check the env's success criterion or leave this gate out", numbers)
    flipped = [f"{candidate.family[at]}/{candidate.seed[at]}" for at in np.flatnonzero(lost)]
    outcome = conclude(
        [at_most("flips", lambda error: proportion_bounds(broken, n, error), options.budget)], options.error
    )
    sentence = (
        f"fails {broken} of {handled} scenarios that {short(champion)} handles, and handles {fixed} that it "
        f"fails: {broken / n:.2%} of n={n} flip, {_flip_limit(outcome, numbers, options)}{_listed(flipped)}"
    )
    return Finding(outcome, sentence, numbers | {"flipped": ", ".join(flipped)})


def _flip_numbers(n: int, broken: int, fixed: int, handled: int, options: Flips) -> Numbers:
    low, high = proportion_bounds(broken, n, options.error)
    return {
        "flips": broken,
        "rate": broken / n,
        "low": low,
        "high": high,
        "budget": options.budget,
        "handled": handled,
        "conditional_rate": broken / max(handled, 1),
        "conditional_high": proportion_bounds(broken, handled, options.error).high,
        "fixed": fixed,
        "fixed_rate": fixed / n,
        "mcnemar_p": mcnemar_p(broken, fixed),
        "needed": scenarios_needed(broken, options.budget, options.error),
    }


def _flip_limit(outcome: Outcome, numbers: Numbers, options: Flips) -> str:
    within = f"with {options.confidence}, budget {options.budget:.2%}"
    if outcome is Outcome.FAIL:
        return f"at least {numbers['low']:.2%} {within}"
    limit = f"at most {numbers['high']:.2%} {within}"
    if outcome is Outcome.PASS or float(numbers["rate"]) > options.budget:
        return limit
    return f"{limit}; {numbers['needed']:,} scenarios without another flip would pass"


class NoHarm(Statistical):
    """Options of `no-harm`."""

    tolerance: float = Field(
        default=0.01, ge=0, lt=1, description="share of the champion's profit in a family that it may lose"
    )
    minimum: int = Field(
        default=16, ge=2, description="scenarios of a family; below, its limits are not to be trusted"
    )


class Harm(NamedTuple):
    """What a change does to one family, in cents per order.

    Attributes:
        family: the business situation.
        n: its scenarios.
        gain: earned more; its error includes that of `allowed`.
        allowed: the loss that is tolerated.
    """

    family: str
    n: int
    gain: Mean
    allowed: float

    @property
    def claim(self) -> Claim:
        """That the loss stays within what is allowed."""
        return Claim(self.family, self.gain.bounds, -self.allowed)


@gate("no-harm")
def no_harm(candidate: Scorecard, champion: Scorecard, options: NoHarm) -> Finding:
    """Claims that no family loses more than the tolerance, whatever the others gain."""
    harms = [_harm(family, candidate, champion, options) for family in sorted(set(champion.family))]
    claims = [harm.claim for harm in harms]
    outcome = conclude(claims, options.error)
    pooled = _gain(candidate, champion, 0.0).value
    numbers = _sampled(candidate.n, options) | {"pooled": pooled, "tolerance": options.tolerance}
    for harm in harms:
        numbers |= _harm_numbers(harm, options.error)
    sentence = {
        Outcome.PASS: _no_family_harmed,
        Outcome.FAIL: _families_harmed,
        Outcome.INCONCLUSIVE: _families_unclear,
    }[outcome](harms, options)
    return Finding(outcome, f"{sentence}; {_cents(pooled)} over all n={candidate.n}", numbers)


def _harm(family: str, candidate: Scorecard, champion: Scorecard, options: NoHarm) -> Harm:
    chosen = np.array([name == family for name in champion.family])
    theirs = champion.profit[chosen].astype(np.float64)
    gained = candidate.profit[chosen] - theirs
    orders = float(champion.cases[chosen].mean()) or 1.0
    allowed = options.tolerance * abs(float(theirs.mean())) / orders
    # Tested together with the loss that is allowed, because that is estimated from the same scenarios.
    slack = gained + options.tolerance * np.sign(theirs.mean()) * theirs
    mean = stratified_mean(slack / orders, [family] * len(slack))
    error = mean.error if len(slack) >= options.minimum else np.inf
    return Harm(family, len(slack), mean._replace(value=mean.value - allowed, error=error), allowed)


def _harm_numbers(harm: Harm, error: float) -> Numbers:
    low, high = harm.gain.bounds(error)
    shown = {"n": harm.n, "gain": harm.gain.value, "low": low, "high": high, "allowed": -harm.allowed}
    return {f"{harm.family}.{name}": value for name, value in shown.items()}


def _no_family_harmed(harms: list[Harm], options: NoHarm) -> str:
    closest = min(harms, key=lambda harm: harm.gain.bounds(options.error).low + harm.allowed)
    return f"harms none of {len(harms)} families; the closest is {_at_least(closest, options)}"


def _families_harmed(harms: list[Harm], options: NoHarm) -> str:
    each = options.error / len(harms)
    told = [
        f"{harm.family} {_cents(harm.gain.value)} (at most {harm.gain.bounds(each).high:+,.2f}, "
        f"allowed {-harm.allowed:+,.2f}, {harm.n} scenarios)"
        for harm in harms
        if harm.claim.broken(each)
    ]
    return f"harms {', '.join(told)} with {options.confidence} over {len(harms)} families"


def _families_unclear(harms: list[Harm], options: NoHarm) -> str:
    few = [f"{harm.family} ({harm.n})" for harm in harms if harm.n < options.minimum]
    open_ = [harm for harm in harms if harm.n >= options.minimum and not harm.claim.holds(options.error)]
    told = [f"too few scenarios in {', '.join(few)}: {options.minimum} are needed"] if few else []
    told += [f"cannot rule out harm to {_at_least(harm, options)}" for harm in open_]
    return "; ".join(told)


def _at_least(harm: Harm, options: NoHarm) -> str:
    low = harm.gain.bounds(options.error).low
    return (
        f"{harm.family} with {_cents(harm.gain.value)} (at least {low:+,.2f} with {options.confidence}, "
        f"allowed {-harm.allowed:+,.2f}, {harm.n} scenarios)"
    )


class Constraints(Statistical):
    """Options of `constraints`."""

    margin: float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="share of obligations by which the champion's rate may be exceeded",
    )
    budget: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="share of obligations that may be violated at all; none: no such limit",
    )
    minimum: int = Field(
        default=32,
        ge=2,
        description="scenarios; below, their scatter is not known well enough for the limits",
    )


@gate("constraints")
def constraints(candidate: Scorecard, champion: Scorecard, options: Constraints) -> Finding:
    """Claims that obligations are not violated notably more often than the champion does."""
    n, total = candidate.n, int(candidate.obligations.sum())
    numbers = _sampled(n, options) | {"obligations": total, "margin": options.margin}
    if not total or not champion.obligations.sum():
        idle = candidate if not total else champion
        return undecided(f"{short(idle)} had no obligation in n={n} scenarios; leave this gate out", numbers)
    if n < options.minimum:
        return _too_few(n, options.minimum, numbers)
    ours, theirs = (candidate.violations, candidate.obligations), (champion.violations, champion.obligations)
    excess = _never_sure(rate_difference(ours, theirs, champion.family), total)
    rate = _never_sure(ratio(*ours, champion.family, at=options.budget or 0.0), total)
    claims = [at_most("excess", excess, options.margin)]
    claims += [at_most("rate", rate, options.budget)] if options.budget is not None else []
    outcome = conclude(claims, options.error)
    numbers |= _rate_numbers(candidate, champion, excess, rate, options)
    return Finding(outcome, _rate_sentence(numbers, champion, options), numbers)


def _never_sure(mean: Mean, obligations: int) -> Callable[[float], Bounds]:
    """Limits that are never narrower than what no violation in so many obligations would leave.

    Two policies that never violated anything differ by nothing in the sample, which does not prove
    that they never will.
    """

    def bounds(error: float) -> Bounds:
        low, high = mean.bounds(error)
        unseen = proportion_bounds(0, obligations, error).high
        return Bounds(min(low, mean.value - unseen), max(high, mean.value + unseen))

    return bounds


def _rate_numbers(
    candidate: Scorecard,
    champion: Scorecard,
    excess: Callable[[float], Bounds],
    rate: Callable[[float], Bounds],
    options: Constraints,
) -> Numbers:
    ours = float(candidate.violations.sum() / candidate.obligations.sum())
    theirs = float(champion.violations.sum() / champion.obligations.sum())
    low, high = excess(options.error)
    numbers: Numbers = {
        "rate": ours,
        "champion_rate": theirs,
        "excess": ours - theirs,
        "low": low,
        "high": high,
    }
    if options.budget is not None:
        numbers |= {"budget": options.budget, "rate_high": rate(options.error).high}
    return numbers


def _rate_sentence(numbers: Numbers, champion: Scorecard, options: Constraints) -> str:
    sentence = (
        f"violates {numbers['rate']:.2%} of {numbers['obligations']:,} obligations, {short(champion)} "
        f"{numbers['champion_rate']:.2%}: between {numbers['low']:+.2%} and {numbers['high']:+.2%} more, "
        f"allowed {options.margin:+.2%} ({options.confidence} each side, n={numbers['n']} paired scenarios)"
    )
    if options.budget is None:
        return sentence
    return f"{sentence}; its own rate is at most {numbers['rate_high']:.2%}, budget {options.budget:.2%}"


class Latency(Options):
    """Options of `latency`."""

    budget: float = Field(
        default=5_000.0,
        gt=0,
        description="microseconds; a tenth of a 50 ms request in which a decision is made",
    )


@gate("latency")
def latency(candidate: Scorecard, champion: Scorecard, options: Latency) -> Finding:
    """Claims that 99 of 100 decisions take less than the budget, on the machine that measured them."""
    p99 = float((candidate.latency_us or {}).get("p99", np.nan))
    numbers: Numbers = {"n": candidate.n, "p99": p99, "budget": options.budget}
    if not 0 < p99 < np.inf:
        return undecided(f"the time of one decision was not measured (n={candidate.n}); measure it", numbers)
    outcome = Outcome.PASS if p99 < options.budget else Outcome.FAIL
    sentence = (
        f"99 of 100 decisions take less than {p99:,.0f} us, budget {options.budget:,.0f} us (n={candidate.n})"
    )
    return Finding(outcome, sentence, numbers)


class Bootstrap(Statistical):
    """Options of `bootstrap`."""

    profit: float = Field(
        default=0.0, description="cents per order; less than nothing is not worth automating"
    )
    gain: float = Field(
        default=0.0, ge=0, description="cents per order above the department's best baseline, which is free"
    )
    success: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="share of scenarios; who fails more than it handles is no champion",
    )
    minimum: int = Field(
        default=32, ge=2, description="scenarios; below, skewed profits mislead the limits too often"
    )


@gate("bootstrap")
def bootstrap(candidate: Scorecard, champion: Scorecard, options: Bootstrap) -> Finding:
    """Claims that a first model earns, beats the best baseline and handles most scenarios."""
    n, handled = candidate.n, int(candidate.success.astype(bool).sum())
    profit = ratio(candidate.profit, champion.cases, champion.family, options.profit)
    gain = _gain(candidate, champion, options.gain)
    claims = [
        Claim("profit", profit.bounds, options.profit, above=True),
        Claim("gain", gain.bounds, options.gain, above=True),
        Claim("success", lambda error: proportion_bounds(handled, n, error), options.success, above=True),
    ]
    values = {"profit": profit.value, "gain": gain.value, "success": handled / n}
    numbers = _sampled(n, options)
    for claim in claims:
        low, high = claim.bounds(options.error).low, claim.bounds(options.error / len(claims)).high
        shown = {"": values[claim.name], "_low": low, "_high": high, "_floor": claim.floor}
        numbers |= {f"{claim.name}{what}": value for what, value in shown.items()}
    if n < options.minimum:
        return _too_few(n, options.minimum, numbers, UNLED)
    outcome = conclude(claims, options.error)
    ending = f"({options.confidence} each side, n={n} paired scenarios)"
    told = ", ".join(_floor_told(claim, numbers, champion, options.error, len(claims)) for claim in claims)
    return Finding(outcome, f"{UNLED}{told} {ending}", numbers)


def _floor_told(claim: Claim, numbers: Numbers, champion: Scorecard, error: float, claims: int) -> str:
    form = {
        "profit": "earns {:+,.2f} cents per order ({:+,.2f} to {:+,.2f}, floor {:+,.2f}: {})",
        "gain": f"gains {{:+,.2f}} on {short(champion)} ({{:+,.2f}} to {{:+,.2f}}, floor {{:+,.2f}}: {{}})",
        "success": "handles {:.2%} ({:.2%} to {:.2%}, floor {:.2%}: {})",
    }[claim.name]
    missed = "missed" if claim.broken(error / claims) else "open"
    state = "reached" if claim.holds(error) else missed
    return form.format(*(numbers[f"{claim.name}{what}"] for what in ("", "_low", "_high", "_floor")), state)


def _sampled(n: int, options: Statistical) -> Numbers:
    return {"n": n, "alpha": options.alpha, "candidates": options.candidates}


def _too_few(n: int, minimum: int, numbers: Numbers, prefix: str = "") -> Finding:
    return undecided(f"{prefix}n={n} paired scenarios are too few; {minimum} are needed", numbers)


def _cents(value: float) -> str:
    return f"{value:+,.2f} cents per order"


def _listed(names: list[str]) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f": {', '.join(names[:SHOWN])}{rest}"
