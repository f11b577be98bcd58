"""What a release has given up in profit, step by step, since it last gained.

A margin below zero lets who serves cost a little, for being smaller or cheaper. Each candidate is compared
with who serves then, so that without a memory a release could lose a whole margin with every step and never
be refused. The lower limits of the steps' gains add up: whoever serves earns at least `conceded` more than
the best of those who served before, which is zero or less, with the errors of the steps together. The margin
is for all steps until something is gained again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from workgym.factory.entries import Kind
from workgym.factory.records import Verdict
from workgym.factory.registry import Registry

GAINS = ("improvement", "improvement-fixed")  # gates whose `low` is a lower limit of the gain in profit


class Step(NamedTuple):
    """What a change of who serves brings.

    Attributes:
        low: lower limit of the gain, cents per case.
        margin: the gain that is asked for; below 0 what the change may cost.
    """

    low: float
    margin: float

    def affordable(self, before: float) -> bool:
        """Whether the margin is enough for this step and for what was conceded `before`."""
        return before == 0 or self.low >= 0 or before + self.low >= self.margin


def step_of(verdicts: Iterable[Verdict]) -> Step | None:
    """The change that gates of `GAINS` have measured, by the highest limit; None where none was asked."""
    told = [one.numbers for one in verdicts if one.gate in GAINS and "low" in one.numbers]
    steps = (Step(float(numbers["low"]), float(numbers.get("margin", 0.0))) for numbers in told)
    return max(steps, default=None)


def conceded(registry: Registry, model: str, alias: str) -> float:
    """Cents per case that who serves may earn less than the best who served before: zero or below.

    A rollback brings back what had been conceded when that version came; a version that came without a
    measured gain begins anew.
    """
    now = 0.0
    then: dict[int, float] = {}
    for line in registry.history(model):
        if line.alias != alias:
            continue
        if line.kind is Kind.ROLLBACK:
            now = then[line.to_version]
        else:
            version = registry.version(model, line.to_version)
            step = step_of(registry.verdicts_at(version, alias, line.generation - 1))
            now = 0.0 if step is None else min(0.0, now + step.low)
        then[line.to_version] = now
    return now
