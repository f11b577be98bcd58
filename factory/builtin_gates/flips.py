"""The gate `flips`, whose evidence may be looked at after every block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from workgym.factory.betting import Rarity, clean_needed
from workgym.factory.builtin_gates.claims import listed, sampled
from workgym.factory.gates import Finding, Numbers, Statistical, gate, short, undecided
from workgym.factory.records import Outcome, Scorecard
from workgym.factory.statistics import blocks, mcnemar_p, proportion_bounds

Flags = NDArray[np.bool_]


class Flips(Statistical):
    """Options of `flips`."""

    budget: float = Field(
        default=0.02, gt=0, lt=1, description="share of scenarios; 181 without a flip prove 2%, 364 prove 1%"
    )
    must_pass: list[str] = Field(
        default=[], description="scenarios as family/seed that no candidate may fail, whatever the budget"
    )


@gate("flips", sequential=True)
def flips(candidate: Scorecard, champion: Scorecard, options: Flips) -> Finding:
    """Claims that few scenarios that the champion handles are failed by the candidate, at any look."""
    ours, theirs = candidate.success.astype(bool), champion.success.astype(bool)
    lost, at = theirs & ~ours, blocks(champion.family)
    rarity = Rarity(lost[at].sum(axis=1).cumsum(), len(at.T) * np.arange(1, len(at) + 1))
    numbers = sampled(candidate.n, options) | _numbers(ours, theirs, options) | _limits(rarity, options)
    numbers["flipped"] = ", ".join(_names(candidate, lost))
    if failed := _must_pass(candidate, ours, options):
        told = f"fails {len(failed)} of {len(options.must_pass)} must-pass scenarios (n={candidate.n})"
        return Finding(Outcome.FAIL, told + listed(failed), numbers | {"n_used": candidate.n})
    if missing := sorted(set(options.must_pass) - set(_names(candidate))):
        told = f"n={candidate.n} scenarios do not hold all that must pass{listed(missing)}"
        return undecided(f"{told}; correct `must_pass` or enlarge the suite", numbers)
    if not theirs.any():
        why = f"{short(champion)} handles none of n={candidate.n} scenarios, so none could flip"
        return undecided(f"{why}; check the env's success criterion or leave this gate out", numbers)
    outcome, numbers["n_used"] = _decide(rarity, options)
    return Finding(outcome, _sentence(outcome, numbers, champion, options), numbers)


def _names(card: Scorecard, chosen: Flags | None = None) -> list[str]:
    at = range(card.n) if chosen is None else np.flatnonzero(chosen)
    return [f"{card.family[one]}/{card.seed[one]}" for one in at]


def _must_pass(candidate: Scorecard, handled: Flags, options: Flips) -> list[str]:
    return [name for name in _names(candidate, ~handled) if name in set(options.must_pass)]


def _decide(rarity: Rarity, options: Flips) -> tuple[Outcome, int]:
    rarer, more = rarity.rarer(options.budget, options.error), rarity.more(options.budget, options.error)
    if more.proven:
        return Outcome.FAIL, more.after
    return (Outcome.PASS, rarer.after) if rarer.proven else (Outcome.INCONCLUSIVE, 0)


def _numbers(ours: Flags, theirs: Flags, options: Flips) -> Numbers:
    n, handled, failed = len(ours), int(theirs.sum()), int((~ours).sum())
    broken, fixed = int((theirs & ~ours).sum()), int((ours & ~theirs).sum())
    low, high = proportion_bounds(broken, n, options.error)
    unrelated = handled * failed / max(n, 1) ** 2
    return {
        "flips": broken,
        "rate": broken / max(n, 1),
        "relative_rate": broken / max(n, 1) / unrelated if unrelated else 0.0,
        "fixed_n_low": low,
        "fixed_n_high": high,
        "budget": options.budget,
        "handled": handled,
        "conditional_rate": broken / max(handled, 1),
        "conditional_high": proportion_bounds(broken, handled, options.error).high,
        "fixed": fixed,
        "fixed_rate": fixed / max(n, 1),
        "mcnemar_p": mcnemar_p(broken, fixed),
        "needed": clean_needed(broken, options.budget, options.error),
    }


def _limits(rarity: Rarity, options: Flips) -> Numbers:
    low, high = rarity.bounds(options.error)
    return {"low": low, "high": high, "n_used": 0}


def _sentence(outcome: Outcome, numbers: Numbers, champion: Scorecard, options: Flips) -> str:
    name, flipped = short(champion), str(numbers["flipped"])
    return (
        f"fails {numbers['flips']} of {numbers['handled']} scenarios that {name} handles, and handles "
        f"{numbers['fixed']} that it fails: {numbers['rate']:.2%} of n={numbers['n']} flip, "
        f"{_limit(outcome, numbers, options)}{listed(flipped.split(', ') if flipped else [])}"
    )


def _limit(outcome: Outcome, numbers: Numbers, options: Flips) -> str:
    within = f"with {options.confidence} at any look, budget {options.budget:.2%}"
    if outcome is Outcome.FAIL:
        return f"at least {numbers['low']:.2%} {within}, sure after {numbers['n_used']}"
    limit = f"at most {numbers['high']:.2%} {within}"
    if outcome is Outcome.PASS:
        fixed = f"{numbers['fixed_n_high']:.2%} by a fixed-n limit"
        return f"{limit}, sure after {numbers['n_used']} ({fixed})"
    if float(numbers["rate"]) > options.budget:
        return limit
    return f"{limit}; {numbers['needed']:,} scenarios without another flip would pass"
