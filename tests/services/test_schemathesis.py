"""What Schemathesis makes of every service's OpenAPI document: each operation keeps its word, whatever comes.

`WORKGYM_TEST_EXAMPLES=20` makes twenty times as many requests.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Flaky
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.support.watch import Watch
from workgym.services import services
from workgym.services.hosting import hosted
from workgym.services.settings import Settings

HERE = "http://testserver"
KNOWN = 6  # values of a field
STEPS = (20, 30, 40, 60)  # of a scenario; longer ones are played until every kind of answer was met
WANTED = {200, 201, 404, 409, 422}
MORE = int(os.environ.get("WORKGYM_TEST_EXAMPLES", "1"))
ADMIN = "an admin's own secret"
DEPLOYED = {"open": Settings(), "signed-in": Settings(ADMIN, requests_per_minute={})}
SIGNED_IN = {"Authorization": f"Bearer {ADMIN}"}
# A schema cannot tell which SKUs a world has: whatever it does not know is refused with 422.
LENIENT = [positive_data_acceptance]
# A document that knows the values of one business calls all others wrong.
PLAYED = [*LENIENT, negative_data_rejection]
CALM = settings(
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


def headers_of(how: Settings) -> dict[str, str]:
    return {"X-Actor": "fuzz"} if how.open else SIGNED_IN


def small(spec: dict[str, Any]) -> dict[str, Any]:
    """The same document for whoever has no hour: few lanes, few copies."""
    schemas = spec["components"]["schemas"]
    schemas["NewLease"]["properties"]["lanes"]["maximum"] = 3
    schemas["Fork"]["properties"]["names"]["maxItems"] = 3
    return spec


def schema_of(spec: dict[str, Any], app: FastAPI) -> Any:
    schema = schemathesis.openapi.from_dict(spec)
    schema.app = app
    schema.config.update(base_url=HERE)
    return schema


@contextmanager
def running(app: FastAPI) -> Iterator[Any]:
    """A client of an application in this process; Schemathesis stops what it started at its own end only."""
    try:
        with asgi.get_client(app) as client:
            yield client
    finally:
        asgi.shutdown_lifespans()


def judge(case: Any, answer: Any, lenient: list[Any], watch: Watch, before: str, asked: Any) -> None:
    case.validate_response(answer, excluded_checks=lenient, transport_kwargs=asked)
    if 400 <= answer.status_code < 500:
        assert watch.worlds() == before, f"{case.method} {case.path} was refused and changed something"


def begun(client: Any, how: Settings) -> str:
    """The path of a world in which something has happened."""
    headers = headers_of(how)
    made = client.post(f"{HERE}/worlds", json={"name": "shop"}, headers=headers)
    home = f"/worlds/{made.json()['id']}"
    client.post(f"{HERE}{home}/start-season", headers=headers)
    client.post(f"{HERE}{home}/close-day", headers=headers)
    return home


@pytest.mark.parametrize("how", DEPLOYED)
@pytest.mark.parametrize("name", services())
def test_every_operation_keeps_its_word(name: str, how: str) -> None:
    app = hosted(services()[name], "sqlite://", DEPLOYED[how])
    schema, watch = schema_of(small(app.openapi()), app), Watch(app)
    headers, statuses = headers_of(DEPLOYED[how]), Counter[int]()
    with running(app) as client:
        begun(client, DEPLOYED[how])
        for result in schema.get_all_operations():
            operation = result.ok()

            @settings(CALM, max_examples=8 * MORE)
            @given(case=operation.as_strategy())
            def keeps_its_word(case: Any) -> None:
                before = watch.worlds()
                answer = case.call(session=client, headers=headers)
                statuses[answer.status_code] += 1
                judge(case, answer, LENIENT, watch, before, {"headers": headers})

            keeps_its_word()
    assert {200, 201, 404, 422} <= set(statuses)


# What a business can do in a row


def known_of(
    client: Any, spec: Mapping[str, Any], home: str, headers: dict[str, str]
) -> dict[str, list[Any]]:
    """The values of each field that a world tells, by the field's name."""
    known: dict[str, set[Any]] = defaultdict(set)

    def learn(told: Any) -> None:
        if isinstance(told, list):
            for one in told[:KNOWN]:
                learn(one)
        elif isinstance(told, dict):
            for name, value in told.items():
                if isinstance(value, (dict, list)):
                    learn(value)
                elif isinstance(value, (str, int)) and not isinstance(value, bool):
                    known[name].add(value)

    for path in spec["paths"]:
        if path.startswith("/worlds/{world}/") and path.count("{") == 1 and "get" in spec["paths"][path]:
            answer = client.get(HERE + path.replace("/worlds/{world}", home), headers=headers)
            if answer.headers["content-type"] == "application/json":
                learn(answer.json())
    return {name: sorted(values, key=str)[:KNOWN] for name, values in known.items()}


