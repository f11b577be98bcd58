"""What a running service tells whoever keeps it running: a log, metrics, traces, and an id for each request.

    WORKGYM_LOG=json       one line a request: who asked what, how it ended, how long it took
    WORKGYM_METRICS=off    no `/metrics` (on by default)
    WORKGYM_TRACES=on      one OpenTelemetry span a request

Routes are told by their templates and worlds by their numbers, so nothing that somebody sends can forge a
line or multiply a metric. Nothing of it is written to the business or to an answer's body.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.routing import BaseRoute, Mount

from workgym.services.access.roles import BUSINESS, READS, group_of
from workgym.services.kernel import Service
from workgym.services.logs import write_logs
from workgym.services.metrics import Metrics, metrics_of, show_metrics
from workgym.services.problems import MEDIA_TYPE, Message, Receive, Send
from workgym.services.settings import Settings
from workgym.services.traces import Traces, trace_id

if TYPE_CHECKING:
    from opentelemetry.trace import Span

LOGGER = "workgym.requests"
REQUEST_ID = b"x-request-id"
UNMATCHED, UNANSWERED, DONE, OTHER = "unmatched", "unanswered", "done", "other"

_METHODS = READS | {"POST", "PUT", "PATCH", "DELETE"}
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_PARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_WORLD = re.compile(r"[0-9]{1,19}")
_REASON = re.compile(r"[a-z][a-z-]{0,39}")
_LONGEST_PROBLEM = 64 * 2**10

ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]


class Operation(NamedTuple):
    """What a request turned out to ask for.

    Attributes:
        route: its template.
        name: its operationId; None for what is no operation.
        verb: whether it acts on the business.
    """

    route: str
    name: str | None
    verb: bool


@dataclass(slots=True)
class Answer:
    """What was answered, as it passes by.

    Attributes:
        status: 0 until there is an answer.
        reason: of a problem.
    """

    status: int = 0
    reason: str | None = None
    _problem: bytes | None = None

    def begin(self, message: Message) -> None:
        """Note the status; a problem's body will be read too."""
        self.status = message["status"]
        if self.status >= 400 and (b"content-type", MEDIA_TYPE.encode()) in message["headers"]:
            self._problem = b""

    def read(self, message: Message) -> None:
        """Note a piece of the body."""
        if self._problem is None or len(self._problem) > _LONGEST_PROBLEM:
            return
        self._problem += message.get("body", b"")
        if not message.get("more_body"):
            self.reason = _reason_of(self._problem)

    @property
    def outcome(self) -> str:
        """`done`, the reason of the refusal, or `unanswered`."""
        if not self.status:
            return UNANSWERED
        return DONE if self.status < 400 else self.reason or OTHER


