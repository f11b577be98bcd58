"""Scorecards: what a policy earns on a frozen suite, scenario by scenario."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from workgym.agents.baselines import make_baseline
from workgym.agents.policy import Policy, played_with
from workgym.agents.seasons import Play, noop_of, season_lanes, to_the_end
from workgym.envs.base import VectorEnv
from workgym.factory.records import Ints, Scorecard
from workgym.services.kernel import InfrastructureFault
from workgym.services.scenario import Scenario, Suite, interleave

LANES = 512  # scenarios that are played side by side
BLOCK = 10**7  # seeds between one block of a split and the next; a suite has fewer scenarios
LATENCY_CALLS = 2000
LATENCY_BLOCKS = 3


class Played(NamedTuple):
    """One scenario's outcome."""

    profit: int
    cases: int
    violations: int
    obligations: int


def gate_suite(
    env_id: str, env_kwargs: Mapping[str, Any], split: str = "gate", per_family: int = 64, block: int = 0
) -> Suite:
    """The frozen scenarios of a split: `per_family` seasons of every family, families taking turns.

    Blocks have no seed in common: a suite that was looked at too often is replaced by that of another block.
    """
    return _suite(env_id, json.dumps(dict(env_kwargs), sort_keys=True), split, per_family, block)


@lru_cache(maxsize=16)
def _suite(env_id: str, kwargs_json: str, split: str, per_family: int, block: int) -> Suite:
    kwargs = json.loads(kwargs_json)
    probe = _lanes(env_id, kwargs, split, "twin", 1)
    names = interleave(probe.task.families, per_family)
    probe.close()
    first = block * BLOCK
    scenarios = tuple(Scenario(env_id, split, family, first + seed, kwargs) for family, seed in names)
    return Suite(env_id, split, scenarios, _content(scenarios))


def _content(scenarios: Sequence[Scenario]) -> str:
    """Digest of what happens to a business that is left alone in every scenario."""
    whole = hashlib.sha256()
    for batch in _batches(scenarios):
        first = batch[0]
        env = _lanes(first.env_id, first.parameters, first.split, "twin", len(batch))
        _play(noop_of(first.env_id), env, batch)
        for lane in range(len(batch)):
            whole.update(env.state_hash(lane).encode())
        env.close()
    return whole.hexdigest()


def evaluate(
    policy: Policy,
    suite: Suite,
    env_kwargs: Mapping[str, Any],
    backend: str = "twin",
    lanes: int = LANES,
) -> Scorecard:
    """Play every scenario of a suite.

    A scenario counts as handled when its profit is at most `task.tolerance` cents a case below that
    of the department's reference rule. Episodes that an infrastructure fault ended are played once
    more, each alone; those that fault again are dropped and counted, never scored.

    Args:
        policy: who decides.
        suite: the scenarios.
        env_kwargs: how the env is made; split and backend are set here.
        backend: how the env reaches its service.
        lanes: scenarios that are played side by side; the results do not depend on it.
    """
    played = outcomes(policy, suite.scenarios, env_kwargs, backend, lanes)
    return card_from(policy.name, suite, suite.scenarios, played, env_kwargs, backend)


def card_from(
    name: str,
    suite: Suite,
    scenarios: Sequence[Scenario],
    played: Iterable[Played | None],
    env_kwargs: Mapping[str, Any],
    backend: str,
) -> Scorecard:
    """A scorecard of what was played: all of a suite's scenarios, or the first of an order.

    Args:
        name: of the policy.
        suite: where the scenarios are from.
        scenarios: in the order in which the scorecard has them.
        played: the outcome of each, or None where it was lost.
        env_kwargs: how the env was made.
        backend: how the env reached its service.
    """
    found = list(played)
    kept = [(scenario, one) for scenario, one in zip(scenarios, found, strict=True) if one is not None]
    columns = np.array([one for _, one in kept], dtype=np.int64).reshape(-1, len(Played._fields)).T
    profit, cases, violations, obligations = columns
    reference = _reference(suite, json.dumps(dict(env_kwargs), sort_keys=True))
    floor = np.array([reference[scenario] for scenario, _ in kept], dtype=np.int64)
    return Scorecard(
        policy=name,
        env_id=suite.env_id,
        suite=suite.digest,
        backend=backend,
        family=tuple(scenario.family for scenario, _ in kept),
        seed=tuple(scenario.seed for scenario, _ in kept),
        profit=profit,
        cases=cases,
        success=profit >= floor,
        violations=violations,
        obligations=obligations,
        dropped=len(found) - len(kept),
    )


