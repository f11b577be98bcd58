"""Forms: what a verb asks for, what was typed before, and what a sent form asks of the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fastapi import Request

from workgym.services.pages.asking import Asked, ask
from workgym.services.pages.controls import MORE_ROWS, Control, filled, read
from workgym.services.pages.desk import Desk, Operation, Values
from workgym.services.pages.rendering import new_key

Choices = Mapping[str, Sequence[tuple[str, str]]]  # by name of the control: value, and what people read
MOST_CHOICES = 500
_UNKNOWN_FATE = 503


@dataclass(frozen=True)
class Trouble:
    """Why the service did not do what a form asked.

    Attributes:
        status: of HTTP.
        sentence: for people.
        operation: that was asked for.
        typed: the whole form, so that nothing is lost.
    """

    status: int
    sentence: str
    operation: str
    typed: Mapping[str, str]


@dataclass(frozen=True)
class Form:
    """A form to fill.

    Attributes:
        operation: what it asks for.
        hidden: names and values that nobody types.
        controls: what people type.
        typed: values to begin with.
        choices: what some controls may say.
    """

    operation: Operation
    hidden: Mapping[str, str]
    controls: tuple[Control, ...]
    typed: Mapping[str, str] = field(default_factory=dict)
    choices: Choices = field(default_factory=dict)

    def rows(self, control: Control) -> int:
        """How many lines to offer."""
        return filled(control, self.typed) + MORE_ROWS


def form(
    request: Request,
    operation: Operation,
    *,
    fixed: Values | None = None,
    version: int | None = None,
    typed: Values | None = None,
    choices: Choices | None = None,
) -> Form:
    """The form of a verb; after a refusal it holds what was typed.

    Args:
        request: of the page that it is on.
        operation: the verb.
        fixed: parameters of the path that the page knows.
        version: of the record as the page shows it.
        typed: values to begin with, by name of the control.
        choices: what some controls may say.
    """
    fixed = {f"path.{name}": str(value) for name, value in (fixed or {}).items()}
    trouble: Trouble | None = request.scope.get("state", {}).get("trouble")
    mine = trouble if trouble and trouble.operation == operation.id else None
    again = mine is not None and all(mine.typed.get(name) == value for name, value in fixed.items())
    # A request of unknown fate is sent again with its key, so that it takes effect once.
    same = mine.typed.get("key") if mine and again and mine.status == _UNKNOWN_FATE else None
    hidden = {"operation": operation.id, "key": same or new_key(), **fixed}
    if version is not None and operation.versioned:
        hidden["body.expected_version"] = str(version)
    return Form(
        operation,
        hidden,
        tuple(one for one in operation.asks if one.name not in fixed),
        {**(typed or {}), **(mine.typed if mine and again else {})},
        choices or {},
    )


def asked_by(operation: Operation, typed: Mapping[str, str]) -> Asked:
    """What a sent form asks for."""
    parameters = {one: read(one, typed) for one in operation.parameters}
    body = {one.field: read(one, typed) for one in operation.body}
    return Asked(
        path={one.field: value for one, value in parameters.items() if one.name.startswith("path.")},
        query={
            one.field: value
            for one, value in parameters.items()
            if one.name.startswith("query.") and value is not None
        },
        body={name: value for name, value in body.items() if value is not None}
        if operation.has_body
        else None,
        key=typed.get("key") or None,
    )


async def choices_of(
    request: Request, desk: Desk, world: int, operations: Sequence[Operation]
) -> dict[str, list[tuple[str, str]]]:
    """What the world's own lists say that controls may hold; long lists are left out."""
    answers: dict[str, list[dict[str, object]]] = {}
    found: dict[str, list[tuple[str, str]]] = {}
    for operation in operations:
        for control in operation.asks:
            inner = [(f"{control.name}.{one.field}", one) for one in control.columns]
            for name, one in inner or [(control.name, control)]:
                source = desk.source(one) if one.kind in ("text", "number") else None
                if source is None:
                    continue
                listing, key = source
                if listing.path not in answers:
                    answers[listing.path] = await _records(request, listing, world)
                known = _choices(answers[listing.path], key)
                if 0 < len(known) <= MOST_CHOICES:
                    found[name] = known
    return found


async def _records(request: Request, listing: Operation, world: int) -> list[dict[str, object]]:
    answer = await ask(request, listing, world, Asked())
    if not answer.good:
        return []
    said = answer.said
    records: list[dict[str, object]] = said["items"] if isinstance(said, dict) else said
    return records


def _choices(records: Sequence[Mapping[str, object]], key: str) -> list[tuple[str, str]]:
    known: dict[str, str] = {}
    for record in records:
        value = str(record[key])
        told = [record[name] for name in ("name", "source", "target") if name in record and name != key]
        known.setdefault(value, " → ".join(map(str, told)) if key in ("number", "id") else "")
    return list(known.items())
