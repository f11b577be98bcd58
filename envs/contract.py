"""The records of the contract: what a task is, what a backend shows, what an action may look like."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

from workgym.services.kernel import BadInput, did_you_mean

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Actions = gym.spaces.Discrete[np.int64] | gym.spaces.MultiDiscrete | gym.spaces.Box

ACT, BEGIN, REST = 0, 1, 2  # what a lane does in one advance
_NUMBER, _FLAG = np.dtype(np.float64), np.dtype(np.bool_)


class Episodes(NamedTuple):
    """Which episode each of N lanes plays."""

    salt: np.uint64  # keeps splits apart
    seed: Ints  # (N,)
    number: Ints  # (N,) how many episodes the lane has played since it was seeded
    family: Ints  # (N,) index of the family, -1 to draw one from the episode's key


class Board(NamedTuple):
    """What N lanes show after an advance; arrays are fresh at every call.

    A mask of no columns says that every action of the space is legal. With a `MultiDiscrete` space of
    D decisions the columns are the choices of the first decision, then those of the second, and so on.
    """

    obs: Floats  # (N, features), or (N, rows, features)
    mask: Bools  # (N, actions) legal actions, or (N, 0)
    terms: Ints  # (terms, N) what each reward term earned by this advance, in the task's unit
    ended: Bools  # (N,) the episode reached its end
    refusal: Ints  # (N,) code of the reason why the action was refused, 0 when it was not
    violations: Ints  # (N,) constraint cost of this advance
    credit: Ints | None = None  # (N, rows) each row's share of the reward; need not sum to it
    dropped: Bools | None = None  # (N,) lanes whose worlds were lost to a fault: nothing here is theirs


class Step(NamedTuple):
    """What a vector env makes of a board."""

    reward: NDArray[np.float64]  # (N,) sum of the terms
    cost: NDArray[np.float64]  # (N,) violations
    ended: Bools  # (N,)
    truncated: Bools  # (N,)
    done: Bools  # (N,) lanes that do not act in the next step

    @classmethod
    def empty(cls, n: int) -> Step:
        """Fresh arrays for N lanes."""
        return cls(
            np.empty(n, _NUMBER),
            np.empty(n, _NUMBER),
            np.empty(n, _FLAG),
            np.empty(n, _FLAG),
            np.empty(n, _FLAG),
        )


class Backend(Protocol):
    """N lanes of a service's state."""

    lanes: int

    def advance(self, mode: NDArray[np.int8], actions: Ints, episodes: Episodes) -> Board:
        """Let each lane act (ACT), begin an episode (BEGIN) or stand still (REST).

        Actions are (N,), or (N, D) where an action is D decisions.
        """

    def state_bytes(self, lane: int) -> bytes:
        """The lane's canonical state."""

    def load_state(self, lane: int, data: bytes) -> Board:
        """Put a canonical state into a lane; what all lanes show afterwards."""

    def facts(self, lane: int) -> dict[str, int]:
        """The lane's counters: `day`, `family`, `cases`, `obligations`, `violations`."""

    def render(self, lane: int) -> str:
        """The lane as a page of text."""

    def close(self) -> None:
        """Give back what the backend holds."""


