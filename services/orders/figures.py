"""Published figures of a real online retailer, from which the default shop is drawn.

Measured on the first 10,000 order lines (1 to 5 December 2010) of the UCI "Online Retail" data set.
`python -m benchmarks.figures FILE` prints them anew.

Source: Chen, D. (2015), "Online Retail", UCI Machine Learning Repository, doi 10.24432/C5BW33, CC BY 4.0.
"""

from __future__ import annotations

from dataclasses import dataclass

KNOTS = (*(level / 100 for level in range(0, 100, 5)), 0.99)  # levels of every quantile below
CITATION = "Chen, D. (2015), Online Retail, UCI Machine Learning Repository, doi 10.24432/C5BW33, CC BY 4.0"


@dataclass(frozen=True)
class Figures:
    """What a shop's order history says about its customers.

    Attributes:
        first_day: ISO date of the first order.
        lines_per_invoice: different SKUs of an invoice, at `KNOTS`.
        price_cents: unit price of a line, at `KNOTS`.
        quantity: units of a line, at `KNOTS` up to 95%; what lies above is wholesale.
        quantity_by_price: the same in each quarter of the lines by unit price, cheapest first.
        popularity: lines of each of the most ordered SKUs, descending.
        invoices_by_distance: to customers at home, near abroad, far abroad.
        invoices_by_weekday: a day's mean, Monday first; 0 is a day off, None is not in the data.
        invoices_by_hour: of the day, from midnight.
    """

    first_day: str
    lines_per_invoice: tuple[int, ...]
    price_cents: tuple[int, ...]
    quantity: tuple[int, ...]
    quantity_by_price: tuple[tuple[int, ...], ...]
    popularity: tuple[int, ...]
    invoices_by_distance: tuple[int, int, int]
    invoices_by_weekday: tuple[int | None, ...]
    invoices_by_hour: tuple[int, ...]


# The formatter would give each of 300 numbers a line of its own.
# fmt: off
ONLINE_RETAIL = Figures(
    first_day="2010-12-01",
    lines_per_invoice=(1, 1, 1, 2, 3, 5, 6, 7, 10, 12, 13, 14, 16, 17, 20, 25, 29, 34, 48, 64, 138),
    price_cents=(
        10, 55, 85, 85, 125, 125, 165, 165, 195, 210, 251, 255, 295, 336, 375, 421, 495, 591, 795, 995, 1698,
    ),
    quantity=(1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 6, 6, 8, 12, 12, 18, 25),
    quantity_by_price=(
        (1, 1, 1, 1, 1, 2, 3, 4, 6, 6, 10, 12, 12, 12, 12, 24, 24, 24, 36, 50),
        (1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 3, 5, 6, 7, 10, 12, 12, 12, 20, 24),
        (1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 4, 4, 6, 6, 6, 8, 12, 18),
        (1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4, 6, 12),
    ),
    popularity=(
        62, 59, 57, 57, 56, 51, 45, 44, 43, 41, 41, 38, 35, 34, 34, 33, 33, 32, 32, 31, 30, 30, 29, 29, 28,
        27, 27, 27, 26, 26, 26, 26, 26, 25, 25, 24, 24, 23, 23, 23, 23, 23, 23, 23, 23, 23, 22, 22, 22, 22,
        21, 21, 21, 21, 20, 20, 20, 20, 20, 20, 20, 19, 19, 19, 19, 19, 19, 19, 19, 19, 18, 18, 18, 18, 18,
        18, 18, 18, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 16, 16, 16, 16, 16, 16, 16, 16,
        16, 16, 16, 16, 16, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 14,
        14, 14, 14,
    ),
    invoices_by_distance=(391, 30, 2),
    invoices_by_weekday=(None, None, 127, 141, 68, 0, 87),
    invoices_by_hour=(0, 0, 0, 0, 0, 0, 0, 2, 12, 29, 40, 49, 74, 47, 43, 60, 37, 18, 10, 2, 0, 0, 0, 0),
)
# fmt: on
