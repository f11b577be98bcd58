"""What a request asks for: the group of its permission, and the world that it is about.

An operation of the application belongs to the group of its tags. What has no tags belongs to the area of its
path, which its part declares:

    declare(app, "/metrics", "telemetry")

Where no area is declared an operation is business, and whatever else is mounted is for admins; a path
where nothing is mounted is for whoever is signed in, and the application says that there is nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping
from functools import cached_property
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette._utils import get_route_path
from starlette.routing import Match

from workgym.services.access.roles import BUSINESS, GRANTS, group_of

Scope = MutableMapping[str, Any]

_AREAS = {
    "/docs": "public",
    "/redoc": "public",
    "/openapi.json": "public",
    "/static": "public",
    "/desk": "pages",
    "/mcp": "mcp",
    "/metrics": "telemetry",
}
UNDECLARED = "undeclared"


def declare(app: FastAPI, prefix: str, group: str) -> None:
    """Put a path, and all below it, into a group of `roles.GRANTS`."""
    assert group in GRANTS, f"no group named {group!r}; the table has {', '.join(GRANTS)}"
    _areas(app)[prefix] = group


def _areas(app: FastAPI) -> dict[str, str]:
    if not hasattr(app.state, "areas"):
        app.state.areas = dict(_AREAS)
    areas: dict[str, str] = app.state.areas
    return areas


class Door(NamedTuple):
    """What a request asks for.

    Attributes:
        group: row of the table of permissions; None where nothing is mounted.
        world: as it stands in the path.
    """

    group: str | None
    world: str | None = None


class _Operation(NamedTuple):
    methods: frozenset[str]
    path: re.Pattern[str]
    group: str | None


class Doors:
    """Every door of an application; routes that are mounted after the first request are not seen.

    Args:
        app: the application.
    """

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    def of(self, scope: Scope) -> Door:
        """What a request asks for."""
        path = get_route_path(scope)
        if scope["type"] == "http":
            for operation in self._operations:
                if scope["method"] in operation.methods and (found := operation.path.match(path)):
                    group = operation.group or self._area(path) or BUSINESS
                    return Door(group, found.groupdict().get("world"))
        mounted = any(route.matches(scope)[0] is not Match.NONE for route in self._others)
        return Door(self._area(path) or (UNDECLARED if mounted else None))

    def _area(self, path: str) -> str | None:
        """The group of the longest declared prefix."""
        declared = (group for prefix, group in self._areas if path == prefix or path.startswith(f"{prefix}/"))
        return next(declared, None)

    @cached_property
    def _areas(self) -> list[tuple[str, str]]:
        return sorted(_areas(self.app).items(), key=lambda area: -len(area[0]))

    @cached_property
    def _operations(self) -> list[_Operation]:
        return [
            _Operation(
                frozenset(route.methods or ()),
                route.path_regex,
                group_of(route.tags) if route.tags else None,
            )
            for route in self._routes()
            if isinstance(route.original_route, APIRoute)
        ]

    @cached_property
    def _others(self) -> list[RouteContext]:
        return [route for route in self._routes() if not isinstance(route.original_route, APIRoute)]

    def _routes(self) -> Iterator[RouteContext]:
        return iter_route_contexts(self.app.router.routes)
