"""What the factory passes from hand to hand: a scorecard, and a verdict on it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workgym.services.kernel import BadInput

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Outcome(StrEnum):
    """A gate's answer. Inconclusive never passes: it asks for more scenarios."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Scorecard:
    """One policy's results on a suite, one entry per scenario in the suite's order.

    Attributes:
        policy: name of a baseline or content digest of a model.
        env_id: Gymnasium id.
        suite: digest of the suite.
        backend: how the env reached its service.
        family: (n,) business situation of each scenario.
        seed: (n,) seed of each scenario.
        profit: (n,) cents earned in the episode.
        cases: (n,) decisions that the business asked for, orders for instance.
        success: (n,) whether the scenario was handled, by the env's own criterion.
        violations: (n,) constraint cost, promises broken for instance.
        obligations: (n,) how many could have been violated.
        dropped: episodes lost to infrastructure faults; they are never scored.
        latency_us: percentiles of one decision on one thread, or None when not measured.
    """

    policy: str
    env_id: str
    suite: str
    backend: str
    family: tuple[str, ...]
    seed: tuple[int, ...]
    profit: Ints
    cases: Ints
    success: Bools
    violations: Ints
    obligations: Ints
    dropped: int = 0
    latency_us: dict[str, float] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        lengths = {len(getattr(self, name)) for name in _COLUMNS}
        if len(lengths) != 1:
            raise BadInput(f"a scorecard's columns must have one length, found {sorted(lengths)}")

    @property
    def n(self) -> int:
        """Number of scenarios."""
        return len(self.seed)

    def profit_per_case(self) -> float:
        """Cents per decided case, over the whole suite."""
        return float(self.profit.sum() / max(int(self.cases.sum()), 1))

    def to_json(self) -> str:
        """Canonical JSON; equal results give equal bytes."""
        return json.dumps(_plain(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Scorecard:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        for name in _COLUMNS:
            kind = tuple if name in ("family", "seed") else _as_array
            fields[name] = kind(fields[name])
        fields["success"] = fields["success"].astype(np.bool_)
        return cls(**fields)

    def digest(self) -> str:
        """Content hash of everything but the measured latency."""
        results = {name: value for name, value in _plain(self).items() if name != "latency_us"}
        return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()


_COLUMNS = ("family", "seed", "profit", "cases", "success", "violations", "obligations")


def _as_array(values: list[int]) -> Ints:
    return np.asarray(values, dtype=np.int64)


def _plain(card: Scorecard) -> dict[str, Any]:
    fields = dict(vars(card))
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()
    }


@dataclass(frozen=True)
class Verdict:
    """A gate's decision on a candidate, bound to what it was compared with.

    Attributes:
        gate: the gate's name.
        outcome: pass, fail or inconclusive.
        sentence: the decision with its numbers, shown as is everywhere.
        numbers: the same numbers for machines.
        candidate: digest of the judged policy.
        champion: name or digest of what it was compared with.
        suite: digest of the suite.
    """

    gate: str
    outcome: Outcome
    sentence: str
    numbers: dict[str, float | int | str]
    candidate: str
    champion: str
    suite: str

    @property
    def passed(self) -> bool:
        """Whether the gate lets the candidate through."""
        return self.outcome is Outcome.PASS

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {**vars(self), "outcome": str(self.outcome)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Verdict:
        """Read what `to_dict` wrote."""
        return cls(**{**fields, "outcome": Outcome(fields["outcome"])})
