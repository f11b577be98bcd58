"""What a policy sees of a supply chain: the whole state, or one row of features for each decision.

Rows are what one buyer would look at for one SKU on one link, in units of its own demand, so that a
policy learned on some SKUs serves others. Everything is a function of what the business knows: its
stock, its orders, its estimate of demand, the calendar and the promotions that it plans itself. Rows do
not show how much of the episode is left: a business does not end, and who knew the last day would sell out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.services.compiled import INNER, KERNEL
from workgym.services.supply_chain import rules, scenario, twin
from workgym.services.supply_chain.scenario import EXTERNAL, Setup

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

BOUND = 8.0  # features beyond are shown as the bound
SLOTS = 8  # periods ahead for which a row shows its pipeline one by one; the last holds the rest
UNITS, COVER, ROWS = range(3)  # what a choice means: units; a cover; units in rows that all offer as many
COVERS = 16  # choices of a cover order: none, and order-up-to levels of 15 safety factors
LOWEST_COVER, COVER_STEP = -1.5, 0.5  # safety factors: -1.5, -1.0, ... 5.5
MORE = 7  # periods beyond the protection interval that a row also shows the expected demand of

HEAD = (
    "on hand",
    "waiting customers",
    "owed on this link, or ordered and not there yet",
    "position of the node, or of it and all below it",
    "on hand at the source",
    "the source is a supplier",
    "expected demand of the next period",
    "expected demand until an order of today has done its service (protection interval)",
    "expected demand of the week after",
    "demand of the last period",
    "promoted now",
    "promoted within the protection interval",
    "size: log2 of the expected demand a period",
    "margin, share of the price",
    "critical ratio of a missed against a kept unit, over the lead time",
    "price of an order, over that of a week's goods",
    "mean lead time",
    "spread of the lead time",
    "the source is closed",
    "purchase price today, over the usual",
    "expected demand of the next three periods",
    "lumpiness: variance over mean of demand",
    "units that are ordered together",
    "share of the link's capacity that a usual period takes",
)
OUTLOOK = (
    "P10 of the demand over the protection interval, as forecast, else by the estimate",
    "P50 of it",
    "P90 of it",
)
NORMAL = (-1.2816, 0.0, 1.2816)  # deviations from the mean to P10, P50 and P90 of a normal law
FEATURES = len(HEAD) + SLOTS + len(OUTLOOK)


class Sheet(NamedTuple):
    """What observations need of a network, worked out once."""

    protection: Ints  # (A,) periods from an order until the next one could have arrived
    reach: Ints  # (A, S) whose customers a link serves in the end
    below: Ints  # (A, S) nodes that the link's target supplies, itself included
    lead: Floats  # (A,) mean
    spread: Floats  # (A,) longest less shortest
    critical: Floats  # (A, K)
    margin: Floats  # (A, K)
    lumpy: Floats  # (A, K) variance over mean
    load: Floats  # (A,) share of the capacity that usual demand takes
    node_scale: Floats  # (S, K) 1 over units that a flat observation shows as 1
    link_scale: Floats  # (A, K)
    largest: int  # order of any link


class Insight(NamedTuple):
    """What follows from the state and helps to decide; N lanes. Not part of the state."""

    ahead: Ints  # (K, H) factor of the coming periods, per mille; scratch
    expected: Ints  # (N, A, K) demand over the protection interval, 1/256 units
    position: Ints  # (N, A, K) of the target, or echelon, in units


def sheet_of(setup: Setup) -> Sheet:
    """The constants of a network's observations."""
    below = _below(setup)
    leads, spread = _leads(setup)
    onward = _onward(setup, leads)
    protection = np.ceil(leads + onward[setup.target] + setup.order_delay + 1).astype(np.int64)
    reach = setup.reach[setup.target]
    usual = setup.usual / rules.FRACTION
    flow = reach @ usual  # (A, K)
    gain = np.maximum(setup.price - _unit_cost(setup), 0)
    short = np.max((setup.lost + setup.waiting + gain)[None] * reach[:, :, None], axis=1)
    keep = np.maximum(setup.holding[setup.target] + setup.transit, 1e-9) * np.maximum(leads, 1)[:, None]
    price = np.max(setup.price[None] * reach[:, :, None], axis=1)
    profit = np.max(gain[None] * reach[:, :, None], axis=1)
    capacity = np.where(setup.capacity > 0, setup.capacity, np.inf)
    return Sheet(
        protection=protection,
        reach=reach,
        below=below[setup.target],
        lead=leads.astype(np.float32),
        spread=spread.astype(np.float32),
        critical=(short / np.maximum(short + keep, 1e-9)).astype(np.float32),
        margin=(profit / np.maximum(price, 1)).astype(np.float32),
        lumpy=_lumpiness(setup, reach),
        load=(flow.sum(axis=1) / capacity).astype(np.float32),
        node_scale=(1.0 / np.maximum((setup.reach @ usual) * (leads.max() + 2), 1.0)).astype(np.float32),
        link_scale=(1.0 / np.maximum(flow * (leads[:, None] + 2), 1.0)).astype(np.float32),
        largest=int(setup.most.max()),
    )


