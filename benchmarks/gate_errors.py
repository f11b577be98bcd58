"""Measures how often each gate errs, in simulated suites whose truth is known.

    python benchmarks/gate_errors.py     # the table of docs/design/gates.md, half an hour of CPU
    python benchmarks/gate_errors.py --only flips --reps 2000
    python benchmarks/gate_errors.py --speed --reps 500        # after how many scenarios a gate is sure
    python benchmarks/gate_errors.py --peeking --reps 2000     # a test of fixed size, looked at all the time
    python benchmarks/gate_errors.py --methods --reps 2000     # other limits of a mean, two minutes

A row plays one situation `reps` times. Where the candidate is bad a pass is the error, where it is good a
fail is; `claimed` is what the gate promises of that error, with a dash where it promises nothing.
Generators are seeded by the row's name, so a row does not depend on which others run.
"""

from __future__ import annotations

import argparse
import zlib
from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from workgym.factory.betting import capital
from workgym.factory.builtin_gates.improvement import gains_of
from workgym.factory.gates import judge, promotable
from workgym.factory.partial import compose, propose_partial
from workgym.factory.records import Scorecard
from workgym.factory.statistics import stratified_mean

FAMILIES = ("normal", "promotion", "stock-out", "outage", "supplier-late", "remote")
ORDERS = 40  # per scenario
SPREAD = 20.0  # cents per order, standard deviation of the paired difference
Generator = np.random.Generator
Floats = NDArray[np.float64]
Pair = tuple[Scorecard, Scorecard]
Pairs = tuple[Floats, Floats]


def normal(rng: Generator, n: int) -> Floats:
    return rng.normal(size=n)


def heavy(rng: Generator, n: int) -> Floats:
    """Student's t with three degrees of freedom: now and then far off, on both sides."""
    return rng.standard_t(3, n) / np.sqrt(3)


def lopsided(rng: Generator, n: int) -> Floats:
    """Many small gains, few large losses: a lognormal turned round."""
    mean, spread = np.exp(0.5), np.sqrt((np.e - 1) * np.e)
    return (mean - rng.lognormal(size=n)) / spread


def rare(share: float) -> Callable[[Generator, int], Floats]:
    """A steady small gain, paid for by a disaster in `share` of the scenarios; zero in the mean."""

    def draw(rng: Generator, n: int) -> Floats:
        disaster = rng.random(n) < share
        return 0.2 * rng.normal(size=n) + 0.2 - disaster * 0.2 / share

    return draw


class World(NamedTuple):
    """A champion and a candidate as they truly are.

    Attributes:
        each: scenarios per family.
        shape: how the paired profit difference scatters; only in the harmed families, if there are any.
        gain: true gain, cents per order, in the families that are not harmed.
        harm: family -> true gain there, as a share of its profit.
        flips: true share of scenarios that flip.
        excess: share of obligations that the candidate violates and the champion does not.
        clustered: whether a scenario's extra violations come all at once.
        families: business situations.
    """

    each: int = 64
    shape: Callable[[Generator, int], Floats] = normal
    gain: float = 0.0
    harm: dict[str, float] = {}  # noqa: RUF012  a NamedTuple's default is never written to
    flips: float = 0.0
    excess: float = 0.0
    clustered: bool = False
    families: tuple[str, ...] = FAMILIES

    def play(self, rng: Generator) -> Pair:
        """One suite, played by both."""
        family = np.repeat(self.families, self.each)
        n = len(family)
        champion, gained = self._profits(rng, family)
        flipped = rng.random(n) < self.flips
        handled = flipped | (rng.random(n) < 0.95)
        broken = rng.binomial(ORDERS, 0.02, n)
        theirs = _card("champion", family, champion, handled, broken)
        more = np.minimum(broken + self._violations(rng, n), ORDERS)
        return _card("candidate", family, champion + gained, handled & ~flipped, more), theirs

    def _profits(self, rng: Generator, family: NDArray[np.str_]) -> Pairs:
        n, level = len(family), np.repeat(np.linspace(300, 800, len(self.families)), self.each)
        harmed = np.isin(family, list(self.harm))
        share = np.array([self.harm.get(name, 0.0) for name in family])
        scatter = np.where(harmed | (not self.harm), self.shape(rng, n), normal(rng, n))
        champion = level * (1 + 0.1 * rng.normal(size=n))
        return champion, np.where(harmed, share * level, self.gain) + SPREAD * scatter

    def _violations(self, rng: Generator, n: int) -> NDArray[np.int64]:
        if self.clustered:
            return ORDERS * (rng.random(n) < self.excess).astype(np.int64)
        return rng.binomial(ORDERS, self.excess, n)


