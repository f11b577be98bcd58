"""Tools from an OpenAPI document: its business operations, with schemas that stand alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from workgym.services.access.roles import BUSINESS, group_of
from workgym.services.mcp.tools import Argument, Schema, Tool, pattern

RESULT: Final = "result"  # what an answer that is no object is called in the object around it

_JSON: Final = "application/json"
_REFERENCE: Final = "#/components/schemas/"


def tools_of(document: Mapping[str, Any]) -> dict[str, Tool]:
    """The tools of an application by name, in the order of its OpenAPI document.

    What is not business by its tags, or reads a body that is not JSON, is no tool.
    """
    known = document.get("components", {}).get("schemas", {})
    paths: Mapping[str, Mapping[str, Schema]] = document["paths"]
    return {
        operation["operationId"]: _tool(method, path, operation, known, _others(paths, method, path))
        for path, methods in paths.items()
        for method, operation in methods.items()
        if _is_business(operation)
    }


def _others(paths: Mapping[str, Mapping[str, Schema]], method: str, path: str) -> list[str]:
    return [other for other, methods in paths.items() if method in methods and other != path]


def _is_business(operation: Schema) -> bool:
    reads = operation.get("requestBody", {"content": {_JSON: {}}})["content"]
    return group_of(operation.get("tags", ())) == BUSINESS and _JSON in reads


def _tool(
    method: str, path: str, operation: Schema, known: Mapping[str, Schema], other_paths: list[str]
) -> Tool:
    name: str = operation["operationId"]
    title: str = operation.get("summary", name)
    explained = operation.get("description", "")
    arguments = _arguments(operation, known)
    schemas = _closed({each: argument.schema for each, argument in arguments.items()}, known)
    definitions = schemas.pop("$defs", {})
    output, wrapped = _output(operation, known)
    return Tool(
        name=name,
        method=method,
        path=path,
        title=title,
        description=f"{title}.\n\n{explained}" if explained else f"{title}.",
        arguments={
            each: Argument(schemas[each], argument.place, argument.required)
            for each, argument in arguments.items()
        },
        has_body=operation.get("requestBody", {}).get("required", False),
        definitions=definitions,
        output=output,
        wrapped=wrapped,
        others=tuple(pattern(other) for other in other_paths),
    )


def _arguments(operation: Schema, known: Mapping[str, Schema]) -> dict[str, Argument]:
    """Parameters of the path and the query, fields of the body, and the idempotency key."""
    parameters, key = {}, {}
    for parameter in operation.get("parameters", ()):
        name, place, required = parameter["name"], parameter["in"], parameter.get("required", False)
        schema = parameter["schema"]
        if place in ("path", "query"):
            parameters[name] = Argument(schema, place, required)
        elif name == "Idempotency-Key":
            key["idempotency_key"] = Argument(schema, "key", required)
    return {**parameters, **_from_body(operation, known, {*parameters, *key}), **key}


def _from_body(operation: Schema, known: Mapping[str, Schema], taken: set[str]) -> dict[str, Argument]:
    """The fields of the body, or all of it as one argument where they are not known or not free."""
    if not (body := operation.get("requestBody")):
        return {}
    needed = body.get("required", False)
    schema = _resolved(body["content"][_JSON]["schema"], known)
    fields = schema.get("properties", {})
    if not fields or schema.get("additionalProperties") or taken & fields.keys():
        return {"body": Argument(body["content"][_JSON]["schema"], "body", needed)}
    required = schema.get("required", ()) if needed else ()
    return {name: Argument(field, "field", name in required) for name, field in fields.items()}


def _output(operation: Schema, known: Mapping[str, Schema]) -> tuple[Schema | None, bool]:
    """Schema of the structured result, and whether it is wrapped; MCP wants an object."""
    answers = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
    schemas = [answer["content"][_JSON]["schema"] for answer in answers if _JSON in answer.get("content", {})]
    if not schemas:
        return None, False
    schema = _resolved(schemas[0], known)
    if schema.get("type") == "object":
        return _closed(schema, known), False
    wrapping = {"type": "object", "properties": {RESULT: schema}, "required": [RESULT]}
    return _closed(wrapping, known), True


def _resolved(schema: Schema, known: Mapping[str, Schema]) -> Schema:
    while "$ref" in schema:
        schema = known[schema["$ref"].removeprefix(_REFERENCE)]
    return schema


def _closed(schema: Schema, known: Mapping[str, Schema]) -> Schema:
    """A schema that stands alone: what it refers to comes along as `$defs`.

    Titles stay behind: they repeat the names, and a model reads every word.
    """
    needed: dict[str, Any] = {}

    def moved(node: Any) -> Any:
        if isinstance(node, dict):
            return {word: moved(value) for word, value in node.items() if not _is_title(word, value)}
        if isinstance(node, list):
            return [moved(value) for value in node]
        if not isinstance(node, str) or not node.startswith(_REFERENCE):
            return node
        name = node.removeprefix(_REFERENCE)
        if name not in needed:
            needed[name] = None  # its place is taken before it is moved: it may refer to itself
            needed[name] = moved(known[name])
        return f"#/$defs/{name}"

    closed: Schema = moved(schema)
    return {**closed, "$defs": needed} if needed else closed


def _is_title(word: str, value: object) -> bool:
    return word == "title" and isinstance(value, str)  # a field named `title` has a schema
