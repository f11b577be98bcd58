"""Somebody who asks a deployed service, by MCP and by REST."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from workgym.services import services
from workgym.services.hosting import hosted
from workgym.services.settings import Settings

ADMIN = "an-admin-token-of-some-forty-characters"
SERVICES = sorted(services())


class Caller:
    """Asks with a token, or as nobody."""

    def __init__(self, client: TestClient, token: str | None = None) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._ids = itertools.count()

    def rest(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        content = {} if body is None else {"json": body}
        return self.client.request(method, path, headers={**self.headers, **headers}, **content)

    def post(self, message: Any, **headers: str) -> httpx.Response:
        written = {name.replace("_", "-"): value for name, value in headers.items()}
        content = json.dumps(message)
        return self.client.post("/mcp", content=content, headers={**self.headers, **written})

    def rpc(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params or {}}
        answer = self.post(message)
        assert answer.status_code == 200, answer.text
        assert answer.json()["id"] == message["id"]
        return answer.json()

    def tools(self) -> dict[str, dict[str, Any]]:
        return {tool["name"]: tool for tool in self.rpc("tools/list")["result"]["tools"]}

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        return self.rpc("tools/call", {"name": name, "arguments": arguments})["result"]

    def refusal(self, name: str, **arguments: Any) -> dict[str, Any]:
        result = self.call(name, **arguments)
        assert result["isError"], result
        assert "structuredContent" not in result, "it would have to fit the schema of a success"
        return json.loads(result["content"][0]["text"])

    def open(self, name: str, seed: int = 7) -> int:
        wish = {"name": f"{name} {uuid.uuid4()}", "seed": seed}
        answer = self.rest("POST", "/worlds", wish, **{"X-Actor": "ann"})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def token(self, role: str, world: int | None = None) -> str:
        wish = {"role": role, "days": 1, **({} if world is None else {"world": world})}
        answer = self.rest("POST", "/tokens", wish)
        assert answer.is_success, answer.text
        return answer.json()["secret"]

    def with_role(self, role: str, world: int | None = None) -> Caller:
        return Caller(self.client, self.token(role, world))


def deploying(stack: ExitStack) -> Callable[..., TestClient]:
    def deployed(name: str, database: str = "sqlite://", **settings: Any) -> TestClient:
        app = hosted(services()[name], database, Settings(**settings))
        return stack.enter_context(TestClient(app, base_url="http://127.0.0.1"))

    return deployed


@pytest.fixture
def deploy() -> Iterator[Callable[..., TestClient]]:
    """Deploys a service over a database."""
    with ExitStack() as stack:
        yield deploying(stack)


@pytest.fixture(scope="session")
def standing() -> Iterator[Callable[..., TestClient]]:
    """A deployed service that tests share, each in worlds of its own."""
    with ExitStack() as stack:
        yield cache(deploying(stack))


@pytest.fixture(params=SERVICES)
def anybody(request: pytest.FixtureRequest, standing: Callable[..., TestClient]) -> Caller:
    """Whoever asks an open service, once for each of the catalogue."""
    return Caller(standing(request.param))


@pytest.fixture(params=SERVICES)
def admin(request: pytest.FixtureRequest, standing: Callable[..., TestClient]) -> Caller:
    """The admin of a service where everybody signs in, once for each of the catalogue."""
    return Caller(standing(request.param, admin_token=ADMIN), ADMIN)


@pytest.fixture
def orders(standing: Callable[..., TestClient]) -> Caller:
    """Whoever asks an open order department."""
    return Caller(standing("orders"))


@pytest.fixture
def caller() -> type[Caller]:
    """Somebody who asks."""
    return Caller
