"""Textbook policies for lost sales, and the search for the best of each family.

Sources: base-stock and myopic: Zipkin (2008); capped base-stock: Xin (2021), Understanding the performance
of capped base-stock policies in lost-sales inventory models; projected inventory level: van Jaarsveld and
Arts (2024), Projected inventory-level policies for lost sales inventory systems, both Operations Research;
(s, S) and (s, nQ): Bijvank, Bhulai and Huh (2015).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from workgym.agents.inventory.chains import Average
from workgym.agents.inventory.demand import Demand, Floats, Integers
from workgym.agents.inventory.lost_sales import Estimate, LostSales, Policy, evaluate, simulate
from workgym.agents.inventory.search import downhill
from workgym.services.compiled import KERNEL
from workgym.services.kernel import BadInput


def _position(on_hand: Integers, pipeline: Integers) -> Integers:
    """Stock on hand and under way, (...,)."""
    return np.asarray(on_hand + pipeline.sum(axis=-1))


@dataclass(frozen=True)
class BaseStock:
    """Order up to `level` pieces on hand and under way."""

    level: int

    def order(self, on_hand: Integers, pipeline: Integers) -> Integers:
        """Orders (...,) for on hand (...,) and pipeline (..., L - 1)."""
        return np.maximum(self.level - _position(on_hand, pipeline), 0)


@dataclass(frozen=True)
class CappedBaseStock:
    """Order up to `level` pieces on hand and under way, `cap` pieces at most."""

    level: int
    cap: int

    def order(self, on_hand: Integers, pipeline: Integers) -> Integers:
        """Orders (...,) for on hand (...,) and pipeline (..., L - 1)."""
        return np.clip(self.level - _position(on_hand, pipeline), 0, self.cap)


@dataclass(frozen=True)
class ReorderUpTo:
    """(s, S): once the position is at or below `reorder`, order up to `level`, `cap` pieces at most.

    With a cap it is the modified (s, S, q) policy of Bijvank, Bhulai and Huh (2015).
    """

    reorder: int
    level: int
    cap: int | None = None

    def order(self, on_hand: Integers, pipeline: Integers) -> Integers:
        """Orders (...,) for on hand (...,) and pipeline (..., L - 1)."""
        position = _position(on_hand, pipeline)
        wanted = np.clip(self.level - position, 0, self.cap)
        return np.where(position <= self.reorder, wanted, 0)


@dataclass(frozen=True)
class ReorderBatches:
    """(s, nQ): once the position is at or below `reorder`, the fewest batches that lift it above."""

    reorder: int
    batch: int

    def order(self, on_hand: Integers, pipeline: Integers) -> Integers:
        """Orders (...,) for on hand (...,) and pipeline (..., L - 1)."""
        gap = self.reorder - _position(on_hand, pipeline)
        return np.where(gap >= 0, (gap // self.batch + 1) * self.batch, 0)


@njit(**KERNEL)
def _leftover(on_hand: Any, pipeline: Any, pmf: Any, tail: Any, last: int, scratch: Any, out: Any) -> None:
    """The distribution of what is left at the end of the last period before today's order arrives.

    Lanes (n,), pipelines (n, L - 1) -> `out` (n, width); `scratch` is (width,), `pmf` zero past `last`.
    """
    lanes, slots = pipeline.shape
    width = len(scratch)
    for lane in range(lanes):
        low = top = on_hand[lane]  # stock is between the two
        for stock in range(width):
            scratch[stock] = 0.0
        scratch[top] = 1.0
        for period in range(slots + 1):
            for stock in range(width):
                out[lane, stock] = 0.0
            for stock in range(low, top + 1):
                out[lane, 0] += scratch[stock] * tail[stock]
                for lost in range(min(stock - 1, last) + 1):
                    out[lane, stock - lost] += scratch[stock] * pmf[lost]
            if period < slots:
                low = pipeline[lane, period]
                for stock in range(low):
                    scratch[stock] = 0.0
                for stock in range(top + 1):
                    scratch[stock + low] = out[lane, stock]
                top += low


def leftover(demand: Demand, on_hand: Integers, pipeline: Integers) -> Floats:
    """P(X = k), (..., width), of the stock X left just before the order placed now is received.

    Shapes: on hand (...,), pipeline (..., L - 1); k runs to the largest position among the lanes.
    """
    lanes = np.ascontiguousarray(on_hand, dtype=np.int64).reshape(-1)
    slots = np.ascontiguousarray(pipeline, dtype=np.int64).reshape(len(lanes), np.shape(pipeline)[-1])
    if min(lanes.min(initial=0), slots.min(initial=0)) < 0:
        raise BadInput(
            "stock and orders under lost sales are 0 or more, found a negative one; check the lanes"
        )
    width = int(_position(lanes, slots).max(initial=0)) + 1
    out = np.zeros((len(lanes), width))
    pmf, tail = demand.padded(width)
    _leftover(lanes, slots, pmf, tail, min(demand.largest, width - 1), np.zeros(width), out)
    return out.reshape(*np.shape(on_hand), width)


@dataclass(frozen=True)
class Myopic:
    """Order what minimises the expected cost of the period in which the order arrives.

    Attributes:
        demand: of one period.
        fractile: penalty / (penalty + holding).
    """

    demand: Demand
    fractile: float

    def order(self, on_hand: Integers, pipeline: Integers) -> Integers:
        """Orders (...,) for on hand (...,) and pipeline (..., L - 1)."""
        left = leftover(self.demand, on_hand, pipeline)
        width = left.shape[-1]
        most = self.demand.quantile(self.fractile)
        served = np.ones(width + most)  # P(D <= k), one past the last atom
        kept = min(len(served), self.demand.largest + 1)
        served[:kept] = self.demand.cdf[:kept]
        enough = (
            np.stack([left @ served[z : z + width] for z in range(most)], axis=-1) if most else left[..., :0]
        )
        return np.asarray((enough < self.fractile - 1e-12).sum(axis=-1), dtype=np.int64)


@dataclass(frozen=True)
class ProjectedInventory:
    """Order so that the expected stock just after the order's receipt is `level`, rounded to whole pieces.

    Attributes:
        demand: of one period.
        level: pieces, on any grid.
        cap: no order exceeds it; None for no cap.
    """

    demand: Demand
    level: float
    cap: int | None = None

    def order(self, on_hand: Integers, pipeline: Integers) -> Integers:
        """Orders (...,) for on hand (...,) and pipeline (..., L - 1)."""
        left = leftover(self.demand, on_hand, pipeline)
        expected = left @ np.arange(left.shape[-1])
        wanted = np.floor(np.maximum(self.level - expected, 0.0) + 0.5).astype(np.int64)
        return wanted if self.cap is None else np.minimum(wanted, self.cap)


class Best(NamedTuple):
    """The best policy of a family, and what it costs.

    Attributes:
        policy: the policy.
        average: its exact average cost, or
        estimate: its simulated one.
    """

    policy: Any
    average: Average | None
    estimate: Estimate | None

    @property
    def cost(self) -> float:
        """Per period."""
        return self.average.cost if self.average else self.estimate.cost if self.estimate else np.nan


def myopic(problem: LostSales) -> Myopic:
    """The myopic policy of a problem."""
    return Myopic(problem.demand, problem.fractile)


def _cost_of(problem: LostSales, rng: np.random.Generator | None) -> Callable[[Policy], Best]:
    """Evaluates policies: exactly without `rng`, else simulated, all of them on the same demands."""
    if rng is None:
        return lambda policy: Best(policy, evaluate(problem, policy), None)
    seed = int(rng.integers(2**63))
    return lambda policy: Best(policy, None, simulate(problem, policy, np.random.default_rng(seed)))


def _usual_level(problem: LostSales) -> int:
    """Where the search for an order-up-to level starts."""
    return round(problem.demand.mean * problem.lead_time) + problem.demand.quantile(problem.fractile)


def best_base_stock(problem: LostSales, rng: np.random.Generator | None = None) -> Best:
    """The best uncapped base-stock policy: exact without `rng`, simulated with common random numbers with it.

    Cost is convex in the level (Janakiraman and Roundy 2004), so that a walk downhill finds the least. The
    exact way is for L <= 4; beyond, the states that a base-stock policy reaches are too many.
    """
    cost = _cost_of(problem, rng)
    (level,) = downhill(lambda level: cost(BaseStock(level)).cost, (_usual_level(problem),), (0,))
    return cost(BaseStock(level))


def best_capped_base_stock(problem: LostSales, rng: np.random.Generator | None = None) -> Best:
    """The best capped base-stock policy: for every cap a walk downhill over the level.

    Caps run from just below the mean demand, under which stock runs dry, to one above the order cap. With
    `rng` the search runs on simulations with common random numbers, which pays from L = 5 on: 5 s instead
    of a minute at L = 6. Ask `evaluate` for the exact cost of what it finds.
    """
    cost = _cost_of(problem, rng)
    level, results = _usual_level(problem), []
    for cap in range(max(1, int(0.9 * problem.demand.mean)), problem.order_cap + 2):
        (level,) = downhill(partial(_capped, cost, cap), (level,), (0,))
        results.append(cost(CappedBaseStock(level, cap)))
    return min(results, key=lambda found: found.cost)


def _capped(cost: Callable[[Policy], Best], cap: int, level: int) -> float:
    return cost(CappedBaseStock(level, cap)).cost


def best_projected_inventory(
    problem: LostSales, grid: float = 0.25, rng: np.random.Generator | None = None
) -> Best:
    """The best projected inventory level on multiples of `grid`: whole steps, then the grid around the best.

    With `rng` the search runs on simulations, which pays only where the chain is too long to evaluate.
    """
    cost = _cost_of(problem, rng)

    def result(level: float) -> Best:
        return cost(ProjectedInventory(problem.demand, level))

    (whole,) = downhill(lambda level: result(level).cost, (problem.demand.quantile(problem.fractile),), (1,))
    steps = round(1 / grid)
    near = [result(whole + step * grid) for step in range(1 - steps, steps)]
    return min(near, key=lambda found: found.cost)


def best_reorder_up_to(problem: LostSales, reorders: range, levels: range) -> Best:
    """The best (s, S) among `reorders` and `levels`, exactly evaluated one by one."""
    return _grid(problem, [ReorderUpTo(s, S) for s in reorders for S in levels if s < S])


def best_reorder_batches(problem: LostSales, reorders: range, batches: range) -> Best:
    """The best (s, nQ) among `reorders` and `batches`, exactly evaluated one by one."""
    return _grid(problem, [ReorderBatches(s, Q) for s in reorders for Q in batches])


def _grid(problem: LostSales, policies: list[Any]) -> Best:
    if not policies:
        raise BadInput("a search needs one policy at least, found none; widen the ranges")
    results = [Best(policy, evaluate(problem, policy), None) for policy in policies]
    return min(results, key=lambda found: found.cost)
