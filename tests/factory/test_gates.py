import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from workgym.factory import gates
from workgym.factory.gates import Finding, Options, configure, gate, judge, known_gates, promotable
from workgym.factory.records import Outcome, Scorecard, Verdict
from workgym.services.kernel import BadInput, Conflict

NAMES = tuple(name for name, one in known_gates().items() if not one.plays)
FAMILIES = ("normal", "outage", "recall")
ORDERS = 40  # per scenario
EVERY = pytest.mark.parametrize("name", NAMES)


def card(policy: str, **columns: Any) -> Scorecard:
    """128 scenarios per family; 100 cents earned per order; everything handled, nothing violated."""
    n = 128 * len(FAMILIES)
    scatter = np.random.default_rng(1).integers(-200, 200, n)
    fields: dict[str, Any] = {
        "env_id": "env",
        "suite": "suite",
        "backend": "twin",
        "family": tuple(np.repeat(FAMILIES, 128).tolist()),
        "seed": tuple(range(n)),
        "profit": 100 * ORDERS + scatter,
        "cases": np.full(n, ORDERS),
        "success": np.ones(n, dtype=bool),
        "violations": np.zeros(n, dtype=np.int64),
        "obligations": np.full(n, ORDERS),
        "latency_us": {"p50": 90.0, "p99": 400.0},
    }
    return Scorecard(policy=policy, **fields | columns)


CHAMPION = card("cheapest")
NOISE = np.random.default_rng(2).integers(-300, 300, CHAMPION.n)
BETTER = card("better", profit=CHAMPION.profit + 400 + NOISE)
HOPELESS = card(
    "hopeless",
    profit=-CHAMPION.profit,
    success=np.zeros(CHAMPION.n, dtype=bool),
    violations=CHAMPION.obligations,
    latency_us={"p50": 1e6, "p99": 1e7},
)


def ask(name: str, candidate: Scorecard, champion: Scorecard = CHAMPION, **options: Any) -> Verdict:
    return next(v for v in judge(candidate, champion, {name: options}, bootstrap=True) if v.gate == name)


def upset(
    columns: str, at: slice | list[int], values: Any, policy: str = "upset", base: Scorecard = BETTER
) -> Scorecard:
    """The better candidate with some results overwritten."""
    changed = getattr(base, columns).copy()
    changed[at] = values
    return replace(base, policy=policy, **{columns: changed})


def test_the_built_in_gates_are_all_known() -> None:
    assert set(NAMES) >= {"improvement", "flips", "no-harm", "constraints", "latency", "bootstrap"}


# What holds for every gate, a plug-in's too


@EVERY
def test_a_better_candidate_passes(name: str) -> None:
    assert ask(name, BETTER).outcome is Outcome.PASS


@EVERY
def test_a_hopeless_candidate_fails(name: str) -> None:
    assert ask(name, HOPELESS).outcome is Outcome.FAIL


@EVERY
def test_a_verdict_names_whom_it_judged_and_on_how_many_scenarios(name: str) -> None:
    verdict = ask(name, BETTER)
    assert (verdict.candidate, verdict.champion, verdict.suite) == ("better", "cheapest", "suite")
    assert f"n={BETTER.n}" in verdict.sentence
    assert verdict.numbers["n"] == BETTER.n


@EVERY
@pytest.mark.parametrize("candidate", [BETTER, HOPELESS, CHAMPION, replace(BETTER, dropped=1)])
def test_a_verdict_survives_canonical_json(name: str, candidate: Scorecard) -> None:
    verdict = ask(name, candidate)
    text = json.dumps(verdict.to_dict(), allow_nan=False)
    assert Verdict.from_dict(json.loads(text)) == verdict


@EVERY
def test_a_verdict_is_repeated_to_the_bit(name: str) -> None:
    again = Scorecard.from_json(BETTER.to_json())
    assert json.dumps(ask(name, again).to_dict()) == json.dumps(ask(name, BETTER).to_dict())


