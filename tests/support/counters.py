"""Counters: the smallest task of many decisions a step, in the four shapes that the contract knows.

Each of `ROWS` shelves holds 0 to `FULL` units and loses one a day. An action says how many units each
shelf gets; what would not fit is refused, if the shape has masks, and is left outside otherwise. A
shelf earns one cent a unit that it holds.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from workgym.envs import base
from workgym.envs.contract import Task
from workgym.services.scenario import episode_key

BACKENDS = ("twin",)
ROWS, FULL, MOST, DAYS = 3, 5, 2, 6


def decode(numbers: base.Floats) -> base.Ints:
    """-1 is no unit, 1 is `MOST` of them."""
    return np.rint((numbers + 1.0) * (MOST / 2)).astype(np.int64)


def task(shape: str) -> Task:
    """The task in one of its shapes: rows, masked, flat, numbers or number-rows."""
    rows = ROWS if shape in ("rows", "masked", "number-rows") else 0
    numbers = shape.startswith("number")
    features = (ROWS, 2) if rows else (ROWS * 2,)
    return Task(
        env_id=f"test/Counters-{shape}-v0",
        observation_space=gym.spaces.Box(0.0, 1.0, features, np.float32),
        action_space=(
            gym.spaces.Box(-1.0, 1.0, (ROWS,), np.float32)
            if numbers
            else gym.spaces.MultiDiscrete([MOST + 1] * ROWS)
        ),
        action_names=(),
        terms=("held",),
        reasons=("", "too-much"),
        families=("usual",),
        reward_scale=0.5,
        tolerance=0,
        reference="none",
        version="counters-v0",
        decode=decode if numbers else None,
        rows=rows,
        unit="units",
        render_modes=("ansi", "rgb_array"),
    )


class Shelves:
    """N lanes of shelves."""

    def __init__(self, shape: str, lanes: int) -> None:
        self.task, self.lanes = task(shape), lanes
        self.masked = shape == "masked"
        self.taken: list[np.ndarray] = []  # what arrived here, for tests
        self.state = np.zeros((lanes, ROWS + 1), dtype=np.int64)  # units of each shelf, and the day

    def advance(self, mode: Any, actions: base.Ints, episodes: base.Episodes) -> base.Board:
        self.taken.append(actions)
        units, day = self.state[:, :ROWS], self.state[:, ROWS]
        after = units + actions
        refused = (mode == base.ACT) & self.masked & (after > FULL).any(axis=1)
        acts = (mode == base.ACT) & ~refused
        units[acts] = np.maximum(np.minimum(after, FULL) - 1, 0)[acts]
        day[acts] += 1
        for lane in np.flatnonzero(mode == base.BEGIN):
            key = episode_key(episodes.salt, episodes.seed[lane], episodes.number[lane])
            units[lane] = np.random.default_rng(int(key)).integers(FULL + 1, size=ROWS)
            day[lane] = 0
        return self._show(units * acts[:, None], refused)

    def _show(self, held: base.Ints, refused: base.Bools) -> base.Board:
        units, day = self.state[:, :ROWS], self.state[:, ROWS]
        pairs = np.stack([units / FULL, np.repeat(day[:, None] / DAYS, ROWS, axis=1)], axis=2)
        fits = units[:, :, None] + np.arange(MOST + 1) <= FULL
        return base.Board(
            obs=pairs.astype(np.float32).reshape(self.lanes, *self.task.observation_space.shape),
            mask=fits.reshape(self.lanes, -1) if self.masked else np.ones((self.lanes, 0), dtype=np.bool_),
            terms=held.sum(axis=1)[None],
            ended=day >= DAYS,
            refusal=refused.astype(np.int64),
            violations=(units == 0).sum(axis=1) * held.any(axis=1),
            credit=held if self.task.rows else None,
        )

    def state_bytes(self, lane: int) -> bytes:
        return self.state[lane].tobytes()

    def load_state(self, lane: int, data: bytes) -> base.Board:
        self.state[lane] = np.frombuffer(data, dtype=np.int64)
        nothing = np.zeros((self.lanes, ROWS), dtype=np.int64)
        return self._show(nothing, nothing.any(axis=1))

    def facts(self, lane: int) -> dict[str, int]:
        day = int(self.state[lane, ROWS])
        return {"day": day, "family": 0, "cases": day, "obligations": 0, "violations": 0}

    def render(self, lane: int) -> str:
        return f"{self.state[lane]}"

    def close(self) -> None:
        pass


class Counters(base.Env):
    """One world of shelves."""

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012  # Gymnasium declares it so

    def __init__(
        self, shape: str, backend: str = "twin", split: str = "train", render_mode: str | None = None
    ) -> None:
        arguments = {"shape": shape, "backend": backend, "split": split}
        super().__init__(task(shape), Shelves(shape, 1), split, None, render_mode, arguments)

    def picture(self) -> np.ndarray:
        return np.full((4, 6, 3), 10 * int(self.facts()["day"]), dtype=np.uint8)


class CountersVector(base.VectorEnv):
    """N worlds of shelves."""

    def __init__(
        self,
        num_envs: int,
        shape: str,
        backend: str = "twin",
        split: str = "train",
        max_episode_steps: int | None = None,
        autoreset_mode: Any = gym.vector.AutoresetMode.NEXT_STEP,
    ) -> None:
        super().__init__(
            task(shape), Shelves(shape, num_envs), split, None, max_episode_steps, autoreset_mode
        )


Counters.vector_env = CountersVector
SHAPES = ("rows", "masked", "flat", "numbers", "number-rows")
for name in SHAPES:
    gym.register(
        id=f"test/Counters-{name}-v0",
        entry_point="counters:Counters",
        vector_entry_point="counters:CountersVector",
        kwargs={"shape": name},
    )
