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

from workgym.factory.gates import judge, promotable

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


@pytest.mark.parametrize("name", ["improvement", "flips", "no-harm", "constraints", "bootstrap"])
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
    reps = 200 if errors.ROWS[at].candidates == 1 else 60
    return errors.measure(errors.ROWS[at], reps), reps


def spread(share: float, reps: int) -> float:
    return float(np.sqrt(max(share * (1 - share), 0.005) / reps))


ROWS = pytest.mark.parametrize("at", range(len(errors.ROWS)), ids=lambda at: errors.ROWS[at].name)


@ROWS
def test_no_gate_errs_more_often_than_it_claims(at: int) -> None:
    (counted, reps), row = answers(at), errors.ROWS[at]
    claim = 1.0 if row.claim is None else row.claim
    assert counted["fail" if row.good else "pass"] / reps <= claim + 3 * spread(claim, reps)


def test_a_worthless_candidate_passes_at_most_as_often_as_claimed() -> None:
    row, reps = errors.ROWS[0], 2_000
    assert errors.measure(row, reps)["pass"] / reps <= row.claim + 3 * spread(row.claim, reps)


def test_the_best_of_many_passes_by_luck_when_their_number_is_hidden() -> None:
    hidden = next(at for at, row in enumerate(errors.ROWS) if row.declared < row.candidates)
    counted, reps = answers(hidden)
    assert counted["pass"] / reps > 0.1


PUBLISHED = (ROOT / "docs" / "design" / "gates.md").read_text()


@ROWS
def test_the_published_error_rates_are_those_of_the_benchmark(at: int) -> None:
    (counted, reps), row = answers(at), errors.ROWS[at]
    found = next(text for text in PUBLISHED.splitlines() if text.startswith(f"| {row.gate} | {row.name} |"))
    published = [float(share) / 100 for share in re.findall(r"([\d.]+)%", found.split(row.name)[1])]
    for share, outcome in zip(published[:3], ("pass", "fail", "inconclusive"), strict=True):
        assert counted[outcome] / reps == pytest.approx(share, abs=4 * spread(share, reps))
    assert published[3:] == ([row.claim] if row.claim else [])