@EVERY
def test_an_empty_suite_never_passes(name: str) -> None:
    columns = {at: getattr(BETTER, at)[:0] for at in ("family", "seed", "profit", "cases", "success")}
    empty = replace(BETTER, **columns, violations=BETTER.violations[:0], obligations=BETTER.obligations[:0])
    verdict = ask(name, empty, replace(empty, policy="cheapest"))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "the suite is empty (n=0)" in verdict.sentence


@EVERY
@pytest.mark.parametrize("column", ["profit", "cases", "success", "violations", "obligations"])
@pytest.mark.parametrize("side", ["candidate", "champion"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_results_that_are_no_numbers_never_pass(name: str, column: str, side: str, bad: float) -> None:
    sides = {"candidate": BETTER, "champion": CHAMPION}
    broken = getattr(sides[side], column).astype(float)
    broken[7] = bad
    sides[side] = replace(sides[side], **{column: broken})
    verdict = ask(name, **sides)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert f"the {column} of {sides[side].policy} holds NaN" in verdict.sentence


@EVERY
def test_negative_counts_never_pass(name: str) -> None:
    assert ask(name, upset("violations", slice(0, 1), -40)).outcome is Outcome.INCONCLUSIVE


@EVERY
def test_a_suite_without_work_never_passes(name: str) -> None:
    idle = np.zeros(BETTER.n, dtype=np.int64)
    verdict = ask(name, replace(BETTER, cases=idle), replace(CHAMPION, cases=idle))
    assert verdict.outcome is Outcome.INCONCLUSIVE


@EVERY
@pytest.mark.parametrize("change", ["seed", "family"])
def test_shuffled_pairs_are_refused(name: str, change: str) -> None:
    with pytest.raises(BadInput, match="the same scenarios in the same order"):
        ask(name, replace(BETTER, **{change: getattr(BETTER, change)[::-1]}))


@EVERY
@pytest.mark.parametrize("lost", [0, 3])
def test_the_same_scenarios_in_another_order_are_refused(name: str, lost: int) -> None:
    turned = replace(gates.select(BETTER, list(range(BETTER.n))[::-1]), dropped=lost)
    with pytest.raises(BadInput, match="the same scenarios in the same order"):
        ask(name, turned, dropped=0.5)


@EVERY
@pytest.mark.parametrize("change", ["env_id", "suite"])
def test_other_suites_are_refused(name: str, change: str) -> None:
    with pytest.raises(BadInput, match=rf"expected scorecards of one {change}, found 'other'"):
        ask(name, replace(BETTER, **{change: "other"}))


@EVERY
@pytest.mark.parametrize("side", ["candidate", "champion"])
def test_lost_episodes_hold_a_candidate_back(name: str, side: str) -> None:
    sides = {"candidate": BETTER, "champion": CHAMPION}
    sides[side] = replace(sides[side], dropped=1)
    verdict = ask(name, **sides)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert f"1 episodes of {sides[side].policy} were lost" in verdict.sentence


def without(scorecard: Scorecard, at: int) -> Scorecard:
    """The scorecard with one episode lost."""
    kept = [place for place in range(scorecard.n) if place != at]
    return replace(gates.select(scorecard, kept), dropped=1)


@EVERY
def test_tolerated_losses_are_left_out_on_both_sides(name: str) -> None:
    verdict = ask(name, without(BETTER, 5), without(CHAMPION, 300), dropped=0.01)
    assert verdict.outcome is Outcome.PASS
    assert verdict.numbers["n"] == BETTER.n - 2


def test_more_missing_scenarios_than_lost_episodes_are_refused() -> None:
    short = replace(without(BETTER, 5), dropped=0)
    with pytest.raises(BadInput, match="the same scenarios"):
        ask("flips", short)
    with pytest.raises(BadInput, match="the same scenarios"):
        ask("flips", without(without(BETTER, 5), 6), dropped=0.5)


@EVERY
def test_identical_results_are_called_identical(name: str) -> None:
    verdict = ask(name, replace(CHAMPION, policy="copy"))
    assert verdict.sentence.startswith("IDENTICAL results to cheapest")
    assert verdict.passed == (name not in ("improvement", "improvement-fixed", "bootstrap"))
    assert verdict.numbers.get("flips", 0) == 0


def test_a_copy_of_the_champion_is_not_promotable() -> None:
    assert not promotable(judge(replace(CHAMPION, policy="copy"), CHAMPION, {"improvement": {}, "flips": {}}))


@EVERY
def test_one_policy_with_two_results_never_passes(name: str) -> None:
    verdict = ask(name, replace(BETTER, policy="cheapest"))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "make its evaluation deterministic" in verdict.sentence


@EVERY
def test_every_option_has_a_default_and_a_reason(name: str) -> None:
    fields = known_gates()[name].kind.model_fields
    assert all(not field.is_required() and field.description for field in fields.values())


@EVERY
def test_options_cannot_be_changed_afterwards(name: str) -> None:
    options = configure({name: {}})[name]
    with pytest.raises(ValidationError, match="frozen"):
        options.dropped = 1.0  # type: ignore[misc]  the point of the test


amounts = st.sampled_from([0, 1, 40, 10**6, 10**12])
results = st.tuples(st.integers(-(10**12), 10**12), amounts, st.booleans(), amounts, amounts)
episodes = st.lists(st.tuples(st.sampled_from(FAMILIES), results, results), max_size=60)


def scorecard(policy: str, family: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Scorecard:
    columns = list(zip(*rows, strict=True)) or [()] * 5
    names = ("profit", "cases", "success", "violations", "obligations")
    kinds = (np.int64, np.int64, np.bool_, np.int64, np.int64)
    arrays = {
        name: np.array(column, dtype=kind) for name, column, kind in zip(names, columns, kinds, strict=True)
    }
    return card(policy, family=family, seed=tuple(range(len(family))), **arrays)


@EVERY
@settings(max_examples=40, deadline=None)
@given(rows=episodes)
def test_any_two_scorecards_get_a_verdict_that_can_be_stored(name: str, rows: list[Any]) -> None:
    family = tuple(row[0] for row in rows)
    ours, theirs = (scorecard(f"p{side}", family, [row[side] for row in rows]) for side in (1, 2))
    verdict = ask(name, ours, theirs)
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict(), allow_nan=False))) == verdict
    assert f"n={len(rows)}" in verdict.sentence
    if name in ("improvement", "bootstrap") and verdict.passed:
        assert ours.profit.sum() > theirs.profit.sum()


