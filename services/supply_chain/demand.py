"""Demand distributions as tables that kernels look a draw up in.

A table is the distribution function at `low`, `low + 1`, ... in units of 2**-32. A guide finds the
first entry worth looking at from the draw's high byte (Chen and Asau 1974, "On generating random
variates from an empirical distribution"), so a look-up takes about one comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from workgym.services.kernel import BadInput, did_you_mean
from workgym.services.supply_chain.spec import Distribution

STEPS_AN_OCTAVE = 16
LOWEST_STEP, HIGHEST_STEP = -112, 192  # means from 1/128 to 4,096 units
TAIL = 2.0**-33  # of the distribution, beyond which nothing is drawn
GUIDE = 256
MOST_VALUES = 2**23  # of all tables of a network; 1,000 SKUs in 20 stores have 40 thousand
_PARAMETERS = {
    "poisson": 1,
    "geometric": 1,
    "negative-binomial": 2,
    "intermittent": 2,
    "normal": 2,
    "uniform": 2,
    "constant": 1,
}
_MOVABLE = ("poisson", "geometric", "negative-binomial", "intermittent", "constant")


class Tables(NamedTuple):
    """Distributions that demand is drawn from; M tables in G groups."""

    group: NDArray[np.int32]  # (G, 3) first table, number of tables, step of the first
    at: NDArray[np.int64]  # (M + 1,) where each table begins in `cdf`
    low: NDArray[np.int32]  # (M,) units of the first entry
    guide: NDArray[np.int32]  # (M, GUIDE) entry to begin at, by the high byte of the draw
    cdf: NDArray[np.uint32]  # of all tables, in 2**-32
    mean: NDArray[np.int64]  # (M,) thousandths of a unit


def probabilities(distribution: Distribution) -> tuple[int, NDArray[np.float64]]:
    """The lowest value and the probabilities from there on, tails under 2**-33 left out.

    Raises:
        BadInput: there is no such kind, or a parameter is outside its range.
    """
    kind, given = distribution.kind, distribution.parameters
    if kind not in _PARAMETERS:
        raise BadInput(did_you_mean("demand distribution", kind, list(_PARAMETERS)))
    if len(given) != _PARAMETERS[kind] or not all(math.isfinite(value) for value in given):
        raise BadInput(f"expected {_PARAMETERS[kind]} parameters of {kind} demand, found {given}")
    return _MAKERS[kind](*given)


def _of(law: object, low: int) -> tuple[int, NDArray[np.float64]]:
    last = float(law.isf(TAIL))  # type: ignore[attr-defined]  # SciPy's frozen distributions
    _require_few(last - low + 1)
    high = max(int(last), low)
    pmf = law.pmf(np.arange(low, high + 1))  # type: ignore[attr-defined]  # as above
    return low, pmf / pmf.sum()


def _require_few(values: float) -> None:
    """Refuse a demand whose table would take the memory of others (BadInput)."""
    if not values <= MOST_VALUES:
        raise BadInput(f"expected demand of at most {MOST_VALUES:,} different values, found {values:,.0f}")


def _positive(name: str, value: float) -> None:
    if value <= 0:
        raise BadInput(f"expected a positive {name} of demand, found {value}")


def _poisson(mean: float) -> tuple[int, NDArray[np.float64]]:
    _positive("mean", mean)
    return _of(stats.poisson(mean), 0)


def _geometric(mean: float) -> tuple[int, NDArray[np.float64]]:
    _positive("mean", mean)
    return _of(stats.geom(1.0 / (mean + 1.0), loc=-1), 0)


def _negative_binomial(mean: float, ratio: float) -> tuple[int, NDArray[np.float64]]:
    _positive("mean", mean)
    if ratio <= 1.0:
        raise BadInput(f"expected more variance than mean of negative-binomial demand, found {ratio} times")
    return _of(stats.nbinom(mean / (ratio - 1.0), 1.0 / ratio), 0)


def _intermittent(mean: float, empty: float) -> tuple[int, NDArray[np.float64]]:
    """None in some periods, else 1 + geometric."""
    _positive("mean", mean)
    if not 0 <= empty < 1:
        raise BadInput(f"expected a share of empty periods in [0, 1), found {empty}")
    size = max(mean / (1.0 - empty), 1.0)
    share = mean / size  # of periods with demand: smaller than asked where single units suffice
    if size == 1.0:
        return 0, np.array([1.0 - share, share])
    _, more = _of(stats.geom(1.0 / size), 1)
    return 0, np.concatenate([[1.0 - share], share * more])


def _normal(mean: float, deviation: float) -> tuple[int, NDArray[np.float64]]:
    _positive("deviation", deviation)
    reach = deviation * float(stats.norm.isf(TAIL))
    _require_few(2 * reach + 1)
    low, high = max(0, math.floor(mean - reach)), max(0, math.ceil(mean + reach))
    edges = (np.arange(low, high + 1) + 0.5 - mean) / deviation
    cdf = stats.norm.cdf(edges)
    pmf = np.diff(cdf, prepend=0.0)
    return low, pmf / pmf.sum()


def _uniform(lowest: float, highest: float) -> tuple[int, NDArray[np.float64]]:
    low, high = int(lowest), int(highest)
    if not (low == lowest and high == highest and 0 <= low <= high):
        raise BadInput(
            f"expected whole bounds of uniform demand, 0 <= lowest <= highest, found {lowest}, {highest}"
        )
    _require_few(high - low + 1)
    return low, np.full(high - low + 1, 1.0 / (high - low + 1))


def _constant(value: float) -> tuple[int, NDArray[np.float64]]:
    if value < 0:
        raise BadInput(f"expected constant demand of at least 0, found {value}")
    return round(value), np.ones(1)


_MAKERS: dict[str, Callable[..., tuple[int, NDArray[np.float64]]]] = {
    "poisson": _poisson,
    "geometric": _geometric,
    "negative-binomial": _negative_binomial,
    "intermittent": _intermittent,
    "normal": _normal,
    "uniform": _uniform,
    "constant": _constant,
}


def step_of(mean: float) -> int:
    """The nearest step of the grid of means, 0 for a mean of one unit."""
    step = round(STEPS_AN_OCTAVE * math.log2(mean)) if mean > 0 else LOWEST_STEP
    return min(max(step, LOWEST_STEP), HIGHEST_STEP)


def mean_at(step: int) -> float:
    """Units a period at a step of the grid."""
    return float(2.0 ** (step / STEPS_AN_OCTAVE))


def factors_pm() -> NDArray[np.int64]:
    """(2 * 192 + 1,) what -192..192 steps do to demand, per mille, at least 1."""
    steps = np.arange(-HIGHEST_STEP, HIGHEST_STEP + 1)
    return np.maximum(np.rint(1000.0 * 2.0 ** (steps / STEPS_AN_OCTAVE)), 1).astype(np.int64)


def tables_for(wanted: Sequence[Distribution], reach: int = 64) -> tuple[Tables, list[tuple[int, int]]]:
    """Tables of several demands, and the (group, step) of each; a demand that does not move has step 0.

    Args:
        wanted: distributions; those that move share a group if they differ in the mean only.
        reach: steps that a moving mean may go up or down.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    places: list[tuple[tuple[object, ...], int]] = []
    for one in wanted:
        if one.moves and one.kind not in _MOVABLE:
            raise BadInput(f"{one.kind} demand cannot move; kinds that can: {', '.join(_MOVABLE)}")
        if one.moves:
            key, step = (one.kind, *one.parameters[1:], "moves"), step_of(one.parameters[0])
            low, high = max(step - reach, LOWEST_STEP), min(step + reach, HIGHEST_STEP)
        else:
            key, step, low, high = (one.kind, *one.parameters), 0, 0, 0
        known = groups.setdefault(key, [low, high])
        known[0], known[1] = min(known[0], low), max(known[1], high)
        places.append((key, step))
    group: list[tuple[int, int, int]] = []
    made: list[tuple[int, NDArray[np.float64]]] = []
    values = 0
    for key, (low, high) in groups.items():
        group.append((len(made), high - low + 1, low))
        for step in range(low, high + 1):
            made.append(probabilities(_member(key, step)))
            values += len(made[-1][1])
            _require_few(values)
    numbers = {key: number for number, key in enumerate(groups)}
    return _pack(np.array(group, dtype=np.int32), made), [(numbers[key], step) for key, step in places]


