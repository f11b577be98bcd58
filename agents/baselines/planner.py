"""What planners share: they read the desk's state, think once, and play the plan while it fits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from workgym.agents.baselines.orders import (
    BEHIND,
    BEHIND_UNIT,
    DAY,
    VALUE,
    VALUE_UNIT,
    NamedCodes,
    read,
    season_of,
)
from workgym.agents.policy import Bools, Floats, Ints
from workgym.envs.base import VectorEnv
from workgym.services.orders import rules, scenario
from workgym.services.orders.scenario import Setup
from workgym.services.orders.state import COLUMNS, State


class Step(NamedTuple):
    """One planned decision, and how to know that it is the one in hand."""

    order: int
    day: int
    behind: int  # orders that wait behind it today
    value: int  # cents
    action: int


Plan = Callable[[Setup, State], Iterable[Step]]  # decisions from the one in hand on


class Planner:
    """A policy that plans for each lane and plans again when something else is in hand than it expected."""

    def __init__(self, name: str, plan: Plan) -> None:
        self.name = name
        self._plan = plan
        self._env: VectorEnv | None = None
        self._steps: dict[int, deque[Step]] = {}

    def begin(self, env: VectorEnv) -> None:
        """Keep the env to read its state."""
        self._env, self._steps = env, {}
        self._setup = season_of(env)

    def act(self, obs: Floats, mask: Bools) -> Ints:
        """(N,) actions."""
        desk = read(obs, mask)
        actions = np.full(len(obs), desk.actions.hold)
        for lane in np.flatnonzero(desk.cancel):  # where nothing can be cancelled, the season is over
            actions[lane] = self._next(int(lane), obs[lane], mask[lane], desk.actions)
        return actions

    def _next(self, lane: int, obs: Floats, mask: Bools, codes: NamedCodes) -> int:
        steps = self._steps.get(lane)
        if not steps or not self._in_hand(steps[0], obs) or not mask[steps[0].action]:
            steps = self._steps[lane] = deque(self._plan(self._setup, self._state(lane)))
        step = steps.popleft()
        return step.action if mask[step.action] else codes.hold

    def _state(self, lane: int) -> State:
        if self._env is None:
            raise RuntimeError("call begin(env) before act()")
        return State.from_bytes(self._env.backend.state_bytes(lane))

    def _in_hand(self, step: Step, obs: Floats) -> bool:
        seen = (
            obs[DAY] * self._setup.days - step.day,
            obs[BEHIND] - min(step.behind / BEHIND_UNIT, 1.0),
            obs[VALUE] - min(step.value / VALUE_UNIT, 1.0),
        )
        return max(map(abs, seen)) < 1e-4


def waiting(now: State) -> Ints:
    """Numbers of the orders that still wait for a decision today, in their turn."""
    status, reviewed = (
        now.orders[:, COLUMNS.index(scenario.STATUS)],
        now.orders[:, COLUMNS.index(scenario.REVIEWED)],
    )
    return np.flatnonzero((status == rules.WAITING) & (reviewed != now.day))
