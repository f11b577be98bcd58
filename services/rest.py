"""What REST interfaces are made of: headers, limits, shapes, and the application around a store.

A store blocks, so operations are plain functions, which FastAPI runs on its threads. Errors become
problem documents (`workgym.services.problems`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Body, FastAPI, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, Json, JsonValue

from workgym.services.audit import Entry
from workgym.services.kernel import NotFound
from workgym.services.problems import BodyLimit, answer_problems, documented
from workgym.services.storage import Database
from workgym.services.worlds import Copy

LARGEST_ID = 2**63 - 1
PLAIN = r"^[^\x00-\x1f\x7f]+$"  # no control characters: PostgreSQL has no NUL, a log no line feed
PRINTABLE = r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$"  # what a header carries unharmed
LARGEST_BODY = 16 * 2**20  # bytes; the snapshot of 60 busy days of orders has 4 MB
SNAPSHOT_TYPE = "application/octet-stream"
MOST_COPIES = 256  # of one request
DEFAULT_PAGE, LARGEST_PAGE = 50, 200
DEFAULT_LOG, LARGEST_LOG = 100, 1000

Actor = Annotated[
    str,
    Header(
        alias="X-Actor",
        pattern=PRINTABLE,
        max_length=80,
        description="Who asks; believed where nobody signs in",
    ),
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=PRINTABLE,
        max_length=200,
        description="The same key with the same request gives the same answer without a second effect",
    ),
]
WorldId = Annotated[int, Path(ge=0, le=LARGEST_ID, description="Id of the world")]
Text = Annotated[str | None, Query(max_length=100, pattern=PLAIN)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=PLAIN)]

READ = documented(404, 422, 503)
CHANGE = documented(404, 409, 413, 422, 503)
ACT = documented(404, 409, 422, 503)  # changes something, and has no body


class Request(BaseModel):
    """A body: unknown fields, numbers in quotes and fractions are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Health(BaseModel):
    """The service and its database answer."""

    status: str = Field(description="`ok`")


class AuditEntry(BaseModel):
    """One line of the audit log."""

    id: int = Field(description="Number of the line in the log of its world, from 0")
    day: int = Field(description="Business day")
    actor: str = Field(description="Who asked")
    verb: str = Field(description="What was done")
    subject: str = Field(description="What it was done to: `order/7`, `day/2`")
    payload: Json[dict[str, Any]] = Field(description="The request's particulars")
    digest: str = Field(description="SHA-256 over the line and all lines before it, in hex")


class Fork(Request):
    """Copies to make of a world."""

    names: list[Name] = Field(description="One unused name a copy", min_length=1, max_length=MOST_COPIES)


class CopiedWorld(BaseModel):
    """A copy of a world."""

    id: int = Field(description="Of the copy")
    name: str = Field(description="Unique")


class Store(Protocol):
    """What keeps the worlds of a service."""

    database: Database

    def worlds(self) -> Sequence[Any]:
        """All worlds by name."""

    def world(self, world: int, /) -> Any:
        """One world (NotFound)."""

    def drop_world(self, world: int, /) -> None:
        """Remove a world with everything in it (NotFound)."""

    def snapshot(self, world: int, /) -> bytes:
        """The canonical state of a world."""

    def restore(self, world: int, data: bytes, /, *, actor: str) -> Any:
        """Put a canonical state into a world (BadInput); the world."""

    def audit(self, world: int, /, *, subject: str | None, limit: int) -> Sequence[Entry]:
        """The latest lines of a world's audit log, newest first."""

    def fork(
        self, world: int, names: Sequence[str], *, actor: str, idempotency_key: str | None
    ) -> list[Copy]:
        """Copy a world once for each name."""

    def archive(self, world: int) -> bytes:
        """A world with everything in it as bytes."""

    def unpack(self, name: str, data: bytes, *, actor: str) -> Copy:
        """A new world from an archive."""


def one_of(names: tuple[str, ...]) -> dict[str, JsonValue]:
    """Documents an enumeration; the store checks it, and its error names the nearest one."""
    return {"enum": list(names)}


def rest_application(
    store: Store,
    routers: Sequence[APIRouter],
    *,
    world: type[Any],
    title: str,
    about: str,
    tags: Sequence[Mapping[str, str]],
    reasons: Mapping[int, str],
) -> FastAPI:
    """The REST interface of a store; its database is closed when the server stops.

    Args:
        store: what the operations ask.
        routers: of the service; what every service does alike comes on top: worlds are listed, read, dropped,
            copied and restored, their audit log is read, and the service tells its health.
        world: what is told of a world, a model or a dataclass.
        title: of the service.
        about: what it does, as Markdown.
        tags: groups of operations, each with a `name` and a `description`.
        reasons: the `reason` of each refusal by its code.
    """

    @asynccontextmanager
    async def while_running(app: FastAPI) -> AsyncIterator[None]:
        yield
        store.database.close()

    app = FastAPI(
        title=title,
        description=about,
        version=version("workgym"),
        openapi_tags=[dict(tag) for tag in tags],
        lifespan=while_running,
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,
    )
    app.add_middleware(BodyLimit, most=LARGEST_BODY)
    app.state.store = store
    for router in (
        *routers,
        _log(store),
        _worlds(store, world),
        _states(store, world),
        _copies(store),
        _health(store),
    ):
        app.include_router(router)
    answer_problems(app, dict(reasons))
    return app


