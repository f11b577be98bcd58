"""A retailer's distribution centre and its stores: many SKUs, seasons, promotions, late suppliers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from workgym.services.kernel import BadInput
from workgym.services.supply_chain.demand import mean_at, step_of
from workgym.services.supply_chain.demand_history import DemandBook
from workgym.services.supply_chain.spec import (
    SUPPLIER,
    Calendar,
    Distribution,
    Family,
    Link,
    Network,
    Node,
)

Amounts = NDArray[np.float64]

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
    prices = np.exp(rng.uniform(math.log(400.0), math.log(6000.0), skus)).round()
    costs = (prices * rng.uniform(0.55, 0.75, skus)).round()
    classes = tuple(rng.integers(0, 3, skus).tolist())
    laws = [[_law(means[k] * SIZES[n % len(SIZES)]) for k in range(skus)] for n in range(stores)]
    calendar = Calendar(
        season=_seasons(), promotion_pm=60, promotion_steps=16, promotion_cut_pm=150, shock_steps=2.0
    )
    names = tuple(f"SKU {k + 1:03d}" for k in range(skus))
    network = _network([f"store {n + 1}" for n in range(stores)], names, laws, prices, costs, periods)
    return replace(network, season_class=classes, calendar=calendar)


def retail_of_history(book: DemandBook, periods: int = 60) -> Network:
    """The same retailer with a company's own locations, SKUs and prices.

    What the history does not tell is assumed: goods cost 65 % of their price, or 10.00 where no price is
    known, and lead times, holding costs and order costs are those of the default retailer.

    Args:
        book: one split of the history; its distributions are measured before the split's window where
            there is anything before it.
        periods: days of an episode.
    """
    seen = book.units[: book.context] if book.context >= 28 else book.units
    known = np.where(seen < 0, 0, seen)
    means = np.maximum(known.mean(axis=0), 1 / 64)
    ratios = np.clip(known.var(axis=0) / means, 1.1, 20.0)
    laws = [
        [
            Distribution("negative-binomial", (float(means[n, k]), float(ratios[n, k])), moves=True)
            for k in range(len(book.skus))
        ]
        for n in range(len(book.locations))
    ]
    prices = np.where(book.price > 0, book.price, 1000).astype(np.float64)
    return _network(list(book.locations), book.skus, laws, prices, (prices * 0.65).round(), periods)


def demand_of_book(book: DemandBook) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """(T, S, K) demand and (T, K) promotions of a split's window; the centre has no customers of its own."""
    window = book.units[book.context :]
    units = np.maximum(window, 0).astype(np.int32)
    centre = np.zeros_like(units[:, :1])
    return np.concatenate([centre, units], axis=1), book.promoted[book.context :]


def _network(
    stores: Sequence[str],
    skus: tuple[str, ...],
    laws: Sequence[Sequence[Distribution]],
    prices: Amounts,
    costs: Amounts,
    periods: int,
) -> Network:
    usual = np.array([[mean_at(step_of(law.parameters[0])) for law in row] for row in laws])
    days = [1 + n % 2 for n in range(len(stores))]
    nodes = [_centre(usual, costs)]
    links = [_inbound(usual, costs)]
    for n, name in enumerate(stores):
        nodes.append(_store(name, tuple(laws[n]), usual[n], prices, costs, days[n]))
        links.append(_delivery(name, usual[n], days[n], _most(usual)))
    return Network("retail", tuple(nodes), tuple(links), skus=skus, periods=periods, families=FAMILIES)


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


def _int(values: Amounts, least: int = 1) -> tuple[int, ...]:
    return tuple(np.maximum(np.rint(values), least).astype(int).tolist())


def _centre(usual: Amounts, costs: Amounts) -> Node:
    return Node(
        "centre",
        holding=_int(costs * 0.004),
        salvage=_int(costs),
        opening=_int(np.ceil(usual.sum(axis=0) * 4 + 2)),
    )


def _store(
    name: str,
    laws: tuple[Distribution, ...],
    usual: Amounts,
    prices: Amounts,
    costs: Amounts,
    days: int,
) -> Node:
    return Node(
        name,
        demand=laws,
        price=_int(prices),
        holding=_int(costs * 0.01),
        lost=_int(prices * 0.1),
        salvage=_int(costs),
        opening=_int(np.ceil(usual * (days + 2) + 1)),
    )


def _most(usual: Amounts) -> int:
    """The largest order, one for all links and SKUs: a month of the fastest seller."""
    return math.ceil(float(usual.sum(axis=0).max()) * 30)


def _inbound(usual: Amounts, costs: Amounts) -> Link:
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


def _delivery(name: str, usual: Amounts, days: int, most: int) -> Link:
    return Link(
        "centre",
        name,
        days,
        most=most,
        order_cost=20,
        opening=_int(usual, 0),
    )
