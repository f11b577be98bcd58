"""The bakery over HTTP: thin operations over the store."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from pydantic import Field

from bakery.rules import OVEN
from bakery.store import Store, World
from workgym.services import rest
from workgym.services.rest import ACT, CHANGE, Actor, Key, WorldId
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
        world=World,
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

    return router


def _worlds(store: Store) -> APIRouter:
    router = APIRouter(prefix="/worlds", tags=["worlds"])

    @router.post("", summary="Open a bakery", status_code=201, response_model=World, responses=ACT)
    def open_world(wish: NewWorld, actor: Actor) -> World:
        """A new bakery on its first morning."""
        return store.open_world(wish.name, seed=wish.seed, family=wish.family, actor=actor)

    return router
