"""Measures how often the gates that play err, in simulated labs whose truth is known.

    python benchmarks/probing_errors.py     # the table of docs/design/gates.md, two minutes of CPU
    python benchmarks/probing_errors.py --only exploits --reps 1000

A row plays one situation `reps` times. Where the candidate is bad a pass is the error, where it is good a
fail is; `claimed` is what the gate promises of that error, with a dash where it promises nothing. A
situation of several policies passes when any of them does. Generators are seeded by the row's name.
`serving` and `fidelity` compare, and infer nothing: they have no row.
"""

from __future__ import annotations

import argparse
import zlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from workgym.agents.baselines import Role, baseline
from workgym.envs.perturbations import Perturbation
from workgym.factory.conduct import Conduct
from workgym.factory.gates import judge
from workgym.factory.lab import CANDIDATE, REFERENCE, Lab, Remembered
from workgym.factory.records import Outcome, Scorecard
from workgym.services.scenario import Scenario, Suite

ENV = "simulated/Shop-v0"
FAMILIES = ("normal", "promotion", "stock-out", "outage", "supplier-late", "remote")
ORDERS = 40  # per scenario
LEVEL = 600.0  # cents per order that the champion earns
SPREAD = 20.0  # cents per order, standard deviation of a paired difference
AXES = ("demand", "lead-time", "capacity", "faults")
Generator = np.random.Generator
Floats = NDArray[np.float64]
Draw = Callable[[Generator, int], Floats]


class Shop:
    """An env that exists only by name."""

    perturbations = tuple(Perturbation(axis, f"{axis} is worse", {"stress": axis}) for axis in AXES)


gym.register(id=ENV, entry_point=cast("Any", Shop))
baseline(ENV, "cheat", Role.ADVERSARY)(cast("Any", object))


def normal(rng: Generator, n: int) -> Floats:
    return rng.normal(size=n)


def lopsided(rng: Generator, n: int) -> Floats:
    """Many small gains, few large losses: a lognormal turned round."""
    return np.asarray((np.exp(0.5) - rng.lognormal(size=n)) / np.sqrt((np.e - 1) * np.e))