# Asking for gates


def test_an_unknown_gate_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadInput, match="no gate named 'improvment'; did you mean 'improvement'"):
        judge(BETTER, CHAMPION, {"improvment": {}})


@EVERY
def test_an_unknown_option_is_refused_with_the_nearest_name(name: str) -> None:
    with pytest.raises(BadInput, match=f"no option of gate '{name}' named 'droped'; did you mean 'dropped'"):
        configure({name: {"droped": 0.1}})


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("flips", "budget", 2),
        ("flips", "budget", "2%"),
        ("improvement-fixed", "margin", -1.0),
        ("improvement", "range", 0.0),
        ("flips", "must_pass", "normal/3"),
        ("improvement", "alpha", 0),
        ("improvement", "alpha", float("nan")),
        ("no-harm", "minimum", 1),
        ("latency", "budget", 0),
        ("constraints", "candidates", 0),
        ("constraints", "candidates", True),
    ],
)
def test_an_option_out_of_range_is_refused(name: str, option: str, value: Any) -> None:
    with pytest.raises(BadInput, match=f"option '{option}' of gate '{name}': .* found {value!r}"):
        configure({name: {option: value}})


def test_fewer_than_one_candidate_is_refused() -> None:
    with pytest.raises(BadInput, match="at least 1 candidate, found 0"):
        configure({"flips": {}}, candidates=0)


def test_an_option_cannot_hide_how_many_candidates_were_tried() -> None:
    assert configure({"flips": {"candidates": 2}}, candidates=12)["flips"].candidates == 12  # type: ignore[attr-defined]  flips has it


