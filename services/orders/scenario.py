"""What happens to the retailer: orders, patience, inbound deliveries, outages, carrier delays.

Each happening is a pure function of (episode key, source, day, entity), so the twin, the live
service and two compared policies meet the same season. `Setup` holds the constants of a season as
arrays that compiled kernels read; `season()` builds one.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.services.compiled import KERNEL, PART
from workgym.services.kernel import BadInput, did_you_mean
from workgym.services.orders import rules
from workgym.services.orders.baskets import Baskets
from workgym.services.scenario import ENTITY, below, draw, draw_from, mix

Ints = NDArray[np.int32]

CENTRES = ("Leeds", "Reading", "Glasgow", "Cork")
REGIONS = ("north", "south", "midlands", "scotland", "near abroad", "far abroad")
N_CENTRES = len(CENTRES)
N_DOMESTIC = 4
ZONES: tuple[tuple[int, ...], ...] = (
    (0, 2, 1, 1, 3, 4),
    (2, 0, 1, 3, 2, 4),
    (1, 3, 2, 0, 4, 4),
    (3, 2, 2, 2, 1, 3),
)
TRANSIT_DAYS = ((1, 1, 1), (2, 1, 1), (3, 2, 1), (4, 2, 1), (6, 4, 2))
PARCEL_CENTS = ((290, 390, 690), (330, 450, 790), (390, 540, 950), (470, 690, 1190), (590, 890, 1590))
PER_KG_CENTS = ((30, 40, 90), (40, 55, 110), (55, 75, 140), (80, 110, 190), (140, 190, 290))
STOCK_SHARES = (0.30, 0.34, 0.20, 0.16)  # of demand, by centre
NATIONAL = 1  # the centre that also keeps every slow mover
CYCLE_DAYS = 4  # each (centre, SKU) is replenished once a cycle

# Columns of an order's row, in the twin and in canonical states.
BASKET, REGION, PRIORITY, PLACED, PROMISE, GIVE_UP, STATUS, PARCELS, REVIEWED = range(9)
ORDER_WIDTH = 10
NEVER = -1

# Columns of a basket's facts.
LINES, UNITS, WEIGHT, VALUE, COST, HOME = range(6)

# Sources of randomness.
_ARRIVALS, _ORDER, _BASKET, _INBOUND, _OUTAGE, _CARRIER, _FAMILY = range(7)

QUANTILES = 1024


@dataclass(frozen=True)
class Family:
    """A business situation, as departures from a normal season.

    Attributes:
        name: what reports call it.
        arrivals_pm: order volume, per mille of normal.
        peak_pm: volume during the peak, per mille of normal.
        peak_from: first day of the peak.
        peak_days: length of the peak.
        stock_pm: opening stock, per mille of normal.
        inbound_pm: size of replenishments, per mille of normal.
        outage_days: how long one centre is closed.
        late_days: inbound deliveries come 0 to this many days after their date.
        remote_pm: share of orders that come from abroad instead of their usual region.
    """

    name: str
    arrivals_pm: int = 1000
    peak_pm: int = 1000
    peak_from: int = 0
    peak_days: int = 0
    stock_pm: int = 1000
    inbound_pm: int = 1000
    outage_days: int = 0
    late_days: int = 0
    remote_pm: int = 0


FAMILIES = (
    Family("normal"),
    Family("promotion", peak_pm=1900, peak_from=2, peak_days=4),
    Family("stock-out", stock_pm=500, inbound_pm=800),
    Family("centre-outage", outage_days=4),
    Family("supplier-late", stock_pm=800, late_days=4),
    Family("remote-heavy", remote_pm=500),
)
FAMILY_NAMES = tuple(family.name for family in FAMILIES)
_A_PM, _PEAK_PM, _PEAK_FROM, _PEAK_DAYS, _STOCK_PM, _INBOUND_PM, _OUTAGE, _LATE, _REMOTE_PM = range(9)


class Setup(NamedTuple):
    """The constants of a season.

    B baskets, C centres, R regions, Z zones, S services, K SKUs, F families, D days.
    """

    days: int  # length of the season
    max_orders: int  # orders that one season can hold
    line_sku: Ints  # (B, MAX_LINES) index of the SKU, -1 for none
    line_qty: Ints  # (B, MAX_LINES) units
    line_weight: Ints  # (B, MAX_LINES) grams
    facts: Ints  # (B, 6) lines, units, grams, sales cents, goods cents, home region
    zone: Ints  # (C, R) carrier zone
    transit: Ints  # (Z, S) days
    parcel: Ints  # (Z, S) cents a parcel
    per_kg: Ints  # (Z, S) cents a started kilogram
    capacity: Ints  # (C,) lines that a centre picks a day
    stock: Ints  # (C, K) opening stock of a normal season beyond `safety`, units
    safety: Ints  # (C, K) opening stock that no family changes, units
    inbound: Ints  # (C, K) thousandths of a unit in a normal replenishment
    cover: NDArray[np.float32]  # (C, K) days of demand that one unit covers
    arrivals: NDArray[np.int16]  # (F, D, QUANTILES) orders a day by quantile
    families: Ints  # (F, 9) the fields of `Family`


def family_index(name: str) -> int:
    """Position of a family.

    Raises:
        BadInput: there is no such family.
    """
    if name not in FAMILY_NAMES:
        raise BadInput(did_you_mean("family", name, list(FAMILY_NAMES)))
    return FAMILY_NAMES.index(name)


def season(baskets: Baskets, days: int = 10, orders_per_day: float = 14.0, slack: float = 1.25) -> Setup:
    """The constants of a season of `days` days.

    Args:
        baskets: what customers order, drawn with replacement.
        days: length of the season.
        orders_per_day: mean volume of a normal day.
        slack: picking capacity over mean volume, in lines.

    Raises:
        BadInput: an argument is outside its range.
    """
    if not 1 <= days <= 60:
        raise BadInput(f"days must lie in 1..60, found {days}")
    if not 0.5 <= orders_per_day <= 500:
        raise BadInput(f"orders_per_day must lie in 0.5..500, found {orders_per_day}")
    demand = _daily_demand(baskets, orders_per_day)
    lines_per_day = orders_per_day * float(baskets.lines.mean())
    arrivals = _arrival_quantiles(days, orders_per_day, baskets.weekday_pm)
    return Setup(
        days=days,
        max_orders=int(arrivals.max(axis=2).sum(axis=1).max()),
        line_sku=baskets.sku,
        line_qty=baskets.qty,
        line_weight=(baskets.weight_g[np.maximum(baskets.sku, 0)] * baskets.qty).astype(np.int32),
        facts=_facts(baskets),
        zone=np.array(ZONES, dtype=np.int32),
        transit=np.array(TRANSIT_DAYS, dtype=np.int32),
        parcel=np.array(PARCEL_CENTS, dtype=np.int32),
        per_kg=np.array(PER_KG_CENTS, dtype=np.int32),
        capacity=np.ceil(np.array(STOCK_SHARES) * lines_per_day * slack).astype(np.int32),
        stock=np.ceil(demand * CYCLE_DAYS * 1.3).astype(np.int32),
        safety=np.ceil(_safety_stock(baskets)).astype(np.int32),
        inbound=(demand * CYCLE_DAYS * 1000).astype(np.int32),
        cover=(1.0 / np.maximum(demand, 0.05)).astype(np.float32),
        arrivals=arrivals,
        families=np.array([[*vars(family).values()][1:] for family in FAMILIES], dtype=np.int32),
    )


def _daily_demand(baskets: Baskets, orders_per_day: float) -> NDArray[np.float64]:
    """(C, K) units a day that customers near each centre ask for."""
    listed = baskets.sku >= 0
    units = np.bincount(baskets.sku[listed], baskets.qty[listed], minlength=len(baskets.codes))
    return np.outer(STOCK_SHARES, units * orders_per_day / len(baskets.lines))


def _safety_stock(baskets: Baskets) -> NDArray[np.float64]:
    """(C, K) one typical line of each SKU at the national centre and at the SKU's home centre.

    Without it a slow mover, of which less than a unit is asked for in a cycle, could never be shipped.
    """
    listed = baskets.sku >= 0
    n_skus = len(baskets.codes)
    lines = np.bincount(baskets.sku[listed], minlength=n_skus)
    typical = np.bincount(baskets.sku[listed], baskets.qty[listed], minlength=n_skus) / np.maximum(lines, 1)
    centre = np.arange(len(CENTRES))[:, None]
    return np.where((centre == NATIONAL) | (centre == np.arange(n_skus) % len(CENTRES)), typical, 0.0)


def _facts(baskets: Baskets) -> Ints:
    """(B, 6) what a basket weighs, is worth and costs."""
    sku, qty = np.maximum(baskets.sku, 0), baskets.qty
    totals = [
        (values[sku] * qty).sum(axis=1)
        for values in (baskets.weight_g, baskets.price_cents, baskets.cost_cents)
    ]
    return np.stack([baskets.lines, qty.sum(axis=1), *totals, baskets.region], axis=1).astype(np.int32)


def _arrival_quantiles(days: int, orders_per_day: float, weekday_pm: Ints) -> NDArray[np.int16]:
    """(F, D, QUANTILES) inverse distribution of the day's Poisson volume at mid-quantiles."""
    table = np.empty((len(FAMILIES), days, QUANTILES), dtype=np.int16)
    for f, family in enumerate(FAMILIES):
        for day in range(days):
            peak = family.peak_from <= day < family.peak_from + family.peak_days
            pm = family.peak_pm if peak else family.arrivals_pm
            mean = orders_per_day * pm / 1000 * int(weekday_pm[day % len(weekday_pm)]) / 1000
            table[f, day] = _poisson_quantiles(mean)
    return table