@dataclass(frozen=True)
class Task:
    """What is asked of a policy in a service.

    Attributes:
        env_id: Gymnasium id.
        observation_space: finite box (features,), or (rows, features).
        action_space: one choice (`Discrete`), D choices (`MultiDiscrete`), or D numbers between -1 and 1
            (`Box`) that `decode` turns into quantities.
        action_names: one per action; empty where actions are quantities.
        terms: names of the reward terms, in the order of `Board.terms`.
        reasons: texts of refusal codes; code 0 is unused.
        families: names of the business situations.
        reward_scale: factor that brings a typical reward to about one; learners apply it.
        tolerance: cents a case; an episode is handled when its profit is at most this far below that
            of the department's reference rule on the same scenario.
        reference: name of that rule in `workgym.agents.baselines`.
        version: dynamics, reward and layout; part of every lineage.
        decode: from the actions of a `Box`, (N, D) numbers between -1 and 1, to the (N, D) whole numbers
            that backends understand.
        rows: decisions that one shared policy takes in every step, each from its own row of features;
            0 where a step is one decision.
        unit: of the reward terms.
        render_modes: how an env can be drawn.
        decision_names: one for each of the D decisions of an action, or for the only one of a `Discrete`
            without `action_names`; empty for numbers.
        asks: what such a decision says, for whoever reads.
        feature_names: one for each feature of an observation, or of a row; empty for numbers.

    Raises:
        BadInput: spaces, rows and `decode` do not fit together.
    """

    env_id: str
    observation_space: gym.spaces.Box
    action_space: Actions
    action_names: tuple[str, ...]
    terms: tuple[str, ...]
    reasons: tuple[str, ...]
    families: tuple[str, ...]
    reward_scale: float
    tolerance: int
    reference: str
    version: str
    decode: Callable[[Floats], Ints] | None = None
    rows: int = 0
    unit: str = "cents"
    render_modes: tuple[str, ...] = ("ansi",)
    decision_names: tuple[str, ...] = ()
    asks: str = ""
    feature_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        space, shape = self.action_space, self.action_shape
        if len(shape) != (not isinstance(space, gym.spaces.Discrete)):
            raise BadInput(f"expected an action space of one axis, or a single choice, found {space}")
        if isinstance(space, gym.spaces.Box):
            if space != gym.spaces.Box(-1.0, 1.0, shape, np.float32):
                raise BadInput(f"expected a Box of float32 in -1..1 as action space, found {space}")
            if self.decode is None:
                raise BadInput("expected a decode from the numbers of a Box to quantities, found None")
        elif self.decode is not None:
            raise BadInput(f"expected a decode with a Box alone, found one with {space}")
        if self.rows:
            self._check_rows()

    def _check_rows(self) -> None:
        space = self.action_space
        if self.action_shape != (self.rows,) or self.observation_space.shape[:-1] != (self.rows,):
            raise BadInput(
                f"expected observations ({self.rows}, features) and {self.rows} decisions an action, "
                f"found {self.observation_space.shape} and {space}"
            )
        if isinstance(space, gym.spaces.MultiDiscrete) and (space.nvec != space.nvec[0]).any():
            raise BadInput(f"expected as many choices in every row, found {space}")

    @cached_property
    def action_shape(self) -> tuple[int, ...]:
        """() where an action is one choice, (D,) where it is D decisions."""
        return self.action_space.shape or ()

    @property
    def decision(self) -> tuple[gym.spaces.Box, Actions]:
        """What one decision sees and says: the task's own spaces, or those of one row."""
        seen, space = self.observation_space, self.action_space
        if not self.rows:
            return seen, space
        row = gym.spaces.Box(seen.low[0], seen.high[0], dtype=np.float32)
        if isinstance(space, gym.spaces.MultiDiscrete):
            return row, gym.spaces.Discrete(int(space.nvec[0]))
        return row, gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def family_index(self, name: str) -> int:
        """Position of a family.

        Raises:
            BadInput: there is no such family.
        """
        if name not in self.families:
            raise BadInput(did_you_mean("family", name, list(self.families)))
        return self.families.index(name)

    def understood(self, actions: ArrayLike, lanes: int) -> Ints:
        """The actions of N lanes as backends take them: (N,) or (N, D) whole numbers.

        Numbers outside a `Box` count as its nearest bound. A choice that the space does not have is
        passed on: refusing it is the backend's business.

        Raises:
            BadInput: another shape, fractions for choices, or a number that is not finite.
        """
        given = np.asarray(actions)
        shape = (lanes, *self.action_shape)
        if given.shape != shape:
            raise BadInput(f"expected actions of shape {shape}, found {given.shape}")
        if given.dtype.kind not in ("iub" if self.decode is None else "iubf"):
            raise BadInput(f"expected actions of {self.action_space}, found an array of {given.dtype}")
        if self.decode is None:
            return np.asarray(given, dtype=np.int64)
        numbers = given.astype(np.float32, copy=False)
        if not np.isfinite(numbers).all():
            raise BadInput("expected actions that are finite, found NaN or infinity")
        return self.decode(np.clip(numbers, np.float32(-1.0), np.float32(1.0)))

    def everything(self, lanes: int) -> Bools:
        """A mask of N lanes under which every action is legal, as wide as learners expect it.

        Raises:
            BadInput: actions are numbers, which no mask can name.
        """
        return np.ones((lanes, _choices(self.action_space)), dtype=np.bool_)


def _choices(space: Actions) -> int:
    """Columns of a full mask."""
    if isinstance(space, gym.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return int(space.nvec.sum())
    raise BadInput(f"expected actions that are choices, found {space}; a Box needs no action masks")


def sample_legal(space: Any, mask: Bools, rng: np.random.Generator) -> NDArray[Any]:
    """A random legal action of a lane's `space` for each row of a mask (N, choices), or (N, 0) for any."""
    n = len(mask)
    if isinstance(space, gym.spaces.Box):
        return rng.uniform(space.low, space.high, (n, *space.shape)).astype(np.float32)
    if not mask.shape[1]:
        most: Any = space.n if isinstance(space, gym.spaces.Discrete) else space.nvec
        return rng.integers(most, size=(n, *space.shape))
    if isinstance(space, gym.spaces.Discrete):
        return first_legal(rng.random(mask.shape), mask)
    ends = np.cumsum(space.nvec)[:-1]
    parts = zip(np.split(rng.random(mask.shape), ends, axis=1), np.split(mask, ends, axis=1), strict=True)
    return np.stack([first_legal(draws, legal) for draws, legal in parts], axis=1)


def first_legal(draws: NDArray[np.float64], mask: Bools) -> Ints:
    """(N,) of the legal actions the one that drew most."""
    most: Ints = (draws * mask).argmax(axis=-1)
    return most


@dataclass(frozen=True)
class Snapshot:
    """One lane, whole: restore it and the future repeats itself.

    Attributes:
        env_id: the env that it was taken from.
        seed: seed of the lane.
        number: episodes played since the lane was seeded.
        elapsed: steps taken in this episode.
        state: canonical state of the business.
        untold: what mishaps have kept from whoever decides, see `workgym.envs.mishaps`; empty without them.
    """

    env_id: str
    seed: int
    number: int
    elapsed: int
    state: bytes = field(repr=False)
    untold: bytes = field(default=b"", repr=False)

    @property
    def hash(self) -> str:
        """Content hash."""
        head = json.dumps([self.env_id, self.seed, self.number, self.elapsed]).encode()
        return hashlib.sha256(head + self.state + self.untold).hexdigest()
