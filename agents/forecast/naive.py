"""Forecasts without learning: the floor that every model must beat.

They are also what runs when nothing else can: no library, no training, no state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from workgym.agents.forecast import (
    HEADER,
    Forecaster,
    checked_origins,
    checked_until,
    forecaster,
    header_bytes,
)
from workgym.agents.forecast.panel import Floats, Panel
from workgym.services.kernel import BadInput


class _Naive(ABC):
    """What all of them share: nothing is learned, so the header is all there is to save."""

    name = ""

    def __init__(self, horizon: int, quantiles: Sequence[float], options: Mapping[str, int]) -> None:
        self.horizon = horizon
        self.quantiles = tuple(quantiles)
        self._options = dict(options)
        for option, value in options.items():
            if value < 1:
                raise BadInput(f"expected {option} of at least 1 period, found {value}")

    def fit(self, panel: Panel, until: int) -> Forecaster:
        """Check the panel; there is nothing to learn."""
        checked_until(panel, until)
        return self

    def predict(self, panel: Panel, origins: Sequence[int]) -> Floats:
        """(series, origins, horizon, quantiles) forecasts."""
        at = checked_origins(panel, origins, self.horizon)
        return np.stack([self._at(panel.demand[:, :t]) for t in at], axis=1)

    @abstractmethod
    def _at(self, past: Floats) -> Floats:
        """(series, horizon, quantiles) forecasts after the demand (series, periods)."""

    def _alike(self, points: Floats) -> Floats:
        """(series, horizon, quantiles) of point forecasts (series, horizon): no quantile differs."""
        return np.repeat(points[:, :, None], len(self.quantiles), axis=2)

    def save(self) -> dict[str, bytes]:
        """The header alone."""
        return {HEADER: header_bytes(self, self._options)}

    def restore(self, files: Mapping[str, bytes]) -> Forecaster:
        """Nothing was learned."""
        return self


class LastValue(_Naive):
    """Tomorrow is as today: the last known demand at every horizon and quantile; 0 before any."""

    name = "last-value"

    def _at(self, past: Floats) -> Floats:
        return self._alike(np.repeat(filled(past)[:, -1:], self.horizon, axis=1))


class SeasonalNaive(_Naive):
    """As one season ago; the last known demand where the history is shorter. A point at every quantile."""

    name = "seasonal-naive"

    def _at(self, past: Floats) -> Floats:
        season = self._options["season"]
        t = past.shape[1]
        ago = t + np.arange(self.horizon) - season
        while (ago >= t).any():  # a horizon longer than the season repeats it
            ago = np.where(ago >= t, ago - season, ago)
        known = np.where(ago >= 0, past[:, np.maximum(ago, 0)], np.nan)
        last = filled(past)[:, -1:]
        return self._alike(np.where(np.isnan(known), last, known).astype(np.float32))


class Empirical(_Naive):
    """Quantiles of the last `window` known periods, the same at every horizon."""

    name = "empirical"

    def _at(self, past: Floats) -> Floats:
        sample = sample_quantiles(past[:, -self._options["window"] :], self.quantiles)
        return np.repeat(sample[:, None], self.horizon, axis=1)


def filled(past: Floats) -> Floats:
    """(series, periods) with each unknown demand replaced by the last known before it; 0 before any."""
    known = np.isfinite(past)
    last = np.maximum.accumulate(np.where(known, np.arange(past.shape[1]), -1), axis=1)
    values = np.take_along_axis(past, np.maximum(last, 0), axis=1)
    return np.where(last >= 0, values, 0).astype(np.float32)


def sample_quantiles(sample: NDArray[np.floating], quantiles: Sequence[float]) -> Floats:
    """(rows, quantiles) linearly interpolated quantiles of the known values in each row; 0 without any."""
    ordered = np.sort(sample, axis=1)  # NaN goes last
    n = np.isfinite(ordered).sum(axis=1)
    at = np.asarray(quantiles) * np.maximum(n - 1, 0)[:, None]
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(n - 1, 0)[:, None])
    a, b = (np.take_along_axis(ordered, i, axis=1) for i in (low, high))
    found = a + (b - a) * (at - low)
    return np.where(n[:, None] > 0, found, 0).astype(np.float32)


@forecaster("last-value")
def last_value(horizon: int, quantiles: Sequence[float]) -> Forecaster:
    """The last known demand."""
    return LastValue(horizon, quantiles, {})


@forecaster("seasonal-naive")
def seasonal_naive(horizon: int, quantiles: Sequence[float], season: int = 52) -> Forecaster:
    """The demand one season ago."""
    return SeasonalNaive(horizon, quantiles, {"season": season})


@forecaster("empirical")
def empirical(horizon: int, quantiles: Sequence[float], window: int = 16) -> Forecaster:
    """Quantiles of the last `window` periods; shorter follows faster, longer scatters less."""
    return Empirical(horizon, quantiles, {"window": window})
