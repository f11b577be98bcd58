"""Faults on purpose are seen by clients, and never by the business."""

from __future__ import annotations

import http.client
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from tests.support.served import Server, served
from workgym.services import services
from workgym.services.faults import KINDS, Profile
from workgym.services.hosting import hosted
from workgym.services.kernel import BadInput
from workgym.services.settings import Settings

ACTIONS = 300
STORM = (
    "drop=0.03:9s,delay=0.04:20ms,duplicate=0.06,error=0.05,reset=0.05,lost-answer=0.05,database=0.06;seed=7"
)
DEADLINE_S, PATIENCE_S = 0.5, 60.0
HEADERS = {"X-Actor": "ann"}
CALM = Settings(gym=False)


# What a profile is


def test_a_profile_is_read_from_its_text() -> None:
    assert Profile.parse("drop=0.25:2s, delay=0.5:50ms,database=1;seed=9") == Profile(
        drop=0.25, drop_s=2.0, delay=0.5, delay_s=0.05, database=1.0, seed=9
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("dorp=0.1", "did you mean 'drop'"),
        ("drop", "expected KIND=SHARE"),
        ("drop=1.5", "share in 0..1"),
        ("drop=0..1", "expected a number"),
        ("drop=0.6,error=0.6", "sum to at most 1, found 1.2"),
        ("drop=0.1,drop=0.1", "each kind of fault once"),
        ("error=0.1:5s", "a time for drop or delay only"),
        ("error=0.1;sed=4", "expected seed=NUMBER"),
    ],
)
def test_a_profile_that_is_wrong_says_how(text: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=re.escape(complaint)):
        Profile.parse(text)


def test_each_kind_has_its_share_and_the_seed_decides_which_requests() -> None:
    profile = Profile.parse("drop=0.05,duplicate=0.2,lost-answer=0.1,database=0.3;seed=3")
    hit = Counter(profile.request(number) for number in range(20_000))
    assert {kind: round(hit[kind] / 20_000, 2) for kind in ("drop", "duplicate", "lost-answer")} == {
        "drop": 0.05,
        "duplicate": 0.2,
        "lost-answer": 0.1,
    }
    failed = Counter(profile.transaction(number) for number in range(20_000))
    assert [round(failed[moment] / 20_000, 2) for moment in ("begin", "commit", "committed")] == [0.1] * 3
    again = Profile.parse("drop=0.05,duplicate=0.2,lost-answer=0.1,database=0.3;seed=4")
    assert [profile.request(n) for n in range(100)] == [profile.request(n) for n in range(100)]
    assert [profile.request(n) for n in range(100)] != [again.request(n) for n in range(100)]


@pytest.mark.parametrize("name", services())
def test_no_service_breaks_by_itself(name: str) -> None:
    app = hosted(services()[name], "sqlite://", CALM)
    assert app.state.store.database.hazard is None
    assert "Faults" not in [middleware.cls.__name__ for middleware in app.user_middleware]


# What a client sees


@pytest.fixture
def broken(tmp_path: Any) -> Iterator[Callable[[str], tuple[Server, str]]]:
    """Starts an order department with a profile; the server, and the path of a world."""
    running = []

    def start(faults: str) -> tuple[Server, str]:
        server = served("orders", f"sqlite:///{tmp_path}/orders.db", Settings(gym=False, faults=faults))
        found = server.__enter__()
        running.append(server)
        opened = httpx.post(f"{found.base_url}/worlds", json={"name": "shop"}, headers=HEADERS)
        assert opened.status_code == 201, "the trainer's verbs are not hit"
        return found, f"/worlds/{opened.json()['id']}"

    yield start
    for server in running:
        server.__exit__(None, None, None)


def close_day(server: Server, world: str, timeout: float = 5.0) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(server.base_url.removeprefix("http://"), timeout=timeout)
    connection.request("POST", f"{world}/close-day", headers={**HEADERS, "Idempotency-Key": "one"})
    answer = connection.getresponse()
    answer.body = answer.read()  # type: ignore[attr-defined]  # for the tests below
    return answer


def day_of(server: Server, world: str) -> int:
    return int(httpx.get(f"{server.base_url}{world}").json()["day"])


