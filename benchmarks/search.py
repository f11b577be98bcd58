"""Our search beside Ray Tune's: the same space, the same trials, the same chunks.

    nice -n 10 python -m benchmarks.search            # the table of docs/design/search.md
    nice -n 10 python -m benchmarks.search --seeds 1 --trials 8

For each seed three searches for a recipe on Orders, which may train as many trials to the first rung:

- `ASHA`: `tune.Tuner` with its asynchronous successive halving, over random recipes.
- `halving, random`: ours, over the very same recipes. Chunks are pure, so a recipe must earn the same in
  both at every rung that both let it reach; that is asserted. They differ in whom they let go on.
- `halving, tpe`: ours, in batches of half the trials, the second batch asked for with the first in mind.

Every winner is trained to the end of its recipe and plays the gate's scenarios, which no search has seen.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from workgym.agents.policy import load_policy
from workgym.factory.engines import make_engine
from workgym.factory.evaluate import evaluate, gate_suite
from workgym.factory.foreman import Foreman
from workgym.factory.halving import ask, distributions, winners
from workgym.factory.pipeline import Pipeline
from workgym.factory.plan import Job
from workgym.factory.records import Scorecard
from workgym.factory.registry import open_registry
from workgym.factory.search import Bench, Search, searches
from workgym.factory.statistics import ratio
from workgym.factory.train import Trainings, train
from workgym.factory.tune import VALUE, Member, Population, alone

ENV = "workgym/Orders-v0"
RECIPE = {"steps": 262_144, "chunk_steps": 32_768, "lanes": 256, "n_steps": 32, "minibatch": 2048}
RUNGS = (1, 2, 4)
SPACE = {
    "learning_rate": {"low": 1e-4, "high": 3e-2, "log": True},
    "gamma": {"low": 0.8, "high": 0.99},
    "ent_coef": {"low": 1e-4, "high": 0.1, "log": True},
    "epochs": {"low": 1, "high": 6},
    "net": {"choices": [[16, 16], [64, 64]]},
}
TRAIN_SEASONS, GATE_SEASONS = 8, 64  # of each family
ALPHA = 0.05


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        earned: by trial and rung, cents an order on train scenarios.
        wall: seconds.
    """

    method: str
    seed: int
    best: Job
    earned: Mapping[str, Mapping[int, float]]
    wall: float

    @property
    def chunks(self) -> int:
        return sum(max(values) for values in self.earned.values())

    @property
    def finished(self) -> set[str]:
        return {name for name, values in self.earned.items() if RUNGS[-1] in values}


class Noting(Member):
    """A member that remembers what it earned at every rung."""

    def setup(self, config: dict[str, Any], population: Any = None) -> None:
        super().setup(fields_of(config), population)

    def step(self) -> dict[str, Any]:
        told = super().step()
        self.earned = {**getattr(self, "earned", {}), told["chunks"]: told[VALUE]}
        return {**told, "earned": dict(self.earned)}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.earned = {}
        return super().reset_config(fields_of(new_config))


