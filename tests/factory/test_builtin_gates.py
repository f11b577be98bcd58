"""What each built-in gate says of its own claim; what holds for all of them stands in test_gates.py."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.factory.test_gates import BETTER, CHAMPION, EVERY, FAMILIES, HOPELESS, NOISE, ask, upset
from workgym.factory import gates
from workgym.factory.gates import judge
from workgym.factory.records import Outcome, Scorecard
from workgym.services.kernel import BadInput

# improvement


def test_the_gain_is_in_cents_per_order() -> None:
    verdict = ask("improvement", replace(CHAMPION, policy="x", profit=CHAMPION.profit + 50))
    assert verdict.sentence == (
        "beats cheapest: +1.25 cents per order (95% CI +0.91 to +1.59 at any look, n=384 paired scenarios), "
        "sure after 114"
    )


def test_a_gain_is_counted_over_the_orders_that_came_in() -> None:
    """Deciding half of the orders must not double the profit per order."""
    picky = replace(CHAMPION, policy="picky", cases=CHAMPION.cases // 2)
    assert ask("improvement", picky).numbers["gain"] == 0
    dearer = replace(picky, profit=CHAMPION.profit + 40)
    assert ask("improvement", dearer).numbers["gain"] == pytest.approx(1)
    assert ask("no-harm", dearer).numbers["outage.gain"] == pytest.approx(1)


@pytest.mark.parametrize(("name", "options"), [("improvement", {"range": 0.25}), ("improvement-fixed", {})])
@pytest.mark.parametrize(("margin", "outcome"), [(5.0, "pass"), (9.5, "inconclusive"), (12.0, "fail")])
def test_a_gain_is_compared_with_the_margin(
    name: str, options: dict[str, float], margin: float, outcome: str
) -> None:
    noise = np.random.default_rng(3).normal(0, 400, CHAMPION.n).astype(int)
    better = replace(CHAMPION, policy="x", profit=CHAMPION.profit + 380 + noise - noise.sum() // CHAMPION.n)
    verdict = ask(name, better, margin=margin, **options)
    assert verdict.outcome == outcome
    assert f"by more than +{margin:.2f} cents per order" in verdict.sentence


@pytest.mark.parametrize("name", ["improvement", "improvement-fixed"])
def test_an_open_improvement_tells_how_many_scenarios_would_do(name: str) -> None:
    verdict = ask(name, replace(CHAMPION, policy="x", profit=CHAMPION.profit + NOISE // 2 + 5))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert re.search(r"; (about [\d,]+ scenarios would tell|too close to tell)", verdict.sentence)


def test_a_cheap_release_may_cost_what_its_margin_says() -> None:
    dearer = replace(CHAMPION, policy="small", profit=CHAMPION.profit - 40)
    assert ask("improvement", dearer).outcome is Outcome.FAIL
    assert ask("improvement", dearer, margin=-0.5).sentence.startswith("costs more than 0.50 cents per order")
    verdict = ask("improvement", dearer, margin=-2.5)
    assert verdict.sentence.startswith("costs at most 2.50 cents per order against cheapest: -1.00 cents")


def test_an_equal_candidate_costs_nothing_but_gains_nothing() -> None:
    copy = replace(CHAMPION, policy="copy")
    assert ask("improvement", copy, margin=-2.0).passed
    for margin in (0.0, 1.0):
        verdict = ask("improvement", copy, margin=margin)
        assert verdict.outcome is Outcome.FAIL
        assert "earns the same in all of n=384 paired scenarios" in verdict.sentence


@pytest.mark.parametrize("position", [0, 200, 383])
def test_a_loss_beyond_the_declared_range_holds_a_candidate_back_early_or_late(position: int) -> None:
    profit = BETTER.profit.copy()
    profit[position] -= 5_000  # 42 cents per order of the block, range 10
    verdict = ask("improvement", replace(BETTER, profit=profit))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "misses the margin by more than the range of 10.0" in verdict.sentence
    assert ask("improvement", replace(BETTER, profit=profit), range=0.5).passed


def test_losses_beyond_the_range_do_not_save_a_bad_candidate() -> None:
    verdict = ask("improvement", HOPELESS)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.numbers["n_used"] == 3 * len(FAMILIES)  # nothing is staked on the first block


def test_the_range_is_a_share_of_what_the_champion_earned_before() -> None:
    doubled = replace(CHAMPION, profit=2 * CHAMPION.profit)
    numbers = ask("improvement", replace(BETTER, profit=BETTER.profit + CHAMPION.profit), doubled).numbers
    assert numbers["range_cents"] == pytest.approx(
        2 * float(ask("improvement", BETTER).numbers["range_cents"])
    )


@EVERY
def test_a_handful_of_scenarios_proves_no_gain(name: str) -> None:
    few = [0, 1, 128, 129, 256, 257]
    verdict = ask(name, gates.select(BETTER, few), gates.select(CHAMPION, few))
    assert verdict.passed == (name == "latency")


# flips


def test_flips_are_counted_listed_and_bounded() -> None:
    success = np.ones(384, dtype=bool)
    success[[30, 190, 380]] = False
    champion = upset("success", [100, 200, 300, 381], False, "cheapest", CHAMPION)
    verdict = ask("flips", replace(BETTER, success=success), champion, budget=0.03)
    assert verdict.sentence == (
        "fails 3 of 380 scenarios that cheapest handles, and handles 4 that it fails: 0.78% of n=384 flip, "
        "at most 2.25% with 95% confidence at any look, budget 3.00%, sure after 279 (2.01% by a fixed-n "
        "limit): normal/30, outage/190, recall/380"
    )
    assert verdict.numbers["conditional_rate"] == 3 / 380
    assert verdict.numbers["fixed_rate"] == 4 / 384
    assert verdict.numbers["relative_rate"] == pytest.approx(3 / 384 / (380 / 384 * 3 / 384))
    assert verdict.numbers["mcnemar_p"] == 1
    assert verdict.numbers["flipped"] == "normal/30, outage/190, recall/380"


@pytest.mark.parametrize(
    ("flips", "outcome", "text"),
    [
        (1, "pass", "sure after 324 (1.23% by a fixed-n limit)"),
        (2, "inconclusive", "budget 2.00%; 420 scenarios without another flip would pass"),
        (9, "inconclusive", "at most 5.17%"),
        (40, "fail", "at least 6.67% with"),
    ],
)
def test_the_budget_of_flips_is_kept_broken_or_open(flips: int, outcome: str, text: str) -> None:
    verdict = ask("flips", upset("success", scattered(flips), False))
    assert verdict.outcome == outcome
    assert text in verdict.sentence


def scattered(flips: int) -> list[int]:
    """Positions that lie as far apart as can be, in blocks and in families."""
    return [(at * 128 // flips + 20) % 128 + 128 * (at % 3) for at in range(flips)]


def test_an_equal_candidate_flips_nothing() -> None:
    numbers = ask("flips", replace(CHAMPION, policy="copy")).numbers
    assert (numbers["flips"], numbers["low"], numbers["relative_rate"]) == (0, 0, 0)


@pytest.mark.parametrize("budget", [0.02, 0.5])
def test_a_scenario_that_must_pass_fails_at_once(budget: float) -> None:
    one = upset("success", [200], False)
    verdict = ask("flips", one, must_pass=["outage/200", "recall/300"], budget=budget)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.sentence == "fails 1 of 2 must-pass scenarios (n=384): outage/200"
    assert ask("flips", one, must_pass=["recall/300"]).passed


def test_a_must_pass_scenario_that_was_not_played_leaves_flips_open() -> None:
    verdict = ask("flips", BETTER, must_pass=["outage/999"])
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "do not hold all that must pass: outage/999" in verdict.sentence


def test_a_long_list_of_flips_is_cut_short() -> None:
    verdict = ask("flips", upset("success", slice(0, 14), False))
    assert verdict.sentence.endswith(": normal/0, normal/1, normal/2, normal/3, normal/4 and 9 more")


def test_fixed_scenarios_do_not_pay_for_flips() -> None:
    champion = upset("success", slice(200, 384), False, "cheapest", CHAMPION)
    assert ask("flips", upset("success", slice(0, 20), False), champion).outcome is Outcome.FAIL


def test_a_champion_that_handles_nothing_leaves_flips_open() -> None:
    champion = upset("success", slice(0, 384), False, "cheapest", CHAMPION)
    verdict = ask("flips", BETTER, champion)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "none could flip" in verdict.sentence


# no-harm


def test_a_pooled_gain_does_not_hide_a_family() -> None:
    harmed = upset("profit", slice(128, 256), CHAMPION.profit[128:256] - 200)
    assert ask("improvement", harmed).passed
    verdict = ask("no-harm", harmed)
    assert verdict.outcome is Outcome.FAIL
    assert (
        "harms outage -5.00 cents per order (at most -4.99, allowed -1.00, 128 scenarios)" in verdict.sentence
    )
    assert "normal" not in verdict.sentence


def test_no_harm_sorts_families_into_harmed_safe_and_unclear() -> None:
    profit = BETTER.profit.copy()
    profit[128:256] -= 800
    profit[256:] += -420 + 8 * np.random.default_rng(4).integers(-300, 300, 128)
    numbers = ask("no-harm", replace(BETTER, profit=profit)).numbers
    assert (numbers["harmed"], numbers["safe"], numbers["unclear"]) == ("outage", "normal", "recall")


def test_every_family_needs_its_own_scenarios() -> None:
    kept = list(range(128 + 128 + 7))
    verdict = ask("no-harm", gates.select(BETTER, kept), gates.select(CHAMPION, kept))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "too few scenarios in recall (7): 16 are needed" in verdict.sentence


def test_a_small_family_does_not_hide_harm_to_another() -> None:
    kept = list(range(128 + 128 + 7))
    harmed = upset("profit", slice(128, 256), CHAMPION.profit[128:256] - 200)
    verdict = ask("no-harm", gates.select(harmed, kept), gates.select(CHAMPION, kept))
    assert verdict.outcome is Outcome.FAIL


def test_the_tolerance_is_a_share_of_what_the_family_earns() -> None:
    slightly = upset("profit", slice(128, 256), CHAMPION.profit[128:256] - 36)
    assert ask("no-harm", slightly).passed  # 0.9 of 100 cents per order
    assert ask("no-harm", slightly, tolerance=0.008).outcome is Outcome.FAIL
    assert ask("no-harm", slightly, tolerance=0.0).outcome is Outcome.FAIL


def test_a_family_that_earns_a_loss_may_not_lose_more() -> None:
    champion = replace(CHAMPION, profit=-CHAMPION.profit)
    assert ask("no-harm", replace(champion, policy="x", profit=champion.profit - 20), champion).passed
    worse = replace(champion, policy="x", profit=champion.profit - 80)
    assert ask("no-harm", worse, champion).outcome is Outcome.FAIL


def test_an_untouched_family_is_not_harmed_even_without_tolerance() -> None:
    untouched = upset("profit", slice(128, 256), CHAMPION.profit[128:256])
    assert ask("no-harm", untouched, tolerance=0.0).passed


# constraints


def violating(every: int, policy: str = "violator") -> Scorecard:
    counts = np.zeros(384, dtype=np.int64)
    counts[::every] = 1
    return replace(BETTER, policy=policy, violations=counts)


@pytest.mark.parametrize(("every", "outcome"), [(4, "pass"), (1, "fail")])
def test_violations_may_exceed_the_champions_by_the_margin(every: int, outcome: str) -> None:
    """1 in 4 scenarios with 40 obligations is 0.63 points, in every scenario 2.5 points."""
    assert ask("constraints", violating(every)).outcome == outcome


def test_the_champions_own_violations_are_not_held_against_the_candidate() -> None:
    assert ask("constraints", violating(1), violating(1, "cheapest")).passed


def test_a_budget_of_violations_holds_whatever_the_champion_does() -> None:
    verdict = ask("constraints", violating(1), violating(1, "cheapest"), budget=0.01)
    assert verdict.outcome is Outcome.FAIL
    assert "its own rate is at most 2." in verdict.sentence
    assert ask("constraints", violating(1), violating(1, "cheapest"), budget=0.03).passed


def test_with_a_budget_of_nothing_one_violation_fails() -> None:
    once = upset("violations", [77], 1)
    assert ask("constraints", once).passed
    verdict = ask("constraints", once, budget=0.0)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.sentence == "violates 1 of 15,360 obligations, none may be (n=384 paired scenarios)"
    assert ask("constraints", BETTER, budget=0.0).passed


def test_no_violation_seen_is_not_no_violation_ever() -> None:
    assert ask("constraints", BETTER, margin=0.0001).outcome is Outcome.INCONCLUSIVE
    assert ask("constraints", BETTER, margin=0.0).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("side", ["candidate", "champion"])
def test_whoever_had_no_obligation_is_not_compared(side: str) -> None:
    sides = {"candidate": BETTER, "champion": CHAMPION}
    sides[side] = replace(sides[side], obligations=np.zeros(384, dtype=np.int64))
    verdict = ask("constraints", **sides)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert f"{sides[side].policy} had no obligation" in verdict.sentence


# latency


@pytest.mark.parametrize("latency", [None, {}, {"p50": 3.0}, {"p99": np.nan}, {"p99": np.inf}, {"p99": 0.0}])
def test_an_unmeasured_latency_never_passes(latency: dict[str, float] | None) -> None:
    verdict = ask("latency", replace(BETTER, latency_us=latency))
    assert verdict.outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(("budget", "outcome"), [(399.0, "fail"), (400.0, "fail"), (401.0, "pass")])
def test_the_slowest_decisions_stay_below_the_budget(budget: float, outcome: str) -> None:
    assert ask("latency", BETTER, budget=budget).outcome == outcome


# bootstrap


def test_the_first_model_is_told_that_there_is_no_champion() -> None:
    verdicts = judge(BETTER, CHAMPION, {"improvement": {}}, bootstrap=True)
    assert [verdict.gate for verdict in verdicts] == ["improvement", "bootstrap"]
    assert verdicts[1].sentence.startswith("BOOTSTRAP, there is no champion yet: earns +")


def test_later_models_are_not_asked_for_the_floors_of_the_first() -> None:
    asked = {"bootstrap": {"success": 0.99}, "flips": {}}
    assert [verdict.gate for verdict in judge(BETTER, CHAMPION, asked)] == ["flips"]
    with pytest.raises(BadInput, match="succes"):
        judge(BETTER, CHAMPION, {"bootstrap": {"succes": 0.99}})


@pytest.mark.parametrize(
    ("column", "value", "missed"),
    [("profit", -100, "earns"), ("profit", 3_000, "gains"), ("success", False, "handles")],
)
def test_each_floor_is_enough_to_stop_the_first_model(column: str, value: Any, missed: str) -> None:
    verdict = ask("bootstrap", upset(column, slice(0, 384), value))
    assert verdict.outcome is Outcome.FAIL
    assert re.search(rf"{missed} [^()]*\([^()]*: missed\)", verdict.sentence)


def test_profit_that_is_no_better_than_the_baseline_is_no_first_model() -> None:
    assert ask("bootstrap", replace(CHAMPION, policy="copy")).outcome is Outcome.FAIL
