"""Compares ways to bet on a gain: after how many blocks each is sure, and how often it errs.

    python benchmarks/bets.py --reps 200     # the table of docs/design/gates.md, a minute
    pip install ville; python benchmarks/bets.py     # with a column for it

*Ours* is `workgym.factory.betting`; *plug-in* follows the mean and the spread that were seen (aGRAPA,
Waudby-Smith and Ramdas 2024), with stakes of at most nine tenths; *ville* is the PyPI package's limit.
A gain and its spread are in units of the range, at most 128 blocks are played, and all are one-sided at 2.5%.
"""

from __future__ import annotations

import argparse
import importlib.util
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from workgym.factory.betting import capital

BLOCKS, ALPHA = 128, 0.025
Floats = NDArray[np.float64]
CASES = ((0.6, 0.3), (0.5, 0.3), (0.25, 0.3), (0.1, 0.3), (0.1, 0.15), (0.066, 0.006), (0.0, 0.3))


def ours(x: Floats) -> NDArray[np.bool_]:
    """Whether it is sure after each block."""
    return capital(x) >= -np.log(ALPHA)


def plug_in(x: Floats) -> NDArray[np.bool_]:
    """The same with stakes that follow what was seen before."""
    n = np.arange(1, x.shape[1] + 1)
    mean = np.cumsum(x, axis=1) / (n + 1)
    spread = (0.25 + np.cumsum((x - mean) ** 2, axis=1)) / (n + 1)
    before = np.column_stack([np.zeros(len(x)), mean[:, :-1]])
    known = np.column_stack([np.full(len(x), 0.25), spread[:, :-1]])
    stakes = np.clip(before / (known + before**2), 0, 0.9)
    return np.cumsum(np.log1p(stakes * x), axis=1) >= -np.log(ALPHA)


def ville(x: Floats) -> NDArray[np.bool_]:
    """The same by the package of that name."""
    package = importlib.import_module("ville")
    limits = [package.BettingCS(bounds=(-1.0, 1.0), alpha=2 * ALPHA, grid=401).fit(row).lower_ for row in x]
    return np.array(limits) > 0


def ways() -> dict[str, Callable[[Floats], NDArray[np.bool_]]]:
    """What is compared; ville only where it is installed."""
    known = {"ours": ours, "plug-in": plug_in}
    return known | {"ville": ville} if importlib.util.find_spec("ville") else known


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reps", type=int, default=200)
    reps = parser.parse_args().reps
    columns = [f"{name}: sure, median block" for name in ways()]
    print(f"| gain | spread | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
    for gain, spread in CASES:
        rng = np.random.default_rng(zlib.crc32(f"{gain} {spread}".encode()))
        x = rng.normal(gain, spread, (reps, BLOCKS)).clip(-1, 1)
        told = []
        for way in ways().values():
            sure = way(x)
            after = np.where(sure.any(axis=1), sure.argmax(axis=1) + 1.0, np.inf)
            median = np.quantile(after, 0.5, method="higher")
            told.append(f"{sure.any(axis=1).mean():.1%}, {median:.0f}".replace(", inf", ""))
        print(f"| {gain:g} | {spread:g} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()
