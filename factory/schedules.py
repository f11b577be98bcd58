"""Searches by population-based training: what they find is a schedule, trained like any other recipe.

Ray Tune trains the population, as one task whose result is kept: a search that is repeated, after a kill
or by another run, goes on with the schedules that were found. They are trained again by our own chunks,
so what is registered follows from its recipe alone, and not from what Tune did when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from workgym.agents.schedule import ScheduleRecipe
from workgym.agents.training import make_recipe
from workgym.factory.artifacts import digest_of
from workgym.factory.engines import Answer, Call, Resources
from workgym.factory.foreman import Work
from workgym.factory.halving import ask, distributions
from workgym.factory.plan import Job, job_named, seeds_of
from workgym.factory.space import SearchSpec
from workgym.factory.trials import Trial
from workgym.factory.work import Key

if TYPE_CHECKING:
    from workgym.factory.search import Bench, Search

POPULATION = "population"  # kind of task: what became of a population


def evolved(search: Search, bench: Bench) -> list[Job]:
    """Train a population by Ray Tune, or find what became of it; the schedules that go on to the gates.

    A variant's further seeds train the same schedules anew.
    """
    key = Key(POPULATION, digest_of([search.spec.model_dump(mode="json"), search.base().digest]), 0)
    bench.foreman.put(Work(key, partial(_call, search)))
    survivors: list[dict[str, Any]] = []
    while not bench.foreman.idle:
        for _, done in bench.foreman.collect():
            survivors = done.result["survivors"]
    name = search.variant.name
    jobs = [
        job_named(f"{name}.{place}", search.variant.purpose, _recipe(one["schedule"]))
        for place, one in enumerate(survivors)
    ]
    bench.tell(
        search, [_trial(i, job, one) for i, (job, one) in enumerate(zip(jobs, survivors, strict=True))]
    )
    different = {job.digest: job for job in reversed(jobs)}
    best = [job for job in jobs if different[job.digest] is job][: search.spec.best]
    seeds = seeds_of(search.pipeline, search.variant)
    return [_with_seed(job, seed) for job in best for seed in seeds]


def _recipe(fields: Mapping[str, Any]) -> ScheduleRecipe:
    recipe = make_recipe(fields)
    assert isinstance(recipe, ScheduleRecipe)
    return recipe


def _trial(place: int, job: Job, survivor: Mapping[str, Any]) -> Trial:
    chunks, value = job.recipe.chunks, survivor["value"]
    return Trial(place, dict(survivor["params"]), job.digest, chunks, value, "complete")


def _with_seed(job: Job, seed: int) -> Job:
    """The same schedule with another seed; the states that it went on from were not those of this one."""
    recipe = job.recipe
    assert isinstance(recipe, ScheduleRecipe)
    if recipe.seed == seed:
        return job
    stages = tuple(stage._replace(parent="") for stage in recipe.stages)
    return job_named(job.variant, job.purpose, replace(recipe, seed=seed, stages=stages))


def _call(search: Search) -> Call:
    base = search.base().recipe
    members = ask(
        search.spec.model_copy(update={"batch": search.spec.trials}),
        distributions(search.spec, base.algorithm),
        [],
    )
    for number, changes in enumerate(members):
        search.job(number, changes)  # refuses what makes no recipe before Ray is started
    args = (search.spec.model_dump(mode="json"), base.to_dict(), members)
    return Call(f"population of {search.variant.name}", play_population, args, Resources(cpus=0.0))


def play_population(
    spec: Mapping[str, Any], base: Mapping[str, Any], members: Sequence[Mapping[str, Any]]
) -> Answer:
    """What becomes of a population, as a call for an engine; its members take the cores."""
    from workgym.factory.tune import Population, evolve  # Ray Tune takes seconds to load

    asked = SearchSpec.model_validate(spec)
    own = {name: base[name] for name in ("env_id", "env_kwargs", "seed")}
    rest = {name: value for name, value in base.items() if name not in own}
    stops = sorted({*asked.rungs, make_recipe(base).chunks})
    population = Population(base=rest, per_family=asked.per_family, stops=tuple(stops), **own)
    survivors = evolve(asked, population, members)
    plain = [
        {
            "params": dict(one.params),
            "schedule": one.schedule.to_dict(),
            "value": one.value,
            "final": one.final,
        }
        for one in survivors
    ]
    return None, {"survivors": plain}
