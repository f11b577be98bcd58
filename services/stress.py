"""Harder times than a scenario's own: what a business is put under to see who copes.

    gym.make("workgym/Orders-v0", stress={"demand": 1.3, "lead-time": 2})

    demand      customers ask for so many times what stock and people are planned for
    lead-time   supplies come up to so many days later
    capacity    so much of the capacity is left

What each of them means to a service, and which of them it knows, is the service's own business. Scenarios
stay what they are: equal seeds meet the same customers, carriers and suppliers, only more, later or less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workgym.services.kernel import BadInput, did_you_mean

_RANGES: dict[str, tuple[float, float]] = {"demand": (0.1, 4.0), "lead-time": (0, 30), "capacity": (0.1, 4.0)}


@dataclass(frozen=True)
class Stress:
    """How much harder.

    Attributes:
        demand: factor.
        lead_time: days.
        capacity: factor.
    """

    demand: float = 1.0
    lead_time: int = 0
    capacity: float = 1.0

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Stress:
        """The stress of an env's argument.

        Raises:
            BadInput: a name is unknown, or a value is no number in its range.
        """
        if given is not None and not isinstance(given, Mapping):
            raise BadInput(f"expected stress as a mapping from names to numbers, found {given!r}")
        for name, value in (given or {}).items():
            if name not in _RANGES:
                raise BadInput(did_you_mean("stress", str(name), list(_RANGES)))
            low, high = _RANGES[name]
            kind, what = ((int,), "whole days") if name == "lead-time" else ((int, float), "a factor")
            if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
                raise BadInput(f"expected {what} in {low:g}..{high:g} as stress[{name!r}], found {value!r}")
        return cls(**{name.replace("-", "_"): value for name, value in (given or {}).items()})
