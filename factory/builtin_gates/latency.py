"""The gate `latency`."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from workgym.factory.gates import Finding, Numbers, Options, gate, undecided
from workgym.factory.records import Outcome, Scorecard


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
