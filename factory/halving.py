"""A search: which recipes of a variant are tried, how far each is trained, and who goes on to the gates.

Rounds follow one on another. Each asks Optuna for a batch of recipes, given what the earlier ones came to,
trains all of them to the first rung, keeps the better share, trains that to the next, and so on; a
trial that does not go on costs no further chunk. Everything follows from the specification and from
what the trials earn, and that from the recipes: whoever repeats a search, after a kill or on
another machine of the same kind, asks the same questions and finds the answers already there.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from workgym.agents.training import LEARNERS
from workgym.factory.plan import Job
from workgym.factory.space import Dimension, SearchSpec
from workgym.factory.trials import State, Trial
from workgym.services.kernel import BadInput, did_you_mean

BY_PIPELINE = ("env_id", "env_kwargs", "seed", "algorithm")  # fields of a recipe that a search does not move
ALL_RANDOM = 10  # trials before TPE believes what it has seen, as Optuna does it

Worth = Callable[[Sequence[Job], int], Sequence[float]]
"""Trains jobs side by side for so many chunks of their recipes; what each earns then."""


@dataclass(frozen=True)
class Tried:
    """A trial with the training behind it.

    Attributes:
        trial: what is recorded of it.
        job: its training, or None where its fields make no recipe.
        values: what it earned, by the chunks that it had then.
        why_not: why its fields make no recipe.
    """

    trial: Trial
    job: Job | None
    values: Mapping[int, float]
    why_not: str = ""

    def moved(self, state: State, rung: int | None = None, value: float | None = None) -> Tried:
        """The same trial further on."""
        if rung is None or value is None:
            return replace(self, trial=replace(self.trial, state=state))
        trial = replace(self.trial, state=state, chunks=rung, value=value)
        return replace(self, trial=trial, values={**self.values, rung: value})


def halving(
    spec: SearchSpec,
    space: Mapping[str, BaseDistribution],
    job_of: Callable[[int, Mapping[str, Any]], Job],
    worth: Worth,
    tell: Callable[[Sequence[Trial]], None],
) -> tuple[Tried, ...]:
    """Try recipes round by round.

    Args:
        spec: how many, how far, how many go on.
        space: of the sampler.
        job_of: the training of a trial, by its number and fields; BadInput where they make no recipe.
        worth: trains and measures.
        tell: hears of trials whenever they have moved on.
    """
    done: list[Tried] = []
    while len(done) < spec.trials:
        batch = [_begun(len(done) + i, params, job_of) for i, params in enumerate(ask(spec, space, done))]
        done += _halve(spec, batch, worth, tell)
    return tuple(done)


def ask(
    spec: SearchSpec, space: Mapping[str, BaseDistribution], done: Sequence[Tried]
) -> list[dict[str, Any]]:
    """The fields of the next batch, given all trials so far; the same trials give the same batch."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=_sampler(spec, len(done)))
    study.add_trials([_frozen(one, spec.space, space) for one in done])
    count = min(spec.batch, spec.trials - len(done))
    return [_decoded(study.ask(dict(space)).params, spec.space) for _ in range(count)]


def _sampler(spec: SearchSpec, asked: int) -> BaseSampler:
    digest = hashlib.sha256(f"search/{spec.seed}/{asked}".encode()).digest()
    seed = int.from_bytes(digest[:4], "little")
    if spec.sampler == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=min(ALL_RANDOM, spec.batch))


def _begun(number: int, params: dict[str, Any], job_of: Callable[[int, Mapping[str, Any]], Job]) -> Tried:
    try:
        job = job_of(number, params)
    except BadInput as error:
        return Tried(Trial(number, params, "", 0, None, "pruned"), None, {}, str(error))
    return Tried(Trial(number, params, job.digest, 0, None, "running"), job, {})


