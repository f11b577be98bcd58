"""What a service tells of its work, and that the work does not notice."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from workgym.services import logs, services
from workgym.services.hosting import hosted
from workgym.services.kernel import BadInput
from workgym.services.settings import Settings

ACTOR = {"X-Actor": "ann"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def application(name: str = "orders", database: str = "sqlite://", **settings: Any) -> FastAPI:
    return hosted(services()[name], database, Settings(gym=False, **settings))


@pytest.fixture(params=services())
def client(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """Of every service, as it is deployed by default."""
    with TestClient(application(request.param), headers=ACTOR, raise_server_exceptions=False) as found:
        yield found


def opened(client: TestClient) -> str:
    answer = client.post("/worlds", json={"name": "shop"})
    assert answer.status_code == 201, answer.text
    return f"/worlds/{answer.json()['id']}"


def samples(client: TestClient) -> dict[tuple[Any, ...], float]:
    """Every sample by its name and the values of its labels, which are sorted by name."""
    text = client.get("/metrics").text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


# Request ids


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/worlds/77", "/metrics"])
def test_every_answer_has_the_id_that_the_client_chose(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"X-Request-ID": "job-7.a_B"})
    assert answer.headers["X-Request-ID"] == "job-7.a_B"


@pytest.mark.parametrize("said", [None, "", "a b", "x" * 65, "ü".encode(), "one;two", "<b>"])
def test_an_id_that_could_forge_a_line_is_replaced(client: TestClient, said: Any) -> None:
    headers = {} if said is None else {"X-Request-ID": said}
    first, second = (client.get("/healthz", headers=headers).headers["X-Request-ID"] for _ in range(2))
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first != second


def test_a_bug_is_a_problem_with_the_id_under_which_the_log_has_it(caplog: Any) -> None:
    app = application()

    @app.get("/bug")
    def bug() -> None:
        raise ZeroDivisionError

    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/bug", headers={"X-Request-ID": "seven"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/problem+json")
    assert answer.headers["X-Request-ID"] == "seven"
    assert "seven" in answer.json()["detail"]
    (record,) = [record for record in caplog.records if record.name == "workgym.requests"]
    assert (record.levelname, record.fields["request_id"], record.fields["error"]) == (
        "ERROR",
        "seven",
        "ZeroDivisionError",
    )


# Metrics


def test_requests_and_verbs_are_counted_by_route_and_outcome(client: TestClient) -> None:
    world = opened(client)
    assert client.post(f"{world}/close-day").status_code == 200
    assert client.post("/worlds/999/close-day").status_code == 404
    found = samples(client)
    assert found["workgym_requests_total", "POST", "/worlds/{world}/close-day", "200"] == 1
    assert found["workgym_requests_total", "POST", "/worlds/{world}/close-day", "404"] == 1
    assert found["workgym_request_seconds_count", "POST", "/worlds/{world}/close-day"] == 2
    assert found["workgym_verbs_total", "done", "close_day"] == 1
    assert found["workgym_verbs_total", "not-found", "close_day"] == 1
    assert not any("open_world" in sample for sample in found), "a trainer's verb is no business verb"
    assert found["workgym_worlds",] >= 1
    assert found["workgym_database_up",] == 1


def test_a_refusal_is_counted_by_its_word() -> None:
    with TestClient(application(), headers=ACTOR) as client:
        world = opened(client)
        sku = client.get(f"{world}/stock").json()[0]["sku"]
        placed = client.post(f"{world}/orders", json={"customer": 0, "lines": [{"sku": sku, "qty": 99_999}]})
        where = f"{world}/orders/{placed.json()['number']}/allocate"
        answer = client.post(where, json={"centre": "Leeds", "service": "economy"})
        assert answer.json()["reason"] == "short-of-stock"
        assert samples(client)["workgym_verbs_total", "short-of-stock", "allocate_order"] == 1


def test_nothing_that_a_client_sends_makes_a_new_label(client: TestClient) -> None:
    def labels() -> set[tuple[Any, ...]]:
        return {sample for sample in samples(client) if not sample[0].endswith("_created")}

    def ask(mark: int) -> None:
        client.get(f"/nowhere/{mark}")
        client.request(f"VERB{mark}", "/worlds")
        client.post(f"/worlds/{mark}/close-day", headers={"X-Request-ID": str(mark), "X-Actor": f"a{mark}"})
        client.post(f"/worlds/x{mark}/close-day")
        client.get("/docs")

    ask(1000)
    client.get("/metrics")
    before = labels()
    for mark in range(1001, 1010):
        ask(mark)
    assert labels() == before


def test_the_pool_and_the_faults_are_told(tmp_path: Any) -> None:
    app = application(database=f"sqlite:///{tmp_path}/orders.db", faults="error=1")
    with TestClient(app, headers=ACTOR) as client:
        assert client.post(f"{opened(client)}/close-day").status_code == 503
        found = samples(client)
        assert found["workgym_faults_total", "error"] == 1
        assert found["workgym_requests_total", "POST", "unmatched", "503"] == 1, "it never reached a verb"
        assert found["workgym_database_connections", "in_use"] == 0


def test_openmetrics_is_spoken_to_those_who_ask_for_it(client: TestClient) -> None:
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_two_applications_count_apart_and_metrics_can_be_off() -> None:
    with TestClient(application(), headers=ACTOR) as one, TestClient(application(), headers=ACTOR) as other:
        opened(one)
        assert ("workgym_requests_total", "POST", "/worlds", "201") not in samples(other)
    with TestClient(application(metrics=False)) as client:
        assert client.get("/metrics").status_code == 404


# The log


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the handlers of `write_logs` write."""
    stream, root = io.StringIO(), logging.getLogger()
    level, handlers = logging.getLogger("workgym").level, list(root.handlers)
    yield stream
    root.handlers[:] = handlers
    logging.getLogger("workgym").setLevel(level)


