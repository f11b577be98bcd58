"""A client of the REST interface that works in one world, on each kind of database."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx
import jsonschema
import pytest
from fastapi.testclient import TestClient

from workgym.services.supply_chain import api
from workgym.services.supply_chain.spec import SUPPLIER, Distribution, Family, Link, Network, Node

READS = ("", "/network", "/orders?limit=200", "/shipments?open_only=false&limit=200", "/stock", "/links")
READS += ("/policies", "/ledger", "/books", "/audit?limit=1000")
SEED = 7


def _small() -> Network:
    """A hub that two suppliers and packs feed, and a shop whose customers partly wait."""
    bulk = Link(
        SUPPLIER, "hub", 2, instalments_pm=(500, 500), loss_pm=200, order_delay=1, keeps_orders=True,
        most=60, pack=6, capacity=18, cost=7, order_cost=5, opening=3,
    )  # fmt: skip
    inner = Link("hub", "shop", 0, most=30, order_cost=1, unshipped=3)
    rush = Link(SUPPLIER, "shop", 1, most=9, cost=11)
    hub = Node("hub", holding=1, salvage=2, opening=(9, 0))
    customers = Distribution("poisson", (3.0,))
    shop = Node("shop", customers, price=20, holding=2, lost=3, waiting=4, waits_pm=400, opening=6)
    families = (Family("normal"), Family("late", late_days=2, loss_pm=50, outage_days=3, level_steps=8))
    return Network("small", (hub, shop), (bulk, inner, rush), ("a", "b"), periods=8, families=families)


@pytest.fixture(scope="session")
def small() -> Network:
    """A network in which everything can happen."""
    return _small()


class Office:
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

    def send(
        self, path: str, body: Any = None, *, method: str = "POST", key: str | None = None, **request: Any
    ) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        content = {} if body is None else {"json": body}
        return self.ask(method, f"{self.home}{path}", headers=headers, **content, **request)

    def done(self, path: str, body: Any = None, **request: Any) -> Any:
        answer = self.send(path, body, **request)
        assert answer.is_success, answer.text
        return answer.json()

    def open(self, name: str, **wish: Any) -> Office:
        wish = wish or {"network": _small().to_dict()}
        answer = self.ask("POST", "/worlds", json={"name": name, "seed": SEED, **wish})
        assert answer.status_code == 201, answer.text
        return Office(self.client, self.document, answer.json()["id"])

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

    def purchased(self, units: int = 6, sku: str = "a") -> dict[str, Any]:
        return self.done("/purchases", {"link": 0, "lines": [{"sku": sku, "units": units}]})

    def moved(self, units: int = 2, sku: str = "a") -> dict[str, Any]:
        return self.done(
            "/transfers", {"source": "hub", "target": "shop", "lines": [{"sku": sku, "units": units}]}
        )

    def shelf(self, node: str, sku: str) -> dict[str, Any]:
        (found,) = self.get(f"/stock?node={node}&sku={sku}")
        return found

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
def _opened(url: str) -> Iterator[Office]:
    app = api.create_app(url)
    with TestClient(app) as client:
        yield Office(client, app.openapi())


@pytest.fixture
def opened() -> Callable[[str], AbstractContextManager[Office]]:
    """Opens an office over a database, with no world yet."""
    return _opened


@pytest.fixture
def office(database_url: str) -> Iterator[Office]:
    """A world of the small network before anything happened."""
    with _opened(database_url) as found:
        yield found.open("small")
