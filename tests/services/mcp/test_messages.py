"""What goes over the wire: revisions, headers, errors, and who is not answered at all."""

from __future__ import annotations

import base64
from typing import Any

import pytest

MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def modern(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": "a", "method": method, "params": {**params, "_meta": META}}


def mirrored(method: str, **more: str) -> dict[str, str]:
    return {"MCP_Protocol_Version": MODERN, "Mcp_Method": method, **more}


SHIP = modern("tools/call", name="ship_wave")


# With a handshake


@pytest.mark.parametrize(
    ("wanted", "agreed"),
    [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2031-01-01", "2025-11-25"),
        (MODERN, "2025-11-25"),
        (None, "2025-11-25"),
        ([], "2025-11-25"),
    ],
)
def test_the_revision_is_the_clients_or_the_latest_with_a_handshake(anybody, wanted, agreed):
    result = anybody.rpc("initialize", {"protocolVersion": wanted, "capabilities": {}})["result"]
    assert result["protocolVersion"] == agreed
    assert result["capabilities"] == {"tools": {}}
    assert result["serverInfo"]["title"]
    assert len(result["instructions"]) > 100


def test_a_notification_is_accepted_without_an_answer(orders):
    for method in ("notifications/initialized", "notifications/cancelled"):
        answer = orders.post({"jsonrpc": "2.0", "method": method})
        assert (answer.status_code, answer.content) == (202, b"")
    answer = orders.post({"jsonrpc": "2.0", "id": 4, "result": {}})
    assert (answer.status_code, answer.content) == (202, b"")


def test_there_is_no_stream_to_get_and_no_session_to_delete(orders):
    for method in ("GET", "DELETE", "PUT"):
        answer = orders.rest(method, "/mcp")
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert "mcp-session-id" not in orders.post(PING).headers


def test_ping_is_answered(orders):
    assert orders.rpc("ping")["result"] == {}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({}, -32600),
        (7, -32600),
        ([], -32600),
        (None, -32600),
        ({"jsonrpc": "1.0", "id": 1, "method": "ping"}, -32600),
        ({"jsonrpc": "2.0", "id": None, "method": "ping"}, -32600),
        ({"jsonrpc": "2.0", "id": False, "method": "ping"}, -32600),
        ({"jsonrpc": "2.0", "id": {}, "method": "ping"}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": 7}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}, None),
        ({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": [1]}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "resources/list"}, -32601),
        ({"jsonrpc": "2.0", "id": 1, "method": "server/discover"}, -32601),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": "x"}}, -32602),
        (CALL, -32602),
        ({**CALL, "params": {"name": "open_world"}}, -32602),
        ({**CALL, "params": {"name": []}}, -32602),
        ({**CALL, "params": {"name": "list_queue", "arguments": [1]}}, -32602),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_a_json_rpc_error_under_200(orders, message, code):
    answer = orders.post(message)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    told = answer.json()
    assert told["jsonrpc"] == "2.0"
    assert told.get("error", {}).get("code") == code
    assert told["id"] == (1 if isinstance(message, dict) and message.get("id") == 1 else None)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 5000])
def test_what_is_not_json_is_a_parse_error(orders, body):
    answer = orders.client.post("/mcp", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32700)


def test_several_messages_are_answered_together_as_2025_03_26_allows(orders):
    messages = [PING, {"jsonrpc": "2.0", "method": "notifications/initialized"}, {**LIST, "id": 2}, 7]
    answers = orders.post(messages).json()
    assert [answer["id"] for answer in answers] == [1, 2, None]
    assert orders.post(messages[1:2]).status_code == 202
    assert orders.post(messages, MCP_Protocol_Version="2025-06-18").json()["error"]["code"] == -32600


# Without


def test_a_client_discovers_the_server(anybody):
    answer = anybody.post(modern("server/discover"), **mirrored("server/discover"))
    result = answer.json()["result"]
    assert answer.json()["id"] == "a"
    assert result["resultType"] == "complete"
    assert MODERN in result["supportedVersions"]
    assert result["capabilities"] == {"tools": {}}
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["version"]
    assert (result["ttlMs"] > 0, result["cacheScope"]) == (True, "private")


def test_the_same_tools_are_told_with_and_without_a_handshake(anybody):
    result = anybody.post(modern("tools/list"), **mirrored("tools/list")).json()["result"]
    assert {tool["name"]: tool for tool in result["tools"]} == anybody.tools()


@pytest.mark.parametrize("quote", [False, True])
def test_a_tool_is_called_without_a_handshake(orders, quote):
    name, world = "list_queue", orders.open("shop")
    said = f"=?base64?{base64.b64encode(name.encode()).decode()}?=" if quote else name
    message = modern("tools/call", name=name, arguments={"world": world})
    result = orders.post(message, **mirrored("tools/call", Mcp_Name=said)).json()["result"]
    assert (result["isError"], result["structuredContent"]) == (False, {"result": []})


@pytest.mark.parametrize(
    ("message", "headers", "status", "code"),
    [
        (LIST, mirrored("tools/list"), 400, -32602),
        ({**LIST, "params": {"_meta": {}}}, mirrored("tools/list"), 400, -32602),
        (modern("tools/list"), {}, 400, -32020),
        (modern("tools/list"), mirrored("ping"), 400, -32020),
        (modern("tools/list"), {"Mcp_Method": "tools/list"}, 400, -32020),
        (modern("tools/list"), mirrored("tools/list") | {"MCP_Protocol_Version": "2025-11-25"}, 400, -32020),
        (SHIP, mirrored("tools/call"), 400, -32020),
        (SHIP, mirrored("tools/call", Mcp_Name="list_queue"), 400, -32020),
        (SHIP, mirrored("tools/call", Mcp_Name="=?base64?!?="), 400, -32020),
        (modern("tools/call", name="no_such"), mirrored("tools/call", Mcp_Name="no_such"), 400, -32602),
        (modern("initialize"), mirrored("initialize"), 404, -32601),
        (modern("subscriptions/listen"), mirrored("subscriptions/listen"), 404, -32601),
        ([modern("tools/list")], mirrored("tools/list"), 400, -32600),
    ],
)
def test_a_request_without_a_handshake_that_does_not_fit_is_refused(orders, message, headers, status, code):
    answer = orders.post(message, **headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_revision_that_nobody_knows_is_told_those_that_are_known(orders):
    message = modern("tools/list")
    message["params"]["_meta"] = {**META, "io.modelcontextprotocol/protocolVersion": "1900-01-01"}
    headers = mirrored("tools/list") | {"MCP_Protocol_Version": "1900-01-01"}
    answer = orders.post(message, **headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == -32022
    assert answer.json()["error"]["data"]["requested"] == "1900-01-01"
    assert MODERN in answer.json()["error"]["data"]["supported"]


# Web pages


@pytest.mark.parametrize(
    ("host", "origin", "open_mode", "signed_in"),
    [
        ("127.0.0.1:8000", None, 200, 200),
        ("orders:8000", None, 200, 200),
        ("127.0.0.1:8000", "http://127.0.0.1:8000", 200, 200),
        ("localhost:8000", "http://localhost:8000", 200, 200),
        ("[::1]:8000", "http://[::1]:8000", 200, 200),
        ("127.0.0.1:8000", "http://127.0.0.1:9000", 403, 403),
        ("127.0.0.1:8000", "https://evil.example", 403, 403),
        ("127.0.0.1:8000", "null", 403, 403),
        ("127.0.0.1:8000", "http://[", 403, 403),
        ("evil.example:8000", "http://evil.example:8000", 403, 200),  # a name made to lead here
        ("shop.example", "https://shop.example", 403, 200),
    ],
)  # fmt: skip
def test_only_a_page_of_this_server_may_ask(orders, admin, host, origin, open_mode, signed_in):
    headers = {"Host": host, **({"Origin": origin} if origin else {})}
    assert orders.post(PING, **headers).status_code == open_mode
    assert admin.post(PING, **headers).status_code == signed_in
