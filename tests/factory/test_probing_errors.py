"""How often the gates that play err, in the simulated labs of benchmarks/probing_errors.py."""

import importlib.util
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from workgym.factory.records import Outcome

ROOT = Path(__file__).resolve().parents[2]
REPS = 30


def simulations() -> ModuleType:
    name = "probing_errors"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def claimed() -> Iterator[Any]:
    for row in simulations().rows():
        if row.claim is not None:
            yield pytest.param(row, id=f"{row.gate}: {row.name}")


@pytest.mark.parametrize("row", list(claimed()))
def test_a_gate_errs_no_more_often_than_it_claims(row: Any) -> None:
    found = simulations().measure(row, REPS)
    wrong = found[Outcome.FAIL if row.good else Outcome.PASS] / REPS
    assert wrong <= row.claim + 3 * math.sqrt(row.claim * (1 - row.claim) / REPS)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("keeps 80%, champion 20 cents better", Outcome.FAIL),
        ("keeps 60%, as the champion does", Outcome.PASS),
        ("a gap of 40 cents", Outcome.FAIL),
        ("like the cheat in 40% more", Outcome.FAIL),
        ("innocent", Outcome.PASS),
    ],
)
def test_clear_cases_are_decided(name: str, right: Outcome) -> None:
    row = next(row for row in simulations().rows() if row.name == name)
    assert simulations().measure(row, REPS)[right] >= 0.9 * REPS
