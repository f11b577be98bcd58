"""A page: a template in the common frame, and the headers that keep it harmless."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from workgym.services.pages.asking import desk_of
from workgym.services.pages.controls import cell, words

HERE = Path(__file__).parent
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # without one, a browser would not say where a form comes from
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
NOTHING = "–"
_MINUS = "−"
_ACTING = ("operator", "agent", "admin")
_DIGEST = 32  # hexadecimal digits from which on a text is a digest, which nobody reads


class Row(NamedTuple):
    """One line of a table.

    Attributes:
        record: what it shows.
        href: the record's page.
        forms: of what can be done with it at once.
        links: of what can be done with it after some typing; words, and the address of the form.
    """

    record: Mapping[str, Any]
    href: str | None = None
    forms: tuple[Any, ...] = ()
    links: tuple[tuple[str, str], ...] = ()


def page(
    request: Request, template: str, folder: Path | None = None, status: int = 200, **context: Any
) -> HTMLResponse:
    """A page in the common frame.

    Args:
        request: what is answered.
        template: its name.
        folder: where the template lies; None for the templates of this package.
        status: of HTTP.
        context: what the template shows; `title` is the page's, `world` the facts of the world it is in.
    """
    state = request.scope.get("state", {})
    done = desk_of(request).by_id.get(request.query_params.get("done", ""))
    text = (
        _environment(folder)
        .get_template(template)
        .render(
            {
                "request": request,
                "service": request.app.title,
                "desk": desk_of(request),
                "here": request.url.path,
                "person": state.get("person"),
                "may_act": may_act(request),
                "trouble": state.get("trouble"),
                "done": done,
                "world": None,
                **context,
            }
        )
    )
    return HTMLResponse(text, status, HEADERS)


def may_act(request: Request) -> bool:
    """Whether whoever asks may change something, or only look."""
    person = request.scope.get("state", {}).get("person")
    return person is None or person.role in _ACTING


def new_key() -> str:
    """An idempotency key for one rendering of one form."""
    return f"desk-{uuid.uuid4().hex}"


def money(cents: int | None) -> str:
    """Integer cents as people write them: `1,234.50`."""
    if cents is None:
        return NOTHING
    sign = _MINUS if cents < 0 else ""
    return f"{sign}{abs(cents) // 100:,}.{abs(cents) % 100:02}"


def count(value: float | None) -> str:
    """A number with its thousands apart."""
    return NOTHING if value is None else f"{value:,}".replace("-", _MINUS)


def shown(value: Any, unit: str = "text") -> str:
    """A value of JSON in a table's cell."""
    if value is None or value in ("", []):
        return NOTHING
    if unit == "money":
        return money(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and unit != "text":
        return count(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        apart = ", " if isinstance(value[0], str | int | float) else "; "
        return apart.join(shown(one) for one in value)
    text = str(value)
    return text[:8] if len(text) >= _DIGEST and not set(text) - set("0123456789abcdef") else text


def rows_of(records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Records as lines of a table that lead nowhere."""
    return [Row(record) for record in records]


@cache
def _environment(folder: Path | None) -> Environment:
    folders = [HERE / "templates"] if folder is None else [folder, HERE / "templates"]
    pages = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(money=money, count=count, shown=shown, words=words, rows_of=rows_of)
    pages.globals.update(new_key=new_key, cell=cell)
    return pages