def _card(policy: str, family: NDArray[np.str_], profit: Floats, success: Any, violations: Any) -> Scorecard:
    """A scorecard from cents per order."""
    n = len(family)
    return Scorecard(
        policy=policy,
        env_id="simulated",
        suite="simulated",
        backend="none",
        family=tuple(family.tolist()),
        seed=tuple(range(n)),
        profit=np.rint(profit * ORDERS).astype(np.int64),
        cases=np.full(n, ORDERS),
        success=success,
        violations=violations,
        obligations=np.full(n, ORDERS),
    )


class Row(NamedTuple):
    """One situation, and who is wrong in it.

    Attributes:
        gate: the gate asked; `all` for every default gate together; `partial` for a router that keeps the
            champion in some families, which passes by mistake when it serves a harmed one; `partial, same
            scenarios` for one that chooses and judges on the same ones.
        name: the situation in words.
        good: whether the candidate is what the gate claims.
        world: what is true.
        claim: the error rate that the gate claims to stay below; None beyond its claim.
        candidates: how many are tried; the one with the highest profit is judged.
        declared: how many the gate is told of.
        options: of the gate.
    """

    gate: str
    name: str
    good: bool
    world: World
    claim: float | None = 0.05
    candidates: int = 1
    declared: int = 1
    options: dict[str, Any] = {}  # noqa: RUF012  as above


