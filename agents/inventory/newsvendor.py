"""One item whose customers wait: closed forms, and the best (s, S) policy where ordering has a fixed cost.

A period is receipt, ordering, demand, cost, as in `lost_sales`, but what is not served is backlogged. An
order placed now and all before it have arrived after L periods, so that the stock at the end of that period
is the position after ordering less the demand of L + 1 periods. With L = 0 this is the newsvendor.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from workgym.agents.inventory.demand import Demand, Floats
from workgym.agents.inventory.lost_sales_policies import BaseStock, ReorderUpTo
from workgym.services.kernel import BadInput


class NormalLevel(NamedTuple):
    """The best base-stock level under normal demand, in pieces, and its average cost per period."""

    level: float
    cost: float


class BestBaseStock(NamedTuple):
    """The best base-stock policy, which is optimal, and its average cost per period."""

    policy: BaseStock
    cost: float


class BestReorder(NamedTuple):
    """The best (s, S) policy, which is optimal, and its average cost per period."""

    policy: ReorderUpTo
    cost: float


def critical_fractile(holding: float, penalty: float) -> float:
    """How often the best stock covers demand: penalty / (penalty + holding)."""
    if holding <= 0 or penalty <= 0:
        raise BadInput(f"holding and penalty costs are positive, found {holding} and {penalty}")
    return penalty / (penalty + holding)


def normal_base_stock(
    mean: float, sd: float, lead_time: float, holding: float, penalty: float
) -> NormalLevel:
    """The best level and its cost under normal demand of `mean` and `sd` per period.

    With z the normal quantile of the fractile and s = sd sqrt(L + 1): S = (L + 1) mean + z s, at
    (holding + penalty) phi(z) s. Source: Snyder and Shen, Fundamentals of Supply Chain Theory, section 4.3.
    """
    from scipy.stats import norm

    if sd <= 0 or lead_time < 0:
        raise BadInput(
            f"a spread above 0 and a lead time of 0 or more are needed, found {sd} and {lead_time}"
        )
    z = float(norm.ppf(critical_fractile(holding, penalty)))
    spread = sd * float(np.sqrt(lead_time + 1))
    return NormalLevel((lead_time + 1) * mean + z * spread, (holding + penalty) * float(norm.pdf(z)) * spread)


def base_stock(demand: Demand, lead_time: int, holding: float, penalty: float) -> BestBaseStock:
    """The best base-stock policy under a demand of whole pieces."""
    faced = demand.over(lead_time + 1)
    level = faced.quantile(critical_fractile(holding, penalty))
    return BestBaseStock(BaseStock(level), float(faced.expected_cost(level, holding, penalty)))


def reorder_cost(
    demand: Demand, lead_time: int, holding: float, penalty: float, fixed_cost: float, policy: ReorderUpTo
) -> float:
    """The exact average cost of an (s, S) policy without a cap, under backlogging.

    Source: Zheng and Federgruen (1991), equation 2.
    """
    if policy.reorder >= policy.level or policy.cap is not None:
        raise BadInput(f"an (s, S) policy needs s < S and no cap, found {policy}; a base-stock has s = S - 1")
    span = policy.level - policy.reorder
    visits = _renewals(demand, span)
    costs = demand.over(lead_time + 1).expected_cost(policy.level - np.arange(span), holding, penalty)
    return float((fixed_cost + visits @ costs) / visits.sum())


def _renewals(demand: Demand, length: int) -> Floats:
    """How many periods, on average, the position spends j = 0, 1, ... pieces below S in one order cycle."""
    pmf, _ = demand.padded(length)
    if demand.pmf[0] >= 1:
        raise BadInput("an (s, S) policy needs a demand that is not always zero; nothing would be ordered")
    visits = np.zeros(length)
    visits[0] = 1 / (1 - pmf[0])
    for j in range(1, length):
        visits[j] = visits[0] * (pmf[1 : j + 1] @ visits[:j][::-1])
    return visits


def reorder_up_to(
    demand: Demand, lead_time: int, holding: float, penalty: float, fixed_cost: float
) -> BestReorder:
    """The best (s, S) policy under backlogging, which is optimal among all policies.

    Source: Zheng and Federgruen (1991), Finding optimal (s, S) policies is about as simple as evaluating a
    single policy, Operations Research 39(4): widen S while one period at S costs less than the best average,
    and keep s where it is best for that S.
    """
    faced = demand.over(lead_time + 1)

    def once(position: int) -> float:
        return float(faced.expected_cost(position, holding, penalty))

    def average(reorder: int, level: int) -> float:
        return reorder_cost(demand, lead_time, holding, penalty, fixed_cost, ReorderUpTo(reorder, level))

    best = faced.quantile(critical_fractile(holding, penalty))
    reorder = best - 1
    while average(reorder, best) > once(reorder):
        reorder -= 1
    least, level = average(reorder, best), best + 1
    while once(level) <= least:
        if average(reorder, level) < least:
            best = level
            while average(reorder, best) <= once(reorder + 1) and reorder + 1 < best:
                reorder += 1
            least = average(reorder, best)
        level += 1
    return BestReorder(ReorderUpTo(reorder, best), least)
