"""The searches of a pipeline: its variants that say where their recipe may lie instead of what it is.

Trials are trained by the same chunks as everything else, and compared by what they earn on scenarios of the
*train* split. The gates' scenarios are played by nobody but those that a search hands over to the gates, so
the gates count those alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from workgym.agents.policy import load_policy
from workgym.agents.schedule import MOVABLE
from workgym.factory.artifacts import digest_of
from workgym.factory.engines import Answer, Call, Resources
from workgym.factory.evaluate import evaluate, gate_suite
from workgym.factory.foreman import Foreman, Work
from workgym.factory.halving import Tried, distributions, halving, winners
from workgym.factory.pipeline import Pipeline, VariantSpec
from workgym.factory.plan import Job, job_of, seeds_of
from workgym.factory.registry import Registry
from workgym.factory.schedules import evolved
from workgym.factory.space import SearchSpec
from workgym.factory.train import Progress, Trainings
from workgym.factory.trials import Trial, record_trials
from workgym.factory.work import Key
from workgym.services.kernel import BadInput, did_you_mean

WORTH = "worth"  # kind of task: what a trial earns after so many chunks

Watch = Callable[[list[Progress]], None]


@dataclass(frozen=True)
class Search:
    """A variant of a pipeline whose recipe is looked for."""

    pipeline: Pipeline
    variant: VariantSpec
    spec: SearchSpec

    def job(self, number: int, params: Mapping[str, Any], seed: int | None = None) -> Job:
        """The training of a trial; without a seed, with the one that all trials share.

        Raises:
            BadInput: the fields make no recipe, or one that ends before the last rung.
        """
        seed = seeds_of(self.pipeline, self.variant)[0] if seed is None else seed
        job = job_of(self.pipeline, self.variant, seed, params, f"{self.variant.name}.{number}")
        if job.recipe.chunks < self.spec.rungs[-1]:
            raise BadInput(
                f"expected trainings as long as the last rung of {self.variant.name}, {self.spec.rungs[-1]} "
                f"chunks, found one of {job.recipe.chunks}; lower rungs or chunk_steps"
            )
        return job

    def base(self) -> Job:
        """The training that the variant's recipe makes without the search."""
        return self.job(0, {})


def searches(pipeline: Pipeline) -> list[Search]:
    """The searches of a pipeline, each checked as far as that goes before anything is trained.

    Raises:
        BadInput: a space names a field that recipes do not have, or the recipe ends before the last rung.
    """
    found = [Search(pipeline, one, one.search) for one in pipeline.variants if one.search is not None]
    for search in found:
        if search.variant.teacher is not None:
            raise BadInput(
                f"expected a teacher or a search of variant {search.variant.name}, found both; "
                "name the values to try as variants of their own"
            )
        distributions(search.spec, search.base().recipe.algorithm)
        for name in search.spec.space if search.spec.engine == "pbt" else ():
            if name not in MOVABLE:
                raise BadInput(did_you_mean("field of a recipe that pbt may move", name, list(MOVABLE)))
    return found


@dataclass(frozen=True)
class Bench:
    """Where trials are trained and compared."""

    registry: Registry
    run_id: int
    foreman: Foreman
    trainings: Trainings
    watch: Watch

    def candidates(self, search: Search) -> list[Job]:
        """Look for a variant's recipe; the trainings that go on to the gates, one for each of its seeds."""
        if search.spec.engine == "pbt":
            return evolved(search, self)
        best = winners(search.spec, self.tried(search))
        seeds = seeds_of(search.pipeline, search.variant)
        return [search.job(one.trial.number, one.trial.params, seed) for one in best for seed in seeds]

    def tried(self, search: Search) -> tuple[Tried, ...]:
        """Every trial of a search by halving."""
        space = distributions(search.spec, search.base().recipe.algorithm)
        return halving(
            search.spec, space, search.job, partial(self._worth, search), partial(self.tell, search)
        )

    def tell(self, search: Search, trials: Sequence[Trial]) -> None:
        """Keep where a search's trials stand.

        Raises:
            Fenced: the run is no longer ours.
        """
        self.registry.require_driving(self.run_id)
        record_trials(self.registry.database, self.run_id, search.variant.name, trials)

    def _worth(self, search: Search, jobs: Sequence[Job], chunks: int) -> list[float]:
        """Train side by side to a rung; what each policy earns then, in cents a case."""
        self.watch([self.trainings.want(job, chunks) for job in jobs])
        while self.trainings.busy:
            if moved := self.trainings.collect():
                self.watch(moved)
        keys = {job.digest: self._key(search, job, chunks) for job in jobs}
        works = [Work(keys[job.digest], partial(self._call, search, job, chunks)) for job in jobs]
        self.foreman.put(*{work.key: work for work in works}.values())
        earned: dict[Key, float] = {}
        while not self.foreman.idle:
            for work, done in self.foreman.collect():
                earned[work.key] = done.result["profit_per_case"]
        return [earned[keys[job.digest]] for job in jobs]

    def _key(self, search: Search, job: Job, chunks: int) -> Key:
        return Key(WORTH, digest_of([job.digest, search.spec.per_family]), chunks)

    def _call(self, search: Search, job: Job, chunks: int) -> Call:
        files = self.trainings.policy(job, chunks)
        pipeline = search.pipeline
        args = (files, pipeline.env, pipeline.env_kwargs, search.spec.per_family)
        return Call(f"{job.name} after {chunks}", play_worth, args, Resources())


def play_worth(
    files: Mapping[str, bytes], env_id: str, env_kwargs: Mapping[str, Any], per_family: int
) -> Answer:
    """What a policy earns on train scenarios, as a call for an engine."""
    return None, {"profit_per_case": worth(files, env_id, env_kwargs, per_family)}


def worth(files: Mapping[str, bytes], env_id: str, env_kwargs: Mapping[str, Any], per_family: int) -> float:
    """Cents a case that a policy earns on scenarios of the train split, the same ones for everybody."""
    suite = gate_suite(env_id, env_kwargs, "train", per_family)
    return evaluate(load_policy(files), suite, env_kwargs).profit_per_case()