ALL = ("improvement", "flips", "no-harm", "constraints")
CUT = dict.fromkeys(FAMILIES, -0.01)  # every family exactly at the tolerance
TWO_SIDED = 0.025
ONE_HARMED = World(gain=30, harm={"remote": -0.01})
HARMED_MORE = World(gain=30, harm={"remote": -0.05})
LOSES_TWICE = {"remote": -0.05, "outage": -0.05}
ONE_GAINS = World(gain=200, harm=dict.fromkeys(FAMILIES[1:], -0.01))
RANGE = {"range": 0.6}
FIXED = (
    Row("improvement-fixed", "no gain, normal", False, World(), TWO_SIDED),
    Row("improvement-fixed", "no gain, heavy tails", False, World(shape=heavy), TWO_SIDED),
    Row("improvement-fixed", "no gain, lopsided losses", False, World(shape=lopsided), 2 * TWO_SIDED),
    Row("improvement-fixed", "no gain, lopsided, 96 scenarios", False, World(16, lopsided), 2 * TWO_SIDED),
    Row("improvement-fixed", "no gain, disaster in 1 of 100", False, World(shape=rare(0.01)), TWO_SIDED),
    Row("improvement-fixed", "no gain, disaster in 1 of 400", False, World(shape=rare(0.0025)), None),
    Row("improvement-fixed", "best of 12 without gain, declared", False, World(), TWO_SIDED, 12, 12),
    Row("improvement-fixed", "best of 12 without gain, not declared", False, World(), None, 12, 1),
    Row("improvement-fixed", "gain of 4 cents per order", True, World(gain=4), TWO_SIDED),
)
ROWS = (
    Row("improvement", "no gain, normal", False, World(), TWO_SIDED),
    Row("improvement", "no gain, heavy tails", False, World(shape=heavy), TWO_SIDED),
    Row("improvement", "no gain, lopsided losses", False, World(shape=lopsided), TWO_SIDED),
    Row("improvement", "no gain, lopsided, 96 scenarios", False, World(16, lopsided), TWO_SIDED),
    Row(
        "improvement",
        "no gain, disaster in 1 of 100, range 0.6",
        False,
        World(shape=rare(0.01)),
        TWO_SIDED,
        options=RANGE,
    ),
    Row(
        "improvement",
        "no gain, disaster in 1 of 400, range 0.6",
        False,
        World(shape=rare(0.0025)),
        TWO_SIDED,
        options=RANGE,
    ),
    Row("improvement", "the same beyond the range", False, World(shape=rare(0.0025)), None),
    Row("improvement", "gain equal to the margin", False, World(gain=5), TWO_SIDED, options={"margin": 5.0}),
    Row(
        "improvement",
        "costs what the margin allows",
        False,
        World(gain=-5),
        TWO_SIDED,
        options={"margin": -5.0},
    ),
    Row("improvement", "best of 12 without gain, declared", False, World(), TWO_SIDED, 12, 12),
    Row("improvement", "gain of 4 cents per order", True, World(gain=4), TWO_SIDED),
    Row("improvement", "gain of 8 cents per order", True, World(gain=8), TWO_SIDED),
    Row("improvement", "equal, may cost 8 cents", True, World(), TWO_SIDED, options={"margin": -8.0}),
    *FIXED,
    Row("flips", "2% flip, as budgeted", False, World(flips=0.02)),
    Row("flips", "2% flip, 96 scenarios", False, World(16, flips=0.02)),
    Row("flips", "3% flip", False, World(flips=0.03)),
    Row("flips", "1.9% flip", True, World(flips=0.019)),
    Row("flips", "0.3% flip", True, World(flips=0.003)),
    Row("flips", "none flips", True, World()),
    Row("no-harm", "one family at the tolerance", False, ONE_HARMED),
    Row("no-harm", "the same, lopsided losses", False, ONE_HARMED._replace(shape=lopsided), 0.1),
    Row("no-harm", "the same, 16 per family", False, ONE_HARMED._replace(shape=lopsided, each=16), 0.15),
    Row("no-harm", "the same, disaster in 1 of 100", False, ONE_HARMED._replace(shape=rare(0.01)), None),
    Row("no-harm", "one family loses 5%, the mean gains", False, HARMED_MORE),
    Row("no-harm", "every family at the tolerance", True, World(harm=CUT)),
    Row("no-harm", "every family gains 4 cents per order", True, World(gain=4)),
    Row("constraints", "1 point more, as allowed", False, World(excess=0.01)),
    Row("constraints", "1 point more, whole scenarios", False, World(excess=0.01, clustered=True)),
    Row("constraints", "the same, 96 scenarios", False, World(16, excess=0.01, clustered=True), None),
    Row("constraints", "0.8 points more", True, World(excess=0.008)),
    Row("constraints", "no more than the champion", True, World()),
    Row("bootstrap", "no gain on the baseline", False, World()),
    Row("bootstrap", "gain of 4 cents per order", True, World(gain=4)),
    Row("partial", "five families at the tolerance", False, ONE_GAINS),
    Row("partial, same scenarios", "five families at the tolerance", False, ONE_GAINS, None),
    Row("partial", "two families lose 5%, the others gain", True, World(gain=30, harm=LOSES_TWICE), None),
    Row("all", "no gain", False, World(), TWO_SIDED),
    Row("all", "one family loses 5%, the mean gains", False, HARMED_MORE),
    Row("all", "gain of 8 cents, 3% flip", False, World(gain=8, flips=0.03)),
    Row("all", "gain of 8 cents, 0.3% flip", True, World(gain=8, flips=0.003)),
)


def measure(row: Row, reps: int) -> Counter[str]:
    """Play the row's situation and count the answers."""
    rng = np.random.default_rng(zlib.crc32(f"{row.gate}: {row.name}".encode()))
    return Counter(_answer(row, rng) for _ in range(reps))


