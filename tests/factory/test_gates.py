import json
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
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that forgets what the test enters, and looks for packages anew."""
    known_gates()
    monkeypatch.setattr(gates._GATES, "_entries", dict(gates._GATES._entries))
    monkeypatch.setattr(gates._GATES, "_loaded", False)


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
    assert ask("installed", BETTER).sentence == f"never (n={BETTER.n})"


@pytest.mark.usefixtures("fresh")
def test_a_plug_in_that_does_not_load_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "no_such_module", "")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInput, match=r"the gates of 'thrift' \(no_such_module\) do not load"):
        known_gates()
