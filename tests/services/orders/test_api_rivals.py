"""Several people at once, over a real server: the business stays right."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from workgym.services.orders import api

ORDER = {"customer": 0, "lines": [{"sku": "A001", "qty": 1}]}
SHIP = {"centre": "Leeds", "service": "economy"}


@contextmanager
def served(url: str) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(api.create_app(url), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def rivals(base: str, requests: list[tuple[str, dict[str, Any]]]) -> list[httpx.Response]:
    """Everybody asks at the same moment."""
    gate = threading.Barrier(len(requests))

    def ask(path: str, body: dict[str, Any]) -> httpx.Response:
        with httpx.Client(base_url=base, timeout=60, headers={"X-Actor": "rival"}) as client:
            client.get("/healthz")
            gate.wait()
            return client.post(path, json=body)

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda request: ask(*request), requests))


def test_twenty_people_cannot_sell_the_last_unit_twice(database_url):
    with (
        served(database_url) as base,
        httpx.Client(base_url=base, timeout=60, headers={"X-Actor": "ann"}) as client,
    ):
        home = f"/worlds/{client.post('/worlds', json={'name': 'shop'}).json()['id']}"
        shelves = [
            s for s in client.get(f"{home}/stock").json() if s["centre"] == "Leeds" and s["on_hand"] > 1
        ]
        shelf = min(shelves, key=lambda each: each["on_hand"])
        lines = [{"sku": shelf["sku"], "qty": shelf["on_hand"]}]
        body = {"customer": 0, "lines": lines}
        numbers = [client.post(f"{home}/orders", json=body).json()["number"] for _ in range(20)]
        answers = rivals(base, [(f"{home}/orders/{number}/allocate", SHIP) for number in numbers])
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
        assert {a.json()["reason"] for a in answers if a.status_code == 409} == {"short-of-stock"}
        after = next(
            s for s in client.get(f"{home}/stock", params={"sku": shelf["sku"], "centre": "Leeds"}).json()
        )
        assert after["reserved"] == after["on_hand"] == shelf["on_hand"]


def test_one_of_many_decisions_on_one_version_wins(database_url):
    with (
        served(database_url) as base,
        httpx.Client(base_url=base, timeout=60, headers={"X-Actor": "ann"}) as client,
    ):
        home = f"/worlds/{client.post('/worlds', json={'name': 'shop'}).json()['id']}"
        order = client.post(f"{home}/orders", json=ORDER).json()
        hold = (f"{home}/orders/{order['number']}/hold", {"expected_version": order["version"]})
        answers = rivals(base, [hold] * 10)
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9
