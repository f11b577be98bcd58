"""Asking the service's own operations from within, as the person who is at the desk."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from fastapi import Request

from workgym.services.kernel import NotFound
from workgym.services.pages.desk import BELOW, Desk, Operation

OPEN_ACTOR = "desk"  # who acts where nobody signs in


@dataclass(frozen=True)
class Answer:
    """What an operation said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def good(self) -> bool:
        """Whether it did what was asked."""
        return self.status < 400  # where HTTP's errors begin

    @property
    def said(self) -> Any:
        """The JSON."""
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True)
class Asked:
    """The particulars of one request to an operation."""

    path: Mapping[str, object] = field(default_factory=dict)
    query: Mapping[str, object] = field(default_factory=dict)
    body: Mapping[str, object] | None = None
    key: str | None = None


def desk_of(request: Request) -> Desk:
    """The desk of the service; it is read when the first page is, after every part has added its routes."""
    state = request.app.state
    if not hasattr(state, "desk"):
        state.desk = Desk(request.app.openapi())
    desk: Desk = state.desk
    return desk


def actor(request: Request) -> str:
    """Who acts: the person who signed in, or the desk."""
    person = request.scope.get("state", {}).get("person")
    return person.name if person is not None else OPEN_ACTOR


async def ask(request: Request, operation: Operation, world: int, asked: Asked) -> Answer:
    """The answer of an operation, good or not."""
    path = BELOW.replace("{world}", str(world)) + operation.at(asked.path)
    headers = {"x-actor": actor(request)}
    if asked.key:
        headers["idempotency-key"] = asked.key
    body = json.dumps(asked.body or {}).encode() if operation.has_body else b""
    if body:
        headers["content-type"] = "application/json"
    return await send(request, operation.method, path, query=asked.query, headers=headers, body=body)


async def read_world(request: Request, world: int) -> dict[str, Any]:
    """A world's facts (NotFound)."""
    answer = await send(request, "GET", f"/worlds/{world}")
    if not answer.good:
        raise NotFound(str(answer.said.get("detail", f"no world with id {world}")))
    found: dict[str, Any] = answer.said
    return found


async def send(
    request: Request,
    method: str,
    path: str,
    *,
    query: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    state: Mapping[str, object] | None = None,
) -> Answer:
    """Send a request to the same application, beneath what guards it: its sender has passed already."""
    kept = {
        key: value for key, value in request.scope.items() if key not in ("path_params", "route", "endpoint")
    }
    scope = {
        **kept,
        "method": method,
        "path": request.scope.get("root_path", "") + path,
        "raw_path": path.encode(),
        "query_string": urlencode(query or {}).encode(),
        "headers": [
            (name.encode(), value.encode("latin-1", "replace")) for name, value in (headers or {}).items()
        ],
        "state": {**request.scope.get("state", {}), **(state or {})},
    }
    start: dict[str, Any] = {}
    parts: list[bytes] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def keep(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    await request.app.router(scope, receive, keep)
    told = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], told, b"".join(parts))
