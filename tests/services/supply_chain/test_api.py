"""What the REST interface promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest

# The verbs


def test_an_order_stands_where_its_address_says(office):
    body = {"link": 0, "lines": [{"sku": "a", "units": 7}, {"sku": "b", "units": 6}]}
    answer = office.send("/purchases", body)
    assert answer.status_code == 201
    order = office.ask("GET", answer.headers["Location"]).json()
    assert order == answer.json()
    assert (order["kind"], order["source"], order["target"]) == ("purchase", "supplier", "hub")
    assert [(one["sku"], one["units"], one["status"]) for one in order["lines"]] == [
        ("a", 6, "mailed"),
        ("b", 6, "mailed"),
    ]


def test_ordering_costs_once_a_line_and_is_booked_at_once(office):
    office.purchased()
    assert office.get("/books")["ordering"] == -5
    assert office.get("/ledger") == [{"day": 0, "node": "hub", "account": "ordering", "money": -5}]
    assert office.get("")["result"] == -5


def test_a_transfer_takes_from_one_shelf_and_comes_to_the_other(office):
    before = office.shelf("hub", "a")["on_hand"]
    order = office.moved(4)
    assert order["kind"] == "transfer"
    office.done("/close-day")
    shop = office.shelf("shop", "a")
    assert office.shelf("hub", "a")["on_hand"] == before + 3 - 4  # 3 were on their way there
    assert shop["on_hand"] == shop["opening"] + 4 - shop["sold"]
    (line,) = office.get(f"/orders/{order['number']}")["lines"]
    assert (line["status"], line["shipped"]) == ("shipped", 4)


def test_a_source_that_keeps_orders_ships_the_rest_later(office):
    first, second = office.purchased(12), office.purchased(12)
    office.done("/close-day")  # in the mail
    office.done("/close-day")
    assert office.get(f"/orders/{first['number']}")["lines"][0]["status"] == "shipped"
    (late,) = office.get(f"/orders/{second['number']}")["lines"]
    assert (late["status"], late["shipped"], late["owed"]) == ("open", 6, 6)  # the link carries 18
    office.done("/close-day")
    assert office.get(f"/orders/{second['number']}")["lines"][0]["status"] == "shipped"


def test_a_source_that_keeps_no_orders_forgets_the_rest(office):
    there = office.shelf("hub", "a")["on_hand"]
    order = office.moved(30)
    office.done("/close-day")
    (line,) = office.get(f"/orders/{order['number']}")["lines"]
    assert (line["status"], line["shipped"], line["owed"]) == ("forgotten", there, 0)
    assert 0 < there < 30


def test_what_was_cancelled_never_comes(office):
    office.purchased(12)
    for order in office.get("/orders?status=mailed")["items"]:
        cancelled = office.done(f"/orders/{order['number']}/cancel")
        assert {line["status"] for line in cancelled["lines"]} == {"cancelled"}
    for _ in range(8):
        office.done("/close-day")
    sent = office.get("/shipments?open_only=false&limit=200")["items"]
    assert all(one["sent_on"] is None for one in sent)


def test_a_sale_takes_stock_and_is_paid(office):
    sale = office.done("/sales", {"node": "shop", "sku": "b", "units": 2})
    assert sale == {"node": "shop", "sku": "b", "sold": 2, "waiting": 0, "price": 20}
    assert office.shelf("shop", "b")["on_hand"] == 4
    assert office.get("/books")["sales"] == 40
    world = office.get("")
    assert (world["demanded"], world["missed"]) == (2, 0)


def test_a_customer_who_waits_is_served_when_goods_have_come(office):
    sale = office.done("/sales", {"node": "shop", "sku": "b", "units": 8, "backorder": True})
    assert (sale["sold"], sale["waiting"]) == (6, 2)
    assert office.shelf("shop", "b")["backlog"] == 2
    assert office.get("")["missed"] == 2
    for _ in range(3):
        office.done("/purchases", {"link": 2, "lines": [{"sku": "b", "units": 9}]})
        office.done("/close-day")
    shelf = office.shelf("shop", "b")
    assert (shelf["backlog"], shelf["on_hand"] > 0) == (0, True)


def test_a_shipment_that_is_due_can_be_received_by_hand(office):
    late = office.open("late", preset="or-gym")
    late.done("/purchases", {"link": 2, "lines": [{"sku": "SKU", "units": 5}]})
    for _ in range(10):
        late.done("/close-day")
    (coming,) = late.get("/shipments")["items"]
    assert coming["due_on"] == late.get("")["day"]
    before = late.shelf("stage 3", "SKU")["on_hand"]
    assert late.done(f"/shipments/{coming['number']}/receive")["received_on"] == coming["due_on"]
    assert late.shelf("stage 3", "SKU")["on_hand"] == before + 5
    late.done("/close-day")
    assert late.shelf("stage 3", "SKU")["on_hand"] == before + 5


def test_a_policy_suggests_what_is_missing(office):
    where = "/policies/shop/a"
    levels = {"reorder_point": 6, "base_stock": 20}
    policy = office.done(where, levels, method="PUT")
    assert (policy["position"], policy["suggested"], policy["version"]) == (6, 14, 1)
    office.done(where, {**levels, "reorder_point": 5, "expected_version": 1}, method="PUT")
    (policy,) = office.get("/policies")
    assert (policy["suggested"], policy["version"]) == (0, 2)
    stale = office.send(where, {**levels, "expected_version": 1}, method="PUT")
    assert (stale.status_code, stale.json()["reason"]) == (409, "conflict")


# Refusals


def lines(units: int, sku: str = "a") -> list[dict[str, Any]]:
    return [{"sku": sku, "units": units}]


REFUSALS: list[tuple[str, Any, str]] = [
    ("/purchases", {"link": 0, "lines": lines(61)}, "too-much"),
    ("/purchases", {"link": 0, "lines": lines(2)}, "no-pack"),
    ("/transfers", {"source": "hub", "target": "shop", "lines": lines(31)}, "too-much"),
    ("/orders/{gone}/cancel", None, "nothing-left"),
    ("/shipments/0/receive", None, "not-due"),
    ("/sales", {"node": "shop", "sku": "a", "units": 999}, "short-of-stock"),
    ("/sales", {"node": "hub", "sku": "a", "units": 1}, "no-customers"),
]
MISTAKES: list[tuple[str, Any, int]] = [
    ("/purchases", {"link": 1, "lines": lines(6)}, 422),
    ("/purchases", {"link": 9, "lines": lines(6)}, 404),
    ("/purchases", {"link": 0, "lines": lines(6, "nothing")}, 404),
    ("/purchases", {"link": 0, "lines": lines(6) + lines(6)}, 422),
    ("/purchases", {"link": 0, "lines": []}, 422),
    ("/purchases", {"link": 0, "lines": lines(-1)}, 422),
    ("/purchases", {"link": "0", "lines": lines(6)}, 422),
    ("/purchases", {"link": 0, "lines": lines(6), "more": 1}, 422),
    ("/transfers", {"source": "shop", "target": "hub", "lines": lines(1)}, 404),
    ("/transfers", {"source": "shp", "target": "hub", "lines": lines(1)}, 404),
    ("/orders/99/cancel", None, 404),
    ("/shipments/99/receive", None, 404),
    ("/sales", {"node": "shop", "sku": "a", "units": 0}, 422),
]


@pytest.mark.parametrize(("path", "body", "reason"), REFUSALS)
def test_a_refusal_tells_why_and_changes_nothing(office, path, body, reason):
    order = office.purchased()
    office.done(f"/orders/{order['number']}/cancel")
    before, state = office.everything(), office.snapshot()
    answer = office.send(path.format(gone=order["number"]), body)
    assert (answer.status_code, answer.json()["reason"]) == (409, reason)
    assert (office.everything(), office.snapshot()) == (before, state)


@pytest.mark.parametrize(("path", "body", "status"), MISTAKES)
def test_a_mistake_changes_nothing(office, path, body, status):
    before = office.everything()
    assert office.send(path, body).status_code == status
    assert office.everything() == before


def test_an_episode_that_is_over_refuses_every_verb(office):
    for _ in range(8):
        office.done("/close-day")
    assert office.get("")["ended"]
    before = office.everything()
    for path, body, _ in [*REFUSALS, ("/close-day", None, "")]:
        answer = office.send(path.format(gone=0), body)
        assert (answer.status_code, answer.json()["reason"]) == (409, "episode-over"), path
    assert office.everything() == before


def test_levels_out_of_order_are_refused(office):
    answer = office.send("/policies/shop/a", {"reorder_point": 5, "base_stock": 4}, method="PUT")
    assert answer.status_code == 422
    assert office.get("/policies") == []


# Once


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/purchases", {"link": 0, "lines": lines(6)}),
        ("/transfers", {"source": "hub", "target": "shop", "lines": lines(2)}),
        ("/sales", {"node": "shop", "sku": "a", "units": 1}),
        ("/close-day", None),
        ("/sales", {"node": "hub", "sku": "a", "units": 1}),
    ],
)
def test_a_key_has_one_effect_and_one_answer(office, path, body):
    first = office.send(path, body, key="k1")
    before = office.everything()
    again = office.send(path, body, key="k1")
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert office.everything() == before
    other = office.send("/sales", {"node": "shop", "sku": "b", "units": 1}, key="k1")
    assert (other.status_code, other.json()["reason"]) == (409, "conflict")
    assert office.everything() == before


def test_the_log_tells_who_did_what(office):
    order = office.done("/purchases", {"link": 0, "lines": lines(6)}, actor="bob")
    subject = f"order/{order['number']}"
    office.done(f"/orders/{order['number']}/cancel", actor="carla")
    office.done("/close-day", actor="dora")
    told = [(one["actor"], one["verb"], one["subject"]) for one in office.get("/audit")]
    assert told[0] == ("dora", "close_day", "day/0")
    assert told[1:3] == [("carla", "cancel", subject), ("bob", "purchase", subject)]
    (entry,) = office.get(f"/audit?subject={subject}&limit=1")
    assert entry["verb"] == "cancel"


def test_nobody_acts_without_a_name(office):
    answer = office.client.post(f"{office.home}/close-day")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


# Pages


def test_pages_join_to_the_whole_list(office):
    before = office.get("/orders?limit=200")["total"]
    for _ in range(5):
        office.moved(1)
    office.purchased()
    total = before + 6
    found, after = [], -1
    while after is not None:
        page = office.get(f"/orders?limit=2&after={after}")
        assert page["total"] == total
        found += page["items"]
        after = page["next"]
    assert [one["number"] for one in found] == list(range(total))
    assert found == office.get("/orders?limit=200")["items"]
    assert office.get("/orders?target=hub")["items"][-1] == found[-1]
    assert {one["target"] for one in office.get("/orders?target=hub")["items"]} == {"hub"}
    assert office.get("/orders?status=shipped")["total"] == 0
    office.done("/close-day")
    assert office.get("/orders?status=shipped&target=shop")["total"] == 5
    first = office.get("/shipments?open_only=false&limit=1")
    assert first["next"] == 0
    assert first["total"] == office.get("/shipments?open_only=false&limit=200")["total"] > 1


def test_an_unknown_filter_is_answered_with_the_nearest(office):
    answer = office.ask("GET", f"{office.home}/orders?status=shiped")
    assert answer.status_code == 422
    assert "did you mean 'shipped'" in answer.json()["detail"]


# Worlds


def test_a_world_is_made_of_a_preset_or_a_network(office):
    assert office.get("")["network"] == "small"
    game = office.open("game", preset="beer-game")
    assert game.get("")["network"] == "beer-game"
    same = office.open("same", network=game.get("/network"))
    assert same.get("")["digest"] == game.get("")["digest"]
    assert same.snapshot() == game.snapshot()
    assert {one["name"] for one in office.ask("GET", "/worlds").json()} == {"small", "game", "same"}


@pytest.mark.parametrize(
    "wish",
    [
        {"preset": "beer-gane"},
        {"preset": "retail", "network": {}},
        {"network": {}},
        {"network": {"name": "x", "nodes": 5, "links": []}},
        {"network": {"name": "x", "nodes": [{"name": "a", "opening": 0.5}], "links": []}},
        {"preset": "retail", "family": "nothing"},
        {"name": ""},
        {"seed": -1},
    ],
)
def test_a_world_that_cannot_be_is_refused(office, wish):
    answer = office.ask("POST", "/worlds", json={"name": "x", **wish})
    assert answer.status_code == 422, answer.text
    assert len(office.ask("GET", "/worlds").json()) == 1


def test_a_taken_name_is_refused(office):
    answer = office.ask("POST", "/worlds", json={"name": "small", "preset": "beer-game"})
    assert (answer.status_code, answer.json()["reason"]) == (409, "conflict")


def test_a_dropped_world_is_gone_with_everything_in_it(office):
    other = office.open("other")
    before = other.everything()
    office.purchased()
    office.done("/close-day")
    assert office.ask("DELETE", office.home).status_code == 204
    assert office.ask("GET", office.home).status_code == 404
    assert office.ask("DELETE", office.home).status_code == 404
    assert other.everything() == before


def test_a_snapshot_brings_the_moment_back(office):
    office.purchased(12)
    office.done("/close-day")
    office.moved(3)
    office.done("/sales", {"node": "shop", "sku": "a", "units": 1})
    here = office.snapshot()
    twin = office.open("copy")
    assert twin.restore(here).status_code == 200
    assert twin.snapshot() == here
    for one in (office, twin):
        one.done("/close-day")
    assert twin.snapshot() == office.snapshot() != here
    assert office.restore(here).json()["day"] == 1
    assert office.snapshot() == here


@pytest.mark.parametrize("data", [b"", b"nonsense", b"[]", b"{}"])
def test_other_bytes_are_no_snapshot(office, data):
    before = office.everything()
    assert office.restore(data).status_code == 422
    assert office.restore(office.open("game", preset="beer-game").snapshot()).status_code == 422
    assert office.everything() == before


def test_the_service_tells_that_it_works(office):
    assert office.ask("GET", "/healthz").json() == {"status": "ok"}
