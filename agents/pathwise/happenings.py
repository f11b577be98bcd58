"""What happens to a batch of episodes, written out before anything is decided.

Nothing of it depends on orders, so one history can be played under any of them: what makes the
gradient through an episode an unbiased one (Madeka et al. 2022, "Deep inventory management",
arXiv 2210.03137).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.services.compiled import KERNEL
from workgym.services.supply_chain import scenario
from workgym.services.supply_chain.scenario import EXTERNAL, FAMILY_LOSS_PM, Setup

Ints = NDArray[np.int64]


class Happenings(NamedTuple):
    """B episodes of T periods."""

    key: NDArray[np.uint64]  # (B,)
    family: Ints  # (B,)
    demand: Ints  # (T, B, S, K) units asked for
    price: Ints  # (T, B, S, K)
    cost: Ints  # (T, B, A, K)
    is_open: Ints  # (T, B, A, 1) 1, or 0 where a link's supplier ships nothing
    lead: Ints  # (T, B, A, K) periods until what is shipped arrives
    loss_pm: Ints  # (B, A, 1) share of shipments that never arrives
    factor_pm: Ints  # (T + ahead, B, 1, K) what season and promotions do to demand
    steps: Ints  # (T + ahead, B, 1, K) the same in sixteenths of an octave
    promoted: Ints  # (T + ahead, B, 1, K) 1 where a SKU is promoted
    begins: Ints  # (B,) where in the cycle, or in the history, an episode begins

    @property
    def periods(self) -> int:
        """Periods that are written out."""
        return len(self.demand)


@njit(**KERNEL)
def _write(setup: Any, key: Any, family: Any, out: Any) -> None:
    _, _, demand, price, cost, is_open, lead, loss_pm, factor_pm, steps, promoted, begins = out
    periods, batch, nodes, skus = demand.shape
    links = len(setup.source)
    for b in range(batch):
        if family[b] < 0:
            family[b] = scenario.drawn_family(key[b], len(setup.families))
        begins[b] = scenario.begins_at(setup, key[b])
        for a in range(links):
            more = setup.families[family[b], FAMILY_LOSS_PM] if setup.source[a] == EXTERNAL else 0
            loss_pm[b, a, 0] = setup.loss_pm[a] + more
    for t in range(periods):
        for b in range(batch):
            for s in range(nodes):
                for k in range(skus):
                    demand[t, b, s, k] = scenario.demand_of(setup, key[b], family[b], t, s, k)
                    price[t, b, s, k] = scenario.price_of(setup, key[b], family[b], t, s, k)
            for a in range(links):
                is_open[t, b, a, 0] = 0 if scenario.is_closed(setup, key[b], family[b], t, a) else 1
                for k in range(skus):
                    cost[t, b, a, k] = scenario.cost_of(setup, key[b], family[b], t, a, k)
                    lead[t, b, a, k] = scenario.lead_of(setup, key[b], family[b], t, a, k)
    for t in range(len(factor_pm)):
        for b in range(batch):
            for k in range(skus):
                steps[t, b, 0, k] = scenario.known_steps(setup, key[b], family[b], t, k)
                factor_pm[t, b, 0, k] = scenario.factor_pm(setup, steps[t, b, 0, k])
                promoted[t, b, 0, k] = scenario.is_promoted(setup, key[b], family[b], t, k)


def happenings(
    setup: Setup, key: NDArray[np.uint64], family: Ints, periods: int, ahead: int = 0
) -> Happenings:
    """What happens to the episodes of these keys.

    Args:
        setup: the network.
        key: (B,) keys of the episodes.
        family: (B,) their families; -1 for the one that the key draws.
        periods: how many are written out.
        ahead: periods beyond, of which season and promotions are known.
    """
    batch, nodes = len(key), len(setup.opening)
    links, skus = setup.most.shape

    def empty(*shape: int) -> Ints:
        return np.empty(shape, dtype=np.int64)

    out = Happenings(
        key,
        family.copy(),
        demand=empty(periods, batch, nodes, skus),
        price=empty(periods, batch, nodes, skus),
        cost=empty(periods, batch, links, skus),
        is_open=empty(periods, batch, links, 1),
        lead=empty(periods, batch, links, skus),
        loss_pm=empty(batch, links, 1),
        factor_pm=empty(periods + ahead, batch, 1, skus),
        steps=empty(periods + ahead, batch, 1, skus),
        promoted=empty(periods + ahead, batch, 1, skus),
        begins=empty(batch),
    )
    _write(setup, key, out.family, out)
    return out


@njit(**KERNEL)
def lost_units(setup: Any, key: Any, family: Any, t: int, shipped: Any, lost: Any) -> None:
    """Fill `lost` (B, A, K) with whole units of `shipped` that never arrive."""
    for b in range(shipped.shape[0]):
        for a in range(shipped.shape[1]):
            for k in range(shipped.shape[2]):
                lost[b, a, k] = scenario.lost_on_the_way(setup, key[b], family[b], t, a, k, shipped[b, a, k])


@njit(**KERNEL)
def staying_units(setup: Any, key: Any, t: int, unmet: Any, stays: Any) -> None:
    """Fill `stays` (B, S, K) with whole units of `unmet` whose customers wait."""
    for b in range(unmet.shape[0]):
        for s in range(unmet.shape[1]):
            for k in range(unmet.shape[2]):
                stays[b, s, k] = scenario.staying(setup, key[b], t, s, k, unmet[b, s, k])
