"""A service as it is deployed: its own application, and around it what every service has in common.

A service builds a plain application over its store (`Service.create_app`). What the platform adds
(sign-in, pages, MCP, telemetry, gyms) is a `Part`: a function that mounts itself on that application, so that
the next service inherits it. Packages offer parts through the entry point group `workgym.hosting`;
`workgym.envs` enters its gyms by that door.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import cast

from fastapi import FastAPI

from workgym.services.access import access
from workgym.services.catalogue import application
from workgym.services.faults import faults
from workgym.services.kernel import Service
from workgym.services.mcp import mcp
from workgym.services.pages import pages
from workgym.services.settings import Settings
from workgym.services.telemetry import telemetry

GROUP = "workgym.hosting"
Part = Callable[[FastAPI, Service, Settings], None]

# Routes come before what guards them: a middleware that is added later sees a request earlier.
PARTS: tuple[Part, ...] = (mcp, access, pages, faults, telemetry)


def hosted(service: Service, database: str, settings: Settings | None = None) -> FastAPI:
    """The application of a service over a database, with all parts.

    Args:
        service: of the catalogue.
        database: SQLAlchemy URL.
        settings: how it is deployed; None for what the environment says.
    """
    chosen = settings or Settings.from_environment()
    app = cast("FastAPI", application(service, database))
    offered = [point.load() for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)]
    for part in (*offered, *PARTS):
        part(app, service, chosen)
    return app
