"""Demand of one period as a probability array, and what follows from it: tails, sums, quantiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workgym.services.kernel import BadInput

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Divided = Callable[[float], "Demand"]

TOLERANCE = 1e-12  # mass beyond the last atom; a thousandth of what four printed digits can show
LONGEST = 1 << 20  # atoms: past this an array is no way to hold a distribution


@dataclass(frozen=True, eq=False)
class Demand:
    """A demand of whole pieces on {0, ..., n}.

    Attributes:
        pmf: (n + 1,) probabilities. The last atom holds all of P(D >= n), so that every tail is the
            untruncated one.
        tolerance: the mass that was allowed beyond n when the array was cut.
        divided: the demand over any length of time, for families that are closed under division of time;
            None for the others, whose sums over whole periods are convolutions.
    """

    pmf: Floats
    tolerance: float = TOLERANCE
    divided: Divided | None = None

    def __post_init__(self) -> None:
        """Refuse what is no distribution; hold the array read-only."""
        pmf = np.array(self.pmf, dtype=np.float64)
        if pmf.ndim != 1 or not pmf.size or pmf.min() < 0 or abs(pmf.sum() - 1) > 1e-9:
            found = f"shape {pmf.shape}, sum {pmf.sum():.6g}, least {pmf.min() if pmf.size else None}"
            raise BadInput(
                f"a demand needs a vector of probabilities that sum to 1, found {found}; divide it"
            )
        pmf.setflags(write=False)
        object.__setattr__(self, "pmf", pmf)

    @property
    def largest(self) -> int:
        """The last atom n."""
        return len(self.pmf) - 1

    @cached_property
    def cdf(self) -> Floats:
        """P(D <= k) for k = 0..n, shape (n + 1,)."""
        return np.asarray(1.0 - np.append(self.tail[1:], 0.0))

    @cached_property
    def tail(self) -> Floats:
        """P(D >= k) for k = 0..n, shape (n + 1,), summed from the small end so that far tails keep digits."""
        return np.asarray(np.cumsum(self.pmf[::-1])[::-1])

    @cached_property
    def mean(self) -> float:
        """Pieces per period."""
        return float(self.pmf @ np.arange(len(self.pmf)))

    @cached_property
    def variance(self) -> float:
        """Pieces squared per period."""
        return float(self.pmf @ (np.arange(len(self.pmf)) - self.mean) ** 2)

    def quantile(self, level: float) -> int:
        """The least k with P(D <= k) >= level."""
        if not 0 <= level <= 1:
            raise BadInput(f"a quantile's level lies in [0, 1], found {level}; 0.8 means four times in five")
        below = np.searchsorted(-self.tail[1:], level - 1.0 - 1e-12)
        return min(int(below), self.largest)

    def over(self, periods: float) -> Demand:
        """The demand over `periods` periods together, which a Poisson or negative binomial may split.

        Raises:
            BadInput: a fraction of a period, for a family that cannot be split.
        """
        if periods < 0 or (self.divided is None and periods != int(periods)):
            raise BadInput(f"this demand sums over whole periods, found {periods}; round the lead time")
        if periods == 0:
            return Demand(np.ones(1), self.tolerance)
        if self.divided is not None:
            return self.divided(periods)
        return Demand(_convolved(self.pmf, int(periods), self.tolerance), self.tolerance)

    def padded(self, length: int) -> tuple[Floats, Floats]:
        """`pmf` and `tail` on {0..length-1}, zeros behind the last atom; both (length,)."""
        pmf, tail = np.zeros(length), np.zeros(length)
        kept = min(length, len(self.pmf))
        pmf[:kept], tail[:kept] = self.pmf[:kept], self.tail[:kept]
        return pmf, tail

    def expected_cost(self, levels: Any, holding: float, penalty: float) -> Floats:
        """E[holding (y - D)^+ + penalty (D - y)^+] at every integer y of `levels`, any shape."""
        levels = np.asarray(levels, dtype=np.int64)
        short = np.append(np.cumsum(self.tail[::-1])[::-1], 0.0)[1:]  # E(D - k)^+ at k = 0..n
        behind = np.where(levels < 0, self.mean - levels, short[np.clip(levels, 0, self.largest)])
        return np.asarray(holding * (levels - self.mean) + (holding + penalty) * behind)

    def sample(self, rng: np.random.Generator, size: Any) -> Integers:
        """Independent demands of shape `size`, int64."""
        drawn = np.searchsorted(self.cdf, rng.random(size), side="right")
        return np.asarray(np.minimum(drawn, self.largest), dtype=np.int64)


def _convolved(pmf: Floats, periods: int, tolerance: float) -> Floats:
    """The sum of `periods` draws by repeated squaring; non-negative terms keep the tails exact."""
    total, power = np.ones(1), pmf
    while periods:
        if periods & 1:
            total = np.convolve(total, power)
        periods >>= 1
        if periods:
            power = np.convolve(power, power)
    return _cut(total, tolerance)


def _cut(pmf: Floats, tolerance: float) -> Floats:
    """`pmf` up to the first atom with no more than `tolerance` behind it, the rest put onto that atom."""
    behind = np.append(np.cumsum(pmf[::-1])[::-1][1:], 0.0)
    last = int(np.argmax(behind <= tolerance))
    kept = pmf[: last + 1].copy()
    kept[-1] += behind[last]
    return kept


def _from_scipy(law: Any, tolerance: float, divided: Divided | None) -> Demand:
    last = int(law.isf(tolerance))
    if last >= LONGEST:
        raise BadInput(f"a demand array holds {LONGEST} atoms at most, found {last}; scale the demand down")
    pmf = np.asarray(law.pmf(np.arange(last + 1)), dtype=np.float64)
    pmf[-1] = law.sf(last - 1)
    return Demand(pmf / pmf.sum(), tolerance, divided)


def _positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not (number > 0 and np.isfinite(number)):
            raise BadInput(f"{name} must be a positive number, found {number}")


def poisson(mean: float, tolerance: float = TOLERANCE) -> Demand:
    """Poisson demand with `mean` pieces per period."""
    from scipy.stats import poisson as law

    _positive(mean=mean)
    return _from_scipy(law(mean), tolerance, lambda periods: poisson(mean * periods, tolerance))


def negative_binomial(mean: float, size: float, tolerance: float = TOLERANCE) -> Demand:
    """Negative binomial demand on {0, 1, ...}: variance mean + mean^2 / size; `size` 1 is geometric."""
    from scipy.stats import nbinom as law

    _positive(mean=mean, size=size)
    return _from_scipy(
        law(size, size / (size + mean)),
        tolerance,
        lambda periods: negative_binomial(mean * periods, size * periods, tolerance),
    )


def geometric(mean: float, tolerance: float = TOLERANCE) -> Demand:
    """Geometric demand on {0, 1, ...}, P(k) = (1 / (1 + mean)) (mean / (1 + mean))^k, as in Zipkin (2008)."""
    return negative_binomial(mean, 1.0, tolerance)


def uniform(low: int, high: int) -> Demand:
    """Each of low, low + 1, ..., high equally likely."""
    if not 0 <= low <= high:
        raise BadInput(f"a uniform demand needs 0 <= low <= high, found {low}..{high}")
    pmf = np.zeros(high + 1)
    pmf[low:] = 1 / (high - low + 1)
    return Demand(pmf)


def discretised_normal(mean: float, sd: float, tolerance: float = TOLERANCE) -> Demand:
    """A normal draw rounded to the nearest piece, negatives made zero."""
    from scipy.stats import norm

    _positive(sd=sd)
    last = max(1, int(np.ceil(norm.isf(tolerance, mean, sd) + 0.5)))
    tail = np.append(norm.sf(np.arange(last + 1) - 0.5, mean, sd), 0.0)
    tail[0] = 1.0
    return Demand(_cut(tail[:-1] - tail[1:], tolerance), tolerance)


@dataclass(frozen=True)
class Normal:
    """A normal demand per period, for models that do not count pieces."""

    mean: float
    sd: float

    def over(self, periods: float) -> Normal:
        """The demand over `periods` periods together."""
        return Normal(self.mean * periods, self.sd * float(np.sqrt(periods)))

    def sample(self, rng: np.random.Generator, size: Any) -> Floats:
        """Independent demands of shape `size`; a few may be negative, as the model has them."""
        return np.asarray(rng.normal(self.mean, self.sd, size))
