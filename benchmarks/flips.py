"""What an update breaks, and what it gains: plain fine-tuning beside positive-congruent training.

    nice -n 10 python -m benchmarks.flips     # three seeds, five CPU minutes on one core
    python -m benchmarks.flips --before 14 --after 14 --seeds 0     # an update that learns nothing new
    python -m benchmarks.flips --seeds 0 --weights 0 1 --champion-steps 262144 --steps 262144 --seasons 8

The champion has learned in a quiet shop and serves there. Then the shop grows tenfold: the update starts
from the champion and plays the peak alone, as an update does that learns from the latest weeks. The gate
split asks about both: is the peak better, and are the quiet seasons that the champion handles still
handled? Champion and candidate meet the same seasons. Weight 0 is plain fine-tuning; all else is equal.

- gain: cents an order above the champion's, over all orders of both kinds of seasons
- flips: share of all seasons that the champion handles and the candidate does not (negative flip rate)
- CPU s: of the update alone
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from workgym.agents.policy import Policy, files_digest, load_policy
from workgym.agents.presets import PRESETS
from workgym.agents.training import initial_state, make_recipe, policy_from, train_chunk
from workgym.factory.evaluate import evaluate, gate_suite
from workgym.factory.records import Scorecard

ENV = "workgym/Orders-v0"
QUIET, PEAK = 4.0, 40.0  # orders a day
PEAK_SHARE = 4  # quiet seasons for every season of the peak, which has ten times the orders
BUDGET = 0.003  # of the seasons that may flip, when a weight is picked
KEPT, HALVED = 0.85, 0.5  # the goal: shares of plain fine-tuning's gain and flips

Files = dict[str, bytes]


class Cards(NamedTuple):
    """A policy's results on the gate split."""

    quiet: Scorecard
    peak: Scorecard


class Row(NamedTuple):
    """What one update came to."""

    gain: float  # cents an order
    flips: float  # share of the seasons
    won: float  # share of the seasons that the champion fails and the candidate handles
    quiet_flips: float
    peak_gain: float
    cpu_seconds: float


def trained(fields: Mapping[str, Any], inputs: Mapping[str, Files] | None = None) -> tuple[Files, float]:
    """The policy of a recipe, and the CPU seconds that it took."""
    began = time.process_time()
    recipe = make_recipe(fields)
    state = initial_state(recipe, inputs)
    for k in range(recipe.chunks):
        state, _ = train_chunk(recipe, k, state)
    return policy_from(recipe, state), time.process_time() - began


def shop(orders: float) -> dict[str, float]:
    return {"orders_per_day": orders}


