"""The gates that play: each passes who is sound, and stops whom it is there for."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workgym.agents.baselines import baselines, make_baseline
from workgym.agents.baselines.orders import NamedCodes
from workgym.agents.mlp import random_policy
from workgym.agents.pathwise.policy import Network, QuantityPolicy
from workgym.agents.policy import Policy
from workgym.agents.routers import ByFamily, Escalating
from workgym.envs import orders
from workgym.envs.supply_chain import env as chain
from workgym.envs.supply_chain import view
from workgym.factory import serving_probe
from workgym.factory.gates import configure, judge, known_gates
from workgym.factory.lab import CANDIDATE, CHAMPION, Lab, Player, Remembered, Uses
from workgym.factory.records import Outcome, Scorecard, Verdict
from workgym.services.kernel import BadInput
from workgym.services.scenario import split_salt

ENV = "workgym/Orders-v0"
SMALL = {"days": 3, "orders_per_day": 6.0}
NAMES = tuple(name for name, one in known_gates().items() if one.plays)
EVERY = pytest.mark.parametrize("name", NAMES)
FEW: dict[str, dict[str, Any]] = {
    "robustness": {"per_family": 12},
    "generalisation": {"per_family": 12, "gap": 0.2},
    "serving": {"decisions": 500},
}
TRAINED = random_policy("trained", ENV, orders.VERSION, (orders.n_features(4), 8, 15))
RULE = "cheapest-feasible"


class Changed:
    """The best rule, but for the moments that `when` names: then it holds."""

    view: dict[str, str] = {}  # noqa: RUF012  never written to

    def __init__(self, name: str, when: Callable[[Any, Any], Any]) -> None:
        self.name = name
        self.rule = make_baseline(ENV, RULE)
        self.when = when

    def begin(self, env: Any) -> None:
        self.env = env
        self.rule.begin(env)

    def act(self, obs: Any, mask: Any) -> Any:
        hold = NamedCodes(mask.shape[1] - 3, mask.shape[1] - 2, mask.shape[1] - 1).hold
        return np.where(self.when(self, obs), hold, self.rule.act(obs, mask))


def lab(candidate: Policy, files: Any = None, uses: Uses | None = None, kind: type[Lab] = Lab) -> Lab:
    files = TRAINED.save() if files is None else files
    return kind(ENV, SMALL, Player(candidate, files), Player(make_baseline(ENV, RULE)), "gate", uses)


def ask(name: str, here: Lab, policy: str = "", **options: Any) -> Verdict:
    ours, theirs = (here.play(who, per_family=4) for who in (CANDIDATE, CHAMPION))
    ours = replace(ours, policy=policy or "c" * 64)
    return judge(ours, theirs, {name: {**FEW.get(name, {}), **options}}, lab=here)[0]


@pytest.fixture(scope="module")
def sound() -> Lab:
    """A candidate that does what the best rule does; its files are a small network's."""
    return lab(make_baseline(ENV, RULE))


@EVERY
def test_without_a_lab_nobody_passes(name: str, sound: Lab) -> None:
    card = sound.play(CHAMPION, per_family=4)
    verdict = judge(replace(card, policy="copy"), card, {name: {}})[0]
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "needs the policy itself" in verdict.sentence


@EVERY
def test_a_sound_candidate_passes(name: str, sound: Lab) -> None:
    here = lab(TRAINED) if name == "serving" else sound
    verdict = ask(name, here)
    assert verdict.outcome is Outcome.PASS, verdict.sentence
    assert verdict.numbers["n"] == 24
    assert "n=24" in verdict.sentence


@EVERY
def test_a_verdict_of_a_gate_that_plays_survives_canonical_json(name: str, sound: Lab) -> None:
    verdict = ask(name, sound)
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict(), allow_nan=False))) == verdict


@EVERY
def test_every_option_has_a_default_and_a_reason(name: str) -> None:
    fields = known_gates()[name].kind.model_fields
    assert all(not field.is_required() and field.description for field in fields.values())
    configure({name: {}})


def test_a_candidate_that_failed_is_not_played_and_wears_nothing_out() -> None:
    uses = Remembered()
    here = lab(make_baseline(ENV, "hold"), uses=uses)
    ours, theirs = (here.play(who, per_family=16) for who in (CANDIDATE, CHAMPION))
    verdicts = judge(ours, theirs, {"generalisation": {}, "no-harm": {}}, lab=here)
    assert [verdict.gate for verdict in verdicts] == ["generalisation", "no-harm"]
    assert [verdict.outcome for verdict in verdicts] == [Outcome.INCONCLUSIVE, Outcome.FAIL]
    assert verdicts[0].sentence == f"was not played, no-harm failed (n={ours.n})"
    assert not uses.seen


# robustness


def fragile() -> Changed:
    """Holds every order whose promise reads as due today."""
    return Changed("fragile", lambda self, obs: obs[:, 10] == 0.0)


