"""Measure a shop's figures from its order export, and print them as `services/orders/figures.py` holds them.

python -m benchmarks.figures shared/online_retail_sample.csv
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from workgym.services.orders.baskets import FAR, NEAR, Baskets, weekday_volumes
from workgym.services.orders.figures import KNOTS, Figures
from workgym.services.orders.history import History, read_orders, to_orders

BANDS = 4  # quarters of the lines by unit price
MOST_POPULAR = 128
UP_TO_95 = KNOTS[:-1]


def measure(history: History) -> Figures:
    """The figures of a history."""
    lines = history.lines
    price, quantity = lines["unit_price_cents"].to_numpy(), lines["quantity"].to_numpy()
    band = np.searchsorted(np.quantile(price, np.arange(1, BANDS) / BANDS), price, side="right")
    invoices = lines.groupby("invoice", sort=False)
    placed = invoices["placed_at"].min()
    baskets = to_orders(history)
    return Figures(
        first_day=baskets.days[0],
        lines_per_invoice=quantiles(invoices["sku"].nunique().to_numpy()),
        price_cents=quantiles(price),
        quantity=quantiles(quantity, UP_TO_95),
        quantity_by_price=tuple(quantiles(quantity[band == b], UP_TO_95) for b in range(BANDS)),
        popularity=tuple(lines["sku"].value_counts().tolist()[:MOST_POPULAR]),
        invoices_by_distance=distances(baskets),
        invoices_by_weekday=tuple(
            None if volume is None else round(volume)
            for volume in weekday_volumes(placed.dt.strftime("%Y-%m-%d").value_counts().to_dict())
        ),
        invoices_by_hour=tuple(np.bincount(placed.dt.hour, minlength=24).tolist()),
    )


def quantiles(values: Any, levels: Sequence[float] = KNOTS) -> tuple[int, ...]:
    return tuple(np.quantile(values, levels, method="inverted_cdf").astype(int).tolist())


def distances(baskets: Baskets) -> tuple[int, int, int]:
    """Invoices from home, near and far."""
    region_of = dict(zip(baskets.invoice, baskets.region.tolist(), strict=True))
    near, far = (sum(region == wanted for region in region_of.values()) for wanted in (NEAR, FAR))
    return len(region_of) - near - far, near, far


def main(arguments: Sequence[str]) -> None:
    if len(arguments) != 1:
        sys.exit("usage: python -m benchmarks.figures FILE")
    history = read_orders(arguments[0])
    print("\n".join(history.report()))
    for name, value in vars(measure(history)).items():
        print(f"{name}={value!r},")


if __name__ == "__main__":
    main(sys.argv[1:])
