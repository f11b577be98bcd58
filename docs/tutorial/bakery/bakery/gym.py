"""The bakery as an environment: the task, and the two ways to hold its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from bakery import store
from bakery.rules import (
    ACCOUNTS,
    DAYS,
    FAMILIES,
    OVEN,
    REASONS,
    SHELF,
    State,
    bake,
    drawn_family,
    refusal,
    state_from,
)
from workgym.envs import base
from workgym.envs.backends import LOCAL, Sides
from workgym.envs.base import BEGIN, Board, Episodes, Ints, Task
from workgym.envs.live import ACTOR
from workgym.services.kernel import BadInput, Refused
from workgym.services.scenario import episode_key
from workgym.services.storage import Transaction

BACKENDS = LOCAL
TASK = Task(
    env_id="acme/Bakery-v0",
    observation_space=gym.spaces.Box(0.0, 1.0, (3,), np.float32),
    action_space=gym.spaces.Discrete(OVEN + 1),
    action_names=tuple(f"bake {loaves}" for loaves in range(OVEN + 1)),
    terms=ACCOUNTS,
    reasons=REASONS,
    families=FAMILIES,
    reward_scale=1 / 500,
    tolerance=50,
    reference="five-a-day",
    version="bakery-v0",
)


def board_of(
    states: Sequence[State], booked: Sequence[Sequence[int]], reasons: Sequence[int], missed: Sequence[int]
) -> Board:
    """What lanes show: their mornings, and what the day before booked."""
    obs = [(s.day / DAYS, s.day % 7 / 7, s.shelf / SHELF) for s in states]
    mask = [[refusal(s, loaves) == 0 for loaves in range(OVEN + 1)] for s in states]
    return Board(
        np.array(obs, dtype=np.float32),
        np.array(mask, dtype=np.bool_),
        np.array(booked, dtype=np.int64).T.copy(),
        np.array([s.ended for s in states], dtype=np.bool_),
        np.array(reasons, dtype=np.int64),
        np.array(missed, dtype=np.int64),
    )


def facts_of(state: State) -> dict[str, int]:
    """The counters of a lane."""
    return {
        "day": state.day,
        "family": state.family,
        "cases": state.asked,
        "obligations": state.asked,
        "violations": state.missed,
    }


def page(state: State) -> str:
    """A bakery as a page of text."""
    return (
        f"day {state.day} of {DAYS}, {state.shelf} loaves on the shelf, profit {sum(state.cents) / 100:.2f}\n"
    )


class Twin:
    """N bakeries as records in this process."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self._states = [State(0, 0)] * lanes

    def advance(self, mode: Any, actions: Ints, episodes: Episodes) -> Board:
        """Let each lane bake, begin or stand still."""
        booked, reasons, missed = [], [], []
        for i in range(self.lanes):
            if mode[i] == BEGIN:
                key = int(episode_key(episodes.salt, episodes.seed[i], episodes.number[i]))
                family = int(episodes.family[i])
                self._states[i] = State(key, drawn_family(key) if family < 0 else family)
            before = after = self._states[i]
            now, reason = (0,) * len(ACCOUNTS), 0
            if mode[i] == base.ACT and not before.ended:
                reason = refusal(before, int(actions[i]))
                if not reason:
                    after, now = bake(before, int(actions[i]))
            self._states[i] = after
            booked.append(now)
            reasons.append(reason)
            missed.append(after.missed - before.missed)
        return board_of(self._states, booked, reasons, missed)

    def state_bytes(self, lane: int) -> bytes:
        """The canonical state."""
        return self._states[lane].to_bytes()

    def load_state(self, lane: int, data: bytes) -> Board:
        """Put a canonical state into a lane."""
        self._states[lane] = state_from(data)
        nothing = [0] * self.lanes
        return board_of(self._states, [(0,) * len(ACCOUNTS)] * self.lanes, nothing, nothing)

    def facts(self, lane: int) -> dict[str, int]:
        """The counters."""
        return facts_of(self._states[lane])

    def render(self, lane: int) -> str:
        """A page of text."""
        return page(self._states[lane])

    def close(self) -> None:
        """Nothing to give back."""