def judged(policy: Policy, given: argparse.Namespace) -> Cards:
    seasons = given.seasons, max(given.seasons // PEAK_SHARE, 1)
    shops = shop(given.before), shop(given.after)
    suites = [gate_suite(ENV, *one) for one in zip(shops, ("gate", "gate"), seasons, strict=True)]
    return Cards(*(evaluate(policy, suite, one) for suite, one in zip(suites, shops, strict=True)))


def compared(candidate: Cards, champion: Cards, cpu_seconds: float) -> Row:
    pairs = list(zip(candidate, champion, strict=True))
    more = [int((ours.profit - theirs.profit).sum()) for ours, theirs in pairs]
    orders = [int(theirs.cases.sum()) for _, theirs in pairs]
    lost = [theirs.success & ~ours.success for ours, theirs in pairs]
    won = [~theirs.success & ours.success for ours, theirs in pairs]
    return Row(
        gain=sum(more) / sum(orders),
        flips=float(np.concatenate(lost).mean()),
        won=float(np.concatenate(won).mean()),
        quiet_flips=float(lost[0].mean()),
        peak_gain=more[1] / orders[1],
        cpu_seconds=cpu_seconds,
    )


def updates(seed: int, given: argparse.Namespace) -> dict[float, Row]:
    """One champion and its updates, by weight."""
    steps = {"steps": given.champion_steps, "chunk_steps": given.champion_steps}
    where = {"env_kwargs": shop(given.before)}
    files, _ = trained({"env_id": ENV, **PRESETS["profit"], **where, "seed": seed, **steps})
    champion, digest = judged(load_policy(files), given), files_digest(files)
    handled = [f"{card.success.mean():.1%} of {len(card.success):,}" for card in champion]
    print(f"\nseed {seed}: the champion handles {handled[0]} quiet seasons, {handled[1]} of the peak\n")
    print(HEAD, flush=True)
    rows = {}
    for weight in given.weights:
        recipe = {
            "env_id": ENV,
            **PRESETS["update"],
            "env_kwargs": shop(given.after),
            "focal_kwargs": shop(given.before),
            "teacher": digest,
            "focal_weight": weight,
            "seed": seed,
            "steps": given.steps,
        }
        candidate, cpu_seconds = trained(recipe, {digest: files})
        rows[weight] = compared(judged(load_policy(candidate), given), champion, cpu_seconds)
        print(line(weight, rows[weight]), flush=True)
    return rows


HEAD = """\
| weight | gain | flips | of the quiet | won | gain at the peak | CPU s |
|---|---|---|---|---|---|---|"""


def line(weight: float, row: Row) -> str:
    name = f"{weight:g}" if weight else "0 (plain)"
    return (
        f"| {name} | {row.gain:+.1f} | {row.flips:.2%} | {row.quiet_flips:.2%} | {row.won:.2%} "
        f"| {row.peak_gain:+.1f} | {row.cpu_seconds:.0f} |"
    )


def picked(rows: Mapping[float, Row], budget: float) -> float:
    """The weight that gains most within the budget of flips; the one that flips least where none is."""
    within = [weight for weight, row in rows.items() if row.flips <= budget]
    return (
        max(within, key=lambda one: rows[one].gain) if within else min(rows, key=lambda one: rows[one].flips)
    )


def mean(rows: list[Row]) -> Row:
    return Row(*np.mean(rows, axis=0).tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 0.1, 0.3, 1.0, 3.0])
    parser.add_argument("--before", type=float, default=QUIET, help="orders a day where the champion serves")
    parser.add_argument("--after", type=float, default=PEAK, help="orders a day of what the update plays")
    parser.add_argument("--champion-steps", type=int, default=800_000)
    parser.add_argument("--steps", type=int, default=500_000, help="of every update")
    parser.add_argument("--seasons", type=int, default=512, help="quiet ones of each family")
    parser.add_argument("--budget", type=float, default=BUDGET, help="share of seasons that may flip")
    given = parser.parse_args()
    whole = {seed: updates(seed, given) for seed in given.seeds}
    print(f"\nmean of {len(whole)} seeds\n\n{HEAD}")
    for weight in given.weights:
        print(line(weight, mean([rows[weight] for rows in whole.values()])))
    plain = mean([rows[given.weights[0]] for rows in whole.values()])
    if not plain.gain or not plain.flips:
        raise SystemExit("plain fine-tuning gained or flipped nothing: there is nothing to keep or to halve")
    print()
    for weight in given.weights[1:]:
        print(f"weight {weight:g}: {beside(mean([rows[weight] for rows in whole.values()]), plain)}")
    choice = {seed: picked(rows, given.budget) for seed, rows in whole.items()}
    ours = mean([whole[seed][weight] for seed, weight in choice.items()])
    names = ", ".join(f"{weight:g}" for weight in choice.values())
    print(f"most gain within {given.budget:.2%} of flips ({names} by seed): {beside(ours, plain)}")


def beside(ours: Row, plain: Row) -> str:
    kept, left = ours.gain / plain.gain, ours.flips / plain.flips
    reached = "reached" if kept >= KEPT and left <= HALVED else "missed"
    return f"{kept:.0%} of plain fine-tuning's gain, {left:.0%} of its flips: goal {reached}"


if __name__ == "__main__":
    main()
