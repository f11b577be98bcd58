"""A search asks the same questions whenever it is asked, and stops what is worse at every rung."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from workgym.agents.training import make_recipe
from workgym.factory.halving import Tried, cost, distributions, halving, winners
from workgym.factory.plan import Job
from workgym.factory.space import SearchSpec
from workgym.services.kernel import BadInput

SPACE = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "gamma": {"low": 0.5, "high": 1},
    "epochs": {"low": 1, "high": 8},
    "net": {"choices": [[8], [16, 16]]},
}


def spec(**changes: Any) -> SearchSpec:
    fields = {"space": SPACE, "trials": 12, "batch": 4, "rungs": [1, 2, 4], "keep": 0.5}
    return SearchSpec.model_validate(fields | changes)


class Track:
    """A landscape instead of a training; remembers what it was asked."""

    def __init__(self, best_rate: float = 3e-3) -> None:
        self.best_rate = best_rate
        self.asked: list[tuple[str, int]] = []
        self.told: list[tuple[int, str, int]] = []
        self.patience = math.inf

    def job(self, number: int, params: Mapping[str, Any]) -> Job:
        recipe = make_recipe({"env_id": "workgym/Orders-v0", **params})
        return Job(f"trial.{number}", "", recipe, recipe.digest())

    def worth(self, jobs: Sequence[Job], chunks: int) -> list[float]:
        if len(self.asked) >= self.patience:
            raise KeyboardInterrupt
        self.asked += [(job.digest, chunks) for job in jobs]
        return [self.earns(job, chunks) for job in jobs]

    def earns(self, job: Job, chunks: int) -> float:
        recipe: Any = job.recipe
        off = math.log10(recipe.learning_rate / self.best_rate) ** 2 + (recipe.gamma - 0.9) ** 2
        wobble = int(hashlib.sha256(f"{job.digest}{chunks}".encode()).hexdigest()[:4], 16) / 65536
        return chunks - off - 0.1 * wobble / chunks

    def search(self, asked: SearchSpec) -> tuple[Tried, ...]:
        space = distributions(asked, "maskable-ppo")
        return halving(
            asked,
            space,
            self.job,
            self.worth,
            lambda trials: self.told.extend((one.number, one.state, one.chunks) for one in trials),
        )


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_repeated_search_is_the_same_search(sampler: str) -> None:
    first, again = Track().search(spec(sampler=sampler)), Track().search(spec(sampler=sampler))
    assert [one.trial for one in first] == [one.trial for one in again]
    other = Track().search(spec(sampler=sampler, seed=1))
    assert [one.trial.params for one in other] != [one.trial.params for one in first]


@pytest.mark.parametrize("patience", [1, 4, 7, 11, 14])
def test_a_search_that_is_stopped_asks_the_same_questions_again(patience: int) -> None:
    whole, cut = Track(), Track()
    undisturbed = [one.trial for one in whole.search(spec())]
    cut.patience = patience
    with pytest.raises(KeyboardInterrupt):
        cut.search(spec())
    assert cut.asked == whole.asked[: len(cut.asked)]
    cut.patience = math.inf
    assert [one.trial for one in cut.search(spec())] == undisturbed


def test_only_the_better_share_goes_on_and_the_cost_is_known_beforehand() -> None:
    asked = spec()
    track = Track()
    tried = track.search(asked)
    for start in range(0, 12, 4):
        batch = sorted(tried[start : start + 4], key=lambda one: -one.values[1])
        assert [one.trial.chunks > 1 for one in batch] == [True, True, False, False]
        last = max(batch[:2], key=lambda one: one.values[2])
        assert {one.trial.number for one in batch if one.trial.state == "complete"} == {last.trial.number}
    assert sum(one.trial.chunks for one in tried) == cost(asked) == 3 * (4 * 1 + 2 * 1 + 1 * 2)
    assert {state for _, state, _ in track.told} == {"running", "pruned", "complete"}
    assert {(one.trial.number, one.trial.state, one.trial.chunks) for one in tried} <= set(track.told)


def test_later_batches_learn_from_earlier_ones() -> None:
    def missed(sampler: str, seed: int) -> float:
        asked = spec(trials=24, batch=4, rungs=[1], sampler=sampler, seed=seed)
        (best,) = winners(asked, Track().search(asked))
        return abs(math.log10(best.trial.params["learning_rate"] / 3e-3))

    tpe = statistics.mean(missed("tpe", seed) for seed in range(8))
    blind = statistics.mean(missed("random", seed) for seed in range(8))
    assert tpe < 0.7 * blind


def test_the_winner_is_the_best_at_the_last_rung_and_of_equals_the_first() -> None:
    asked = spec(best=3)
    tried = Track().search(asked)
    ends = [one for one in tried if one.trial.state == "complete"]
    expected = sorted(ends, key=lambda one: -one.values[4])
    assert [one.trial for one in winners(asked, tried)] == [one.trial for one in expected]
    flat = Track()
    flat.earns = lambda job, chunks: 1.0  # type: ignore[method-assign]  # nobody is better
    (first,) = winners(spec(), flat.search(spec()))
    assert first.trial.number == 0


def test_equal_trials_are_one_candidate() -> None:
    asked = spec(space={"net": {"choices": [[8], [16]]}}, rungs=[1], best=4)
    track = Track()
    tried = track.search(asked)
    assert len(tried) == 12
    assert len({one.trial.training_digest for one in tried}) == 2
    assert len(winners(asked, tried)) == 2


def test_fields_that_do_not_fit_together_cost_nothing() -> None:
    asked = spec(space={"minibatch": {"choices": [4096, 5000]}}, trials=8, rungs=[1, 2])
    tried = Track().search(asked)
    refused = [one.trial for one in tried if one.trial.params["minibatch"] == 5000]
    assert refused
    assert {(one.chunks, one.value, one.state) for one in refused} == {(0, None, "pruned")}
    hopeless = spec(space={"minibatch": {"choices": [5000]}}, trials=2)
    with pytest.raises(BadInput, match=r"none of 2 trials made a recipe.*minibatch that divides"):
        winners(hopeless, Track().search(hopeless))


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ({"learnin_rate": {"low": 1, "high": 2}}, "did you mean 'learning_rate'"),
        ({"seed": {"low": 1, "high": 2}}, "no field of a recipe to search"),
        ({"env_id": {"choices": ["a"]}}, "no field of a recipe to search"),
        ({"net": {"low": 1, "high": 2}}, "expected choices for net, which is no number"),
        ({"activation": {"low": 1, "high": 2}}, "expected choices for activation"),
        ({"epochs": {"low": 1.5, "high": 2}}, "expected whole numbers as low and high of epochs"),
    ],
)
def test_a_space_that_recipes_do_not_have_is_refused(space: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        distributions(spec(space=space), "maskable-ppo")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"space": {}}, "at least 1"),
        ({"space": {"gamma": {}}}, "expected low and high, or choices"),
        ({"space": {"gamma": {"low": 0.5}}}, "expected low and high, or choices"),
        ({"space": {"gamma": {"low": 0.5, "high": 0.5}}}, "expected low below high"),
        ({"space": {"gamma": {"low": 0, "high": 1, "log": True}}}, "expected low above 0"),
        ({"space": {"gamma": {"low": 0, "high": 1, "choices": [1]}}}, "or choices"),
        ({"rungs": [2, 1]}, "expected rungs as growing"),
        ({"rungs": [0, 1]}, "expected rungs as growing"),
        ({"best": 13}, "at most 12 trials"),
        ({"keep": 0.25, "engine": "pbt"}, "expected keep of 0.5 or more"),
        ({"engine": "asha"}, "'halving' or 'pbt'"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        spec(**changes)
