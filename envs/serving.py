"""The gym of a service: worlds lent to trainers over HTTP, many a request.

    POST   /gym/leases                   take worlds for an env; the holder chooses the lease's id
    GET    /gym/leases/{lease}           how many calls were carried out, and the lanes' counters
    POST   /gym/leases/{lease}/advance   act in, begin or rest many worlds, in one transaction
    GET    /gym/leases/{lease}/states    canonical states of lanes
    PUT    /gym/leases/{lease}/states    put canonical states into lanes
    POST   /gym/leases/{lease}/renew     show a sign of life
    DELETE /gym/leases/{lease}           give the worlds back

Bodies are msgpack or JSON (`workgym.envs.wire`). Calls that change something are numbered and happen once,
however often they are sent. All that a lease is stands in the database: the server may be killed and
started again, or be several. Who does not show up loses the lease, and its worlds are dropped.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from threading import Lock
from typing import Annotated, Any, NamedTuple, cast

import gymnasium as gym
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from workgym.envs.backends import REMOTE_ARGUMENTS, Sides
from workgym.envs.live import Live, LiveLanes
from workgym.envs.wire import (
    JSON,
    MSGPACK,
    as_json,
    board_values,
    call_of,
    from_json,
    move_of,
    pack,
    unpack,
)
from workgym.services import leases, rest
from workgym.services.kernel import BadInput, Conflict, NotFound, Service, WorkgymError, did_you_mean
from workgym.services.leases import Lease
from workgym.services.problems import documented
from workgym.services.settings import Settings
from workgym.services.storage import Database, Transaction

MOST_LANES = 4096
SHORTEST_S, LONGEST_S = 1, 86_400
_EVERY_S = 5.0  # between two looks for expired leases
_log = logging.getLogger(__name__)

LeaseId = Annotated[str, InPath(min_length=16, max_length=80, pattern=r"^[A-Za-z0-9_-]+$")]


class NewLease(rest.Request):
    """Worlds that are wanted."""

    id: str = Field(min_length=16, max_length=80, pattern=r"^[A-Za-z0-9_-]+$", description="Hard to guess")
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
        self.reclaim()
        live = sides.live(wish.lanes)
        self.database.create(live.metadata)
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
        wanted = range(held.worlds.lanes) if lanes is None else lanes
        for lane in wanted:
            if not 0 <= lane < held.worlds.lanes:
                raise BadInput(f"expected lanes in 0..{held.worlds.lanes - 1}, found {lane}")
        with self.database.read() as tx:
            return {"states": {str(lane): held.worlds.state(tx, lane) for lane in wanted}}

    def look(self, lease_id: str) -> LeaseState:
        """How far a lease has come."""
        held = self._room(lease_id)
        with self.database.read() as tx:
            facts = [held.worlds.facts(tx, lane) for lane in range(held.worlds.lanes)]
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
        if env_id not in self.service.env_ids:
            raise BadInput(did_you_mean(f"env of {self.service.name}", env_id, list(self.service.env_ids)))
        for name in REMOTE_ARGUMENTS:
            if name in arguments:
                raise BadInput(f"expected the arguments of {env_id} without {name!r}; the server chooses it")
        return _sides_of(env_id, json.dumps(arguments, sort_keys=True))


@lru_cache(maxsize=32)
def _sides_of(env_id: str, arguments: str) -> Sides:
    try:
        env = cast("Any", gym.make(env_id, backend="twin", disable_env_checker=True, **json.loads(arguments)))
    except (WorkgymError, TypeError, ValueError, gym.error.Error) as error:
        raise BadInput(f"{env_id} refuses the arguments {arguments[:200]}: {error}") from error
    sides: Sides = env.unwrapped.sides
    env.close()
    return sides


def _states_of(values: dict[str, Any], lanes: int) -> dict[int, bytes]:
    given = values.get("states")
    wanted = f"expected 'states' to be a map from lanes 0..{lanes - 1} to bytes"
    if not isinstance(given, dict) or not given:
        raise BadInput(f"{wanted}, found {type(given).__name__}")
    states = {}
    for lane, told in given.items():
        data = _bytes_of(told) if isinstance(told, str) else told
        if not (str(lane).isdecimal() and int(lane) < lanes and isinstance(data, bytes)):
            raise BadInput(f"{wanted}, found {str(lane)[:20]!r}: {type(data).__name__}")
        states[int(lane)] = data
    return states


def _bytes_of(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


def mount(app: FastAPI, service: Service, settings: Settings) -> None:
    """Add the gym of a service to its application."""
    if not settings.gym or not service.env_ids:
        return
    rooms = Rooms(service, app.state.store.database)
    app.state.rooms = rooms
    app.include_router(_router(rooms))
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def while_running(served: FastAPI) -> AsyncIterator[Any]:
        async with inner(served) as state:
            reaper = asyncio.create_task(_reclaim_forever(rooms))
            try:
                yield state
            finally:
                reaper.cancel()

    app.router.lifespan_context = while_running


async def _reclaim_forever(rooms: Rooms) -> None:
    while True:
        await asyncio.sleep(_EVERY_S)
        try:
            await run_in_threadpool(rooms.reclaim)
        except WorkgymError as error:
            _log.warning("expired leases stay for now: %s", error)


def _router(rooms: Rooms) -> APIRouter:  # one closure an operation
    router = APIRouter(prefix="/gym/leases", tags=["gym"])
    changes = documented(404, 409, 413, 422, 503)
    binary: dict[int | str, dict[str, Any]] = {
        200: {"description": "A board", "content": {MSGPACK: {}, JSON: {}}}
    }

    @router.post("", summary="Lease worlds", status_code=201, response_model=LeaseMade, responses=changes)
    def open_lease(wish: NewLease, request: Request) -> LeaseMade:
        """Worlds for an env, before anything happened in them."""
        return rooms.open(wish, request.headers.get("x-actor", "trainer"))

    @router.get(
        "/{lease}", summary="Look at a lease", response_model=LeaseState, responses=documented(404, 422, 503)
    )
    def look_at_lease(lease: LeaseId) -> LeaseState:
        """How many calls were carried out, and each lane's counters."""
        return rooms.look(lease)

    @router.post("/{lease}/advance", summary="Advance worlds", responses={**changes, **binary})
    async def advance_worlds(lease: LeaseId, request: Request) -> Response:
        """Act in, begin or rest many worlds, in one transaction."""
        body = await request.body()
        packed = await run_in_threadpool(rooms.advance, lease, _read(request, body), body)
        return _answer(request, packed)

    @router.get("/{lease}/states", summary="Read states", responses={**documented(404, 422, 503), **binary})
    async def read_states(lease: LeaseId, request: Request, lanes: str | None = None) -> Response:
        """Canonical states of lanes, given as `lanes=0,3`, or of all."""
        wanted = None if lanes is None else _lane_numbers(lanes)
        values = await run_in_threadpool(rooms.states, lease, wanted)
        return _answer(request, pack(values))

    @router.put("/{lease}/states", summary="Load states", responses={**changes, **binary})
    async def load_states(lease: LeaseId, request: Request) -> Response:
        """Put canonical states into lanes; the board of all lanes afterwards."""
        body = await request.body()
        packed = await run_in_threadpool(rooms.load, lease, _read(request, body), body)
        return _answer(request, packed)

    @router.post("/{lease}/renew", summary="Renew a lease", status_code=204, responses=changes)
    def renew_lease(lease: LeaseId) -> None:
        """Show a sign of life; every call that changes something does so too."""
        rooms.renew(lease)

    @router.delete("/{lease}", summary="End a lease", status_code=204, responses=documented(422, 503))
    def end_lease(lease: LeaseId) -> None:
        """Give the worlds back."""
        rooms.end(lease)

    return router


def _read(request: Request, body: bytes) -> dict[str, Any]:
    kind = request.headers.get("content-type", JSON).split(";")[0].strip().lower()
    return unpack(body) if kind == MSGPACK else from_json(body)


def _answer(request: Request, packed: bytes) -> Response:
    if MSGPACK in request.headers.get("accept", "") or MSGPACK in request.headers.get("content-type", ""):
        return Response(packed, media_type=MSGPACK)
    return Response(as_json(unpack(packed)), media_type=JSON)


def _lane_numbers(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isdecimal() and len(part) < 6 for part in parts):
        raise BadInput(f"expected lanes as numbers between commas, found {text[:40]!r}")
    return [int(part) for part in parts]
