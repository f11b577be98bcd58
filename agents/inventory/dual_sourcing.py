"""One item with a slow, cheap source and a fast, dear one: the optimum and its textbook rivals.

A period starts with the receipt of the regular order placed `lead_time` periods before; then a regular
order q and an expedited order e are placed, e is received at once, demand d comes, and what the stock
cannot serve is backlogged. State: stock net of backlog after today's regular receipt x_0, and the regular
orders under way x_1, ..., x_{L-1}, the oldest first. The next state is
(x_0 + e - d + x_1, x_2, ..., x_{L-1}, q). A period costs regular q + expedited e +
holding (x_0 + e - d)^+ + penalty (d - x_0 - e)^+.

Source: Veeraraghavan and Scheller-Wolf (2008), Now or Later; the settings of Gijsbrechts et al. (2022),
section 6.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numba import njit

from workgym.agents.inventory.chains import MOST_STATES, Average, Moves, average_cost, reachable
from workgym.agents.inventory.demand import Demand, Integers
from workgym.agents.inventory.search import downhill
from workgym.services.compiled import KERNEL
from workgym.services.kernel import BadInput

MOST_CELLS = 20_000_000
MOST_SWEEPS = 20_000
SEARCHED = 1e-5  # relative tolerance while a search looks on


class Orders(NamedTuple):
    """What is ordered in a period, whole pieces, any shape.

    Attributes:
        regular: from the slow source.
        expedited: from the fast one.
    """

    regular: Integers
    expedited: Integers


class Policy(Protocol):
    """What orders from both sources, any number of lanes at once."""

    def order(self, on_hand: Integers, pipeline: Integers) -> Orders:
        """Orders for net stock (...,) after today's regular receipt and a pipeline (..., L - 1)."""


@dataclass(frozen=True, eq=False)
class DualSourcing:
    """A dual-sourcing problem with an immediate fast source.

    Attributes:
        demand: of one period.
        lead_time: L >= 1 periods of the regular source.
        regular: cost of a regular piece.
        expedited: cost of an expedited piece.
        holding: cost of a piece left at the end of a period.
        penalty: cost of a piece of backlog at the end of a period.
    """

    demand: Demand
    lead_time: int
    regular: float = 100.0
    expedited: float = 105.0
    holding: float = 5.0
    penalty: float = 495.0

    def __post_init__(self) -> None:
        """Refuse what is no such problem."""
        if self.lead_time < 1 or self.expedited <= self.regular or min(self.holding, self.penalty) <= 0:
            raise BadInput(
                "dual sourcing needs a lead time of 1 or more, a dearer fast source and positive costs, "
                f"found {self.lead_time}, {self.regular}, {self.expedited}, {self.holding}, {self.penalty}; "
                "with a cheap fast source nobody orders from the slow one"
            )

    @property
    def fractile(self) -> float:
        """Penalty / (penalty + holding)."""
        return self.penalty / (self.penalty + self.holding)

    def step(self, on_hand: Integers, pipeline: Integers, orders: Orders, demand: Integers) -> Stepped:
        """One period of any number of lanes: on hand (...,), pipeline (..., L - 1), demand (...,)."""
        left = on_hand + orders.expedited - demand
        ahead = np.concatenate([pipeline, np.asarray(orders.regular)[..., None]], axis=-1)
        cost = self.regular * orders.regular + self.expedited * orders.expedited
        cost = cost + self.holding * np.maximum(left, 0) + self.penalty * np.maximum(-left, 0)
        return Stepped(left + ahead[..., 0], ahead[..., 1:], np.asarray(cost))


class Stepped(NamedTuple):
    """The next state (on hand, pipeline) and the cost of the period that led to it."""

    on_hand: Integers
    pipeline: Integers
    cost: Any


@dataclass(frozen=True, eq=False)
class TablePolicy:
    """Orders looked up in arrays, such as the optimal ones.

    Attributes:
        regular: int16 (B, ..., B, M): the regular order at [x_1, ..., x_{L-1}, y - bottom], y being the stock
            after expediting.
        expedited: int16 (B, ..., B, M): the expedited order at [x_1, ..., x_{L-1}, x_0 - bottom].
        bottom: the stock of the first place of the last axis.
    """

    regular: Any
    expedited: Any
    bottom: int

    def order(self, on_hand: Integers, pipeline: Integers) -> Orders:
        """Orders for on hand (...,) and pipeline (..., L - 1); states beyond the arrays go to their edge."""
        *sides, length = self.regular.shape
        slots = tuple(np.clip(pipeline[..., slot], 0, side - 1) for slot, side in enumerate(sides))
        place = np.clip(on_hand - self.bottom, 0, length - 1)
        expedited = np.asarray(self.expedited[(*slots, place)], dtype=np.int64)
        expedited = expedited + np.maximum(self.bottom - on_hand, 0)
        regular = self.regular[(*slots, np.clip(on_hand + expedited - self.bottom, 0, length - 1))]
        return Orders(np.asarray(regular, dtype=np.int64), expedited)