class Telemetry:
    """Middleware that watches every request; it stands before all others.

    Args:
        app: what is watched.
        routes: of the application.
        metrics: where requests are counted, None for nowhere.
        traces: where spans go, None for nowhere.
    """

    def __init__(
        self, app: ASGIApp, routes: Iterable[BaseRoute], metrics: Metrics | None, traces: Traces | None
    ) -> None:
        self.app = app
        self.routes = routes
        self.metrics = metrics
        self.traces = traces
        self._log = logging.getLogger(LOGGER)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve, and note what was asked and answered."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            if scope["type"] == "lifespan" and self.traces is not None:
                self.traces.close()
            return
        began = time.perf_counter()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        mounted_at, answer, error = scope.get("root_path", ""), Answer(), None

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.begin(message)
                message["headers"] = [*message["headers"], (REQUEST_ID, request_id)]
            elif message["type"] == "http.response.body":
                answer.read(message)
            await send(message)

        with self._span(scope) as span:
            try:
                await self.app(scope, receive, watched)
            except Exception as caught:
                answer.status, error = 500, caught
                raise
            finally:
                operation = self._operation(scope, mounted_at)
                self._note(scope, operation, answer, time.perf_counter() - began, span, error)

    def _span(self, scope: Message) -> Any:
        if self.traces is None or scope["path"] in ("/healthz", "/metrics"):
            return nullcontext()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        return self.traces.span(_method(scope), headers)

    def _note(
        self,
        scope: Message,
        operation: Operation,
        answer: Answer,
        seconds: float,
        span: Span | None,
        error: Exception | None,
    ) -> None:
        if self.metrics is not None:
            self._count(self.metrics, _method(scope), operation, answer, seconds)
        if span is not None and self.traces is not None:
            attributes = {
                "http.route": operation.route,
                "workgym.world": _world(scope),
                "workgym.outcome": answer.outcome,
            }
            self.traces.name(span, operation.name or _method(scope), answer.status, attributes)
        level = logging.INFO if error is None else logging.ERROR
        if self._log.isEnabledFor(level):
            fields = {
                "method": _method(scope),
                "route": operation.route,
                "operation": operation.name,
                "status": answer.status,
                "outcome": answer.outcome,
                "seconds": round(seconds, 6),
                "person": getattr(scope["state"].get("person"), "name", None),
                "world": _world(scope),
                "request_id": scope["state"]["request_id"],
                "trace_id": trace_id(span) or _parent(scope),
                "error": None if error is None else type(error).__name__,
            }
            self._log.log(level, "request", extra={"fields": fields})

    @staticmethod
    def _count(metrics: Metrics, method: str, operation: Operation, answer: Answer, seconds: float) -> None:
        metrics.requests.labels(method, operation.route, answer.status or "none").inc()
        metrics.seconds.labels(method, operation.route).observe(seconds)
        if operation.verb:
            metrics.verbs.labels(operation.name, answer.outcome).inc()

    def _operation(self, scope: Message, mounted_at: str) -> Operation:
        route: Any = scope.get("route") or self._plain_route(scope)
        if route is None:
            return Operation(UNMATCHED, None, False)
        if isinstance(route, Mount):
            return Operation(route.path, None, False)
        path, prefix = route.path, scope.get("root_path", "")[len(mounted_at) :]
        if prefix and prefix in self._mounts():
            path = prefix + path
        tags: list[str] = getattr(route, "tags", None) or []
        acts = bool(tags) and scope["method"] not in READS
        return Operation(path, route.name, acts and group_of(tags) == BUSINESS)

    def _plain_route(self, scope: Message) -> BaseRoute | None:
        """FastAPI does not tell the routes that are not its own."""
        endpoint = scope.get("endpoint")
        for each in self.routes if endpoint is not None else ():
            if endpoint is getattr(each, "endpoint", None) or endpoint is getattr(each, "app", None):
                return each
        return None

    def _mounts(self) -> set[str]:
        """Where other applications are mounted; a path with parameters would be told as it was asked."""
        return {each.path for each in self.routes if isinstance(each, Mount) and "{" not in each.path}


def telemetry(app: FastAPI, service: Service, settings: Settings) -> None:
    """The part of the hosting that watches requests; it is the last, so that it sees them first."""
    write_logs(settings.log)
    metrics = metrics_of(app) if settings.metrics else None
    traces = Traces(service) if settings.traces else None
    app.state.traces = traces
    if settings.metrics:
        show_metrics(app, app.state.store.database)
    app.add_exception_handler(Exception, _answer_bug)
    app.add_middleware(Telemetry, routes=app.routes, metrics=metrics, traces=traces)


def _answer_bug(request: Request, _error: Exception) -> JSONResponse:
    """A problem with the id under which the log has more; the error is raised again after the answer."""
    request_id = str(request.state.request_id)
    content = {
        "title": "Internal Server Error",
        "status": 500,
        "reason": "bug",
        "detail": f"something is wrong with the service itself; tell its keepers request {request_id}",
    }
    headers = {REQUEST_ID.decode(): request_id}
    return JSONResponse(content, 500, headers, media_type=MEDIA_TYPE)


def _request_id(scope: Message) -> bytes:
    """What the client calls the request, if that is a name; else 128 random bits."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID and _ID.fullmatch(value):
            return bytes(value)
    return secrets.token_hex(16).encode()


def _parent(scope: Message) -> str | None:
    """The id of the trace in which the client asks (W3C trace context)."""
    for name, value in scope["headers"]:
        if name == b"traceparent" and (found := _PARENT.match(value)):
            return found[1].decode()
    return None


def _method(scope: Message) -> str:
    method = str(scope["method"])
    return method if method in _METHODS else OTHER


def _world(scope: Message) -> str | None:
    world = str(scope.get("path_params", {}).get("world", ""))
    return world if _WORLD.fullmatch(world) else None


def _reason_of(problem: bytes) -> str | None:
    try:
        reason = json.loads(problem)["reason"]
    except (ValueError, KeyError, TypeError):
        return None
    return reason if isinstance(reason, str) and _REASON.fullmatch(reason) else None
