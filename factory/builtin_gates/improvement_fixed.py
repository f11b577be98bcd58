"""The gate `improvement-fixed`: the test that `improvement` is compared with."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from workgym.factory.builtin_gates.claims import Claim, cents, conclude, gain_per_order, sampled, too_few
from workgym.factory.gates import Finding, Statistical, gate, short
from workgym.factory.records import Outcome, Scorecard
from workgym.factory.statistics import Mean


class ImprovementFixed(Statistical):
    """Options of `improvement-fixed`."""

    margin: float = Field(
        default=0.0, ge=0, description="cents per order that a change must bring; 0: any proven gain pays"
    )
    minimum: int = Field(
        default=32, ge=2, description="scenarios; below, skewed profits mislead the limits too often"
    )


@gate("improvement-fixed")
def improvement_fixed(candidate: Scorecard, champion: Scorecard, options: ImprovementFixed) -> Finding:
    """Claims what `improvement` does, for a suite whose size was fixed before and that is looked at once."""
    gain = gain_per_order(candidate, champion, options.margin)
    side, n = options.error / 2, candidate.n
    low, high = gain.bounds(side)
    numbers = sampled(n, options) | {"gain": gain.value, "low": low, "high": high, "margin": options.margin}
    if n < options.minimum:
        return too_few(n, options.minimum, numbers)
    outcome = conclude([Claim("gain", gain.bounds, options.margin, above=True)], side)
    interval = f"{options.level} CI{options.jointly} {low:+,.2f} to {high:+,.2f}"
    measured = f"{cents(gain.value)} ({interval}, n={n} paired scenarios)"
    than = short(champion) + (f" by more than {cents(options.margin)}" if options.margin else "")
    sentence = {
        Outcome.PASS: f"beats {than}: {measured}",
        Outcome.FAIL: f"does not beat {than}: {measured}",
        Outcome.INCONCLUSIVE: f"may or may not beat {than}: {measured}{_more(gain, options, n)}",
    }
    return Finding(outcome, sentence[outcome], numbers)


def _more(gain: Mean, options: ImprovementFixed, n: int) -> str:
    """How many scenarios would decide if the estimate stayed where it is."""
    low, high = gain.bounds(options.error / 2)
    distance = gain.value - options.margin
    reach = gain.value - low if distance > 0 else high - gain.value
    needed = n * (reach / distance) ** 2 if distance else np.inf
    if not needed < 100 * n:
        return "; too close to tell with any practical number of scenarios"
    return f"; about {int(np.ceil(needed)):,} scenarios would tell"
