"""One item, one supplier, a lead time, and customers who do not wait: the optimum and its textbook rivals.

A period starts with the receipt of the order placed `lead_time` periods before; then an order is placed,
then demand comes, and what the stock cannot serve is lost. State: stock on hand after today's receipt
x_0 and the pipeline x_1, ..., x_{L-1}, the oldest first. With order z and demand d the next state is
((x_0 - d)^+ + x_1, x_2, ..., x_{L-1}, z); at L = 1 it is (x_0 - d)^+ + z. A period costs
holding (x_0 - d)^+ + penalty (d - x_0)^+, plus `fixed_cost` if z > 0.

Source: Zipkin (2008), Old and New Methods for Lost-Sales Inventory Systems, Operations Research 56(5).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numba import njit

from workgym.agents.inventory.chains import MOST_STATES, Average, Moves, average_cost, reachable
from workgym.agents.inventory.demand import Demand, Floats, Integers
from workgym.services.compiled import KERNEL, PART
from workgym.services.kernel import BadInput

MOST_CELLS = 60_000_000  # of a value array; two of them and the orders take a gigabyte
MOST_SWEEPS = 20_000


class Policy(Protocol):
    """What orders: whole pieces from whole states, any number of lanes at once."""

    def order(self, on_hand: Integers, pipeline: Integers) -> Integers:
        """Orders (...,) for stock on hand (...,) after today's receipt and a pipeline (..., L - 1)."""


@dataclass(frozen=True, eq=False)
class LostSales:
    """A lost-sales problem.

    Attributes:
        demand: of one period.
        lead_time: L >= 1 periods from an order to its receipt.
        holding: cost of a piece left at the end of a period.
        penalty: cost of a lost piece.
        fixed_cost: cost of placing an order of any size.
        max_order: no order exceeds it; None for a bound that no optimal order exceeds.
        max_position: stock and orders under way, after ordering, do not exceed it; None for such a bound.
    """

    demand: Demand
    lead_time: int
    holding: float = 1.0
    penalty: float = 4.0
    fixed_cost: float = 0.0
    max_order: int | None = None
    max_position: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is no such problem."""
        if self.lead_time < 1 or self.holding <= 0 or self.penalty <= 0 or self.fixed_cost < 0:
            raise BadInput(
                "a lost-sales problem needs a lead time of 1 or more, positive holding and penalty costs and "
                f"a fixed cost of 0 or more, found {self.lead_time}, {self.holding}, {self.penalty}, "
                f"{self.fixed_cost}; a lead time of 0 is a newsvendor"
            )

    @property
    def fractile(self) -> float:
        """Penalty / (penalty + holding)."""
        return self.penalty / (self.penalty + self.holding)

    @cached_property
    def order_cap(self) -> int:
        """The most that is ordered at once: the fractile of one period's demand (Zipkin 2008, section 3).

        With a fixed cost the economic lot is allowed for on top of twice that, which is no proven bound:
        raise `max_order` and look whether the optimum moves.
        """
        if self.max_order is not None:
            return self.max_order
        once = self.demand.quantile(self.fractile)
        return once if not self.fixed_cost else min(2 * once + self._lot, self.position_cap)

    @cached_property
    def position_cap(self) -> int:
        """The most that stock and pipeline hold after ordering: the fractile of L + 1 periods' demand."""
        if self.max_position is not None:
            return self.max_position
        covered = self.demand.over(self.lead_time + 1).quantile(self.fractile)
        return covered if not self.fixed_cost else covered + self._lot

    @property
    def _lot(self) -> int:
        return int(np.ceil(np.sqrt(2 * self.fixed_cost * self.demand.mean / self.holding)))

    def period_cost(self, on_hand: Any) -> Floats:
        """Expected holding and penalty cost (...,) of a period that starts with stock `on_hand` (...,)."""
        return self.demand.expected_cost(on_hand, self.holding, self.penalty)


class Optimum(NamedTuple):
    """What value iteration found.

    Attributes:
        average: the optimal average cost.
        policy: an optimal policy.
    """

    average: Average
    policy: TablePolicy


@dataclass(frozen=True, eq=False)
class TablePolicy:
    """Orders looked up in an array, such as the optimal ones.

    Attributes:
        orders: int16 (B, ..., B, M + 1): the order at [x_1, ..., x_{L-1}, x_0]; B - 1 is the largest order
            and M the largest position. A state beyond the array is taken to its edge, and the order then
            kept within M.
    """

    orders: Any

    def order(self, on_hand: Integers, pipeline: Integers) -> Integers:
        """Orders (...,) for on hand (...,) and pipeline (..., L - 1)."""
        *sides, length = self.orders.shape
        slots = tuple(np.clip(pipeline[..., slot], 0, side - 1) for slot, side in enumerate(sides))
        wanted = np.asarray(self.orders[(*slots, np.clip(on_hand, 0, length - 1))], dtype=np.int64)
        room = np.maximum(0, length - 1 - on_hand - pipeline.sum(axis=-1))
        return np.asarray(np.minimum(wanted, room))


