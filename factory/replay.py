"""One season, decision by decision: what was seen, done and earned."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from workgym.agents.policy import played_with
from workgym.agents.seasons import Play, season_lanes
from workgym.envs.contract import Task
from workgym.factory.flips import Contender, contender, home_of
from workgym.factory.registry import Registry
from workgym.services.kernel import BadInput, did_you_mean
from workgym.services.scenario import SPLITS


@dataclass(frozen=True)
class Decision:
    """One step of a season.

    Attributes:
        number: 1 for the first.
        day: of the business, when it was decided.
        seen: the observation by the names of its features; rows of an observation as a list.
        legal: how many actions were legal, or None where every one is.
        action: its name, or its numbers.
        terms: what it earned, by reward term.
        reward: their sum.
        refused: why the business said no, or None.
        relieved: whether the season was over for the policy, who had stalled too long.
    """

    number: int
    day: int
    seen: dict[str, Any]
    legal: int | None
    action: str | list[Any]
    terms: dict[str, float]
    reward: int
    refused: str | None
    relieved: bool


@dataclass(frozen=True)
class Season:
    """A scenario as somebody played it.

    Attributes:
        who: whoever played.
        profit: as on a scorecard, in `unit`.
        unit: of every amount, cents for instance.
        facts: the env's own counters at the end.
    """

    who: str
    family: str
    seed: int
    split: str
    decisions: tuple[Decision, ...]
    profit: int
    unit: str
    facts: dict[str, int]

    def terms(self) -> dict[str, float]:
        """What the season earned, by reward term."""
        names = self.decisions[0].terms
        return {name: sum(one.terms[name] for one in self.decisions) for name in names}

    def by_day(self) -> dict[int, int]:
        """What each day earned."""
        days: dict[int, int] = {}
        for one in self.decisions:
            days[one.day] = days.get(one.day, 0) + one.reward
        return days


def parting(one: Season, other: Season) -> tuple[Decision, Decision] | None:
    """The first decision that two players of a scenario took differently; None when they never did."""
    pairs = zip(one.decisions, other.decisions, strict=False)
    return next(((ours, theirs) for ours, theirs in pairs if ours.action != theirs.action), None)


def replay(
    registry: Registry, model: str, who: str, family: str, seed: int, split: str | None = None
) -> Season:
    """Play one scenario of a model's env.

    Args:
        registry: where the model is.
        model: its name.
        who: a version's number, an alias, or a rule's name.
        family: business situation.
        seed: of the scenario.
        split: of the scenarios; by default the one that the pipeline judges on.

    Raises:
        NotFound: there is no such model, version or rule.
        BadInput: there is no such family or split.
    """
    pipeline = home_of(registry, model, who)
    where = split or pipeline.suite.split
    if where not in SPLITS:
        raise BadInput(did_you_mean("split", where, list(SPLITS)))
    player = contender(registry, pipeline, who)
    return play(player, pipeline.env, pipeline.env_kwargs, where, family, seed)


def play(
    player: Contender, env_id: str, env_kwargs: Mapping[str, Any], split: str, family: str, seed: int
) -> Season:
    """Play one scenario as `workgym.factory.evaluate` does, and keep every decision."""
    kwargs = {**env_kwargs, "split": split, "backend": "twin"}
    with closing(season_lanes(env_id, played_with(player.policy, kwargs), 1)) as env:
        season = Play(player.policy, env, env_id, [family], [seed])
        decisions: list[Decision] = []
        while season.goes_on:
            relieved = season.is_relieved
            seen, mask, day = season.obs[0].copy(), env.mask[0].copy(), env.facts(0)["day"]
            actions = season.decide()
            reward, info = season.take(actions)
            refused = info["refused"][0] if "refused" in info else None
            decisions.append(
                Decision(
                    number=len(decisions) + 1,
                    day=day,
                    seen=_seen(env.task, seen),
                    legal=int(mask.sum()) if len(mask) else None,
                    action=_named(env.task, actions[0]),
                    terms={name: float(info["reward_terms"][name][0]) for name in env.task.terms},
                    reward=int(reward[0]),
                    refused=refused,
                    relieved=relieved,
                )
            )
        profit = sum(one.reward for one in decisions)
        return Season(str(player), family, seed, split, tuple(decisions), profit, env.task.unit, env.facts(0))


def _seen(task: Task, obs: Any) -> dict[str, Any]:
    """An observation by the names of its features; the last axis has them."""
    width = obs.shape[-1]
    names = task.feature_names if len(task.feature_names) == width else [str(at) for at in range(width)]
    return {name: np.round(obs[..., at].astype(float), 6).tolist() for at, name in enumerate(names)}


def _named(task: Task, action: Any) -> str | list[Any]:
    taken = np.asarray(action)
    if task.action_names and taken.ndim == 0:
        return task.action_names[int(taken)]
    numbers: list[Any] = (taken if taken.dtype.kind in "iu" else np.round(taken.astype(float), 6)).tolist()
    return numbers if taken.ndim else str(numbers)