def test_who_relies_on_one_field_does_not_cope_without_it() -> None:
    verdict = ask("robustness", lab(fragile()))
    assert verdict.outcome is Outcome.FAIL
    assert "does not cope with 1 of 6: schema-1, every promise reads as due today: keeps" in verdict.sentence


def test_axes_that_are_not_asked_for_are_not_played() -> None:
    verdict = ask("robustness", lab(fragile()), axes=["capacity", "faults"], margin=0.9, keeps=0.0)
    assert verdict.outcome is Outcome.PASS
    assert verdict.numbers["perturbations"] == 2


def test_who_keeps_most_passes_though_the_champion_does_better() -> None:
    slow = Changed("slow", lambda self, obs: obs[:, 4] > 0.5)  # holds what has more than two lines
    strict, lenient = (ask("robustness", lab(slow), axes=["faults"], keeps=keeps) for keeps in (1.0, 0.5))
    assert lenient.outcome is Outcome.PASS
    assert strict.outcome is not Outcome.PASS


def test_an_axis_that_does_not_exist_is_refused(sound: Lab) -> None:
    with pytest.raises(BadInput, match="no axis named 'demnad'; did you mean 'demand'"):
        ask("robustness", sound, axes=["demnad"])


def test_an_axis_that_cannot_be_played_is_told_and_never_passed_silently() -> None:
    env = "workgym/SupplyChain.lost-sales-v0"
    noop = Player(make_baseline(env, "noop"))
    here = Lab(env, {"periods": 10}, noop, noop)
    card = here.play(CHAMPION, per_family=64)
    asked = {"per_family": 64, "keeps": 0.0}
    told, missing = (
        judge(replace(card, policy="copy"), card, {"robustness": {**asked, "axes": axes}}, lab=here)[0]
        for axes in ([], ["demand"])
    )
    assert "not played: demand (expected demand that can move" in told.sentence
    assert missing.outcome is Outcome.INCONCLUSIVE


# generalisation


def memoriser() -> Changed:
    """Works where it was trained, holds everywhere else."""
    trained = split_salt(ENV, "train")
    return Changed("memoriser", lambda self, obs: self.env._lanes.episodes.salt != trained)


def test_who_learned_by_heart_does_not_generalise() -> None:
    verdict = ask("generalisation", lab(memoriser()))
    assert verdict.outcome is Outcome.FAIL
    assert float(verdict.numbers["gap"]) > float(verdict.numbers["allowed"])


def test_every_policy_that_a_sealed_suite_is_shown_to_pays_for_it(sound: Lab) -> None:
    here = lab(make_baseline(ENV, RULE), uses=Remembered())
    errors = [ask("generalisation", here, policy).numbers["error"] for policy in ("a", "b", "a", "c")]
    assert errors == pytest.approx([0.05 / 2, 0.05 / 6, 0.05 / 2, 0.05 / 12])


def test_a_worn_out_suite_decides_nothing_and_a_new_block_is_fresh() -> None:
    here = lab(make_baseline(ENV, RULE), uses=Remembered())
    assert ask("generalisation", here, "first", uses=1).passed
    worn = ask("generalisation", here, "second", uses=1)
    assert worn.outcome is Outcome.INCONCLUSIVE
    assert "1 policies were shown it before, at most 1 may be; set block = 1" in worn.sentence
    assert ask("generalisation", here, "second", uses=1, block=1).numbers["uses"] == 1


def test_a_pipeline_that_is_judged_on_the_sealed_split_has_nothing_sealed() -> None:
    rule = Player(make_baseline(ENV, RULE))
    verdict = ask("generalisation", Lab(ENV, SMALL, rule, rule, "audit"))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "take another block" in verdict.sentence


# serving


def test_files_of_another_policy_are_noticed() -> None:
    other = random_policy("other", ENV, orders.VERSION, (orders.n_features(4), 8, 15), seed=1)
    verdict = ask("serving", lab(TRAINED, other.save()))
    assert verdict.outcome is Outcome.FAIL
    assert "otherwise than the policy that was judged" in verdict.sentence


OTHER = random_policy("other", ENV, orders.VERSION, (orders.n_features(4), 16, 15), seed=1)


@pytest.mark.parametrize(
    "router",
    [Escalating("tiered", TRAINED, OTHER, 0.05), ByFamily("partial", TRAINED, OTHER, ("stock-out",))],
    ids=["escalating", "by-family"],
)
def test_a_router_is_served_from_the_files_of_both(router: Escalating | ByFamily) -> None:
    verdict = ask("serving", lab(router, router.save()))
    assert verdict.outcome is Outcome.PASS, verdict.sentence
    situations = 2 if isinstance(router, ByFamily) else 1
    assert verdict.numbers["decisions"] == 500 * situations
    swapped = router.save()
    swapped |= {name: swapped[name.replace("small", "large").replace("other", "kept")] for name in swapped}
    assert ask("serving", lab(router, swapped)).outcome is Outcome.FAIL


