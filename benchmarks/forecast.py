"""How good the forecasters are, and what their forecasts earn: one table a panel.

    python -m benchmarks.forecast                 # a synthetic panel from a seed
    python -m benchmarks.forecast FILE            # a real one instead: .csv or .npz
    python -m benchmarks.forecast FILE --until 118 --cpu-seconds 600 --repeat 2

A CSV has the columns date, sku, location, quantity; it is summed by week. A tensor has the shape (...,
periods); its negative entries are returns and are clamped to zero. Every forecaster learns from the
periods before `--until` once and is judged at every origin from there on whose horizon lies in the panel.
`profit` is the share of perfect foresight's profit that an order-up-to buyer earns who follows the
forecast at the later half of the origins: price 1, cost 0.6, holding 0.1 a period, lead time two periods.
The networks' options were chosen on the periods before `--until`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from workgym.agents.forecast import (
    DECILES,
    Forecaster,
    Panel,
    from_csv,
    make_forecaster,
    make_panel,
    synthetic,
    with_calendar,
)
from workgym.agents.forecast.backtest import Result, backtest, table
from workgym.agents.forecast.downstream import Economics, replay, tuned
from workgym.services.kernel import BadInput

ECONOMICS = Economics(price=1.0, cost=0.6, holding=0.1, lead=2)
WINDOWS = (8, 16, 26, 52)
NEURAL = ("mq-rnn", "mq-cnn", "mq-transformer")


def read_panel(path: Path, season: int) -> Panel:
    """The panel in a file, with the season as covariates."""
    if path.suffix == ".csv":
        return with_calendar(from_csv(path)[0], season)
    return with_calendar(make_panel(np.maximum(read_tensor(path), 0)), season)


def read_tensor(path: Path) -> np.ndarray[Any, Any]:
    """(series, periods) of a tensor (..., periods)."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            if len(arrays.files) != 1:
                raise BadInput(f"expected one array in {path}, found {arrays.files}")
            values = arrays[arrays.files[0]]
    else:
        raise BadInput(
            f"expected a .csv or .npz file, found {path.name}; docs/forecast.md says how a tensor becomes one"
        )
    if values.ndim < 2:
        raise BadInput(f"expected (series..., periods) in {path}, found the shape {values.shape}")
    return np.asarray(values.reshape(-1, values.shape[-1]), dtype=np.float32)


def contenders(horizon: int, args: argparse.Namespace) -> Iterator[tuple[str, Forecaster]]:
    """All forecasters by the label of their row."""

    def make(name: str, **options: Any) -> Forecaster:
        return make_forecaster(name, horizon, DECILES, **options)

    yield "last-value", make("last-value")
    yield f"seasonal-naive {args.season}", make("seasonal-naive", season=args.season)
    for window in WINDOWS:
        yield f"empirical {window}", make("empirical", window=window)
    yield "ets", make("ets")
    yield "quantile-forest", make("quantile-forest", season=args.season)
    yield "lightgbm", make("lightgbm", season=args.season)
    for name in NEURAL:
        for seed in range(args.repeat):
            label = name if args.repeat == 1 else f"{name} seed {seed}"
            options = {"seed": seed, "iterations": args.iterations, "cpu_seconds": args.cpu_seconds}
            yield label, make(name, season=args.neural_season, **options)


def profits(panel: Panel, results: list[Result], origins: range) -> str:
    """Share of perfect foresight's profit at the later half of the origins, by forecaster.

    First at the newsvendor's critical ratio, then at the service that earned most at the earlier half.
    """
    middle = (origins.start + origins.stop) // 2
    early, late = range(origins.start, middle), range(middle, origins.stop)
    known = np.isfinite(panel.demand[:, origins.start : origins.stop]).all(axis=1)
    demand = panel.demand[known]
    wanted = np.sum(demand[:, late.start : late.stop], dtype=np.float64)
    head = ["forecaster", "profit at 0.80", "tuned to", "profit", "demand lost", "held, periods of demand"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for result in results:
        told = result.forecast[known]
        before, after = told[:, : len(early)], told[:, len(early) :]
        economics = tuned(demand, before, result.quantiles, early, ECONOMICS)
        plain, worth = (replay(demand, after, result.quantiles, late, e) for e in (ECONOMICS, economics))
        numbers = [f"{plain.share:.2%}", f"{economics.service:.2f}", f"{worth.share:.2%}"]
        numbers += [f"{worth.lost.sum() / wanted:.2%}", f"{worth.held.sum() / wanted:.3f}"]
        lines.append([result.label, *numbers])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def report(title: str, panel: Panel, args: argparse.Namespace, until: int) -> None:
    """Print the tables of one panel, a line at a time while it lasts."""
    origins = range(until, panel.periods - args.horizon + 1)
    print(f"## {title}: {panel.series} series, {len(origins)} origins from {until}, {args.horizon} ahead\n")
    results: list[Result] = []
    for label, made in contenders(args.horizon, args):
        if args.only and made.name not in args.only:
            continue
        results += backtest(panel, {label: made}, until, origins)
        print(table(results[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    print(table(results))
    print(f"\n{profits(panel, results, origins)}\n", flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a real panel; the synthetic one is then left out")
    parser.add_argument("--until", type=int, help="learn from the periods before; default two thirds")
    parser.add_argument("--horizon", type=int, default=8)
    parser.add_argument("--season", type=int, default=52, help="periods in a season")
    parser.add_argument("--neural-season", type=int, default=0, help="the same as a feature of the networks")
    parser.add_argument("--iterations", type=int, default=1500, help="of each network")
    parser.add_argument("--cpu-seconds", type=float, default=0, help="most of each network, 0 for no limit")
    parser.add_argument("--repeat", type=int, default=1, help="seeds of each network")
    parser.add_argument("--only", nargs="*", default=[], help="names of forecasters")
    args = parser.parse_args(argv)
    if args.file is None:
        panel = synthetic(seed=0)
        report("synthetic(seed=0)", panel, args, args.until or panel.periods * 2 // 3)
    else:
        panel = read_panel(args.file, args.season)
        report(args.file.name, panel, args, args.until or panel.periods * 2 // 3)


if __name__ == "__main__":
    main()
