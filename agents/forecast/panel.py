"""Panels of demand series: what forecasters learn from and are asked about."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workgym.services.kernel import BadInput

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Panel:
    """Many demand series over the same periods.

    Attributes:
        demand: (series, periods) units a period; NaN where it is not known, as before a launch or in the
            future.
        known: (series, periods, covariates) what is known in advance of every period: calendar,
            promotions, prices.
        static: (series, features) what never changes of a series; often zero wide.

    Raises:
        BadInput: the shapes do not fit together, or demand is negative or infinite.
    """

    demand: Floats
    known: Floats
    static: Floats

    def __post_init__(self) -> None:
        n = self.demand.shape
        if len(n) != 2 or self.known.shape[:2] != n or self.known.ndim != 3:
            raise BadInput(
                f"expected demand (series, periods) and known (series, periods, covariates), "
                f"found {n} and {self.known.shape}"
            )
        if self.static.ndim != 2 or len(self.static) != n[0]:
            raise BadInput(f"expected static features ({n[0]}, features), found {self.static.shape}")
        if np.isinf(self.demand).any() or (self.demand < 0).any():
            raise BadInput("expected demand that is NaN or at least 0 and finite; clamp returns to 0 first")
        if not np.isfinite(self.known).all() or not np.isfinite(self.static).all():
            raise BadInput("expected finite covariates and static features, found NaN or infinity")

    @property
    def series(self) -> int:
        """Number of series."""
        return len(self.demand)

    @property
    def periods(self) -> int:
        """Number of periods, those without known demand included."""
        return int(self.demand.shape[1])

    def extended(self, periods: int, known: Floats | None = None) -> Panel:
        """The panel with `periods` more whose demand is unknown.

        Args:
            periods: how many.
            known: (series, periods, covariates) of them; may be left out where there are no covariates.
        """
        width = self.known.shape[2]
        if known is None:
            if width:
                raise BadInput(f"expected the {width} known covariates of {periods} more periods, found none")
            known = np.zeros((self.series, periods, 0), dtype=np.float32)
        unknown = np.full((self.series, periods), np.nan, dtype=np.float32)
        return Panel(
            np.concatenate([self.demand, unknown], axis=1),
            np.concatenate([self.known, np.asarray(known, dtype=np.float32)], axis=1),
            self.static,
        )

    def select(self, rows: NDArray[np.int64] | slice) -> Panel:
        """Some of the series."""
        return Panel(self.demand[rows], self.known[rows], self.static[rows])


def make_panel(
    demand: NDArray[np.floating],
    known: NDArray[np.floating] | None = None,
    static: NDArray[np.floating] | None = None,
) -> Panel:
    """A panel from (series, periods) demand, with no covariates unless they are given.

    `known` may also be (periods, covariates), alike for all series.
    """
    values = np.asarray(demand, dtype=np.float32)
    if values.ndim != 2:
        raise BadInput(f"expected demand (series, periods), found the shape {values.shape}")
    if known is None:
        known = np.zeros((*values.shape, 0), dtype=np.float32)
    if known.ndim == 2:
        known = np.broadcast_to(known, (len(values), *known.shape))
    if static is None:
        static = np.zeros((len(values), 0), dtype=np.float32)
    return Panel(values, np.asarray(known, dtype=np.float32), np.asarray(static, dtype=np.float32))


def with_calendar(panel: Panel, period: float, harmonics: int = 2, phase: float = 0.0) -> Panel:
    """The panel with the season as known covariates: sines and cosines of a cycle of `period` periods.

    Args:
        panel: what is extended.
        period: length of the season, such as 52 weeks or 365.25 days.
        harmonics: pairs of sine and cosine; more tell sharper peaks.
        phase: share of the cycle that has passed when the panel begins.
    """
    angle = 2 * np.pi * (np.arange(panel.periods) / period + phase)
    waves = [wave(k * angle) for k in range(1, harmonics + 1) for wave in (np.sin, np.cos)]
    columns = np.stack(waves, axis=1).astype(np.float32)
    alike = np.broadcast_to(columns, (panel.series, *columns.shape))
    return replace(panel, known=np.concatenate([panel.known, alike], axis=2))


def rolling_mean(values: NDArray[np.floating], window: int) -> Floats:
    """(series, periods) mean of the known among the last `window` periods, to this one; 0 without any."""
    known = np.isfinite(values)

    def rolling(part: NDArray[Any]) -> NDArray[np.float64]:
        total = np.cumsum(part, axis=1, dtype=np.float64)
        total[:, window:] -= total[:, :-window].copy()
        return total

    count = rolling(known)
    mean: Floats = (rolling(np.where(known, values, 0)) / np.maximum(count, 1)).astype(np.float32)
    return mean


def from_csv(path: Path | str, days: int = 7) -> tuple[Panel, list[tuple[str, str]]]:
    """A panel of the sales in a CSV file with the columns date, sku, location, quantity; and its series.

    Quantities are summed over buckets of `days` days. A bucket without a line is a demand of zero, but
    before a series' first line it is unknown. Returns are clamped: a bucket never falls below zero. A last
    bucket that the file does not fill is left out.

    Raises:
        BadInput: a column is missing, a line does not read, or the file spans no whole bucket.
    """
    with Path(path).open(newline="") as file:
        reader = csv.DictReader(file)
        wanted = {"date", "sku", "location", "quantity"}
        if missing := wanted - set(reader.fieldnames or ()):
            raise BadInput(f"expected the columns {sorted(wanted)} in {path}, found no {sorted(missing)}")
        lines = list(_read_lines(reader, path))
    if not lines:
        raise BadInput(f"expected sales in {path}, found no line")
    first, last = (edge(day for day, _, _ in lines) for edge in (min, max))
    buckets = (last - first + 1) // days
    if not buckets:
        raise BadInput(f"expected at least {days} days in {path}, found {last - first + 1}")
    keys = sorted({key for _, key, _ in lines})
    row = {key: i for i, key in enumerate(keys)}
    at = [(row[key], (day - first) // days, amount) for day, key, amount in lines]
    total = np.zeros((len(keys), buckets + 1), dtype=np.float64)
    launch = np.full(len(keys), buckets)
    for i, bucket, amount in at:
        total[i, bucket] += amount
        launch[i] = min(launch[i], bucket)
    demand = np.maximum(total[:, :buckets], 0)
    demand[np.arange(buckets) < launch[:, None]] = np.nan
    return make_panel(demand), keys


def _read_lines(
    reader: csv.DictReader[str], path: Path | str
) -> Iterable[tuple[int, tuple[str, str], float]]:
    for number, line in enumerate(reader, start=2):
        try:
            day = date.fromisoformat(line["date"][:10]).toordinal()
            amount = float(line["quantity"])
        except (ValueError, TypeError) as error:
            raise BadInput(
                f"expected an ISO date and a number in line {number} of {path}: {error}"
            ) from error
        yield day, (line["sku"], line["location"]), amount


def synthetic(seed: int, series: int = 200, periods: int = 160, season: int = 52) -> Panel:
    """A panel as a retailer's: levels from slow to fast movers, season, drift, promotions, noise.

    Known covariates are the promotion (0 or 1) and two harmonics of the season; the static feature is the
    logarithm of the price. Counts are Poisson with a gamma mixture, so that they scatter more than Poisson's.
    Every number is made up: it is a bed to run on anywhere, not a model of anyone's sales.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(periods)
    level = rng.lognormal(2.5, 1.0, (series, 1))
    peak = rng.normal(0.0, 0.6, (series, 1))
    wave = rng.gamma(2.0, 0.12, (series, 1)) * np.cos(2 * np.pi * (time / season - peak / 6))
    holiday = np.where(time % season >= season - 3, 0.5, 0.0)
    drift = np.cumsum(rng.normal(0.0, 0.05, (series, periods)), axis=1)
    promotion = rng.random((series, periods)) < 0.06
    lift = rng.gamma(4.0, 0.2, (series, 1))
    mean = level * np.exp(wave + holiday + drift + lift * promotion)
    spread = rng.gamma(6.0, 1 / 6.0, (series, periods))
    demand = rng.poisson(mean * spread).astype(np.float32)
    price = rng.normal(2.0, 0.5, (series, 1))
    return with_calendar(make_panel(demand, promotion[:, :, None].astype(np.float32), price), season)
