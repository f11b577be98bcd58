"""The search for the best whole-number parameters of a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np


def downhill(
    cost: Callable[..., float], start: Sequence[int], least: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Walk from `start` to a point that none of its neighbours, diagonal ones included, beats.

    In one dimension that is the minimum of any unimodal cost. `cost` takes the coordinates as its arguments
    and is asked once for each point; no coordinate falls below `least`.
    """
    floor = tuple(least) if least is not None else (-(1 << 62),) * len(start)
    known: dict[tuple[int, ...], float] = {}

    def at(point: tuple[int, ...]) -> float:
        if any(place < low for place, low in zip(point, floor, strict=True)):
            return np.inf
        if point not in known:
            known[point] = cost(*point)
        return known[point]

    best = tuple(int(place) for place in start)
    while True:
        steps = product((0, -1, 1), repeat=len(best))
        around = [tuple(place + step for place, step in zip(best, way, strict=True)) for way in steps]
        nearest = min(around, key=at)
        if at(nearest) >= at(best):
            return best
        best = nearest
