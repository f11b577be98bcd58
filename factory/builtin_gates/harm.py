"""The gate `no-harm`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pydantic import Field

from workgym.factory.builtin_gates.claims import Claim, cents, conclude, gain_per_order, sampled
from workgym.factory.gates import Finding, Numbers, Statistical, gate
from workgym.factory.records import Outcome, Scorecard
from workgym.factory.statistics import Mean, stratified_mean


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
    pooled = gain_per_order(candidate, champion, 0.0).value
    numbers = sampled(candidate.n, options) | {"pooled": pooled, "tolerance": options.tolerance}
    for harm in harms:
        numbers |= _harm_numbers(harm, options.error)
    numbers |= _sorted_out(harms, options)
    sentence = {
        Outcome.PASS: _no_family_harmed,
        Outcome.FAIL: _families_harmed,
        Outcome.INCONCLUSIVE: _families_unclear,
    }[outcome](harms, options)
    return Finding(outcome, f"{sentence}; {cents(pooled)} over all n={candidate.n}", numbers)


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


def _sorted_out(harms: list[Harm], options: NoHarm) -> Numbers:
    """Which families are harmed, safe or unclear."""
    harmed = [harm.family for harm in harms if harm.claim.broken(options.error / len(harms))]
    safe = [harm.family for harm in harms if harm.claim.holds(options.error)]
    unclear = [harm.family for harm in harms if harm.family not in (*harmed, *safe)]
    groups = {"harmed": harmed, "safe": safe, "unclear": unclear}
    return {name: ", ".join(families) for name, families in groups.items()}


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
        f"{harm.family} {cents(harm.gain.value)} (at most {harm.gain.bounds(each).high:+,.2f}, "
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
        f"{harm.family} with {cents(harm.gain.value)} (at least {low:+,.2f} with {options.confidence}, "
        f"allowed {-harm.allowed:+,.2f}, {harm.n} scenarios)"
    )
