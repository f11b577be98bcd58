"""Sessions of whoever plays over a wire: each one a world of its own, given back when it is left."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Lock
from typing import Any

import gymnasium as gym

from workgym.envs.openenv_models import Action, Reset, State
from workgym.envs.tools import Observation, ToolEnv
from workgym.services.kernel import BadInput, Conflict, InfrastructureFault, NotFound, did_you_mean

MakeEnv = Callable[[str, dict[str, Any]], gym.Env[Any, Any]]
Wire = dict[str, Any]

_log = logging.getLogger(__name__)

LOST = "expected a session that is open, found a closed one; reset to begin another"
BEGIN_FIRST = "expected an episode, found none; reset first"


class Full(InfrastructureFault):
    """As many sessions as the server has room for are open."""

    def __init__(self, active: int, most: int) -> None:
        super().__init__(f"all {most} sessions are taken; come back when one is closed", committed="no")
        self.active = active
        self.most = most


class Session:
    """Episodes that are played one after the other in one world; one call at a time.

    Args:
        make_env: from an id and keyword arguments to an env with a world of its own.
        env_ids: what can be played; the first is the usual one.
        owner: who opened it, None where nobody signs in.
    """

    def __init__(self, make_env: MakeEnv, env_ids: tuple[str, ...], owner: str | None = None) -> None:
        self.owner = owner
        self.used = time.monotonic()
        self._make_env = make_env
        self._env_ids = env_ids
        self._lock = Lock()
        self._closed = False
        self._played: ToolEnv | None = None
        self._kind: tuple[str, str | None] = (env_ids[0], None)  # env id, split
        self._pages = True
        self._state = State()
        self._last: tuple[str, Action, Wire] | None = None

    @property
    def begun(self) -> bool:
        """Whether it has an episode."""
        return self._state.episode_id is not None

    @property
    def ended(self) -> bool:
        """Whether its episode is over."""
        return self._state.terminated or self._state.truncated

    def reset(self, asked: Reset) -> Wire:
        """Begin an episode; another env or split gets another world.

        Raises:
            BadInput: there is no such env, split or family.
        """
        with self._lock:
            played = self._fit(asked)
            seen = played.reset(asked.seed, asked.family)
            env_id, split = self._kind
            episode_id = asked.episode_id or uuid.uuid4().hex
            self._state = State(episode_id=episode_id, env_id=env_id, split=split, family=asked.family)
            self._last = None
            told = self._told(seen)
            told["observation"]["tools"] = [vars(tool) for tool in played.tools()]
            told["observation"]["feature_names"] = list(played.task.feature_names)
            return told | {"reward": None}

    def step(self, action: Action, request_id: str | None = None) -> Wire:
        """Take a decision; a request that is repeated gets its answer again.

        Raises:
            Conflict: there is no episode, or the request's id came with another action.
            BadInput: the action is not of the env's space.
            InfrastructureFault: the service did not answer; unless nothing happened, the episode is dropped.
        """
        with self._lock:
            played = self._playing()
            if request_id is not None and self._last is not None and self._last[0] == request_id:
                if self._last[1] != action:
                    raise Conflict(f"the request {request_id!r} came with another action before")
                return self._last[2]
            seen = self._decide(played, action)
            self._state.step_count += 1
            self._state.total_reward += seen.reward
            told = self._told(seen)
            self._last = None if request_id is None else (request_id, action, told)
            return told

    def _decide(self, played: ToolEnv, action: Action) -> Observation:
        try:
            if action.tool is not None:
                return played.call(action.tool, action.arguments)
            return played.play(action.action)  # type: ignore[arg-type]  # the model has one of the two
        except InfrastructureFault as fault:
            if fault.committed != "no":
                with suppress(InfrastructureFault):
                    self._drop()
            raise

    def state(self) -> State:
        """Where the episode stands."""
        with self._lock:
            if self._played is None or not self.begun:
                return State()
            here = self._played.inner.snapshot()
            now = {"seed": here.seed, "number": here.number, "state_hash": self._played.state_hash()}
            return self._state.model_copy(update=now)

    def close(self) -> None:
        """Give the world back, once the call that is under way is done."""
        with self._lock:
            self._closed = True
            self._drop()

    def _fit(self, asked: Reset) -> ToolEnv:
        """The env that is asked for: the one at hand, or another in its place."""
        if self._closed:
            raise NotFound(LOST)
        env_id, split = asked.env_id or self._kind[0], asked.split or self._kind[1]
        if env_id not in self._env_ids:
            raise BadInput(did_you_mean("env", env_id, list(self._env_ids)))
        if self._played is None or (env_id, split) != self._kind:
            self._drop()
            env = self._make_env(env_id, {} if split is None else {"split": split})
            self._played, self._kind = ToolEnv(env), (env_id, split)
        self._pages = self._pages if asked.text is None else asked.text
        self._played.pages = self._pages
        self.used = time.monotonic()
        return self._played

    def _playing(self) -> ToolEnv:
        if self._closed:
            raise NotFound(LOST)
        if self._played is None or not self.begun:
            raise Conflict(BEGIN_FIRST)
        self.used = time.monotonic()
        return self._played

    def _drop(self) -> None:
        played, self._played, self._state = self._played, None, State()
        if played is not None:
            played.close()

    def _told(self, seen: Observation) -> Wire:
        self._state.terminated, self._state.truncated = seen.terminated, seen.truncated
        state = self._state
        return {
            "observation": {"text": seen.text, **seen.structured},
            "reward": seen.reward,
            "done": seen.ended,
            "metadata": {
                "episode_id": state.episode_id,
                "env_id": state.env_id,
                "step_count": state.step_count,
            },
        }


class Sessions:
    """The sessions of a server.

    Args:
        make_env: from an id and keyword arguments to an env with a world of its own.
        env_ids: what can be played.
        capacity: sessions at once.
        idle_s: seconds without a call after which a session over HTTP is closed.
    """

    def __init__(self, make_env: MakeEnv, env_ids: tuple[str, ...], capacity: int, idle_s: float) -> None:
        self.idle_s = idle_s
        self._make_env = make_env
        self._env_ids = env_ids
        self._capacity = capacity
        self._lock = Lock()
        self._held: set[Session] = set()  # by a connection, which closes them
        self._named: dict[str, Session] = {}  # over HTTP, which tells nobody when it is done

    def hold(self, owner: str | None) -> Session:
        """A session of a connection, which closes it.

        Raises:
            Full: there is no room.
        """
        with self._lock:
            self._make_room()
            session = Session(self._make_env, self._env_ids, owner)
            self._held.add(session)
            return session

    def release(self, session: Session) -> None:
        """Close a connection's session."""
        try:
            session.close()
        finally:
            with self._lock:
                self._held.discard(session)

    def named(self, name: str, owner: str | None) -> Session:
        """The session of a name.

        Raises:
            NotFound: nobody opened it, it was closed, or it is somebody else's.
        """
        with self._lock:
            session = self._named.get(name)
        if session is None or session.owner != owner:
            raise NotFound(f"no session named {name!r}; it may have been idle for too long, so reset again")
        return session

    def begin(self, name: str, owner: str | None, asked: Reset) -> Wire:
        """Begin an episode in the session of a name, which is opened if there is none.

        Raises:
            Full: there is no room.
            Conflict: the name is somebody else's.
            BadInput: there is no such env, split or family.
        """
        session = self._name(name, owner)
        try:
            return session.reset(asked)
        finally:
            if not session.begun:
                self._forget(name, session)

    def _name(self, name: str, owner: str | None) -> Session:
        with self._lock:
            if (session := self._named.get(name)) is None:
                self._make_room()
                session = self._named[name] = Session(self._make_env, self._env_ids, owner)
            elif session.owner != owner:
                raise Conflict(f"the name {name!r} is taken; choose another episode_id")
            return session

    def _forget(self, name: str, session: Session) -> None:
        with self._lock:
            if self._named.get(name) is session:
                del self._named[name]
        _close([session])

    def reap(self) -> None:
        """Close what nobody called for too long."""
        dead = time.monotonic() - self.idle_s
        with self._lock:
            left = [name for name, session in self._named.items() if session.used < dead]
            gone = [self._named.pop(name) for name in left]
        _close(gone)

    def close_all(self) -> None:
        """Give every world back."""
        with self._lock:
            gone = [*self._held, *self._named.values()]
            self._held.clear()
            self._named.clear()
        _close(gone)

    @property
    def active(self) -> int:
        """How many are open."""
        return len(self._held) + len(self._named)

    def _make_room(self) -> None:
        if self.active >= self._capacity:
            over = next((name for name, session in self._named.items() if session.ended), None)
            if over is None:
                raise Full(self.active, self._capacity)
            _close([self._named.pop(over)])


def _close(sessions: Iterable[Session]) -> None:
    for session in sessions:
        try:
            session.close()
        except InfrastructureFault as fault:  # the others still want to be closed
            _log.warning("a world was not given back: %s", fault)
