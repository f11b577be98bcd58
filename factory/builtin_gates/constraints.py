"""The gate `constraints`."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from workgym.factory.builtin_gates.claims import at_most, conclude, sampled, too_few
from workgym.factory.gates import Finding, Numbers, Statistical, gate, short, undecided
from workgym.factory.records import Outcome, Scorecard
from workgym.factory.statistics import Bounds, Mean, proportion_bounds, rate_difference, ratio


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
        ge=0,
        lt=1,
        description="share of obligations that may be violated at all; 0: a single violation fails, "
        "whatever the champion does; none: no such limit",
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
    numbers = sampled(n, options) | {"obligations": total, "margin": options.margin}
    if not total or not champion.obligations.sum():
        idle = candidate if not total else champion
        return undecided(f"{short(idle)} had no obligation in n={n} scenarios; leave this gate out", numbers)
    if options.budget == 0 and (broken := int(candidate.violations.sum())):
        return Finding(
            Outcome.FAIL,
            f"violates {broken} of {total:,} obligations, none may be (n={n} paired scenarios)",
            numbers,
        )
    if n < options.minimum:
        return too_few(n, options.minimum, numbers)
    ours, theirs = (candidate.violations, candidate.obligations), (champion.violations, champion.obligations)
    excess = _never_sure(rate_difference(ours, theirs, champion.family), total)
    rate = _never_sure(ratio(*ours, champion.family, at=options.budget or 0.0), total)
    claims = [at_most("excess", excess, options.margin)]
    claims += [at_most("rate", rate, options.budget)] if options.budget else []
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
