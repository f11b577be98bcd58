"""The contract between an environment and whatever holds its state.

A `Task` says what is observed, what may be done, what is earned and when an episode counts as
handled; `workgym.envs.contract` has it and the other records. A `Backend` holds N lanes of state
(arrays of a twin, worlds of a live service) and advances them. `Env` is one lane of a backend,
`VectorEnv` all of them; both know nothing of the business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numba import njit
from numpy.typing import ArrayLike, NDArray

from workgym.envs.contract import (
    ACT,
    BEGIN,
    REST,
    Backend,
    Board,
    Bools,
    Episodes,
    Floats,
    Ints,
    Snapshot,
    Step,
    Task,
)
from workgym.envs.mishaps import Disturbed
from workgym.services.compiled import KERNEL
from workgym.services.kernel import BadInput, InfrastructureFault, did_you_mean
from workgym.services.scenario import SPLITS, split_salt

__all__ = [
    "ACT",
    "BEGIN",
    "REST",
    "Backend",
    "Board",
    "Bools",
    "Env",
    "Episodes",
    "Floats",
    "Ints",
    "Snapshot",
    "Step",
    "Task",
    "VectorEnv",
]

_OPTIONS = ("family", "reset_mask")


class _Lanes:
    """Bookkeeping that one env and a vector of lanes share: seeds, families, time limits, infos."""

    def __init__(
        self, task: Task, backend: Backend, split: str, family: str | None, limit: int | None
    ) -> None:
        if split not in SPLITS:
            raise BadInput(did_you_mean("split", split, list(SPLITS)))
        self.task = task
        self.backend = backend
        self.limit = np.iinfo(np.int64).max if limit is None else limit
        self.fixed_family = -1 if family is None else task.family_index(family)
        n = backend.lanes
        self.episodes = Episodes(
            salt=split_salt(task.env_id, split),
            seed=np.zeros(n, dtype=np.int64),
            number=np.full(n, -1, dtype=np.int64),
            family=np.full(n, self.fixed_family, dtype=np.int64),
        )
        self.elapsed = np.zeros(n, dtype=np.int64)
        self.everywhere = np.ones(n, dtype=np.bool_)

    def seed(self, seeds: Sequence[int | None], begin: Bools) -> None:
        """Seed the lanes that got a number; lanes that begin without one go on to their next episode."""
        for lane, seed in enumerate(seeds):
            if seed is not None:
                self.episodes.seed[lane] = seed
                self.episodes.number[lane] = -1
        self.episodes.number[begin] += 1

    def choose(self, family: str | Sequence[str | None] | None, begin: Bools) -> None:
        """Fix the families of the lanes that begin; None falls back to the constructor's."""
        names = [family] * len(begin) if family is None or isinstance(family, str) else list(family)
        if len(names) != len(begin):
            raise BadInput(f"expected one family or {len(begin)} of them, found {len(names)}")
        for lane in np.flatnonzero(begin):
            name = names[lane]
            self.episodes.family[lane] = self.fixed_family if name is None else self.task.family_index(name)

    def begin(self, which: Bools) -> Board:
        self.elapsed[which] = 0
        mode = np.where(which, BEGIN, REST).astype(np.int8)
        nothing = np.zeros((len(which), *self.task.action_shape), dtype=np.int64)
        return self.backend.advance(mode, nothing, self.episodes)

    def snapshot(self, lane: int) -> Snapshot:
        return Snapshot(
            self.task.env_id,
            int(self.episodes.seed[lane]),
            int(self.episodes.number[lane]),
            int(self.elapsed[lane]),
            self.backend.state_bytes(lane),
            self.backend.untold(lane) if isinstance(self.backend, Disturbed) else b"",
        )

    def restore(self, lane: int, snapshot: Snapshot) -> Board:
        if snapshot.env_id != self.task.env_id:
            raise BadInput(f"expected a snapshot of {self.task.env_id}, found one of {snapshot.env_id}")
        if isinstance(self.backend, Disturbed):
            board = self.backend.go_to(lane, snapshot.state, snapshot.untold)
        elif snapshot.untold:
            raise BadInput(
                "expected a snapshot without mishaps, found one with some; make the env with mishaps"
            )
        else:
            board = self.backend.load_state(lane, snapshot.state)
        self.episodes.seed[lane], self.episodes.number[lane] = snapshot.seed, snapshot.number
        self.elapsed[lane] = snapshot.elapsed
        return board


