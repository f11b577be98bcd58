"""The OpenAPI document tells the truth, and tells everything."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from workgym.services import rest
from workgym.services.orders import api, api_models, records, rules, scenario
from workgym.services.orders.store import Store
from workgym.services.problems import MEDIA_TYPE

APP = api.create_app("sqlite://")
DOCUMENT: dict[str, Any] = APP.openapi()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATIONS = {
    operation.get("operationId", f"{method} {path}"): (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
CHANGES = [name for name, (method, _, _) in OPERATIONS.items() if method != "get"]
BATCHED = {"decide"}  # set-wise, for training: its own interface comes with the containers


def walk(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from walk(inner)


def test_the_document_is_openapi_3_1_with_a_version():
    assert DOCUMENT["openapi"].startswith("3.1")
    assert re.match(r"\d+\.\d+", DOCUMENT["info"]["version"])
    assert "Idempotency-Key" in DOCUMENT["info"]["description"]


def test_asking_twice_gives_the_same_document():
    assert APP.openapi() == DOCUMENT


def test_every_reference_leads_somewhere():
    targets = {part["$ref"] for part in walk(DOCUMENT) if "$ref" in part}
    assert targets <= {f"#/components/schemas/{name}" for name in SCHEMAS}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_valid_and_every_field_is_explained(name):
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name].get("description")
    assert not [field for field, its in SCHEMAS[name]["properties"].items() if not its.get("description")]


def test_no_number_is_a_fraction():
    assert not [part for part in walk(DOCUMENT) if part.get("type") == "number"]


def test_money_is_whole_cents():
    money = {
        (name, field): its["type"]
        for name, schema in SCHEMAS.items()
        for field, its in schema["properties"].items()
        if "cents" in field or name == "Books"
    }
    assert set(money.values()) == {"integer"}
    assert ("Order", "value_cents") in money
    assert {field for name, field in money if name == "Books"} == set(rules.ACCOUNTS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_named_described_and_filed(name):
    _, _, operation = OPERATIONS[name]
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation["operationId"])
    assert operation["summary"]
    assert operation["description"]
    assert set(operation["tags"]) <= {tag["name"] for tag in api.TAGS}


def test_no_two_operations_share_a_name():
    assert len(OPERATIONS) == sum(len(methods) for methods in DOCUMENT["paths"].values())


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_documents_its_errors_as_problems(name):
    method, path, operation = OPERATIONS[name]
    errors = {code: its for code, its in operation["responses"].items() if code >= "400"}
    expected = {"503"}
    expected |= {"422"} if operation.get("parameters") or "requestBody" in operation else set()
    expected |= {"404"} if "{" in path else set()
    expected |= {"409"} if method in ("post", "put") else set()
    expected |= {"413"} if "requestBody" in operation else set()
    assert set(errors) == expected
    for its in errors.values():
        assert its["description"]
        assert its["content"] == {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_parameter_is_explained_and_bounded(name):
    for parameter in OPERATIONS[name][2].get("parameters", []):
        assert parameter["description"], parameter["name"]
        for kind in parameter["schema"].get("anyOf", [parameter["schema"]]):
            if kind["type"] == "integer":
                assert {"minimum", "maximum"} <= set(kind), parameter["name"]
            if kind["type"] == "string":
                assert {"maxLength", "pattern"} <= set(kind), parameter["name"]


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "drop_world"])
def test_whoever_changes_something_says_who_they_are(name):
    named = {parameter["name"]: parameter["required"] for parameter in OPERATIONS[name][2]["parameters"]}
    assert named["X-Actor"] is True


def test_every_verb_of_the_store_is_served():
    served = set(re.findall(r"store\.(\w+)\(", inspect.getsource(api) + inspect.getsource(rest)))
    verbs = {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}
    assert verbs - served == BATCHED


ANSWERS = [
    name
    for name, model in vars(api_models).items()
    if isinstance(model, type) and issubclass(model, BaseModel) and hasattr(records, name)
]


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_has_the_fields_of_its_record(name):
    fields = [field.name for field in dataclasses.fields(getattr(records, name))]
    assert list(getattr(api_models, name).model_fields) == fields


def test_no_record_goes_without_an_answer():
    of_records = {
        name
        for name, its in vars(records).items()
        if dataclasses.is_dataclass(its) and its.__module__ == records.__name__
    }
    assert of_records - {"Outcome"} == set(ANSWERS)


@pytest.mark.parametrize(
    ("schema", "field", "names"),
    [
        ("Order", "status", rules.STATUSES),
        ("Order", "region", scenario.REGIONS),
        ("Allocation", "service", rules.SERVICES),
        ("Posting", "account", rules.ACCOUNTS),
        ("NewWorld", "family", scenario.FAMILY_NAMES),
    ],
)
def test_an_enumeration_is_the_business_own(schema, field, names):
    assert SCHEMAS[schema]["properties"][field]["enum"] == list(names)


def test_every_refusal_of_the_rules_has_a_word():
    assert set(api_models.REASON_WORDS) == set(range(1, len(rules.REASONS)))
    assert len(set(api_models.REASON_WORDS.values())) == len(rules.REASONS) - 1
