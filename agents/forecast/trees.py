"""Pooled tabular forecasters: one row a series, origin and horizon, for a forest or boosted trees.

Both are what came before the networks: features made by hand, the horizon one of them, one model for
all series. Demand is divided by a causal mean, so that slow and fast movers share their leaves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workgym.agents.forecast import (
    HEADER,
    Forecaster,
    checked_origins,
    checked_until,
    forecaster,
    header_bytes,
    optional,
    read_header,
)
from workgym.agents.forecast.panel import Floats, Panel, rolling_mean
from workgym.services.kernel import BadInput

LAGS = 8
WINDOWS = (4, 13, 52)  # periods of the means and deviations: a month, a quarter, a year of weeks
SCALE_WINDOW = 26  # known periods of the mean that demand is divided by
FLOOR = 0.01  # least scale of a series, as a share of the panel's mean demand
CHUNK = 400_000  # rows told at once; bounds memory, changes nothing

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Growth:
    """What the trees grow from.

    Attributes:
        rows: sampled from all series, origins and horizons; more is better and dearer.
        trees: in the forest, or boosting rounds a quantile.
        leaf: fewest rows in a leaf; larger leaves tell smoother quantiles.
        leaves: most leaves of a boosted tree.
        learning_rate: of the boosting.
        season: periods in a season, whose last turn is a feature; 0 for none.
        seed: of the sample and of the trees.
    """

    rows: int
    trees: int
    leaf: int
    leaves: int = 31
    learning_rate: float = 0.05
    season: int = 52
    seed: int = 0


class Table:
    """Features of a panel, row by row; a row at origin t reads demand before t only."""

    def __init__(self, panel: Panel, unit: float, season: int) -> None:
        self.panel, self.season = panel, season
        known = np.isfinite(panel.demand)
        self.scale = rolling_mean(panel.demand, SCALE_WINDOW) + FLOOR * unit
        self.unit = unit
        squares = np.where(known, panel.demand, np.nan).astype(np.float64) ** 2
        self.means = [rolling_mean(panel.demand, window) for window in WINDOWS]
        self.deviations = [
            np.sqrt(np.maximum(rolling_mean(squares, window) - mean.astype(np.float64) ** 2, 0))
            for window, mean in zip(WINDOWS, self.means, strict=True)
        ]

    def features(self, series: Ints, origin: Ints, step: Ints) -> Floats:
        """(rows, features) for forecasts at `origin` of the period origin + step."""
        now = origin - 1
        scale = self.scale[series, now]
        rolled = [wide[series, now] / scale for wide in (*self.means, *self.deviations)]
        lags = [self._demand(series, now - k, origin) / scale for k in range(LAGS)]
        seasonal = [self._demand(series, origin + step - self.season + k, origin) / scale for k in (-1, 0, 1)]
        columns = [np.log(scale / self.unit), step, *rolled, *lags, *(seasonal if self.season else ())]
        free = np.nan_to_num(np.stack(columns, axis=1), nan=1.0)  # what is not known is as the mean
        return np.concatenate(
            [free, self.panel.known[series, origin + step], self.panel.static[series]], axis=1
        ).astype(np.float32)

    def _demand(self, series: Ints, period: Ints, origin: Ints) -> Floats:
        """(rows,) demand of a period, NaN where it is outside the panel or not before the origin."""
        seen = (period >= 0) & (period < origin)
        return np.where(seen, self.panel.demand[series, np.where(seen, period, 0)], np.nan).astype(np.float32)


class _Trees(ABC):
    """What forest and boosting share: the table, the sample, the scale."""

    name = ""

    def __init__(self, horizon: int, quantiles: Sequence[float], growth: Growth) -> None:
        self.horizon = horizon
        self.quantiles = tuple(quantiles)
        self.growth = growth
        self._unit = 0.0
        self._width = 0
        if min(growth.rows, growth.trees, growth.leaf) < 1 or growth.season < 0:
            raise BadInput(f"expected rows, trees and leaf of at least 1 and a season, found {growth}")

    def fit(self, panel: Panel, until: int) -> Forecaster:
        """Grow the trees on rows whose target lies before `until`.

        Raises:
            BadInput: there is no such row, or the library is not installed.
        """
        checked_until(panel, until)
        rng = np.random.default_rng(self.growth.seed)
        self._unit = max(float(np.nanmean(panel.demand[:, :until], dtype=np.float64)), 1e-6)
        if until < 2:
            raise BadInput(f"expected two periods to learn from at least, found {until}")
        series = rng.integers(panel.series, size=self.growth.rows)
        step = rng.integers(min(self.horizon, until - 1), size=self.growth.rows)
        origin = rng.integers(1, until - step)
        kept = np.isfinite(panel.demand[series, origin + step])
        series, origin, step = series[kept], origin[kept], step[kept]
        if not kept.any():
            raise BadInput("expected a known demand to learn from, found none in the sample; raise `rows`")
        table = Table(panel, self._unit, self.growth.season)
        scale = table.scale[series, origin - 1]
        rows = table.features(series, origin, step)
        self._width = rows.shape[1]
        self._grow(rows, panel.demand[series, origin + step] / scale, scale / self._unit)
        return self

    def predict(self, panel: Panel, origins: Sequence[int]) -> Floats:
        """(series, origins, horizon, quantiles) forecasts, sorted where the trees would cross."""
        at = checked_origins(panel, origins, self.horizon)
        if not self._unit:
            raise BadInput(
                f"expected a fitted {self.name}, found one that has learned nothing; call fit first"
            )
        table = Table(panel, self._unit, self.growth.season)
        shape = (panel.series, len(at), self.horizon)
        series, which, step = (index.ravel() for index in np.indices(shape))
        origin = at[which]
        out = np.empty((len(series), len(self.quantiles)), dtype=np.float32)
        for start in range(0, len(series), CHUNK):
            part = slice(start, start + CHUNK)
            rows = table.features(series[part], origin[part], step[part])
            if rows.shape[1] != self._width:
                raise BadInput(f"expected {self._width} features, found {rows.shape[1]}; fit on this panel")
            out[part] = self._tell(rows) * table.scale[series[part], origin[part] - 1, None]
        return np.sort(np.maximum(out, 0), axis=1).reshape(*shape, -1)

    @abstractmethod
    def _grow(self, rows: Floats, target: Floats, weight: Floats) -> None:
        """Learn from rows (n, features), targets (n,) and weights (n,)."""

    @abstractmethod
    def _tell(self, rows: Floats) -> Floats:
        """(n, quantiles) of rows (n, features), in units of their scale."""

    @abstractmethod
    def save(self) -> dict[str, bytes]:
        """As `Forecaster.save`."""

    @abstractmethod
    def restore(self, files: Mapping[str, bytes]) -> Forecaster:
        """As `Forecaster.restore`."""


class QuantileForest(_Trees):
    """A random forest whose leaves keep their samples, so that any quantile can be read from them.

    Source: Meinshausen (2006), "Quantile regression forests".
    """

    name = "quantile-forest"
    _forest: Any = None

    def _grow(self, rows: Floats, target: Floats, weight: Floats) -> None:
        forest = optional("quantile_forest").RandomForestQuantileRegressor
        g = self.growth
        self._forest = forest(
            n_estimators=g.trees,
            min_samples_leaf=g.leaf,
            max_features=1 / 3,
            random_state=g.seed,
            n_jobs=1,
        ).fit(rows, target, sample_weight=weight)

    def _tell(self, rows: Floats) -> Floats:
        told = self._forest.predict(rows, quantiles=list(self.quantiles))
        return np.asarray(told, dtype=np.float32).reshape(len(rows), -1)

    def save(self) -> dict[str, bytes]:
        """Refuse: the library saves forests by pickle only."""
        raise BadInput(
            "expected a forecaster with a safe file format, found quantile-forest, whose library only "
            "pickles; fit it again where it is needed, or take lightgbm"
        )

    def restore(self, files: Mapping[str, bytes]) -> Forecaster:
        """Refuse, as `save` does."""
        raise BadInput("expected files of another forecaster; quantile-forest cannot be saved")


class LightGbm(_Trees):
    """Boosted trees on the quantile loss, one model a quantile.

    Source: Ke et al. (2017), "LightGBM: a highly efficient gradient boosting decision tree".
    """

    name = "lightgbm"

    def __init__(self, horizon: int, quantiles: Sequence[float], growth: Growth) -> None:
        super().__init__(horizon, quantiles, growth)
        self._models: list[Any] = []

    def _grow(self, rows: Floats, target: Floats, weight: Floats) -> None:
        lightgbm = optional("lightgbm")
        g = self.growth
        shared = {
            "objective": "quantile",
            "num_leaves": g.leaves,
            "min_data_in_leaf": g.leaf,
            "learning_rate": g.learning_rate,
            "feature_fraction": 0.8,
            "seed": g.seed,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }
        data = lightgbm.Dataset(rows, target, weight=weight, free_raw_data=False)
        self._models = [lightgbm.train(shared | {"alpha": q}, data, g.trees) for q in self.quantiles]

    def _tell(self, rows: Floats) -> Floats:
        told = [model.predict(rows, num_threads=1) for model in self._models]
        return np.stack(told, axis=1).astype(np.float32)

    def save(self) -> dict[str, bytes]:
        """The header, and LightGBM's own text of each model."""
        if not self._models:
            raise BadInput("expected a fitted lightgbm, found one that has learned nothing; call fit first")
        header = header_bytes(self, asdict(self.growth), unit=self._unit, width=self._width)
        models = {f"{i}.txt": model.model_to_string().encode() for i, model in enumerate(self._models)}
        return {HEADER: header, **models}

    def restore(self, files: Mapping[str, bytes]) -> Forecaster:
        """Read what `save` wrote.

        Raises:
            BadInput: a file is missing or damaged.
        """
        lightgbm = optional("lightgbm")
        header = read_header(files)
        try:
            self._unit, self._width = float(header["unit"]), int(header["width"])
            texts = [files[f"{i}.txt"].decode() for i in range(len(self.quantiles))]
            self._models = [lightgbm.Booster(model_str=text) for text in texts]
        except (KeyError, ValueError, TypeError, lightgbm.basic.LightGBMError) as error:
            raise BadInput(f"expected LightGBM models as text, found damage: {error}") from error
        return self


@forecaster("quantile-forest")
def quantile_forest(horizon: int, quantiles: Sequence[float], **options: Any) -> Forecaster:
    """A quantile regression forest; see `Growth` for the options."""
    return QuantileForest(horizon, quantiles, Growth(**{"rows": 20_000, "trees": 60, "leaf": 30, **options}))


@forecaster("lightgbm")
def lightgbm(horizon: int, quantiles: Sequence[float], **options: Any) -> Forecaster:
    """Boosted trees on the quantile loss; see `Growth` for the options."""
    return LightGbm(horizon, quantiles, Growth(**{"rows": 200_000, "trees": 200, "leaf": 100, **options}))
