"""A harder season for the retailer: what `workgym.services.stress` means here."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from workgym.services.orders.baskets import Baskets
from workgym.services.orders.scenario import Family, Setup, season
from workgym.services.stress import Stress

_LATE = [field.name for field in fields(Family)].index("late_days") - 1  # column of `Setup.families`


def season_under(stress: Stress, baskets: Baskets, days: int, orders_per_day: float) -> Setup:
    """The constants of a season that is planned for `orders_per_day` and meets a stress.

    More demand meets the stock and the picks of the planned volume; supplies of every family come up
    to `lead_time` days later than its own; every centre picks `capacity` times as many lines a day.

    Raises:
        BadInput: an argument is outside its range.
    """
    planned = season(baskets, days, orders_per_day)
    if stress == Stress():
        return planned
    met = planned if stress.demand == 1.0 else season(baskets, days, orders_per_day * stress.demand)
    families = planned.families.copy()
    families[:, _LATE] += stress.lead_time
    capacity = np.maximum(np.rint(planned.capacity * stress.capacity), 1).astype(planned.capacity.dtype)
    return planned._replace(
        arrivals=met.arrivals, max_orders=met.max_orders, families=families, capacity=capacity
    )