def _log(store: Store) -> APIRouter:
    router = APIRouter(prefix="/worlds/{world}", tags=["books"])

    @router.get("/audit", summary="Read the audit log", response_model=list[AuditEntry], responses=READ)
    def list_audit(
        world: WorldId,
        subject: Annotated[Text, Query(description="Of these lines alone: `order/7`, `day/2`")] = None,
        limit: Annotated[int, Query(ge=1, le=LARGEST_LOG, description="Lines at most")] = DEFAULT_LOG,
    ) -> Sequence[Entry]:
        """The latest lines of the audit log, newest first."""
        return store.audit(world, subject=subject, limit=limit)

    return router


def _worlds(store: Store, told: type[Any]) -> APIRouter:
    router = APIRouter(prefix="/worlds", tags=["worlds"])

    @router.get("", summary="List worlds", response_model=list[told], responses=documented(503))  # type: ignore[valid-type]  # the service's own
    def list_worlds() -> Sequence[Any]:
        """All worlds by name."""
        return store.worlds()

    @router.get("/{world}", summary="Read a world", response_model=told, responses=READ)
    def read_world(world: WorldId) -> Any:
        """Day and counts of one world."""
        return store.world(world)

    @router.delete("/{world}", summary="Drop a world", status_code=204, responses=READ)
    def drop_world(world: WorldId) -> None:
        """Remove a world with everything in it, its audit log too."""
        store.drop_world(world)

    return router


def _states(store: Store, told: type[Any]) -> APIRouter:
    router = APIRouter(prefix="/worlds/{world}/snapshot", tags=["worlds"])

    @router.get(
        "",
        summary="Take a snapshot",
        response_class=Response,
        responses={**READ, 200: {"description": "Canonical state", "content": {SNAPSHOT_TYPE: {}}}},
    )
    def take_snapshot(world: WorldId) -> Response:
        """The world's canonical state: equal worlds give equal bytes, and a twin reads them too."""
        return Response(store.snapshot(world), media_type=SNAPSHOT_TYPE)

    @router.put("", summary="Restore a snapshot", response_model=told, responses=CHANGE)
    def restore_snapshot(
        world: WorldId,
        state: Annotated[bytes, Body(media_type=SNAPSHOT_TYPE, description="What a snapshot gave")],
        actor: Actor,
    ) -> Any:
        """Put a canonical state into a world of the same kind, whatever it held."""
        return store.restore(world, state, actor=actor)

    return router


def _copies(store: Store) -> APIRouter:
    router = APIRouter(prefix="/worlds", tags=["worlds"])

    @router.post(
        "/{world}/fork",
        summary="Fork a world",
        status_code=201,
        response_model=list[CopiedWorld],
        responses=CHANGE,
    )
    def fork_world(world: WorldId, wish: Fork, actor: Actor, key: Key = None) -> list[Copy]:
        """Copy a world once for each name, with everything in it: what is on its way, its books, its log."""
        return store.fork(world, wish.names, actor=actor, idempotency_key=key)

    @router.get(
        "/{world}/archive",
        summary="Take an archive",
        response_class=Response,
        responses={**READ, 200: {"description": "The whole world", "content": {SNAPSHOT_TYPE: {}}}},
    )
    def take_archive(world: WorldId) -> Response:
        """A world with everything in it, for any database of this service and version."""
        return Response(store.archive(world), media_type=SNAPSHOT_TYPE)

    @router.post(
        "/archive",
        summary="Unpack an archive",
        status_code=201,
        response_model=CopiedWorld,
        responses=documented(409, 413, 422, 503),
    )
    def unpack_archive(
        name: Annotated[
            str, Query(min_length=1, max_length=100, pattern=PLAIN, description="An unused name")
        ],
        data: Annotated[bytes, Body(media_type=SNAPSHOT_TYPE, description="What an archive gave")],
        actor: Actor,
        response: Response,
    ) -> Copy:
        """Open a new world with everything that an archive holds."""
        copy = store.unpack(name, data, actor=actor)
        response.headers["Location"] = f"/worlds/{copy.id}"
        return copy

    return router


def _health(store: Store) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get(
        "/healthz",
        summary="Tell whether the service works",
        response_model=Health,
        responses=documented(503),
    )
    def tell_health() -> Health:
        """Reads from the database."""
        with suppress(NotFound):
            store.world(0)
        return Health(status="ok")

    return router