@lru_cache(maxsize=32)
def _reference(suite: Suite, kwargs_json: str) -> dict[Scenario, int]:
    """The least profit at which each scenario counts as handled."""
    kwargs = json.loads(kwargs_json)
    probe = _lanes(suite.env_id, kwargs, suite.split, "twin", 1)
    task = probe.task
    probe.close()
    rule = make_baseline(suite.env_id, task.reference)
    found = outcomes(rule, suite.scenarios, kwargs)
    played = dict(zip(suite.scenarios, found, strict=True))
    return {scenario: one.profit - task.tolerance * one.cases for scenario, one in played.items() if one}


def outcomes(
    policy: Policy,
    scenarios: Sequence[Scenario],
    kwargs: Mapping[str, Any],
    backend: str = "twin",
    lanes: int = LANES,
) -> Iterator[Played | None]:
    """Each scenario's outcome, or None where faults took it twice."""
    for batch in _batches(scenarios, lanes):
        try:
            yield from _play_fresh(policy, batch, kwargs, backend)
        except InfrastructureFault:
            for one in batch:
                yield _alone(policy, one, kwargs, backend)


def _alone(policy: Policy, scenario: Scenario, kwargs: Mapping[str, Any], backend: str) -> Played | None:
    try:
        return _play_fresh(policy, [scenario], kwargs, backend)[0]
    except InfrastructureFault:
        return None


def _play_fresh(
    policy: Policy, batch: Sequence[Scenario], kwargs: Mapping[str, Any], backend: str
) -> list[Played]:
    env = _lanes(batch[0].env_id, played_with(policy, kwargs), batch[0].split, backend, len(batch))
    try:
        profit = _play(policy, env, batch)
        facts = [env.facts(lane) for lane in range(len(batch))]
    finally:
        env.close()
    return [
        Played(int(cents), one["cases"], one["violations"], one["obligations"])
        for cents, one in zip(profit, facts, strict=True)
    ]


def _play(policy: Policy, env: VectorEnv, batch: Sequence[Scenario]) -> Ints:
    """Play one scenario a lane to its end; the profits in cents."""
    families, seeds = [one.family for one in batch], [one.seed for one in batch]
    return to_the_end(Play(policy, env, batch[0].env_id, families, seeds))


def _lanes(env_id: str, kwargs: Mapping[str, Any], split: str, backend: str, n: int) -> VectorEnv:
    return season_lanes(env_id, {**kwargs, "split": split, "backend": backend}, n)


def _batches(scenarios: Sequence[Scenario], size: int = LANES) -> Iterator[Sequence[Scenario]]:
    for start in range(0, len(scenarios), size):
        yield scenarios[start : start + size]


def latency(policy: Policy, env_id: str, env_kwargs: Mapping[str, Any]) -> dict[str, float]:
    """Microseconds of one decision on one thread: the best of three blocks of single calls."""
    env = _lanes(env_id, played_with(policy, env_kwargs), "gate", "twin", 64)
    obs, _ = env.reset(seed=0)
    policy.begin(env)
    rows = [(obs[lane : lane + 1], env.mask[lane : lane + 1]) for lane in range(64)]
    blocks = []
    for _ in range(LATENCY_BLOCKS):
        taken = np.empty(LATENCY_CALLS)
        for call in range(LATENCY_CALLS):
            one, mask = rows[call % 64]
            began = time.perf_counter_ns()
            policy.act(one, mask)
            taken[call] = time.perf_counter_ns() - began
        blocks.append(np.percentile(taken, [50, 99]) / 1000)
    env.close()
    p50, p99 = min(blocks, key=lambda block: float(block[1]))
    return {"p50": float(p50), "p99": float(p99)}
