"""What the REST interface promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

from itertools import product

import pytest

# The verbs


def test_an_order_waits_where_its_address_says(desk):
    lines = [desk.line(2), desk.line(1, which=3)]
    answer = desk.post("/orders", {"customer": 9, "lines": lines, "priority": True, "promise_on": 4})
    assert answer.status_code == 201
    order = desk.ask("GET", answer.headers["Location"]).json()
    assert order == answer.json()
    customer = next(each for each in desk.get("/customers") if each["number"] == 9)
    assert (order["customer"], order["region"]) == (customer["name"], customer["region"])
    assert (order["status"], order["promise_on"], order["priority"]) == ("waiting", 4, True)
    assert [(each["sku"], each["qty"]) for each in order["lines"]] == [(x["sku"], x["qty"]) for x in lines]


def test_an_allocation_reserves_stock_and_picks_and_posts_the_sale(desk):
    before = {(s["sku"], s["centre"]): s["reserved"] for s in desk.get("/stock")}
    order = desk.allocated("express")
    (parcel,) = order["parcels"]
    after = {(s["sku"], s["centre"]): s["reserved"] for s in desk.get("/stock")}
    changed = {place: after[place] - before[place] for place in after if after[place] != before[place]}
    assert changed == {(one["sku"], parcel["centre"]): one["qty"] for one in order["lines"]}
    postings = desk.get(f"/ledger?order={order['number']}")
    assert {posting["account"]: posting["cents"] for posting in postings}["sales"] == order["value_cents"]
    assert desk.get("")["profit_cents"] == sum(desk.get("/books").values())
    assert parcel["service"] == "express"
    assert order["status"] == "allocated"


def test_a_day_runs_from_order_to_wave(desk):
    order = desk.allocated()
    wave = desk.done("/ship-wave")
    assert wave["shipped"] == 1
    shipped = desk.get(f"/orders/{order['number']}")
    assert shipped["status"] == "shipped"
    assert [parcel["shipped_on"] for parcel in shipped["parcels"]] == [0]
    assert desk.done("/close-day")["day"] == 1


def test_a_new_day_brings_new_picks(desk):
    fresh = desk.get("/centres")
    desk.allocated()
    assert desk.get("/centres") != fresh
    desk.done("/close-day")
    assert desk.get("/centres") == fresh


def test_a_held_order_leaves_the_queue_until_tomorrow(season):
    first, second = season.get("/queue")[:2]
    season.done(f"/orders/{first['number']}/hold")
    assert season.get("/queue")[0]["number"] == second["number"]
    season.done("/next-day")
    assert first["number"] in [order["number"] for order in season.get("/queue?limit=200")]


def test_expediting_costs_the_difference(desk):
    order = desk.allocated()
    (slow,) = order["parcels"]
    faster = desk.done(f"/orders/{order['number']}/expedite", {"service": "express"})
    (fast,) = faster["parcels"]
    assert fast["freight_cents"] > slow["freight_cents"]
    freight = sum(
        p["cents"] for p in desk.get(f"/ledger?order={order['number']}") if p["account"] == "freight"
    )
    assert freight == -fast["freight_cents"]


def test_a_cancelled_order_gives_back_what_it_had(desk):
    stock, picks = desk.get("/stock"), desk.get("/centres")
    order = desk.allocated()
    assert desk.done(f"/orders/{order['number']}/cancel")["status"] == "cancelled"
    assert desk.get("/stock") == stock
    assert desk.get("/centres") == picks
    assert {account for account, cents in desk.get("/books").items() if cents} <= {"goodwill"}


def test_a_delivery_is_announced_received_and_on_the_shelf(desk):
    shelf = desk.get("/stock")[0]
    body = {"centre": shelf["centre"], "sku": shelf["sku"], "units": 40, "eta": 0}
    delivery = desk.done("/deliveries", body)
    assert delivery in desk.get("/deliveries")
    assert desk.done(f"/deliveries/{delivery['id']}/receive")["received_on"] == 0
    assert delivery["id"] not in [each["id"] for each in desk.get("/deliveries")]
    assert desk.get("/stock")[0]["on_hand"] == shelf["on_hand"] + 40


def test_a_season_ends(season):
    days = season.get("")["days"]
    while not (world := season.done("/next-day"))["ended"]:
        assert world["day"] < days
    assert world["waiting"] == 0
    assert season.post("/next-day").status_code == 409


# Refusals: (path, body, status, reason), asked in the world that `troubled` makes

OCTETS = {"Content-Type": "application/octet-stream"}
ORDER = {"customer": 0, "lines": [{"sku": "A001", "qty": 1}]}
SHIP = {"centre": "Leeds", "service": "economy"}
SENT, ROOMY = "/orders/0", "/orders/1"
REFUSALS = [
    (f"{SENT}/allocate", SHIP, 409, "not-waiting"),
    (f"{SENT}/split", {}, 409, "not-waiting"),
    (f"{SENT}/hold", {}, 409, "not-waiting"),
    (f"{SENT}/cancel", {}, 409, None),
    (f"{SENT}/expedite", {"service": "express"}, 409, None),
    (f"{ROOMY}/split", {}, 409, "not-splittable"),
    (f"{ROOMY}/expedite", {"service": "express"}, 409, None),
    ("/orders/2/allocate", SHIP, 409, "short-of-stock"),
    ("/deliveries/{received}/receive", None, 409, None),
    ("/orders/99/allocate", SHIP, 404, "not-found"),
    ("/orders/99/hold", {}, 404, "not-found"),
    ("/deliveries/999999/receive", None, 404, "not-found"),
    (f"{ROOMY}/allocate", {**SHIP, "centre": "Leads"}, None, None),
    (f"{ROOMY}/allocate", {**SHIP, "service": "rocket"}, 422, "bad-input"),
    (f"{ROOMY}/allocate", {"centre": "Leeds"}, 422, "bad-input"),
    (f"{ROOMY}/allocate", {**SHIP, "hurry": True}, 422, "bad-input"),
    (f"{ROOMY}/allocate", {**SHIP, "expected_version": "1"}, 422, "bad-input"),
    (f"{ROOMY}/allocate", {**SHIP, "expected_version": 99}, 409, "conflict"),
    (f"{ROOMY}/hold", {"expected_version": 99}, 409, "conflict"),
    (f"{ROOMY}/cancel", {"expected_version": 99}, 409, "conflict"),
    ("/orders", {**ORDER, "lines": []}, 422, "bad-input"),
    ("/orders", {**ORDER, "lines": ORDER["lines"] * 2}, 422, "bad-input"),
    ("/orders", {**ORDER, "lines": ORDER["lines"] * 5}, 422, "bad-input"),
    ("/orders", {**ORDER, "lines": [{"sku": "A001", "qty": 0}]}, 422, "bad-input"),
    ("/orders", {**ORDER, "lines": [{"sku": "A001", "qty": 1.5}]}, 422, "bad-input"),
    ("/orders", {**ORDER, "lines": [{"sku": "A001", "qty": 1.0}]}, 422, "bad-input"),
    ("/orders", {**ORDER, "lines": [{"sku": "A001", "qty": True}]}, 422, "bad-input"),
    ("/orders", {**ORDER, "lines": [{"sku": "no such code", "qty": 1}]}, None, None),
    ("/orders", {**ORDER, "customer": 999_999}, None, None),
    ("/orders", {**ORDER, "priority": 1}, 422, "bad-input"),
    ("/orders", {**ORDER, "price": 1}, 422, "bad-input"),
    ("/deliveries", {"centre": "Leeds", "sku": "A001", "units": -1, "eta": 1}, 422, "bad-input"),
    ("/deliveries", {"centre": "nowhere", "sku": "A001", "units": 1, "eta": 1}, None, None),
]


@pytest.fixture
def troubled(desk):
    """Order 0 is on its way, order 1 could ship from anywhere, order 2 is larger than any shelf."""
    desk.allocated()
    desk.done("/ship-wave")
    desk.placed()
    desk.placed(lines=[desk.line(9_999)])
    shelf = desk.get("/stock")[0]
    body = {"centre": shelf["centre"], "sku": shelf["sku"], "units": 1, "eta": 0}
    received = desk.done("/deliveries", body)["id"]
    desk.done(f"/deliveries/{received}/receive")
    return desk


def test_illegal_requests_are_refused_with_a_reason_and_change_nothing(troubled):
    (received,) = [each["id"] for each in troubled.get("/deliveries?open_only=false")]
    before = troubled.everything()
    for path, body, status, reason in REFUSALS:
        answer = troubled.post(path.format(received=received), body)
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.status_code in ((status,) if status else (404, 422)), (path, body, problem)
        assert problem["status"] == answer.status_code
        assert problem["reason"] == (reason or problem["reason"]), (path, body, problem)
        assert len(problem["detail"]) > 10
        assert troubled.everything() == before, (path, body)


def test_refusals_leave_the_state_hash_alone(season):
    number = season.get("/queue")[0]["number"]
    before = season.state_hash()
    refused = [
        season.post(f"/orders/{number}/expedite", {"service": "express"}),
        season.post(f"/orders/{number}/allocate", {**SHIP, "expected_version": 77}),
        season.post("/orders/77777/allocate", SHIP),
        season.post("/orders", {"customer": -1}),
        season.post("/season/of/nothing"),
        season.ask("PATCH", season.home),
        season.restore(b"{}"),
    ]
    assert [answer.status_code for answer in refused] == [409, 409, 404, 422, 404, 405, 422]
    assert season.state_hash() == before


def test_reading_changes_nothing(season):
    before = season.state_hash()
    assert season.everything() == season.everything()
    assert season.state_hash() == before


def test_after_the_season_nothing_is_decided(season):
    number = season.get("/queue")[0]["number"]
    while not season.done("/close-day")["ended"]:
        pass
    before = season.everything()
    for path, body in [(f"/orders/{number}/allocate", SHIP), ("/orders", ORDER), ("/close-day", None)]:
        assert season.post(path, body).status_code == 409
    assert season.everything() == before


def test_a_nameless_request_is_refused(desk):
    answer = desk.client.post(f"{desk.home}/ship-wave")
    assert answer.status_code == 422
    assert [flaw["where"] for flaw in answer.json()["errors"]] == ["header/X-Actor"]


# Idempotency keys


VERBS = [
    ("/orders", ORDER, {**ORDER, "priority": True}),
    ("/orders/{number}/allocate", {"centre": "Reading", "service": "economy"}, SHIP),
    ("/orders/{number}/split", {}, {"expected_version": 1}),  # refused: one centre can ship it whole
    ("/orders/{number}/hold", {}, {"expected_version": 1}),
    ("/orders/{sent}/expedite", {"service": "express"}, {"service": "standard"}),
    ("/orders/{number}/cancel", {}, {"expected_version": 1}),
    ("/deliveries", {"centre": "Leeds", "sku": "A001", "units": 5, "eta": 3}, {**SHIP}),
]


@pytest.mark.parametrize(("path", "body", "other"), VERBS, ids=[path for path, _, _ in VERBS])
def test_a_repeated_key_gives_the_same_answer_and_no_second_effect(desk, path, body, other):
    path = path.format(number=desk.placed()["number"], sent=desk.allocated()["number"])
    first = desk.post(path, body, key="k-1")
    after = desk.everything()
    again = desk.post(path, body, key="k-1")
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert desk.everything() == after
    if other != SHIP or "allocate" in path:
        reused = desk.post(path, other, key="k-1")
        assert (reused.status_code, reused.json()["reason"]) == (409, "conflict")
    assert desk.everything() == after


@pytest.mark.parametrize("verb", ["/ship-wave", "/close-day", "/next-day"])
def test_a_day_that_is_repeated_with_its_key_passes_once(desk, verb):
    desk.allocated()
    first = desk.done(verb, key="k-1")
    after = desk.everything()
    assert desk.done(verb, key="k-1") == first
    assert desk.everything() == after
    assert desk.post("/orders", ORDER, key="k-1").status_code == 409
    assert desk.everything() == after


def test_a_key_belongs_to_its_world(desk):
    other = desk.open("other")
    assert desk.done("/orders", ORDER, key="k")["number"] == 0
    assert other.done("/orders", {**ORDER, "priority": True}, key="k")["priority"] is True


# Optimistic locking


@pytest.mark.parametrize(("verb", "body"), [("allocate", SHIP), ("hold", {}), ("cancel", {})])
def test_a_stale_version_is_a_conflict_and_a_fresh_one_is_not(desk, verb, body):
    order = desk.placed()
    path = f"/orders/{order['number']}"
    held = desk.done(f"{path}/hold", {"expected_version": order["version"]})
    assert held["version"] > order["version"]
    body = {**body, "centre": desk.centre_for(held)} if "centre" in body else body
    stale = desk.post(f"{path}/{verb}", {**body, "expected_version": order["version"]})
    assert (stale.status_code, stale.json()["reason"]) == (409, "conflict")
    assert desk.get(path) == held
    desk.done(f"{path}/{verb}", {**body, "expected_version": held["version"]})


# Worlds


def test_two_worlds_do_not_see_each_other(season):
    other = season.open("other", family="promotion", seed=8)
    other.done("/start-season")
    before = other.everything()
    season.done("/next-day")
    season.allocated()
    season.done(f"/deliveries/{season.get('/deliveries')[0]['id']}/receive")
    assert other.everything() == before
    assert season.ask("DELETE", other.home).status_code == 204
    assert [world["name"] for world in season.ask("GET", "/worlds").json()] == ["shop"]
    assert other.ask("GET", other.home).status_code == 404


def test_only_listed_worlds_can_be_reached(season):
    listed = [world["id"] for world in season.ask("GET", "/worlds").json()]
    for hidden in set(range(max(listed) + 2)) - set(listed):
        home = f"/worlds/{hidden}"
        for path in ("", "/stock", "/snapshot", "/audit"):
            assert season.ask("GET", f"{home}{path}").status_code == 404, path
        for path, body in [("/orders", ORDER), ("/close-day", None), ("/start-season", None)]:
            assert season.ask("POST", f"{home}{path}", json=body).status_code == 404, path
        assert (
            season.ask("PUT", f"{home}/snapshot", content=season.snapshot(), headers=OCTETS).status_code
            == 404
        )
        assert season.ask("DELETE", home).status_code == 404


def test_every_operation_on_a_world_that_is_gone_says_so(desk):
    desk.ask("DELETE", desk.home)
    reads = ("", "/orders", "/orders/0", "/queue", "/centres", "/stock", "/customers", "/deliveries")
    for path in (*reads, "/ledger", "/books", "/audit", "/snapshot"):
        assert desk.ask("GET", f"{desk.home}{path}").status_code == 404, path
    for path, body in [("/orders", ORDER), ("/ship-wave", None), ("/orders/0/hold", {})]:
        assert desk.post(path, body).status_code == 404, path


def test_equal_seeds_give_equal_worlds(desk):
    twins = [desk.open(f"twin {n}", seed=5) for n in range(2)]
    for world in twins:
        world.done("/start-season")
        world.done("/next-day")
    assert twins[0].state_hash() == twins[1].state_hash()


def test_a_name_is_taken_once(desk):
    answer = desk.ask("POST", "/worlds", json={"name": "shop"})
    assert (answer.status_code, answer.json()["reason"]) == (409, "conflict")


def test_a_snapshot_restores_a_world_and_copies_it_to_another(season):
    copy = season.open("copy", seed=99)
    taken = season.snapshot()
    season.done("/next-day")
    moved = season.state_hash()
    for world in (season, copy):
        answer = world.restore(taken)
        assert answer.status_code == 200, answer.text
        assert world.snapshot() == taken
        world.done("/next-day")
        assert world.state_hash() == moved


# Searching


def test_every_combination_of_filters_finds_what_all_of_them_mean(season):
    season.done("/next-day")
    shipped = season.allocated()
    season.done("/ship-wave")
    season.done("/next-day")
    season.done("/next-day")
    today = season.get("")["day"]
    everything = season.get("/orders?limit=200")["items"]
    sku = everything[0]["lines"][0]["sku"]
    part = shipped["customer"][1:5].upper()
    tests = {
        "status": ("waiting", lambda o: o["status"] == "waiting"),
        "region": (shipped["region"], lambda o: o["region"] == shipped["region"]),
        "priority": ("true", lambda o: o["priority"]),
        "sku": (sku, lambda o: sku in [one["sku"] for one in o["lines"]]),
        "customer": (part, lambda o: part.lower() in o["customer"].lower()),
        "late": ("true", lambda o: o["status"] == "waiting" and o["promise_on"] < today),
    }
    found = 0
    for chosen in product([False, True], repeat=len(tests)):
        asked = {name: its for (name, its), used in zip(tests.items(), chosen, strict=True) if used}
        page = season.get(
            "/orders", params={"limit": 200, **{name: value for name, (value, _) in asked.items()}}
        )
        wanted = [order for order in everything if all(holds(order) for _, holds in asked.values())]
        assert page == {"items": wanted, "total": len(wanted), "next": None}, asked
        found += bool(wanted)
    assert found > len(tests)


@pytest.mark.parametrize("limit", [1, 3, 200])
def test_pages_put_together_are_the_whole_list(season, limit):
    whole = season.get("/orders?limit=200&status=waiting")
    found, after = [], -1
    while after is not None:
        page = season.get(f"/orders?limit={limit}&status=waiting&after={after}")
        assert page["total"] == whole["total"]
        assert len(page["items"]) <= limit
        found, after = found + page["items"], page["next"]
    assert found == whole["items"]
    assert whole["total"] == len(found) > 3


@pytest.mark.parametrize(
    "query", ["status=asleep", "region=moon", "limit=0", "limit=201", "after=-2", "priority=yep"]
)
def test_a_filter_that_means_nothing_is_refused(desk, query):
    answer = desk.ask("GET", f"{desk.home}/orders?{query}")
    assert (answer.status_code, answer.json()["reason"]) == (422, "bad-input")


@pytest.mark.parametrize("text", ["%", "_", "'", "\\", "%' OR 1=1 --"])
def test_a_search_text_is_taken_literally(season, text):
    assert season.get("/orders", params={"customer": text})["total"] == 0
    assert season.get("/customers", params={"text": text}) == []


# The log


def test_every_change_is_logged_with_who_asked_and_nothing_else_is(desk):
    order = desk.placed()
    number = order["number"]
    desk.done(
        f"/orders/{number}/allocate", {"centre": desk.centre_for(order), "service": "economy"}, actor="bob"
    )
    desk.post(f"/orders/{number}/hold")  # refused
    desk.done("/ship-wave", actor="carla@night")
    log = desk.get("/audit?limit=3")
    assert [(entry["actor"], entry["verb"]) for entry in reversed(log)] == [
        ("ann", "place"),
        ("bob", "allocate"),
        ("carla@night", "ship_wave"),
    ]
    assert log[1]["payload"]["service"] == "economy"
    of_order = desk.get(f"/audit?subject=order/{number}")
    assert {entry["subject"] for entry in of_order} == {f"order/{number}"}
