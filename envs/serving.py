"""The gym of a service: worlds lent to trainers over HTTP, many a request.

    POST   /gym/leases                   take worlds for an env; the holder chooses the lease's id
    GET    /gym/leases/{lease}           how many calls were carried out, and the lanes' counters
    POST   /gym/leases/{lease}/advance   act in, begin or rest many worlds, in one transaction
    GET    /gym/leases/{lease}/states    canonical states of lanes
    PUT    /gym/leases/{lease}/states    put canonical states into lanes
    POST   /gym/leases/{lease}/renew     show a sign of life
    DELETE /gym/leases/{lease}           give the worlds back

Bodies are msgpack or JSON (`workgym.envs.wire`). Calls that change something are numbered and happen once,
however often they are sent. OpenEnv's wire (`workgym.envs.openenv`) is beside it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi import Path as InPath
from starlette.concurrency import run_in_threadpool

from workgym.envs import openenv
from workgym.envs.gyms import env_ids_of
from workgym.envs.rooms import LEASE_ID, LeaseMade, LeaseState, NewLease, Rooms
from workgym.envs.wire import (
    JSON,
    MSGPACK,
    as_json,
    from_json,
    pack,
    unpack,
)
from workgym.services.kernel import BadInput, Service, WorkgymError
from workgym.services.problems import documented
from workgym.services.settings import Settings

_EVERY_S = 5.0  # between two looks for expired leases
_log = logging.getLogger(__name__)

LeaseId = Annotated[str, InPath(min_length=16, max_length=80, pattern=LEASE_ID)]


def mount(app: FastAPI, service: Service, settings: Settings) -> None:
    """Add the gym of a service to its application."""
    if not settings.gym or not env_ids_of(service.name):
        return
    rooms = Rooms(service, app.state.store.database)
    app.state.rooms = rooms
    app.include_router(_router(rooms))
    app.include_router(openenv.router(rooms.env, rooms.env_ids, service.title))
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
    def look_at_lease(lease: LeaseId, lanes: str | None = None) -> LeaseState:
        """How many calls were carried out, and the counters of lanes, given as `lanes=0,3`, or of all."""
        return rooms.look(lease, _lane_numbers(lanes))

    @router.post("/{lease}/advance", summary="Advance worlds", responses={**changes, **binary})
    async def advance_worlds(lease: LeaseId, request: Request) -> Response:
        """Act in, begin or rest many worlds, in one transaction."""
        body = await request.body()
        packed = await run_in_threadpool(rooms.advance, lease, _read(request, body), body)
        return _answer(request, packed)

    @router.get("/{lease}/states", summary="Read states", responses={**documented(404, 422, 503), **binary})
    async def read_states(lease: LeaseId, request: Request, lanes: str | None = None) -> Response:
        """Canonical states of lanes, given as `lanes=0,3`, or of all."""
        values = await run_in_threadpool(rooms.states, lease, _lane_numbers(lanes))
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


def _lane_numbers(text: str | None) -> list[int] | None:
    """Lanes of a query; None means all, an empty text none."""
    if text is None:
        return None
    parts = text.split(",") if text else []
    if not all(part.isdecimal() and len(part) < 6 for part in parts):
        raise BadInput(f"expected lanes as numbers between commas, found {text[:40]!r}")
    return sorted({int(part) for part in parts})