def test_verdicts_come_in_the_order_of_the_pipeline() -> None:
    asked = {"latency": {}, "flips": {}, "improvement": {}}
    assert [verdict.gate for verdict in judge(BETTER, CHAMPION, asked)] == list(asked)


def test_promotion_needs_a_verdict() -> None:
    assert not promotable([])
    assert promotable(judge(BETTER, CHAMPION, {name: {} for name in NAMES}, bootstrap=True))


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.INCONCLUSIVE])
def test_one_verdict_short_of_a_pass_stops_the_promotion(outcome: Outcome) -> None:
    verdicts = judge(BETTER, CHAMPION, {"flips": {}, "improvement": {}})
    assert promotable(verdicts)
    assert not promotable([*verdicts, replace(verdicts[0], outcome=outcome)])


def test_verdicts_on_two_candidates_are_not_mixed() -> None:
    verdicts = [ask("flips", BETTER), ask("flips", HOPELESS)]
    with pytest.raises(BadInput, match="expected verdicts on one candidate"):
        promotable(verdicts)


# Plug-ins


class Thrift(Options):
    spend: float = 5.0


def thrift(candidate: Scorecard, champion: Scorecard, options: Thrift) -> Finding:
    return Finding(
        Outcome.PASS, f"spends {options.spend} (n={candidate.n})", {"spend": np.float64(options.spend)}
    )


def lost_count(candidate: Scorecard, champion: Scorecard, options: Options) -> Finding:
    return Finding(Outcome.PASS, f"n={candidate.n}", {"n": candidate.n, "spend": float("nan")})


@pytest.fixture
def fresh() -> Iterator[None]:
    """A registry that forgets what the test enters."""
    before = known_gates()
    yield
    gates._GATES.clear()
    gates._GATES.update(before)
    gates._load_plug_ins.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_a_gate_of_ones_own_enters_by_the_decorator() -> None:
    entered = gate("thrift")(thrift)
    assert entered(BETTER, CHAMPION).sentence == f"spends 5.0 (n={BETTER.n})"
    assert ask("thrift", BETTER, spend=2.5).numbers == {"spend": 2.5}
    assert not ask("thrift", replace(BETTER, dropped=2)).passed


@pytest.mark.usefixtures("fresh")
def test_a_pass_that_rests_on_nan_is_withheld() -> None:
    gate("lost-count")(lost_count)
    verdict = ask("lost-count", BETTER)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "spend is not a number" in verdict.sentence
    assert verdict.numbers["spend"] == "nan"


@pytest.mark.usefixtures("fresh")
def test_two_gates_cannot_share_a_name() -> None:
    with pytest.raises(
        Conflict, match=r"two gates are named 'flips': workgym.factory.builtin_gates.flips:flips and"
    ):
        gate("flips")(thrift)


def install(tmp_path: Path, value: str, source: str) -> None:
    """An installed package with one entry point."""
    info = tmp_path / "thrift-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thrift\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[workgym.gates]\nthrift = {value}\n")
    (tmp_path / "thrift_gate.py").write_text(source)


PLUG_IN = """
from workgym.factory.gates import Finding, Options, gate
from workgym.factory.records import Outcome, Scorecard

@gate("installed")
def installed(candidate: Scorecard, champion: Scorecard, options: Options) -> Finding:
    return Finding(Outcome.FAIL, f"never (n={candidate.n})", {"n": candidate.n})
"""


@pytest.mark.usefixtures("fresh")
def test_an_installed_packages_gate_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "thrift_gate", PLUG_IN)
    monkeypatch.syspath_prepend(tmp_path)
    gates._load_plug_ins.cache_clear()
    assert ask("installed", BETTER).sentence == f"never (n={BETTER.n})"


@pytest.mark.usefixtures("fresh")
def test_a_plug_in_that_does_not_load_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "no_such_module", "")
    monkeypatch.syspath_prepend(tmp_path)
    gates._load_plug_ins.cache_clear()
    with pytest.raises(BadInput, match=r"the gates of 'thrift' \(no_such_module\) do not load"):
        known_gates()


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
