"""Hostile requests and a failing database: the interface refuses, changes nothing and never breaks."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from workgym.services import rest, storage
from workgym.services.orders.api_models import LARGEST_QTY

ORDER = {"customer": 0, "lines": [{"sku": "A001", "qty": 1}]}

# Hostile input

HUGE = 10**30
HOSTILE_BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"\xff\xfe\x00",
    b'"' + b"a" * 100_000 + b'"',
    b"[" * 100_000,
    b'{"customer":' * 5_000,
    b'{"customer": ' + b"9" * 10_000 + b"}",
    b'{"customer": NaN, "lines": Infinity}',
    b'{"customer": 0, "lines": [{"sku": "A\\u0000", "qty": 1}]}',
    b'{"customer": 0, "lines": [{"sku": "\\ud800", "qty": 1}]}',
    b'{"customer": 0, "lines": [{"sku": "A001", "qty": 1}], "\\ud800": 1}',
    b'{"customer": 0, "customer": "x", "lines": {}}',
    *(
        json.dumps({"customer": customer, "lines": lines, "promise_on": promise}).encode()
        for customer, lines, promise in [
            (HUGE, [{"sku": "A001", "qty": 1}], None),
            (2**31, [{"sku": "A001", "qty": 1}], None),
            (-1, [{"sku": "A001", "qty": 1}], None),
            (0, [{"sku": "A001", "qty": HUGE}], None),
            (0, [{"sku": "A001", "qty": 2**63}], None),
            (0, [{"sku": "A001", "qty": 1}], HUGE),
            (0, [{"sku": "A001", "qty": 1}], -1),
            (0, [{"sku": "x" * 101, "qty": 1}], None),
            (0, [{"sku": "'; DROP TABLE orders; --", "qty": 1}], None),
            (0, {"sku": "A001"}, None),
            ("0", "A001", "tomorrow"),
            (None, None, None),
            ([], [[]], {}),
        ]
    ),
]


def test_hostile_bodies_are_refused_and_change_nothing(desk):
    before = desk.everything()
    for body in HOSTILE_BODIES:
        for path in ("/orders", "/orders/0/allocate", "/deliveries"):
            headers = {"Content-Type": "application/json"}
            answer = desk.ask("POST", f"{desk.home}{path}", content=body, headers=headers)
            assert answer.status_code in (404, 422), (path, body[:80], answer.text[:200])
            assert len(answer.content) < 10_000
    assert desk.everything() == before


def test_a_body_of_another_kind_is_refused(desk):
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=klingon",
        "nonsense",
    ):
        answer = desk.ask("POST", f"{desk.home}/orders", content=b"a=b", headers={"Content-Type": kind})
        assert answer.status_code == 422


def test_an_enormous_body_is_not_read(desk):
    before = desk.everything()
    for body in (
        b"x" * (rest.LARGEST_BODY + 1),
        (b"x" * 2**20 for _ in range(rest.LARGEST_BODY // 2**20 + 1)),
    ):
        answer = desk.restore(body)
        assert (answer.status_code, answer.json()["reason"]) == (413, "too-large")
    assert desk.everything() == before


HOSTILE_PATHS = [
    f"/worlds/{HUGE}",
    "/worlds/9223372036854775808",
    "/worlds/-1",
    "/worlds/1%00",
    "/worlds/one",
    "/worlds/1;DROP TABLE worlds",
    "{home}/orders/2147483648",
    f"{{home}}/orders/{HUGE}",
    "{home}/orders/../../etc/passwd",
    f"{{home}}/orders?after={HUGE}",
    "{home}/orders?customer=%00",
    "{home}/orders?customer=%ff%fe",
    "{home}/orders?sku=%ED%A0%80",
    "{home}/orders?status=waiting'--",
    "{home}/orders?limit=1e3",
    f"{{home}}/ledger?order={HUGE}",
    "{home}/audit?subject=%0a",
    "{home}/stock?sku=%27%20OR%201=1&centre=%00",
    "{home}/deliveries?open_only=perhaps",
    "//",
]


def test_hostile_addresses_never_break_the_service(desk):
    before = desk.everything()
    for path in HOSTILE_PATHS:
        answer = desk.ask("GET", path.format(home=desk.home))
        assert answer.status_code in (200, 404, 422), (path, answer.text)
    assert desk.everything() == before


def test_hostile_headers_are_refused(desk):
    for headers in [
        {"X-Actor": ""},
        {"X-Actor": " "},
        {"X-Actor": "a" * 81},
        {"X-Actor": b"\xff\xfe"},
        {"X-Actor": "a\tb"},
        {"Idempotency-Key": "k" * 201},
        {"Idempotency-Key": b"\xc3\xa9"},
    ]:
        answer = desk.ask("POST", f"{desk.home}/ship-wave", headers=headers)
        assert answer.status_code == 422, headers


def test_names_are_kept_as_they_are_written(desk):
    for name in ["'; DROP TABLE worlds; --", "Zoë & Søn 店", "%s %(x)s :name ?", '{"a": 1}', "\\x00"]:
        assert desk.open(name).get("")["name"] == name


def test_the_largest_order_that_the_interface_reads_does_not_break_it(desk):
    lines = [desk.line(LARGEST_QTY, which) for which in range(4)]
    answer = desk.post("/orders", {"customer": 0, "lines": lines})
    assert answer.status_code in (201, 422)
    shelf = desk.get("/stock")[0]
    for _ in range(3):
        body = {"centre": shelf["centre"], "sku": shelf["sku"], "units": LARGEST_QTY, "eta": 2**31 - 1}
        assert desk.post("/deliveries", body).status_code in (201, 422)
    assert desk.post("/orders", {**ORDER, "promise_on": 2**31 - 1}).status_code in (201, 422)


HOSTILE_STATES = [
    lambda state: {},
    lambda state: [],
    lambda state: {**state, "version": 99},
    lambda state: {**state, "day": "one"},
    lambda state: {**state, "day": -1},
    lambda state: {**state, "day": 10**6},
    lambda state: {**state, "day": HUGE},
    lambda state: {**state, "key": HUGE},
    lambda state: {**state, "key": -1},
    lambda state: {**state, "family": 99},
    lambda state: {**state, "ended": 7},
    lambda state: {**state, "broken": None},
    lambda state: {**state, "free": []},
    lambda state: {**state, "free": [[-1] * len(state["free"][0])] * len(state["free"])},
    lambda state: {**state, "free": [[HUGE] * len(state["free"][0])] * len(state["free"])},
    lambda state: {**state, "picks": [-1, -1, -1, -1]},
    lambda state: {**state, "picks": [1]},
    lambda state: {**state, "ledger": [HUGE] * 6},
    lambda state: {**state, "ledger": []},
    lambda state: {**state, "orders": [[99] * 8]},
    lambda state: {**state, "orders": [[-1] * 8]},
    lambda state: {**state, "orders": [[0]]},
    lambda state: {**state, "orders": [[0, 0, 0, 0, 1, 99, 0, 0]]},
    lambda state: {**state, "orders": [[0, 99, 0, 0, 1, 0, 0, 0]]},
    lambda state: {**state, "orders": [[0, 0, 0, 0, 1, 1, 2**40, 0]]},
    lambda state: {**state, "orders": [[0, 0, 0, 5, 1, 0, 0, -1]]},
    lambda state: {**state, "orders": [[0, 0, 0, 0, 1, 3, 1, 0]]},
    lambda state: {**state, "orders": [[0, 0, 0, 0, 1, 2, 255, 0]]},
    lambda state: {**state, "ended": True},
    lambda state: {**state, "orders": state["orders"] * 1_000},
    lambda state: {**state, "more": 1},
]


def test_hostile_snapshots_are_refused_and_change_nothing(season):
    good = json.loads(season.snapshot())
    before = season.everything()
    bodies = [json.dumps(spoil(good)).encode() for spoil in HOSTILE_STATES]
    for body in [b"", b"\x00", b"[" * 100_000, b"NaN", *bodies]:
        answer = season.restore(body)
        assert answer.status_code == 422, (body[:60], body[-120:], answer.text)
    assert season.everything() == before


# Faults


def test_a_locked_database_is_a_fault_that_says_nothing_was_done(tmp_path, monkeypatch, opened):
    monkeypatch.setattr(storage, "_PATIENCE_S", 0.05)
    path = tmp_path / "orders.db"
    with opened(f"sqlite:///{path}") as office:
        desk = office.open("shop")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = desk.post("/orders", ORDER, key="k")
            assert answer.status_code == 503
            assert (answer.json()["reason"], answer.json()["committed"]) == ("fault", "no")
            assert answer.headers["Retry-After"] == "1"
            assert desk.ask("GET", "/healthz").status_code == 200
            other.execute("ROLLBACK")
        assert desk.done("/orders", ORDER, key="k")["number"] == 0
        assert desk.get("")["orders"] == 1


def test_the_service_tells_that_it_works(desk):
    assert desk.ask("GET", "/healthz").json() == {"status": "ok"}