class Optimum(NamedTuple):
    """What value iteration found: the optimal average cost and an optimal policy."""

    average: Average
    policy: TablePolicy


@njit(**KERNEL)
def _improve(
    value: Any,
    fresh: Any,
    regular: Any,
    expedited: Any,
    base: int,
    start: int,
    pmf: Any,
    cost: Any,
    slow: float,
    fast: float,
    span: Any,
) -> None:
    """One pass of value iteration; `fresh` holds first the cost from a stock after expediting.

    A row of `value` is a pipeline read as a number to the base `base`; the second axis is stock less the
    bottom, and stock after expediting is at `start` or more. `span` becomes the least and the largest change.
    """
    rows, length = value.shape
    span[0], span[1] = np.inf, -np.inf
    for row in range(rows):
        room, digits = length - 1, row
        while digits > 0:
            room -= digits % base
            digits //= base
        if room < start:
            continue  # never reached: the position cap holds after expediting
        for y in range(start, room + 1):
            fresh[row, y] = np.inf
            for q in range(min(base - 1, room - y) + 1):
                after = row * base + q
                total = slow * q
                for d in range(len(pmf)):
                    total += pmf[d] * value[after % rows, y - d + after // rows]
                if total < fresh[row, y]:
                    fresh[row, y] = total
                    regular[row, y] = q
            fresh[row, y] += cost[y]
        best = room
        for x in range(room, -1, -1):
            if x >= start and fresh[row, x] + fast * x <= fresh[row, best] + fast * best:
                best = x
            expedited[row, x] = best - x
            fresh[row, x] = fresh[row, best] + fast * (best - x)
            change = fresh[row, x] - value[row, x]
            span[0] = min(span[0], change)
            span[1] = max(span[1], change)
    anchor = fresh[0, start]
    for row in range(rows):
        for x in range(length):
            fresh[row, x] -= anchor


def optimum(
    problem: DualSourcing,
    tolerance: float = 1e-7,
    max_order: int | None = None,
    max_position: int | None = None,
) -> Optimum:
    """The optimal average cost, bounds `tolerance` apart at most (relative), and an optimal policy.

    Relative value iteration over states whose position after ordering is `max_position` at most, no regular
    order above `max_order`. The defaults are generous, not proven: raise them and see that nothing moves.

    Raises:
        BadInput: the state space is too large, or the bounds do not meet.
    """
    demand, largest = problem.demand, problem.demand.largest
    base = (demand.quantile(problem.fractile) + 2 if max_order is None else max_order) + 1
    covered = demand.over(problem.lead_time + 1).quantile(problem.fractile) + largest
    bottom = -2 * largest  # stock after expediting is at -largest or more
    length = (covered if max_position is None else max_position) - bottom + 1
    shape = (base ** (problem.lead_time - 1), length)
    if shape[0] * length > MOST_CELLS:
        raise BadInput(
            f"the optimum of dual sourcing takes {MOST_CELLS} cells at most, found {shape[0] * length}; "
            "shorten the lead time or cap the orders"
        )
    value, fresh, span = np.zeros(shape), np.zeros(shape), np.zeros(2)
    regular, expedited = np.zeros(shape, dtype=np.int16), np.zeros(shape, dtype=np.int16)
    cost = demand.expected_cost(np.arange(bottom, bottom + length), problem.holding, problem.penalty)
    for sweep in range(1, MOST_SWEEPS + 1):
        _improve(
            value,
            fresh,
            regular,
            expedited,
            base,
            largest,
            np.array(demand.pmf),
            cost,
            float(problem.regular),
            float(problem.expedited),
            span,
        )
        value, fresh = fresh, value
        if span[1] - span[0] <= tolerance * span[1]:
            sides = (*[base] * (problem.lead_time - 1), length)
            policy = TablePolicy(regular.reshape(sides), expedited.reshape(sides), bottom)
            return Optimum(Average(float(span[0]), float(span[1]), sweep), policy)
    raise BadInput(f"value iteration needs its bounds to meet, found {span}; loosen the tolerance")


def evaluate(
    problem: DualSourcing,
    policy: Policy,
    tolerance: float = 1e-7,
    most_on_hand: int = 400,
    most_states: int = MOST_STATES,
) -> Average:
    """The exact long-run average cost of any stationary policy, from an empty system.

    Stock above `most_on_hand` is thrown away: only a policy with a constant order can get there.

    Raises:
        BadInput: it reaches more than `most_states` states.
    """
    demand = problem.demand
    drawn = np.arange(len(demand.pmf))

    def period(on_hand: Integers, pipeline: Integers) -> Moves:
        regular, expedited = policy.order(on_hand, pipeline)
        ahead = np.concatenate([pipeline, np.asarray(regular)[:, None]], axis=1)
        after = on_hand + expedited
        cost = problem.regular * regular + problem.expedited * expedited
        cost = cost + demand.expected_cost(after, problem.holding, problem.penalty)
        stock = np.minimum((after + ahead[:, 0])[:, None] - drawn, most_on_hand)
        return Moves(stock, np.broadcast_to(demand.pmf, stock.shape), ahead[:, 1:], cost)

    return average_cost(
        reachable(period, 0, np.zeros(problem.lead_time - 1, dtype=np.int64), most_states), tolerance
    )


@dataclass(frozen=True)
class SingleIndex:
    """Both sources look at stock and all orders under way: expedite up to one level, order up to the other.

    Source: Scheller-Wolf, Veeraraghavan and van Houtum (2007).
    """

    expedite_to: int
    order_to: int

    def order(self, on_hand: Integers, pipeline: Integers) -> Orders:
        """Orders for on hand (...,) and pipeline (..., L - 1)."""
        position = np.asarray(on_hand + pipeline.sum(axis=-1))
        expedited = np.maximum(self.expedite_to - position, 0)
        return Orders(np.maximum(self.order_to - position - expedited, 0), expedited)


@dataclass(frozen=True)
class DualIndex:
    """Expedite stock up to one level; order stock and all under way up to another, `cap` pieces at most.

    Without a cap: Veeraraghavan and Scheller-Wolf (2008); capped dual index: Sun and Van Mieghem (2019).
    """

    expedite_to: int
    order_to: int
    cap: int | None = None

    def order(self, on_hand: Integers, pipeline: Integers) -> Orders:
        """Orders for on hand (...,) and pipeline (..., L - 1)."""
        expedited = np.maximum(self.expedite_to - np.asarray(on_hand), 0)
        position = on_hand + expedited + pipeline.sum(axis=-1)
        return Orders(np.clip(self.order_to - position, 0, self.cap), expedited)


@dataclass(frozen=True)
class TailoredBaseSurge:
    """The regular source sends the same every period; the fast one lifts stock up to a level.

    Source: Allon and Van Mieghem (2010).
    """

    expedite_to: int
    constant: int

    def order(self, on_hand: Integers, pipeline: Integers) -> Orders:
        """Orders for on hand (...,) and pipeline (..., L - 1)."""
        expedited = np.maximum(self.expedite_to - np.asarray(on_hand), 0)
        return Orders(np.full_like(expedited, self.constant), expedited)


class Best(NamedTuple):
    """The best policy that a search found in a family, and its exact average cost."""

    policy: Any
    average: Average


def _best(problem: DualSourcing, families: Iterable[Callable[[int], Policy]], start: int) -> Best:
    """The best of all families of one parameter, the level to expedite to, each searched by a walk.

    With all else fixed the level only shifts the stock after expediting, so that cost is convex in it.
    """
    level = start
    results: list[tuple[float, int, Policy]] = []
    for family in families:
        (level,) = downhill(lambda at, of=family: evaluate(problem, of(at), SEARCHED).cost, (level,))
        results.append((evaluate(problem, family(level), SEARCHED).cost, len(results), family(level)))
    _, _, policy = min(results)
    return Best(policy, evaluate(problem, policy))


def _apart(problem: DualSourcing) -> range:
    """How far apart two levels may be: up to the fractile of the demand until an order arrives."""
    return range(problem.demand.over(problem.lead_time + 1).quantile(problem.fractile) + 1)


def best_single_index(problem: DualSourcing) -> Best:
    """The best single-index policy: every distance of the levels, and for each a walk over their place."""
    families = [
        lambda level, apart=apart: SingleIndex(level, level + apart)
        for apart in range(problem.demand.largest + 1)  # further apart, nothing is ever expedited
    ]
    return _best(problem, families, problem.demand.over(problem.lead_time).quantile(problem.fractile))


def best_dual_index(problem: DualSourcing) -> Best:
    """The best dual-index policy: every distance of the levels, and for each a walk over their place."""
    families = [lambda level, apart=apart: DualIndex(level, level + apart) for apart in _apart(problem)]
    return _best(problem, families, problem.demand.quantile(problem.fractile))


def best_capped_dual_index(problem: DualSourcing) -> Best:
    """The best capped dual-index policy: every cap and distance, for each a walk over the place."""
    families = [
        lambda level, apart=apart, cap=cap: DualIndex(level, level + apart, cap)
        for cap in range(1, problem.demand.quantile(problem.fractile) + 1)
        for apart in _apart(problem)
    ]
    return _best(problem, families, problem.demand.quantile(problem.fractile))


def best_tailored_base_surge(problem: DualSourcing) -> Best:
    """The best constant order below the mean demand, each with the best level to expedite to."""
    families = [
        lambda level, constant=constant: TailoredBaseSurge(level, constant)
        for constant in range(int(np.ceil(problem.demand.mean)))
    ]
    return _best(problem, families, problem.demand.quantile(problem.fractile))