@njit(**PART)
def _expect(row: Any, pmf: Any, tail: Any, last: int, arrives: int, most: int, out: Any) -> None:
    """E row[(y - D)^+ + arrives] for y = 0..most into `out`; pmf is zero past `last`."""
    for y in range(most + 1):
        out[y] = tail[y] * row[arrives]
    for left in range(1, most + 1):
        worth = row[arrives + left]
        for y in range(left, min(most, left + last) + 1):
            out[y] += pmf[y - left] * worth


@njit(**PART)
def _room(row: int, base: int, cap: int) -> int:
    """What the cap leaves for stock on hand beside a pipeline that is read as a number to the base `base`."""
    while row > 0:
        cap -= row % base
        row //= base
    return cap


@njit(**KERNEL)
def _improve(
    value: Any,
    fresh: Any,
    orders: Any,
    base: int,
    pmf: Any,
    tail: Any,
    last: int,
    cost: Any,
    fixed: float,
    expected: Any,
    span: Any,
) -> None:
    """One pass of value iteration over every state within the position cap.

    A row of `value` (rows, M + 1) is a pipeline read as a number to the base `base`, its first digit the
    next to arrive; `span` (2,) becomes the least and the largest change of a value.
    """
    rows, length = value.shape
    span[0], span[1] = np.inf, -np.inf
    for row in range(rows):
        room = _room(row, base, length - 1)
        for y in range(room + 1):
            fresh[row, y] = np.inf
        for z in range(min(base - 1, room) + 1):
            after = row * base + z
            extra = fixed if z > 0 else 0.0
            _expect(value[after % rows], pmf, tail, last, after // rows, room - z, expected)
            for y in range(room - z + 1):
                if expected[y] + extra < fresh[row, y]:
                    fresh[row, y] = expected[y] + extra
                    orders[row, y] = z
        for y in range(room + 1):
            fresh[row, y] += cost[y]
            span[0] = min(span[0], fresh[row, y] - value[row, y])
            span[1] = max(span[1], fresh[row, y] - value[row, y])


class _Iteration:
    """Value iteration on one problem, a pass at a time."""

    def __init__(self, problem: LostSales) -> None:
        self.base, self.length = problem.order_cap + 1, problem.position_cap + 1
        cells = self.base ** (problem.lead_time - 1) * self.length
        if cells > MOST_CELLS:
            raise BadInput(
                f"the optimum of a lost-sales problem takes {MOST_CELLS} cells at most, found {cells:.3g}; "
                "shorten the lead time or evaluate a policy instead"
            )
        shape = (cells // self.length, self.length)
        self.value, self.fresh = np.zeros(shape), np.zeros(shape)
        self.orders = np.zeros(shape, dtype=np.int16)
        self.span = np.zeros(2)
        self.lead_time, self.fixed = problem.lead_time, float(problem.fixed_cost)
        self.pmf, self.tail = problem.demand.padded(self.length)
        self.last = min(problem.demand.largest, self.length - 1)
        self.cost, self.expected = problem.period_cost(np.arange(self.length)), np.zeros(self.length)

    def improve(self) -> None:
        """One pass; the value of the empty state is then taken off every value."""
        _improve(
            self.value,
            self.fresh,
            self.orders,
            self.base,
            self.pmf,
            self.tail,
            self.last,
            self.cost,
            self.fixed,
            self.expected,
            self.span,
        )
        self.value, self.fresh = self.fresh, self.value
        self.value -= self.value[0, 0]

    def policy(self) -> TablePolicy:
        """The orders of the last pass."""
        return TablePolicy(self.orders.reshape(*[self.base] * (self.lead_time - 1), self.length).copy())


def optimum(problem: LostSales, tolerance: float = 1e-6) -> Optimum:
    """The optimal average cost, bounds `tolerance` apart at most (relative), and an optimal policy.

    Relative value iteration from zero; among equal orders the smallest. Measured on one thread: Poisson(5),
    L = 4 in 0.03 s, L = 6 in 2 s at penalty 4 and 10 s at 39.

    Raises:
        BadInput: the state space is too large, or the bounds do not meet.
    """
    iteration = _Iteration(problem)
    for sweep in range(1, MOST_SWEEPS + 1):
        iteration.improve()
        low, high = iteration.span
        if high - low <= tolerance * high:
            return Optimum(Average(float(low), float(high), sweep), iteration.policy())
    raise BadInput(
        f"value iteration needs its bounds to meet, found {low:.6g}..{high:.6g}; loosen the tolerance"
    )


def bounds(problem: LostSales) -> Bounds:
    """Bounds on the optimal average cost that cost nothing, for lead times beyond value iteration.

    The same system with backlogging costs more at the same penalty and less at penalty / (L + 1), and no
    lead time at all costs less. Source: Janakiraman, Seshadri and Shanthikumar (2007), A comparison of the
    optimal costs of two canonical inventory systems, Operations Research 55(5).

    Raises:
        BadInput: the problem has a fixed cost.
    """
    if problem.fixed_cost:
        raise BadInput(f"these bounds are for no fixed cost, found {problem.fixed_cost}; use `optimum`")

    def backlogged(periods: int, penalty: float) -> float:
        faced = problem.demand.over(periods)
        level = faced.quantile(penalty / (penalty + problem.holding))
        return float(faced.expected_cost(level, problem.holding, penalty))

    whole = problem.lead_time + 1
    lower = max(backlogged(1, problem.penalty), backlogged(whole, problem.penalty / whole))
    return Bounds(lower, backlogged(whole, problem.penalty))


class Bounds(NamedTuple):
    """Two costs per period that the optimal one lies between."""

    lower: float
    upper: float


def myopic_table(problem: LostSales, periods: int = 1) -> TablePolicy:
    """Myopic-k: order as if only the first `periods` periods that the order can reach mattered.

    The order placed now reaches the period L from now; orders beyond the horizon are free of consequence,
    so that pass L + k of value iteration from zero orders as myopic-k does. Source: Morton (1971), as in
    Zipkin (2008), section 4.
    """
    iteration = _Iteration(problem)
    for _ in range(problem.lead_time + periods):
        iteration.improve()
    return iteration.policy()


def evaluate(
    problem: LostSales, policy: Policy, tolerance: float = 1e-7, most_states: int = MOST_STATES
) -> Average:
    """The exact long-run average cost of any stationary policy, from an empty system.

    Raises:
        BadInput: it reaches more than `most_states` states; `simulate` it.
    """
    demand, width = problem.demand, problem.lead_time - 1

    def period(on_hand: Integers, pipeline: Integers) -> Moves:
        order = np.asarray(policy.order(on_hand, pipeline), dtype=np.int64)
        ahead = np.concatenate([pipeline, order[:, None]], axis=1)
        sold = np.arange(min(demand.largest, int(on_hand.max(initial=0))) + 1)
        probability = np.where(sold < on_hand[:, None], demand.pmf[sold], 0.0)
        everything = np.flatnonzero(on_hand <= demand.largest)
        probability[everything, on_hand[everything]] = demand.tail[on_hand[everything]]
        cost = problem.period_cost(on_hand) + problem.fixed_cost * (order > 0)
        return Moves((on_hand + ahead[:, 0])[:, None] - sold, probability, ahead[:, 1:], cost)

    chain = reachable(period, 0, np.zeros(width, dtype=np.int64), most_states)
    return average_cost(chain, tolerance)


class Estimate(NamedTuple):
    """A simulated average cost per period.

    Attributes:
        cost: the mean over lanes.
        error: its standard error.
    """

    cost: float
    error: float


def simulate(
    problem: LostSales,
    policy: Policy,
    rng: np.random.Generator,
    lanes: int = 4_000,
    periods: int = 600,
    warm_up: int = 100,
) -> Estimate:
    """The average cost of a policy over `lanes` independent lanes of `periods` periods after `warm_up`.

    Each period is charged its expected cost given the stock it starts with, which removes the noise of the
    demand of that period. A lane starts empty with one mean demand under way in every slot.
    """
    on_hand = np.zeros(lanes, dtype=np.int64)
    pipeline = np.full((lanes, problem.lead_time - 1), round(problem.demand.mean), dtype=np.int64)
    total = np.zeros(lanes)
    for period in range(warm_up + periods):
        order = policy.order(on_hand, pipeline)
        if period >= warm_up:
            total += problem.period_cost(on_hand) + problem.fixed_cost * (order > 0)
        ahead = np.concatenate([pipeline, order[:, None]], axis=1)
        on_hand = np.maximum(on_hand - problem.demand.sample(rng, lanes), 0) + ahead[:, 0]
        pipeline = ahead[:, 1:]
    means = total / periods
    return Estimate(float(means.mean()), float(means.std(ddof=1) / np.sqrt(lanes)))
