"""What a forecast is worth: the profit of a buyer who follows it, in a replay with lost sales.

    worth = replay(demand, forecast, quantiles, origins, Economics(price, cost, holding, lead=2))
    worth.profit, worth.share  # (series,) money; share of what perfect foresight earns

Every period: the order placed `lead` periods ago arrives, the buyer orders up to a level, demand is served
from the shelf, what is not served is lost, what is left costs holding. The level is a quantile of demand
over the protection interval, this period and the `lead` next ones, at the newsvendor's critical ratio. The
recorded demand is replayed as it stands, whatever is bought; what is left at the end is worth its cost.
Source: Zipkin (2000), "Foundations of Inventory Management", chapter 9, for the policy; Madeka et al.
(2022), "Deep Inventory Management", arXiv 2210.03137, for replaying history to judge a buyer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from workgym.agents.forecast.panel import Floats
from workgym.services.kernel import BadInput

Doubles = NDArray[np.float64]
SERVICES = tuple(round(0.05 * k, 2) for k in range(2, 20))  # what `tuned` chooses from


@dataclass(frozen=True)
class Economics:
    """What a unit earns and costs; numbers, or arrays (series,).

    Attributes:
        price: money for a unit sold.
        cost: money for a unit bought.
        holding: money for a unit on the shelf at the end of a period.
        lead: periods from an order to its arrival; 0 arrives before the demand of the same period.
        dependence: how demand's errors move together across the periods of the protection interval, from 0
            (independently) to 1 (all alike). The forecasts tell one period at a time and cannot say.
        service: the quantile bought up to, instead of the newsvendor's critical ratio; None for that one.
            With lost sales and a lead time the ratio orders too much, see `tuned`.

    Raises:
        BadInput: a unit earns nothing, costs nothing to hold, or the lead time is negative.
    """

    price: float | Doubles
    cost: float | Doubles
    holding: float | Doubles
    lead: int
    dependence: float = 0.0
    service: float | None = None

    def __post_init__(self) -> None:
        if (np.asarray(self.price) <= self.cost).any() or (np.asarray(self.holding) <= 0).any():
            raise BadInput("expected a price above the cost and a positive holding cost, found otherwise")
        if self.service is not None and not 0 < self.service < 1:
            raise BadInput(f"expected a service between 0 and 1, found {self.service}")
        if self.lead < 0 or not 0 <= self.dependence <= 1:
            raise BadInput(
                f"expected a lead time of at least 0 and a dependence in [0, 1], found {self.lead} "
                f"and {self.dependence}"
            )

    @property
    def margin(self) -> Doubles:
        """Money for a unit sold, less its cost."""
        return np.asarray(self.price, dtype=np.float64) - self.cost

    @property
    def critical_ratio(self) -> Doubles:
        """Share of the periods that the newsvendor serves in full: underage over underage plus overage."""
        ratio: Doubles = self.margin / (self.margin + self.holding)
        return ratio


@dataclass(frozen=True)
class Worth:
    """What a forecast earned, series by series."""

    profit: Doubles  # (series,) money
    perfect: Doubles  # (series,) money that perfect foresight earns from the same start
    sold: Doubles  # (series,) units
    lost: Doubles  # (series,) units
    held: Doubles  # (series,) units times periods on the shelf

    @property
    def share(self) -> float:
        """Total profit as a share of perfect foresight's."""
        return float(self.profit.sum() / self.perfect.sum())


def levels_at(forecast: Floats, quantiles: Sequence[float], ratio: Doubles) -> Doubles:
    """(...,) the quantile `ratio` of forecasts (..., quantiles): on a normal scale, linear between them.

    Beyond the outermost quantiles the nearest two are carried on; with one quantile it is that one. The
    ratio must broadcast against (...,).
    """
    values = forecast.astype(np.float64)
    normal = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])
    if len(quantiles) == 1:
        return values[..., 0]
    z = normal(np.asarray(quantiles))
    wanted = np.broadcast_to(normal(ratio), values.shape[:-1])
    at = np.clip(np.searchsorted(z, wanted) - 1, 0, len(z) - 2)
    low, high = (np.take_along_axis(values, i[..., None], axis=-1)[..., 0] for i in (at, at + 1))
    found: Doubles = np.maximum(low + (high - low) * (wanted - z[at]) / (z[at + 1] - z[at]), 0)
    return found