def played(spec: dict[str, Any], known: Mapping[str, list[Any]]) -> dict[str, Any]:
    """The document of one business: what it asks for by name is what this business has."""
    schemas = spec["components"]["schemas"]

    def narrow(name: str, schema: dict[str, Any]) -> None:
        if known.get(name) and schema.get("type") in ("string", "integer"):
            kinds = str if schema["type"] == "string" else int
            if values := [value for value in known[name] if isinstance(value, kinds)]:
                schema["enum"] = values

    def narrow_all(schema: dict[str, Any]) -> None:
        schema = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
        for name, inner in schema.get("properties", {}).items():
            narrow(name, inner)
            narrow_all(inner.get("items", inner))

    for path in spec["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                names = {"world": "id", "delivery": "id"}
                narrow(names.get(parameter["name"], parameter["name"]), parameter["schema"])
            for content in operation.get("requestBody", {}).get("content", {}).values():
                narrow_all(content["schema"])
    return spec


@pytest.mark.parametrize("how", DEPLOYED)
@pytest.mark.parametrize("name", services())
def test_whatever_happens_in_a_row_every_answer_is_documented(name: str, how: str) -> None:
    deployed, headers = DEPLOYED[how], headers_of(DEPLOYED[how])

    def application() -> FastAPI:
        return hosted(services()[name], "sqlite://", deployed)

    app = application()
    with running(app) as client:
        spec = small(app.openapi())
        known = known_of(client, spec, begun(client, deployed), headers)
    statuses: dict[str, Counter[int]] = defaultdict(Counter)
    failures: list[Exception] = []

    class Play(schema_of(played(spec, known), app).as_state_machine()):  # type: ignore[misc]  # made at run time
        def setup(self) -> None:
            self.app = application()
            self.watch = Watch(self.app)
            self.service = running(self.app)
            self.client = self.service.__enter__()
            begun(self.client, deployed)

        def teardown(self) -> None:
            self.service.__exit__(None, None, None)

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": headers, "app": self.app}  # some checks ask by themselves

        def before_call(self, case: Any) -> None:
            self.before = self.watch.worlds()

        def call(self, case: Any, **asked: Any) -> Any:
            answer = case.call(session=self.client, **asked)
            statuses[case.operation.label][answer.status_code] += 1
            return answer

        def validate_response(self, answer: Any, case: Any, **asked: Any) -> None:
            judge(case, answer, PLAYED, self.watch, self.before, asked)

        def step(self, input: Any) -> Any:
            try:
                return super().step(input)
            except Exception as failure:
                failures.append(failure)
                raise

    met: set[int] = set()
    for steps in STEPS:
        # What Schemathesis has learnt from answers makes a scenario hard to repeat.
        with suppress(Flaky):
            Play.run(settings=settings(CALM, max_examples=6 * MORE, stateful_step_count=steps))
        assert not failures, failures[0]
        met = {status for counted in statuses.values() for status in counted}
        if met >= WANTED:
            break
    assert met >= WANTED