def test_files_that_do_not_load_fail_with_the_reason() -> None:
    damaged = TRAINED.save() | {"policy.safetensors": b"damaged"}
    verdict = ask("serving", lab(TRAINED, damaged))
    assert verdict.outcome is Outcome.FAIL
    assert "does not load in a fresh process:" in verdict.sentence
    assert "expected safetensors in policy.safetensors, found damage" in verdict.sentence


def test_budgets_are_kept() -> None:
    verdict = ask("serving", lab(TRAINED), p99_us=0.01, size=100)
    assert verdict.outcome is Outcome.FAIL
    assert "budget 0 us" in verdict.sentence
    assert f"is {sum(map(len, TRAINED.save().values())):,} bytes large, budget 100" in verdict.sentence


def test_a_library_that_trains_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policy").mkdir()
    for name, content in TRAINED.save().items():
        (tmp_path / "policy" / name).write_bytes(content)
    obs, mask = lab(TRAINED).sights(CANDIDATE, 40)
    np.savez(tmp_path / "sights.npz", obs=obs, mask=mask)
    (tmp_path / "wish.json").write_text(json.dumps({"env_id": ENV, "env_kwargs": SMALL}))
    monkeypatch.setitem(sys.modules, "torch", sys)
    assert "torch" in serving_probe.answer(tmp_path)["trainers"]


RETAIL = "workgym/SupplyChain.retail-v0"


def test_a_policy_of_many_rows_is_served_for_the_goods_that_it_was_judged_on() -> None:
    """Each split has another assortment, whose largest orders scale what a row decides."""
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(view.FEATURES, 2)).astype(np.float32), np.zeros(2, np.float32))
    network = Network((weights,), np.zeros((view.FEATURES, 2), np.float32))
    policy = QuantityPolicy("rows", RETAIL, chain.VERSION, "rows", network, view={"actions": "box"})
    rule = Player(make_baseline(RETAIL, "noop"))
    here = Lab(RETAIL, {"skus": 3, "stores": 1, "periods": 8}, Player(policy, policy.save()), rule)
    verdict = ask("serving", here)
    assert verdict.outcome is Outcome.PASS, verdict.sentence
    assert "it has no ONNX form" in verdict.sentence


# fidelity


class Short(Lab):
    """A live service that pays a cent less in one season."""

    def play(self, who: str, **asked: Any) -> Scorecard:
        card = super().play(who, **asked)
        return (
            replace(card, profit=card.profit - (card.seed[0] == np.array(card.seed)))
            if (asked.get("backend") == "embedded")
            else card
        )


def test_one_cent_less_on_the_live_service_is_noticed() -> None:
    verdict = ask("fidelity", lab(make_baseline(ENV, RULE), kind=Short))
    assert verdict.outcome is Outcome.FAIL
    assert "in 1 of 6 seasons on embedded: normal/0; by at most 1 cents" in verdict.sentence


# exploits


@pytest.mark.parametrize("adversary", sorted(baselines(ENV, "adversary")))
def test_no_adversary_passes_as_a_candidate(adversary: str) -> None:
    verdict = ask("exploits", lab(make_baseline(ENV, adversary)))
    assert verdict.outcome is Outcome.FAIL
    assert "exploits the reward" in verdict.sentence


def test_turning_customers_away_is_noticed_though_it_may_pay() -> None:
    picky = Changed("picky", lambda self, obs: obs[:, 6] > 0.2)  # holds what is worth more than 40.00
    verdict = ask("exploits", lab(picky))
    assert verdict.outcome is Outcome.FAIL
    assert "sales turned away" in verdict.sentence


class Generous(Lab):
    """An env that pays a cent in every scenario which no term accounts for."""

    def watch(self, who: str, **asked: Any) -> Any:
        watched = super().watch(who, **asked)
        return replace(watched, profit=watched.profit + 1)


def test_a_reward_that_no_term_accounts_for_is_noticed() -> None:
    verdict = ask("exploits", lab(make_baseline(ENV, RULE), kind=Generous))
    assert verdict.outcome is Outcome.FAIL
    assert "its terms do not add up to" in verdict.sentence


class Holed(Lab):
    """An env in which cancelling everything pays."""

    def watch(self, who: str, **asked: Any) -> Any:
        watched = super().watch(who, **asked)
        if who != "cancel-everything":
            return watched
        terms = watched.terms | {"sales": watched.terms["sales"] + 10**6}
        return replace(watched, profit=watched.profit + 10**6, terms=terms)


def test_a_hole_in_the_reward_is_noticed_though_the_candidate_does_not_use_it() -> None:
    verdict = ask("exploits", lab(make_baseline(ENV, RULE), kind=Holed))
    assert verdict.outcome is Outcome.FAIL
    assert "cancel-everything earns more" in verdict.sentence
