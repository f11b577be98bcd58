"""How a policy goes about its work: what it books, what is refused, how long it takes, whom it resembles."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workgym.agents.policy import Policy, played_with
from workgym.agents.seasons import Play, season_lanes
from workgym.envs.base import VectorEnv
from workgym.factory.records import Bools, Ints
from workgym.services.kernel import BadInput
from workgym.services.scenario import Suite


@dataclass(frozen=True)
class Conduct:
    """A policy's way through a suite, one entry per scenario.

    Attributes:
        family: (n,) business situation.
        decisions: (n,) steps that the policy took.
        refused: (n,) of them that the business refused.
        stalled: (n,) whether it had to be relieved, because the episode did not come to an end.
        profit: (n,) cents of reward.
        cases: (n,) what the business was asked for.
        terms: (n,) cents by reward term.
        agrees: (n,) decisions in which it did what another policy would have done, by that policy's name.
        apart: why a policy could not be asked what it would do, by its name.
    """

    family: tuple[str, ...]
    decisions: Ints
    refused: Ints
    stalled: Bools
    profit: NDArray[np.float64]
    cases: Ints
    terms: dict[str, Ints]
    agrees: dict[str, NDArray[np.float64]]
    apart: dict[str, str]


def conduct(
    policy: Policy,
    suite: Suite,
    env_kwargs: Mapping[str, Any],
    beside: Mapping[str, Policy] | None = None,
    patience: int | None = None,
) -> Conduct:
    """Watch a policy play every scenario of a suite on the twin.

    Args:
        policy: who decides.
        suite: the scenarios, all played side by side.
        env_kwargs: how the env is made.
        beside: who is asked at every decision what it would do, and not heard.
        patience: steps after which the noop policy takes over; None for the env's own limit.
    """
    kwargs = {**played_with(policy, env_kwargs), "split": suite.split, "backend": "twin"}
    with closing(season_lanes(suite.env_id, kwargs, len(suite.scenarios))) as env:
        return _watched(policy, env, suite, dict(beside or {}), patience)


def _watched(
    policy: Policy, env: VectorEnv, suite: Suite, beside: dict[str, Policy], patience: int | None
) -> Conduct:
    n = len(suite.scenarios)
    families = tuple(scenario.family for scenario in suite.scenarios)
    play = Play(policy, env, suite.env_id, families, [one.seed for one in suite.scenarios], patience)
    apart = _meet(beside, env)
    terms = {name: np.zeros(n, dtype=np.int64) for name in env.task.terms}
    agrees = {name: np.zeros(n) for name in beside}
    decisions, refused, profit = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n)
    stalled = np.zeros(n, np.bool_)
    while play.goes_on:
        running, own, actions = play.running, not play.is_relieved, play.decide()
        if own:
            decisions += running
            for name, other in beside.items():
                agrees[name] += _same(env, actions, other.act(play.obs, env.mask)) * running
        else:
            stalled |= running
        earned, info = play.take(actions)
        profit += earned
        refused += info.get("_refused", np.zeros(n, np.bool_)) & running & own
        for name in terms:
            terms[name] += info["reward_terms"][name] * running
    cases = np.array([env.facts(lane)["cases"] for lane in range(n)], dtype=np.int64)
    return Conduct(families, decisions, refused, stalled, profit, cases, terms, agrees, apart)


def _meet(beside: dict[str, Policy], env: VectorEnv) -> dict[str, str]:
    """Introduce the others to the env; those that it does not suit are taken out, with the reason."""
    apart = {}
    for name, other in list(beside.items()):
        try:
            other.begin(env)
        except BadInput as error:
            apart[name] = str(error)
            del beside[name]
    return apart


def _same(env: VectorEnv, ours: Any, theirs: Any) -> NDArray[np.float64]:
    """(N,) share of a step's decisions that two policies take alike."""
    n = env.num_envs
    alike = env.task.understood(ours, n) == env.task.understood(theirs, n)
    share: NDArray[np.float64] = alike.reshape(n, -1).mean(axis=1)
    return share
