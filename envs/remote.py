"""Lanes in the worlds of a server: leases over HTTP, each call carried out once.

A call has a number and a deadline. An attempt that fails is made again, with the same number, until the
deadline; what comes back is then what the first one did. A call that is given up raises an
`InfrastructureFault` that says whether the step was committed, or drops the episodes of its lanes.
"""

from __future__ import annotations

import json
import os
import secrets
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from threading import Event, Thread
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from workgym.envs.backends import FILES, REMOTE_ARGUMENTS, Sides, Transport
from workgym.envs.contract import BEGIN, REST, Backend, Board, Episodes, Ints
from workgym.envs.gyms import gyms
from workgym.envs.line import Line
from workgym.envs.wire import JSON, Move, board_of, pack, unpack
from workgym.services.kernel import BadInput, InfrastructureFault, NotFound

_OPENING_S = 180.0  # a server that is asked for an env for the first time compiles its kernels


class Room:
    """Leased worlds for some lanes of an env.

    Args:
        line: to the server.
        env_id: Gymnasium id.
        arguments: of the env, as the server takes them.
        lanes: how many.
        decisions: shape of one action.
    """

    def __init__(
        self, line: Line, env_id: str, arguments: Mapping[str, Any], lanes: int, decisions: tuple[int, ...]
    ) -> None:
        self.line = line
        self.lanes = lanes
        self.decisions = decisions
        self._wish = {
            "env_id": env_id,
            "arguments": dict(arguments),
            "lanes": lanes,
            "seconds": line.transport.lease_s,
        }
        self._calls = 0
        self._settled = True
        self._open()

    def _open(self) -> None:
        self.id = secrets.token_hex(16)
        try:
            wish = json.dumps({"id": self.id, **self._wish}).encode()
        except TypeError as error:
            raise BadInput(f"expected arguments that JSON knows with a remote backend: {error}") from error
        patience = max(_OPENING_S, self.line.transport.deadline_s)
        made = self.line.call("POST", "/gym/leases", wish, JSON, patience)
        self.version = str(json.loads(made)["version"])
        self._calls = 0

    def advance(self, mode: NDArray[np.int8], actions: Ints, episodes: Episodes) -> Board:
        """Act, begin or stand still, once."""
        if not self._settled:
            self._settle(bool((mode == BEGIN).all()))
        move = Move(self._calls + 1, mode, actions, episodes)
        return self._changed("POST", "advance", pack(move.values()))

    def load(self, states: Mapping[int, bytes]) -> Board:
        """Put canonical states into lanes, once."""
        if not self._settled:
            self._settle(len(states) == self.lanes)
        body = pack({"call": self._calls + 1, "states": {str(lane): data for lane, data in states.items()}})
        return self._changed("PUT", "states", body)

    def _changed(self, method: str, verb: str, body: bytes) -> Board:
        try:
            answer = self.line.call(method, f"/gym/leases/{self.id}/{verb}", body)
        except InfrastructureFault:
            self._settled = False
            raise
        except NotFound as error:
            self._settled = False
            raise InfrastructureFault(f"the worlds are gone: {error}", "no") from error
        self._calls += 1
        return board_of(unpack(answer))

    def _settle(self, afresh: bool) -> None:
        """Find out what became of a call that was given up; only what wipes all worlds may follow it."""
        if not afresh:
            raise InfrastructureFault(
                "a call before this one was given up, so nobody knows where the worlds are; reset the env",
                "no",
            )
        try:
            told = json.loads(self.line.call("GET", f"/gym/leases/{self.id}?lanes=", kind=JSON))
            self._calls = int(told["calls"])
        except NotFound:
            self._open()
        self._settled = True

    def states(self, lanes: Sequence[int] | None = None) -> dict[int, bytes]:
        """Canonical states of some lanes, or of all."""
        if not self._settled:
            raise InfrastructureFault("a call was given up; reset the env", "no")
        which = "" if lanes is None else "?lanes=" + ",".join(map(str, lanes))
        told = unpack(self.line.call("GET", f"/gym/leases/{self.id}/states{which}"))
        return {int(lane): data for lane, data in told["states"].items()}

    def facts(self, lane: int) -> dict[str, int]:
        """A lane's counters."""
        told = json.loads(self.line.call("GET", f"/gym/leases/{self.id}?lanes={lane}", kind=JSON))
        return cast("dict[str, int]", told["facts"][0])

    def close(self) -> None:
        """Give the worlds back; a server that cannot be reached reclaims them by itself."""
        try:
            self.line.call(
                "DELETE", f"/gym/leases/{self.id}", deadline_s=min(5.0, self.line.transport.deadline_s)
            )
        except InfrastructureFault:
            pass
        finally:
            self.line.close()


