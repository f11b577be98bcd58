"""The gate `generalisation`: what is left of a gain on scenarios that nobody has seen."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from workgym.factory.builtin_gates.claims import Claim, conclude
from workgym.factory.gates import Finding, Numbers, Options, gate, undecided
from workgym.factory.lab import CANDIDATE, REFERENCE, Lab
from workgym.factory.records import Scorecard
from workgym.factory.statistics import Mean, stratified_mean

PURPOSE = "audit"
SEALED, SEEN = "audit", "train"


class Generalisation(Options):
    """Options of `generalisation`."""

    alpha: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="chance of a wrong answer over all policies that a sealed suite is ever shown to; the "
        "k-th of them gets alpha / (k (k + 1)), which adds up to alpha",
    )
    gap: float = Field(
        default=0.02,
        ge=0,
        lt=1,
        description="share of the reference rule's profit by which the gain on it may shrink, from the "
        "scenarios that were trained on to the sealed ones",
    )
    uses: int = Field(
        default=8,
        ge=1,
        description="policies that a sealed suite is shown to; later ones may follow from what it told",
    )
    block: int = Field(
        default=0, ge=0, description="of the sealed seeds; the next one when a suite is worn out"
    )
    per_family: int = Field(default=64, ge=2, description="scenarios of each family, in both splits")


class Gain(NamedTuple):
    """What a policy gains on the reference rule in a split, cents per case.

    Attributes:
        value: the mean.
        pulls: (n,) each scenario's pull on it, and on what is allowed.
        family: (n,) situations.
        profit: the policy's own, cents per case.
    """

    value: float
    pulls: NDArray[np.float64]
    family: tuple[str, ...]
    profit: float


@gate("generalisation")
def generalisation(candidate: Scorecard, champion: Scorecard, options: Generalisation, lab: Lab) -> Finding:
    """Claims that the gain on the reference rule hardly shrinks from trained to sealed scenarios."""
    sealed = lab.suite(SEALED, options.per_family, options.block)
    numbers: Numbers = {
        "n": candidate.n,
        "alpha": options.alpha,
        "block": options.block,
        "suite": sealed.digest,
    }
    if lab.split == SEALED and options.block == 0:
        why = "the pipeline's own suite is of the sealed split"
        return undecided(f"{why}, block 0; take another block for this gate (n={candidate.n})", numbers)
    use = lab.uses.use(sealed.digest, candidate.policy, PURPOSE)
    numbers |= {"uses": use, "most_uses": options.uses}
    if use > options.uses:
        return undecided(
            f"the sealed suite is worn out: {use - 1} policies were shown it before, at most {options.uses} "
            f"may be; set block = {options.block + 1} (n={candidate.n})",
            numbers,
        )
    error = options.alpha / (use * (use + 1))
    seen = _gain(lab, SEEN, options, 0, 0.0)
    unseen = _gain(lab, SEALED, options, options.block, options.gap)
    difference = _difference(unseen, seen)
    outcome = conclude([Claim("gap", difference.bounds, 0.0)], error)
    return Finding(outcome, *_told(candidate, seen, unseen, difference, error, numbers, options))


def _gain(lab: Lab, split: str, options: Generalisation, block: int, allowed: float) -> Gain:
    """The gain in a split; its pulls include the share of the rule's profit that is allowed to be lost."""
    asked: dict[str, Any] = {"split": split, "per_family": options.per_family, "block": block}
    ours, rule = lab.play(CANDIDATE, **asked), lab.play(REFERENCE, **asked)
    base = rule.cases.astype(np.float64)
    gained = (ours.profit - rule.profit).astype(np.float64)
    slack = gained + allowed * np.sign(rule.profit.sum()) * rule.profit
    rate = slack.sum() / base.sum()
    pulls = (slack - rate * base) / base.mean() + rate
    return Gain(float(gained.sum() / base.sum()), pulls, ours.family, ours.profit_per_case())


def _difference(one: Gain, other: Gain) -> Mean:
    """The mean of one's pulls less that of the other's, which are independent of them."""
    n = len(one.pulls) + len(other.pulls)
    values = [one.pulls * (n / len(one.pulls)), -other.pulls * (n / len(other.pulls))]
    strata = [*(f"one {name}" for name in one.family), *(f"other {name}" for name in other.family)]
    return stratified_mean(np.concatenate(values), strata)


def _told(
    candidate: Scorecard,
    seen: Gain,
    unseen: Gain,
    difference: Mean,
    error: float,
    numbers: Numbers,
    options: Generalisation,
) -> tuple[str, Numbers]:
    gap = seen.value - unseen.value
    low, high = difference.bounds(error)
    spare = difference.value + gap  # what may be lost
    numbers |= {
        "gain_seen": seen.value,
        "gain_sealed": unseen.value,
        "profit_seen": seen.profit,
        "profit_sealed": unseen.profit,
        "gap": gap,
        "low": spare - high,
        "high": spare - low,
        "allowed": spare,
        "error": error,
    }
    sentence = (
        f"gains {seen.value:+,.2f} cents per order on the reference rule where it was trained and "
        f"{unseen.value:+,.2f} in sealed scenarios: a gap of {gap:+,.2f} ({spare - high:+,.2f} to "
        f"{spare - low:+,.2f} with {100 * (1 - error):.4g}% confidence each side, allowed {spare:+,.2f}); "
        f"use {numbers['uses']} of {options.uses} of this suite ({len(unseen.pulls)} scenarios, "
        f"n={candidate.n})"
    )
    return sentence, numbers