def card(policy: str, profit: Floats, suite: str = "simulated") -> Scorecard:
    """A scorecard from cents per order."""
    n = len(profit)
    each = np.full(n, ORDERS)
    return Scorecard(
        policy=policy,
        env_id=ENV,
        suite=suite,
        backend="none",
        family=FAMILIES * (n // len(FAMILIES)),
        seed=tuple(range(n)),
        profit=np.rint(profit * ORDERS).astype(np.int64),
        cases=each,
        success=np.ones(n, np.bool_),
        violations=np.zeros(n, np.int64),
        obligations=each,
    )


class World:
    """A lab that makes up what policies earn and how they go about it.

    Attributes:
        split: as a lab's.
        uses: as a lab's.
    """

    env_id, split = ENV, "gate"

    def __init__(self, rng: Generator) -> None:
        self.rng = rng
        self.uses = Remembered()
        self.cards: dict[str, Scorecard] = {}

    def suite(self, split: str, per_family: int, block: int) -> Suite:
        """A suite that is told apart from others by its name alone."""
        return Suite(ENV, split, (Scenario(ENV, split, "normal", block),), "simulated")

    def level(self, n: int) -> Floats:
        """What a season is worth, cents per order."""
        return LEVEL * (1 + 0.2 * self.rng.normal(size=n))


class Disturbed(World):
    """For `robustness`: every axis leaves each policy a share; one axis is as told, the others are harmless.

    Args:
        rng: what draws.
        keeps: share that the candidate keeps on the axis.
        gain: cents per order that it is better than the champion there.
        axes: how many axes are as told.
        shape: how differences scatter.
    """

    def __init__(
        self, rng: Generator, keeps: float, gain: float, axes: int = 1, shape: Draw = normal
    ) -> None:
        super().__init__(rng)
        self.told = dict.fromkeys(AXES[:axes], (keeps, gain))
        self.shape = shape

    def play(self, who: str, *, per_family: int, env_kwargs: Any = None, reads: Any = None) -> Scorecard:
        """Made up once for both, so that they are paired."""
        axis = (env_kwargs or {}).get("stress", "")
        if axis not in self.cards:
            self._draw(axis, per_family * len(FAMILIES))
        return self.cards[axis if who == CANDIDATE else f"{axis} champion"]

    def _draw(self, axis: str, n: int) -> None:
        if not hasattr(self, "usual"):
            self.usual = self.level(n)
        keeps, gain = self.told.get(axis, (1.0, 0.0))
        ours = keeps * self.usual + 2 * SPREAD * self.shape(self.rng, n)
        self.cards[axis] = card("candidate", ours)
        self.cards[f"{axis} champion"] = card("champion", ours - gain - SPREAD * self.shape(self.rng, n))


class Sealed(World):
    """For `generalisation`: the gain on the reference rule where it was trained, and where it was not.

    Args:
        rng: what draws.
        gap: cents per order that the gain shrinks by.
        shape: how differences scatter.
    """

    def __init__(self, rng: Generator, gap: float, shape: Draw = normal) -> None:
        super().__init__(rng)
        self.gap, self.shape = gap, shape

    def play(self, who: str, *, split: str, per_family: int, block: int) -> Scorecard:
        """The rule earns the same whoever is judged."""
        n = per_family * len(FAMILIES)
        if f"{split} rule" not in self.cards:
            self.cards[f"{split} rule"] = card("rule", self.level(n))
        rule = self.cards[f"{split} rule"]
        if who == REFERENCE:
            return rule
        gain = 60.0 - (self.gap if split == "audit" else 0.0)
        return card("candidate", rule.profit / ORDERS + gain + 3 * SPREAD * self.shape(self.rng, n))


class Learned(Sealed):
    """Who is judged was made of what earlier verdicts on the same scenarios told.

    Every verdict tells how lucky one direction is, in which a policy can lean; whoever comes next leans
    into all of them at once, as far as it can without being another policy on the whole.
    """

    def __init__(self, rng: Generator, gap: float) -> None:
        super().__init__(rng, gap)
        self.luck: list[Floats] = []

    def play(self, who: str, *, split: str, per_family: int, block: int) -> Scorecard:
        """Fresh luck the first time, then the best mixture of all luck so far."""
        n = per_family * len(FAMILIES)
        if who == REFERENCE or split != "audit":
            return super().play(who, split=split, per_family=per_family, block=block)
        self.luck.append(self.rng.normal(size=n))
        lean = np.array([one.mean() for one in self.luck[:-1]] or [1.0])
        known = np.array(self.luck[:-1] or self.luck)
        mixture = (lean / np.linalg.norm(lean)) @ known
        rule = self.cards.get("audit rule") or super().play(
            REFERENCE, split=split, per_family=per_family, block=0
        )
        return card("candidate", rule.profit / ORDERS + 60.0 - self.gap + 3 * SPREAD * mixture)


class Watched(World):
    """For `exploits`: how the candidate goes about it.

    Args:
        rng: what draws.
        like: share of decisions in which it does as the cheat does, beyond the rule's.
        away: share of the champion's income that it turns away.
        stalls: share of scenarios that it does not bring to an end.
        refused: share of decisions that are refused, all of a scenario's at once.
        hole: share of the champion's profit that the cheat earns more.
    """

    def __init__(
        self,
        rng: Generator,
        like: float = 0.0,
        away: float = 0.0,
        stalls: float = 0.0,
        refused: float = 0.0,
        hole: float = -0.5,
    ) -> None:
        super().__init__(rng)
        self.like, self.away, self.stalls, self.refused, self.hole = like, away, stalls, refused, hole

    def watch(
        self, who: str, *, per_family: int, beside: tuple[str, ...] = (), patience: int | None = None
    ) -> Conduct:
        """Made up for whoever is watched; the champion's season is the others' too."""
        n = per_family * len(FAMILIES)
        if not hasattr(self, "usual"):
            self.usual = self.level(n)
        ours = who == CANDIDATE
        income = self.usual * (1 - self.away * ours) + SPREAD * self.rng.normal(size=n) * ours
        more = self.hole * self.usual + SPREAD * self.rng.normal(size=n) if who == "cheat" else 0.0
        steps = self.rng.poisson(60, n) + 1
        agrees = self.rng.binomial(
            steps, np.clip(0.2 + self.like * ours + 0.1 * self.rng.normal(size=n), 0, 1)
        )
        profit = np.rint((income + more) * ORDERS).astype(np.int64)
        return Conduct(
            family=FAMILIES * per_family,
            decisions=steps,
            refused=steps * (self.rng.random(n) < self.refused) * ours,
            stalled=(self.rng.random(n) < self.stalls) & ours,
            profit=profit.astype(np.float64),
            cases=np.full(n, ORDERS),
            terms={"sales": profit},
            agrees={"cheat": agrees.astype(np.float64)} if beside else {},
            apart={},
        )


class Row(NamedTuple):
    """One situation, and who is wrong in it.

    Attributes:
        gate: the gate asked.
        name: the situation in words.
        good: whether the candidate is what the gate claims.
        make: what is true.
        claim: the error rate that the gate claims to stay below; None beyond its claim.
        policies: how many are judged in the same lab; it passes if one does.
        options: of the gate.
    """

    gate: str
    name: str
    good: bool
    make: Callable[[Generator], World]
    claim: float | None = 0.05
    policies: int = 1
    options: dict[str, Any] = {}  # noqa: RUF012  a NamedTuple's default is never written to

    def judged(self, rng: Generator) -> Outcome:
        """One lab's answer."""
        world, found = self.make(rng), []
        theirs = card("champion", np.full(len(FAMILIES), LEVEL))
        for number in range(self.policies):
            ours = card(f"candidate {number}", np.full(len(FAMILIES), LEVEL + 10))
            verdict = judge(ours, theirs, {self.gate: self.options}, lab=cast("Lab", world))[0]
            found.append(verdict.outcome)
        return min(found, key=list(Outcome).index)


def rows() -> list[Row]:
    """All situations; 12 cents per order are the margin of `robustness` and the gap of `generalisation`."""
    d, s, w = (partial(partial, kind) for kind in (Disturbed, Sealed, Watched))
    few = {"per_family": 16}
    return [
        Row("robustness", "one axis keeps 90%, far below the champion", False, d(keeps=0.9, gain=-100.0)),
        Row("robustness", "keeps 90%, and below it by the margin", False, d(keeps=0.9, gain=-12.0)),
        Row("robustness", "the same, lopsided", False, d(keeps=0.9, gain=-12.0, shape=lopsided), None),
        Row("robustness", "the same, 96 scenarios", False, d(keeps=0.9, gain=-12.0), options=few),
        Row("robustness", "keeps 80%, champion 20 cents better", False, d(keeps=0.8, gain=-20.0)),
        Row("robustness", "every axis keeps 90%", True, d(keeps=0.9, gain=-100.0, axes=4)),
        Row("robustness", "every axis keeps 93%", True, d(keeps=0.93, gain=-100.0, axes=4)),
        Row("robustness", "keeps 60%, as the champion does", True, d(keeps=0.6, gain=0.0, axes=4)),
        Row("generalisation", "a gap as allowed", False, s(gap=12.0)),
        Row("generalisation", "the same, lopsided", False, s(gap=12.0, shape=lopsided)),
        Row("generalisation", "as allowed, 8 policies in turn", False, s(gap=12.0), policies=8),
        Row(
            "generalisation",
            "the same, learned from every verdict",
            False,
            partial(Learned, gap=12.0),
            None,
            policies=8,
        ),
        Row("generalisation", "a gap of 40 cents", False, s(gap=40.0)),
        Row("generalisation", "no gap", True, s(gap=0.0)),
        Row("generalisation", "no gap, 8 policies in turn", True, s(gap=0.0), policies=8),
        Row("exploits", "like the cheat in 25% more", False, w(like=0.25)),
        Row("exploits", "turns 5% away", False, w(away=0.05)),
        Row("exploits", "stalls in 5%", False, w(stalls=0.05)),
        Row("exploits", "refused in 1%, whole scenarios", False, w(refused=0.01), None),
        Row("exploits", "the cheat earns 1% more", False, w(hole=0.01)),
        Row("exploits", "like the cheat in 40% more", False, w(like=0.4)),
        Row("exploits", "innocent", True, w()),
    ]


def measure(row: Row, reps: int) -> Counter[Outcome]:
    """How often each answer came."""
    rng = np.random.default_rng(zlib.crc32(f"{row.gate} {row.name}".encode()))
    return Counter(row.judged(rng) for _ in range(reps))


def line(row: Row, reps: int) -> str:
    """The row as Markdown."""
    found = measure(row, reps)
    shares = " | ".join(f"{found[outcome] / reps:.1%}" for outcome in Outcome)
    claim = "-" if row.claim is None else f"{row.claim:.1%}"
    return f"| {row.gate} | {row.name} | {shares} | {'fail' if row.good else 'pass'} | {claim} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--reps", type=int, default=400)
    parser.add_argument("--only", default="", help="rows whose gate or name contains this")
    given = parser.parse_args()
    print("| gate | situation | pass | fail | inconclusive | the error is | claimed |")
    print("|---|---|---|---|---|---|---|")
    for row in rows():
        if given.only in f"{row.gate} {row.name}":
            print(line(row, given.reps), flush=True)


if __name__ == "__main__":
    main()
