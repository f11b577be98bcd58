"""What the gates share: claims with limits, and words for numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from workgym.factory.gates import Finding, Numbers, Statistical, undecided
from workgym.factory.records import Outcome, Scorecard
from workgym.factory.statistics import Bounds, Mean, ratio

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


def gain_per_order(candidate: Scorecard, champion: Scorecard, at: float) -> Mean:
    """Cents per order gained, with both policies counted over the champion's orders.

    Counted over its own, a candidate would gain by deciding only the orders that pay.
    """
    return ratio(candidate.profit - champion.profit, champion.cases, champion.family, at)


def sampled(n: int, options: Statistical) -> Numbers:
    """The numbers that every gate tells which concludes from a sample."""
    return {"n": n, "alpha": options.alpha, "candidates": options.candidates}


def too_few(n: int, minimum: int, numbers: Numbers, prefix: str = "") -> Finding:
    """The finding on a suite that is too small for the gate's limits."""
    return undecided(f"{prefix}n={n} paired scenarios are too few; {minimum} are needed", numbers)


def cents(value: float) -> str:
    """An amount as sentences say it."""
    return f"{value:+,.2f} cents per order"


def listed(names: list[str]) -> str:
    """The first names after a colon, or nothing."""
    if not names:
        return ""
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f": {', '.join(names[:SHOWN])}{rest}"
