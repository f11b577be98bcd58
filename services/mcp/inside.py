"""A request to the application that a request to it makes, in process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from fastapi import Request

from workgym.services.mcp.tools import Wanted
from workgym.services.problems import Message

ACTOR: Final = b"x-actor"
NOBODY: Final = b"mcp"  # who acts where nobody signs in and nobody says who asks

# Those that speak of the outer body, its answer or its protocol.
_OUTER: Final = (b"content-", b"transfer-encoding", b"accept", b"idempotency-key", b"mcp-")


class Unanswered(Exception):
    """The application did not answer."""


@dataclass(frozen=True)
class Answer:
    """What the application answered."""

    status: int
    body: bytes


async def ask(outer: Request, wanted: Wanted) -> Answer:
    """Let the whole application answer, with its middleware, as the outer request's person.

    Raises:
        Unanswered: the application stopped before its answer was whole.
    """
    status, chunks, sent, whole = 0, [], False, False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            return await outer.receive()  # nothing but the client's leaving
        sent = True
        return {"type": "http.request", "body": wanted.body or b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, whole
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            chunks.append(message.get("body", b""))
            whole = not message.get("more_body", False)

    await outer.app(_scope(outer, wanted), receive, send)
    if not whole:
        raise Unanswered(f"{wanted.method} {wanted.path} was not answered")
    return Answer(status, b"".join(chunks))


def _scope(outer: Request, wanted: Wanted) -> dict[str, Any]:
    scope = outer.scope
    path = f"{scope.get('root_path', '')}{wanted.path}"
    kept = ("type", "asgi", "http_version", "scheme", "server", "client", "root_path")
    return {
        **{name: scope[name] for name in kept if name in scope},
        "method": wanted.method,
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": wanted.query,
        "headers": _headers(scope["headers"], wanted),
        "state": dict(scope.get("state", {})),
    }


def _headers(outer: list[tuple[bytes, bytes]], wanted: Wanted) -> list[tuple[bytes, bytes]]:
    headers = [(name, value) for name, value in outer if not name.startswith(_OUTER)]
    if all(name != ACTOR for name, _ in headers):
        headers.append((ACTOR, NOBODY))
    if wanted.key is not None:
        headers.append((b"idempotency-key", wanted.key.encode(errors="replace")))
    if wanted.body is not None:
        headers.append((b"content-type", b"application/json"))
        headers.append((b"content-length", str(len(wanted.body)).encode()))
    return headers
