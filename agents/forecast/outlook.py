"""What a forecaster tells a supply chain: quantiles over each link's protection interval, in every period.

    make_outlook(book, "empirical", "sales.empirical.outlook.npz", window=28)
    gym.make("workgym/SupplyChain.retail-v0", history="sales.demand.npz",
             forecast="sales.empirical.outlook.npz")

The forecaster learns from the train window alone. What it tells before a period reads no demand of that
period or later; promotions are the business's own plan, known to the end of the split's window. In the
train window a forecaster that learns has seen the answers: only gate and audit judge it.

Forecasts are of one period and one store. Medians add up; the distances to P10 and P90 add up as errors
that do not depend on each other, as `workgym.agents.forecast.downstream` assumes by default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workgym.agents.forecast import (
    DECILES,
    Floats,
    Forecaster,
    Panel,
    make_forecaster,
    make_panel,
    with_calendar,
)
from workgym.envs.supply_chain.view import Sheet, sheet_of
from workgym.services.supply_chain import rules
from workgym.services.supply_chain.demand_history import LARGEST, SHARES, DemandBook
from workgym.services.supply_chain.outlook import Outlook
from workgym.services.supply_chain.retail import retail_of_history
from workgym.services.supply_chain.scenario import setup_of

Ints = NDArray[np.int32]
SEASON = {"day": 7, "week": 52}  # periods of the cycle that is told as a covariate
HARMONICS = 3  # of it: as many as a week has
AT_ONCE = 64  # origins forecast in one call, so that memory stays small


def make_outlook(book: DemandBook, forecaster: str, path: str | Path, **options: Any) -> str:
    """Forecast a whole book and write what was told to a file; returns its digest.

    Args:
        book: a company's whole demand history.
        forecaster: a name that `workgym.agents.forecast.forecasters` knows.
        path: where to write, `NAME.outlook.npz`.
        **options: of the forecaster.

    Raises:
        BadInput: the history is too short or a split's window, or there is no such forecaster or option.
    """
    return outlook_of(book, forecaster, **options).save(path)


def outlook_of(book: DemandBook, forecaster: str, **options: Any) -> Outlook:
    """What a forecaster tells in every period of a book; see `make_outlook`."""
    train = book.partition("train")
    sheet = sheet_of(setup_of(retail_of_history(train)))
    horizon = int(sheet.protection.max())
    made = make_forecaster(forecaster, horizon, DECILES, **options)
    fitted = made.fit(panel_of(train, horizon), len(train.units))
    told = [_of_split(book.partition(split), fitted, sheet) for split in SHARES]
    return Outlook(np.concatenate(told), sheet.protection, book.digest(), forecaster)


def panel_of(book: DemandBook, ahead: int) -> Panel:
    """The series of a book, location by location, with promotions and the season as known covariates.

    Args:
        book: whole, or of a split.
        ahead: periods after its end, of unknown demand and without promotions.
    """
    periods, places, skus = book.units.shape
    units = np.where(book.units < 0, np.nan, book.units).reshape(periods, places * skus).T
    demand = np.pad(units, ((0, 0), (0, ahead)), constant_values=np.nan)
    promoted = np.tile(np.pad(book.promoted, ((0, ahead), (0, 0))).T, (places, 1))
    panel = make_panel(demand, promoted[:, :, None].astype(np.float32))
    return with_calendar(panel, SEASON[book.period], HARMONICS)


def _of_split(book: DemandBook, fitted: Forecaster, sheet: Sheet) -> Ints:
    """(periods of the window, A, K, 3) quantiles, 1/256 units; -1 in a first period that nothing precedes."""
    panel = panel_of(book, fitted.horizon)
    skus, end = len(book.skus), len(book.units)
    quantiles = np.full((end, len(sheet.protection), skus, len(DECILES)), -1, dtype=np.int32)
    for first in range(max(book.context, 1), end, AT_ONCE):
        origins = range(first, min(first + AT_ONCE, end))
        told = fitted.predict(panel, origins)
        shaped = told.reshape(len(book.locations), skus, *told.shape[1:])
        for a, periods in enumerate(sheet.protection.tolist()):
            served = sheet.reach[a, 1:] > 0  # node 0 is the centre, which has no customers of its own
            quantiles[first : origins.stop, a] = summed(shaped[served, :, :, :periods]).swapaxes(0, 1)
    return quantiles[book.context :]


def summed(told: Floats) -> Ints:
    """(K, origins, 3) quantiles of demand, 1/256 units, of told (stores, K, origins, periods, 3)."""
    each = told.astype(np.float64)
    low, middle, high = (each[..., q] for q in range(len(DECILES)))
    total = middle.sum(axis=(0, 3))
    under = np.sqrt(((middle - low) ** 2).sum(axis=(0, 3)))
    over = np.sqrt(((high - middle) ** 2).sum(axis=(0, 3)))
    units = np.maximum(np.stack([total - under, total, total + over], axis=-1), 0)
    found: Ints = np.minimum(np.rint(units * rules.FRACTION), LARGEST).astype(np.int32)
    return found
