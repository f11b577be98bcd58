"""How good quantile forecasts are: weighted quantile loss, coverage, volatility.

Arrays are `actual` (series, origins, horizon) and `forecast` (series, origins, horizon, quantiles);
wherever the actual demand is NaN nothing is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workgym.agents.forecast.panel import Floats, Panel
from workgym.services.kernel import BadInput

Doubles = NDArray[np.float64]


def actuals(panel: Panel, origins: Sequence[int], horizon: int) -> Floats:
    """(series, origins, horizon) the demand that forecasts at these origins speak of."""
    columns = np.asarray(origins)[:, None] + np.arange(horizon)
    return panel.demand[:, columns]


def pinball(actual: Floats, forecast: Floats, quantiles: Sequence[float]) -> Doubles:
    """(..., quantiles) loss of each forecast: q for a unit too low, 1 - q for a unit too high.

    Source: Koenker and Bassett (1978), "Regression quantiles".
    """
    _check(actual, forecast, quantiles)
    q = np.asarray(quantiles)
    short = actual[..., None].astype(np.float64) - forecast
    return np.maximum(q * short, (q - 1) * short)


def weighted_quantile_loss(actual: Floats, forecast: Floats, quantiles: Sequence[float]) -> Doubles:
    """(quantiles,) twice the pinball loss over the total demand; lower is better, 0 is perfect.

    Also called q-risk. Source: Salinas et al. (2020), "DeepAR", section 4.
    """
    loss = np.nansum(pinball(actual, forecast, quantiles), axis=tuple(range(actual.ndim)))
    total = np.nansum(np.abs(actual), dtype=np.float64)
    if not total > 0:
        raise BadInput("expected some demand to weigh the loss by, found none")
    weighted: Doubles = 2 * loss / total
    return weighted


def coverage(actual: Floats, forecast: Floats, quantiles: Sequence[float]) -> Doubles:
    """(quantiles,) share of the demand at or below each forecast; a calibrated P90 covers 0.9."""
    _check(actual, forecast, quantiles)
    below = (actual[..., None] <= forecast).sum(axis=tuple(range(actual.ndim)))
    covered: Doubles = below / max(1, int(np.isfinite(actual).sum()))
    return covered


def volatility(
    actual: Floats, forecast: Floats, quantiles: Sequence[float], origins: Sequence[int]
) -> Doubles:
    """(quantiles,) how far forecasts of the same period move from one origin to the next.

    The mean absolute revision over all pairs of successive origins, over the mean demand of the periods
    that they speak of. Eisenach, Patel and Madeka (2020), arXiv 2009.14799, call what exceeds the need of
    new information excess volatility; this counts all of it.

    Raises:
        BadInput: there are fewer than two origins, they are not successive, or the horizon is one.
    """
    _check(actual, forecast, quantiles)
    if len(origins) < 2 or actual.shape[2] < 2 or (np.diff(np.asarray(origins)) != 1).any():
        raise BadInput(f"expected two successive origins and horizons at least, found {list(origins)}")
    before, after = forecast[:, :-1, 1:], forecast[:, 1:, :-1]
    known = np.isfinite(actual[:, 1:, :-1])
    demand = np.where(known, actual[:, 1:, :-1], 0).sum(dtype=np.float64)
    moved = np.abs(after.astype(np.float64) - before) * known[..., None]
    ratio: Doubles = moved.sum(axis=(0, 1, 2)) / max(demand, 1e-12)
    return ratio


def _check(actual: Floats, forecast: Floats, quantiles: Sequence[float]) -> None:
    wanted = (*actual.shape, len(quantiles))
    if forecast.shape != wanted:
        raise BadInput(f"expected forecasts of the shape {wanted}, found {forecast.shape}")