def _member(key: tuple[object, ...], step: int) -> Distribution:
    kind, *rest = key
    values = [value for value in rest if isinstance(value, (int, float))]
    if rest and rest[-1] == "moves":
        return Distribution(str(kind), (mean_at(step), *values))
    return Distribution(str(kind), tuple(values))


def _pack(group: NDArray[np.int32], made: list[tuple[int, NDArray[np.float64]]]) -> Tables:
    sizes = [len(pmf) for _, pmf in made]
    at = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    cdf = np.empty(at[-1], dtype=np.uint32)
    guide = np.empty((len(made), GUIDE), dtype=np.int32)
    for number, (_, pmf) in enumerate(made):
        one = np.minimum(np.rint(np.cumsum(pmf) * 2.0**32), 2.0**32 - 1).astype(np.uint32)
        one[-1] = np.uint32(2**32 - 1)
        cdf[at[number] : at[number + 1]] = one
        guide[number] = np.searchsorted(one, np.arange(GUIDE, dtype=np.uint64) << 24, side="right")
    guide = np.minimum(guide, np.array(sizes, dtype=np.int32)[:, None] - 1)
    means = [round(1000 * float(np.dot(low + np.arange(len(pmf)), pmf))) for low, pmf in made]
    lows = np.array([low for low, _ in made], dtype=np.int32)
    return Tables(group, at, lows, guide, cdf, np.array(means, dtype=np.int64))