def order_up_to(forecast: Floats, quantiles: Sequence[float], economics: Economics) -> Doubles:
    """(series, origins) levels: a quantile of the demand over the protection interval.

    The medians add up; the distances from them to the critical quantile add up as deviations that depend
    on each other as `economics.dependence` says.

    Raises:
        BadInput: the horizon is shorter than the protection interval.
    """
    periods = economics.lead + 1
    if forecast.shape[2] < periods:
        raise BadInput(f"expected forecasts of {periods} periods at least, found {forecast.shape[2]}")
    near = forecast[:, :, :periods]
    aim = economics.critical_ratio if economics.service is None else np.asarray(economics.service)
    ratio = np.broadcast_to(aim, (len(near),))[:, None, None]
    middle = levels_at(near, quantiles, np.asarray(0.5))
    away = levels_at(near, quantiles, ratio) - middle
    alone, alike = (away**2).sum(axis=2), away.sum(axis=2)
    spread = np.sqrt((1 - economics.dependence) * alone + economics.dependence * alike**2)
    levels: Doubles = np.maximum(middle.sum(axis=2) + np.sign(alike) * spread, 0)
    return levels


def replay(
    demand: Floats, forecast: Floats, quantiles: Sequence[float], origins: Sequence[int], economics: Economics
) -> Worth:
    """Buy by the forecasts at successive origins and count the money.

    On the shelf at the first origin lies what was wanted in the `lead` periods before it, and nothing is on
    its way; foresight begins with the same.

    Args:
        demand: (series, periods) what customers want.
        forecast: (series, origins, horizon, quantiles).
        quantiles: of the forecast.
        origins: successive periods that are replayed, the first of them not before `lead`.
        economics: of all or of each of the series.

    Raises:
        BadInput: the origins are not successive, or their demand is not known.
    """
    if (np.diff(np.asarray(origins)) != 1).any() or len(origins) <= economics.lead:
        raise BadInput(f"expected more than {economics.lead} successive origins, found {list(origins)}")
    lead, first = economics.lead, min(origins)
    if first < lead:
        raise BadInput(f"expected a first origin of {lead} at least, found {first}; it starts from the past")
    wanted = demand[:, np.asarray(origins)].astype(np.float64)
    start = np.nan_to_num(demand[:, first - lead : first]).sum(axis=1, dtype=np.float64)
    if not np.isfinite(wanted).all():
        raise BadInput("expected known demand at all origins, found NaN; leave those series out")
    return run(wanted, order_up_to(forecast, quantiles, economics), start, economics)


def run(wanted: Doubles, levels: Doubles, start: Doubles, economics: Economics) -> Worth:
    """The replay itself: demand and order-up-to levels (series, periods), and the shelf at the start."""
    n, periods = wanted.shape
    lead = economics.lead
    shelf, pipeline = start.copy(), np.zeros((n, lead + 1))  # column 0 arrives now
    sold, lost, held = np.zeros(n), np.zeros(n), np.zeros(n)
    for t in range(periods):
        pipeline[:, lead] += np.maximum(levels[:, t] - shelf - pipeline.sum(axis=1), 0)
        shelf += pipeline[:, 0]
        pipeline = np.concatenate([pipeline[:, 1:], np.zeros((n, 1))], axis=1)
        served = np.minimum(shelf, wanted[:, t])
        shelf -= served
        sold += served
        held += shelf
        lost += wanted[:, t] - served
    profit = economics.margin * sold - np.asarray(economics.holding) * held
    return Worth(profit, _perfect(wanted, start, economics), sold, lost, held)


def _perfect(wanted: Doubles, start: Doubles, economics: Economics) -> Doubles:
    """(series,) the most that can be earned: the start sells first, then all arrives just in time."""
    lead = economics.lead
    total = np.cumsum(wanted, axis=1)
    soon = np.minimum(start, total[:, lead - 1]) if lead else np.zeros_like(start)
    sold = soon + wanted[:, lead:].sum(axis=1)
    held = np.maximum(start[:, None] - total, 0).sum(axis=1)
    most: Doubles = economics.margin * sold - np.asarray(economics.holding) * held
    return most


def tuned(
    demand: Floats, forecast: Floats, quantiles: Sequence[float], origins: Sequence[int], economics: Economics
) -> Economics:
    """The economics with the service that would have earned most at these origins.

    A buyer tunes the service on the past before following a forecast; without that a forecast that is too
    narrow can earn more than a calibrated one, only because the critical ratio aims too high. Judge on
    later origins than those tuned on. Why it aims too high: what is lost does not come back, so the shelf
    is fuller than with backlogs; Zipkin (2008), "Old and new methods for lost-sales inventory systems".
    """

    def earned(service: float) -> float:
        return replay(demand, forecast, quantiles, origins, replace(economics, service=service)).share

    return replace(economics, service=max(SERVICES, key=earned))
