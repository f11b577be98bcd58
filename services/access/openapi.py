"""What the OpenAPI document says once people have to sign in."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from workgym.services.access.roles import group_of, permitted
from workgym.services.problems import documented

_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
_REFUSALS = {str(status): answer for status, answer in documented(401, 403, 429).items()}


def describe(app: FastAPI, cookie: str) -> None:
    """Add how to sign in and how it is refused, and take X-Actor out: a client has no say in it."""
    make = app.openapi
    schemes = {
        "token": {"type": "http", "scheme": "bearer", "description": "A token of `/tokens`"},
        "session": {"type": "apiKey", "in": "cookie", "name": cookie, "description": "Set by `/signin`"},
    }

    def openapi() -> dict[str, Any]:
        schema = make()
        schema.setdefault("components", {})["securitySchemes"] = schemes
        for path in schema["paths"].values():
            for method in _METHODS:
                if method in path:
                    _describe(path[method], method)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the schema


def _describe(operation: dict[str, Any], method: str) -> None:
    if permitted(group_of(operation.get("tags", ())), method.upper()) is None:
        return
    operation["security"] = [{"token": []}, {"session": []}]
    operation["responses"].update(_REFUSALS)
    left = [one for one in operation.pop("parameters", []) if one["name"].lower() != "x-actor"]
    if left:
        operation["parameters"] = left