def counted(server: Server, kind: str) -> float:
    text = httpx.get(f"{server.base_url}/metrics").text
    found = re.search(rf'^workgym_faults_total{{kind="{kind}"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_reset_breaks_the_connection_after_the_deed(broken: Any) -> None:
    server, world = broken("reset=1")
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        close_day(server, world)
    assert (day_of(server, world), counted(server, "reset")) == (1, 1)


def test_a_lost_answer_is_a_broken_connection_or_a_500_after_the_deed(broken: Any) -> None:
    server, world = broken("lost-answer=1")
    seen = set()
    for _ in range(20):
        try:
            seen.add(close_day(server, world).status)
        except (ConnectionResetError, http.client.RemoteDisconnected):
            seen.add(0)
    assert seen == {0, 500}
    assert day_of(server, world) == 1


def test_a_lost_request_does_nothing_until_the_client_gives_up(broken: Any) -> None:
    server, world = broken("drop=1")
    with pytest.raises(TimeoutError):
        close_day(server, world, timeout=0.3)
    assert (day_of(server, world), counted(server, "drop")) == (0, 1)


def test_a_lost_request_does_not_hold_the_server_for_ever(broken: Any) -> None:
    server, world = broken("drop=1:200ms")
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        close_day(server, world)


def test_an_error_comes_before_the_deed_and_says_so(broken: Any) -> None:
    server, world = broken("error=1")
    answer: Any = close_day(server, world)
    assert (answer.status, answer.headers["Content-Type"]) == (503, "application/problem+json")
    assert b'"committed": "no"' in answer.body
    assert day_of(server, world) == 0


def test_a_duplicate_happens_once_with_a_key_and_is_not_made_without_one(broken: Any) -> None:
    server, world = broken("duplicate=1")
    assert close_day(server, world).status == 200
    assert (day_of(server, world), counted(server, "duplicate")) == (1, 1)
    httpx.post(f"{server.base_url}{world}/close-day", headers=HEADERS).raise_for_status()
    assert (day_of(server, world), counted(server, "duplicate")) == (2, 1)


def test_a_failed_transaction_says_truthfully_whether_it_took_effect(broken: Any) -> None:
    server, world = broken("database=1")
    day, told = 0, set()
    for key in range(30):
        headers = {**HEADERS, "Idempotency-Key": str(key)}
        answer = httpx.post(f"{server.base_url}{world}/close-day", headers=headers)
        assert answer.status_code == 503
        committed = answer.json()["committed"]
        told.add(committed)
        day += committed == "yes"
        assert day_of(server, world) == day
    assert told == {"yes", "no"}


def test_health_and_metrics_answer_in_any_storm(broken: Any) -> None:
    server, _ = broken("error=1,database=1")
    for path in ("/healthz", "/metrics", "/worlds"):
        assert httpx.get(f"{server.base_url}{path}").status_code == 200


# What the business sees


class Caller:
    """Asks until it is answered, each time with the same key."""

    def __init__(self, server: Server, deadline_s: float) -> None:
        self.client = httpx.Client(base_url=server.base_url, headers=HEADERS, timeout=deadline_s)
        self.answers: list[tuple[str, int, Any]] = []
        self.calls = 0

    def get(self, path: str) -> Any:
        return self.client.get(path, timeout=PATIENCE_S).raise_for_status().json()

    def open(self, name: str, **wish: str) -> str:
        answer = self.client.post("/worlds", json={"name": name, "seed": 7, **wish}, timeout=PATIENCE_S)
        return f"/worlds/{answer.raise_for_status().json()['id']}"

    def everything(self, home: str) -> dict[str, Any]:
        """All that can be read of a world, and its canonical state where it has one."""
        found: dict[str, Any] = {}
        for path, operations in self.get("/openapi.json")["paths"].items():
            of_world = path.startswith("/worlds/{world}/") and path.count("{") == 1
            if of_world and "get" in operations and not path.endswith("/archive"):  # it tells the time
                answer = self.client.get(path.replace("/worlds/{world}", home), timeout=PATIENCE_S)
                found[path] = (answer.status_code, _told(answer))
        return found

    def act(self, method: str, path: str, body: Any = None) -> Any:
        key = {"Idempotency-Key": f"action {len(self.answers)}"}
        while True:
            self.calls += 1
            try:
                answer = self.client.request(method, path, json=body, headers=key)
            except httpx.TransportError:
                continue
            if answer.status_code < 500:
                self.answers.append((f"{method} {path}", answer.status_code, answer.json()))
                return answer.json()


def play_orders(caller: Caller) -> list[str]:
    """Two departments at work: one decides what the web shop sends, the other types its orders in by hand."""
    opened = [caller.open(name) for name in ("web", "hand")]
    web, hand = opened
    caller.client.post(f"{web}/start-season", timeout=PATIENCE_S).raise_for_status()
    stock, centres = caller.get(f"{web}/stock"), caller.get(f"{web}/centres")
    for n in itertools.count():
        if len(caller.answers) >= ACTIONS:
            break
        sku, centre = stock[n * 7 % len(stock)]["sku"], centres[n % len(centres)]["name"]
        placed = {"customer": n % 40, "lines": [{"sku": sku, "qty": 1 + n % 3}]}
        number = caller.act("POST", f"{hand}/orders", placed).get("number", 0)
        todo = [(hand, number), *((web, order["number"]) for order in caller.get(f"{web}/queue?limit=3"))]
        for home, order in todo:
            doing = ("allocate", "split", "allocate", "hold", "cancel")[(n + order) % 5]
            body = {"centre": centre, "service": "economy"} if doing == "allocate" else {}
            caller.act("POST", f"{home}/orders/{order}/{doing}", body)
        home = opened[n // 7 % 2]
        coming = {"centre": centre, "sku": sku, "units": 5 + n, "eta": caller.get(home)["day"]}
        delivery = caller.act("POST", f"{hand}/deliveries", coming).get("id")
        if delivery is not None:
            caller.act("POST", f"{hand}/deliveries/{delivery}/receive")
        if n % 7 == 6:
            caller.act("POST", f"{home}/ship-wave")
            caller.act("POST", f"{home}/close-day")
    return opened


def play_supply_chain(caller: Caller) -> str:
    """A chain at work: purchases, transfers, sales, policies, periods."""
    made = caller.client.post(
        "/worlds", json={"name": "shop", "seed": 7, "preset": "one-warehouse"}, timeout=30
    )
    home = f"/worlds/{made.json()['id']}"
    links, shelves = caller.get(f"{home}/links"), caller.get(f"{home}/stock")
    for n in itertools.count():
        if len(caller.answers) >= ACTIONS:
            break
        link, shelf = links[n % len(links)], shelves[n % len(shelves)]
        goods = [{"sku": shelf["sku"], "units": 1 + n % 5}]
        if link["source"] == "supplier":
            order = caller.act("POST", f"{home}/purchases", {"link": link["number"], "lines": goods})
        else:
            ends = {"source": link["source"], "target": link["target"]}
            order = caller.act("POST", f"{home}/transfers", {**ends, "lines": goods})
        if n % 3 == 2 and "number" in order:
            caller.act("POST", f"{home}/orders/{order['number']}/cancel")
        sale = {"node": shelf["node"], "sku": shelf["sku"], "units": 1 + n % 2, "backorder": n % 2 == 0}
        caller.act("POST", f"{home}/sales", sale)
        levels = {"reorder_point": n, "base_stock": n + 9}
        caller.act("PUT", f"{home}/policies/{shelf['node']}/{shelf['sku']}", levels)
        if n % 4 == 3:
            caller.act("POST", f"{home}/close-day")
    return [home]


PLAYS = {"orders": play_orders, "supply_chain": play_supply_chain}


def _told(answer: httpx.Response) -> Any:
    """What an answer says, but for what counts the attempts: a database never gives a number twice."""
    if not answer.headers["content-type"].endswith("json"):
        return answer.content
    told = answer.json()
    rows = told if isinstance(told, list) else []
    return [{key: row[key] for key in row if key not in ("id", "digest")} for row in rows] or told


class Played(NamedTuple):
    """What was left when everything had been done."""

    answers: list[tuple[str, int, Any]]
    calls: int
    worlds: list[dict[str, Any]]
    audit: list[Any]
    faults: dict[str, float]


def played(name: str, database: str, settings: Settings) -> Played:
    with served(name, database, settings) as server:
        caller = Caller(server, PATIENCE_S if settings.faults is None else DEADLINE_S)
        homes = PLAYS[name](caller)
        worlds = [caller.everything(home) for home in homes]
        audit = [line for home in homes for line in caller.get(f"{home}/audit?limit=1000")]
        faults = {kind: counted(server, kind) for kind in KINDS}
        caller.client.close()
    return Played(caller.answers, caller.calls, worlds, audit, faults)


@pytest.mark.slow
@pytest.mark.parametrize("name", services())
def test_a_storm_changes_nothing_for_those_who_ask_again_with_the_same_key(
    name: str, database_url: str
) -> None:
    calm = played(name, "sqlite://", CALM)
    storm = played(name, database_url, Settings(gym=False, faults=STORM))
    assert storm.calls > calm.calls == len(calm.answers) >= ACTIONS
    assert [status for _, status, _ in storm.answers] == [status for _, status, _ in calm.answers]
    assert [kind for kind, number in storm.faults.items() if not number] == []
    assert storm.worlds == calm.worlds
    assert calm.worlds[0]["/worlds/{world}/snapshot"][0] == 200
    assert len(storm.audit) == len(calm.audit)
    assert Counter(line["verb"] for line in storm.audit) == Counter(line["verb"] for line in calm.audit)
