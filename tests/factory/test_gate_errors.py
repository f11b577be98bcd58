"""How often the gates err, in the simulated suites of benchmarks/gate_errors.py."""

import importlib.util
import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from workgym.factory.builtin_gates.improvement import gains_of
from workgym.factory.gates import judge, promotable, select
from workgym.factory.statistics import blocks

ROOT = Path(__file__).resolve().parents[2]


def _errors() -> ModuleType:
    """The simulated suites of the benchmark, so that the tests and the published table share them."""
    spec = importlib.util.spec_from_file_location("gate_errors", ROOT / "benchmarks" / "gate_errors.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


errors = _errors()


@pytest.mark.parametrize(
    "name", ["improvement", "improvement-fixed", "flips", "no-harm", "constraints", "bootstrap"]
)
@pytest.mark.parametrize("seed", range(10))
def test_declaring_more_candidates_never_helps(name: str, seed: int) -> None:
    world = errors.World(gain=3, flips=0.005, excess=0.005)
    ours, theirs = world.play(np.random.default_rng(seed))
    alone, among = ({v.gate: v.passed for v in judge(ours, theirs, {name: {}}, k, True)} for k in (1, 20))
    assert among[name] <= alone[name]


@pytest.mark.parametrize("seed", range(20))
def test_a_planted_regression_is_named_and_never_promoted(seed: int) -> None:
    world = errors.World(gain=30, harm={"outage": -0.05})
    ours, theirs = world.play(np.random.default_rng(seed))
    assert ours.profit.sum() > theirs.profit.sum()
    verdicts = {v.gate: v for v in judge(ours, theirs, {name: {} for name in errors.ALL})}
    assert verdicts["improvement"].passed
    assert "harms outage" in verdicts["no-harm"].sentence
    assert not promotable(list(verdicts.values()))


@cache
def answers(at: int) -> tuple[Counter[str], int]:
    """How often the gate gave each answer in a row's situation, and how often it was asked."""
    slow = errors.ROWS[at].candidates > 1 or errors.ROWS[at].gate.startswith(("all", "partial"))
    reps = 50 if slow else 100
    return errors.measure(errors.ROWS[at], reps), reps


def spread(share: float, reps: int) -> float:
    return float(np.sqrt(max(share * (1 - share), 0.005) / reps))


ROWS = pytest.mark.parametrize("at", range(len(errors.ROWS)), ids=lambda at: errors.ROWS[at].name)


@ROWS
def test_no_gate_errs_more_often_than_it_claims(at: int) -> None:
    (counted, reps), row = answers(at), errors.ROWS[at]
    claim = 1.0 if row.claim is None else row.claim
    assert counted["fail" if row.good else "pass"] / reps <= claim + 3 * spread(claim, reps)


@pytest.mark.parametrize(
    ("shape", "margin"), [("normal", 0.0), ("heavy tails", 0.0), ("lopsided losses", 0.0), ("normal", -5.0)]
)
def test_at_the_margin_2000_bad_candidates_pass_as_rarely_as_claimed_at_any_look(
    shape: str, margin: float
) -> None:
    """Every block is a look: the evidence is that of the best one. Test and table share their suites."""
    world = errors.World(each=32, shape=errors.SHAPES[shape], gain=margin)
    rng, claim, reps, passed = np.random.default_rng(1), errors.TWO_SIDED, 2_000, 0
    for _ in range(reps):
        passed += gains_of(*world.play(rng), 0.1).above(margin, claim).proven
    assert passed / reps <= claim + 3 * spread(claim, reps)


@pytest.mark.parametrize("seed", range(10))
def test_a_gate_passes_when_any_look_at_a_prefix_passes(seed: int) -> None:
    ours, theirs = errors.World(gain=7).play(np.random.default_rng(seed))
    order = blocks(ours.family).ravel().tolist()
    looks = [
        judge(select(ours, order[:to]), select(theirs, order[:to]), {"improvement": {}})[0]
        for to in range(12, 385, 6)
    ]
    whole = judge(ours, theirs, {"improvement": {}})[0]
    assert whole.passed == any(look.passed for look in looks)
    first = next((look.numbers["n"] for look in looks if look.passed), 0)
    assert whole.numbers["n_used"] == first


def test_clear_cases_need_at_most_a_quarter_of_the_suite() -> None:
    """Where the test of fixed size, on all 384 scenarios, gives the same answer."""
    rng = np.random.default_rng(2)
    for gain in (20, -20):
        played = [errors.World(gain=gain).play(rng) for _ in range(30)]
        early, late = (
            [judge(*pair, {name: {}})[0] for pair in played] for name in ("improvement", "improvement-fixed")
        )
        assert {one.outcome for one in early} == {one.outcome for one in late}
        assert np.median([int(one.numbers["n_used"]) for one in early]) <= 384 / 4


def test_looking_at_a_fixed_size_test_all_the_time_multiplies_its_error() -> None:
    rng = np.random.default_rng(3)
    peeks = np.mean([errors._peek(*errors.World().play(rng)) for _ in range(400)], axis=0)
    assert peeks[0] > 0.1
    assert peeks[2] < 0.06
    assert peeks[3] <= 0.025


def test_the_best_of_many_passes_by_luck_when_their_number_is_hidden() -> None:
    hidden = next(at for at, row in enumerate(errors.ROWS) if row.declared < row.candidates)
    counted, reps = answers(hidden)
    assert counted["pass"] / reps > 0.1


PUBLISHED = (ROOT / "docs" / "design" / "gates.md").read_text().split("## Measured")[1]


@ROWS
def test_the_published_error_rates_are_those_of_the_benchmark(at: int) -> None:
    (counted, reps), row = answers(at), errors.ROWS[at]
    found = next(text for text in PUBLISHED.splitlines() if text.startswith(f"| {row.gate} | {row.name} |"))
    published = [float(share) / 100 for share in re.findall(r"([\d.]+)%", found.split(row.name)[1])]
    for share, outcome in zip(published[:3], ("pass", "fail", "inconclusive"), strict=True):
        assert counted[outcome] / reps == pytest.approx(share, abs=4 * spread(share, reps))
    assert published[3:] == ([row.claim] if row.claim else [])
