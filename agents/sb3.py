"""Stable-Baselines3 on a native vector env: one call of the adapter steps every lane.

Example:
    >>> env = LanesVecEnv.make("workgym/Orders-v0", lanes=1024)  # doctest: +SKIP
    >>> MaskablePPO("MlpPolicy", env).learn(1_000_000)  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

import workgym.envs  # noqa: F401  # registers the ids
from workgym.envs.base import Bools, Floats, Snapshot, VectorEnv
from workgym.services.kernel import BadInput, did_you_mean

# What one lane of a vector env can be asked, by the name that its single env uses.
_LANE_METHODS = ("facts", "snapshot", "state_hash")


class LanesVecEnv(VecEnv):
    """N lanes of a native vector env as one SB3 `VecEnv`, with rewards in the learner's unit.

    A reward is `task.reward_scale` times what was earned. Of a lane that ended, the info holds
    `terminal_observation`, `TimeLimit.truncated` and `episode` (the return in the task's unit and the
    length), and the observation is already that of the lane's next episode.

    Where a step takes D decisions (`task.rows`), each is an SB3 lane of its own: lane i's are i * D to
    i * D + D - 1. Their rewards are the credit that the env gives each row, or equal shares of the
    lane's reward where it gives none; costs are shared equally. They end together, and the first of
    them holds `episode`.

    Args:
        env: lanes in autoreset mode SAME_STEP, as SB3 expects them.
        refusal_cost: what a refused action costs in the learner's unit. Masked learners never meet
            it; to others it tells that a refusal gains nothing.
        violation_cost: what a violated constraint costs the learner, in the task's unit, on top of its
            reward; the returns that `earned` sums do not know it.

    Attributes:
        rows: SB3 lanes of each lane.
        finished: episodes that ended since the adapter was made.
        earned: what those episodes earned, in the task's unit.
    """

    def __init__(self, env: VectorEnv, refusal_cost: float = 0.0, violation_cost: int = 0) -> None:
        if env.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise BadInput(
                f"expected autoreset mode {AutoresetMode.SAME_STEP.value}, found {env.autoreset_mode.value}; "
                "make the env with autoreset_mode='SameStep'"
            )
        self.env = env
        self.refusal_cost = refusal_cost
        self.violation_cost = violation_cost
        self.finished = 0
        self.earned = 0.0
        self.rows = max(env.task.rows, 1)
        self._return = np.zeros(env.num_envs)  # of the running episodes
        self._length = np.zeros(env.num_envs, dtype=np.int64)
        self._actions: NDArray[Any] = np.zeros((env.num_envs, *env.task.action_shape), dtype=np.int64)
        super().__init__(env.num_envs * self.rows, *env.task.decision)

    @classmethod
    def make(
        cls, env_id: str, lanes: int, refusal_cost: float = 0.0, violation_cost: int = 0, **kwargs: Any
    ) -> LanesVecEnv:
        """The lanes of a registered env; `kwargs` are the env's own."""
        made = gym.make_vec(
            env_id,
            num_envs=lanes,
            vectorization_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT,
            autoreset_mode=AutoresetMode.SAME_STEP,
            **kwargs,
        )
        return cls(cast(VectorEnv, made), refusal_cost, violation_cost)

    def reset(self) -> Floats:
        """Begin an episode in every lane, with the seeds and options that were set for this reset."""
        families = [options.get("family") for options in self._options[:: self.rows]]
        seeds = self._seeds[: self.env.num_envs]  # consecutive, as the lanes' own are
        obs, _ = self.env.reset(seed=seeds, options={"family": families})
        self._reset_seeds()
        self._reset_options()
        self._return[:] = 0.0
        self._length[:] = 0
        return self._per_row(obs)

    def _per_row(self, seen: NDArray[Any]) -> NDArray[Any]:
        """What lanes show, (N, rows, ...), as what SB3 lanes show, (N * rows, ...)."""
        return seen.reshape(self.num_envs, *seen.shape[2:]) if self.env.task.rows else seen

    @property
    def running(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """What the running episodes have earned so far, and their lengths."""
        return self._return, self._length

    @running.setter
    def running(self, told: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
        self._return, self._length = told

    def restore(self, lane: int, moment: Snapshot) -> Floats:
        """Put a lane of the env into that moment; what all SB3 lanes show."""
        return self._per_row(self.env.restore(lane, moment))

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take the actions that `step_wait` plays."""
        self._actions = np.asarray(actions).reshape(-1, *self.env.task.action_shape)

    def step_wait(self) -> tuple[Floats, NDArray[np.float32], Bools, list[dict[str, Any]]]:
        """Take one decision in every lane."""
        obs, earned, terminated, truncated, told = self.env.step(self._actions)
        ended = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        rewards = self._rewards(earned, told.get("final_info", told))
        self._return += earned
        self._length += 1
        if ended.any():
            self._finish(ended, truncated & ~terminated, told["final_obs"], infos)
        return self._per_row(obs), rewards, np.repeat(ended, self.rows), infos

    def _rewards(self, earned: NDArray[np.float64], told: dict[str, Any]) -> NDArray[np.float32]:
        """What each decision earned and cost, in the learner's unit."""
        scale = self.env.task.reward_scale
        shares = told["credit"].ravel() if "credit" in told else self._shared(earned)
        rewards: NDArray[np.float32] = (shares * scale).astype(np.float32)
        if self.violation_cost:
            violations = self._shared(told["constraint_cost"]).astype(np.float32)
            rewards -= np.float32(self.violation_cost * scale) * violations
        if self.refusal_cost and "_refused" in told:
            rewards -= np.float32(self.refusal_cost) * self._shared(told["_refused"])
        return rewards

    def _shared(self, of_lanes: NDArray[Any]) -> NDArray[Any]:
        """Equal shares for the rows of each lane."""
        return np.repeat(of_lanes / self.rows, self.rows) if self.rows > 1 else of_lanes

    def _finish(self, ended: Bools, cut: Bools, final_obs: Floats, infos: list[dict[str, Any]]) -> None:
        self.finished += int(ended.sum())
        self.earned += float(self._return[ended].sum())
        last = self._per_row(final_obs)
        for lane in np.flatnonzero(ended).tolist():
            first = lane * self.rows
            for row in range(first, first + self.rows):
                infos[row] = {"terminal_observation": last[row], "TimeLimit.truncated": bool(cut[lane])}
            infos[first]["episode"] = {"r": float(self._return[lane]), "l": int(self._length[lane])}
        self._return[ended] = 0.0
        self._length[ended] = 0

    def mean_return(self) -> float:
        """What an episode earned, over those that ended; before any has, over those that still run."""
        return self.earned / self.finished if self.finished else float(self._return.mean())

    def action_masks(self) -> Bools:
        """(N * rows, actions) which actions are legal now.

        Raises:
            BadInput: actions are numbers, which no mask can name.
        """
        masks = self.env.action_masks()
        return masks.reshape(self.num_envs, -1)

    @property
    def mask(self) -> Bools:
        """(N * rows, actions) which actions are legal now, or (N * rows, 0) where every one is."""
        columns = self.env.mask.shape[1] // self.rows
        return self.env.mask.reshape(self.num_envs, columns)

    def env_method(
        self, method_name: str, *args: Any, indices: int | Iterable[int] | None = None, **kwargs: Any
    ) -> list[Any]:
        """Ask lanes for `action_masks`, `facts`, `snapshot` or `state_hash`."""
        lanes = self._get_indices(indices)
        if method_name == "action_masks":
            masks = self.action_masks()
            return list(masks if indices is None else masks[list(lanes)])
        if method_name not in _LANE_METHODS:
            raise AttributeError(
                did_you_mean("method of a lane", method_name, ["action_masks", *_LANE_METHODS])
            )
        return [getattr(self.env, method_name)(lane // self.rows, *args, **kwargs) for lane in lanes]

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """An attribute that all lanes share, once per lane."""
        value = getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Refuse: lanes share their attributes."""
        raise BadInput(
            f"lanes share their attributes, found an attempt to set {attr_name!r}; make another env"
        )

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: int | Iterable[int] | None = None
    ) -> list[bool]:
        """Never: a native vector env has no wrapped single envs."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[None]:
        """No lane draws."""
        return [None] * self.num_envs

    def close(self) -> None:
        """Give back what the lanes hold."""
        self.env.close()
