"""A client of the REST interface that works in one world, on each kind of database."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx
import jsonschema
import pytest
from fastapi.testclient import TestClient

from workgym.services.orders import api

READS = ("", "/orders?limit=200", "/queue", "/centres", "/stock", "/customers", "/deliveries?open_only=false")
READS += ("/ledger", "/books", "/audit?limit=1000")
SEED = 7


class Desk:
    """Asks, and holds every answer against the OpenAPI document."""

    def __init__(self, client: TestClient, document: dict[str, Any], world: int = 0) -> None:
        self.client = client
        self.document = document
        self.world = world
        self.home = f"/worlds/{world}"

    def ask(self, method: str, path: str, *, actor: str = "ann", **request: Any) -> httpx.Response:
        headers = {"X-Actor": actor, **request.pop("headers", {})}
        answer = self.client.request(method, path, headers=headers, **request)
        self._hold_against_document(method, path, answer)
        return answer

    def get(self, path: str, **request: Any) -> Any:
        answer = self.ask("GET", f"{self.home}{path}", **request)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, *, key: str | None = None, **request: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        content = {} if body is None else {"json": body}
        return self.ask("POST", f"{self.home}{path}", headers=headers, **content, **request)

    def done(self, path: str, body: Any = None, **request: Any) -> Any:
        answer = self.post(path, body, **request)
        assert answer.is_success, answer.text
        return answer.json()

    def open(self, name: str, family: str = "normal", seed: int = SEED) -> Desk:
        answer = self.ask("POST", "/worlds", json={"name": name, "seed": seed, "family": family})
        assert answer.status_code == 201, answer.text
        return Desk(self.client, self.document, answer.json()["id"])

    def everything(self) -> dict[str, Any]:
        """All that can be read of the world."""
        return {path: self.get(path) for path in READS}

    def snapshot(self) -> bytes:
        answer = self.ask("GET", f"{self.home}/snapshot")
        assert answer.status_code == 200, answer.text
        return answer.content

    def restore(self, state: bytes) -> httpx.Response:
        headers = {"Content-Type": "application/octet-stream"}
        return self.ask("PUT", f"{self.home}/snapshot", content=state, headers=headers)

    def state_hash(self) -> str:
        return hashlib.sha256(self.snapshot()).hexdigest()

    def line(self, qty: int = 1, which: int = 0) -> dict[str, Any]:
        skus = list(dict.fromkeys(shelf["sku"] for shelf in self.get("/stock")))
        return {"sku": skus[which], "qty": qty}

    def placed(self, **more: Any) -> dict[str, Any]:
        return self.done("/orders", {"customer": 0, "lines": [self.line()], **more})

    def centre_for(self, order: dict[str, Any]) -> str:
        """A centre that can ship the order whole."""
        free = {(s["sku"], s["centre"]): s["on_hand"] - s["reserved"] for s in self.get("/stock")}
        for centre in self.get("/centres"):
            short = [one for one in order["lines"] if free[one["sku"], centre["name"]] < one["qty"]]
            if not short and centre["picks_left"] >= len(order["lines"]):
                return centre["name"]
        raise AssertionError(f"no centre can ship {order}")

    def allocated(self, service: str = "economy") -> dict[str, Any]:
        order = self.placed()
        body = {"centre": self.centre_for(order), "service": service}
        return self.done(f"/orders/{order['number']}/allocate", body)

    def _hold_against_document(self, method: str, path: str, answer: httpx.Response) -> None:
        for template, methods in self.document["paths"].items():
            pattern = re.sub(r"\\{\w+\\}", "[^/?]+", re.escape(template))
            if re.fullmatch(rf"{pattern}(\?.*)?", path) and method.lower() in methods:
                documented = methods[method.lower()]["responses"]
                assert str(answer.status_code) in documented, f"{method} {path}: {answer.text[:300]}"
                self._fits(documented[str(answer.status_code)], answer)

    def _fits(self, documented: dict[str, Any], answer: httpx.Response) -> None:
        kind = answer.headers.get("content-type")
        if documented.get("content") and (schema := documented["content"][kind].get("schema")):
            whole = {**schema, "components": self.document["components"]}
            jsonschema.Draft202012Validator(whole).validate(answer.json())


@contextmanager
def _opened(url: str) -> Iterator[Desk]:
    app = api.create_app(url)
    with TestClient(app) as client:
        yield Desk(client, app.openapi())


@pytest.fixture
def opened() -> Callable[[str], AbstractContextManager[Desk]]:
    """Opens an office over a database, with no world yet."""
    return _opened


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    """A world named `shop` on its first day, whose season has not started."""
    with _opened(database_url) as office:
        yield office.open("shop")


@pytest.fixture
def season(desk: Desk) -> Desk:
    """The same with the first day's orders."""
    desk.done("/start-season")
    return desk
