"""The wire of OpenEnv: any of its clients plays in the worlds of a server.

    from openenv import GenericEnvClient
    with GenericEnvClient(base_url="http://localhost:8000").sync() as env:
        seen = env.reset(seed=1).observation
        env.step({"tool": "decide", "arguments": {"action": seen["legal"][0]}})
        env.step({"action": 13})  # the numeric view of the same decision

A WebSocket is a session, and a session is one world; it goes back when the socket closes. Over HTTP, where
OpenEnv makes a new env for every request, a session is what `/reset` names in `metadata.episode_id`.
"""

from __future__ import annotations

import inspect
import json
import logging
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Annotated, Any

import anyio
import gymnasium as gym
from anyio.to_thread import run_sync
from fastapi import APIRouter, FastAPI, Query, WebSocket, WebSocketDisconnect
from gymnasium.envs.registration import load_env_creator
from pydantic import ValidationError
from starlette.requests import HTTPConnection

from workgym.envs.openenv_models import (
    Action,
    Answer,
    EpisodeId,
    Health,
    Metadata,
    Observation,
    Reset,
    Schemas,
    State,
    Step,
)
from workgym.envs.openenv_sessions import Full, MakeEnv, Session, Sessions
from workgym.services.kernel import BadInput, InfrastructureFault, WorkgymError
from workgym.services.problems import documented

CAPACITY = 64  # worlds that are played at once; each is one in the database
IDLE_S = 900.0  # a language model thinks for minutes, a dead client for ever
NAMELESS = "expected the episode_id that /reset told in its metadata, found none; a step needs its session"
WORKERS = 16  # threads, so that steps leave some of the server's for the business
_TRY_LATER, _GOING_AWAY = 1013, 1001  # codes of a WebSocket's close
_log = logging.getLogger(__name__)


def router(
    make_env: MakeEnv,
    env_ids: Sequence[str],
    title: str,
    about: str = "",
    capacity: int = CAPACITY,
    idle_s: float = IDLE_S,
) -> APIRouter:
    """The routes of OpenEnv, for the root of a server.

    Args:
        make_env: from an id and keyword arguments (`split`) to an env with a world of its own.
        env_ids: what can be played; the first is what a reset without `env_id` means.
        title: of the service.
        about: what it does.
        capacity: sessions at once; one more is told CAPACITY_REACHED.
        idle_s: seconds without a word after which a session's world goes back.
    """
    sessions = Sessions(make_env, tuple(env_ids), capacity, idle_s)

    @asynccontextmanager
    async def while_running(app: FastAPI) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_reap, sessions)
            yield
            tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await run_sync(sessions.close_all)

    routes = APIRouter(lifespan=while_running)
    routes.include_router(_health())
    routes.include_router(_about(env_ids, title, about))
    routes.include_router(_over_http(sessions))
    routes.include_router(_over_websocket(sessions))
    return routes


async def _reap(sessions: Sessions) -> None:
    while True:
        await anyio.sleep(min(sessions.idle_s / 4, 30.0))
        await run_sync(sessions.reap)


def _about(env_ids: Sequence[str], title: str, about: str) -> APIRouter:
    routes = APIRouter(tags=["gym"])
    metadata = Metadata(
        name=title, description=about or title, readme_content=_readme(env_ids), version=version("workgym")
    )
    schemas = Schemas(
        action=Action.model_json_schema(),
        observation=Observation.model_json_schema(),
        state=State.model_json_schema(),
    )

    @routes.get("/metadata", summary="Tell what can be played")
    def describe_gym() -> Metadata:
        """The documentation of each env is the `readme_content`."""
        return metadata

    @routes.get("/schema", summary="Tell the shapes of actions, observations and states")
    def show_gym_schemas() -> Schemas:
        """JSON schemas; those of the tools come with a reset."""
        return schemas

    return routes


def _health() -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.get("/health", summary="Tell OpenEnv that the server answers")
    def tell_gym_health() -> Health:
        """`/healthz` also asks the database."""
        return Health()

    return routes


def _readme(env_ids: Sequence[str]) -> str:
    """The documentation pages of the envs."""
    pages = []
    for env_id in env_ids:
        entry = gym.spec(env_id).entry_point
        kind = load_env_creator(entry) if isinstance(entry, str) else entry
        pages.append(f"# {env_id}\n\n{inspect.getdoc(kind) or ''}")
    return "\n\n".join(pages)


