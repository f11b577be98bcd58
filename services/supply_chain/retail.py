"""A retailer's distribution centre and its stores: many SKUs, seasons, promotions, late suppliers."""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import numpy as np

from workgym.services.kernel import BadInput
from workgym.services.supply_chain.demand import mean_at, step_of
from workgym.services.supply_chain.spec import (
    SUPPLIER,
    Calendar,
    Distribution,
    Family,
    Link,
    Network,
    Node,
)

WEEK = (-3, -4, -3, 0, 4, 7, 1)  # steps by weekday, Monday first: Saturday sells 1.6 times Tuesday
YEAR = 364
SIZES = (0.6, 0.85, 1.15, 1.4)  # of the stores, over the mean one; they repeat
SUPPLIER_DAYS = ((5, 500), (7, 300), (9, 200))
FAMILIES = (
    Family("normal"),
    Family("promotion", promotions_pm=3000),
    Family("peak", level_steps=10, level_days=14),
    Family("shift", level_steps=9, together=False),
    Family("supplier-late", late_days=6),
    Family("supplier-outage", outage_days=9),
    Family("price-rise", cost_pm=1150),
)


@lru_cache(maxsize=8)
def retail(split: str = "train", skus: int = 20, stores: int = 4, periods: int = 60) -> Network:
    """The default retailer; each split has an assortment of its own, so that no SKU is known by heart.

    Args:
        split: whose assortment.
        skus: 1..1000.
        stores: 1..20.
        periods: days of an episode.

    Raises:
        BadInput: a number is outside its range.
    """
    for name, value, most in (("skus", skus, 1000), ("stores", stores, 20)):
        if not 1 <= value <= most:
            raise BadInput(f"expected 1..{most} {name}, found {value}")
    seed = int.from_bytes(hashlib.sha256(f"retail/{split}".encode()).digest()[:8], "little")
    rng = np.random.Generator(np.random.Philox(seed))
    means = np.exp(rng.uniform(math.log(0.4), math.log(12.0), skus))
    prices = np.exp(rng.uniform(math.log(400.0), math.log(6000.0), skus)).round().astype(int)
    costs = (prices * rng.uniform(0.55, 0.75, skus)).round().astype(int)
    classes = tuple(rng.integers(0, 3, skus).tolist())
    sizes = [SIZES[n % len(SIZES)] for n in range(stores)]
    laws = [[_law(means[k] * size) for k in range(skus)] for size in sizes]
    usual = np.array([[mean_at(step_of(law.parameters[0])) for law in row] for row in laws])
    shop_days = [1 + n % 2 for n in range(stores)]
    nodes = [_centre(usual, costs)]
    links = [_inbound(usual, costs)]
    for n in range(stores):
        nodes.append(_store(n, tuple(laws[n]), usual[n], prices, costs, shop_days[n]))
        links.append(_delivery(n, usual[n], shop_days[n], _most(usual)))
    return Network(
        "retail",
        tuple(nodes),
        tuple(links),
        skus=tuple(f"SKU {k + 1:03d}" for k in range(skus)),
        periods=periods,
        season_class=classes,
        calendar=Calendar(
            season=_seasons(),
            promotion_pm=60,
            promotion_steps=16,
            promotion_cut_pm=150,
            shock_steps=2.0,
        ),
        families=FAMILIES,
    )


def _law(mean: float) -> Distribution:
    """Fast sellers vary little, slow ones come in lumps or not at all."""
    if mean < 0.6:
        return Distribution("intermittent", (mean, 0.7), moves=True)
    return Distribution("negative-binomial", (mean, 1.5 if mean > 3 else 2.2), moves=True)


def _seasons() -> tuple[tuple[int, ...], ...]:
    """Weekday and time of year, for goods that sell all year, in summer, and before the holidays."""
    days = np.arange(YEAR)
    week = np.array(WEEK)[days % 7]
    summer = 8 * np.cos(2 * np.pi * (days - 200) / YEAR)
    holidays = 14 * np.exp(-(((days - 340) / 12.0) ** 2))
    rows = (week + 0.3 * holidays, week + summer, week - 0.25 * summer + holidays)
    return tuple(tuple(np.rint(row).astype(int).tolist()) for row in rows)


def _int(values: np.ndarray, least: int = 1) -> tuple[int, ...]:
    return tuple(np.maximum(np.rint(values), least).astype(int).tolist())


def _centre(usual: np.ndarray, costs: np.ndarray) -> Node:
    return Node(
        "centre",
        holding=_int(costs * 0.004),
        salvage=_int(costs * 0.9),
        opening=_int(np.ceil(usual.sum(axis=0) * 4 + 2)),
    )


def _store(
    n: int,
    laws: tuple[Distribution, ...],
    usual: np.ndarray,
    prices: np.ndarray,
    costs: np.ndarray,
    days: int,
) -> Node:
    return Node(
        f"store {n + 1}",
        demand=laws,
        price=_int(prices),
        holding=_int(costs * 0.01),
        lost=_int(prices * 0.1),
        salvage=_int(costs * 0.9),
        opening=_int(np.ceil(usual * (days + 2) + 1)),
    )


def _most(usual: np.ndarray) -> int:
    """The largest order, one for all links and SKUs: a month of the fastest seller."""
    return math.ceil(float(usual.sum(axis=0).max()) * 30)


def _inbound(usual: np.ndarray, costs: np.ndarray) -> Link:
    total = usual.sum(axis=0)
    return Link(
        SUPPLIER,
        "centre",
        SUPPLIER_DAYS,
        most=_most(usual),
        pack=tuple(6 if one > 4 else 1 for one in total.tolist()),
        capacity=math.ceil(total.sum() * 1.6),
        cost=_int(costs),
        order_cost=300,
        keeps_orders=True,
        opening=_int(total),
    )


def _delivery(n: int, usual: np.ndarray, days: int, most: int) -> Link:
    return Link(
        "centre",
        f"store {n + 1}",
        days,
        most=most,
        order_cost=20,
        opening=_int(usual, 0),
    )
