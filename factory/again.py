"""Gate and evaluate versions that are already registered."""

from __future__ import annotations

from typing import Any

from workgym.factory.entries import HistoryLine, ModelVersion
from workgym.factory.evaluate import evaluate, gate_suite
from workgym.factory.gates import promotable
from workgym.factory.judging import (
    card_of,
    env_version,
    judge_against,
    lab_of,
    opponent_of,
    pipeline_of,
    policy_of,
    rule_cards,
    suite_of,
)
from workgym.factory.pipeline import Pipeline, ReleaseSpec
from workgym.factory.profiles import given_up, measured_by
from workgym.factory.records import Scorecard, Verdict
from workgym.factory.registry import Registry
from workgym.services.kernel import BadInput, NotFound, did_you_mean


def gate_again(registry: Registry, model: str, number: int, alias: str | None = None) -> list[Verdict]:
    """Judge a version against whoever serves now, by its own pipeline's gates, and record it.

    The release is the pipeline's first, unless `alias` names another.

    The version counts as one of as many candidates as its run trained: asking again does not make
    it luckier.
    """
    version = registry.version(model, number)
    pipeline = pipeline_of(registry, version)
    release = _release_of(pipeline, alias)
    suite = suite_of(pipeline)
    policy_of(registry, version.artifact_digest)
    opponent = opponent_of(pipeline, registry, suite, rule_cards(pipeline, suite), release.alias)
    card = card_of(registry, version, pipeline, suite)
    tried = sum(_was_tried(one) for one in registry.list_versions(model) if one.run_id == version.run_id)
    lab = lab_of(pipeline, registry, version.artifact_digest, opponent)
    verdicts = judge_against(pipeline, release, card, opponent, max(tried, 1), lab)
    registry.record_verdicts(
        version,
        verdicts,
        generation=opponent.generation,
        alias=release.alias,
        env_version=env_version(pipeline),
    )
    return verdicts


def promote_by_hand(
    registry: Registry, model: str, number: int, alias: str, *, actor: str, reason: str
) -> HistoryLine:
    """Let a version serve whose verdicts are about today's env, suite and champion.

    What it gives up against the others of its run that passed too is recorded, as a run would record it.

    Raises:
        Stale: they are about others; gate the version again.
        Refused: a required gate did not pass it, or somebody rejected it.
    """
    generation = registry.generation(model, alias)
    version = registry.version(model, number)
    known: dict[str, Any] = {}
    if "variants" in registry.run(version.run_id).spec:  # who was registered by hand has no pipeline
        pipeline = pipeline_of(registry, version)
        known = {"env_version": env_version(pipeline), "suite_digest": suite_of(pipeline).digest}
        known |= _trade_off(registry, version, pipeline, alias)
    return registry.promote(
        model, number, alias, expected_generation=generation, actor=actor, reason=reason, **known
    )


def _trade_off(registry: Registry, version: ModelVersion, pipeline: Pipeline, alias: str) -> dict[str, Any]:
    """What a release of the version's pipeline is for, and what the version gives up in it."""
    profile = next((one.profile for one in pipeline.releases if one.alias == alias), None)
    if profile is None:
        return {}
    by, generation = measured_by(profile), registry.generation(version.name, alias)
    measured = {
        one.version: registry.measures(one, alias)
        for one in registry.list_versions(version.name)
        if one.run_id == version.run_id and promotable(list(registry.verdicts_at(one, alias, generation)))
    }
    measured = {number: own for number, own in measured.items() if by in own}
    lost = given_up(measured, version.version, by) if version.version in measured else None
    return {"profile": profile, "given_up": lost}


def _was_tried(version: ModelVersion) -> bool:
    """Whether a version was a candidate of its run; the router of a partial promotion follows from one."""
    return "kept" not in version.lineage


def _release_of(pipeline: Pipeline, alias: str | None) -> ReleaseSpec:
    for release in pipeline.releases:
        if alias in (None, release.alias):
            return release
    raise NotFound(did_you_mean("alias", str(alias), [release.alias for release in pipeline.releases]))


def evaluate_again(
    registry: Registry, model: str, number: int | None, split: str, per_family: int, backend: str
) -> list[Scorecard]:
    """Scorecards of a version and of the department's rules on a suite of any split."""
    if split not in ("gate", "audit"):
        raise BadInput(did_you_mean("split", split, ["gate", "audit"]))
    version = _named_or_serving(registry, model, number)
    pipeline = pipeline_of(registry, version)
    kwargs = pipeline.env_kwargs
    suite = gate_suite(pipeline.env, kwargs, split, per_family)
    card = evaluate(policy_of(registry, version.artifact_digest), suite, kwargs, backend)
    return [card, *rule_cards(pipeline, suite)]


def _named_or_serving(registry: Registry, model: str, number: int | None) -> ModelVersion:
    if number is not None:
        return registry.version(model, number)
    registry.list_versions(model)  # an unknown model is named as such
    champion = registry.champion(model)
    if champion is None:
        raise NotFound(f"{model} has no champion yet; name a version, `factory show {model}` lists them")
    return champion
