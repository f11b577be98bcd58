"""The error tree as HTTP: RFC 9457 problem documents, the same for every service.

    {"title": "Conflict", "status": 409, "reason": "short-of-stock", "detail": "the centre has ..."}

People read `detail`, programs branch on `reason`. Nothing of the request is echoed.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, Literal, Protocol, cast

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from workgym.services.kernel import (
    BadInput,
    Conflict,
    InfrastructureFault,
    NotFound,
    Refused,
    WorkgymError,
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MEDIA_TYPE = "application/problem+json"
MEANING = {
    401: "Nobody is signed in, or the token or session is no longer good.",
    403: "Whoever asks may not do this.",
    404: "There is no such thing.",
    409: "The business refuses, somebody else was faster, or the idempotency key came with another request. "
    "Nothing was changed.",
    413: "The body is larger than the service reads.",
    422: "The request is malformed or a value is outside its range. Nothing was changed.",
    429: "Whoever asks, or who tries to sign in, asks too often; `Retry-After` says when to ask again.",
    503: "The database did not answer; `committed` says whether the request took effect. Ask again with the "
    "same idempotency key.",
}
_KINDS: tuple[tuple[type[WorkgymError], int, str], ...] = (
    (Refused, 409, "refused"),
    (NotFound, 404, "not-found"),
    (Conflict, 409, "conflict"),
    (BadInput, 422, "bad-input"),
    (InfrastructureFault, 503, "fault"),
)
_WORDS = {  # of plain HTTP errors
    401: "not-signed-in",
    403: "not-permitted",
    404: "not-found",
    405: "not-allowed",
    413: "too-large",
    422: "bad-input",
    429: "too-often",
}
_MOST_FLAWS, _LONGEST_PLACE, _LONGEST_DETAIL = 20, 120, 2000


class Flaw(BaseModel):
    """One thing wrong with a request."""

    where: str = Field(description="Place in the request, for instance `body/lines/0/qty`")
    message: str = Field(description="What was expected there")


class Problem(BaseModel):
    """Why a request was not carried out (RFC 9457)."""

    title: str = Field(description="Name of the status")
    status: int = Field(description="HTTP status")
    reason: str = Field(description="One stable word for programs, for instance `refused` or `not-found`")
    detail: str = Field(description="A sentence for people")
    committed: Literal["yes", "no", "unknown"] | None = Field(
        None, description="Whether the request took effect; with status 503 only"
    )
    errors: list[Flaw] | None = Field(None, description="Every flaw of the request; with status 422 only")


class BodyLimit:
    """Middleware that stops reading a body at `most` bytes, whatever length was announced."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]], most: int) -> None:
        self.app = app
        self.most = most

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve, counting."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.most:
                raise HTTPException(
                    413, f"expected a body of at most {self.most:,} bytes, found a larger one"
                )
            return message

        await self.app(scope, counted, send)


class _HttpError(Protocol):
    """What FastAPI and the router below it raise for requests that reach no operation."""

    status_code: int
    detail: str
    headers: Mapping[str, str] | None


class _ProblemResponse(JSONResponse):
    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """ASCII, because a field's name may hold what UTF-8 cannot: half a surrogate pair."""
        return json.dumps(content).encode()


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation that can answer these problems."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": MEANING[status], "content": content} for status in statuses}


def answer_problems(app: FastAPI, words: Mapping[int, str]) -> None:
    """Let `app` answer every error of the tree with a problem, and describe problems in its OpenAPI.

    Args:
        app: the application.
        words: the `reason` of each `Refused.code` that the service has.
    """

    async def on_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, WorkgymError)
        return _of_tree(error, words)

    app.add_exception_handler(WorkgymError, on_error)
    app.add_exception_handler(RequestValidationError, _on_flaws)
    for status in (400, *_WORDS):
        app.add_exception_handler(status, _on_http)
    _describe(app)


def _of_tree(error: WorkgymError, words: Mapping[int, str]) -> JSONResponse:
    status, reason = next((status, word) for kind, status, word in _KINDS if isinstance(error, kind))
    if isinstance(error, Refused):
        reason = words.get(error.code, reason)
    if isinstance(error, InfrastructureFault):
        return problem(status, reason, str(error), {"Retry-After": "1"}, committed=error.committed)
    return problem(status, reason, str(error))


async def _on_flaws(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    flaws = [
        {"where": "/".join(map(str, flaw["loc"]))[:_LONGEST_PLACE], "message": flaw["msg"]}
        for flaw in error.errors()[:_MOST_FLAWS]
    ]
    detail = "; ".join(f"{flaw['where']}: {flaw['message']}" for flaw in flaws)
    return problem(422, "bad-input", detail, errors=flaws)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    http = cast(_HttpError, error)
    # FastAPI answers some unreadable bodies with 400 and others with 422; to a client they are one thing.
    status = 422 if http.status_code == 400 else http.status_code
    return problem(status, _WORDS[status], http.detail, http.headers)


def problem_of(error: WorkgymError | HTTPException) -> JSONResponse:
    """The problem document of an error, for middleware that answers before any operation is reached."""
    if isinstance(error, WorkgymError):
        return _of_tree(error, {})
    return problem(error.status_code, _WORDS[error.status_code], error.detail, error.headers)


def problem(
    status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None, **more: object
) -> JSONResponse:
    """The answer that tells a problem; see `Problem` for its members."""
    if len(detail) > _LONGEST_DETAIL:  # an error may repeat what it found
        detail = f"{detail[:_LONGEST_DETAIL]} ..."
    content = {"title": HTTPStatus(status).phrase, "status": status, "reason": reason, "detail": detail}
    return _ProblemResponse({**content, **more}, status, headers)


def _describe(app: FastAPI) -> None:
    """Add the schema of a problem; FastAPI would give it the wrong media type."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        schema = make()
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schema["components"]["schemas"].update({**problem.pop("$defs"), "Problem": problem})
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the schema
