"""Serial systems: the optimal echelon base-stock levels and their cost, by the recursion of Clark and Scarf.

Stages are listed from the source down to the customer. A stage's lead time is the time from the stage
above (for the first, from a source that never runs out) to it. A period costs, at its end, each stage's
local holding cost for its stock and for what is on its way to the next stage, and `penalty` for each piece
of backlog at the customer stage; this is the echelon accounting, in which stock in transit is charged at
the rate of the stage it left. Charging it otherwise adds a constant: see `Serial.in_transit`.

Two conventions of time, told by `customer_counts`:

- "L": the cost of a period is met by the demand of L periods at every stage. This is continuous review,
  or periodic review in the order demand, receipt, ordering, cost. Textbooks and stockpyl compute this.
- "L+1": the customer stage faces L + 1 periods. This is periodic review in the order receipt, ordering,
  demand, cost: the lost-sales model's, Zipkin's and HDPO's.

Source: Clark and Scarf (1960); Chen and Zheng (1994), as in Snyder and Shen, Fundamentals of Supply Chain
Theory, section 6.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from workgym.agents.inventory.demand import Demand, Floats, Normal
from workgym.services.kernel import BadInput

FINE = (
    64  # lattice steps per standard deviation of the shortest lead time's demand; errors fall with its square
)
REACH = (
    8.0  # standard deviations of the whole system's demand on either side; beyond, costs are straight lines
)


@dataclass(frozen=True, eq=False)
class Serial:
    """A serial system of N stages, from the source down to the customer.

    Attributes:
        demand: of one period.
        holding: (N,) local holding cost of a piece per period, not falling towards the customer.
        lead_times: (N,) periods; whole ones where the demand cannot be split.
        penalty: cost of a piece of backlog per period.
        customer_counts: the convention of time, see the module.
    """

    demand: Demand | Normal
    holding: tuple[float, ...]
    lead_times: tuple[float, ...]
    penalty: float
    customer_counts: Literal["L", "L+1"] = "L"

    def __post_init__(self) -> None:
        """Refuse what is no such system."""
        steps = np.diff(self.holding, prepend=0.0)
        if not self.holding or len(self.holding) != len(self.lead_times) or steps.min() < 0 or steps[0] == 0:
            raise BadInput(
                "a serial system needs as many lead times as holding costs, the costs positive and not "
                f"falling towards the customer, found {self.holding} and {self.lead_times}; "
                "list the source first"
            )
        if min(self.lead_times) < 0 or self.penalty <= 0 or self.customer_counts not in ("L", "L+1"):
            raise BadInput(
                "a serial system needs lead times of 0 or more, a positive penalty and 'L' or 'L+1', found "
                f"{self.lead_times}, {self.penalty} and {self.customer_counts!r}"
            )

    @property
    def extra(self) -> int:
        """The periods of demand that the customer stage faces beyond its lead time."""
        return int(self.customer_counts == "L+1")

    @property
    def in_transit(self) -> float:
        """What `holding` charges per period for stock between stages, under any policy that meets demand.

        Subtract it from a cost to compare with systems that charge only what lies at a stage.
        """
        between = zip(self.holding[:-1], self.lead_times[1:], strict=True)
        return self.demand.mean * sum(holding * lead_time for holding, lead_time in between)

    def stages(self) -> list[tuple[float, float]]:
        """(echelon holding cost, periods of demand faced) of each stage, from the customer up."""
        echelon = np.diff(self.holding, prepend=0.0)
        faced = [*self.lead_times[:-1], self.lead_times[-1] + self.extra]
        return [(float(h), float(L)) for h, L in zip(echelon[::-1], faced[::-1], strict=True)]


@dataclass(frozen=True)
class EchelonBaseStock:
    """Every stage orders its echelon position up to its level.

    Attributes:
        levels: (N,) from the source down to the customer.
    """

    levels: tuple[float, ...]

    def order(self, on_hand: Any, pipeline: Any) -> Any:
        """What each stage asks of the one above, (..., N); what that one can ship is the system's affair.

        Shapes: `on_hand` (..., N) stock, the customer stage's less its backlog; `pipeline` (..., N) pieces on
        their way to each stage, all ages together. The result has the levels' type: integers for integers.
        """
        below = np.cumsum((on_hand + pipeline)[..., ::-1], axis=-1)[..., ::-1]
        return np.maximum(np.asarray(self.levels) - below, 0)


class SerialOptimum(NamedTuple):
    """The best echelon base-stock policy, which is optimal.

    Attributes:
        policy: its levels, from the source down.
        cost: average cost per period.
    """

    policy: EchelonBaseStock
    cost: float


class _Lattice(NamedTuple):
    """Where the cost functions of the stages are known."""

    u: Floats  # evenly spaced
    kernels: list[tuple[Floats, int]]  # weights of the demand of each stage and their first place, in steps
    shifts: list[float]  # level = u + shift; normal demand is centred, so that the lattice may be short
    means: list[float]  # demand faced by each stage
    smooth: list[bool]  # whether the cost of a stage has no kink


def optimal_levels(system: Serial) -> SerialOptimum:
    """The optimal echelon base-stock levels and their average cost; whole levels for whole demands.

    A stage at which holding costs no more than above takes all that it can get: its level is the largest
    that was looked at, far above what the system ever holds. Measured with five stages on one thread: 3 ms.
    """
    levels, cost = _recursion(system, None)
    if isinstance(system.demand, Demand):
        levels = tuple(int(level) for level in levels)
    return SerialOptimum(EchelonBaseStock(levels), cost)


def expected_cost(system: Serial, policy: EchelonBaseStock) -> float:
    """The exact average cost of any echelon base-stock policy, optimal or not."""
    if len(policy.levels) != len(system.holding):
        raise BadInput(f"a level for each of {len(system.holding)} stages is needed, found {policy.levels}")
    if isinstance(system.demand, Demand) and any(level != int(level) for level in policy.levels):
        raise BadInput(f"whole demands need whole levels, found {policy.levels}; round them")
    return _recursion(system, policy.levels)[1]


def _recursion(system: Serial, given: tuple[float, ...] | None) -> tuple[tuple[float, ...], float]:
    """The levels from the source down, those `given` or else the best, and the average cost.

    Stage by stage from the customer up: the cost of a level y is the stage's own echelon holding cost plus
    what the stage below suffers from the y - demand that it is left with: its own cost at no more than its
    own level.
    """
    wanted = list((given or (None,) * len(system.holding))[::-1])
    lattice = _lattice(system, given)
    levels: list[float] = []
    below = np.zeros(0)
    level = cost = 0.0
    for stage, (holding, _) in enumerate(system.stages()):
        y = lattice.u + lattice.shifts[stage]
        if stage == 0:
            costs = _customer_cost(system, lattice, holding)
        else:
            charged = holding * (y - lattice.means[stage] - system.extra * system.demand.mean)
            costs = charged + _expected(below, *lattice.kernels[stage])
        if wanted[stage] is None and holding == 0:
            wanted[stage] = float(y[-1])  # holding costs no more than above: take all
        level, cost = _lowest(y, costs, wanted[stage], lattice.smooth[stage])
        levels.append(level)
        below = np.where(y >= level, cost, costs)
    return tuple(levels[::-1]), cost


def _lattice(system: Serial, given: tuple[float, ...] | None) -> _Lattice:
    """Where to know the costs: every whole level, or a fine grid about what a normal demand leaves."""
    periods = [faced for _, faced in system.stages()]
    known = (given or ())[::-1]
    if isinstance(system.demand, Demand):
        return _whole_lattice([system.demand.over(length) for length in periods], known)
    return _normal_lattice([system.demand.over(length) for length in periods], known)


def _whole_lattice(faced: list[Demand], known: tuple[float, ...]) -> _Lattice:
    """Below -1 and the lowest level all costs are straight lines; demand never asks for the highest."""
    low = int(min(-1, *known, 0)) - 1
    high = int(max(sum(demand.largest for demand in faced), *known, 0)) + 2
    kernels = [(demand.pmf, 0) for demand in faced]
    means = [demand.mean for demand in faced]
    u = np.arange(low, high + 1, dtype=np.float64)
    return _Lattice(u, kernels, [0.0] * len(faced), means, [False] * len(faced))


def _normal_lattice(faced: list[Normal], known: tuple[float, ...]) -> _Lattice:
    spread = [demand.sd for demand in faced]
    means = [demand.mean for demand in faced]
    shifts = [float(total) for total in np.cumsum(means)]
    smooth = [sum(spread[: stage + 1]) > 0 for stage in range(len(spread))]
    step = min((sd for sd in spread if sd > 0), default=1.0) / FINE
    far = REACH * float(np.hypot.reduce(spread)) + 8 * step
    for level, shift in zip(known, shifts, strict=False):
        far = max(far, abs(level - shift) + REACH * max(spread))
    half = int(np.ceil(far / step))
    u = np.linspace(-half * step, half * step, 2 * half + 1)
    return _Lattice(u, [_bell(sd, step) for sd in spread], shifts, means, smooth)


def _bell(sd: float, step: float) -> tuple[Floats, int]:
    """A centred normal as weights on the lattice; the trapezium rule errs by less than any digit here."""
    half = int(np.ceil(REACH * sd / step))
    if half == 0:
        return np.ones(1), 0
    weights = np.exp(-0.5 * (np.arange(-half, half + 1) * step / sd) ** 2)
    return weights / weights.sum(), -half


def _customer_cost(system: Serial, lattice: _Lattice, holding: float) -> Floats:
    """Cost of the customer stage at every level, in closed form."""
    from scipy.stats import norm

    backlog = system.penalty + system.holding[-1]
    faced = system.demand.over(system.stages()[0][1])
    if isinstance(faced, Demand):
        return faced.expected_cost(lattice.u.astype(np.int64), holding, backlog - holding)
    if faced.sd == 0:
        return np.asarray(holding * lattice.u + backlog * np.maximum(-lattice.u, 0))
    z = lattice.u / faced.sd
    return np.asarray(holding * lattice.u + backlog * faced.sd * (norm.pdf(z) - z * norm.sf(z)))


def _expected(below: Floats, weights: Floats, first: int) -> Floats:
    """E below(u - D) on the lattice; `below` goes on as straight lines at both ends."""
    last = first + len(weights) - 1
    left = below[0] + (below[1] - below[0]) * np.arange(-max(last, 0), 0)
    right = below[-1] + (below[-1] - below[-2]) * np.arange(1, max(-first, 0) + 1)
    wide = np.concatenate([left, below, right])
    start = len(left) - last
    return np.convolve(wide[start : start + len(below) + len(weights) - 1], weights, mode="valid")


def _lowest(y: Floats, costs: Floats, wanted: float | None, smooth: bool) -> tuple[float, float]:
    """The level, `wanted` or else of least cost, and its cost; a smooth cost goes through its points."""
    from scipy.interpolate import CubicSpline

    centre = int(np.argmin(costs)) if wanted is None else int(np.searchsorted(y, wanted))
    if not smooth:
        level = float(y[centre]) if wanted is None else wanted
        return level, float(np.interp(level, y, costs))
    near = slice(max(0, centre - 6), centre + 7)
    spline = CubicSpline(y[near], costs[near])
    if wanted is None:
        wanted = float(min(spline.derivative().roots(extrapolate=False), key=spline))
    return wanted, float(spline(wanted))


class SerialEstimate(NamedTuple):
    """A simulated average cost per period and its standard error over lanes."""

    cost: float
    error: float


def simulate(
    system: Serial,
    policy: EchelonBaseStock,
    rng: np.random.Generator,
    lanes: int = 1_000,
    periods: int = 500,
    warm_up: int = 100,
) -> SerialEstimate:
    """The average cost of an echelon base-stock policy, period by period, in the system's order of events.

    Raises:
        BadInput: a lead time that is no whole number of periods.
    """
    if any(length != int(length) for length in system.lead_times):
        raise BadInput(f"a simulation steps through whole periods, found {system.lead_times}; scale time")
    stages = len(system.holding)
    stock = np.tile(
        -np.diff([*policy.levels, 0.0]), (lanes, 1)
    )  # each echelon at its level, nothing under way
    ways = [np.zeros((lanes, int(length))) for length in system.lead_times]
    holding, total = np.array(system.holding), np.zeros(lanes)
    for period in range(warm_up + periods):
        demand = system.demand.sample(rng, lanes)
        if not system.extra:
            stock[:, -1] -= demand
        for stage, way in enumerate(ways):
            if way.shape[1]:
                stock[:, stage] += way[:, 0]
                way[:, :-1] = way[:, 1:]
                way[:, -1] = 0.0
        moved = _ship(policy, stock, ways)
        for stage in range(stages):
            if ways[stage].shape[1]:
                ways[stage][:, -1] = moved[:, stage]
        if system.extra:
            stock[:, -1] -= demand
        if period >= warm_up:
            under_way = np.stack([way.sum(axis=1) for way in ways[1:]] + [np.zeros(lanes)], axis=1)
            total += (np.maximum(stock, 0) + under_way) @ holding + system.penalty * np.maximum(
                -stock[:, -1], 0
            )
    means = total / periods
    return SerialEstimate(float(means.mean()), float(means.std(ddof=1) / np.sqrt(lanes)))


def _ship(policy: EchelonBaseStock, stock: Floats, ways: list[Floats]) -> Floats:
    """Ship what is asked for and there, (lanes, N), from the source down; `stock` is changed in place."""
    under_way = np.stack([way.sum(axis=1) for way in ways], axis=1)
    asked: Floats = np.array(policy.order(stock, under_way), dtype=np.float64)
    for stage, way in enumerate(ways):
        if stage:
            asked[:, stage] = np.minimum(asked[:, stage], stock[:, stage - 1])
            stock[:, stage - 1] -= asked[:, stage]
        if not way.shape[1]:
            stock[:, stage] += asked[:, stage]
    return asked
