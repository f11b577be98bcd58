"""Whole seasons, played to their end, and the department's own yardstick: which of them a policy handles.

A season is handled when its profit is at most `task.tolerance` cents a case below that of the
department's reference rule; see `docs/design/success.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple, cast

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

import workgym.envs  # noqa: F401  # registers the ids
from workgym.agents.baselines import baselines, make_baseline
from workgym.agents.policy import Bools, Floats, Ints, Policy, played_with
from workgym.envs.base import VectorEnv

FOREVER = 10**9  # steps: a season ends when it does
Watch = Callable[[Floats, Bools, Bools], None]  # observations, masks, and which lanes still run


class Seasons(NamedTuple):
    """Seasons of one split, by name."""

    env_id: str
    env_kwargs: Mapping[str, Any]  # how the env is made; `split` is one of them
    families: tuple[str, ...]
    seeds: tuple[int, ...]


class Rows(NamedTuple):
    """Single decisions as a policy meets them."""

    obs: Floats  # (n, features)
    mask: Bools  # (n, actions), or (n, 0) where every action is legal


def train_seasons(env_id: str, env_kwargs: Mapping[str, Any], per_family: int, seed: int) -> Seasons:
    """`per_family` seasons of the train split of every family, whatever the env is fixed to."""
    kwargs = {**env_kwargs, "split": "train", "backend": "twin"}
    with closing(season_lanes(env_id, kwargs, 1)) as env:
        wanted = env.task.families * per_family
    first = seed % 2**30
    return Seasons(env_id, kwargs, wanted, tuple(range(first, first + len(wanted))))


class Play:
    """Seasons that a policy plays side by side, one a lane, each to its end.

    Who stalls beyond the env's own limit is relieved by the noop policy: a truncated season would
    never show what it owes.

    Attributes:
        obs: (n, ...) what every lane shows now.
        running: (n,) whose season goes on.
    """

    def __init__(
        self,
        policy: Policy,
        env: VectorEnv,
        env_id: str,
        families: Sequence[str],
        seeds: Sequence[int],
        patience: int | None = None,
    ) -> None:
        """Begin the seasons.

        Args:
            policy: who decides.
            env: made by `season_lanes`, with a lane for each season.
            env_id: its registered name.
            families: of the seasons.
            seeds: of the seasons.
            patience: steps after which the policy is relieved; None for the env's own limit.
        """
        self.obs, _ = env.reset(seed=list(seeds), options={"family": list(families)})
        self.running = np.ones(len(seeds), dtype=np.bool_)
        self._env, self._policy, self._relief = env, policy, noop_of(env_id)
        self._left = patience or gym.spec(env_id).max_episode_steps or FOREVER
        policy.begin(env)
        self._relief.begin(env)

    @property
    def goes_on(self) -> bool:
        """Whether any season does."""
        return bool(self.running.any())

    @property
    def is_relieved(self) -> bool:
        """Whether the policy has used up its steps."""
        return self._left <= 0

    def decide(self) -> Ints | Floats:
        """(n, ...) what whoever has the turn does now."""
        return (self._relief if self.is_relieved else self._policy).act(self.obs, self._env.mask)

    def take(self, actions: Ints | Floats) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Step: (n,) rewards in the env's unit, 0 where the season was over before, and the env's info."""
        self.obs, rewards, ended, _, info = self._env.step(actions)
        earned = rewards * self.running
        self.running = self.running & ~ended
        self._left -= 1
        return earned, info


def to_the_end(play: Play, watch: Callable[[], Any] = lambda: None) -> Ints:
    """(n,) what each season earns; `watch` is called before every step."""
    profit = np.zeros(len(play.running), dtype=np.int64)
    while play.goes_on:
        watch()
        earned, _ = play.take(play.decide())
        profit += earned.astype(np.int64)
    return profit


def season_lanes(env_id: str, kwargs: Mapping[str, Any], n: int) -> VectorEnv:
    """An env of n lanes whose seasons end when they do, and are not begun again."""
    made = gym.make_vec(
        env_id, num_envs=n, autoreset_mode=AutoresetMode.DISABLED, max_episode_steps=FOREVER, **kwargs
    )
    return cast("VectorEnv", made)


def earnings(policy: Policy, seasons: Seasons, watch: Watch | None = None) -> tuple[Ints, Ints]:
    """What each season earns in cents, and its cases, when the policy plays it on the twin."""
    lanes = len(seasons.seeds)
    with closing(season_lanes(seasons.env_id, played_with(policy, seasons.env_kwargs), lanes)) as env:
        play = Play(policy, env, seasons.env_id, seasons.families, seasons.seeds)
        told = (lambda: watch(play.obs, env.mask, play.running)) if watch else (lambda: None)
        profit = to_the_end(play, told)
        return profit, np.array([env.facts(lane)["cases"] for lane in range(lanes)], dtype=np.int64)


def least(seasons: Seasons) -> Ints:
    """The profit at which each season counts as handled."""
    with closing(season_lanes(seasons.env_id, seasons.env_kwargs, 1)) as env:
        task = env.task
    profit, cases = earnings(make_baseline(seasons.env_id, task.reference), seasons)
    return profit - task.tolerance * cases


def handled_rows(policy: Policy, seasons: Seasons, most: int, seed: int) -> Rows:
    """Decisions of the seasons that the policy handles, at most so many, evenly drawn.

    Raises:
        BadInput: the policy was not made for the env.
    """
    seen: list[tuple[Floats, Bools, Bools]] = []
    profit, _ = earnings(policy, seasons, lambda obs, mask, running: seen.append((obs, mask, running)))
    good = profit >= least(seasons)
    rows = rows_of([(obs[live & good], mask[live & good]) for obs, mask, live in seen])
    if len(rows.obs) <= most:
        return rows
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows.obs), most, replace=False))
    return Rows(rows.obs[chosen], rows.mask[chosen])


def rows_of(boards: Sequence[tuple[Floats, Bools]]) -> Rows:
    """The decisions on some boards, one after the other; where a step has D rows, each is a decision."""
    obs = [part.reshape(-1, part.shape[-1]) for part, _ in boards]
    deep = boards[0][0].shape[1] if boards[0][0].ndim == 3 else 1
    masks = [mask.reshape(len(mask) * deep, mask.shape[1] // deep) for _, mask in boards]
    return Rows(np.concatenate(obs), np.concatenate(masks))


def noop_of(env_id: str) -> Policy:
    """Who leaves the business alone."""
    return next(iter(baselines(env_id, "noop").values()))()
