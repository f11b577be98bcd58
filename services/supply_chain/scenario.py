"""What happens to the supply chain: demand, promotions, shocks, lead times, losses, outages, prices.

Each happening is a pure function of (episode key, source, period, entity), so the twin, the live
service and two compared policies meet the same episode. `Setup` holds a network as arrays that
compiled kernels read; `setup_of` makes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import stats

from workgym.services.compiled import KERNEL, PART
from workgym.services.kernel import BadInput
from workgym.services.scenario import below, draw
from workgym.services.supply_chain import demand as distributions
from workgym.services.supply_chain import rules
from workgym.services.supply_chain.demand import HIGHEST_STEP, Tables
from workgym.services.supply_chain.spec import SUPPLIER, Distribution, Network, PerSku

Ints = NDArray[np.int64]

EXTERNAL = -1  # source of a link that never runs out
SHOCKS = 64
LEADS = 8  # different lead times of a link, at most
INSTALMENTS = 4

# Sources of randomness.
_DEMAND, _LEAD, _LOSS, _WAITS, _PROMOTION, _SHOCK, _FAMILY, _BEGIN, _CHANGE, _LATE, _OUTAGE = range(11)

# Columns of a family.
LEVEL_STEPS, LEVEL_DAYS, TOGETHER, PROMOTIONS_PM, LATE_DAYS, OUTAGE_DAYS, COST_PM, FAMILY_LOSS_PM = range(8)


class Setup(NamedTuple):
    """A network as arrays: S nodes, K SKUs, A links, C season classes, P periods of the cycle, F families."""

    periods: int
    receives_first: int
    horizon: int  # periods that a pipeline looks ahead, today included
    delay: int  # longest order delay and today
    source: Ints  # (A,) node or EXTERNAL
    target: Ints  # (A,) node
    order_delay: Ints  # (A,)
    keeps_orders: Ints  # (A,) 0 or 1
    capacity: Ints  # (A,) units a period, 0 for no limit
    crosses: Ints  # (A,) 0 or 1
    leads: Ints  # (A, LEADS) periods
    lead_chance: Ints  # (A, LEADS) cumulative per mille
    instalments: Ints  # (A, INSTALMENTS + 1) cumulative per mille, from 0
    loss_pm: Ints  # (A,)
    most: Ints  # (A, K)
    pack: Ints  # (A, K)
    cost: Ints  # (A, K)
    order_cost: Ints  # (A, K)
    transit: Ints  # (A, K)
    unshipped: Ints  # (A, K)
    opening_way: Ints  # (A, K) units in each period of the lead time
    price: Ints  # (S, K)
    holding: Ints  # (S, K)
    lost: Ints  # (S, K)
    waiting: Ints  # (S, K)
    waits_pm: Ints  # (S,)
    salvage: Ints  # (S, K)
    opening: Ints  # (S, K)
    reach: Ints  # (S, S) whether a node serves, through others or itself, the customers of another
    group: Ints  # (S, K) of demand tables, -1 without demand
    step: Ints  # (S, K) of the mean, within the group
    usual: Ints  # (S, K) mean demand of a usual period, 1/256 units
    tables: Tables
    season_class: Ints  # (K,)
    season: Ints  # (C, P) steps
    random_start: int
    promotion_pm: int
    promotion_days: int
    promotion_steps: int
    promotion_cut_pm: int
    shocks: Ints  # (SHOCKS,) steps, equally likely
    shock_days: int
    factor_pm: Ints  # (385,) what -192..192 steps do to demand
    families: Ints  # (F, 8) the fields of `Family`
    history: NDArray[np.int32]  # (T, S, K) units that were really asked for, or (0, S, K)
    promoted: NDArray[np.bool_]  # (T, K) of that history
    outlook: NDArray[np.int32]  # (T, A, K, 3) P10, P50, P90 of demand to come, see `Outlook`, or (0, A, K, 3)


def setup_of(
    network: Network,
    history: NDArray[np.int32] | None = None,
    promoted: NDArray[np.bool_] | None = None,
    outlook: NDArray[np.int32] | None = None,
) -> Setup:
    """A network as arrays.

    Args:
        network: what it describes.
        history: (T, S, K) demand that an episode replays a window of, instead of drawing it. The
            distributions of the network then only say what is usual.
        promoted: (T, K) promotions of that history.
        outlook: (T, A, K, 3) what a forecaster tells in each period of that history of the demand over
            each link's protection interval: P10, P50, P90 in 1/256 units, -1 where it tells nothing.

    Raises:
        BadInput: the history is shorter than an episode, or the outlook is not of its periods.
    """
    n_nodes, n_skus = len(network.nodes), len(network.skus)
    if history is not None and len(history) < network.periods:
        raise BadInput(
            f"expected a history of at least {network.periods} periods, found {len(history)}; "
            "ask for shorter episodes (periods=...)"
        )
    seen = np.zeros((0, len(network.links), n_skus, 3), np.int32) if outlook is None else outlook
    told = 0 if history is None or outlook is None else len(history)
    if seen.shape != (told, len(network.links), n_skus, 3):
        raise BadInput(
            f"expected an outlook of {told} periods, {len(network.links)} links and {n_skus} SKUs, "
            f"found {seen.shape}; it speaks of the periods of a history"
        )
    tables, group, step, usual = _demand(network)
    calendar = network.calendar
    return Setup(
        **_links(network),
        **_nodes(network),
        periods=network.periods,
        receives_first=int(network.receives_first),
        reach=_reach(network),
        group=group,
        step=step,
        usual=usual,
        tables=tables,
        season_class=np.array(network.season_class or [0] * n_skus, dtype=np.int64),
        season=np.array(calendar.season, dtype=np.int64),
        random_start=int(calendar.random_start),
        promotion_pm=calendar.promotion_pm,
        promotion_days=calendar.promotion_days,
        promotion_steps=calendar.promotion_steps,
        promotion_cut_pm=calendar.promotion_cut_pm,
        shocks=_shocks(calendar.shock_steps),
        shock_days=calendar.shock_days,
        factor_pm=distributions.factors_pm(),
        families=np.array([[int(v) for v in [*vars(one).values()][1:]] for one in network.families]),
        history=np.zeros((0, n_nodes, n_skus), np.int32) if history is None else history,
        promoted=np.zeros((0, n_skus), np.bool_) if promoted is None else promoted,
        outlook=seen,
    )


def _links(network: Network) -> dict[str, Any]:
    position = {node.name: n for n, node in enumerate(network.nodes)} | {SUPPLIER: EXTERNAL}
    links, n_skus = network.links, len(network.skus)
    leads = np.zeros((len(links), LEADS), dtype=np.int64)
    chance = np.full((len(links), LEADS), 1000, dtype=np.int64)
    shares = np.full((len(links), INSTALMENTS + 1), 1000, dtype=np.int64)
    for a, link in enumerate(links):
        times = link.lead_times()
        if len(times) > LEADS or len(link.instalments_pm) > INSTALMENTS:
            raise BadInput(f"expected at most {LEADS} lead times and {INSTALMENTS} instalments of a link")
        leads[a, : len(times)] = [days for days, _ in times]
        chance[a, : len(times)] = np.cumsum([share for _, share in times])
        shares[a, 0] = 0
        shares[a, 1 : len(link.instalments_pm) + 1] = np.cumsum(link.instalments_pm)
    late = max(family.late_days for family in network.families)
    return {
        "horizon": int(leads.max()) + late + max(len(link.instalments_pm) for link in links),
        "delay": 1 + max(link.order_delay for link in links),
        "leads": leads,
        "lead_chance": chance,
        "instalments": shares,
        "source": _column([position[link.source] for link in links]),
        "target": _column([position[link.target] for link in links]),
        "order_delay": _column([link.order_delay for link in links]),
        "keeps_orders": _column([link.keeps_orders for link in links]),
        "capacity": _column([link.capacity for link in links]),
        "crosses": _column([link.crosses for link in links]),
        "loss_pm": _column([link.loss_pm for link in links]),
        "opening_way": _by_sku([link.opening for link in links], n_skus),
        **{
            name: _by_sku([getattr(link, name) for link in links], n_skus)
            for name in ("most", "pack", "cost", "order_cost", "transit", "unshipped")
        },
    }


def _nodes(network: Network) -> dict[str, Any]:
    names = ("price", "holding", "lost", "waiting", "salvage", "opening")
    return {
        "waits_pm": _column([node.waits_pm for node in network.nodes]),
        **{
            name: _by_sku([getattr(node, name) for node in network.nodes], len(network.skus))
            for name in names
        },
    }


def _column(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def _by_sku(values: Sequence[PerSku], n_skus: int) -> Ints:
    rows = [np.broadcast_to(np.array(value, dtype=np.int64), (n_skus,)) for value in values]
    return np.ascontiguousarray(np.stack(rows))


def _reach(network: Network) -> Ints:
    n = len(network.nodes)
    position = {node.name: number for number, node in enumerate(network.nodes)}
    reach = np.zeros((n, n), dtype=np.int64)
    for store in network.stores:
        reach[store, store] = 1
    for _ in range(n):
        for link in network.links:
            if link.source != SUPPLIER:
                reach[position[link.source]] |= reach[position[link.target]]
    return reach


def _demand(network: Network) -> tuple[Tables, Ints, Ints, Ints]:
    """Tables, and of each node and SKU its group (or -1), its step and its usual demand in 1/256 units."""
    shape = len(network.nodes), len(network.skus)
    group, step, usual = np.full(shape, -1), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    wanted: list[Distribution] = []
    where: list[tuple[int, int]] = []
    for n, node in enumerate(network.nodes):
        if node.demand is None:
            continue
        laws = (node.demand,) * shape[1] if isinstance(node.demand, Distribution) else node.demand
        if len(laws) != shape[1]:
            raise BadInput(f"expected {shape[1]} demands of {node.name}, one each SKU, found {len(laws)}")
        wanted += laws
        where += [(n, k) for k in range(shape[1])]
    if not wanted:
        raise BadInput("expected a node with demand in a network, found none")
    tables, places = distributions.tables_for(wanted)
    for (n, k), (number, at) in zip(where, places, strict=True):
        first, size, lowest = tables.group[number]
        table = first + min(max(at - lowest, 0), size - 1)
        group[n, k], step[n, k] = number, at
        usual[n, k] = tables.mean[table] * rules.FRACTION // rules.ALL
    return tables, group.astype(np.int64), step, usual


def _shocks(deviation: float) -> Ints:
    """Equally likely steps, normal with this deviation."""
    at = (np.arange(SHOCKS) + 0.5) / SHOCKS
    return np.rint(deviation * stats.norm.ppf(at)).astype(np.int64)


@njit(**KERNEL)
def drawn_family(key: Any, families: int) -> int:
    """The family that an episode's key draws."""
    return below(draw(key, _FAMILY, 0, 0), families)