def _halve(
    spec: SearchSpec, batch: Sequence[Tried], worth: Worth, tell: Callable[[Sequence[Trial]], None]
) -> list[Tried]:
    """Train a batch from rung to rung; the trials as they end, by number."""
    tell([one.trial for one in batch])
    ended = [one for one in batch if one.job is None]
    going = [one for one in batch if one.job is not None]
    for rung in spec.rungs:
        if not going:
            break
        earned = worth([one.job for one in going if one.job is not None], rung)
        going = [one.moved("running", rung, value) for one, value in zip(going, earned, strict=True)]
        going.sort(key=_rank)
        kept = len(going) if rung == spec.rungs[-1] else math.ceil(spec.keep * len(going))
        ended += [one.moved("pruned") for one in going[kept:]]
        going = going[:kept]
        tell([one.trial for one in (*going, *ended)])
    ended += [one.moved("complete") for one in going]
    tell([one.trial for one in ended])
    return sorted(ended, key=lambda one: one.trial.number)


def _rank(one: Tried) -> tuple[float, int]:
    """The best first; of equals, the one that was asked for first."""
    assert one.trial.value is not None
    return -one.trial.value, one.trial.number


def winners(spec: SearchSpec, tried: Sequence[Tried]) -> list[Tried]:
    """The best trials that reached the last rung, each training once.

    Raises:
        BadInput: none did, because no trial made a recipe.
    """
    ranked = sorted((one for one in tried if one.trial.state == "complete"), key=_rank)
    if not ranked:
        raise BadInput(
            f"none of {len(tried)} trials made a recipe, expected a space whose fields fit together; "
            f"{tried[0].trial.params}: {tried[0].why_not}"
        )
    different = {one.trial.training_digest: one for one in reversed(ranked)}
    return sorted(different.values(), key=_rank)[: spec.best]


def cost(spec: SearchSpec) -> int:
    """Chunks that a search by halving trains at most, without those that finish its winners."""
    chunks, asked = 0, 0
    while asked < spec.trials:
        going = min(spec.batch, spec.trials - asked)
        asked, before = asked + going, 0
        for rung in spec.rungs:
            chunks, before = chunks + going * (rung - before), rung
            going = math.ceil(spec.keep * going)
    return chunks


def distributions(spec: SearchSpec, algorithm: str) -> dict[str, BaseDistribution]:
    """The space as Optuna knows it; a choice stands there as JSON.

    Raises:
        BadInput: recipes of this algorithm have no such field, or it is no number and has no choices.
    """
    if algorithm not in LEARNERS:
        raise BadInput(did_you_mean("algorithm", algorithm, list(LEARNERS)))
    defaults = {one.name: one.default for one in fields(LEARNERS[algorithm].recipe)}
    known = [name for name in defaults if name not in BY_PIPELINE]
    for name in spec.space:
        if name not in known:
            raise BadInput(did_you_mean("field of a recipe to search", name, known))
    return {name: _distribution(name, one, defaults[name]) for name, one in sorted(spec.space.items())}


def _distribution(name: str, one: Dimension, default: Any) -> BaseDistribution:
    if one.choices is not None:
        return CategoricalDistribution([json.dumps(choice) for choice in one.choices])
    low, high = one.ends
    if isinstance(default, bool) or not isinstance(default, (int, float)):
        raise BadInput(f"expected choices for {name}, which is no number, found {low:g}..{high:g}")
    if isinstance(default, float):
        return FloatDistribution(low, high, log=one.log)
    if low != int(low) or high != int(high):
        raise BadInput(f"expected whole numbers as low and high of {name}, found {low:g} and {high:g}")
    return IntDistribution(int(low), int(high), log=one.log)


def _decoded(params: Mapping[str, Any], space: Mapping[str, Dimension]) -> dict[str, Any]:
    return {name: json.loads(value) if space[name].choices else value for name, value in params.items()}


def _frozen(one: Tried, space: Mapping[str, Dimension], known: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """An ended trial as Optuna keeps it."""
    params = one.trial.params
    coded = {name: json.dumps(value) if space[name].choices else value for name, value in params.items()}
    complete = one.trial.state == "complete"
    state = TrialState.COMPLETE if complete else TrialState.PRUNED if one.values else TrialState.FAIL
    return create_trial(
        state=state,
        value=one.trial.value if complete else None,
        params=coded,
        distributions=dict(known),
        intermediate_values=dict(one.values),
    )
