"""The dashboard: pages of what the registry knows. They read the registry and nothing else.

A model card that is asked for also makes the env that it describes, so the files that the pipeline names
must be where the dashboard runs.

The registry is opened for each answer, so that a reload shows a run that is being written, an
artifact that was restored, or a database that came back.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy.exc import DBAPIError

from workgym.factory.dashboard import charts, text, views
from workgym.factory.dashboard.fronts import AGAINST
from workgym.factory.dashboard.results import Gain
from workgym.factory.dashboard.shown import Curve, RunLine
from workgym.factory.dashboard.work import STATES
from workgym.factory.entries import CurvePoint
from workgym.factory.registry import Registry, open_registry
from workgym.services.kernel import InfrastructureFault, NotFound, WorkgymError, did_you_mean

HERE = Path(__file__).parent
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
READING = ["GET", "HEAD"]


def opened(request: Request) -> Iterator[Registry]:
    """The registry, for one answer."""
    with request.app.state.open_registry() as registry:
        yield registry


# The largest integer of a database's column; a longer number is no page, rather than an overflow.
Number = Annotated[int, InPath(ge=1, le=2**31 - 1)]
Before = Annotated[int | None, "only what is older than this one"]
Opened = Annotated[Registry, Depends(opened)]
router = APIRouter()


@router.api_route("/", methods=READING)
def overview(registry: Opened) -> Response:
    """Who serves."""
    return render("overview.html", page=views.overview(registry))


@router.api_route("/models/{name}", methods=READING)
def model(
    registry: Opened, name: str, before: Before = None, release: str | None = None, against: str = ""
) -> Response:
    """All of a model."""
    return render("model.html", page=views.model_page(registry, name, before, release, against))


@router.api_route("/models/{name}/versions/{number}", methods=READING)
def version(registry: Opened, name: str, number: Number) -> Response:
    """All of a version."""
    return render("version.html", page=views.version_page(registry, name, number))


@router.api_route("/models/{name}/versions/{number}/card.{kind}", methods=READING)
def card(registry: Opened, name: str, number: Number, kind: Literal["md", "json"]) -> Response:
    """A version's model card, to keep."""
    from workgym.factory import card as cards  # gymnasium is heavy: only where it is needed

    made = cards.card(registry, name, number)
    text, media = {
        "md": (cards.to_markdown, "text/markdown"),
        "json": (cards.to_json, "application/json"),
    }[kind]
    kept = {"Content-Disposition": f'attachment; filename="{name}-v{number}.{kind}"'}
    return Response(text(made), media_type=media, headers=kept)


@router.api_route("/runs", methods=READING)
def runs(registry: Opened, before: Before = None) -> Response:
    """All runs."""
    return render("runs.html", page=views.run_list(registry, before))


@router.api_route("/runs/{number}", methods=READING)
def run(registry: Opened, number: Number) -> Response:
    """All of a run."""
    return render("run.html", page=views.run_page(registry, number))


@router.api_route("/api/models", methods=READING)
def models(registry: Opened) -> Response:
    """The overview for machines."""
    return JSONResponse(asdict(views.overview(registry)))


@router.api_route("/healthz", methods=READING)
def healthz(registry: Opened) -> Response:
    """Whether the registry can be read."""
    return JSONResponse({"status": "ok", "models": len(registry.list_models())})


@router.api_route("/style.css", methods=READING)
def style() -> Response:
    """The style sheet."""
    return FileResponse(HERE / "style.css", media_type="text/css")


def create_app(open_registry: Callable[[], Registry]) -> FastAPI:
    """The dashboard of a registry.

    Args:
        open_registry: called for each answer; the registry is closed after it.
    """
    app = FastAPI(title="workgym dashboard", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.open_registry = open_registry
    app.include_router(router)
    app.middleware("http")(_guarded)
    for missing in (404, NotFound, RequestValidationError):
        app.add_exception_handler(missing, _not_found)
    for fault in (WorkgymError, DBAPIError):
        app.add_exception_handler(fault, _unreadable)
    return app


def serve(home: Path, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve a workspace's dashboard until interrupted.

    Args:
        home: the workspace.
        host: address to listen on; the pages ask for no password, so leave it local.
        port: 0 takes a free one.
        announce: told the address when it answers.

    Raises:
        InfrastructureFault: the address cannot be listened on, or the registry cannot be opened.
    """
    open_registry(home).close()  # migrated now, and what is wrong with it is said now
    app = create_app(lambda: open_registry(home))
    with _listening(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        announce(f"http://{name}:{listener.getsockname()[1]}")
        # Nothing starts or ends with the server, and uvicorn's part of that prints a traceback on Ctrl-C.
        config = uvicorn.Config(app, log_level="warning", server_header=False, lifespan="off")
        server = uvicorn.Server(config)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise InfrastructureFault(
            f"cannot listen on {host} port {port}: {error.strerror or error}; "
            "name another with --port (0 takes a free one) or --host",
            committed="no",
        ) from error


async def _guarded(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Nothing but reading, and nothing that a browser would load from elsewhere."""
    if request.method in READING:
        response = await call_next(request)
    else:
        said = f"The dashboard is read-only, expected GET, found {request.method}; use the factory command.\n"
        response = PlainTextResponse(said, status_code=405, headers={"Allow": ", ".join(READING)})
    response.headers.update(HEADERS)
    return response


def _not_found(request: Request, error: Exception) -> Response:
    path = request.url.path
    known = _addresses(request)
    sentence = str(error) if isinstance(error, NotFound) else did_you_mean("page", path, known)
    return _problem(request, 404, "No such page", sentence, get_close_matches(path, known, n=3))


def _addresses(request: Request) -> list[str]:
    try:
        with request.app.state.open_registry() as registry:
            return views.addresses(registry)
    except (WorkgymError, DBAPIError):
        return ["/", "/runs"]


def _unreadable(request: Request, error: Exception) -> Response:
    said = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    sentence = f"{said}; `factory doctor` looks for the cause"
    return _problem(request, 503, "The registry cannot be read", sentence, [])


def _problem(request: Request, status: int, title: str, sentence: str, near: list[str]) -> Response:
    if request.url.path.startswith(("/api/", "/healthz")):
        return JSONResponse({"error": sentence}, status_code=status)
    return render("problem.html", status, title=title, sentence=sentence, near=near)


def render(template: str, status: int = 200, **values: Any) -> Response:
    """A page."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return HTMLResponse(PAGES.get_template(template).render(now=now, **values), status_code=status)


def chart_of(line: RunLine, small: bool = False) -> charts.Chart | None:
    """A run's learning curves."""
    series = [
        charts.Series(curve.variant, [(float(point.steps), point.value) for point in _drawn(curve, small)])
        for curve in line.curves
    ]
    level = line.reference.profit if line.reference else None
    return charts.curves(series, level, charts.SPARK if small else charts.CURVES)


def _drawn(curve: Curve, small: bool) -> Sequence[CurvePoint]:
    """A curve's points; a dozen are as many as a small chart can show."""
    step = max(len(curve.points) // 12, 1) if small else 1
    return (*curve.points[:-1:step], *curve.points[-1:])


def scale_of(gains: list[Gain]) -> charts.Scale:
    """The axis that these gains share."""
    return charts.scale([(gain.value, gain.low, gain.high) for gain in gains])


def _environment() -> Environment:
    pages = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(text.FILTERS)
    pages.globals.update(chart_of=chart_of, scale_of=scale_of, took=text.took, states=STATES, against=AGAINST)
    return pages


PAGES = _environment()
