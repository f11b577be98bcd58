"""A suite in shards gives the scorecard of the whole, is played once, and stops where it may."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workgym.agents.baselines import make_baseline
from workgym.agents.training import initial_state, make_recipe, policy_from
from workgym.factory.early import Early, opposite
from workgym.factory.engines import Finished, LocalEngine
from workgym.factory.evaluate import evaluate, gate_suite
from workgym.factory.foreman import Foreman
from workgym.factory.gates import judge
from workgym.factory.judging import Opponent, policy_of
from workgym.factory.pipeline import Pipeline
from workgym.factory.records import Outcome, Scorecard
from workgym.factory.registry import Registry, open_registry
from workgym.factory.sequential import committed_order
from workgym.factory.shards import Evaluation, like
from workgym.services.scenario import Suite

ENV = "workgym/Orders-v0"
VERSIONS = {"env_id": ENV, "env_version": "1", "code_version": "2"}


class Shuffled(LocalEngine):
    """Finishes calls in any order, and several slots at once."""

    slots = 3  # type: ignore[misc]  # as many as a small cluster has

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)

    def wait(self, timeout: float) -> list[Finished]:
        self.random.shuffle(self._queue)
        return super().wait(timeout)


@pytest.fixture(scope="module")
def suite() -> Suite:
    return gate_suite(ENV, {}, "gate", 8)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shards")


@pytest.fixture(scope="module")
def policy(home: Path) -> str:
    recipe = make_recipe({"env_id": ENV, "seed": 3})
    with open_registry(home) as registry:
        return registry.artifacts.put_folder(policy_from(recipe, initial_state(recipe), "untrained"))


@pytest.fixture
def registry(home: Path) -> Iterator[Registry]:
    with open_registry(home) as registry:
        yield registry


def evaluation(registry: Registry, suite: Suite, engine: LocalEngine, name: str, **more: Any) -> Evaluation:
    run = registry.open_run(name, {}, **VERSIONS).id
    order = committed_order(suite, name)
    return Evaluation(Foreman(registry, run, engine), suite, {}, "1", order, size=7, **more)


def tries(registry: Registry) -> list[Any]:
    return list(registry.attempts(registry.runs()[0].id))


@pytest.mark.parametrize("seed", [1, 2])
def test_shards_give_the_scorecard_of_the_whole_in_whatever_order_they_come_back(
    registry: Registry, suite: Suite, policy: str, seed: int
) -> None:
    card = evaluation(registry, suite, Shuffled(seed), f"whole-{seed}").play(policy)
    assert card.digest() == evaluate(policy_of(registry, policy), suite, {}).digest()
    assert len(tries(registry)) == 7  # 48 scenarios, seven a shard


def test_a_shard_is_played_once(registry: Registry, suite: Suite, policy: str) -> None:
    order = committed_order(suite, "once")
    cards = []
    for name in ("first", "second"):
        run = registry.open_run(name, {}, **VERSIONS).id
        one = Evaluation(Foreman(registry, run, LocalEngine()), suite, {}, "1", order, size=24)
        cards.append(one.play(policy))
        played = len(tries(registry))
        assert played == (2 if name == "first" else 0)
    assert cards[0].digest() == cards[1].digest()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_looks_at_the_prefix_of_the_order_and_stops(
    registry: Registry, suite: Suite, policy: str, seed: int
) -> None:
    shown: list[Scorecard] = []

    def stop(card: Scorecard) -> bool:
        shown.append(card)
        return card.n >= 7

    one = evaluation(registry, suite, Shuffled(seed), f"stop-{seed}", backend="twin")
    card = one.play(policy, stop)
    order = [(suite.scenarios[at].family, suite.scenarios[at].seed) for at in one.order]
    for prefix in shown:
        assert list(zip(prefix.family, prefix.seed, strict=True)) == order[: prefix.n]
    assert card is shown[-1]
    assert 7 <= card.n < len(order)
    assert one.foreman.idle
    whole = evaluate(policy_of(registry, policy), suite, {})
    assert like(whole, card).digest() == Scorecard(**{**vars(card), "dropped": 0}).digest()


PIPELINE: dict[str, Any] = {
    "name": "shards",
    "env": ENV,
    "variants": [{"name": "plain"}],
    "gates": {"improvement": {}},
}


@pytest.fixture
def opponent(suite: Suite) -> Opponent:
    """The department's best rule, whom an untrained policy clearly does not beat."""
    card = evaluate(make_baseline(ENV, "cheapest-feasible"), suite, {})
    return Opponent(card.policy, card, 0, None, "champion")


def test_a_clearly_bad_candidate_is_stopped_and_judged_on_what_it_played(
    registry: Registry, suite: Suite, policy: str, opponent: Opponent
) -> None:
    pipeline = Pipeline.model_validate(PIPELINE)
    early = Early(pipeline, [opponent], len(suite.scenarios), tried=1)
    card = evaluation(registry, suite, LocalEngine(), "early").play(policy, early.stop)
    assert card.n < len(suite.scenarios)
    met = opposite(opponent, card, len(suite.scenarios))
    assert (met.family, met.seed) == (card.family, card.seed)
    verdict = judge(card, met, pipeline.gates)[0]
    assert verdict.outcome is Outcome.FAIL
    assert 0 < int(verdict.numbers["n_used"]) <= card.n


def test_nobody_is_stopped_who_may_still_serve(suite: Suite, opponent: Opponent) -> None:
    good = replace(opponent.card, profit=opponent.card.profit + 1000)
    early = Early(Pipeline.model_validate(PIPELINE), [opponent], len(suite.scenarios), tried=1)
    assert not early.stop(good)
    two = {**PIPELINE, "releases": [{"alias": "champion"}, {"alias": "edge"}]}
    weak = replace(opponent, card=replace(opponent.card, profit=opponent.card.profit - 10**6))
    both = Early(Pipeline.model_validate(two), [opponent, weak], len(suite.scenarios), tried=1)
    bad = evaluate(make_baseline(ENV, "hold"), suite, {})
    assert early.stop(bad)
    assert not both.stop(bad)
