"""Who may do what: users, tokens, roles, and the guard in front of every service.

    python -m workgym.services user add ann --role operator --service orders
    WORKGYM_ADMIN_TOKEN=... python -m workgym.services serve orders

Nothing of it is installed while `Settings.open`. Who may do what stands in `roles.GRANTS`, by the tag of an
operation; what is mounted beside the operations says in which group it is:

    declare(app, "/metrics", "telemetry")

The documentation, /signin, /static and health need no sign-in; pages under /desk need a person, and lead
a browser to /signin; /mcp takes any token.
"""

from __future__ import annotations

from fastapi import FastAPI

from workgym.services.access.doors import Doors, declare
from workgym.services.access.guard import Guard, Recognition
from workgym.services.access.limits import Allowance
from workgym.services.access.openapi import describe
from workgym.services.access.register import Register
from workgym.services.access.roles import Person
from workgym.services.access.signin import signin_router
from workgym.services.access.tokens import TAG, tokens_router
from workgym.services.kernel import Service
from workgym.services.settings import Settings

__all__ = ["Person", "Register", "access", "declare"]


def access(app: FastAPI, service: Service, settings: Settings) -> None:
    """The part of hosting that lets people in; `app.state.recognition` is who knows them."""
    if settings.admin_token is None:
        return
    # Browsers send a cookie to every port of a host: two services beside each other need two names.
    cookie = f"workgym_{service.name}"
    recognition = Recognition(Register(app.state.store.database), settings.admin_token, cookie)
    allowance = Allowance(settings.requests_per_minute)
    app.state.recognition = recognition
    app.openapi_tags = [*(app.openapi_tags or ()), TAG]
    app.include_router(tokens_router(recognition))
    app.include_router(signin_router(recognition, allowance))
    describe(app, cookie)
    app.add_middleware(Guard, doors=Doors(app), recognition=recognition, allowance=allowance)
