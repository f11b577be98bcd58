"""The gate `improvement`, whose evidence may be looked at after every block."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from workgym.factory.betting import Gains, reach, rounds_needed
from workgym.factory.builtin_gates.claims import cents, sampled, too_few
from workgym.factory.gates import Finding, Numbers, Statistical, gate, short
from workgym.factory.records import Outcome, Scorecard
from workgym.factory.statistics import blocks


class Improvement(Statistical):
    """Options of `improvement`."""

    margin: float = Field(
        default=0.0,
        description="cents per order that a change must bring; 0: any proven gain pays; below 0: what a "
        "release may cost that is small or cheap",
    )
    range: float = Field(
        default=0.1,
        gt=0,
        description="share of the champion's profit by which a block, one scenario of every family, may miss "
        "the margin; twice the range needs twice the scenarios",
    )


@gate("improvement", sequential=True)
def improvement(candidate: Scorecard, champion: Scorecard, options: Improvement) -> Finding:
    """Claims that the candidate earns more per order, in the mean over blocks, at any look."""
    gains, side = gains_of(candidate, champion, options.range), options.error / 2
    families = len(set(champion.family))
    better, worse = gains.above(options.margin, side), gains.below(options.margin, side)
    numbers = sampled(candidate.n, options) | _numbers(gains, options)
    if len(gains.gained) < 2:
        return too_few(candidate.n, 2 * families, numbers)
    if not gains.gained.any() and options.margin >= 0:
        told = f"does not beat {short(champion)}: earns the same in all of n={candidate.n} paired scenarios"
        return Finding(Outcome.FAIL, told, numbers)
    outcome = Outcome.FAIL if worse.proven else Outcome.PASS if better.proven else Outcome.INCONCLUSIVE
    numbers["n_used"] = families * (worse if worse.proven else better).after
    ending = f", sure after {numbers['n_used']}" if numbers["n_used"] else _way_out(gains, champion, options)
    sentence = f"{_claim(outcome, short(champion), options.margin)}: {_measured(numbers, options)}{ending}"
    return Finding(outcome, sentence, numbers)


def gains_of(candidate: Scorecard, champion: Scorecard, share: float) -> Gains:
    """Gains block by block; one may miss a margin by this share of what the champion earned before it."""
    at = blocks(champion.family)
    profit, orders = champion.profit[at].sum(axis=1), champion.cases[at].sum(axis=1)
    gained = candidate.profit[at].sum(axis=1) - profit
    return Gains(gained.astype(np.float64), orders.astype(np.float64), reach(profit, share))


def _numbers(gains: Gains, options: Improvement) -> Numbers:
    low, high = gains.bounds(options.error / 2)
    return {
        "gain": gains.mean,
        "low": low,
        "high": high,
        "margin": options.margin,
        "range": options.range,
        "range_cents": gains.range,
        "blocks": len(gains.gained),
        "n_used": 0,
    }


def _measured(numbers: Numbers, options: Improvement) -> str:
    interval = f"{options.level} CI{options.jointly} {numbers['low']:+,.2f} to {numbers['high']:+,.2f}"
    return f"{cents(float(numbers['gain']))} ({interval} at any look, n={numbers['n']} paired scenarios)"


def _claim(outcome: Outcome, champion: str, margin: float) -> str:
    verbs = {
        Outcome.PASS: ("beats", "costs at most"),
        Outcome.FAIL: ("does not beat", "costs more than"),
        Outcome.INCONCLUSIVE: ("may or may not beat", "may or may not cost more than"),
    }[outcome]
    if margin < 0:
        return f"{verbs[1]} {-margin:,.2f} cents per order against {champion}"
    return f"{verbs[0]} {champion}" + (f" by more than {cents(margin)}" if margin else "")


def _way_out(gains: Gains, champion: Scorecard, options: Improvement) -> str:
    """What would decide."""
    sign = 1 if gains.mean >= options.margin else -1
    x = sign * gains.units(options.margin)
    if x.min() < -1:
        first = blocks(champion.family)[int(x.argmin())][0]
        misses = "misses" if sign > 0 else "exceeds"
        return (
            f"; the block from {champion.family[first]}/{champion.seed[first]} on {misses} the margin by "
            f"more than the range of {gains.range:,.2f}: set `range` to the share of the champion's profit "
            "by which a block may"
        )
    needed = rounds_needed(x, options.error / 2) * len(set(champion.family))
    if not needed < 100 * len(champion.seed):
        return "; too close to tell with any practical number of scenarios"
    return f"; about {int(np.ceil(needed)):,} scenarios would tell"
