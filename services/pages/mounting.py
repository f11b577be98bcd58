"""The part `pages` of a hosted service."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from workgym.services.kernel import Service
from workgym.services.pages.problems import ProblemPages
from workgym.services.pages.routes import router, style
from workgym.services.settings import Settings


def pages(app: FastAPI, service: Service, settings: Settings) -> None:
    """Give a service its desk; pages that it has itself come first."""
    app.include_router(style)
    app.include_router(router)
    app.add_middleware(ProblemPages)

    @app.get("/", include_in_schema=False, tags=["pages"])
    def to_the_desk() -> RedirectResponse:
        return RedirectResponse("/desk")