class RemoteBackend:
    """N lanes in worlds of a server.

    Args:
        sides: of the env; the twin answers planners and draws pages.
        lanes: how many.
        base_url: of the server.
        arguments: of the env, as the server takes them.
        transport: how patient to be.
        at_end: called once, when the backend is closed or forgotten.

    Attributes:
        dropped: episodes that were dropped because of faults.
    """

    def __init__(
        self,
        sides: Sides,
        lanes: int,
        base_url: str,
        arguments: Mapping[str, Any],
        transport: Transport,
        at_end: Callable[[], object] | None = None,
    ) -> None:
        self.lanes = lanes
        self.dropped = 0
        self._at_end = weakref.finalize(self, at_end) if at_end else None
        self._sides = sides
        self._transport = transport
        task = sides.task
        parts = np.array_split(np.arange(lanes), min(transport.connections, lanes))
        self._parts = [slice(int(part[0]), int(part[-1]) + 1) for part in parts]
        self._rooms = [
            Room(Line(base_url, transport), task.env_id, arguments, len(part), task.action_shape)
            for part in parts
        ]
        self._workers = ThreadPoolExecutor(len(parts)) if len(parts) > 1 else None
        self._mirror: Backend | None = None
        self._moved = True
        self._closed = Event()
        pulse = Thread(target=_keep_alive, args=(weakref.ref(self), self._closed, transport), daemon=True)
        pulse.start()
        for room in self._rooms:
            if room.version != task.version:
                self.close()
                raise BadInput(
                    f"expected a server with {task.env_id} in version {task.version}, found {room.version}; "
                    "install the same workgym on both sides"
                )

    def advance(self, mode: NDArray[np.int8], actions: Ints, episodes: Episodes) -> Board:
        """Let each lane act, begin or stand still; lanes of different connections at the same time."""
        self._moved = True
        moves = [
            (room, mode[part], actions[part], _part_of(episodes, part))
            for room, part in zip(self._rooms, self._parts, strict=True)
        ]
        if self._workers is None:
            return self._try(*moves[0])
        return _joined(list(self._workers.map(lambda move: self._try(*move), moves)))

    def _try(self, room: Room, mode: NDArray[np.int8], actions: Ints, episodes: Episodes) -> Board:
        try:
            return room.advance(mode, actions, episodes)
        except InfrastructureFault:
            if self._transport.on_fault == "raise":
                raise
        return self._nothing_of(room.lanes)

    def _nothing_of(self, lanes: int) -> Board:
        """What lanes show whose episodes are dropped."""
        task = self._sides.task
        self.dropped += lanes
        nothing = np.zeros(lanes, dtype=np.int64)
        everything = np.ones(lanes, dtype=np.bool_)
        masked = self._sides.twin(1)
        width = masked.advance(np.full(1, REST, np.int8), *_nothing_asked(task.action_shape)).mask.shape[1]
        return Board(
            np.zeros((lanes, *task.observation_space.shape), dtype=np.float32),
            np.ones((lanes, width), dtype=np.bool_),
            np.zeros((len(task.terms), lanes), dtype=np.int64),
            ~everything,
            nothing,
            nothing,
            np.zeros((lanes, task.rows), dtype=np.int64) if task.rows else None,
            everything,
        )

    def _place(self, lane: int) -> tuple[Room, int]:
        for room, part in zip(self._rooms, self._parts, strict=True):
            if part.start <= lane < part.stop:
                return room, lane - part.start
        raise BadInput(f"expected a lane in 0..{self.lanes - 1}, found {lane}")

    def state_bytes(self, lane: int) -> bytes:
        """The lane's canonical state."""
        room, at = self._place(lane)
        return room.states([at])[at]

    def load_state(self, lane: int, data: bytes) -> Board:
        """Put a canonical state into a lane; what all lanes show afterwards."""
        chosen, at = self._place(lane)
        self._moved = True
        boards = []
        for room in self._rooms:
            if room is chosen:
                boards.append(room.load({at: data}))
            else:
                mode = np.full(room.lanes, REST, dtype=np.int8)
                boards.append(room.advance(mode, *_nothing_asked(room.decisions, room.lanes)))
        return _joined(boards)

    def facts(self, lane: int) -> dict[str, int]:
        """The lane's counters."""
        room, at = self._place(lane)
        return room.facts(at)

    def render(self, lane: int) -> str:
        """The lane as a page of text."""
        return self.mirror().render(lane)

    def mirror(self) -> Backend:
        """A twin with the states of all lanes, as they are now."""
        if self._mirror is None:
            self._mirror = self._sides.twin(self.lanes)
        if self._moved:
            for room, part in zip(self._rooms, self._parts, strict=True):
                for lane, data in room.states().items():
                    self._mirror.load_state(part.start + lane, data)
            self._moved = False
        return self._mirror

    def __getattr__(self, name: str) -> Any:
        sides = self.__dict__.get("_sides")
        if sides is None or name not in sides.planned:
            raise AttributeError(name)
        return getattr(self.mirror(), name)

    def renew(self) -> None:
        """Show a sign of life in every room."""
        for room in self._rooms:
            line = Line(room.line.base_url, room.line.transport)
            with closing(line), suppress(InfrastructureFault, NotFound):  # the next call of the env will tell
                line.call("POST", f"/gym/leases/{room.id}/renew", deadline_s=5.0)

    def close(self) -> None:
        """Give the worlds back."""
        if not self._closed.is_set():
            self._closed.set()
            for room in self._rooms:
                room.close()
            if self._workers is not None:
                self._workers.shutdown()
            if self._at_end is not None:
                self._at_end()

    def __del__(self) -> None:
        if "_closed" in self.__dict__:
            self._closed.set()


