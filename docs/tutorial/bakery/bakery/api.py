"""The bakery over HTTP: thin operations over the store."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, FastAPI, Response
from pydantic import Field

from bakery.rules import OVEN
from bakery.store import Store, World
from workgym.services import rest
from workgym.services.audit import Entry
from workgym.services.rest import ACT, CHANGE, READ, Actor, Key, WorldId
from workgym.services.storage import Database


class NewWorld(rest.Request):
    """A bakery to open."""

    name: rest.Name = Field(description="Unique")
    seed: int = Field(0, ge=0, le=2**31, description="Names the customers")
    family: str = Field("usual", max_length=20, description="Business situation")


class Baking(rest.Request):
    """How much to bake."""

    loaves: int = Field(ge=0, le=OVEN, description="Loaves")


def create_app(database: str) -> FastAPI:
    """The bakery over a database, given by its SQLAlchemy URL."""
    store = Store(Database(database))
    tags = [
        {"name": "bakery", "description": "The baker's day"},
        {"name": "books", "description": "What happened"},
        {"name": "worlds", "description": "Independent bakeries"},
    ]
    about = "Every morning somebody decides how much to bake."
    return rest.rest_application(
        store,
        (_business(store), _worlds(store)),
        title="Bakery",
        about=about,
        tags=tags,
        reasons={1: "no-room", 2: "month-over"},
    )


def _business(store: Store) -> APIRouter:
    router = APIRouter(prefix="/worlds/{world}")

    @router.post("/bake", summary="Bake and sell", tags=["bakery"], response_model=World, responses=CHANGE)
    def bake_loaves(world: WorldId, wish: Baking, actor: Actor, key: Key = None) -> World:
        """Bake in the morning, sell until the evening; refused when the shelf has no room."""
        return store.bake(world, wish.loaves, actor=actor, idempotency_key=key)

    @router.get(
        "/audit",
        summary="Read the audit log",
        tags=["books"],
        response_model=list[rest.AuditEntry],
        responses=READ,
    )
    def list_audit(world: WorldId) -> list[Entry]:
        """The latest lines, newest first."""
        return store.audit(world)

    return router


def _worlds(store: Store) -> APIRouter:
    router = APIRouter(prefix="/worlds", tags=["worlds"])

    @router.post("", summary="Open a bakery", status_code=201, response_model=World, responses=ACT)
    def open_world(wish: NewWorld, actor: Actor) -> World:
        """A new bakery on its first morning."""
        return store.open_world(wish.name, seed=wish.seed, family=wish.family, actor=actor)

    @router.get("", summary="List bakeries", response_model=list[World], responses=READ)
    def list_worlds() -> list[World]:
        """All of them."""
        return store.worlds()

    @router.get("/{world}", summary="Read a bakery", response_model=World, responses=READ)
    def read_world(world: WorldId) -> World:
        """How one stands."""
        return store.world(world)

    @router.delete("/{world}", summary="Drop a bakery", status_code=204, responses=READ)
    def drop_world(world: WorldId) -> None:
        """Remove it with everything in it."""
        store.drop_world(world)

    @router.get("/{world}/snapshot", summary="Take a snapshot", response_class=Response, responses=READ)
    def take_snapshot(world: WorldId) -> Response:
        """The canonical state; a twin reads it too."""
        return Response(store.snapshot(world), media_type=rest.SNAPSHOT_TYPE)

    @router.put("/{world}/snapshot", summary="Restore a snapshot", response_model=World, responses=CHANGE)
    def restore_snapshot(
        world: WorldId, state: Annotated[bytes, Body(media_type=rest.SNAPSHOT_TYPE)], actor: Actor
    ) -> World:
        """Put a canonical state into a bakery."""
        return store.restore(world, state, actor=actor)

    return router
