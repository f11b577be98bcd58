"""The desk's own pages, the same for every service: a service's routes at the same addresses come first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from workgym.services.kernel import NotFound
from workgym.services.pages.asking import Answer, Asked, ask, desk_of, read_world, send
from workgym.services.pages.desk import Column, Desk, Operation, Values, key_of
from workgym.services.pages.forms import Form, Trouble, asked_by, choices_of, form
from workgym.services.pages.problems import problem_page
from workgym.services.pages.rendering import HEADERS, HERE, Row, may_act, page
from workgym.services.pages.trail import PAGE as TRAIL_PAGE
from workgym.services.pages.trail import Event, trail
from workgym.services.rest import LARGEST_ID, WorldId

PAGE = 50  # records of a list that has no pages of its own
RECENT = 8  # lines of the audit trail below a form
MOST_DIGITS = 10  # of a number in an address; more is nonsense
_DIGEST = 32
From = Annotated[int, Query(ge=0, le=LARGEST_ID, description="Records to pass over")]
Before = Annotated[int | None, Query(ge=0, le=LARGEST_ID, description="Only older lines")]

router = APIRouter(prefix="/desk", tags=["pages"], include_in_schema=False)
style = APIRouter(tags=["health"], include_in_schema=False)  # the sign-in form needs it, too


@style.get("/static/desk.css")
def style_sheet() -> FileResponse:
    """The style sheet of every page."""
    return FileResponse(HERE / "style.css", media_type="text/css", headers={"Cache-Control": "max-age=300"})


@router.get("")
async def show_worlds(request: Request, name: str = "", start: From = 0) -> HTMLResponse:
    """The worlds of this service."""
    answer = await send(request, "GET", "/worlds")
    if not answer.good:
        return problem_page(request, answer.status, answer.said["detail"])
    person = request.scope.get("state", {}).get("person")
    only = getattr(person, "world", None)
    found = [
        one
        for one in answer.said
        if name.lower() in str(one["name"]).lower() and (only is None or one["id"] == only)
    ]
    shown = found[start : start + PAGE]
    rows = [Row(one, f"/desk/{one['id']}") for one in shown]
    return page(
        request,
        "worlds.html",
        title="Worlds",
        rows=rows,
        columns=_readable(desk_of(request).world, shown, shown),
        total=len(found),
        name=name,
        pages=_pages(request, start, len(found)),
    )


@router.get("/{world}")
async def show_world(request: Request, world: WorldId) -> HTMLResponse:
    """One world: its facts, what can be done, what was done last."""
    desk = desk_of(request)
    facts = await read_world(request, world)
    at_once = [one for one in desk.operations if one.acts and not one.placed and not one.asks]
    return page(
        request,
        "world.html",
        title=facts["name"],
        world=facts,
        columns=_readable(desk.world, [facts], [facts]),
        forms=_forms(request, at_once),
        events=_events(request, world, RECENT),
    )


@router.get("/{world}/audit")
def show_audit(
    request: Request,
    world: WorldId,
    subject: str = "",
    actor: str = "",
    verb: str = "",
    before: Before = None,
) -> HTMLResponse:
    """Who did what to whom, and when."""
    store = request.app.state.store
    facts = vars(store.world(world))
    wanted = {"subject": subject, "actor": actor, "verb": verb}
    events = trail(store.database, world, **wanted, before=before, limit=TRAIL_PAGE + 1)
    given = {name: value for name, value in wanted.items() if value}
    older = (
        "?" + urlencode({**given, "before": events[TRAIL_PAGE - 1].number})
        if len(events) > TRAIL_PAGE
        else None
    )
    return page(
        request,
        "audit.html",
        title="Audit trail",
        world=facts,
        events=events[:TRAIL_PAGE],
        wanted=wanted,
        older=older,
        newest="?" + urlencode(given) if before is not None else None,
    )


@router.get("/{world}/{rest:path}")
async def show(request: Request, world: WorldId, rest: str) -> HTMLResponse:
    """What an operation reads, or the form of a verb."""
    desk = desk_of(request)
    facts = await read_world(request, world)
    found = desk.find(rest)
    if found is None:
        raise NotFound(f"no page {request.url.path}; the navigation shows the pages that there are")
    if found[0].acts:
        return await _verb_page(request, desk, facts, *found)
    if found[0].listing:
        return await _list_page(request, desk, facts, *found)
    return await _record_page(request, desk, facts, *found)


@router.post("/{world}")
@router.post("/{world}/{rest:path}")
async def act(request: Request, world: WorldId, rest: str = "") -> Response:
    """Do what a form asks for; then the page is read again, or shown with the reason why not."""
    if _from_elsewhere(request):
        return problem_page(
            request, 403, "The form was sent from another site; open the page here and try again."
        )
    typed = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
    operation = desk_of(request).by_id.get(typed.get("operation", ""))
    if operation is None or not operation.acts:
        raise NotFound("no such verb; open the page again and use one of its forms")
    if "more" in typed:
        return await _again(request, Trouble(200, "", operation.id, typed))
    try:
        answer = await ask(request, operation, world, asked_by(operation, typed))
    except (KeyError, UnicodeError) as error:
        raise HTTPException(422, f"the form is not complete: {error}") from error
    if not answer.good:
        return await _again(request, Trouble(answer.status, _sentence(answer), operation.id, typed))
    target = _after(request, world, rest, operation, answer)
    return RedirectResponse(f"{target}?{urlencode({'done': operation.id})}", 303, HEADERS)


async def _again(request: Request, trouble: Trouble) -> Response:
    """The page that the form was on, with what was typed."""
    query = dict(request.query_params)
    query.pop("done", None)
    shown = await send(request, "GET", request.url.path, query=query, state={"trouble": trouble})
    if not shown.good:
        return problem_page(request, trouble.status, trouble.sentence)
    return HTMLResponse(shown.body, trouble.status, HEADERS)


def _sentence(answer: Answer) -> str:
    told = answer.said
    flaws = told.get("errors") or ()
    said = "; ".join(f"{flaw['where'].rsplit('/', 1)[-1]}: {flaw['message']}" for flaw in flaws)
    return str(said or told.get("detail") or told.get("title"))


def _after(request: Request, world: int, rest: str, operation: Operation, answer: Answer) -> str:
    """Where to go after a verb: to what it made, or back to the page; from a page of the verb, one up."""
    desk = desk_of(request)
    made = answer.headers.get("location", "").removeprefix(f"/worlds/{world}/")
    if made and desk.readable(made):
        return f"/desk/{world}/{quote(made)}"
    if operation.placed:
        while rest and not desk.readable(rest):
            rest = rest.rpartition("/")[0]
    return f"/desk/{world}/{quote(rest)}" if rest else f"/desk/{world}"


def _from_elsewhere(request: Request) -> bool:
    """Whether another site's page sent the form."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