class Live:
    """Bakeries in the tables of the live service."""

    metadata = store.metadata

    def open(self, tx: Transaction, names: Sequence[str]) -> list[int]:
        """Bakeries before anything happened."""
        return [store.open_world(tx, name, State(0, 0)) for name in names]

    def reopen(
        self,
        tx: Transaction,
        ids: Sequence[int],
        names: Sequence[str],
        keys: Sequence[int],
        families: Sequence[int],
    ) -> None:
        """Put bakeries on their first morning again."""
        for world, key, family in zip(ids, keys, families, strict=True):
            store.write_state(tx, world, State(key, family))

    def drawn_family(self, key: np.uint64) -> int:
        """The family of an episode that was not given one."""
        return drawn_family(int(key))

    def advance(self, tx: Transaction, ids: Sequence[int], param: object, mode: Any, actions: Ints) -> Board:
        """Let each bakery that acts bake."""
        states, booked, reasons, missed = [], [], [], []
        for i, world in enumerate(ids):
            before = after = store.read_state(tx, world, lock=True)
            now, reason = (0,) * len(ACCOUNTS), 0
            if mode[i] == base.ACT and not before.ended:
                try:
                    after, now = store.play(tx, world, before, int(actions[i]), ACTOR)
                except Refused as error:
                    reason = error.code
            states.append(after)
            booked.append(now)
            reasons.append(reason)
            missed.append(after.missed - before.missed)
        return board_of(states, booked, reasons, missed)

    def state(self, tx: Transaction, world: int) -> bytes:
        """The canonical state."""
        return store.read_state(tx, world).to_bytes()

    def put(self, tx: Transaction, world: int, name: str, data: bytes) -> None:
        """Put a canonical state into a bakery."""
        store.write_state(tx, world, state_from(data))

    def facts(self, tx: Transaction, world: int) -> dict[str, int]:
        """The counters."""
        return facts_of(store.read_state(tx, world))

    def page(self, data: bytes) -> str:
        """A page of text."""
        return page(state_from(data))

    def drop(self, tx: Transaction, ids: Sequence[int]) -> None:
        """Remove bakeries."""
        store.drop_worlds(tx, ids)


SIDES = Sides(TASK, Twin, lambda lanes: Live())


class BakeryEnv(base.Env):
    """A baker decides every morning how many loaves to bake.

    ## Department

    One shop, one product. What is left in the evening goes stale, half of it every night.

    ## Observation

    `Box(0, 1, (3,))`: share of the month that has passed, day of the week, share of the shelf that is full.

    ## Action

    `Discrete(13)`: loaves. More than the shelf has room for is refused.

    ## Reward

    Cents of the day: `sales`, `flour`, `waste`.

    ## Episode end

    Terminates after 30 days.

    ## Start

    An empty shelf. The family `fair` doubles the customers of every sixth day of the week.

    ## Rules

    `bakery/rules.py`.

    ## Source

    Invented for the tutorial.

    ## Versions

    v0: first version.
    """

    def __init__(
        self,
        backend: str = "twin",
        split: str = "train",
        family: str | None = None,
        base_url: str | None = None,
        transport: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        arguments = {
            "backend": backend,
            "split": split,
            "family": family,
            "base_url": base_url,
            "transport": transport,
        }
        self.sides = SIDES
        super().__init__(TASK, SIDES.lanes(1, arguments), split, family, render_mode, arguments)


class BakeryVectorEnv(base.VectorEnv):
    """N bakers; see `BakeryEnv`."""

    def __init__(
        self,
        num_envs: int,
        backend: str = "twin",
        split: str = "train",
        family: str | None = None,
        base_url: str | None = None,
        transport: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        if render_mode is not None:
            raise BadInput(f"a vector env renders nothing, found render_mode {render_mode!r}")
        arguments = {"backend": backend, "split": split, "base_url": base_url, "transport": transport}
        self.sides = SIDES
        lanes = SIDES.lanes(num_envs, arguments)
        super().__init__(TASK, lanes, split, family, max_episode_steps, autoreset_mode)


BakeryEnv.vector_env = BakeryVectorEnv
