"""Limits and tests for paired results: pure functions that draw no random number.

Every limit is one-sided and wrong at most `alpha` of the time; the two limits at `alpha / 2` are the
usual two-sided interval. Where nothing is known a limit is infinite (or 0 and 1 for a share), never NaN,
so that a comparison with it cannot pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from workgym.services.kernel import BadInput

Floats = NDArray[np.float64]


class Bounds(NamedTuple):
    """A lower and an upper one-sided limit."""

    low: float
    high: float


class Mean(NamedTuple):
    """An estimated mean and what its limits need.

    Attributes:
        value: the estimate.
        error: its standard error; infinite when there are too few values to tell.
        df: degrees of freedom of the standard error.
        skew: third cumulant of the estimate over `error` cubed; 0 for symmetrical values.
    """

    value: float
    error: float
    df: float
    skew: float

    def bounds(self, alpha: float) -> Bounds:
        """One-sided limits: Student's or the skewness-corrected one, whichever is more careful.

        Student's limit alone is too optimistic when gains are small and losses rare and large, and
        bootstraps are no better on few values and would make a verdict depend on a seed:
        docs/design/gates.md has all of them side by side.
        """
        if not np.isfinite(self.error):
            return Bounds(-np.inf, np.inf)
        z = float(special.stdtrit(self.df, 1 - alpha))
        below = max(z, _unskewed(z, self.skew))
        above = max(z, -_unskewed(-z, self.skew))
        return Bounds(self.value - below * self.error, self.value + above * self.error)


def _unskewed(z: float, skew: float) -> float:
    """Quantile of a studentised mean with this skewness. Source: Hall (1992), JRSS B 54, 221-228."""
    if abs(skew) < 1e-9:
        return z
    return float(3 / skew * (np.cbrt(1 + skew * (z - skew / 6)) - 1))


def stratified_mean(values: ArrayLike, strata: Sequence[str]) -> Mean:
    """Estimate the mean of a suite whose families have fixed sizes.

    Only the spread within a family counts: the sizes are chosen, not drawn. When a family has a
    single value all families are taken as one, which can only widen the limits.
    """
    x = _numbers(values)
    if len(x) != len(strata):
        raise BadInput(f"expected one stratum per value, found {len(strata)} for {len(x)}")
    _, group, counts = np.unique(np.asarray(strata, dtype=object), return_inverse=True, return_counts=True)
    if len(counts) and counts.min() < 2:
        group, counts = np.zeros(len(x), dtype=np.intp), np.array([len(x)])
    if len(x) < 2:
        return Mean(float(x.mean()) if len(x) else 0.0, np.inf, 0.0, 0.0)
    return _combined(x, group, counts)


def _combined(x: Floats, group: NDArray[np.intp], counts: NDArray[np.intp]) -> Mean:
    n, total = counts.astype(float), float(len(x))
    centred = x - (np.bincount(group, x) / n)[group]
    second = np.bincount(group, centred**2) / (n - 1)
    third = n * np.bincount(group, centred**3) / ((n - 1) * np.maximum(n - 2, 1))
    parts = n / total**2 * second
    error = float(np.sqrt(parts.sum()))
    if error <= 1e-12 * float(np.abs(x).max()):  # equal values: what is left is rounding
        return Mean(float(x.mean()), 0.0, total - len(n), 0.0)
    df = error**4 / float((parts**2 / (n - 1)).sum())
    return Mean(float(x.mean()), error, df, float((n / total**3 * third).sum()) / error**3)


def ratio(amount: ArrayLike, base: ArrayLike, strata: Sequence[str], at: float = 0.0) -> Mean:
    """Estimate sum(amount) / sum(base), cents per order for instance.

    The error is taken as if the ratio were `at`, the value it is compared with: exact at the decision.

    Raises:
        BadInput: the base sums to nothing.
    """
    above, below = _numbers(amount), _numbers(base)
    if below.sum() <= 0:
        raise BadInput("a ratio needs a base above zero; drop the comparison or add scenarios with cases")
    mean = stratified_mean((above - at * below) / below.mean(), strata)
    return mean._replace(value=mean.value + at)


def rate_difference(
    ours: tuple[ArrayLike, ArrayLike], theirs: tuple[ArrayLike, ArrayLike], strata: Sequence[str]
) -> Mean:
    """Estimate how much our rate exceeds theirs, scenario by scenario; each is (count, base)."""
    (a, a_shift), (b, b_shift) = _linear(*ours), _linear(*theirs)
    mean = stratified_mean(a - b, strata)
    return mean._replace(value=mean.value + a_shift - b_shift)


def _linear(count: ArrayLike, base: ArrayLike) -> tuple[Floats, float]:
    """A ratio of sums as a mean: per scenario its pull on the ratio, and the ratio."""
    above, below = _numbers(count), _numbers(base)
    if below.sum() <= 0:
        raise BadInput(
            "a rate needs a base above zero; drop the comparison or add scenarios with obligations"
        )
    rate = float(above.sum() / below.sum())
    return (above - rate * below) / below.mean(), rate


def blocks(families: Sequence[str]) -> NDArray[np.intp]:
    """Positions of one scenario of every family, block by block: (blocks, families).

    The k-th block holds the k-th scenario of each family; what is left of the larger families fills none.
    Blocks of a suite are drawn alike, whatever its mix of families, which scenarios are not.
    """
    _, group, counts = np.unique(np.asarray(families, dtype=object), return_inverse=True, return_counts=True)
    if not len(counts):
        return np.empty((0, 0), dtype=np.intp)
    turns = [np.flatnonzero(group == one)[: counts.min()] for one in range(len(counts))]
    return np.sort(np.column_stack(turns), axis=1)


def proportion_bounds(successes: int, n: int, alpha: float) -> Bounds:
    """One-sided exact limits (Clopper-Pearson) of a proportion; (0, 1) when nothing was observed.

    Scenarios of different families have different chances; the limits hold for their mean, because the
    tails of such a sum lie within the binomial's. Source: Hoeffding (1956), Ann. Math. Stat. 27, 713.
    """
    if not 0 <= successes <= n:
        raise BadInput(f"expected between 0 and {n} successes, found {successes}")
    low = stats.beta.ppf(alpha, successes, n - successes + 1) if successes else 0.0
    high = stats.beta.ppf(1 - alpha, successes + 1, n - successes) if successes < n else 1.0
    return Bounds(float(low), float(high))


def scenarios_needed(failures: int, budget: float, alpha: float) -> int:
    """Fewest scenarios with so many failures whose exact upper limit is within the budget."""
    return failures + 1 + int(stats.nbinom.ppf(1 - alpha, failures + 1, budget))


def mcnemar_p(lost: int, won: int) -> float:
    """Exact two-sided p-value that losing and winning a scenario are equally likely."""
    changed = lost + won
    return float(stats.binomtest(lost, changed).pvalue) if changed else 1.0


def _numbers(values: Any) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if not np.isfinite(x).all():
        raise BadInput("expected numbers, found NaN or infinity; evaluate the policy again")
    return x
