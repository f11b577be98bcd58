"""The page where people sign in with a name and a password, and how they leave."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Form, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response

from workgym.services.access.guard import CHALLENGE, Recognition, cookie_of, same_origin
from workgym.services.access.limits import Allowance
from workgym.services.access.register import SESSION_S
from workgym.services.pages import page

HOME = "/desk"
# Two slashes, or a backslash, would lead to another host.
_LOCAL = re.compile(r"/([!-.0-\[\]-~][!-\[\]-~]*)?")
_WRONG = "Name and password do not belong together."
_FOREIGN = "This form was sent from another site. Sign in here."

_TOGETHER = 2  # passwords that are checked at one time: each takes 32 MiB

Field = Annotated[str, Form(max_length=1000)]


def signin_router(recognition: Recognition, allowance: Allowance) -> APIRouter:
    """The pages /signin and /signout.

    Args:
        recognition: who asks.
        allowance: how often one may try.
    """
    router = APIRouter(tags=["public"], include_in_schema=False)
    turns = CapacityLimiter(_TOGETHER)

    def form(request: Request, target: str, status: int = 200, error: str = "", name: str = "") -> Response:
        folder, shown = Path(__file__).parent, {"target": target, "error": error, "name": name}
        return page(request, "signin.html", folder, status, title="Sign in", **shown)

    @router.get("/signin")
    async def show_signin(
        request: Request, next_page: Annotated[str, Query(alias="next", max_length=2000)] = ""
    ) -> Response:
        return form(request, local(next_page))

    @router.post("/signin")
    async def sign_in(
        request: Request,
        name: Field = "",
        password: Field = "",
        next_page: Annotated[str, Form(alias="next", max_length=2000)] = "",
    ) -> Response:
        target = local(next_page)
        if not same_origin(request.scope):
            return form(request, target, 403, _FOREIGN, name)
        try:
            allowance.attempt(name, request.client.host if request.client else "")
        except HTTPException as refusal:
            answer = form(request, target, 429, f"{refusal.detail.capitalize()}.", name)
            answer.headers.update(refusal.headers or {})
            return answer
        secret = await run_sync(recognition.register.sign_in, name, password, limiter=turns)
        if secret is None:
            answer = form(request, target, 401, _WRONG, name)
            answer.headers.update(CHALLENGE)
            return answer
        allowance.succeeded(name)
        response = RedirectResponse(target, 303)
        _keep(response, request, recognition.cookie, secret)
        return response

    @router.post("/signout")
    async def sign_out(request: Request) -> Response:
        if not same_origin(request.scope):
            raise HTTPException(403, "expected this request from a page of this server")
        secret = cookie_of(request.scope, recognition.cookie)
        if secret:
            await run_sync(recognition.register.sign_out, secret)
            recognition.forget()
        response = RedirectResponse("/signin", 303)
        response.delete_cookie(recognition.cookie, httponly=True, samesite="lax")
        return response

    return router


def _keep(response: Response, request: Request, name: str, secret: str) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(
        name, secret, max_age=int(SESSION_S), httponly=True, samesite="lax", secure=secure, path="/"
    )


def local(target: str) -> str:
    """Where to go after signing in: a path of this server, whatever was asked for."""
    return target if _LOCAL.fullmatch(target) else HOME
