"""What a form asks for, read from the JSON schemas of an operation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Schema = Mapping[str, Any]
Kind = Literal["choice", "flag", "number", "text", "rows", "json"]
MORE_ROWS = 4  # empty lines below those that are filled
_UNITS = {"cents": "money", "g": "g"}


@dataclass(frozen=True)
class Control:
    """One thing that a form asks for.

    Attributes:
        name: place in the request: `path.number`, `query.sku`, `body.lines`.
        field: last part of the name.
        label: what people read.
        hint: a sentence about it.
        kind: how it is asked.
        required: whether the service wants a value.
        default: of the service, None for none.
        choices: what it may be; empty when anything.
        limits: least and most of a number, most characters of a text.
        columns: of each row.
    """

    name: str
    field: str
    label: str
    hint: str
    kind: Kind
    required: bool
    default: Any = None
    choices: tuple[str, ...] = ()
    limits: tuple[int | None, int | None] = (None, None)
    columns: tuple[Control, ...] = ()


def words(name: str) -> str:
    """A field's name as people read it: `promise_on` is "Promise on"."""
    parts = [part for part in name.split("_") if part not in _UNITS]
    said = " ".join(parts or [name])
    unit = ", g" if name.endswith("_g") else ""
    return "SKU" if said == "sku" else said[:1].upper() + said[1:] + unit


class Schemas:
    """The named schemas of an OpenAPI document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._named: Mapping[str, Schema] = document.get("components", {}).get("schemas", {})

    def resolve(self, schema: Schema) -> tuple[Schema, bool]:
        """A schema without references, and whether null is a value, too."""
        if "$ref" in schema:
            found, nullable = self.resolve(self._named[self.name_of(schema)])
            return {**found, **{key: schema[key] for key in schema if key != "$ref"}}, nullable
        options = schema.get("anyOf", ())
        kept = [option for option in options if option.get("type") != "null"]
        if len(kept) == 1:
            found, _ = self.resolve(kept[0])
            return {**found, **{key: schema[key] for key in schema if key != "anyOf"}}, len(kept) < len(
                options
            )
        return schema, False

    def name_of(self, schema: Schema) -> str:
        """The name that a schema is referred to by, empty for none."""
        return str(schema.get("$ref", "")).rsplit("/", 1)[-1]

    def control(self, name: str, schema: Schema, required: bool, hint: str = "") -> Control:
        """How a value of a schema is asked for."""
        plain, nullable = self.resolve(schema)
        field = name.rsplit(".", 1)[-1]
        kind, choices = self._kind(name, plain, nullable)
        low, high = plain.get("minimum"), plain.get("maximum", plain.get("maxLength"))
        return Control(
            name=name,
            field=field,
            label=words(field),
            hint=(hint or str(plain.get("description", ""))).replace("`", ""),
            kind=kind,
            required=required and not nullable,
            default=plain.get("default"),
            choices=choices,
            limits=(None if low is None else int(low), None if high is None else int(high)),
            columns=self._columns(plain) if kind == "rows" else (),
        )

    def _kind(self, name: str, plain: Schema, nullable: bool) -> tuple[Kind, tuple[str, ...]]:
        if plain.get("enum"):
            return "choice", tuple(str(one) for one in plain["enum"])
        match plain.get("type"):
            case "boolean":  # an unticked box is not sent, so a filter with a default needs both words
                asked = name.startswith("query.") or nullable
                return ("choice", ("true", "false")) if asked else ("flag", ())
            case "integer":
                return "number", ()
            case "string":
                return "text", ()
            case "array" if self.resolve(plain.get("items", {}))[0].get("properties"):
                return "rows", ()
        return "json", ()

    def _columns(self, plain: Schema) -> tuple[Control, ...]:
        item, _ = self.resolve(plain["items"])
        wanted = item.get("required", ())
        return tuple(
            self.control(field, schema, field in wanted) for field, schema in item["properties"].items()
        )


def read(control: Control, form: Mapping[str, str]) -> Any:
    """What a form says for a control; None where nothing was said.

    What cannot be understood is handed on as it was typed: the service says what is wrong with it.
    """
    if control.kind == "rows":
        rows = [_read_row(control, form, row) for row in range(filled(control, form))]
        return [row for row in rows if row]
    said = form.get(control.name, "").strip()
    if control.kind == "flag":
        return said != ""
    if not said and not (control.required and control.kind == "text"):
        return None
    return _value(control, said)


def _value(control: Control, said: str) -> Any:
    if control.choices == ("true", "false"):
        return said == "true" if said in control.choices else said
    if control.kind in ("number", "json"):
        try:
            return json.loads(said)
        except ValueError:
            return said
    return said


def _read_row(control: Control, form: Mapping[str, str], row: int) -> dict[str, Any]:
    cells = {column.field: form.get(cell(control, row, column), "").strip() for column in control.columns}
    if not any(cells.values()):
        return {}
    return {column.field: _value(column, cells[column.field]) for column in control.columns}


def cell(control: Control, row: int, column: Control) -> str:
    """The name of one cell of a list: `body.lines.0.sku`."""
    return f"{control.name}.{row}.{column.field}"


def filled(control: Control, form: Mapping[str, str]) -> int:
    """How many rows of a list a form has sent."""
    sent = [name.split(".")[2] for name in form if name.startswith(f"{control.name}.")]
    return min(1000, max((int(row) + 1 for row in sent if row.isdecimal() and len(row) < 5), default=0))
