"""The leased worlds of a service, which trainers play in from afar.

All that a lease is stands in the database: the server may be killed and started again, or be several. Who
does not show up loses the lease, and its worlds are dropped.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple, cast

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from workgym.envs.backends import FILES, REMOTE_ARGUMENTS, Sides
from workgym.envs.base import Env
from workgym.envs.contract import Board, Episodes, Ints
from workgym.envs.gyms import env_ids_of
from workgym.envs.live import Live, LiveBackend, LiveLanes
from workgym.envs.wire import board_values, call_of, move_of, pack
from workgym.services import leases, rest
from workgym.services.kernel import BadInput, Conflict, NotFound, Service, WorkgymError, did_you_mean
from workgym.services.leases import Lease
from workgym.services.storage import Database, Transaction

MOST_LANES = 4096
MOST_FEATURES = 2**24  # of the observations of all lanes, which one answer holds
SHORTEST_S, LONGEST_S = 1, 86_400
LEASE_ID = r"^[A-Za-z0-9_-]+$"
_SEAT_S = 3600  # a session that thinks longer than this is over
_log = logging.getLogger(__name__)


class NewLease(rest.Request):
    """Worlds that are wanted."""

    id: str = Field(min_length=16, max_length=80, pattern=LEASE_ID, description="Hard to guess")
    env_id: str = Field(max_length=200, description="Gymnasium id")
    arguments: dict[str, Any] = Field(default_factory=dict, description="Of the env, without its backend")
    lanes: int = Field(1, ge=1, le=MOST_LANES, description="How many worlds")
    seconds: int = Field(60, ge=SHORTEST_S, le=LONGEST_S, description="How long without a sign of life")


class LeaseMade(BaseModel):
    """Worlds that are lent."""

    id: str = Field(description="Of the lease")
    version: str = Field(description="Of the task: dynamics, reward and layout")
    worlds: list[int] = Field(description="Ids of the lanes' worlds")
    seconds: int = Field(description="How long the lease lasts without a sign of life")


class LeaseState(BaseModel):
    """How far a lease has come."""

    calls: int = Field(description="Calls that were carried out")
    facts: list[dict[str, int]] = Field(description="Each lane's counters")


class _Held(NamedTuple):
    lease: Lease
    sides: Sides
    worlds: LiveLanes
    turn: Lock  # the lanes share buffers


class Rooms:
    """The leased worlds of a service.

    Args:
        service: whose envs are played.
        database: where its worlds are.
        clock: seconds of Unix time.
    """

    def __init__(self, service: Service, database: Database, clock: Callable[[], float] = time.time) -> None:
        self.service = service
        self.env_ids = env_ids_of(service.name)
        self.database = database
        self.clock = clock
        self._held: dict[str, _Held] = {}
        database.create(leases.metadata)

    def open(self, wish: NewLease, holder: str) -> LeaseMade:
        """Lend worlds; the same wish again gives the same lease.

        Raises:
            BadInput: the service has no such env, or the env refuses the arguments.
            Conflict: the id is taken.
        """
        purpose = json.dumps([wish.env_id, wish.arguments, wish.lanes], sort_keys=True)
        sides = self._sides(purpose)
        features = wish.lanes * math.prod(sides.task.observation_space.shape)
        if features > MOST_FEATURES:
            raise BadInput(
                f"expected lanes with at most {MOST_FEATURES:,} features together, found {features:,}; "
                "take fewer lanes a lease"
            )
        self.reclaim()
        live = sides.live(wish.lanes)
        try:
            lease = self._open(wish, holder, purpose, live)
        except Conflict:  # the same request came twice at the same moment
            with self.database.read() as tx:
                lease = leases.find_lease(tx, wish.id)
        if lease.purpose != purpose:
            raise BadInput("expected a fresh lease id, found one that holds other worlds; choose another")
        return LeaseMade(
            id=lease.id, version=sides.task.version, worlds=list(lease.worlds), seconds=lease.seconds
        )

    def _open(self, wish: NewLease, holder: str, purpose: str, live: Live) -> Lease:
        with self.database.write() as tx:
            try:
                return leases.find_lease(tx, wish.id)
            except NotFound:
                worlds = LiveLanes.open(tx, live, wish.lanes)
                lease = Lease(wish.id, holder, purpose, tuple(worlds.ids), wish.seconds)
                leases.open_lease(tx, lease, self.clock())
                return lease

    def advance(self, lease_id: str, values: dict[str, Any], body: bytes) -> bytes:
        """Carry a move out once; the board, packed."""
        call = call_of(values)

        def act(tx: Transaction, held: _Held) -> bytes:
            task = held.sides.task
            move = move_of(values, held.worlds.lanes, task.action_shape, len(task.families))
            board = held.worlds.advance(tx, move.mode, move.actions, move.episodes)
            return pack(board_values(board))

        return self._once(lease_id, call, body, act)

    def load(self, lease_id: str, values: dict[str, Any], body: bytes) -> bytes:
        """Put canonical states into lanes once; the board of all lanes, packed."""
        call = call_of(values)

        def act(tx: Transaction, held: _Held) -> bytes:
            states = _states_of(values, held.worlds.lanes)
            return pack(board_values(held.worlds.load(tx, states, held.sides.task.action_shape)))

        return self._once(lease_id, call, body, act)

    def _once(
        self, lease_id: str, call: int, body: bytes, act: Callable[[Transaction, _Held], bytes]
    ) -> bytes:
        held = self._room(lease_id)
        with held.turn, self.database.write() as tx:
            before = leases.answered(tx, lease_id, call, body)
            if before is not None:
                return before
            answer = act(tx, held)
            leases.keep_answer(tx, held.lease, body, answer, self.clock())
        return answer

    def states(self, lease_id: str, lanes: list[int] | None) -> dict[str, Any]:
        """Canonical states of some lanes, or of all."""
        held = self._room(lease_id)
        wanted = _asked(lanes, held.worlds.lanes)
        with self.database.read() as tx:
            return {"states": {str(lane): held.worlds.state(tx, lane) for lane in wanted}}

    def look(self, lease_id: str, lanes: list[int] | None) -> LeaseState:
        """How far a lease has come, and the counters of some lanes, or of all."""
        held = self._room(lease_id)
        with self.database.read() as tx:
            facts = [held.worlds.facts(tx, lane) for lane in _asked(lanes, held.worlds.lanes)]
            return LeaseState(calls=leases.calls_of(tx, lease_id), facts=facts)

    def renew(self, lease_id: str) -> None:
        """The holder lives."""
        with self.database.write() as tx:
            leases.renew(tx, leases.find_lease(tx, lease_id), self.clock())

    def end(self, lease_id: str) -> None:
        """Take worlds back; done already is done."""
        with self.database.write() as tx:
            try:
                lease = leases.find_lease(tx, lease_id)
            except NotFound:
                return
            self._drop(tx, lease)

    def reclaim(self) -> int:
        """Drop the worlds of leases that have expired; how many leases."""
        with self.database.write() as tx:
            gone = leases.expired(tx, self.clock())
            for lease in gone:
                _log.warning(
                    "the lease of %s expired; its %d worlds are dropped", lease.holder, len(lease.worlds)
                )
                self._drop(tx, lease)
        return len(gone)

    def _drop(self, tx: Transaction, lease: Lease) -> None:
        held = self._held.pop(lease.id, None) or self._hold(lease)
        if leases.end_lease(tx, lease.id):
            held.worlds.drop(tx)

    def env(self, env_id: str, arguments: Mapping[str, Any]) -> gym.Env[Any, Any]:
        """An env of this process in a leased world, for a client that does not step by itself."""
        split = str(arguments.get("split", "train"))
        sides = self._sides(json.dumps([env_id, {**arguments, "split": split}, 1], sort_keys=True))
        env = Env(sides.task, _Seat(self, sides), split)
        limit = gym.spec(env_id).max_episode_steps
        return env if limit is None else gym.wrappers.TimeLimit(env, limit)

    def lend(self, worlds: Sequence[int], seconds: int, purpose: str) -> Lease:
        """A lease of worlds that are open already."""
        lease = Lease(secrets.token_hex(16), "session", purpose, tuple(worlds), seconds)
        with self.database.write() as tx:
            leases.open_lease(tx, lease, self.clock())
        return lease

    def _room(self, lease_id: str) -> _Held:
        held = self._held.get(lease_id)
        if held is None:
            with self.database.read() as tx:
                lease = leases.find_lease(tx, lease_id)
            held = self._held.setdefault(lease_id, self._hold(lease))
        return held

    def _hold(self, lease: Lease) -> _Held:
        sides = self._sides(lease.purpose)
        names = [f"{lease.id[:12]} {lane}" for lane in range(len(lease.worlds))]
        worlds = LiveLanes(sides.live(len(lease.worlds)), lease.worlds, names)
        return _Held(lease, sides, worlds, Lock())

    def _sides(self, purpose: str) -> Sides:
        env_id, arguments, _ = json.loads(purpose)
        if env_id not in self.env_ids:
            raise BadInput(did_you_mean(f"env of {self.service.name}", env_id, list(self.env_ids)))
        for name in (*REMOTE_ARGUMENTS, *FILES):
            if name in arguments:
                raise BadInput(
                    f"expected the arguments of {env_id} without {name!r}, which is the server's own"
                )
        return _sides_of(env_id, json.dumps(arguments, sort_keys=True))


class _Seat(LiveBackend):
    """One leased world of this server; a server that is killed reclaims it when it is back."""

    def __init__(self, rooms: Rooms, sides: Sides) -> None:
        super().__init__(sides.live(1), 1, sides.task.action_shape, database=rooms.database)
        self._rooms = rooms
        purpose = json.dumps([sides.task.env_id, {}, 1])
        self._lease = rooms.lend(self._worlds.ids, _SEAT_S, purpose)
        self._renewed = rooms.clock()

    def advance(self, mode: NDArray[np.int8], actions: Ints, episodes: Episodes) -> Board:
        """Let the lane act, begin or stand still, and show a sign of life now and then."""
        if self._rooms.clock() > self._renewed + _SEAT_S / 10:
            self._rooms.renew(self._lease.id)
            self._renewed = self._rooms.clock()
        return super().advance(mode, actions, episodes)

    def close(self) -> None:
        """Give the world back."""
        self._rooms.end(self._lease.id)
        self._closed = True


@lru_cache(maxsize=32)
def _sides_of(env_id: str, arguments: str) -> Sides:
    try:
        env = cast("Any", gym.make(env_id, backend="twin", disable_env_checker=True, **json.loads(arguments)))
    except (WorkgymError, TypeError, ValueError, ArithmeticError, gym.error.Error) as error:
        raise BadInput(f"{env_id} refuses the arguments {arguments[:200]}: {error}") from error
    sides: Sides = env.unwrapped.sides
    env.close()
    return sides


def _asked(lanes: list[int] | None, n: int) -> Sequence[int]:
    """The lanes that were asked for, all of them by default."""
    wanted = range(n) if lanes is None else lanes
    for lane in wanted:
        if not 0 <= lane < n:
            raise BadInput(f"expected lanes in 0..{n - 1}, found {lane}")
    return wanted


def _states_of(values: dict[str, Any], lanes: int) -> dict[int, bytes]:
    given = values.get("states")
    wanted = f"expected 'states' to be a map from lanes 0..{lanes - 1} to bytes"
    if not isinstance(given, dict) or not given:
        raise BadInput(f"{wanted}, found {type(given).__name__}")
    states = {}
    for lane, told in given.items():
        data = _bytes_of(told) if isinstance(told, str) else told
        if not (_is_lane(lane, lanes) and isinstance(data, bytes)):
            raise BadInput(f"{wanted}, found {str(lane)[:20]!r}: {type(data).__name__}")
        states[int(lane)] = data
    return states


def _is_lane(told: Any, lanes: int) -> bool:
    """Whether a key names a lane; Python reads no number of thousands of digits."""
    text = str(told)
    return text.isdecimal() and len(text) < 6 and int(text) < lanes


def _bytes_of(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None
