"""An explanation says where a version stands, what that rests on, and what it would take."""

from __future__ import annotations

import pytest

from workgym.factory.explain import WAYS, explain
from workgym.factory.gates import known_gates
from workgym.factory.records import Outcome


@pytest.fixture
def database_url(tmp_path):
    """One kind of database will do: nothing here asks it anything of its own."""
    return f"sqlite:///{tmp_path}/registry.db"


def test_who_serves_is_explained_by_what_it_proved(desk, registry) -> None:
    version = desk.judge(desk.candidate(gates=("flips", "gain")))
    registry.promote(
        "orders",
        version.version,
        expected_generation=0,
        actor="Ada",
        reason="it earns more",
        profile="small",
        given_up={"profit": {"chosen": 50.0, "best": 52.5, "version": 3}},
    )
    told = explain(registry, "orders", 1)
    assert told.serves
    assert told.needs == ()
    assert told.headline.startswith("orders version 1 serves as champion since 2026-01-01")
    assert "It was chosen for 'small'." in told.because
    gave = "It gave up profit 52.5 cents per case, which version 3 has, for profit 50 cents per case."
    assert gave in told.because
    assert {"flips, pass: flips says pass", "gain, pass: gain says pass"} <= set(told.because)


def test_who_came_back_by_a_rollback_is_explained_by_both(desk, registry) -> None:
    desk.champions(2)
    desk.rollback()
    told = explain(registry, "orders", 1)
    assert told.serves
    assert "it drifts" in " ".join(told.because)
    assert "version 2 replaced it" in told.because[0]


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.INCONCLUSIVE])
def test_a_gate_that_was_not_passed_is_a_condition(desk, registry, outcome) -> None:
    desk.champions(1)
    desk.judge(desk.candidate(), outcome)
    told = explain(registry, "orders", 2)
    assert not told.serves
    assert len(told.needs) == 1
    assert f"beats-champion, {outcome}: beats-champion says {outcome}" in told.because


def test_conditions_are_named_one_by_one(desk, registry) -> None:
    version = desk.candidate(gates=("flips", "gain"))
    registry.record_verdicts(version, [desk.verdict(version, "gain")], generation=0)
    desk.champions(1)
    registry.protect("orders", "champion", 1, actor="Ada", reason="money")
    told = explain(registry, "orders", 1)
    assert [one.split(":")[0] for one in told.needs] == ["flips", "gain", "approval"]
    assert "no verdict yet; `factory gate orders 1`" in told.needs[0]
    assert "champion has moved since" in told.needs[1]
    assert "`factory approve orders 1 --alias champion" in told.needs[2]


def test_a_rejection_is_a_condition_that_nothing_meets(desk, registry) -> None:
    desk.champions(1)
    desk.blessed()
    registry.protect("orders", "champion", 1, actor="Ada", reason="money")
    registry.reject("orders", 2, actor="Bob", reason="fails in Cork")
    assert explain(registry, "orders", 2).needs == (
        "approval: Bob rejected it: fails in Cork; promote another.",
    )


def test_who_passed_and_was_not_chosen_is_told_so(desk, registry) -> None:
    desk.champions(1)
    desk.blessed()
    told = explain(registry, "orders", 2)
    assert told.headline == "orders version 2 passed everything and was not chosen for champion."
    assert told.needs == ("`factory promote orders 2 --alias champion` lets it serve.",)
    desk.promote(registry.version("orders", 2))
    assert explain(registry, "orders", 2).serves


NUMBERS = {
    "improvement": ({"low": -3.0, "margin": 0.0}, "3.00 more"),
    "improvement-fixed": ({"low": -3.0, "margin": 0.0}, "3.00 more"),
    "flips": ({"budget": 0.01, "n": 768, "flips": 31}, "room for 7 at most"),
    "no-harm": ({"harmed": "recall", "unclear": ""}, "families that lose are recall, unclear are none"),
    "constraints": ({"high": 0.02, "margin": 0.0}, "may violate 2.00% more"),
    "latency": ({"p99": 900.0, "budget": 500.0}, "take 900 us, 500 may"),
}


@pytest.mark.parametrize("gate", sorted(WAYS))
def test_each_known_gate_says_how_far_off_it_is(desk, registry, gate) -> None:
    assert gate in known_gates()
    numbers, sentence = NUMBERS[gate]
    version = desk.candidate(gates=(gate,))
    verdict = desk.verdict(version, gate, Outcome.FAIL, numbers=numbers)
    registry.record_verdicts(version, [verdict], generation=0)
    assert sentence in explain(registry, "orders", 1).needs[0]


def test_numbers_of_another_release_are_not_needed(desk, registry) -> None:
    version = desk.candidate(gates=("flips",))
    registry.record_verdicts(version, [desk.verdict(version, "flips", Outcome.FAIL)], generation=0)
    assert explain(registry, "orders", 1).needs[0].startswith("flips: a better candidate")