def config_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a recipe as Tune takes them: it does not know a list as a value."""
    return {**fields, "net": json.dumps(fields["net"])}


def fields_of(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, "net": json.loads(config["net"])}


def search_of(seed: int, trials: int, batch: int, sampler: str) -> Search:
    variant = {
        "name": "tuned",
        "search": {
            "space": SPACE,
            "trials": trials,
            "batch": batch,
            "rungs": RUNGS,
            "sampler": sampler,
            "seed": seed,
            "per_family": TRAIN_SEASONS,
        },
    }
    fields = {"name": "search", "env": ENV, "training": {"recipe": RECIPE}, "gates": {"improvement": {}}}
    (search,) = searches(Pipeline.model_validate({**fields, "variants": [variant]}))
    return search


def by_halving(bench: Bench, method: str, search: Search) -> Found:
    began = time.monotonic()
    tried = bench.tried(search)
    wall = time.monotonic() - began
    (best,) = winners(search.spec, tried)
    assert best.job is not None
    earned = {one.trial.training_digest: one.values for one in tried}
    return Found(method, search.spec.seed, best.job, earned, wall)


def by_asha(search: Search) -> Found:
    asked = ask(search.spec, distributions(search.spec, "maskable-ppo"), [])
    members = [config_of(one) for one in asked]
    population = Population(RECIPE, ENV, {}, seed=0, per_family=TRAIN_SEASONS, stops=RUNGS)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, alone(search.spec.seed, Path(folder)):
        tuner = tune.Tuner(
            tune.with_parameters(Noting, population=population),
            param_space=members[0],
            tune_config=tune.TuneConfig(
                scheduler=tune.schedulers.ASHAScheduler(
                    time_attr="chunks",
                    metric=VALUE,
                    mode="max",
                    grace_period=RUNGS[0],
                    max_t=RUNGS[-1],
                    reduction_factor=2,
                ),
                search_alg=tune.search.BasicVariantGenerator(points_to_evaluate=members),
                num_samples=len(members),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        results = tuner.fit()
    wall = time.monotonic() - began
    assert not results.errors, results.errors
    ends = [results[i].metrics for i in range(len(results))]
    jobs = [
        search.job(number, fields_of({name: end["config"][name] for name in SPACE}))
        for number, end in enumerate(ends)
    ]
    earned = {job.digest: end["earned"] for job, end in zip(jobs, ends, strict=True)}
    reached = max(max(values) for values in earned.values())
    best = max(jobs, key=lambda job: earned[job.digest].get(reached, float("-inf")))
    return Found("ASHA", search.spec.seed, best, earned, wall)


def same_where_both_looked(one: Found, other: Found) -> int:
    """How many values both searches measured; every one must be the same."""
    pairs = [
        (values[rung], other.earned[name][rung])
        for name, values in one.earned.items()
        for rung in values.keys() & other.earned[name].keys()
    ]
    assert all(a == b for a, b in pairs), pairs
    return len(pairs)


def judged(bench: Bench, found: Sequence[Found]) -> list[Scorecard]:
    """Every winner trained to its end, on the gate's scenarios."""
    train(bench.trainings, [one.best for one in found], lambda _: None)
    suite = gate_suite(ENV, {}, "gate", GATE_SEASONS)
    return [evaluate(load_policy(bench.trainings.policy(one.best)), suite, {}) for one in found]


def interval(card: Scorecard, other: Scorecard | None = None) -> str:
    """Cents an order, or the difference to another's, with a two-sided 95 % interval."""
    amount = card.profit - other.profit if other is not None else card.profit
    mean = ratio(amount, card.cases, card.family)
    low, high = mean.bounds(ALPHA / 2)
    return f"{mean.value:.1f} ({low:.1f} to {high:.1f})"


def row(found: Found, card: Scorecard, asha: Scorecard) -> str:
    apart = "" if found.method == "ASHA" else interval(card, asha)
    cells = (found.seed, found.method, found.chunks, f"{found.wall:.0f}", interval(card), apart)
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=16)
    given = parser.parse_args()
    versions = {"env_id": ENV, "env_version": "1", "code_version": "1"}
    print(
        "| seed | search | chunks | wall s | winner, cents an order on the gate's scenarios | less ASHA's |"
    )
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as home, open_registry(Path(home)) as registry:
        run_id = registry.open_run("search", {"name": "search"}, **versions).id
        with closing(make_engine("ray", Path(home))) as engine:
            foreman = Foreman(registry, run_id, engine)
            bench = Bench(registry, run_id, foreman, Trainings(registry, foreman), lambda _: None)
            notes = [one_seed(bench, seed, given.trials) for seed in range(given.seeds)]
    print("\n" + "\n".join(notes))


def one_seed(bench: Bench, seed: int, trials: int) -> str:
    """Print a seed's rows; what the two searches over the same recipes have in common."""
    same = search_of(seed, trials, trials, "random")
    blind = by_halving(bench, "halving, random", same)
    asha = by_asha(same)
    learning = by_halving(bench, "halving, tpe", search_of(seed, trials, trials // 2, "tpe"))
    found = [asha, blind, learning]
    cards = judged(bench, found)
    for one, card in zip(found, cards, strict=True):
        print(row(one, card, cards[0]), flush=True)
    both, either = blind.finished & asha.finished, blind.finished | asha.finished
    return (
        f"seed {seed}: {same_where_both_looked(blind, asha)} values measured by both, all equal; of the "
        f"{len(either)} recipes that reached the last rung in one of them, {len(both)} did in both; "
        f"{'the same winner' if blind.best.digest == asha.best.digest else 'different winners'}"
    )


if __name__ == "__main__":
    main()