@njit(**KERNEL)
def _settle(
    terms: Any,
    violations: Any,
    refusal: Any,
    over: Any,
    done: Any,
    elapsed: Any,
    limit: int,
    begins: bool,
    reward: Any,
    cost: Any,
    ended: Any,
    truncated: Any,
    after: Any,
) -> tuple[bool, bool]:
    """Fill a `Step`, count the steps of each episode; whether any lane is done, and whether any was refused.

    One plain loop after the other: the compiler turns each into vector instructions.
    """
    n = len(done)
    for i in range(n):
        elapsed[i] = (elapsed[i] + 1) * (1 - done[i])
    for i in range(n):
        ended[i] = over[i] > done[i]
    for i in range(n):
        truncated[i] = (elapsed[i] >= limit) > (ended[i] | done[i])
    for i in range(n):
        after[i] = ended[i] | truncated[i] | (done[i] > begins)
    for i in range(n):
        cost[i] = violations[i]
    for i in range(n):
        reward[i] = terms[0, i]
    for term in range(1, len(terms)):
        for i in range(n):
            reward[i] += terms[term, i]
    any_done, any_refused = False, np.int64(0)
    for i in range(n):
        any_done |= after[i]
    for i in range(n):
        any_refused |= refusal[i]
    return any_done, any_refused != 0


def _drop(dropped: Bools, step: Step) -> None:
    """End the episodes of lanes that were lost; what they would have earned is not a number, never zero."""
    step.reward[dropped] = np.nan
    step.ended[dropped] = False
    step.truncated[dropped] = True
    step.done[dropped] = True


def _require_whole(board: Board) -> None:
    if board.dropped is not None and board.dropped.any():
        raise InfrastructureFault("the service did not answer before the deadline; reset the env", "unknown")


def _check_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    given = dict(options or {})
    for name in given:
        if name not in _OPTIONS:
            raise BadInput(did_you_mean("reset option", name, list(_OPTIONS)))
    return given


