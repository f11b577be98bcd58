"""The same verbs by MCP and by REST: the same answers, the same state, one effect for one key."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from workgym.services import services


class Verb(NamedTuple):
    """A call as a tool and by REST."""

    tool: str
    arguments: dict[str, Any]
    method: str
    path: str
    body: Any = None


LINES = [{"sku": "A001", "qty": 2}]
WHICH = {"id": 0, "name": ""}  # worlds differ in them
BASKET = {"customer": 3, "lines": LINES}
PURCHASE = {"link": 0, "lines": [{"sku": "SKU 001", "units": 6}]}
LEVELS = {"reorder_point": 3, "base_stock": 9}
SALE = {"node": "store 1", "sku": "SKU 002", "units": 1, "backorder": False}
WISH = {"centre": "Reading", "service": "economy", "expected_version": 1}
COMING = {"centre": "Leeds", "sku": "A003", "units": 5, "eta": 2}

WORK: dict[str, list[Verb]] = {
    "orders": [
        Verb("place_order", BASKET, "POST", "/orders", BASKET),
        Verb("place_order", {**BASKET, "customer": 0}, "POST", "/orders", {**BASKET, "customer": 0}),
        Verb("hold_order", {"number": 1}, "POST", "/orders/1/hold"),
        Verb("announce_delivery", COMING, "POST", "/deliveries", COMING),
        Verb("allocate_order", {"number": 0, **WISH}, "POST", "/orders/0/allocate", WISH),
        Verb("allocate_order", {"number": 0, **WISH}, "POST", "/orders/0/allocate", WISH),  # refused
        Verb("expedite_order", {"number": 0, "service": "express"}, "POST", "/orders/0/expedite",
             {"service": "express"}),
        Verb("ship_wave", {}, "POST", "/ship-wave"),
        Verb("cancel_order", {"number": 1}, "POST", "/orders/1/cancel"),
        Verb("list_orders", {"status": "shipped", "late": False, "sku": None}, "GET",
             "/orders?status=shipped&late=false"),
        Verb("list_orders", {"status": "no such"}, "GET", "/orders?status=no+such"),  # refused
    ],
    "supply_chain": [
        Verb("place_purchase", PURCHASE, "POST", "/purchases", PURCHASE),
        Verb("place_purchase", {**PURCHASE, "link": 1}, "POST", "/purchases", {**PURCHASE, "link": 1}),
        Verb("set_policy", {"node": "store 1", "sku": "SKU 003", **LEVELS}, "PUT",
             "/policies/store%201/SKU%20003", LEVELS),
        Verb("sell_units", SALE, "POST", "/sales", SALE),
        Verb("cancel_order", {"number": 999}, "POST", "/orders/999/cancel"),  # refused
        Verb("list_orders", {"limit": 3}, "GET", "/orders?limit=3"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(services()))
def test_the_same_verbs_leave_the_same_snapshot(deploy, caller, database_url, name):
    anybody = caller(deploy(name, database_url))
    one, other = anybody.open("by MCP"), anybody.open("by REST")
    verbs = [*WORK.get(name, ()), Verb("close_day", {}, "POST", "/close-day")]
    for verb in verbs:
        result = anybody.call(verb.tool, world=one, **verb.arguments)
        answer = anybody.rest(verb.method, f"/worlds/{other}{verb.path}", verb.body, **{"X-Actor": "mcp"})
        assert result["isError"] is answer.is_error, (result, answer.text)
        if verb.method != "GET" and answer.is_success:
            assert result["structuredContent"] | WHICH == answer.json() | WHICH
    assert snapshot(anybody, one) == snapshot(anybody, other) != snapshot(anybody, anybody.open("new"))
    assert audit(anybody, one) == audit(anybody, other)


def snapshot(anybody, world: int) -> bytes:
    return anybody.rest("GET", f"/worlds/{world}/snapshot").content


def audit(anybody, world: int) -> list[tuple[str, str, str]]:
    lines = anybody.rest("GET", f"/worlds/{world}/audit?limit=1000").json()
    return [(line["actor"], line["verb"], line["subject"]) for line in lines if line["actor"] == "mcp"]


def test_a_refusal_tells_the_reason_that_rest_tells(orders):
    world = orders.open("shop")
    orders.call("place_order", world=world, customer=0, lines=LINES)
    orders.call("cancel_order", world=world, number=0)
    by_rest = orders.rest("POST", f"/worlds/{world}/orders/0/hold", **{"X-Actor": "ann"})
    assert orders.refusal("hold_order", world=world, number=0) == by_rest.json()
    assert by_rest.json()["reason"] == "not-waiting"


def test_a_call_with_the_same_key_has_one_effect(orders):
    world = orders.open("shop")
    wish = {"world": world, "customer": 0, "lines": LINES, "idempotency_key": "k 1"}
    first = orders.call("place_order", **wish)
    assert orders.call("place_order", **wish) == first
    assert orders.call("place_order", **{**wish, "idempotency_key": "k 2"}) != first
    assert orders.refusal("place_order", **{**wish, "customer": 1})["reason"] == "conflict"
    assert orders.call("list_orders", world=world)["structuredContent"]["total"] == 2


@pytest.mark.parametrize("faults", ["lost-answer=1;seed=1", "reset=1", "error=1"])
def test_a_fault_is_no_success_and_names_no_reason_of_the_business(deploy, caller, tmp_path, faults):
    database = f"sqlite:///{tmp_path}/shop.db"
    world = caller(deploy("orders", database)).open("shop")
    anybody = caller(deploy("orders", database, faults=faults))
    for _ in range(4):
        answer = anybody.rpc("tools/call", {"name": "close_day", "arguments": {"world": world}})
        told = answer.get("error", {}).get("code") or answer["result"]["content"][0]["text"]
        assert told == -32603 or '"fault"' in told