@lru_cache(maxsize=512)
def _poisson_quantiles(mean: float) -> NDArray[np.int16]:
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    counts = np.arange(int(mean + 12 * math.sqrt(mean) + 20))
    log_mass = counts * math.log(mean) - mean - np.array([math.lgamma(n + 1.0) for n in counts])
    return np.searchsorted(np.cumsum(np.exp(log_mass)), levels).astype(np.int16)


def setup_digest(setup: Setup) -> str:
    """Content hash of a season's constants."""
    whole = hashlib.sha256()
    for value in setup:
        whole.update(np.ascontiguousarray(value).tobytes())
    return whole.hexdigest()


@njit(**KERNEL)
def drawn_family(key: Any, n_families: int) -> int:
    """The family of an episode that was not given one."""
    return below(draw(key, _FAMILY, 0, 0), n_families)


@njit(**PART)
def volume(setup: Any, key: Any, family: int, day: int) -> int:
    """How many orders come on a day."""
    quantile = draw(key, _ARRIVALS, day, 0) & np.uint64(QUANTILES - 1)
    return np.int64(setup.arrivals[family, day, quantile])


@njit(**PART)
def newcomer(setup: Any, key: Any, family: int, day: int, n: int) -> tuple[int, int, int, int, int]:
    """The day's order number `n`: basket, region, priority, promise and the day on which patience ends."""
    bits = draw(key, _ORDER, day, n)
    basket = below(bits, setup.facts.shape[0])
    high = mix(bits)
    region = np.int64(setup.facts[basket, HOME])
    if below(high, 1000) < setup.families[family, _REMOTE_PM]:
        region = N_DOMESTIC + np.int64((high >> np.uint64(32)) & np.uint64(1)) % (
            setup.zone.shape[1] - N_DOMESTIC
        )
    priority = np.int64(((high >> np.uint64(34)) & np.uint64(7)) < np.uint64(2))
    spread = np.int64((high >> np.uint64(40)) & np.uint64(3))
    promise = day + (1 + spread // 2 if priority else 2 + spread) + (3 if region >= N_DOMESTIC else 0)
    return basket, region, priority, promise, promise + 1 + np.int64((high >> np.uint64(44)) & np.uint64(3))


@njit(**KERNEL)
def arrive(setup: Any, key: Any, family: int, day: int, rows: Any) -> int:
    """Write the day's new orders into `rows` (max_orders, ORDER_WIDTH) and return how many came."""
    count = volume(setup, key, family, day)
    for n in range(count):
        basket, region, priority, promise, give_up = newcomer(setup, key, family, day, n)
        row = rows[n]
        row[BASKET] = basket
        row[REGION] = region
        row[PRIORITY] = priority
        row[PLACED] = day
        row[PROMISE] = promise
        row[GIVE_UP] = give_up
        row[STATUS] = rules.WAITING
        row[PARCELS] = 0
        row[REVIEWED] = NEVER
    return count


@njit(**PART)
def replenish_on(centre: int, sku: int, after: int) -> int:
    """First scheduled replenishment of a SKU at a centre later than day `after`."""
    return after + 1 + (centre + sku - after - 1) % CYCLE_DAYS


@njit(**PART)
def inbound_units(setup: Any, key: Any, family: int, centre: int, sku: int, eta: int) -> int:
    """Units in the replenishment that is scheduled for day `eta`."""
    pair = centre * setup.stock.shape[1] + sku
    thousandths = np.int64(setup.inbound[centre, sku]) * setup.families[family, _INBOUND_PM] // 1000
    return (thousandths + below(draw(key, _INBOUND, eta, pair), 1000)) // 1000


@njit(**PART)
def inbound_delay(setup: Any, key: Any, family: int, centre: int, sku: int, eta: int) -> int:
    """Days by which the supplier is late with the replenishment of day `eta`."""
    late = setup.families[family, _LATE]
    if late == 0:
        return 0
    pair = centre * setup.stock.shape[1] + sku
    return below(mix(draw(key, _INBOUND, eta, pair)), late + 1)


@njit(**KERNEL)
def receive(setup: Any, key: Any, family: int, day: int, free: Any) -> None:
    """Add to `free` (K, C) what suppliers deliver on `day`."""
    n_centres, n_skus = setup.stock.shape
    for late in range(setup.families[family, _LATE] + 1):
        eta = day - late
        if eta < 1:
            break
        for centre in range(n_centres):
            for sku in range((eta - centre) % CYCLE_DAYS, n_skus, CYCLE_DAYS):
                if inbound_delay(setup, key, family, centre, sku, eta) == late:
                    free[sku, centre] += inbound_units(setup, key, family, centre, sku, eta)


class Supply(NamedTuple):
    """What `receive` needs, laid out so that all SKUs of a delivery day are worked out side by side.

    Every SKU comes to one centre a day: the one whose turn it is in the cycle.
    """

    salt: NDArray[np.uint64]  # (CYCLE_DAYS, K) what tells the draws of the pairs of a delivery day apart
    units: Ints  # (F, CYCLE_DAYS, K) whole units of each replenishment
    rest: Ints  # (F, CYCLE_DAYS, K) thousandths of a unit beyond them
    due: NDArray[np.int64]  # (K,) scratch: units that come today


def supply_of(setup: Setup) -> Supply:
    """The supply of a season."""
    centres, skus = setup.stock.shape
    if centres != CYCLE_DAYS:
        raise BadInput(f"expected one centre for each of the {CYCLE_DAYS} days of a cycle, found {centres}")
    sku = np.arange(skus)
    centre = (np.arange(CYCLE_DAYS)[:, None] - sku) % CYCLE_DAYS
    pm = setup.families[:, _INBOUND_PM].astype(np.int64)
    thousandths = setup.inbound[centre, sku].astype(np.int64) * pm[:, None, None] // 1000
    return Supply(
        salt=(centre * skus + sku).astype(np.uint64) * ENTITY,
        units=(thousandths // 1000).astype(np.int32),
        rest=(thousandths % 1000).astype(np.int32),
        due=np.zeros(skus, dtype=np.int64),
    )


@njit(**PART)
def receive_all(setup: Any, supply: Any, key: Any, family: int, day: int, free: Any) -> None:
    """`receive`, faster."""
    latest = np.int64(setup.families[family, _LATE])
    for late in range(min(latest, day - 1) + 1):
        eta = day - late
        phase = eta % CYCLE_DAYS
        first = draw_from(key, _INBOUND, eta)
        for sku in range(setup.stock.shape[1]):
            bits = mix(first + supply.salt[phase, sku])
            extra = supply.rest[family, phase, sku] + below(bits, 1000) >= 1000
            on_time = latest == 0 or below(mix(bits), latest + 1) == late
            supply.due[sku] = (supply.units[family, phase, sku] + extra) * on_time
        for sku in range(setup.stock.shape[1]):
            free[sku, (eta - sku) % CYCLE_DAYS] += supply.due[sku]


@njit(**PART)
def capacity_today(setup: Any, key: Any, family: int, centre: int, day: int) -> int:
    """Lines that a centre can pick on `day`; none while it is closed."""
    length = setup.families[family, _OUTAGE]
    if length > 0:
        bits = draw(key, _OUTAGE, 0, 0)
        closed = np.int64((bits >> np.uint64(40)) % np.uint64(setup.zone.shape[0]))
        start = below(bits, max(setup.days - length, 1))
        if centre == closed and start <= day < start + length:
            return 0
    return setup.capacity[centre]


@njit(**PART)
def opening_stock(setup: Any, family: int, centre: int, sku: int) -> int:
    """Units on the shelf when the season opens."""
    return (
        setup.safety[centre, sku]
        + np.int64(setup.stock[centre, sku]) * setup.families[family, _STOCK_PM] // 1000
    )


@njit(**PART)
def carrier_delay(key: Any, order: int, centre: int, service: int) -> int:
    """Days by which the carrier is late with an order's parcel from `centre`.

    Economy is late in one parcel of eight, standard in one of sixteen, express in one of sixty-four;
    a quarter of the late ones take two days.
    """
    bits = draw(key, _CARRIER, order, centre)
    if (bits & np.uint64(63)) >= np.uint64(8 >> service if service < 2 else 1):
        return 0
    return 2 if (bits >> np.uint64(20)) & np.uint64(3) == np.uint64(0) else 1
