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
from workgym.services.orders import desk, rules, scenario
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
        seen = read(obs, mask)
        actions = np.full(len(obs), seen.actions.hold)
        for lane in np.flatnonzero(seen.cancel):  # where nothing can be cancelled, the season is over
            actions[lane] = self._next(int(lane), obs[lane], mask[lane], seen.actions)
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
        return bool(max(map(abs, seen)) < 1e-4)


def waiting(now: State) -> Ints:
    """Numbers of the orders that still wait for a decision today, in their turn."""
    status, reviewed = (
        now.orders[:, COLUMNS.index(scenario.STATUS)],
        now.orders[:, COLUMNS.index(scenario.REVIEWED)],
    )
    return np.flatnonzero((status == rules.WAITING) & (reviewed != now.day))


class Demand(NamedTuple):
    """What an order asks for."""

    basket: int
    region: int
    priority: int
    promise: int  # day


def demand(now: State, number: int) -> Demand:
    """What order `number` asks for."""
    columns = (scenario.BASKET, scenario.REGION, scenario.PRIORITY, scenario.PROMISE)
    return Demand(*(int(now.orders[number, COLUMNS.index(column)]) for column in columns))


def split_now(setup: Setup, day: int, free: Ints, picks: Ints, wanted: Demand) -> tuple[int, ...]:
    """The centre of each line if the desk split an order now, or nothing where it would refuse.

    Args:
        setup: constants of the season.
        day: today.
        free: (C, K) units on the shelves.
        picks: (C,) lines that can still be picked today.
        wanted: the order.
    """
    lines = int(setup.facts[wanted.basket, scenario.LINES])
    units = np.zeros((len(picks), rules.MAX_LINES), dtype=np.int32)
    units[:, :lines] = free[:, setup.line_sku[wanted.basket, :lines]]
    enough = (units >= setup.line_qty[wanted.basket])[:, :lines].all(axis=1)
    if (enough & (picks >= lines)).any():
        return ()
    case = np.zeros(desk.CASE_WIDTH, dtype=np.int64)
    case[[desk.DAY, desk.BASKET, desk.REGION, desk.PRIORITY, desk.PROMISE]] = (
        day,
        wanted.basket,
        wanted.region,
        wanted.priority,
        wanted.promise,
    )
    rank, plan = np.zeros(len(picks), dtype=np.int64), np.full(rules.MAX_LINES, -1, dtype=np.int64)
    parcels = desk.split_plan(setup, case, units, picks.astype(np.int32), rank, plan)
    return tuple(plan[:lines].tolist()) if parcels else ()
