"""What answers at `/mcp`: tells of the tools, and calls them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI, Request, Response

from workgym.services.access.roles import BUSINESS, Person, permitted
from workgym.services.kernel import BadInput, Service, did_you_mean
from workgym.services.mcp import messages
from workgym.services.mcp.inside import Answer, ask
from workgym.services.mcp.making import RESULT, tools_of
from workgym.services.mcp.messages import Fault, Message
from workgym.services.mcp.tools import Schema, Tool
from workgym.services.settings import Settings

PATH: Final = "/mcp"
TAG: Final = "mcp"

_CAPABILITIES: Final[Mapping[str, Any]] = {"tools": {}}
_KEEP: Final = {"ttlMs": 300_000, "cacheScope": "private"}  # tools differ by person, and by deployment
_WITH_BATCHES: Final = (None, "2025-03-26")
_ACCEPTED: Final = 202
_MOST_AT_ONCE: Final = 100  # messages of one request, which is counted as one
_UNTRUSTED: Final = (
    "expected a request from no web page, or from a page of this server; where nobody signs in, from a page "
    "whose host is an address or localhost"
)
_log = logging.getLogger(__name__)


def mcp(app: FastAPI, service: Service, settings: Settings) -> None:
    """Let an application answer `POST /mcp`; a part of every deployed service."""
    endpoint = Endpoint(app, service, is_open=settings.open)
    app.add_api_route(PATH, endpoint.answer, methods=["POST"], tags=[TAG], include_in_schema=False)


class Endpoint:
    """The tools of one application.

    Args:
        app: with all its parts, once the first request comes.
        service: what it is called.
        is_open: whether nobody has to sign in.
    """

    def __init__(self, app: FastAPI, service: Service, *, is_open: bool) -> None:
        self.app = app
        self.service = service
        self.is_open = is_open

    @cached_property
    def tools(self) -> dict[str, Tool]:
        """Every tool by name."""
        return tools_of(self.app.openapi())

    @cached_property
    def identity(self) -> Schema:
        """Name and version of the server."""
        return {"name": self.service.name, "title": self.service.title, "version": version("workgym")}

    async def answer(self, request: Request) -> Response:
        """Answer one message, or several as the revision 2025-03-26 allows."""
        if not messages.is_trusted(request.headers, is_open=self.is_open):
            return _response(_failed(None, Fault(messages.INVALID_REQUEST, _UNTRUSTED)), 403)
        try:
            message = json.loads(await request.body())
        except (ValueError, RecursionError):
            return _response(_failed(None, Fault(messages.PARSE_ERROR, "expected JSON")), 400)
        may_be_several = request.headers.get(messages.VERSION_HEADER) in _WITH_BATCHES
        if not (message and may_be_several and isinstance(message, list)):
            answer, status = await self._answered(request, message)
            return _response(answer, status)
        if len(message) > _MOST_AT_ONCE:
            flaw = f"expected at most {_MOST_AT_ONCE} messages at once, found {len(message):,}"
            return _response(_failed(None, Fault(messages.INVALID_REQUEST, flaw)), 400)
        answers = [(await self._answered(request, each))[0] for each in message]
        told = [answer for answer in answers if answer is not None]
        return _response(told or None, 200 if told else _ACCEPTED)

    async def _answered(self, request: Request, message: Any) -> tuple[Schema | None, int]:
        """The response to one message, None for a notification, and the status of HTTP."""
        try:
            asked = messages.read(message, request.headers)
            if asked is None:
                return None, _ACCEPTED
            result = await self._result(request, asked)
        except Fault as fault:
            modern = messages.is_modern(message, request.headers)
            return _failed(messages.id_of(message), fault), _status(fault, modern)
        if asked.is_modern:
            about = {"io.modelcontextprotocol/serverInfo": self.identity}
            result = {"resultType": "complete", **result, "_meta": about}
        return {"jsonrpc": "2.0", "id": asked.id, "result": result}, 200

    async def _result(self, request: Request, asked: Message) -> Schema:
        match asked.method, asked.is_modern:
            case "tools/call", _:
                return await self._called(request, asked.params)
            case "tools/list", modern:
                return self._listed(request, asked.params) | (_KEEP if modern else {})
            case "initialize", False:
                agreed = {"protocolVersion": _agreed(asked.params)}
                return {**agreed, "serverInfo": self.identity, **self._about()}
            case "server/discover", True:
                return {"supportedVersions": messages.SUPPORTED, **self._about(), **_KEEP}
            case "ping", False:
                return {}
        raise Fault(messages.METHOD_NOT_FOUND, "there is no such method here; this server has tools only")

    def _about(self) -> Schema:
        return {"capabilities": _CAPABILITIES, "instructions": self.app.description}

    def _listed(self, request: Request, params: Mapping[str, Any]) -> Schema:
        if params.get("cursor") is not None:
            raise Fault(messages.INVALID_PARAMS, "expected no cursor: all tools are on one page")
        person = _person(request)
        if person is None:
            return {"tools": [tool.listing for tool in self.tools.values()]}
        may = [tool for tool in self.tools.values() if _may(person, tool)]
        in_one = person.world is not None
        return {"tools": [tool.listing_in_one_world if in_one else tool.listing for tool in may]}

    async def _called(self, request: Request, params: Mapping[str, Any]) -> Schema:
        name, given = params.get("name"), params.get("arguments") or {}
        if not isinstance(name, str) or not isinstance(given, dict):
            raise Fault(messages.INVALID_PARAMS, "expected the name of a tool, and arguments in an object")
        if name not in self.tools:
            raise Fault(messages.INVALID_PARAMS, did_you_mean("tool", name, list(self.tools)))
        tool, person = self.tools[name], _person(request)
        try:
            wanted = tool.wanted(given, person.world if person else None)
        except BadInput as error:
            return _refused(json.dumps({"status": 422, "reason": "bad-input", "detail": str(error)}))
        try:
            answer = await ask(request, wanted)
        except Exception as error:
            _log.exception("the tool %s failed", name)
            raise Fault(messages.INTERNAL_ERROR, "the service failed; its log says why") from error
        return _told(tool, answer)


def _person(request: Request) -> Person | None:
    person: Person | None = request.scope.get("state", {}).get("person")
    return person


def _may(person: Person, tool: Tool) -> bool:
    roles = permitted(BUSINESS, tool.method.upper())
    return roles is None or person.role in roles


def _agreed(params: Mapping[str, Any]) -> str:
    """The revision to speak: the client's, or the latest that has a handshake."""
    wanted = params.get("protocolVersion")
    return wanted if wanted in messages.WITH_HANDSHAKE else messages.WITH_HANDSHAKE[-1]


