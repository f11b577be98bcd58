"""Whom candidates must beat, and what the gates say of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import gymnasium as gym

from workgym.agents.baselines import baselines, make_baseline
from workgym.agents.policy import Policy, load_policy
from workgym.envs.base import Env
from workgym.factory.entries import HistoryLine, ModelVersion
from workgym.factory.evaluate import evaluate, gate_suite
from workgym.factory.gates import judge
from workgym.factory.lab import Lab, Player
from workgym.factory.pipeline import Pipeline, ReleaseSpec
from workgym.factory.records import Scorecard, Verdict
from workgym.factory.registry import Registry
from workgym.factory.suite_uses import SuiteUses
from workgym.services.kernel import BadInput
from workgym.services.scenario import Suite


@dataclass(frozen=True)
class Opponent:
    """Whom candidates are compared with: who serves as an alias today, or the department's best rule.

    Attributes:
        name: what tables call it.
        card: its results on the suite.
        generation: of the alias when it was read.
        version: who serves, or None while nobody does.
        alias: what the candidates want to serve as.
    """

    name: str
    card: Scorecard
    generation: int
    version: ModelVersion | None
    alias: str


def env_version(pipeline: Pipeline) -> str:
    """Version of the env's dynamics, reward and layout."""
    env = cast("Env", gym.make(pipeline.env, **pipeline.env_kwargs).unwrapped)
    env.close()
    return env.task.version


def suite_of(pipeline: Pipeline) -> Suite:
    """The frozen scenarios that candidates are judged on."""
    return gate_suite(pipeline.env, pipeline.env_kwargs, pipeline.suite.split, pipeline.suite.per_family)


def rule_cards(pipeline: Pipeline, suite: Suite) -> tuple[Scorecard, ...]:
    """What the department's rules earn on the suite, the best first."""
    rules = baselines(pipeline.env, role="rule")
    cards = [evaluate(make(), suite, pipeline.env_kwargs) for make in rules.values()]
    return tuple(sorted(cards, key=lambda card: -card.profit_per_case()))


def opponent_of(
    pipeline: Pipeline, registry: Registry, suite: Suite, rules: tuple[Scorecard, ...], alias: str
) -> Opponent:
    """Who serves as `alias`, or the best rule while nobody does."""
    generation = registry.generation(pipeline.name, alias)
    champion = registry.champion(pipeline.name, alias)
    return _opponent(pipeline, registry, suite, rules, alias, generation, champion)


def opponent_before(
    pipeline: Pipeline, registry: Registry, suite: Suite, rules: tuple[Scorecard, ...], line: HistoryLine
) -> Opponent:
    """Who served before an alias was moved."""
    before = None if line.from_version is None else registry.version(line.model, line.from_version)
    return _opponent(pipeline, registry, suite, rules, line.alias, line.generation - 1, before)


def _opponent(
    pipeline: Pipeline,
    registry: Registry,
    suite: Suite,
    rules: tuple[Scorecard, ...],
    alias: str,
    generation: int,
    champion: ModelVersion | None,
) -> Opponent:
    if champion is None:
        return Opponent(rules[0].policy, rules[0], generation, None, alias)
    name = f"{alias} v{champion.version}"
    card = replace(card_of(registry, champion, pipeline, suite), policy=name)
    return Opponent(name, card, generation, champion, alias)


def card_of(registry: Registry, version: ModelVersion, pipeline: Pipeline, suite: Suite) -> Scorecard:
    """A kept version's results on the suite: the recorded ones where they are about this suite."""
    recorded = registry.scorecard(version.scorecard_digest)
    if recorded.suite == suite.digest and recorded.n + recorded.dropped == len(suite.scenarios):
        return recorded
    return evaluate(policy_of(registry, version.artifact_digest), suite, pipeline.env_kwargs)


def policy_of(registry: Registry, artifact: str) -> Policy:
    """Load a policy under its digest.

    Raises:
        Tampered: the bytes are not those that were registered.
    """
    return _player(registry, artifact).policy


def required_gates(pipeline: Pipeline, first: bool) -> list[str]:
    """The gates that a version must pass to serve; `bootstrap` counts where it would be the first."""
    named = [name for name in pipeline.gates if name != "bootstrap"]
    return [*named, "bootstrap"] if first else named


def judge_against(
    pipeline: Pipeline, release: ReleaseSpec, card: Scorecard, opponent: Opponent, tried: int, lab: Lab
) -> list[Verdict]:
    """Every gate's verdict on a kept candidate that is one of `tried`.

    Args:
        pipeline: whose gates are asked.
        release: what the candidate would serve as; its options of gates win.
        card: the candidate's results, under its artifact's digest.
        opponent: whom it would replace.
        tried: how many candidates there are.
        lab: where gates let the two play.
    """
    return judge(
        card,
        opponent.card,
        pipeline.gates_of(release),
        candidates=tried,
        bootstrap=opponent.version is None,
        lab=lab,
    )


def lab_of(pipeline: Pipeline, registry: Registry, artifact: str, opponent: Opponent) -> Lab:
    """Where gates let a candidate and whom it would replace play."""
    if opponent.version is None:
        champion = Player(make_baseline(pipeline.env, opponent.name))
    else:
        champion = _player(registry, opponent.version.artifact_digest)
    return Lab(
        pipeline.env,
        pipeline.env_kwargs,
        _player(registry, artifact),
        champion,
        pipeline.suite.split,
        SuiteUses(registry),
    )


def _player(registry: Registry, artifact: str) -> Player:
    files = registry.artifacts.get_folder(artifact)
    policy = load_policy(files)
    policy.name = artifact
    return Player(policy, files)


def pipeline_of(registry: Registry, version: ModelVersion) -> Pipeline:
    """The pipeline that a version came from.

    Raises:
        BadInput: it was registered without one.
    """
    spec = registry.run(version.run_id).spec
    if "variants" not in spec:
        raise BadInput(f"{version} was registered by hand, expected a pipeline behind it; run one")
    return Pipeline.model_validate(spec)