@njit(**PART)
def chance(key: Any, source: int, t: int, entity: int) -> int:
    """A number in 0..999."""
    return below(draw(key, source, t, entity), 1000)


@njit(**PART)
def begins_at(setup: Any, key: Any) -> int:
    """Where in the cycle, or in the history, an episode begins."""
    if len(setup.history) > 0:
        return below(draw(key, _BEGIN, 0, 0), len(setup.history) - setup.periods + 1)
    if setup.random_start == 0 or setup.season.shape[1] == 1:
        return 0
    return below(draw(key, _BEGIN, 0, 0), setup.season.shape[1])


@njit(**PART)
def changes_at(setup: Any, key: Any) -> int:
    """The period from which the family's change of demand, price or supply is felt: in the second quarter."""
    quarter = setup.periods // 4
    return quarter + below(draw(key, _CHANGE, 0, 0), quarter + 1)


@njit(**PART)
def is_promoted(setup: Any, key: Any, family: int, t: int, k: int) -> bool:
    """Whether a SKU is promoted; the business plans it, so it is known in advance."""
    if len(setup.promoted) > 0:
        at = begins_at(setup, key) + t
        return setup.promoted[at, k] if at < len(setup.promoted) else False
    often = setup.promotion_pm * setup.families[family, PROMOTIONS_PM] // rules.ALL
    return often > 0 and chance(key, _PROMOTION, t // setup.promotion_days, k) < often


@njit(**PART)
def known_steps(setup: Any, key: Any, family: int, t: int, k: int) -> int:
    """What season and promotion do to demand; everybody knows it in advance."""
    at = (begins_at(setup, key) + t) % setup.season.shape[1]
    steps = setup.season[setup.season_class[k], at]
    return steps + setup.promotion_steps if is_promoted(setup, key, family, t, k) else steps


@njit(**PART)
def factor_pm(setup: Any, steps: int) -> int:
    """What a number of steps does to demand, per mille."""
    return setup.factor_pm[min(max(steps, -HIGHEST_STEP), HIGHEST_STEP) + HIGHEST_STEP]


@njit(**PART)
def hidden_steps(setup: Any, key: Any, family: int, t: int, k: int) -> int:
    """What the family's change and shared shocks do to demand; nobody knows it before."""
    steps = 0
    if setup.shocks[0] != 0:  # the lowest of them, so that the others are 0 too
        block = t // setup.shock_days
        steps = setup.shocks[below(draw(key, _SHOCK, block, setup.season_class[k]), SHOCKS)]
    move = setup.families[family, LEVEL_STEPS]
    if move == 0:
        return steps
    since = t - changes_at(setup, key)
    days = setup.families[family, LEVEL_DAYS]
    if since < 0 or (days > 0 and since >= days):
        return steps
    if setup.families[family, TOGETHER] == 1 or draw(key, _CHANGE, 1, k) & np.uint64(1) == np.uint64(0):
        return steps + move
    return steps - move


@njit(**PART)
def demand_of(setup: Any, key: Any, family: int, t: int, s: int, k: int) -> int:
    """Units of a SKU that a node's customers ask for in a period."""
    if setup.group[s, k] < 0:
        return 0
    bits = draw(key, _DEMAND, t, s * setup.group.shape[1] + k)
    if len(setup.history) > 0:
        hidden = hidden_steps(setup, key, family, t, k)
        asked = max(np.int64(setup.history[begins_at(setup, key) + t, s, k]), 0)
        return rules.part(asked, factor_pm(setup, hidden), below(bits, 1000))
    group = setup.tables.group[setup.group[s, k]]
    step = setup.step[s, k]
    if group[1] > 1:
        step += hidden_steps(setup, key, family, t, k) + known_steps(setup, key, family, t, k)
    table = group[0] + min(max(step - group[2], 0), group[1] - 1)
    low32 = bits & np.uint64(0xFFFFFFFF)
    at = setup.tables.at[table] + setup.tables.guide[table, low32 >> np.uint64(24)]
    last = setup.tables.at[table + 1] - 1
    while at < last and low32 >= np.uint64(setup.tables.cdf[at]):
        at += 1
    return np.int64(setup.tables.low[table]) + at - setup.tables.at[table]


@njit(**PART)
def price_of(setup: Any, key: Any, family: int, t: int, s: int, k: int) -> int:
    """What a customer pays for a unit today."""
    if setup.promotion_cut_pm > 0 and is_promoted(setup, key, family, t, k):
        return rules.scaled(setup.price[s, k], rules.ALL - setup.promotion_cut_pm)
    return setup.price[s, k]


@njit(**PART)
def cost_of(setup: Any, key: Any, family: int, t: int, a: int, k: int) -> int:
    """What a unit costs when it leaves over a link today."""
    per_mille = setup.families[family, COST_PM]
    if per_mille != rules.ALL and setup.source[a] == EXTERNAL and t >= changes_at(setup, key):
        return rules.scaled(setup.cost[a, k], per_mille)
    return setup.cost[a, k]


@njit(**PART)
def is_closed(setup: Any, key: Any, family: int, t: int, a: int) -> bool:
    """Whether a link's supplier ships nothing today; one of the suppliers' links is hit."""
    days = setup.families[family, OUTAGE_DAYS]
    if days == 0 or setup.source[a] != EXTERNAL:
        return False
    since = t - changes_at(setup, key)
    if since < 0 or since >= days:
        return False
    before, external = 0, 0
    for other in range(len(setup.source)):
        external += setup.source[other] == EXTERNAL
        before += setup.source[other] == EXTERNAL and other < a
    return below(draw(key, _OUTAGE, 0, 0), external) == before


@njit(**PART)
def lead_of(setup: Any, key: Any, family: int, t: int, a: int, k: int) -> int:
    """Periods until what is shipped over a link today arrives."""
    entity = a * setup.most.shape[1] + k
    at = 0
    if setup.lead_chance[a, 0] < rules.ALL:
        drawn = chance(key, _LEAD, t, entity)
        while drawn >= setup.lead_chance[a, at]:
            at += 1
    late = setup.families[family, LATE_DAYS]
    if late > 0 and setup.source[a] == EXTERNAL:
        return setup.leads[a, at] + below(draw(key, _LATE, t, entity), late + 1)
    return setup.leads[a, at]


@njit(**PART)
def lost_on_the_way(setup: Any, key: Any, family: int, t: int, a: int, k: int, shipped: int) -> int:
    """Units of a shipment that never arrive."""
    per_mille = setup.loss_pm[a]
    if setup.source[a] == EXTERNAL:
        per_mille += setup.families[family, FAMILY_LOSS_PM]
    if per_mille == 0:
        return 0
    return rules.part(shipped, per_mille, chance(key, _LOSS, t, a * setup.most.shape[1] + k))


@njit(**PART)
def staying(setup: Any, key: Any, t: int, s: int, k: int, unmet: int) -> int:
    """Units of today's unserved demand whose customers wait."""
    if unmet == 0 or setup.waits_pm[s] == 0:
        return 0
    if setup.waits_pm[s] == rules.ALL:
        return unmet
    return rules.part(unmet, setup.waits_pm[s], chance(key, _WAITS, t, s * setup.group.shape[1] + k))
