"""Scenarios that one policy handles and another fails, each with the command that plays it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import gymnasium as gym

from workgym.agents.baselines import baselines, make_baseline
from workgym.agents.policy import Policy
from workgym.envs.base import Env
from workgym.envs.contract import Task
from workgym.factory.entries import ModelVersion
from workgym.factory.evaluate import evaluate
from workgym.factory.flipped import Flip, flipped, replayed
from workgym.factory.judging import card_of, pipeline_of, policy_of, suite_of
from workgym.factory.pipeline import Pipeline
from workgym.factory.records import Scorecard
from workgym.factory.registry import Registry
from workgym.services.kernel import BadInput, NotFound, did_you_mean
from workgym.services.scenario import Suite


@dataclass(frozen=True)
class Contender:
    """Somebody who can play a model's scenarios.

    Attributes:
        who: as it was named: a version's number, an alias, or a rule of the department.
        version: its row, or None for a rule.
    """

    who: str
    policy: Policy
    version: ModelVersion | None

    def __str__(self) -> str:
        return str(self.version) if self.version else self.who


@dataclass(frozen=True)
class Flips:
    """How two policies differ in what they handle.

    Attributes:
        a: the first.
        b: the second.
        suite: digest of the suite.
        unit: of every profit, cents for instance.
        n: scenarios that both played.
        lost: the first handles them, the second fails; the dearest first.
        won: the second handles them, the first fails; the dearest first.
    """

    a: str
    b: str
    suite: str
    unit: str
    n: int
    lost: tuple[Flip, ...]
    won: tuple[Flip, ...]


def flips(registry: Registry, model: str, a: str, b: str, family: str | None = None) -> Flips:
    """Compare two on the suite of the first one's pipeline.

    Args:
        registry: where the model is.
        model: its name.
        a: a version's number, an alias, or a rule's name.
        b: the same.
        family: look at this business situation alone.

    Raises:
        NotFound: there is no such model, version or rule.
        BadInput: there is no such family.
    """
    pipeline = home_of(registry, model, a, b)
    suite = suite_of(pipeline)
    if family is not None and family not in (known := {one.family for one in suite.scenarios}):
        raise BadInput(did_you_mean("family", family, sorted(known)))
    ours, theirs = (contender(registry, pipeline, who) for who in (a, b))
    first, second = (_card(registry, one, pipeline, suite) for one in (ours, theirs))
    found = flipped(first, second, replayed(model, a, b, pipeline.suite.split), family)
    unit = task_of(pipeline.env, pipeline.env_kwargs).unit
    return Flips(str(ours), str(theirs), suite.digest, unit, found.n, found.lost, found.won)


def task_of(env_id: str, env_kwargs: Mapping[str, Any]) -> Task:
    """What an env asks of whoever plays it."""
    env = cast("Env", gym.make(env_id, **env_kwargs).unwrapped)
    env.close()
    return env.task


def home_of(registry: Registry, model: str, *players: str) -> Pipeline:
    """The pipeline that says what is played: the first named version's, else the newest one's."""
    versions = registry.list_versions(model)
    named = [version for who in players if (version := _version(registry, model, who)) is not None]
    return pipeline_of(registry, [*named, *versions][0])


def contender(registry: Registry, pipeline: Pipeline, who: str) -> Contender:
    """Whoever goes by that name.

    Raises:
        NotFound: nobody does.
        Tampered: the version's bytes are not the registered ones.
    """
    version = _version(registry, pipeline.name, who)
    if version is not None:
        return Contender(who, policy_of(registry, version.artifact_digest), version)
    rules = baselines(pipeline.env)
    if who not in rules:
        aliases = {line.alias for line in registry.history(pipeline.name)}
        raise NotFound(did_you_mean("version, alias or rule", who, [*sorted(aliases), *rules]))
    return Contender(who, make_baseline(pipeline.env, who), None)


def _version(registry: Registry, model: str, who: str) -> ModelVersion | None:
    return registry.version(model, int(who)) if who.isdigit() else registry.champion(model, who)


def _card(registry: Registry, one: Contender, pipeline: Pipeline, suite: Suite) -> Scorecard:
    if one.version is not None:
        return card_of(registry, one.version, pipeline, suite)
    return evaluate(one.policy, suite, pipeline.env_kwargs)
