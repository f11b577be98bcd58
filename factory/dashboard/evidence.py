"""How a sequential gate came to be sure: its bets played again over recorded scorecards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workgym.factory.betting import FREQUENT, RARE, Floats, capital, tally
from workgym.factory.builtin_gates.improvement import gains_of
from workgym.factory.dashboard.charts import Chart, Series, Tick, compact, curves
from workgym.factory.records import Scorecard
from workgym.factory.statistics import blocks

NOTHING: Floats = np.empty(0)
FLOOR, ABOVE = -2.0, 0.6  # powers of ten that are drawn below 1, and above the bar


@dataclass(frozen=True)
class Course:
    """The stakes of two bettors, one for the claim and one against it, scenario by scenario.

    Attributes:
        claim: what the first bets on; the second bets on the contrary.
        bar: what a bettor must multiply the stake by to be believed.
        sure_after: scenarios after which one was, 0 where none was.
        n: scenarios.
    """

    gate: str
    claim: str
    bar: float
    sure_after: int
    n: int
    chart: Chart


def course(gate: str, numbers: Mapping[str, Any], ours: Scorecard, theirs: Scorecard) -> Course | None:
    """The course of a gate's evidence; None where these scorecards are not what it decided on.

    Args:
        gate: its name.
        numbers: of its verdict.
        ours: the candidate's results.
        theirs: of whom it was compared with, on the same scenarios in the same order.
    """
    bets = {"improvement": _improvement, "flips": _flips}.get(gate)
    if bets is None or numbers.get("n") != ours.n or (ours.family, ours.seed) != (theirs.family, theirs.seed):
        return None
    try:
        error = float(numbers["alpha"]) / int(numbers["candidates"])
        claim, error, scenarios, logs = bets(numbers, error, ours, theirs)
    except (KeyError, ValueError, ZeroDivisionError):  # the verdict of another workgym
        return None
    if not scenarios or not any(map(len, logs)):
        return None
    chart = _chart(scenarios, [one / math.log(10) for one in logs], -math.log10(error))
    return Course(gate, claim, 1 / error, int(numbers.get("n_used", 0)), ours.n, chart)


Bets = tuple[str, float, list[float], list[Floats]]


def _improvement(numbers: Mapping[str, Any], error: float, ours: Scorecard, theirs: Scorecard) -> Bets:
    if "range_cents" not in numbers:
        raise ValueError("a range of another meaning")
    gains, margin = gains_of(ours, theirs, numbers["range"]), float(numbers["margin"])
    if not math.isclose(gains.mean, numbers["gain"], rel_tol=1e-9, abs_tol=1e-9):
        raise ValueError("other results")
    x = gains.units(margin)
    played = x * (gains.reach > 0)
    # A block beyond the declared range: what its bettor won before proves nothing.
    logs = [NOTHING if (side * x < -1).any() else capital(side * played) for side in (1, -1)]
    claim = f"earns more than {margin:+g} cents per order" if margin else "earns more"
    families = len(set(theirs.family))
    return claim, error / 2, [families * (at + 1.0) for at in range(len(x))], logs


def _flips(numbers: Mapping[str, Any], error: float, ours: Scorecard, theirs: Scorecard) -> Bets:
    lost, at = theirs.success.astype(bool) & ~ours.success.astype(bool), blocks(theirs.family)
    if int(lost.sum()) != numbers["flips"]:
        raise ValueError("other results")
    budget = float(numbers["budget"])
    odds = budget / (1 - budget)
    seen, n = lost[at].sum(axis=1).cumsum(), len(at.T) * np.arange(1, len(at) + 1)
    logs = [tally(n - seen, seen, odds, RARE), tally(seen, n - seen, 1 / odds, FREQUENT)]
    return f"fewer than {budget:.1%} of scenarios flip", error, n.astype(float).tolist(), logs


def _chart(scenarios: Sequence[float], logs: Sequence[Floats], bar: float) -> Chart:
    series = []
    for name, log in zip(("for it", "against it"), logs, strict=True):
        if not len(log):
            continue
        drawn = np.clip(np.nan_to_num(log, neginf=FLOOR), FLOOR, bar + ABOVE)
        points = [(0.0, 0.0), *zip(scenarios, drawn.tolist(), strict=True)]
        series.append(Series(name, _thinned(points)))
    chart = curves(series, bar)
    assert chart is not None  # there are points
    powers = range(int(FLOOR), math.ceil(bar + ABOVE) + 1)
    return replace(chart, up=_up(chart, powers))


def _thinned(points: list[tuple[float, float]], most: int = 160) -> list[tuple[float, float]]:
    step = math.ceil(len(points) / most)
    return [*points[:-1:step], points[-1]]


def _up(chart: Chart, powers: range) -> tuple[Tick, ...]:
    """Powers of ten on the axis, which is linear in the exponent."""
    low, high = chart.bottom, chart.top
    at = {power: (high - power) / (high - low) * chart.height for power in powers if low <= power <= high}
    return tuple(Tick(round(where, 2), f"×{compact(10.0**power)}") for power, where in at.items())
