"""A problem document becomes a page where a browser asks for one."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from workgym.services.pages.rendering import page
from workgym.services.problems import MEDIA_TYPE

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_WORDS = {
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    409: "Refused",
    422: "Not understood",
    503: "Out of reach",
}


def problem_page(request: Request, status: int, sentence: str) -> HTMLResponse:
    """What went wrong, with a way back."""
    title = _WORDS.get(status, HTTPStatus(status).phrase)
    return page(request, "problem.html", status=status, title=title, sentence=sentence, code=status)


class ProblemPages:
    """Middleware that turns problem documents below /desk into pages."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on, but for problems on pages."""
        if scope["type"] != "http" or not _is_page(scope):
            await self.app(scope, receive, send)
            return
        start: Message = {}
        parts: list[bytes] = []

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                if not _is_problem(message):
                    await send(message)
                else:
                    start.update(message)
            elif not start:
                await send(message)
            else:
                parts.append(message.get("body", b""))

        await self.app(scope, receive, watch)
        if start:
            told = json.loads(b"".join(parts))
            answer = problem_page(Request(scope), start["status"], told["detail"])
            kept = [
                (name, value)
                for name, value in start["headers"]
                if name.lower() not in (b"content-type", b"content-length")
            ]
            answer.raw_headers.extend(kept)
            await answer(scope, receive, send)


def _is_page(scope: Message) -> bool:
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return bool(path == "/desk" or path.startswith("/desk/"))


def _is_problem(message: Message) -> bool:
    kinds = [value for name, value in message["headers"] if name.lower() == b"content-type"]
    return any(kind.decode("latin-1").startswith(MEDIA_TYPE) for kind in kinds)
