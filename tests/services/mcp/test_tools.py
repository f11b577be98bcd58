"""Every business verb is a tool, tells what it takes and gives, and lets nobody do more."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jsonschema
import pytest
from fastapi import FastAPI, Header
from fastapi.testclient import TestClient
from pydantic import BaseModel

from workgym.services.kernel import Service
from workgym.services.mcp import mcp
from workgym.services.settings import Settings

NEVER = {"open_world", "drop_world", "list_worlds", "read_world", "read_network", "take_snapshot"}
NEVER |= {"restore_snapshot", "start_season", "next_day", "tell_health", "mint_token", "list_tokens"}
NOT_BUSINESS = {"worlds", "scenario", "health", "gym", "access", "pages", "telemetry", "public"}


def operations(caller) -> dict[str, tuple[str, str, dict[str, Any]]]:
    document = caller.client.get("/openapi.json").json()
    return {
        operation["operationId"]: (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_the_verbs_of_the_business_are_tools_and_nothing_else_is(admin):
    told, known = set(admin.tools()), operations(admin)
    business = {name for name, (_, _, each) in known.items() if not NOT_BUSINESS & set(each["tags"])}
    assert told == business
    assert all(known[name][1].startswith("/worlds/{world}/") for name in told)
    assert not told & NEVER


def test_a_tool_is_described_by_its_operation(anybody):
    known = operations(anybody)
    for name, tool in anybody.tools().items():
        method, _, operation = known[name]
        assert tool["title"] == operation["summary"]
        assert tool["description"] == f"{operation['summary']}.\n\n{operation['description']}"
        assert tool["annotations"]["readOnlyHint"] is (method == "get")
        assert "idempotency_key" in tool["inputSchema"]["properties"] or method == "get"


def test_every_schema_stands_alone(anybody):
    for tool in anybody.tools().values():
        for schema in (tool["inputSchema"], tool["outputSchema"]):
            jsonschema.Draft202012Validator.check_schema(schema)
            assert schema["type"] == "object"
            assert "#/components" not in str(schema)
        takes = tool["inputSchema"]
        assert takes["additionalProperties"] is False
        assert set(takes["required"]) <= set(takes["properties"])
        assert not {"X-Actor", "x_actor"} & set(takes["properties"])


def test_what_a_tool_reads_fits_its_schema_and_is_what_rest_reads(anybody):
    world, known = anybody.open("shop"), operations(anybody)
    plain = [tool for tool in anybody.tools().values() if tool["annotations"]["readOnlyHint"]]
    plain = [tool for tool in plain if tool["inputSchema"]["required"] == ["world"]]
    assert len(plain) >= 4
    for tool in plain:
        content = anybody.call(tool["name"], world=world)["structuredContent"]
        jsonschema.validate(content, tool["outputSchema"])
        by_rest = anybody.rest("GET", known[tool["name"]][1].format(world=world)).json()
        assert content == ({"result": by_rest} if isinstance(by_rest, list) else by_rest)


# Who asks


def test_nobody_asks_without_a_token(admin):
    admin.headers = {}
    answer = admin.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert answer.status_code == 401


def test_an_agent_is_not_asked_for_its_world(admin):
    agent = admin.with_role("agent", admin.open("shop"))
    tools = agent.tools()
    assert set(tools) == set(admin.tools())
    assert not any("world" in tool["inputSchema"]["properties"] for tool in tools.values())
    assert all("world" in tool["inputSchema"]["required"] for tool in admin.tools().values())


def test_an_agent_works_in_its_world_and_cannot_name_another(admin):
    own, other = admin.open("own"), admin.open("other")
    agent = admin.with_role("agent", own)
    before = admin.rest("GET", f"/worlds/{other}/snapshot").content
    assert agent.call("close_day")["structuredContent"]["id"] == own
    assert agent.refusal("close_day", world=other)["reason"] == "bad-input"
    assert admin.rest("GET", f"/worlds/{own}").json()["day"] == 1
    assert admin.rest("GET", f"/worlds/{other}/snapshot").content == before


def test_the_audit_log_names_the_agent(admin):
    world = admin.open("shop")
    secret = admin.token("agent", world)
    agent = type(admin)(admin.client, secret)
    agent.rest("GET", "/healthz")
    agent.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, X_Actor="boss")
    agent.call("close_day")
    newest = agent.call("list_audit", limit=1)["structuredContent"]["result"][0]
    assert newest["actor"] == f"agent/{secret.split('_')[1]}"


def test_a_viewer_is_told_of_reads_only_and_cannot_act(admin):
    world = admin.open("shop")
    viewer = admin.with_role("viewer")
    assert all(tool["annotations"]["readOnlyHint"] for tool in viewer.tools().values())
    assert viewer.refusal("close_day", world=world)["status"] == 403
    assert admin.rest("GET", f"/worlds/{world}").json()["day"] == 0


def test_whoever_does_not_sign_in_is_named_in_the_audit_log_as_they_say(anybody):
    world = anybody.open("shop")
    anybody.call("close_day", world=world)
    anybody.headers = {"X-Actor": "ann"}
    anybody.call("close_day", world=world)
    lines = anybody.call("list_audit", world=world)["structuredContent"]["result"]
    assert [line["actor"] for line in lines if line["verb"] == lines[0]["verb"]][:2] == ["ann", "mcp"]


# What is wrong with a call


def test_a_wrong_argument_is_a_refusal_that_names_the_right_one(orders):
    world = orders.open("shop")
    assert "did you mean 'world'" in orders.refusal("list_queue", wold=world)["detail"]
    assert "'world'" in orders.refusal("list_queue")["detail"]
    assert "between" not in orders.refusal("list_queue", world=world, limit=0)["detail"]
    assert orders.refusal("list_queue", world=world, limit=0)["errors"][0]["where"] == "query/limit"
    assert orders.refusal("list_queue", world=world, limit="many")["reason"] == "bad-input"
    assert orders.refusal("list_queue", world=2**62)["reason"] == "not-found"
    assert orders.refusal("place_order", world=world)["reason"] == "bad-input"
    assert orders.refusal("hold_order", world=world, number=0, idempotency_key="\n")["reason"] == "bad-input"


@pytest.mark.parametrize(
    "number", ["0/cancel", "../1", "0/cancel?", "", "/", "0/", "\ud800", None, {}, [], True, 0.5, -1]
)
def test_no_argument_leads_to_another_operation(orders, number):
    world = orders.open("shop")
    placed = orders.call("place_order", world=world, customer=0, lines=[{"sku": "A001", "qty": 1}])
    state = orders.rest("GET", f"/worlds/{world}/snapshot").content
    for name in ("read_order", "hold_order"):
        assert orders.refusal(name, world=world, number=number)["status"] in (404, 422)
    assert orders.refusal("list_queue", world=f"{world}/orders/0/hold")["reason"] == "bad-input"
    assert orders.rest("GET", f"/worlds/{world}/snapshot").content == state
    assert placed["structuredContent"]["number"] == 0


# An application of its own, with what ours do not have


class Wish(BaseModel):
    name: str
    title: str = "none"


class Node(BaseModel):
    kind: Literal["node"] = "node"
    below: list[Node] = []


def toy() -> TestClient:
    app = FastAPI(generate_unique_id_function=lambda route: route.name)

    @app.put("/things/{name}")
    def set_thing(name: str, wish: Wish) -> str:
        """A field of the body is called like a parameter."""
        return f"{name} is {wish.name}"

    @app.get("/things/all")
    def read_all() -> int:
        return 7

    @app.get("/things/{name}")
    def read_thing(name: str) -> str:
        return name

    @app.get("/files/{path:path}")
    def read_file(path: str) -> str:
        return path

    @app.post("/trees")
    def grow(tree: Node, flavour: Annotated[str | None, Header()] = None) -> Node:
        return Node(below=[tree])

    @app.post("/wishes")
    def wish(wish: Wish | None = None) -> dict[str, Any]:
        return {"wish": wish}

    @app.delete("/things/{name}", status_code=204)
    def drop_thing(name: str) -> None:
        return None

    @app.post("/broken")
    def broken() -> None:
        raise ZeroDivisionError

    mcp(app, Service("toy", "Toy", "toy:app"), Settings())
    return TestClient(app)


@pytest.fixture(scope="module")
def toys() -> TestClient:
    return toy()


def called(client: TestClient, name: str, /, **arguments: Any) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    return client.post("/mcp", json={**message, "params": {"name": name, "arguments": arguments}}).json()


@pytest.mark.parametrize(
    ("name", "arguments", "content"),
    [
        ("set_thing", {"name": "a", "body": {"name": "b"}}, {"result": "a is b"}),
        ("read_thing", {"name": "a"}, {"result": "a"}),
        ("read_thing", {"name": "a b?c#d%2F"}, {"result": "a b?c#d%2F"}),
        ("read_all", {}, {"result": 7}),
        ("read_file", {"path": "a/b/c"}, {"result": "a/b/c"}),
        ("grow", {"kind": "node", "below": [{}]}, {"kind": "node", "below": [
            {"kind": "node", "below": [{"kind": "node", "below": []}]}]}),
        ("grow", {}, {"kind": "node", "below": [{"kind": "node", "below": []}]}),
        ("wish", {}, {"wish": None}),
        ("wish", {"body": {"name": "b", "title": "c"}}, {"wish": {"name": "b", "title": "c"}}),
    ],
)  # fmt: skip
def test_any_application_can_be_called(toys, name, arguments, content):
    result = called(toys, name, **arguments)["result"]
    assert result["structuredContent"] == content
    tools = {tool["name"]: tool for tool in toys.post("/mcp", json=LIST).json()["result"]["tools"]}
    jsonschema.validate(arguments, tools[name]["inputSchema"])
    jsonschema.validate(content, tools[name]["outputSchema"])


LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def test_a_name_that_is_another_operations_path_is_refused(toys):
    assert called(toys, "read_thing", name="all")["result"]["isError"]
    assert called(toys, "read_thing", name="a/b")["result"]["isError"]


def test_an_answer_without_content_is_a_result_without_structure(toys):
    assert called(toys, "drop_thing", name="a")["result"] == {
        "content": [{"type": "text", "text": ""}],
        "isError": False,
    }


def test_what_breaks_is_an_error_and_never_a_result(toys, caplog):
    answer = called(toys, "broken")
    assert answer["error"]["code"] == -32603
    assert "result" not in answer
    assert "ZeroDivisionError" in caplog.text
