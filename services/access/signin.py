"""The page where people sign in with a name and a password, and how they leave."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from fastapi import APIRouter, Form, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, select_autoescape

from workgym.services.access.guard import Recognition, cookie_of, same_origin
from workgym.services.access.limits import Allowance
from workgym.services.access.register import SESSION_S

HOME = "/desk"
_WRONG = "Name and password do not belong together."
_FOREIGN = "This form was sent from another site. Sign in here."
_templates = Environment(loader=PackageLoader("workgym.services.access", ""), autoescape=select_autoescape())

Field = Annotated[str, Form(max_length=1000)]


def signin_router(recognition: Recognition, allowance: Allowance, title: str) -> APIRouter:
    """The pages /signin and /signout.

    Args:
        recognition: who asks.
        allowance: how often one may try.
        title: of the service.
    """
    router = APIRouter(tags=["public"], include_in_schema=False)

    def form(next_page: str, *, status: int = 200, error: str = "", name: str = "") -> HTMLResponse:
        text = _templates.get_template("signin.html").render(
            title=title, next=next_page, error=error, name=name
        )
        return HTMLResponse(text, status, {"Cache-Control": "no-store", **_PAGE})

    @router.get("/signin")
    async def show_signin(next_page: Annotated[str, Query(alias="next", max_length=2000)] = "") -> Response:
        return form(local(next_page))

    @router.post("/signin")
    async def sign_in(
        request: Request,
        name: Field = "",
        password: Field = "",
        next_page: Annotated[str, Form(alias="next", max_length=2000)] = "",
    ) -> Response:
        target = local(next_page)
        if not same_origin(request.scope):
            return form(target, status=403, error=_FOREIGN, name=name)
        try:
            allowance.attempt(name, request.client.host if request.client else "")
        except HTTPException as refusal:
            answer = form(target, status=429, error=f"{refusal.detail.capitalize()}.", name=name)
            answer.headers.update(refusal.headers or {})
            return answer
        secret = await run_sync(recognition.register.sign_in, name, password)
        if secret is None:
            return form(target, status=401, error=_WRONG, name=name)
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


_PAGE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def _keep(response: Response, request: Request, name: str, secret: str) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(
        name, secret, max_age=int(SESSION_S), httponly=True, samesite="lax", secure=secure, path="/"
    )


def local(target: str) -> str:
    """Where to go after signing in: a path of this server, whatever was asked for."""
    parts = urlsplit(target) if target.startswith("/") and target.isascii() and target.isprintable() else None
    if parts is None or parts.scheme or parts.netloc or "\\" in target or target.startswith("//"):
        return HOME
    return target