def _answer(row: Row, rng: Generator) -> str:
    tried = [row.world.play(rng) for _ in range(row.candidates)]
    ours, theirs = max(tried, key=lambda pair: int((pair[0].profit - pair[1].profit).sum()))
    if row.gate.startswith("partial"):
        served = _served(row.gate, ours, theirs)
        wrong = not row.good and not served & set(row.world.harm)
        return "inconclusive" if wrong or not served else "pass"
    gates = {name: {} for name in ALL} if row.gate == "all" else {row.gate: row.options}
    verdicts = judge(ours, theirs, gates, candidates=row.declared, bootstrap=row.gate == "bootstrap")
    outcomes = {str(verdict.outcome) for verdict in verdicts}
    return "pass" if promotable(verdicts) else "fail" if "fail" in outcomes else "inconclusive"


def _served(gate: str, ours: Scorecard, theirs: Scorecard) -> set[str]:
    """The families that a promoted router serves with the candidate."""
    gates: dict[str, dict[str, Any]] = {"improvement": {}, "no-harm": {}}
    if gate == "partial":
        plan = propose_partial(ours, theirs, gates)
        return set(plan.served) if plan else set()
    safe = set(str(judge(ours, theirs, {"no-harm": {}})[0].numbers["safe"]).split(", ")) - {""}
    routed = compose(ours, theirs, set(theirs.family) - safe)
    return safe if promotable(judge(routed, theirs, gates)) else set()


def line(row: Row, answers: Counter[str]) -> str:
    """The row of the table."""
    reps = answers.total()
    shares = (f"{answers[outcome] / reps:.1%}" for outcome in ("pass", "fail", "inconclusive"))
    error = "fail" if row.good else "pass"
    scenarios = row.world.each * len(row.world.families)
    claimed = f"{row.claim:.1%}" if row.claim else "-"
    return f"| {row.gate} | {row.name} | {scenarios} | {' | '.join(shares)} | {error} | {claimed} |"


HEAD = """\
| gate | situation | scenarios | pass | fail | inconclusive | the error is | claimed |
|---|---|---|---|---|---|---|---|"""


SHAPES = {
    "normal": normal,
    "heavy tails": heavy,
    "lopsided losses": lopsided,
    "disaster in 1 of 20": rare(0.05),
    "disaster in 1 of 100": rare(0.01),
}


def lower_limits(x: Floats, rng: Generator) -> list[float]:
    """Lower 2.5% limits of a mean: Student's, ours, percentile and BCa bootstrap."""
    ours = stratified_mean(x, ["all"] * len(x))
    student = ours._replace(skew=0.0)
    drawn = (bootstrap((x,), np.mean, n_resamples=999, method=how, rng=rng) for how in ("percentile", "BCa"))
    return [
        student.bounds(0.025).low,
        ours.bounds(0.025).low,
        *(one.confidence_interval.low for one in drawn),
    ]


def print_methods(reps: int) -> None:
    print("| true mean 0 | values | Student | ours | percentile | BCa |\n|---|---|---|---|---|---|")
    for (name, shape), n in product(SHAPES.items(), (16, 64, 384)):
        rng = np.random.default_rng(zlib.crc32(f"{name} {n}".encode()))
        wrong = np.mean([np.array(lower_limits(shape(rng, n), rng)) > 0 for _ in range(reps)], axis=0)
        print(f"| {name} | {n} | {' | '.join(f'{share:.1%}' for share in wrong)} |", flush=True)


SPEED = {
    "improvement": {
        "gain of 30 cents per order": World(gain=30),
        "gain of 20": World(gain=20),
        "gain of 8": World(gain=8),
        "gain of 4": World(gain=4),
        "no gain": World(),
        "loss of 20": World(gain=-20),
    },
    "flips": {
        "none flips": World(),
        "0.3% flip": World(flips=0.003),
        "5% flip": World(flips=0.05),
        "10% flip": World(flips=0.1),
        "20% flip": World(flips=0.2),
    },
}