def _over_http(sessions: Sessions) -> APIRouter:
    routes = APIRouter(tags=["gym"])

    @routes.post("/reset", summary="Begin an episode", responses=documented(409, 422, 503))
    def reset_episode(asked: Reset, connection: HTTPConnection) -> Answer:
        """The answer's `metadata.episode_id` names the session in `/step` and `/state`."""
        name = asked.episode_id or uuid.uuid4().hex
        named = asked.model_copy(update={"episode_id": name})
        return Answer(**sessions.begin(name, _owner(connection), named))

    @routes.post("/step", summary="Take a decision", responses=documented(404, 409, 422, 503))
    def step_episode(asked: Step, connection: HTTPConnection) -> Answer:
        """A decision that cannot be taken is refused in the observation, and changes nothing."""
        if asked.episode_id is None:
            raise BadInput(NAMELESS)
        session = sessions.named(asked.episode_id, _owner(connection))
        return Answer(**session.step(asked.action, asked.request_id))

    @routes.get("/state", summary="Tell where an episode stands", responses=documented(404, 422, 503))
    def show_episode(
        connection: HTTPConnection,
        episode_id: Annotated[
            EpisodeId | None, Query(description="Of the session; none for a state of none")
        ] = None,
    ) -> State:
        """For whoever trains: with it, an episode can be told from another."""
        return State() if episode_id is None else sessions.named(episode_id, _owner(connection)).state()

    return routes


def _owner(connection: HTTPConnection) -> str | None:
    """The person who asks, where people sign in."""
    person = connection.scope.get("state", {}).get("person")
    return None if person is None else str(person.name)


def _over_websocket(sessions: Sessions) -> APIRouter:
    routes = APIRouter(tags=["gym"])
    workers = anyio.CapacityLimiter(WORKERS)

    @routes.websocket("/ws")
    async def play_episodes(socket: WebSocket) -> None:
        """One session: messages are answered one after the other."""
        await socket.accept()
        try:
            session = await run_sync(sessions.hold, _owner(socket), limiter=workers)
        except Full as full:
            counts = {"active_sessions": full.active, "max_sessions": full.most}
            await _end(socket, _TRY_LATER, _error("CAPACITY_REACHED", str(full), **counts))
            return
        try:
            await _converse(socket, session, sessions.idle_s, workers)
        except (WebSocketDisconnect, RuntimeError) as gone:
            _log.debug("a session ended with its connection: %r", gone)
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(sessions.release, session, limiter=workers)

    return routes


async def _converse(
    socket: WebSocket, session: Session, idle_s: float, workers: anyio.CapacityLimiter
) -> None:
    while True:
        try:
            with anyio.fail_after(idle_s):
                text = await _heard(socket)
        except TimeoutError:
            await _end(socket, _GOING_AWAY, _error("SESSION_ERROR", f"nothing was heard for {idle_s:g} s"))
            return
        answer = await run_sync(_answered, session, text, limiter=workers)
        if answer is None:
            await socket.close()
            return
        await socket.send_text(answer)


async def _heard(socket: WebSocket) -> str | bytes:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    heard: str | bytes = message.get("text") or message.get("bytes") or ""
    return heard


async def _end(socket: WebSocket, code: int, last: dict[str, Any]) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.send_text(json.dumps(last))
        await socket.close(code)


def _answered(session: Session, text: str | bytes) -> str | None:
    """The answer to a message; None to one that ends the session. Blocks."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        return json.dumps(_error("INVALID_JSON", f"expected JSON: {error}"))
    kind = message.get("type") if isinstance(message, dict) else None
    if kind == "close":
        return None
    try:
        return json.dumps(_done(session, kind, message))
    except Exception as error:
        return json.dumps(_told(error))


def _done(session: Session, kind: Any, message: dict[str, Any]) -> dict[str, Any]:
    if kind == "reset":
        return {"type": "observation", "data": session.reset(Reset.model_validate(message.get("data", {})))}
    if kind == "step":
        return {"type": "observation", "data": session.step(Action.model_validate(message.get("data")))}
    if kind == "state":
        return {"type": "state", "data": session.state().model_dump()}
    return _error("UNKNOWN_TYPE", f"expected reset, step, state or close, found {kind!r}")


def _told(error: Exception) -> dict[str, Any]:
    """An error as OpenEnv's clients know it."""
    if isinstance(error, ValidationError):
        flaws = error.errors(include_url=False, include_context=False, include_input=False)
        return _error("VALIDATION_ERROR", "; ".join(_flaw(flaw) for flaw in flaws), errors=flaws)
    if isinstance(error, BadInput):
        return _error("VALIDATION_ERROR", str(error))
    if isinstance(error, InfrastructureFault):
        return _error("EXECUTION_ERROR", str(error), committed=error.committed)
    if isinstance(error, WorkgymError):
        return _error("EXECUTION_ERROR", str(error))
    _log.error("a message could not be answered", exc_info=error)
    return _error("EXECUTION_ERROR", "the server failed; its log says why")


def _flaw(flaw: Mapping[str, Any]) -> str:
    return f"{'/'.join(map(str, flaw['loc'])) or 'message'}: {flaw['msg']}"


def _error(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {"type": "error", "data": {"message": message, "code": code, **more}}
