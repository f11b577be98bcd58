"""What a gate can find out beyond two scorecards."""

from typing import Any

import numpy as np
import pytest

from workgym.agents.baselines import baselines, make_baseline
from workgym.agents.mlp import random_policy
from workgym.envs import orders
from workgym.factory.evaluate import evaluate, gate_suite
from workgym.factory.lab import CANDIDATE, CHAMPION, REFERENCE, Lab, Player, Remembered
from workgym.factory.suite_uses import SuiteUses
from workgym.services.kernel import BadInput, NotFound

ENV = "workgym/Orders-v0"
SMALL = {"days": 3, "orders_per_day": 6.0}
TRAINED = random_policy("trained", ENV, orders.VERSION, (orders.n_features(4), 8, 15))


def lab(candidate: Any = TRAINED, champion: str = "cheapest-feasible") -> Lab:
    files = candidate.save() if candidate is TRAINED else None
    return Lab(ENV, SMALL, Player(candidate, files), Player(make_baseline(ENV, champion)))


def test_a_play_is_the_scorecard_of_the_suite_that_was_asked_for() -> None:
    card = lab().play(CANDIDATE, split="audit", per_family=2, env_kwargs={"stress": {"demand": 1.5}})
    kwargs = {**SMALL, "stress": {"demand": 1.5}}
    assert card.digest() == evaluate(TRAINED, gate_suite(ENV, kwargs, "audit", 2), kwargs).digest()


def test_what_was_asked_once_is_not_played_again() -> None:
    one = lab()
    assert one.play(CANDIDATE, per_family=1) is one.play(CANDIDATE, per_family=1)
    assert one.play(CANDIDATE, per_family=1) is not one.play(CHAMPION, per_family=1)
    assert one.watch(CANDIDATE, per_family=1) is one.watch(CANDIDATE, per_family=1)


def test_blocks_of_a_split_have_no_scenario_in_common() -> None:
    first, second = (lab().suite("audit", 8, block) for block in (0, 1))
    assert first.digest != second.digest
    assert not {one.seed for one in first.scenarios} & {one.seed for one in second.scenarios}


def test_a_rule_is_played_by_its_name_and_has_no_files() -> None:
    one = lab()
    named, reference = (one.play(who, per_family=1) for who in ("cheapest-feasible", REFERENCE))
    assert named.digest() == reference.digest()
    with pytest.raises(NotFound, match="the champion, cheapest-feasible, is a rule"):
        one.files(CHAMPION)


def test_a_load_from_the_files_decides_as_the_policy_does() -> None:
    one = lab()
    obs, mask = one.sights(CANDIDATE, 100)
    assert len(obs) == len(mask) == 100
    assert np.array_equal(one.load(CANDIDATE).act(obs, mask), TRAINED.act(obs, mask))


def test_a_renamed_field_misleads_who_reads_it_and_nobody_else() -> None:
    lost = {"days until the promise, / 8": 0.0}
    for name, misled in (("earliest-promise-first", True), ("cheapest-feasible", False)):
        one = lab(champion=name)
        told, untold = one.play(CHAMPION, per_family=4), one.play(CHAMPION, per_family=4, reads=lost)
        assert (told.profit != untold.profit).any() == misled


def test_a_feature_that_does_not_exist_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadInput, match=f"no feature of {ENV} named 'weigth, / 20 kg'; did you mean 'weight"):
        lab().play(CANDIDATE, per_family=1, reads={"weigth, / 20 kg": 0.0})


def test_the_conduct_adds_up_to_the_scorecard() -> None:
    one = lab()
    watched, card = one.watch(CANDIDATE, per_family=2), one.play(CANDIDATE, per_family=2)
    assert watched.profit.tolist() == card.profit.tolist()
    assert sum(watched.terms.values()).tolist() == card.profit.tolist()
    assert watched.cases.tolist() == card.cases.tolist()


def test_who_does_the_same_agrees_in_every_decision() -> None:
    watched = lab().watch("hold", per_family=1, beside=("hold-for-ever", "cancel-everything"))
    assert watched.agrees["hold-for-ever"].tolist() == watched.decisions.tolist()
    assert watched.agrees["cancel-everything"].sum() < watched.decisions.sum()


def test_who_stalls_is_relieved_and_told() -> None:
    watched = lab().watch("illegal-for-ever", per_family=1, patience=50)
    assert watched.stalled.all()
    assert watched.refused.tolist() == watched.decisions.tolist() == [50] * len(watched.family)


def test_a_policy_that_another_view_does_not_suit_is_set_apart() -> None:
    env = "workgym/SupplyChain.retail-v0"
    kwargs = {"skus": 2, "stores": 1, "periods": 5, "actions": "cover"}
    noop = Player(next(iter(baselines(env, "noop").values()))())
    watched = Lab(env, kwargs, noop, noop).watch(CANDIDATE, per_family=1, beside=("hoarder",))
    assert "use actions='units'" in watched.apart["hoarder"]
    assert not watched.agrees


@pytest.mark.parametrize("kept", [True, False])
def test_a_suite_counts_the_policies_that_were_shown_it(desk: Any, kept: bool) -> None:
    uses = SuiteUses(desk.registry) if kept else Remembered()
    assert [uses.use("5" * 64, who, "audit") for who in ("ada", "bob", "ada", "eve")] == [1, 2, 1, 3]
    assert uses.use("6" * 64, "eve", "audit") == 1
    assert uses.use("5" * 64, "eve", "other") == 1


def test_uses_outlive_the_process_and_a_clock_that_lags(desk: Any) -> None:
    SuiteUses(desk.registry).use("5" * 64, "ada", "audit")  # by a clock of today
    with desk.reopen() as registry:
        lagging = SuiteUses(registry, registry._clock)
        assert [lagging.use("5" * 64, who, "audit") for who in ("bob", "ada")] == [2, 1]
