"""The desk of a service: its business operations as people meet them, read from its OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from workgym.services.pages.controls import Control, Schema, Schemas, words

BELOW = "/worlds/{world}/"
NOT_BUSINESS = frozenset(
    {"worlds", "scenario", "health", "pages", "public", "gym", "access", "mcp", "telemetry", "undeclared"}
)
_PAGING = frozenset({"after", "limit"})
_PARAMETER = re.compile(r"\{(\w+)\}")
Values = Mapping[str, str]


class Column(NamedTuple):
    """One column of an answer's table, or one line of its facts.

    Attributes:
        name: of the field.
        label: what people read.
        unit: `money`, `count`, `text`, `flag`, or `list` for records within the record.
        columns: of those.
    """

    name: str
    label: str
    unit: str
    columns: tuple[Column, ...] = ()


@dataclass(frozen=True)
class Operation:
    """One business operation.

    Attributes:
        id: its name.
        method: of HTTP.
        path: below the world: `orders/{number}/allocate`.
        tag: its group.
        summary: what it does, in a few words.
        about: what it does, in sentences.
        parameters: what it takes in the path and in the query.
        body: what it takes in the body.
        has_body: whether it takes one at all.
        listing: whether it answers a list of records.
        columns: of the answer's records.
        record: name of the schema of those.
    """

    id: str
    method: str
    path: str
    tag: str
    summary: str
    about: str
    parameters: tuple[Control, ...]
    body: tuple[Control, ...]
    has_body: bool
    listing: bool
    columns: tuple[Column, ...]
    record: str

    @property
    def acts(self) -> bool:
        """Whether it changes something."""
        return self.method != "GET"

    @property
    def placed(self) -> tuple[str, ...]:
        """Names of the parameters in its path."""
        return tuple(_PARAMETER.findall(self.path))

    @property
    def filters(self) -> tuple[Control, ...]:
        """What a search can be narrowed by."""
        queries = (one for one in self.parameters if one.name.startswith("query."))
        return tuple(one for one in queries if one.field not in _PAGING)

    @property
    def asks(self) -> tuple[Control, ...]:
        """What a person types, path included."""
        return tuple(one for one in (*self.parameters, *self.body) if one.field != "expected_version")

    @property
    def versioned(self) -> bool:
        """Whether it takes the version that was read."""
        return any(one.field == "expected_version" for one in self.body)

    def match(self, rest: str, greedy: bool = False) -> dict[str, str] | None:
        """The path's parameters if an address below the world is this operation's."""
        last = self.placed[-1] if greedy and self.path.endswith("}") else None
        pattern = "".join(
            part if not i % 2 else f"(?P<{part}>{'.+' if part == last else '[^/]+'})"
            for i, part in enumerate(_PARAMETER.split(self.path))
        )
        found = re.fullmatch(pattern, rest)
        return found.groupdict() if found else None

    def at(self, values: Mapping[str, object]) -> str:
        """The path with its parameters filled."""
        return _PARAMETER.sub(lambda found: str(values[found[1]]), self.path)


class Link(NamedTuple):
    """One entry of the navigation."""

    label: str
    path: str


class Desk:
    """Everything that people can see and do in one world.

    Args:
        document: OpenAPI of the service.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._schemas = Schemas(document)
        self._names = set(_names(document["paths"]))
        self.operations = tuple(self._operations(document))
        self.by_id = {one.id: one for one in self.operations}
        self.world = self._world(document)
        self.navigation = tuple(self._navigation())

    def find(self, rest: str) -> tuple[Operation, Values] | None:
        """The operation at an address below the world, one that reads before one that acts."""
        for greedy in (False, True):  # a value may hold slashes where nothing else fits
            for acts in (False, True):
                for one in self.operations:
                    values = one.match(rest, greedy) if one.acts == acts else None
                    if values is not None:
                        return one, values
        return None

    def readable(self, rest: str) -> bool:
        """Whether something can be read at an address below the world."""
        found = self.find(rest)
        return found is not None and not found[0].acts

    def verbs_of_list(self, path: str) -> list[Operation]:
        """Verbs that make a new entry of a list: at its own address, or at one that the form names."""
        return [
            one
            for one in self.operations
            if one.acts and (one.path == path or (one.path.startswith(path + "/{") and one.path[-1] == "}"))
        ]

    def verbs_of_record(self, path: str) -> list[Operation]:
        """Verbs on the record at an address: `orders/{number}/cancel` for `orders/{number}`."""
        beneath = re.compile(re.escape(path) + r"(/[^/{]+)?")
        return [one for one in self.operations if one.acts and beneath.fullmatch(one.path)]

    def verbs_of_row(self, listing: Operation) -> list[Operation]:
        """Verbs on an entry of a list that has no page of its own."""
        beneath = re.compile(re.escape(listing.path) + r"(/\{\w+\})+(/[^/{]+)?")
        fields = {column.name for column in listing.columns}
        if self.record_page(listing):
            return []
        return [
            one
            for one in self.operations
            if one.acts and beneath.fullmatch(one.path) and key_of(one, fields) is not None
        ]

    def record_page(self, listing: Operation) -> Operation | None:
        """The operation that reads one record of a list."""
        fields = {column.name for column in listing.columns}
        for one in self.operations:
            same = one.record == listing.record and not one.listing and not one.acts and one.placed
            if same and key_of(one, fields) is not None:
                return one
        return None

    def source(self, control: Control) -> tuple[Operation, str] | None:
        """The list, and its field, that holds what a control may say."""
        lists = [one for one in self.operations if one.listing and not one.placed]
        for one in lists:
            if one.path == control.field + "s":
                fields = {column.name for column in one.columns}
                keys = ("number", "id") if control.kind == "number" else ("name", "code")
                named = next((key for key in keys if key in fields), None)
                if named:
                    return one, named
        if control.kind != "text":
            return None
        found = (one for one in lists if control.field in {column.name for column in one.columns})
        return next(((one, control.field) for one in found), None)

    def _operations(self, document: Mapping[str, Any]) -> Iterator[Operation]:
        for path, methods in document["paths"].items():
            for method, told in methods.items():
                business = path.startswith(BELOW) and not NOT_BUSINESS & set(told.get("tags", ()))
                if business and told.get("tags"):
                    yield self._operation(path.removeprefix(BELOW), method.upper(), told)

    def _operation(self, path: str, method: str, told: Mapping[str, Any]) -> Operation:
        listing, item = self._answer(told)
        return Operation(
            id=told["operationId"],
            method=method,
            path=path,
            tag=told["tags"][0],
            summary=told.get("summary", words(told["operationId"])),
            about=told.get("description", "").replace("`", ""),
            parameters=tuple(
                self._schemas.control(
                    f"{one['in']}.{one['name']}",
                    one["schema"],
                    one.get("required", False),
                    one.get("description", ""),
                )
                for one in told.get("parameters", ())
                if one["in"] in ("path", "query") and one["name"] != "world"
            ),
            body=self._body(told),
            has_body="requestBody" in told,
            listing=listing,
            columns=self._columns(item),
            record=self._schemas.name_of(item),
        )

    def _body(self, told: Mapping[str, Any]) -> tuple[Control, ...]:
        content = told.get("requestBody", {}).get("content", {}).get("application/json", {})
        plain, _ = self._schemas.resolve(content.get("schema", {}))
        wanted = plain.get("required", ())
        return tuple(
            self._schemas.control(f"body.{field}", schema, field in wanted)
            for field, schema in plain.get("properties", {}).items()
        )

    def _answer(self, told: Mapping[str, Any]) -> tuple[bool, Schema]:
        """Whether a list is answered, and the schema of its records or of the one record."""
        good: Schema = next(
            (answer for code, answer in told["responses"].items() if code.startswith("2")), {}
        )
        schema = good.get("content", {}).get("application/json", {}).get("schema", {})
        plain, _ = self._schemas.resolve(schema)
        items = plain.get("properties", {}).get("items", {}) if "properties" in plain else plain
        if items.get("type") == "array":
            return True, items.get("items", {})
        return False, schema

    def _columns(self, schema: Schema) -> tuple[Column, ...]:
        plain, _ = self._schemas.resolve(schema)
        return tuple(self._column(name, field) for name, field in plain.get("properties", {}).items())

    def _column(self, name: str, field: Schema) -> Column:
        plain, _ = self._schemas.resolve(field)
        kind = plain.get("type")
        if kind == "array":
            return Column(name, words(name), "list", self._columns(plain.get("items", {})))
        if kind == "integer" and name in self._names:
            return Column(name, words(name), "text")
        if kind == "integer":
            cents = name.rsplit("_", maxsplit=1)[-1] == "cents" or plain.get("description") == "Cents"
            money = cents or plain.get("x-unit") == "money"
            return Column(name, words(name), "money" if money else "count")
        return Column(name, words(name), "flag" if kind == "boolean" else "text")

    def _world(self, document: Mapping[str, Any]) -> tuple[Column, ...]:
        told = document["paths"].get("/worlds/{world}", {}).get("get")
        return self._columns(self._answer(told)[1]) if told else ()

    def _navigation(self) -> Iterator[tuple[str, tuple[Link, ...]]]:
        groups: dict[str, dict[str, Link]] = {}
        for one in self.operations:
            if not one.placed:
                label = words(one.path.replace("-", "_").replace("/", "_"))
                groups.setdefault(one.tag, {}).setdefault(one.path, Link(label, one.path))
        for tag, links in groups.items():
            yield words(tag), tuple(links.values())


def _names(paths: Mapping[str, Any]) -> Iterator[str]:
    """Fields whose numbers name something, so that they are not written like amounts."""
    yield from ("id", "number")
    for path in paths:
        yield from _PARAMETER.findall(path)
        yield path.rsplit("/", 1)[-1].removesuffix("s")


def key_of(operation: Operation, fields: set[str]) -> dict[str, str] | None:
    """Which field of a record fills each parameter of an operation's path; None if some cannot be filled."""
    placed = operation.placed
    if all(name in fields for name in placed):
        return {name: name for name in placed}
    if len(placed) == 1 and "id" in fields:
        return {placed[0]: "id"}
    return None