def _below(setup: Setup) -> Ints:
    n = len(setup.opening)
    below = np.eye(n, dtype=np.int64)
    for _ in range(n):
        for a in range(len(setup.source)):
            if setup.source[a] != EXTERNAL:
                below[setup.source[a]] |= below[setup.target[a]]
    return below


def _onward(setup: Setup, leads: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S,) periods from a node to the farthest of those that it supplies."""
    onward = np.zeros(len(setup.opening))
    for _ in range(len(onward)):
        for a, source in enumerate(setup.source.tolist()):
            if source != EXTERNAL:
                way = leads[a] + setup.order_delay[a] + onward[setup.target[a]]
                onward[source] = max(onward[source], way)
    return onward


def _leads(setup: Setup) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and spread of each link's lead time."""
    shares = np.diff(setup.lead_chance, axis=1, prepend=0) / rules.ALL
    mean = (shares * setup.leads).sum(axis=1)
    longest = np.where(shares > 0, setup.leads, -1).max(axis=1)
    shortest = np.where(shares > 0, setup.leads, 10**6).min(axis=1)
    return mean, (longest - shortest).astype(np.float64)


def _unit_cost(setup: Setup) -> Ints:
    """(K,) the cheapest supplier's price."""
    external = setup.source == EXTERNAL
    cheapest: Ints = setup.cost[external].min(axis=0)
    return cheapest


def _lumpiness(setup: Setup, reach: Ints) -> Floats:
    """Variance over mean of a usual period's demand, averaged over the nodes that a link serves."""
    shape = setup.group.shape
    ratio = np.zeros(shape)
    for s, k in np.ndindex(shape):
        if setup.group[s, k] >= 0:
            first, size, lowest = setup.tables.group[setup.group[s, k]]
            table = first + min(max(int(setup.step[s, k]) - lowest, 0), size - 1)
            ratio[s, k] = _table_ratio(setup, int(table))
    weight = reach @ (setup.group >= 0)
    return (reach @ ratio / np.maximum(weight, 1)).astype(np.float32)


def _table_ratio(setup: Setup, table: int) -> float:
    tables = setup.tables
    cdf = tables.cdf[tables.at[table] : tables.at[table + 1]] / 2.0**32
    pmf = np.diff(cdf, prepend=0.0)
    values = tables.low[table] + np.arange(len(pmf))
    mean = float(pmf @ values)
    return float(pmf @ (values - mean) ** 2) / max(mean, 1e-9)