class Env(gym.Env[Floats, Any]):
    """One world of a service as a Gymnasium environment.

    Subclasses name a task and build a backend; see `workgym.envs.orders`.

    Attributes:
        arguments: keyword arguments that make an equal env, but the render mode.
        vector_env: the same task over many lanes; takes their number and the same arguments.
    """

    vector_env: Callable[..., VectorEnv]

    metadata = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012  # Gymnasium declares it so

    def __init__(
        self,
        task: Task,
        backend: Backend,
        split: str = "train",
        family: str | None = None,
        render_mode: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> None:
        if render_mode not in (None, *task.render_modes):
            modes = " or ".join(repr(mode) for mode in (None, *task.render_modes))
            raise BadInput(f"expected render_mode {modes}, found {render_mode!r}")
        self.task = task
        self.backend = backend
        self.render_mode = render_mode
        self.arguments = arguments or {}
        self.observation_space = task.observation_space
        self.action_space = task.action_space
        self._lanes = _Lanes(task, backend, split, family, None)
        self._board: Board | None = None
        self._over = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: names the episode; without one the next episode of the current seed begins.
            options: `family` fixes the business situation of this episode.
        """
        super().reset(seed=seed)
        given = _check_options(options)
        begin = self._lanes.everywhere
        if seed is None and self._lanes.episodes.number[0] < 0:
            seed = int(self.np_random.integers(2**31))
        self._lanes.choose(given.get("family"), begin)
        self._lanes.seed([seed], begin)
        self._over = False
        return self._show(self._lanes.begin(begin))

    def step(self, action: ArrayLike) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Take one decision. A refused one changes nothing and says why in `info["refused"]`."""
        if self._board is None:
            raise gym.error.ResetNeeded("call reset() before step()")
        actions = self.task.understood(np.asarray(action)[None], 1)
        board = self.backend.advance(np.zeros(1, dtype=np.int8), actions, self._lanes.episodes)
        self._lanes.elapsed += 1
        obs, info = self._show(board)
        reward = float(board.terms.sum())
        self._over = bool(board.ended[0])
        return obs, reward, self._over, False, info

    def _show(self, board: Board) -> tuple[Floats, dict[str, Any]]:
        self._board = board
        info: dict[str, Any] = {"action_mask": board.mask[0]} if board.mask.shape[1] else {}
        info |= {
            "reward_terms": dict(zip(self.task.terms, board.terms[:, 0].tolist(), strict=True)),
            "constraint_cost": float(board.violations[0]),
        }
        if board.credit is not None:
            info["credit"] = board.credit[0]
        _require_whole(board)
        if board.refusal[0]:
            info["refused"] = self.task.reasons[board.refusal[0]]
        return board.obs[0], info

    @property
    def mask(self) -> Bools:
        """(actions,) which actions are legal now, or (0,) where every one is."""
        if self._board is None:
            raise gym.error.ResetNeeded("call reset() before asking which actions are legal")
        mask: Bools = self._board.mask[0]
        return mask

    def action_masks(self) -> Bools:
        """(actions,) which actions are legal now; the name that sb3-contrib looks for.

        Raises:
            BadInput: actions are numbers, which no mask can name.
        """
        mask = self.mask
        return mask if len(mask) else self.task.everything(1)[0]

    def facts(self) -> dict[str, int]:
        """Counters of the running episode: `day`, `family`, `cases`, `obligations`, `violations`."""
        return self.backend.facts(0)

    def snapshot(self) -> Snapshot:
        """This moment, whole. A TimeLimit wrapper's counter is not part of it."""
        return self._lanes.snapshot(0)

    def restore(self, snapshot: Snapshot) -> tuple[Floats, dict[str, Any]]:
        """Go to that moment; what `reset` or `step` showed then, with empty reward terms."""
        return self._show(self._lanes.restore(0, snapshot))

    def state_hash(self) -> str:
        """Content hash of the business state; equal on every backend, whatever mishaps hide of it."""
        return hashlib.sha256(self.backend.state_bytes(0)).hexdigest()

    def render(self) -> str | NDArray[np.uint8] | None:  # type: ignore[override]  # Gymnasium's union is wider
        """This moment as a page of text in mode `ansi`, as a picture in mode `rgb_array`, else None."""
        if self.render_mode == "ansi":
            return self.backend.render(0)
        return None if self.render_mode is None else self.picture()

    def picture(self) -> NDArray[np.uint8]:
        """(height, width, 3) this moment as a picture; a subclass that can draw one overrides this."""
        raise BadInput(f"expected an env that draws pictures, found {type(self).__name__}; use mode 'ansi'")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as constructor arguments and a snapshot: connections do not travel."""
        here = self.snapshot() if self._board is not None else None
        return _rebuild, (type(self), self.arguments, self.render_mode, here)

    def fork(self, n: int) -> VectorEnv:
        """N independent copies of this moment, as lanes of a vector env in autoreset mode DISABLED."""
        copies = self.vector_env(n, autoreset_mode=AutoresetMode.DISABLED, **self.arguments)
        copies.reset(seed=0)
        here = self.snapshot()
        for lane in range(n):
            copies.restore(lane, here)
        return copies

    def close(self) -> None:
        """Give back what the backend holds."""
        self.backend.close()


def _rebuild(
    kind: type[Env], arguments: dict[str, Any], render_mode: str | None, here: Snapshot | None
) -> Env:
    env = kind(**arguments, render_mode=render_mode)
    if here is not None:
        env.restore(here)
    return env


class VectorEnv(gym.vector.VectorEnv[Floats, NDArray[Any], Any]):
    """N worlds of a service, advanced together; lane i with seed s is the single env with seed s + i.

    Attributes:
        mask: (N, actions) which actions are legal now, or (N, 0) where every one is.
    """

    def __init__(
        self,
        task: Task,
        backend: Backend,
        split: str = "train",
        family: str | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        self.task = task
        self.backend = backend
        self.num_envs = backend.lanes
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": ["ansi"], "autoreset_mode": self.autoreset_mode}
        self.render_mode = None
        self.single_observation_space = task.observation_space
        self.single_action_space = task.action_space
        self.observation_space = gym.vector.utils.batch_space(task.observation_space, self.num_envs)
        self.action_space = gym.vector.utils.batch_space(task.action_space, self.num_envs)
        self._lanes = _Lanes(task, backend, split, family, max_episode_steps)
        self._term_names = [(name, f"_{name}") for name in task.terms]
        self._done = np.zeros(self.num_envs, dtype=np.bool_)
        self.mask: Bools = np.ones((self.num_envs, 0), dtype=np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Begin an episode in every lane, or in those that `options["reset_mask"]` names.

        Args:
            seed: one number s (lane i gets s + i) or one per lane.
            options: `family`, a name or one per lane; `reset_mask`, (N,) bool.
        """
        given = _check_options(options)
        begin = np.asarray(given.get("reset_mask", self._lanes.everywhere), dtype=np.bool_)
        if begin.shape != (self.num_envs,):
            raise BadInput(f"expected a reset_mask of shape ({self.num_envs},), found {begin.shape}")
        super().reset(seed=seed if isinstance(seed, int) else None)
        self._lanes.choose(given.get("family"), begin)
        self._lanes.seed(self._seeds(seed, begin), begin)
        self._done[begin] = False
        board = self._lanes.begin(begin)
        _require_whole(board)
        return board.obs, self._info(board)

    def _seeds(self, seed: int | Sequence[int | None] | None, begin: Bools) -> list[int | None]:
        if isinstance(seed, (int, np.integer)):
            return [int(seed) + lane if begin[lane] else None for lane in range(self.num_envs)]
        if seed is not None:
            if len(seed) != self.num_envs:
                raise BadInput(f"expected {self.num_envs} seeds, found {len(seed)}")
            return [one if begin[lane] else None for lane, one in enumerate(seed)]
        fresh = begin & (self._lanes.episodes.number < 0)
        drawn = self.np_random.integers(2**31, size=self.num_envs) if fresh.any() else fresh
        return [int(drawn[lane]) if fresh[lane] else None for lane in range(self.num_envs)]

    def step(self, actions: NDArray[Any]) -> tuple[Floats, NDArray[np.float64], Bools, Bools, dict[str, Any]]:
        """Take one decision in every lane.

        Lanes that a fault dropped (`info["dropped"]`, remote backends alone) end truncated, with NaN for a
        reward: nobody knows what they earned.
        """
        understood = self.task.understood(actions, self.num_envs)
        lanes, done = self._lanes, self._done
        begins = self.autoreset_mode is AutoresetMode.NEXT_STEP
        if begins:
            mode = done.view(np.int8)  # a finished lane begins (BEGIN == 1) instead of acting
            np.add(lanes.episodes.number, done, out=lanes.episodes.number)
        else:
            mode = done.astype(np.int8) * np.int8(REST)
        board = self.backend.advance(mode, understood, lanes.episodes)
        step = Step.empty(self.num_envs)
        any_done, any_refused = _settle(
            board.terms, board.violations, board.refusal, board.ended,
            done, lanes.elapsed, lanes.limit, begins, *step,
        )  # fmt: skip
        if board.dropped is not None:
            any_done = True
            _drop(board.dropped, step)
        self._done = step.done
        info = self._info(board, step.cost, any_refused)
        if any_done and self.autoreset_mode is AutoresetMode.SAME_STEP:
            return self._same_step(board, step, info)
        return board.obs, step.reward, step.ended, step.truncated, info

    def _same_step(
        self, board: Board, step: Step, info: dict[str, Any]
    ) -> tuple[Floats, NDArray[np.float64], Bools, Bools, dict[str, Any]]:
        done = self._done
        self._done = np.zeros_like(done)
        self._lanes.episodes.number[done] += 1
        fresh = self._lanes.begin(done)
        fresh = fresh._replace(  # lanes that did not begin keep what their step showed
            terms=np.where(done, fresh.terms, board.terms),
            violations=np.where(done, fresh.violations, board.violations),
            refusal=np.where(done, fresh.refusal, board.refusal),
        )
        if fresh.credit is not None and board.credit is not None:
            fresh = fresh._replace(credit=np.where(done[:, None], fresh.credit, board.credit))
        begun = self._info(fresh)
        begun["final_obs"], begun["_final_obs"] = board.obs, done
        begun["final_info"], begun["_final_info"] = info, done
        return fresh.obs, step.reward, step.ended, step.truncated, begun

    def _info(
        self, board: Board, cost: NDArray[np.float64] | None = None, any_refused: bool = True
    ) -> dict[str, Any]:
        self.mask = board.mask
        everywhere = self._lanes.everywhere
        terms: dict[str, Any] = {}
        for position, (name, flag) in enumerate(self._term_names):
            terms[name] = board.terms[position]
            terms[flag] = everywhere
        info: dict[str, Any] = {}
        if board.mask.shape[1]:
            info["action_mask"], info["_action_mask"] = board.mask, everywhere
        if board.credit is not None:
            info["credit"], info["_credit"] = board.credit, everywhere
        info |= {
            "reward_terms": terms,
            "_reward_terms": everywhere,
            "constraint_cost": board.violations.astype(np.float64) if cost is None else cost,
            "_constraint_cost": everywhere,
        }
        if any_refused and (refused := board.refusal != 0).any():
            texts = [self.task.reasons[code] if code else None for code in board.refusal]
            info["refused"], info["_refused"] = np.array(texts, dtype=object), refused
        if board.dropped is not None:
            info["dropped"], info["_dropped"] = board.dropped, everywhere
        return info

    def action_masks(self) -> Bools:
        """(N, actions) which actions are legal now.

        Raises:
            BadInput: actions are numbers, which no mask can name.
        """
        return self.mask if self.mask.shape[1] else self.task.everything(self.num_envs)

    @property
    def episodes(self) -> Episodes:
        """Which episode each lane plays; the env goes on writing to its arrays."""
        return self._lanes.episodes

    def facts(self, lane: int) -> dict[str, int]:
        """Counters of a lane's episode: `day`, `family`, `cases`, `obligations`, `violations`."""
        return self.backend.facts(lane)

    def snapshot(self, lane: int) -> Snapshot:
        """One lane at this moment, whole."""
        return self._lanes.snapshot(lane)

    def restore(self, lane: int, snapshot: Snapshot) -> Floats:
        """Put a lane into that moment; the observations of all lanes."""
        board = self._lanes.restore(lane, snapshot)
        self._done[lane] = False
        self.mask = board.mask
        return board.obs

    def state_hash(self, lane: int) -> str:
        """Content hash of a lane's business state."""
        return hashlib.sha256(self.backend.state_bytes(lane)).hexdigest()

    def close_extras(self, **kwargs: Any) -> None:
        """Give back what the backend holds."""
        if hasattr(self, "backend"):  # Gymnasium closes envs whose constructor failed, too
            self.backend.close()
