"""A business verb as a tool: what it takes, and the request that a call of it makes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal
from urllib.parse import urlencode

from workgym.services.kernel import BadInput, did_you_mean

Schema = dict[str, Any]
Place = Literal["path", "query", "key", "field", "body"]

WORLD: Final = "world"
_HINTS: Final[Mapping[str, Mapping[str, bool]]] = {
    "get": {"readOnlyHint": True},
    "put": {"readOnlyHint": False, "idempotentHint": True},
    "delete": {"readOnlyHint": False, "idempotentHint": True, "destructiveHint": True},
}
_ACTS: Final[Mapping[str, bool]] = {"readOnlyHint": False}  # whether it destroys, OpenAPI cannot say


@dataclass(frozen=True)
class Argument:
    """One argument of a tool.

    Attributes:
        schema: of its value.
        place: where the value goes; a `field` is one of the body's, `body` is all of it.
        required: whether it must be given.
    """

    schema: Schema
    place: Place
    required: bool


@dataclass(frozen=True)
class Wanted:
    """A request to the application.

    Attributes:
        method: of HTTP.
        path: not quoted.
        query: quoted.
        key: its idempotency key.
        body: JSON; None for none.
    """

    method: str
    path: str
    query: bytes = b""
    key: str | None = None
    body: bytes | None = None


@dataclass(frozen=True)
class Tool:
    """One operation as a tool.

    Attributes:
        name: the operation's id.
        method: of HTTP, lower case.
        path: template, with parameters in braces.
        title: the operation's summary.
        description: its summary and its explanation.
        arguments: by name.
        has_body: whether the operation asks for a body, were it an empty one.
        definitions: what the arguments' schemas refer to.
        output: schema of the structured result; None when the answer is not JSON.
        wrapped: whether the answer is put into an object, because it is none.
        others: what the paths of the application's other operations of this method look like.
    """

    name: str
    method: str
    path: str
    title: str
    description: str
    arguments: Mapping[str, Argument]
    has_body: bool
    definitions: Mapping[str, Schema]
    output: Schema | None
    wrapped: bool
    others: tuple[re.Pattern[str], ...]

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.method == "get"

    @cached_property
    def listing(self) -> Schema:
        """How `tools/list` describes it."""
        return self._listed(self.arguments)

    @cached_property
    def listing_in_one_world(self) -> Schema:
        """How `tools/list` describes it to somebody who may use one world only."""
        return self._listed({name: each for name, each in self.arguments.items() if name != WORLD})

    def _listed(self, arguments: Mapping[str, Argument]) -> Schema:
        takes: Schema = {
            "type": "object",
            "properties": {name: argument.schema for name, argument in arguments.items()},
            "required": [name for name, argument in arguments.items() if argument.required],
            "additionalProperties": False,
        }
        if self.definitions:
            takes["$defs"] = self.definitions
        hints = _HINTS.get(self.method, _ACTS)
        listing = {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": takes,
            "annotations": {"title": self.title, **hints, "openWorldHint": False},
        }
        return listing if self.output is None else {**listing, "outputSchema": self.output}

    def wanted(self, given: Mapping[str, Any], world: int | None = None) -> Wanted:
        """The request that a call makes.

        Args:
            given: arguments of the call.
            world: the only world that the caller may use, which is no argument then.

        Raises:
            BadInput: an argument is unknown or missing, or leads to another operation.
        """
        known = [name for name in self.arguments if world is None or name != WORLD]
        for name in given:
            if name not in known:
                raise BadInput(did_you_mean("argument", name, known))
        if world is not None and WORLD in self.arguments:
            given = {**given, WORLD: world}
        for name, argument in self.arguments.items():
            if argument.required and name not in given:
                raise BadInput(f"expected the argument {name!r}, found none; see the schema of {self.name!r}")
        key = next(iter(self._at("key", given).values()), None)
        return Wanted(
            self.method.upper(),
            self._path(self._at("path", given)),
            _query(self._at("query", given)),
            None if key is None else str(key),
            self._body(given),
        )

    def _at(self, place: Place, given: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in given.items() if self.arguments[name].place == place}

    def _path(self, values: Mapping[str, Any]) -> str:
        texts = {name: str(value).encode(errors="replace").decode() for name, value in values.items()}
        path = self.path.format_map(texts)
        if all(isinstance(value, int) for value in values.values()):
            return path
        if not pattern(self.path).fullmatch(path) or any(other.fullmatch(path) for other in self.others):
            raise BadInput(f"expected names in {', '.join(values)}, found what leads to another operation")
        return path

    def _body(self, given: Mapping[str, Any]) -> bytes | None:
        if whole := self._at("body", given):
            return json.dumps(next(iter(whole.values()))).encode()
        fields = self._at("field", given)
        return json.dumps(fields).encode() if fields or self.has_body else None


def pattern(path: str) -> re.Pattern[str]:
    """What the paths of a template look like; only a parameter at its end may hold slashes."""
    parts = ["[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"({\w+})", path)]
    if path.endswith("}"):
        parts[-2] = "[^/].*"
    return re.compile("".join(parts), re.DOTALL)


def _query(values: Mapping[str, Any]) -> bytes:
    """A query as FastAPI reads it: nothing for null, JSON's words for booleans."""
    words = {True: "true", False: "false"}
    pairs = {
        name: words[value] if isinstance(value, bool) else value
        for name, value in values.items()
        if value is not None
    }
    return urlencode(pairs, doseq=True, errors="replace").encode()
