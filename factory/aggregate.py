"""What a way to train is worth, over several seeds: the aggregates of rliable, in NumPy.

Scores are matrices (runs, tasks): a run is a training with its own seed, a task is a scenario. These numbers
are about algorithms; whether a version may serve is decided by gates, on that version alone.

Source: Agarwal et al. (2021), Deep Reinforcement Learning at the Edge of the Statistical Precipice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from workgym.factory.records import Scorecard
from workgym.factory.statistics import Bounds
from workgym.services.kernel import BadInput

Floats = NDArray[np.float64]
RESAMPLES = 2000  # moves a 95% limit by some hundredths of the interval's width between seeds


def scores_of(card: Scorecard) -> Floats:
    """(n,) cents per case earned in each scenario; a scenario without a case counts as one with one."""
    return np.asarray(card.profit / np.maximum(card.cases, 1), dtype=np.float64)


def iqm(scores: ArrayLike) -> float:
    """Interquartile mean over all runs and tasks: the mean of the middle half."""
    return float(stats.trim_mean(_matrix(scores), 0.25, axis=None))


def improvement_probability(ours: ArrayLike, theirs: ArrayLike) -> float:
    """How likely a run of ours beats a run of theirs on a task drawn at random; ties count half."""
    one, other = _matrix(ours), _matrix(theirs)
    if one.shape[1] != other.shape[1]:
        raise BadInput(
            f"expected scores on the same tasks, found {one.shape[1]} and {other.shape[1]}; "
            "evaluate both on one suite"
        )
    difference = one[:, None, :] - other[None, :, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def bootstrap(
    statistic: Callable[..., float],
    *scores: ArrayLike,
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Bounds:
    """Percentile limits of a statistic when runs are drawn again, in each task on their own.

    Args:
        statistic: of as many matrices as are given.
        scores: matrices (runs, tasks).
        alpha: both limits together are wrong about so often, with many runs; with few they are too narrow.
        resamples: how often runs are drawn.
        seed: of the draws; the same one gives the same limits.

    Raises:
        BadInput: a matrix has fewer than two runs, so nothing is known of their spread.
    """
    matrices = [_matrix(one) for one in scores]
    for one in matrices:
        if len(one) < 2:
            raise BadInput(
                f"expected at least two runs to draw from, found {len(one)}; train with more seeds"
            )
    rng = np.random.default_rng(seed)
    values = [statistic(*(_redrawn(one, rng) for one in matrices)) for _ in range(resamples)]
    low, high = np.quantile(values, [alpha / 2, 1 - alpha / 2])
    return Bounds(float(low), float(high))


def _redrawn(scores: Floats, rng: np.random.Generator) -> Floats:
    return np.take_along_axis(scores, rng.integers(len(scores), size=scores.shape), axis=0)


def stacked(cards: Sequence[Scorecard]) -> Floats:
    """(runs, n) scores of several policies on one suite.

    Raises:
        BadInput: they played different suites.
    """
    suites = sorted({card.suite for card in cards})
    if len(suites) != 1:
        raise BadInput(f"expected scorecards on one suite, found {len(suites)}; evaluate them on one")
    return np.stack([scores_of(card) for card in cards])


def _matrix(scores: ArrayLike) -> Floats:
    matrix = np.asarray(scores, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        raise BadInput(f"expected finite scores (runs, tasks), found shape {matrix.shape}")
    return matrix
