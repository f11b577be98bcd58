from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from workgym.factory.gates import judge, select
from workgym.factory.records import Outcome, Scorecard
from workgym.factory.sequential import Looks, committed_order
from workgym.factory.statistics import blocks
from workgym.services.kernel import BadInput
from workgym.services.scenario import Scenario, Suite, interleave

FAMILIES = ("normal", "outage", "recall")


def suite(names: Sequence[tuple[str, int]], content: str = "c") -> Suite:
    return Suite("env", "gate", tuple(Scenario("env", "gate", *name) for name in names), content)


SUITE = suite(interleave(FAMILIES, 40))


# The committed order


def test_the_committed_order_plays_every_scenario_once() -> None:
    assert sorted(committed_order(SUITE, "r1")) == list(range(120))


def test_the_order_is_committed_to_the_release_and_the_suite() -> None:
    order = committed_order(SUITE, "r1")
    assert committed_order(suite(interleave(FAMILIES, 40)), "r1") == order
    assert committed_order(SUITE, "r2") != order
    assert committed_order(suite(interleave(FAMILIES, 40), "changed"), "r1") != order


@pytest.mark.parametrize("blocks_played", [1, 7, 40])
def test_every_prefix_of_whole_blocks_has_the_suites_mix(blocks_played: int) -> None:
    order = committed_order(SUITE, "r1")[: 3 * blocks_played]
    played = [SUITE.scenarios[at].family for at in order]
    assert played == list(FAMILIES) * blocks_played


def test_scenarios_that_fill_no_block_come_last() -> None:
    uneven = suite([("a", 0), ("a", 1), ("b", 2), ("a", 3)])
    assert sorted(committed_order(uneven, "r1")[:2]) == [0, 2]
    assert committed_order(uneven, "r1")[2:] == [1, 3]


def test_a_block_holds_one_scenario_of_every_family() -> None:
    assert blocks(["a", "b", "b", "a", "b"]).tolist() == [[0, 1], [2, 3]]
    assert blocks([]).shape == (0, 0)


def test_orders_of_many_releases_start_anywhere() -> None:
    first = [committed_order(SUITE, str(at))[0] // 3 for at in range(200)]
    assert np.bincount(first, minlength=40).max() < 20


# Looking


def card(policy: str, profit: np.ndarray, **columns: Any) -> Scorecard:
    """Results on the suite's scenarios in its order; 40 orders each, everything handled unless said."""
    n = len(profit)
    fields: dict[str, Any] = {
        "family": tuple(one.family for one in SUITE.scenarios[:n]),
        "seed": tuple(one.seed for one in SUITE.scenarios[:n]),
        "cases": np.full(n, 40),
        "success": np.ones(n, dtype=bool),
        "violations": np.zeros(n, dtype=np.int64),
        "obligations": np.full(n, 40),
    }
    return Scorecard(policy, "env", "suite", "twin", profit=profit.astype(np.int64), **fields | columns)


NOISE = np.random.default_rng(1).integers(-200, 200, 120)
CHAMPION = card("rule", np.full(120, 4_000.0))
BETTER = card("better", 4_250.0 + NOISE)
WORSE = card("worse", 3_750.0 + NOISE)
GATES: dict[str, dict[str, Any]] = {"improvement": {}, "flips": {"budget": 0.1}}


def along(candidate: Scorecard, looks: Looks, every: int = 3) -> list[dict[str, Outcome | None]]:
    """What is said after each block of the committed order."""
    order = committed_order(SUITE, "r1")
    return [
        looks.look(select(candidate, order[:to]), select(CHAMPION, order[:to]))
        for to in range(every, 121, every)
    ]


def test_a_clear_case_is_decided_after_few_scenarios_and_stays_decided() -> None:
    looks = Looks(GATES, 120)
    said = along(BETTER, looks)
    first = next(at for at, answers in enumerate(said) if looks.may_stop(answers))
    assert 3 * (first + 1) <= 60
    assert all(answers == {"improvement": Outcome.PASS, "flips": Outcome.PASS} for answers in said[first:])
    assert said[0] == {"improvement": None, "flips": None}


def test_any_fail_stops_whatever_the_others_say() -> None:
    looks = Looks({**GATES, "no-harm": {}}, 120)
    said = along(WORSE, looks)
    first = next(at for at, answers in enumerate(said) if looks.may_stop(answers))
    assert 3 * (first + 1) <= 30
    assert said[first]["improvement"] is Outcome.FAIL


def test_gates_that_need_the_whole_suite_keep_it_running() -> None:
    looks = Looks({**GATES, "no-harm": {}, "constraints": {}}, 120)
    said = along(BETTER, looks)
    assert not any(looks.may_stop(answers) for answers in said)
    assert said[-1] == {
        "improvement": Outcome.PASS,
        "flips": Outcome.PASS,
        "no-harm": None,
        "constraints": None,
    }


def test_a_first_model_is_asked_for_its_floors_at_the_end() -> None:
    looks = Looks(GATES, 120, bootstrap=True)
    assert not looks.may_stop(along(BETTER, looks)[-1])


def test_a_candidate_that_differed_nowhere_so_far_is_not_stopped() -> None:
    looks = Looks(GATES, 120)
    said = along(replace(CHAMPION, policy="copy"), looks)
    assert {answers["improvement"] for answers in said[:-1]} == {None}
    assert said[-1]["improvement"] is Outcome.FAIL


def test_nothing_is_decided_before_every_family_was_played() -> None:
    """Two scenarios of two families are no block of three, however bad they look."""
    hopeless = replace(BETTER, success=np.zeros(120, dtype=bool))
    said = along(hopeless, Looks({"flips": {}}, 120), every=1)
    assert [answers["flips"] for answers in said[:6]] == [None] * 5 + [Outcome.FAIL]


def test_a_must_pass_scenario_stops_as_soon_as_it_is_failed() -> None:
    name = SUITE.scenarios[60].family + "/" + str(SUITE.scenarios[60].seed)
    failed = replace(BETTER, success=np.arange(120) != 60)
    looks = Looks({"flips": {"must_pass": [name]}}, 120)
    said = [looks.may_stop(answers) for answers in along(failed, looks)]
    at = committed_order(SUITE, "r1").index(60) // 3
    assert said.index(True) == at


def test_the_more_candidates_are_tried_the_later_one_is_sure() -> None:
    alone, among = (along(BETTER, Looks({"improvement": {}}, 120, tried)) for tried in (1, 40))
    assert len([one for one in among if not one["improvement"]]) > len(
        [one for one in alone if not one["improvement"]]
    )


def test_a_verdict_on_the_whole_suite_is_that_of_the_last_look() -> None:
    order = committed_order(SUITE, "r1")
    verdicts = judge(select(BETTER, order), select(CHAMPION, order), GATES)
    assert along(BETTER, Looks(GATES, 120))[-1] == {one.gate: one.outcome for one in verdicts}


def test_scenarios_in_different_orders_are_refused() -> None:
    order = committed_order(SUITE, "r1")[:30]
    with pytest.raises(BadInput, match="the same scenarios in the same order"):
        Looks(GATES, 120).look(select(BETTER, order), select(CHAMPION, order[::-1]))


def test_an_unknown_gate_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match="did you mean 'flips'"):
        Looks({"flip": {}}, 120).look(BETTER, CHAMPION)
