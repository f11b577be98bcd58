"""Rolling-origin evaluation: every forecaster learns once, then tells what it would have told back then."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workgym.agents.forecast import Forecaster, checked_origins
from workgym.agents.forecast.metrics import actuals, coverage, volatility, weighted_quantile_loss
from workgym.agents.forecast.panel import Floats, Panel
from workgym.services.kernel import BadInput


@dataclass(frozen=True)
class Result:
    """What one forecaster told and how good it was.

    Attributes:
        label: what the table calls it.
        quantiles: that it told.
        loss: weighted quantile loss of each quantile.
        covered: share of the demand at or below each quantile.
        moved: volatility of each quantile; NaN where the origins are not successive.
        fit_seconds: CPU spent on learning, in this process.
        predict_seconds: CPU spent on all forecasts.
        forecast: (series, origins, horizon, quantiles) what it told.
    """

    label: str
    quantiles: tuple[float, ...]
    loss: tuple[float, ...]
    covered: tuple[float, ...]
    moved: tuple[float, ...]
    fit_seconds: float
    predict_seconds: float
    forecast: Floats


def backtest(
    panel: Panel, forecasters: Mapping[str, Forecaster], until: int, origins: Sequence[int]
) -> list[Result]:
    """Fit every forecaster on the periods before `until` and judge its forecasts at the origins.

    Raises:
        BadInput: an origin lies before `until`, so that a forecast would be judged on what was learned.
    """
    if min(origins, default=until) < until:
        raise BadInput(
            f"expected origins from {until} on, found {min(origins)}; it lies before the end of the learning"
        )
    return [_judge(panel, label, made, until, origins) for label, made in forecasters.items()]


def _judge(panel: Panel, label: str, made: Forecaster, until: int, origins: Sequence[int]) -> Result:
    checked_origins(panel, origins, made.horizon)
    began = time.process_time()
    fitted = made.fit(panel, until)
    learned = time.process_time()
    told = fitted.predict(panel, origins)
    done = time.process_time()
    truth = actuals(panel, origins, made.horizon)
    successive = len(origins) > 1 and made.horizon > 1 and bool((np.diff(np.asarray(origins)) == 1).all())
    moved = (
        volatility(truth, told, made.quantiles, origins)
        if successive
        else np.full(len(made.quantiles), np.nan)
    )
    return Result(
        label=label,
        quantiles=made.quantiles,
        loss=tuple(weighted_quantile_loss(truth, told, made.quantiles).tolist()),
        covered=tuple(coverage(truth, told, made.quantiles).tolist()),
        moved=tuple(moved.tolist()),
        fit_seconds=learned - began,
        predict_seconds=done - learned,
        forecast=told,
    )


def table(results: Sequence[Result]) -> str:
    """The results as a Markdown table."""
    if not results:
        raise BadInput("expected results to tabulate, found none")
    names = [f"P{100 * q:g}" for q in results[0].quantiles]
    middle = len(names) // 2
    head = ["forecaster", *(f"wQL {n}" for n in names), *(f"cover {n}" for n in names)]
    head += [f"volatility {names[middle]}", "fit CPU s", "predict CPU s"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for r in results:
        numbers = [f"{x:.4f}" for x in r.loss] + [f"{x:.3f}" for x in r.covered]
        numbers += [f"{r.moved[middle]:.3f}", f"{r.fit_seconds:.1f}", f"{r.predict_seconds:.1f}"]
        lines.append([r.label, *numbers])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