def new_insight(setup: Setup, sheet: Sheet, n: int) -> Insight:
    """Room for the insight into `n` lanes."""
    shape = (n, *setup.most.shape)
    ahead = int(sheet.protection.max()) + MORE + 1
    return Insight(
        np.zeros((setup.most.shape[1], ahead), np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    )


def flat_features(setup: Setup) -> int:
    """Length of a flat observation: stock and estimates, orders and pipelines, the calendar."""
    (links, skus), nodes = setup.most.shape, len(setup.opening)
    return nodes * skus * 2 + links * skus * (1 + setup.delay + setup.horizon) + skus + 1


@njit(**INNER)
def _bounded(x: float) -> np.float32:
    return np.float32(min(max(x, -BOUND), BOUND))


@njit(**INNER)
def observe_flat(setup: Any, sheet: Any, lanes: Any, i: int, obs: Any) -> None:
    """Fill one flat observation (features,)."""
    key, family, t = lanes.key[i], lanes.lane[i, twin.FAMILY], lanes.lane[i, twin.DAY]
    nodes, skus = setup.opening.shape
    at = 0
    for s in range(nodes):
        for k in range(skus):
            net = np.int64(lanes.on_hand[i, s, k]) - lanes.backlog[i, s, k]
            obs[at] = _bounded(net * sheet.node_scale[s, k])
            obs[at + 1] = _bounded(lanes.level[i, s, k] * sheet.node_scale[s, k] / rules.FRACTION)
            at += 2
    for a in range(len(setup.source)):
        for k in range(skus):
            scale = sheet.link_scale[a, k]
            obs[at] = _bounded(lanes.owed[i, a, k] * scale)
            at += 1
            for h in range(lanes.mail.shape[3]):
                obs[at] = _bounded(lanes.mail[i, a, k, h] * scale)
                at += 1
            for h in range(lanes.way.shape[3]):
                obs[at] = _bounded(lanes.way[i, a, k, h] * scale)
                at += 1
    for k in range(skus):
        obs[at] = _bounded(scenario.known_steps(setup, key, family, t, k) / 16.0)
        at += 1
    obs[at] = np.float32(t / setup.periods)


@njit(**INNER)
def look_ahead(setup: Any, sheet: Any, lanes: Any, i: int, insight: Any) -> None:
    """Fill the insight of lane `i`: expected demand over each protection interval, and positions."""
    key, family, t = lanes.key[i], lanes.lane[i, twin.FAMILY], lanes.lane[i, twin.DAY]
    links, skus = setup.most.shape
    for k in range(skus):
        for h in range(insight.ahead.shape[1]):
            insight.ahead[k, h] = scenario.factor_pm(
                setup, scenario.known_steps(setup, key, family, t + h, k)
            )
    for a in range(links):
        for k in range(skus):
            factor = _sum(insight.ahead, k, 0, sheet.protection[a])
            insight.expected[i, a, k] = _reached(setup, sheet, lanes, i, a, k) * factor // rules.ALL
            insight.position[i, a, k] = _position(setup, sheet, lanes, i, a, k)


@njit(**INNER)
def _sum(ahead: Any, k: int, start: int, end: int) -> int:
    total = 0
    for h in range(start, end):
        total += ahead[k, h]
    return total


@njit(**INNER)
def _reached(setup: Any, sheet: Any, lanes: Any, i: int, a: int, k: int) -> int:
    """Estimated demand of a usual period behind a link, 1/256 units."""
    level = 0
    for s in range(sheet.reach.shape[1]):
        level += sheet.reach[a, s] * lanes.level[i, s, k]
    return level


@njit(**INNER)
def _position(setup: Any, sheet: Any, lanes: Any, i: int, a: int, k: int) -> int:
    """Units of a SKU at a link's target and below it, on their way there, and ordered for there."""
    units = 0
    for s in range(sheet.below.shape[1]):
        if sheet.below[a, s] == 1:
            units += np.int64(lanes.on_hand[i, s, k]) - lanes.backlog[i, s, k]
    for other in range(len(setup.source)):
        if sheet.below[a, setup.target[other]] == 1:
            units += twin.on_the_way(lanes, i, other, k)
            inside = setup.source[other] != EXTERNAL and sheet.below[a, setup.source[other]] == 1
            if not inside:
                units += lanes.owed[i, other, k] + _in_mail(lanes, i, other, k)
    return units


@njit(**INNER)
def _in_mail(lanes: Any, i: int, a: int, k: int) -> int:
    units = 0
    for h in range(lanes.mail.shape[3]):
        units += lanes.mail[i, a, k, h]
    return units


@njit(**INNER)
def observe_row(setup: Any, sheet: Any, lanes: Any, insight: Any, i: int, a: int, k: int, row: Any) -> None:
    """Fill the features (FEATURES,) of one decision: `HEAD`, slots, `OUTLOOK`. `look_ahead` comes first."""
    key, family, t = lanes.key[i], lanes.lane[i, twin.FAMILY], lanes.lane[i, twin.DAY]
    s, source, ahead = setup.target[a], setup.source[a], insight.ahead
    level = _reached(setup, sheet, lanes, i, a, k)
    usual = max(level / rules.FRACTION, 1.0 / 64.0)
    unit = 1.0 / (usual * sheet.protection[a])
    row[0] = _bounded(lanes.on_hand[i, s, k] * unit)
    row[1] = _bounded(lanes.backlog[i, s, k] * unit)
    row[2] = _bounded((np.int64(lanes.owed[i, a, k]) + _in_mail(lanes, i, a, k)) * unit)
    row[3] = _bounded(insight.position[i, a, k] * unit)
    row[4] = _bounded(lanes.on_hand[i, source, k] * unit) if source != EXTERNAL else np.float32(0.0)
    row[5] = np.float32(source == EXTERNAL)
    row[6] = _bounded(ahead[k, 0] / 1000.0)
    row[7] = _bounded(insight.expected[i, a, k] / rules.FRACTION * unit)
    week = _sum(ahead, k, sheet.protection[a], sheet.protection[a] + MORE)
    row[8] = _bounded(week / (1000.0 * MORE))
    row[9] = _bounded(_asked(sheet, lanes, i, a, k) / usual)
    row[10] = np.float32(scenario.is_promoted(setup, key, family, t, k))
    promoted = False
    for h in range(1, sheet.protection[a]):
        promoted = promoted or scenario.is_promoted(setup, key, family, t + h, k)
    row[11] = np.float32(promoted)
    row[12] = _bounded(np.log2(usual) / 4.0)
    row[13] = sheet.margin[a, k]
    row[14] = sheet.critical[a, k]
    row[15] = _bounded(
        setup.order_cost[a, k] / max(usual * 7.0 * max(setup.cost[a, k], setup.price[s, k], 1), 1.0)
    )
    row[16] = sheet.lead[a] / np.float32(8.0)
    row[17] = sheet.spread[a] / np.float32(8.0)
    row[18] = np.float32(scenario.is_closed(setup, key, family, t, a))
    row[19] = np.float32(1.0)
    if setup.cost[a, k] > 0:
        row[19] = np.float32(scenario.cost_of(setup, key, family, t, a, k) / setup.cost[a, k])
    row[20] = _bounded(_sum(ahead, k, 0, 3) / 3000.0)
    row[21] = _bounded(sheet.lumpy[a, k] / 4.0)
    row[22] = _bounded(setup.pack[a, k] * unit)
    row[23] = _bounded(sheet.load[a])
    for h in range(SLOTS):
        row[24 + h] = _bounded(lanes.way[i, a, k, h] * unit) if h < lanes.way.shape[3] else np.float32(0.0)
    rest = 0
    for h in range(SLOTS, lanes.way.shape[3]):
        rest += lanes.way[i, a, k, h]
    row[24 + SLOTS - 1] = _bounded(row[24 + SLOTS - 1] + rest * unit)
    _tell(setup, sheet, insight, key, t, i, a, k, unit, row[24 + SLOTS :])


@njit(**INNER)
def _tell(
    setup: Any, sheet: Any, insight: Any, key: Any, t: int, i: int, a: int, k: int, unit: float, row: Any
) -> None:
    """Fill quantiles (3,) of demand over the protection interval: as forecast, else by the estimate."""
    at = scenario.begins_at(setup, key) + t if len(setup.outlook) > 0 else 0
    forecast = at < len(setup.outlook) and setup.outlook[at, a, k, 0] >= 0
    expected = insight.expected[i, a, k] / rules.FRACTION
    spread = np.sqrt(expected * max(sheet.lumpy[a, k], 0.25))
    for q in range(len(NORMAL)):
        units = max(expected + NORMAL[q] * spread, 0.0)
        if forecast:
            units = setup.outlook[at, a, k, q] / rules.FRACTION
        row[q] = _bounded(units * unit)


@njit(**INNER)
def _asked(sheet: Any, lanes: Any, i: int, a: int, k: int) -> int:
    units = 0
    for s in range(sheet.reach.shape[1]):
        units += sheet.reach[a, s] * lanes.asked[i, s, k]
    return units


def kind_of(actions: str, rows: bool) -> int:
    """What the choices of an encoding mean."""
    if actions == "cover":
        return COVER
    return ROWS if rows else UNITS


@njit(**INNER)
def asked_units(
    setup: Any, sheet: Any, lanes: Any, insight: Any, kind: int, i: int, a: int, k: int, choice: int
) -> int:
    """Units that a choice orders; a row's choice beyond its own link's largest order is cut to it."""
    if kind == COVER and lanes.lane[i, twin.ENDED] == 0:
        return cover_order(setup, sheet, insight, i, a, k, choice)
    if kind == ROWS and choice <= sheet.largest:
        return min(choice, setup.most[a, k])
    return choice


@njit(**INNER)
def cover_order(setup: Any, sheet: Any, insight: Any, i: int, a: int, k: int, choice: int) -> int:
    """The order of a cover choice: up to the expected demand plus a safety factor times its deviation.

    Choice 0 orders nothing. The deviation is that of demand as lumpy as the link's usual demand is.
    """
    if choice == 0:
        return 0
    expected = insight.expected[i, a, k] / rules.FRACTION
    safety = LOWEST_COVER + COVER_STEP * (choice - 1)
    target = np.int64(np.ceil(expected + safety * np.sqrt(expected * max(sheet.lumpy[a, k], 0.25))))
    return min(max(target - insight.position[i, a, k], 0), setup.most[a, k])


@njit(**KERNEL)
def look(
    setup: Any, sheet: Any, lanes: Any, insight: Any, rows: bool, covers: bool, ended: Any, obs: Any
) -> None:
    """Fill the observations of all lanes, (N, features) or (N, A * K, FEATURES); zeros where it is over."""
    skus = setup.most.shape[1]
    for i in range(len(ended)):
        if ended[i]:
            obs[i] = np.float32(0.0)
            continue
        if rows or covers:
            look_ahead(setup, sheet, lanes, i, insight)
        if rows:
            for d in range(obs.shape[1]):
                observe_row(setup, sheet, lanes, insight, i, d // skus, d % skus, obs[i, d])
        else:
            observe_flat(setup, sheet, lanes, i, obs[i, 0])


@njit(**KERNEL)
def foresee(setup: Any, sheet: Any, lanes: Any, insight: Any) -> None:
    """Fill the insight into all lanes."""
    for i in range(len(lanes.key)):
        look_ahead(setup, sheet, lanes, i, insight)


@njit(**KERNEL)
def share_credit(setup: Any, sheet: Any, profit: Any, credit: Any) -> None:
    """(A * K,) money that each decision's SKU earned at the link's target and below."""
    links, skus = setup.most.shape
    for a in range(links):
        for k in range(skus):
            earned = 0
            for s in range(profit.shape[0]):
                earned += sheet.below[a, s] * profit[s, k]
            credit[a * skus + k] = earned