async def _list_page(
    request: Request, desk: Desk, facts: dict[str, Any], operation: Operation, values: Values
) -> HTMLResponse:
    typed = {f"query.{name}": value for name, value in request.query_params.items()}
    given = {one.field: typed[one.name] for one in operation.parameters if typed.get(one.name)}
    answer = await ask(request, operation, facts["id"], Asked(values, given))
    said: Any = answer.said if answer.good else []
    paged = isinstance(said, dict)
    records, total = (said["items"], said.get("total")) if paged else (said, len(said))
    start = _start(request)
    pages = _pages(request, start, 0 if paged else total)
    if paged:
        records, pages = records[:], _next_page(request, said.get("next"))
    else:
        records = records[start : start + PAGE]
    verbs = desk.verbs_of_list(operation.path) if may_act(request) else []
    choices = await choices_of(request, desk, facts["id"], [operation, *verbs])
    return page(
        request,
        "list.html",
        status=200 if answer.good else answer.status,
        title=operation.path.replace("-", " ").replace("/", " ").capitalize(),
        world=facts,
        operation=operation,
        refused=None if answer.good else _sentence(answer),
        search=Form(operation, {}, operation.filters, typed, choices),
        rows=_rows(request, desk, facts["id"], operation, records),
        columns=_readable(operation.columns, records, [facts]),
        total=total,
        pages=pages,
        forms=_forms(request, verbs, choices=choices),
    )


async def _record_page(
    request: Request, desk: Desk, facts: dict[str, Any], operation: Operation, values: Values
) -> HTMLResponse:
    answer = await ask(request, operation, facts["id"], Asked(values))
    if not answer.good:
        return problem_page(request, answer.status, _sentence(answer))
    verbs = desk.verbs_of_record(operation.path) if may_act(request) and values else []
    choices = await choices_of(request, desk, facts["id"], verbs)
    many = operation.path.partition("/{")[0]  # `orders` of `orders/{number}`
    one = many.rpartition("/")[2].removesuffix("s")
    subject = "/".join([one, *values.values()])
    return page(
        request,
        "record.html",
        title=" ".join([one, *values.values()]).capitalize() if values else many.capitalize(),
        world=facts,
        operation=operation,
        record=answer.said,
        columns=_readable(operation.columns, [answer.said], [facts]),
        forms=_forms(request, verbs, values, answer.said.get("version"), choices),
        up=(many, f"/desk/{facts['id']}/{many}") if values else None,
        events=_events(request, facts["id"], RECENT, subject) if values else (),
    )


