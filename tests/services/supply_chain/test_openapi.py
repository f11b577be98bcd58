"""The OpenAPI document tells the truth, and tells everything."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from workgym.services import rest
from workgym.services.problems import MEDIA_TYPE
from workgym.services.supply_chain import api, api_models, records, rules, verbs
from workgym.services.supply_chain.store import Store

APP = api.create_app("sqlite://")
DOCUMENT: dict[str, Any] = APP.openapi()
OPERATIONS = [
    (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
RECORDS = ["World", "Link", "Shelf", "Line", "Order", "Shipment", "Policy", "Sale", "Posting"]


def test_the_document_is_valid():
    schemas = DOCUMENT["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert DOCUMENT["info"]["title"] == api.TITLE


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=lambda one: str(one)[:40])
def test_an_operation_says_what_it_does_and_how_it_fails(method, path, operation):
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"][0] in {tag["name"] for tag in api.TAGS}
    problems = [one for status, one in operation["responses"].items() if int(status) >= 400]
    assert problems
    assert all(MEDIA_TYPE in one["content"] for one in problems)
    if method != "get" and "{world}" in path and method != "delete":
        headers = {one["name"] for one in operation["parameters"] if one["in"] == "header"}
        assert "X-Actor" in headers


def test_every_change_can_be_repeated_safely():
    for method, path, operation in OPERATIONS:
        headers = {one["name"] for one in operation.get("parameters", []) if one["in"] == "header"}
        takes_key = "Idempotency-Key" in headers
        opens = path in ("/worlds", "/worlds/archive")  # a name that is taken tells
        assert takes_key == (method in ("post", "put") and not opens and "snapshot" not in path), path


def test_every_field_is_described():
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for field, told in schema.get("properties", {}).items():
            assert told.get("description"), f"{name}.{field}"


@pytest.mark.parametrize("name", RECORDS)
def test_an_answer_has_the_fields_of_its_record(name):
    model: type[BaseModel] = getattr(api_models, name)
    assert set(model.model_fields) == {one.name for one in dataclasses.fields(getattr(records, name))}


def test_every_refusal_has_a_word():
    assert set(api_models.REASON_WORDS) == set(range(1, len(verbs.REASONS)))
    assert len(set(api_models.REASON_WORDS.values())) == len(api_models.REASON_WORDS)
    assert verbs.REASONS[: len(rules.REASONS)] == rules.REASONS


def test_the_books_have_every_account():
    assert tuple(api_models.Books.model_fields) == rules.ACCOUNTS


def test_every_verb_of_the_store_has_an_operation():
    """The API calls each public method of the store."""
    source = inspect.getsource(api) + inspect.getsource(rest)
    public = [name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")]
    assert len(public) > 20
    assert not [name for name in public if f"store.{name}(" not in source and name != "shipment"]