def _keep_alive(backend: weakref.ref[RemoteBackend], closed: Event, transport: Transport) -> None:
    """Renew the leases while a learner thinks."""
    while not closed.wait(transport.lease_s / 3):
        living = backend()
        if living is None:
            return
        living.renew()
        del living


def _part_of(episodes: Episodes, part: slice) -> Episodes:
    return Episodes(episodes.salt, episodes.seed[part], episodes.number[part], episodes.family[part])


def _nothing_asked(decisions: tuple[int, ...], lanes: int = 1) -> tuple[Ints, Episodes]:
    zeros = np.zeros(lanes, dtype=np.int64)
    return np.zeros((lanes, *decisions), dtype=np.int64), Episodes(np.uint64(0), zeros, zeros, zeros)


def _joined(boards: Sequence[Board]) -> Board:
    """The boards of all lanes as one."""
    if len(boards) == 1:
        return boards[0]
    dropped = None
    if any(board.dropped is not None for board in boards):
        dropped = np.concatenate(
            [np.zeros(len(b.ended), np.bool_) if b.dropped is None else b.dropped for b in boards]
        )
    credits = [board.credit for board in boards]
    return Board(
        np.concatenate([board.obs for board in boards]),
        np.concatenate([board.mask for board in boards]),
        np.concatenate([board.terms for board in boards], axis=1),
        np.concatenate([board.ended for board in boards]),
        np.concatenate([board.refusal for board in boards]),
        np.concatenate([board.violations for board in boards]),
        None if credits[0] is None else np.concatenate([c for c in credits if c is not None]),
        dropped,
    )


def remote_lanes(sides: Sides, n: int, arguments: Mapping[str, Any], transport: Transport) -> RemoteBackend:
    """N lanes at the server that the arguments of an env name, or in a container that is started.

    Raises:
        BadInput: no `base_url`, or an argument that cannot travel.
    """
    base_url = arguments.get("base_url") or os.environ.get("WORKGYM_URL")
    if arguments["backend"] == "http" and not base_url:
        raise BadInput(
            "expected base_url or the variable WORKGYM_URL with backend 'http', such as "
            "http://127.0.0.1:8000; found neither"
        )
    sent = {
        name: value
        for name, value in arguments.items()
        if name not in (*REMOTE_ARGUMENTS, "family") and value is not None
    }
    for name in FILES:
        if name in sent:
            raise BadInput(
                f"expected no {name} with a remote backend, whose server does not have the file; "
                "use backend 'twin' or 'embedded'"
            )
    if arguments["backend"] == "docker":
        from workgym.envs.containers import serving  # brings the Docker SDK

        container = serving(_service_of(sides.task.env_id))
        transport = replace(transport, token=container.token)
        return RemoteBackend(sides, n, container.base_url, sent, transport, container.close)
    assert base_url is not None
    return RemoteBackend(sides, n, base_url, sent, transport)


def _service_of(env_id: str) -> str:
    for gym in gyms():
        if gym.env_id == env_id:
            return gym.service
    raise BadInput(f"expected {env_id} among the gyms of an installed service, found it nowhere")