def listen(stream: io.StringIO) -> None:
    (ours,) = [each for each in logging.getLogger().handlers if type(each).__module__ == logs.__name__]
    assert isinstance(ours, logging.StreamHandler)
    ours.setStream(stream)


def test_a_request_is_one_line_of_json(written: io.StringIO) -> None:
    app = application(log="json", admin_token="a-token-of-32-characters-for-ci!")
    listen(written)
    headers = {"Authorization": "Bearer a-token-of-32-characters-for-ci!", "traceparent": PARENT}
    with TestClient(app, headers=headers) as client:
        world = opened(client)
        client.post(f"{world}/close-day", headers={"X-Request-ID": "seven"})
        client.post("/worlds/%0aforged/close-day")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    requests = [line for line in lines if line["logger"] == "workgym.requests"]
    assert len(requests) == 3
    told = requests[1]
    assert 0 < told.pop("seconds") < 60
    assert told.pop("time").startswith("20")
    assert told == {
        "level": "INFO",
        "logger": "workgym.requests",
        "message": "request",
        "method": "POST",
        "route": "/worlds/{world}/close-day",
        "operation": "close_day",
        "status": 200,
        "outcome": "done",
        "person": "admin-token",
        "world": world.removeprefix("/worlds/"),
        "request_id": "seven",
        "trace_id": TRACE,
        "error": None,
    }
    assert requests[2]["world"] is None


def test_a_request_is_one_line_of_text(written: io.StringIO) -> None:
    app = application(log="text")
    listen(written)
    with TestClient(app, headers=ACTOR) as client:
        client.get("/healthz", headers={"X-Request-ID": "seven"})
    (line,) = written.getvalue().splitlines()
    assert re.search(r"INFO +workgym.requests request method=GET route=/healthz .* request_id=seven", line)


def test_the_log_is_silent_by_default(caplog: Any) -> None:
    with TestClient(application(), headers=ACTOR) as client:
        opened(client)
    assert [record for record in caplog.records if record.name == "workgym.requests"] == []


def test_a_kind_of_log_that_does_not_exist_is_told() -> None:
    with pytest.raises(BadInput, match="WORKGYM_LOG to be one of off, text, json, found 'xml'"):
        Settings.from_environment({"WORKGYM_LOG": "xml"})


# Traces


def test_each_operation_is_one_span_below_the_clients(monkeypatch: Any) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    app, spans = application(traces=True), InMemorySpanExporter()
    app.state.traces.provider.add_span_processor(SimpleSpanProcessor(spans))
    with TestClient(app, headers={**ACTOR, "traceparent": PARENT}) as client:
        world = opened(client)
        client.post(f"{world}/close-day")
        client.post(f"{world}/orders/9/hold")
        client.get("/healthz")
        found = spans.get_finished_spans()
    assert [span.name for span in found] == ["open_world", "close_day", "hold_order"]
    assert {f"{span.context.trace_id:032x}" for span in found} == {TRACE}
    assert [f"{span.parent.span_id:016x}" for span in found] == ["00f067aa0ba902b7"] * 3
    assert [span.attributes["workgym.outcome"] for span in found] == ["done", "done", "not-found"]
    assert dict(found[1].attributes) == {
        "http.request.method": "POST",
        "http.route": "/worlds/{world}/close-day",
        "http.response.status_code": 200,
        "workgym.service": "orders",
        "workgym.world": world.removeprefix("/worlds/"),
        "workgym.outcome": "done",
    }


def test_spans_reach_a_collector_over_http(monkeypatch: Any) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    bodies: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the library's name
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    with TestClient(application(traces=True), headers=ACTOR) as client:
        opened(client)
    server.shutdown()
    server.server_close()
    thread.join(10)
    assert b"open_world" in b"".join(bodies)
    assert b"workgym-orders" in b"".join(bodies)


def test_an_exporter_that_does_not_exist_is_told(monkeypatch: Any) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(BadInput, match="OTEL_TRACES_EXPORTER to be one of otlp, console, none"):
        application(traces=True)


# The business does not notice


@pytest.mark.parametrize("name", services())
def test_answers_and_states_are_the_same_whatever_is_told(name: str, written: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    told: list[list[Any]] = []
    for settings in ({"metrics": False}, {"log": "json", "traces": True, "metrics": True}):
        with TestClient(application(name, **settings), headers=ACTOR) as client:
            world = opened(client)
            answers = [client.post(f"{world}/close-day", headers={"X-Request-ID": f"r{n}"}) for n in range(3)]
            reads = [client.get(world), client.get(f"{world}/snapshot"), client.get(f"{world}/audit")]
            told.append([answer.content for answer in (*answers, *reads)])
    assert told[0] == told[1]
    assert b"r1" not in told[0][-1]