def _told(tool: Tool, answer: Answer) -> Schema:
    """An answer of the application as the result of a call."""
    text = answer.body.decode(errors="replace")
    if answer.status >= 400:
        return _refused(text)
    if tool.output is None:
        return {"content": [{"type": "text", "text": text}], "isError": False}
    content = json.loads(text)
    if tool.wrapped:
        content, text = {RESULT: content}, f'{{"{RESULT}":{text}}}'
    return {"content": [{"type": "text", "text": text}], "structuredContent": content, "isError": False}


def _refused(problem: str) -> Schema:
    """A refusal: a result that the model reads, with the problem's reason and detail."""
    return {"content": [{"type": "text", "text": problem}], "isError": True}


def _failed(id_: str | int | None, fault: Fault) -> Schema:
    return {"jsonrpc": "2.0", "id": id_, "error": fault.error()}


def _status(fault: Fault, modern: bool) -> int:
    """Of HTTP: clients with a handshake read errors from 200 only."""
    if not modern or fault.code == messages.INTERNAL_ERROR:
        return 200
    return 404 if fault.code == messages.METHOD_NOT_FOUND else 400


def _response(content: Any, status: int) -> Response:
    if content is None:
        return Response(status_code=status)
    return Response(json.dumps(content, separators=(",", ":")), status, media_type="application/json")