def print_speed(reps: int) -> None:
    """After how many scenarios a gate was sure, beside the fixed-size test on the whole suite."""
    print("| gate | situation | decided | sure after, median | 90% | share of 384 | fixed size decides |")
    print("|---|---|---|---|---|---|---|")
    for gate, worlds in SPEED.items():
        for name, world in worlds.items():
            rng = np.random.default_rng(zlib.crc32(f"{gate} {name}".encode()))
            played = [_sure(gate, *world.play(rng)) for _ in range(reps)]
            used, fixed = np.array([one[0] for one in played]), np.mean([one[1] for one in played])
            after = np.where(used == 0, np.inf, used)
            median, most = np.quantile(after, [0.5, 0.9], method="higher")
            share = f"{median / 384:.0%}" if np.isfinite(median) else "-"
            sure = f"{median:.0f} | {most:.0f} | {share}".replace("inf", "-")
            print(f"| {gate} | {name} | {(used > 0).mean():.1%} | {sure} | {fixed:.1%} |", flush=True)


def _sure(gate: str, ours: Scorecard, theirs: Scorecard) -> tuple[int, bool]:
    """After how many scenarios the gate was sure, 0 if never, and whether the fixed-size test decides."""
    (verdict,) = judge(ours, theirs, {gate: {}})
    if gate == "improvement":
        (fixed,) = judge(ours, theirs, {"improvement-fixed": {}})
        return int(verdict.numbers["n_used"]), str(fixed.outcome) != "inconclusive"
    low, high = float(verdict.numbers["fixed_n_low"]), float(verdict.numbers["fixed_n_high"])
    return int(verdict.numbers["n_used"]), not low <= 0.02 <= high


def print_peeking(reps: int) -> None:
    """How often a worthless candidate passes when one looks after every block and stops at a pass."""
    print("| no gain | z-test, first look at 48 | at 96 | z-test once | betting, every look |")
    print("|---|---|---|---|---|")
    for name, shape in {"normal": normal, "heavy tails": heavy, "lopsided losses": lopsided}.items():
        rng = np.random.default_rng(zlib.crc32(f"peeking {name}".encode()))
        wrong = np.mean([_peek(*World(shape=shape).play(rng)) for _ in range(reps)], axis=0)
        print(f"| {name} | {' | '.join(f'{share:.1%}' for share in wrong)} |", flush=True)


def _peek(ours: Scorecard, theirs: Scorecard) -> list[bool]:
    gains = gains_of(ours, theirs, 0.1)
    x, n = gains.gained, np.arange(1, len(gains.gained) + 1)
    mean = x.cumsum() / n
    z = mean[1:] / np.sqrt(np.maximum((x**2).cumsum() / n - mean**2, 1e-9)[1:] / (n[1:] - 1))
    surely = -np.log(TWO_SIDED)
    betting = capital(gains.units(0.0) * (gains.reach > 0)).max() >= surely
    return [bool(z[6:].max() > 1.96), bool(z[14:].max() > 1.96), bool(z[-1] > 1.96), bool(betting)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reps", type=int, default=10_000)
    parser.add_argument("--only", default="", help="gates whose name contains this")
    parser.add_argument("--methods", action="store_true", help="compare limits of a mean instead of gates")
    parser.add_argument("--speed", action="store_true", help="after how many scenarios gates are sure")
    parser.add_argument("--peeking", action="store_true", help="looking at a fixed-size test all the time")
    asked = parser.parse_args()
    for chosen, show in (
        (asked.methods, print_methods),
        (asked.speed, print_speed),
        (asked.peeking, print_peeking),
    ):
        if chosen:
            return show(asked.reps)
    print(HEAD)
    for row in ROWS:
        if asked.only in row.gate:
            print(line(row, measure(row, asked.reps)), flush=True)


if __name__ == "__main__":
    main()