async def _verb_page(
    request: Request, desk: Desk, facts: dict[str, Any], operation: Operation, values: Values
) -> HTMLResponse:
    choices = await choices_of(request, desk, facts["id"], [operation])
    linked = {name: value for name, value in request.query_params.items() if "." in name}
    version = linked.get("body.expected_version", "")
    read = int(version) if version.isdecimal() and len(version) < MOST_DIGITS else None
    forms = [form(request, operation, fixed=values, version=read, typed=linked, choices=choices)]
    return page(
        request,
        "verb.html",
        title=operation.summary,
        world=facts,
        forms=forms if may_act(request) else [],
        events=_events(request, facts["id"], RECENT),
    )


def _forms(
    request: Request,
    verbs: Sequence[Operation],
    fixed: Values | None = None,
    version: int | None = None,
    choices: Mapping[str, Sequence[tuple[str, str]]] | None = None,
) -> list[Form]:
    if not may_act(request):
        return []
    return [form(request, verb, fixed=fixed, version=version, choices=choices) for verb in verbs]


def _rows(
    request: Request, desk: Desk, world: int, operation: Operation, records: Sequence[Mapping[str, Any]]
) -> list[Row]:
    fields = {column.name for column in operation.columns}
    detail = desk.record_page(operation)
    verbs = desk.verbs_of_row(operation) if may_act(request) else []
    rows = []
    for record in records:
        href = f"/desk/{world}/{_at(detail, fields, record)}" if detail else None
        at_once = [
            form(request, verb, fixed=_key(verb, fields, record)) for verb in verbs if not verb.has_body
        ]
        typing = [
            (verb.summary, f"/desk/{world}/{_at(verb, fields, record)}?{_known(verb, record)}")
            for verb in verbs
            if verb.has_body
        ]
        rows.append(Row(record, href, tuple(at_once), tuple(typing)))
    return rows


def _key(operation: Operation, fields: set[str], record: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(record[key]) for name, key in (key_of(operation, fields) or {}).items()}


def _at(operation: Operation, fields: set[str], record: Mapping[str, Any]) -> str:
    return quote(operation.at(_key(operation, fields, record)))


def _known(verb: Operation, record: Mapping[str, Any]) -> str:
    """What a record says already of what a verb asks for, as the query of the verb's page."""
    known = {one.name: record[one.field] for one in verb.body if record.get(one.field) is not None}
    version = {"body.expected_version": record["version"]} if verb.versioned and "version" in record else {}
    return urlencode({**known, **version})


def _readable(
    columns: Sequence[Column], records: Sequence[Mapping[str, Any]], worlds: Sequence[Mapping[str, Any]]
) -> list[Column]:
    """The columns without digests and versions, which are for programs.

    Money of a world whose currency has no hundredth part is written as it is.
    """
    cents = all(world.get("currency", "cents") == "cents" for world in worlds)
    return [
        one if cents or one.unit != "money" else one._replace(unit="count")
        for one in columns
        if one.name != "version" and not (records and all(_is_digest(row.get(one.name)) for row in records))
    ]


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) >= _DIGEST and not set(value) - set("0123456789abcdef")


def _start(request: Request) -> int:
    said = request.query_params.get("start", "")
    return int(said) if said.isdecimal() and len(said) < MOST_DIGITS else 0


def _pages(request: Request, start: int, total: int) -> dict[str, str]:
    kept = {k: v for k, v in request.query_params.items() if k not in ("start", "done")}
    pages = {}
    if start > 0:
        pages["Previous"] = "?" + urlencode({**kept, "start": max(0, start - PAGE)})
    if start + PAGE < total:
        pages["Next"] = "?" + urlencode({**kept, "start": start + PAGE})
    return pages


def _next_page(request: Request, after: int | None) -> dict[str, str]:
    kept = {k: v for k, v in request.query_params.items() if k not in ("after", "done")}
    pages = {"First": "?" + urlencode(kept)} if "after" in request.query_params else {}
    if after is not None:
        pages["Next"] = "?" + urlencode({**kept, "after": after})
    return pages


def _events(request: Request, world: int, limit: int, subject: str = "") -> list[Event]:
    return trail(request.app.state.store.database, world, subject=subject, limit=limit)
