"""Whole seasons under the department's own yardstick: which of them a policy handles, and what it saw there.

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
    with closing(_lanes(env_id, kwargs, 1)) as env:
        wanted = env.task.families * per_family
    first = seed % 2**30
    return Seasons(env_id, kwargs, wanted, tuple(range(first, first + len(wanted))))


def earnings(policy: Policy, seasons: Seasons, watch: Watch | None = None) -> tuple[Ints, Ints]:
    """What each season earns in cents, and its cases, when the policy plays it on the twin."""
    lanes = len(seasons.seeds)
    with closing(_lanes(seasons.env_id, played_with(policy, seasons.env_kwargs), lanes)) as env:
        obs, _ = env.reset(seed=list(seasons.seeds), options={"family": list(seasons.families)})
        policy.begin(env)
        relief = _noop(seasons.env_id)
        relief.begin(env)
        patience = gym.spec(seasons.env_id).max_episode_steps or FOREVER
        profit, running = np.zeros(lanes, dtype=np.int64), np.ones(lanes, dtype=np.bool_)
        step = 0
        while running.any():
            if watch is not None:
                watch(obs, env.mask, running)
            player = policy if step < patience else relief
            obs, rewards, ended, _, _ = env.step(player.act(obs, env.mask))
            profit += rewards.astype(np.int64) * running
            running = running & ~ended
            step += 1
        return profit, np.array([env.facts(lane)["cases"] for lane in range(lanes)], dtype=np.int64)


def least(seasons: Seasons) -> Ints:
    """The profit at which each season counts as handled."""
    with closing(_lanes(seasons.env_id, seasons.env_kwargs, 1)) as env:
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


def _noop(env_id: str) -> Policy:
    return next(iter(baselines(env_id, "noop").values()))()


def _lanes(env_id: str, kwargs: Mapping[str, Any], n: int) -> VectorEnv:
    made = gym.make_vec(
        env_id, num_envs=n, autoreset_mode=AutoresetMode.DISABLED, max_episode_steps=FOREVER, **kwargs
    )
    return cast("VectorEnv", made)
