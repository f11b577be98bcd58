"""Exponential smoothing with a damped trend, one model a series: the textbook's forecaster.

statsmodels estimates each series' parameters once, on the periods that are learned from; at every origin
they stand and only level and trend are carried forward, as a planning system does between its reviews.
Quantiles are those of a normal distribution with the model's own variance. Source: Hyndman, Koehler, Ord
and Snyder (2008), "Forecasting with Exponential Smoothing", model ETS(A,Ad,N), variance in table 6.2.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from workgym.agents.forecast import (
    HEADER,
    Forecaster,
    checked_origins,
    checked_until,
    forecaster,
    header_bytes,
    optional,
)
from workgym.agents.forecast.panel import Floats, Panel
from workgym.services.kernel import BadInput

PARAMETERS = "ets.safetensors"
FEWEST = 12  # known periods below which nothing is estimated
FALLBACK = (0.3, 0.0, 1.0)  # level, trend and damping where nothing can be estimated
Doubles = NDArray[np.float64]


class Smoothing(NamedTuple):
    """Each series' parameters, (series,) each."""

    alpha: Doubles  # of the level
    beta: Doubles  # of the trend, as a share of the level's correction
    phi: Doubles  # damping of the trend
    level: Doubles  # before the first known period
    trend: Doubles
    sigma: Doubles  # deviation of one period's error


class Ets:
    """Exponential smoothing of every series on its own; forecasts only the panel that it was fitted on."""

    name = "ets"

    def __init__(self, horizon: int, quantiles: Sequence[float]) -> None:
        self.horizon = horizon
        self.quantiles = tuple(quantiles)
        self._smoothing: Smoothing | None = None

    def fit(self, panel: Panel, until: int) -> Forecaster:
        """Estimate every series' parameters on the periods before `until`.

        Raises:
            BadInput: statsmodels is not installed.
        """
        past = panel.demand[:, : checked_until(panel, until)].astype(np.float64)
        model = optional("statsmodels.tsa.holtwinters").ExponentialSmoothing
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an optimiser that stops early still gives a usable smoothing
            rows = [_estimate(model, series) for series in past]
        self._smoothing = Smoothing(*np.array(rows).T)
        return self

    def predict(self, panel: Panel, origins: Sequence[int]) -> Floats:
        """(series, origins, horizon, quantiles) forecasts, never below zero.

        Raises:
            BadInput: it is not fitted, or on another number of series.
        """
        at = checked_origins(panel, origins, self.horizon)
        s = self._fitted()
        if panel.series != len(s.alpha):
            raise BadInput(
                f"expected the {len(s.alpha)} series that ets was fitted on, found {panel.series}; "
                "fit it on this panel"
            )
        levels, trends = _smooth(panel.demand[:, : at.max()].astype(np.float64), s)
        steps = np.arange(1, self.horizon + 1)
        damped = np.cumsum(s.phi[:, None] ** steps, axis=1)  # (series, horizon)
        carried = s.alpha[:, None] * (1 + s.beta[:, None] * damped)
        growth = np.cumsum(np.pad(carried[:, :-1] ** 2, ((0, 0), (1, 0))), axis=1)
        spread = s.sigma[:, None] * np.sqrt(1 + growth)
        mean = levels[:, at, None] + trends[:, at, None] * damped[:, None]
        z = np.array([NormalDist().inv_cdf(q) for q in self.quantiles])
        told: Floats = np.maximum(mean[..., None] + spread[:, None, :, None] * z, 0).astype(np.float32)
        return told

    def _fitted(self) -> Smoothing:
        if self._smoothing is None:
            raise BadInput("expected a fitted ets, found one that has learned nothing; call fit first")
        return self._smoothing

    def save(self) -> dict[str, bytes]:
        """The header, and the parameters as safetensors."""
        parts = {name: np.ascontiguousarray(values) for name, values in self._fitted()._asdict().items()}
        return {HEADER: header_bytes(self, {}), PARAMETERS: save(parts)}

    def restore(self, files: Mapping[str, bytes]) -> Forecaster:
        """Read what `save` wrote.

        Raises:
            BadInput: a file is missing or damaged.
        """
        try:
            self._smoothing = Smoothing(**load(files[PARAMETERS]))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise BadInput(f"expected smoothing parameters in {PARAMETERS}, found damage: {error}") from error
        return self


def _estimate(model: type, series: Doubles) -> tuple[float, ...]:
    """(alpha, beta, phi, level, trend, sigma) of one series; unknown periods are filled by the last known."""
    known = np.flatnonzero(np.isfinite(series))
    if not len(known):
        return (*FALLBACK, 0.0, 0.0, 0.0)
    past = series[known[0] :].copy()
    for i in np.flatnonzero(np.isnan(past)):
        past[i] = past[i - 1]
    if len(known) < FEWEST or past.std() < 1e-9:
        return (*FALLBACK, float(past[0]), 0.0, float(past.std()))
    fit = model(past, trend="add", damped_trend=True, initialization_method="estimated").fit(use_brute=False)
    found = fit.params
    names = ("smoothing_level", "smoothing_trend", "damping_trend", "initial_level", "initial_trend")
    values = [float(found[name]) for name in names]
    if not np.isfinite(values).all():
        return (*FALLBACK, float(past[0]), 0.0, float(past.std()))
    return (*values, float(np.sqrt(fit.sse / max(1, len(past) - 5))))


def _smooth(demand: Doubles, s: Smoothing) -> tuple[Doubles, Doubles]:
    """(series, periods + 1) level and trend before each period, and after the last."""
    n, periods = demand.shape
    levels, trends = np.empty((n, periods + 1)), np.empty((n, periods + 1))
    level, trend = s.level.copy(), s.trend.copy()
    begun = np.zeros(n, dtype=np.bool_)
    for t in range(periods):
        levels[:, t], trends[:, t] = level, trend
        known = np.isfinite(demand[:, t])
        begun |= known  # until its first known period a series waits in its initial state
        told = level + s.phi * trend
        error = np.where(known, demand[:, t] - told, 0)
        level = np.where(begun, told + s.alpha * error, level)
        trend = np.where(begun, s.phi * trend + s.alpha * s.beta * error, trend)
    levels[:, periods], trends[:, periods] = level, trend
    return levels, trends


@forecaster("ets")
def ets(horizon: int, quantiles: Sequence[float]) -> Forecaster:
    """Exponential smoothing with a damped trend."""
    return Ets(horizon, quantiles)
