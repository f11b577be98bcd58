"""Hostile requests to every service as it is deployed: refused with a reason, without effect, at no price."""

from __future__ import annotations

import json
import re
import socket
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from typing import Any, NamedTuple

import httpx
import msgpack
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.support.served import served
from tests.support.watch import Watch
from workgym.envs.gyms import env_ids_of
from workgym.envs.rooms import MOST_LANES
from workgym.services import archive, rest, services
from workgym.services.hosting import hosted
from workgym.services.settings import Settings
from workgym.services.supply_chain import presets

SERVICES = services()
BODY = {"Content-Type": "application/json"}
READ_BY_HAND = {  # operations whose body stands in no schema
    ("POST", "/gym/leases/{lease}/advance"),
    ("PUT", "/gym/leases/{lease}/states"),
    ("POST", "/mcp"),
}
LEASE = "0123456789abcdef"
PATIENCE_S = 5.0  # of somebody who waits behind others
QUICK_S, SMALL = 30.0, 300 * 2**20  # what a refusal may take, while every byte of it is counted


class Site(NamedTuple):
    """A hosted service with one world in which something has happened."""

    name: str
    app: FastAPI
    client: TestClient
    watch: Watch
    home: str
    operations: dict[tuple[str, str], dict[str, Any]]

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """A request for this world; other places are filled with what is not there."""
        filled = re.sub(r"{\w+}", LEASE, path.replace("/worlds/{world}", self.home))
        return self.client.request(method, filled, **more)

    def with_body(self) -> list[tuple[str, str]]:
        """Operations that read one, and how they are documented."""
        return [key for key, told in self.operations.items() if "requestBody" in told] + sorted(READ_BY_HAND)


@pytest.fixture(scope="module", params=SERVICES)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    app = hosted(SERVICES[request.param], "sqlite://", Settings())
    with TestClient(app, raise_server_exceptions=False, headers={"X-Actor": "eve"}) as client:
        home = f"/worlds/{client.post('/worlds', json={'name': 'shop'}).json()['id']}"
        client.post(f"{home}/start-season")
        client.post(f"{home}/close-day")
        operations = {
            (method.upper(), path): told
            for path, methods in app.openapi()["paths"].items()
            for method, told in methods.items()
        }
        yield Site(request.param, app, client, Watch(app), home, operations)


def refused(site: Site, answer: httpx.Response, before: str, *statuses: int) -> None:
    where = f"{answer.request.method} {answer.request.url.path} {answer.text[:300]}"
    assert answer.status_code in statuses, where
    if not answer.request.url.path.startswith("/mcp"):
        assert answer.headers["content-type"] == "application/problem+json", where
        assert answer.json()["status"] == answer.status_code
    assert len(answer.content) < 10_000, where
    assert site.watch.worlds() == before, where


# Bodies


@pytest.mark.parametrize("announced", [True, False])
def test_no_operation_reads_an_enormous_body(site: Site, announced: bool) -> None:
    piece = b" " * 2**20
    before = site.watch.worlds()
    for method, path in site.with_body():
        pieces = (piece for _ in range(rest.LARGEST_BODY // len(piece) + 1))
        body: Any = b"".join(pieces) if announced else pieces
        params = {"name": "big"} if path == "/worlds/archive" else None
        answer = site.ask(method, path, content=body, headers=BODY, params=params)
        refused(site, answer, before, 413)
    assert site.client.get("/healthz").status_code == 200


GARBAGE = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"NaN",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"name":' * 20_000,
    b'{"name": ' + b"9" * 10_000 + b"}",
    b'{"name": 1e999, "seed": -Infinity, "lanes": NaN}',
    b'{"name": "\\ud800", "env_id": "\\u0000", "id": "\\udfff"}',
    b'{"\\ud800": {"\\u0000": 1}}',
    b'{"__proto__": {"role": "admin"}, "constructor": {}}',
]


def test_no_operation_takes_garbage_for_a_body(site: Site) -> None:
    before = site.watch.worlds()
    for method, path in site.with_body():
        if path == "/mcp":  # it tells in the answer's body, see tests/services/mcp/test_messages.py
            continue
        for body in GARBAGE:
            answer = site.ask(method, path, content=body, headers=BODY, params={"name": "odd"})
            optional = body in (b"", b"null") and not site.operations[method, path].get(
                "requestBody", {}
            ).get("required")
            statuses = (404, 409, 422)
            if optional and answer.status_code not in statuses:
                assert answer.status_code < 300
                continue
            refused(site, answer, before, *statuses)


@pytest.mark.parametrize(
    "kind", ["text/plain", "multipart/form-data; boundary=x", "application/xml", "nonsense"]
)
def test_a_body_of_another_kind_is_refused(site: Site, kind: str) -> None:
    before = site.watch.worlds()
    for method, path in site.with_body():
        required = site.operations.get((method, path), {}).get("requestBody", {}).get("required")
        if required and path != "/worlds/archive":
            answer = site.ask(
                method, path, content=b"--x\r\n\r\na=b\r\n--x--", headers={"Content-Type": kind}
            )
            refused(site, answer, before, 404, 422)


# What stands in addresses and headers

INJECTIONS = [
    "'; DROP TABLE worlds; --",
    '" OR ""="',
    "1) UNION SELECT secret FROM tokens--",
    "\x00",
    "a\nb",
    "\ufeff\u202e",
    "../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%s%n{0}${jndi:ldap://x}",
    "a" * 5_000,
    "9" * 5_000,
    "-1",
    "1e400",
    "NaN",
    "٣",
]


def test_no_parameter_is_anything_but_a_value(site: Site) -> None:
    before = site.watch.worlds()
    for (method, path), told in site.operations.items():
        if method != "GET" and "requestBody" in told:
            continue  # the body is missing, so nothing would happen anyway
        for parameter in told.get("parameters", []):
            for value in INJECTIONS:
                answer = _with_parameter(site, method, path, parameter, value)
                assert answer.status_code < 500, (method, path, parameter["name"], value, answer.text[:300])
                if method == "GET" or answer.status_code >= 400:
                    assert site.watch.worlds() == before, (method, path, value)
                before = site.watch.worlds()
    assert site.client.get(site.home).status_code == 200


def _with_parameter(
    site: Site, method: str, path: str, parameter: dict[str, Any], value: str
) -> httpx.Response:
    name, place = parameter["name"], parameter["in"]
    if place == "path":
        quoted = "".join(f"%{byte:02X}" for byte in value[:500].encode())
        return site.ask(method, path.replace(f"{{{name}}}", quoted))
    if place == "query":
        return site.ask(method, path, params={name: value})
    return site.ask(method, path, headers={name: value.encode("utf-8")[:1000]})


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_no_header_turns_a_read_into_an_act(site: Site, header: str) -> None:
    before = site.watch.worlds()
    for method in ("GET", "POST"):
        site.ask(method, "/worlds/{world}", headers={header: "DELETE"}, params={"_method": "DELETE"})
    assert site.watch.worlds() == before
    assert site.client.get(site.home).status_code == 200


@pytest.mark.parametrize("method", ["TRACE", "PATCH", "PROPFIND", "DEBUG"])
def test_a_method_that_is_not_offered_is_refused(site: Site, method: str) -> None:
    before = site.watch.worlds()
    for path in ("/worlds", site.home, "/healthz", "/gym/leases"):
        refused(site, site.client.request(method, path), before, 405)


@pytest.mark.parametrize("name", SERVICES)
def test_a_line_feed_in_a_request_is_no_line_of_the_answer(name: str) -> None:
    attacks = [
        b"GET /worlds/1%0d%0aSet-Cookie:%20x=1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /signin?next=%0d%0aSet-Cookie:%20x=1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-ID: a\x0bSet-Cookie: x=1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-ID: a\rSet-Cookie: x=1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Actor: a\r\n Set-Cookie: x=1\r\n\r\n",
        b"POST /worlds HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ]
    with served(name, "sqlite://") as server:
        for attack in attacks:
            answer = _raw(server.base_url, attack)
            assert b"\nset-cookie" not in answer.lower(), attack[:60]
            assert b" 500 " not in answer[:20], attack[:60]
        assert httpx.get(f"{server.base_url}/healthz").status_code == 200


def _raw(base_url: str, sent: bytes) -> bytes:
    where = httpx.URL(base_url)
    with socket.create_connection((where.host, where.port or 80), timeout=2) as line:
        try:
            line.sendall(sent)
            return line.recv(65536)
        except (TimeoutError, ConnectionError):
            return b""


# Keys


@pytest.mark.parametrize("name", SERVICES)
def test_a_key_never_stands_for_two_requests(name: str, database_url: str) -> None:
    with TestClient(hosted(SERVICES[name], database_url, Settings()), headers={"X-Actor": "eve"}) as client:
        home = f"/worlds/{client.post('/worlds', json={'name': 'shop'}).json()['id']}"
        key = {"Idempotency-Key": "one"}
        first = client.post(f"{home}/fork", json={"names": ["a"]}, headers=key)
        assert first.status_code == 201
        assert client.post(f"{home}/fork", json={"names": ["a"]}, headers=key).json() == first.json()
        snapshot = client.get(f"{home}/snapshot").content
        other = client.post(f"{home}/fork", json={"names": ["b"]}, headers=key)
        assert (other.status_code, other.json()["reason"]) == (409, "conflict")
        for path, methods in client.get("/openapi.json").json()["paths"].items():
            told = methods.get("post", {})
            keyed = any(one["name"] == "Idempotency-Key" for one in told.get("parameters", []))
            if keyed and path.count("{") == 1 and "requestBody" not in told:
                answer = client.post(path.replace("/worlds/{world}", home), headers=key)
                assert (answer.status_code, answer.json()["reason"]) == (409, "conflict"), path
        assert client.get(f"{home}/snapshot").content == snapshot
        assert len(client.get("/worlds").json()) == 2


# What would take the memory or the time of others


class Price:
    """Asserts that a block takes little time and memory."""

    def __enter__(self) -> None:
        tracemalloc.start()
        self._began = time.process_time()

    def __exit__(self, *_: object) -> None:
        seconds, (_, peak) = time.process_time() - self._began, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert seconds < QUICK_S, f"{seconds:.1f} s of CPU"
        assert peak < SMALL, f"{peak / 2**20:.0f} MiB"


def test_an_archive_does_not_unfold_into_all_memory(site: Site) -> None:
    before, good = site.watch.worlds(), site.ask("GET", "/worlds/{world}/archive").content
    squeezer = zlib.compressobj(9)
    body = b"".join(squeezer.compress(b" " * 2**24) for _ in range(64)) + squeezer.flush()
    head = b" ".join([*good.partition(b"\n")[0].split(b" ")[:-1], sha256(body).hexdigest().encode()])
    assert 10 * archive.LARGEST < 2**30
    with Price():
        answer = site.client.post("/worlds/archive", params={"name": "bomb"}, content=head + b"\n" + body)
    refused(site, answer, before, 422)


def _wishes(name: str) -> list[dict[str, Any]]:
    env_id = env_ids_of(name)[0]
    wishes: list[dict[str, Any]] = [
        {"env_id": env_id, "lanes": MOST_LANES + 1},
        {"env_id": env_id, "seconds": 10**9},
        {"env_id": env_id, "arguments": {"x" * 10**6: 1}},
        {"env_id": env_id, "arguments": {"split": "x" * 10**6}},
        {"env_id": env_id, "arguments": {"family": ["normal"] * 10**5}},
        *(
            {"env_id": env_id, "arguments": {word: "/etc/passwd"}}
            for word in ("history", "base_url", "backend")
        ),
    ]
    if name == "orders":
        for arguments in ({"days": 10**9}, {"orders_per_day": 1e300}, {"days": 60, "orders_per_day": 1e6}):
            wishes.append({"env_id": env_id, "arguments": arguments})
    if name == "supply_chain":
        wishes += [{"env_id": "workgym/SupplyChain-v0", "arguments": {"network": one}} for one in _networks()]
        retail = {"skus": 1000, "stores": 20}
        wishes.append({"env_id": "workgym/SupplyChain.retail-v0", "arguments": retail, "lanes": MOST_LANES})
        for mean in (1e18, float(2**63)):
            wishes.append({"env_id": "workgym/SupplyChain.lost-sales-v0", "arguments": {"mean": mean}})
    return wishes


def _networks() -> list[dict[str, Any]]:
    """Descriptions that are small, and of which a careless reader makes something large."""
    plain = json.loads(json.dumps(presets.lost_sales().to_dict()))
    node, link = plain["nodes"][0], plain["links"][0]
    endless = {"kind": "intermittent", "parameters": [1e5, 1 - 1e-16]}
    long = {"kind": "geometric", "parameters": [1e5]}
    many = [{**node, "name": f"store {n}", "demand": {**long, "parameters": [1e5 - n]}} for n in range(200)]
    return [
        {**plain, "links": [{**link, "order_delay": 10**7}]},
        {**plain, "periods": 10**9},
        {**plain, "nodes": [{**node, "opening": 2**62}]},
        {**plain, "nodes": [{**node, "demand": endless}]},
        {**plain, "nodes": many, "links": [{**link, "target": one["name"]} for one in many]},
        {**plain, "nodes": [{**node, "name": f"n{n}"} for n in range(20_000)]},
        {**plain, "links": [{**link, "target": "x" * 10**6}], "nodes": [{**node, "name": "y" * 10**6}]},
        {**plain, "skus": ["a", "b"], "season_class": [0, 99]},
    ]


def test_no_lease_takes_the_memory_of_others(site: Site) -> None:
    plain = {"id": f"{LEASE}first", "env_id": env_ids_of(site.name)[0]}
    assert site.client.post("/gym/leases", json=plain).is_success  # compiles, which has a price of its own
    site.client.delete(f"/gym/leases/{LEASE}first")
    before = site.watch.worlds()
    for number, wish in enumerate(_wishes(site.name)):
        with Price():
            answer = site.client.post("/gym/leases", json={"id": f"{LEASE}{number}", **wish})
        refused(site, answer, before, 422)


def test_no_world_of_ones_own_network_takes_the_memory_of_others(site: Site) -> None:
    before = site.watch.worlds()
    for network in _networks():
        with Price():
            answer = site.client.post("/worlds", json={"name": "own", "network": network})
        refused(site, answer, before, 422)


def _moves(good: dict[str, Any]) -> list[dict[str, Any]]:
    array = {"type": "<f8", "shape": [1]}
    return [
        {**good, "actions": {**array, "bytes": 10**11}},
        {**good, "actions": {**array, "shape": [2**62], "bytes": b""}},
        {**good, "actions": {**array, "type": "|O", "bytes": b"\0" * 8}},
        {**good, "actions": ["a" * 10**6, *[""] * 10**5]},
        {**good, "mode": [[[[]]]]},
        {**good, "mode": {}},
        {**good, "seed": [2**63]},
        {**good, "salt": "9" * 10_000},
        {**good, "call": True},
    ]


def test_no_move_and_no_state_of_a_lease_takes_the_memory_of_others(site: Site) -> None:
    wish = {"id": LEASE + site.name, "env_id": env_ids_of(site.name)[0]}
    home = f"/gym/leases/{wish['id']}"
    assert site.client.post("/gym/leases", json=wish).status_code == 201
    good = {"call": 1, "mode": [1], "actions": [0], "salt": 7, "seed": [0], "number": [0], "family": [0]}
    before, packed = site.watch.worlds(), {"Content-Type": "application/msgpack"}
    for move in _moves(good):
        with Price():
            answer = site.client.post(f"{home}/advance", content=msgpack.packb(move), headers=packed)
        refused(site, answer, before, 422)
    state = site.client.get(f"{home}/states", headers={"Accept": "application/msgpack"}).content
    sound = json.loads(msgpack.unpackb(state)["states"]["0"])
    for key, value in _unsound(sound):
        body = {"call": 1, "states": {key: value}}
        with Price():
            answer = site.client.put(f"{home}/states", content=msgpack.packb(body), headers=packed)
        refused(site, answer, before, 422)
    assert site.client.get(f"{home}/states", params={"lanes": ",".join(["0"] * 5_000)}).status_code == 200
    site.client.delete(home)


def _unsound(sound: dict[str, Any]) -> list[tuple[str, bytes]]:
    """States that compiled code must not meet, and lanes that there are not."""
    spoiled = [{**sound, "family": 10**6}, {**sound, "day": -5}, {**sound, "key": -1}]
    spoiled += [{**sound, name: []} for name, value in sound.items() if isinstance(value, list) and value]
    good = json.dumps(sound).encode()
    lanes = [("9" * 5_000, good), ("-1", good), ("1", good), ("0x0", good)]
    return [*(("0", json.dumps(one).encode()) for one in spoiled), ("0", b"\x80\x04N."), ("0", b""), *lanes]


def test_one_request_to_the_tools_is_not_a_hundred_thousand(site: Site) -> None:
    many = [{"jsonrpc": "2.0", "id": n, "method": "ping"} for n in range(100_000)]
    with Price():
        answer = site.client.post("/mcp", json=many, headers={"MCP-Protocol-Version": "2025-03-26"})
    assert answer.status_code == 400
    assert "at most 100 messages" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", SERVICES)
def test_slow_senders_keep_nobody_waiting(name: str) -> None:
    head = b"POST /worlds HTTP/1.1\r\nHost: a\r\nX-Actor: eve\r\nContent-Type: application/json\r\n"
    with served(name, "sqlite://") as server, ExitStack() as lines:
        where = httpx.URL(server.base_url)
        for _ in range(100):
            line = lines.enter_context(socket.create_connection((where.host, where.port or 80)))
            line.sendall(head + b"Content-Length: 1000000\r\n\r\n{")
        for number in range(5):
            made = httpx.post(
                f"{server.base_url}/worlds",
                json={"name": f"{number}"},
                headers={"X-Actor": "ann"},
                timeout=PATIENCE_S,
            )
            assert made.status_code == 201


@pytest.mark.parametrize("name", SERVICES)
def test_all_who_come_first_are_served(name: str, database_url: str) -> None:
    with (
        TestClient(hosted(SERVICES[name], database_url, Settings()), headers={"X-Actor": "ann"}) as client,
        ThreadPoolExecutor(8) as crowd,
    ):
        made = crowd.map(lambda n: client.post("/worlds", json={"name": f"world {n}"}), range(8))
        assert [answer.status_code for answer in made] == [201] * 8
        leases = [{"id": f"{LEASE}{n}", "env_id": env_ids_of(name)[0]} for n in range(8)]
        lent = crowd.map(lambda wish: client.post("/gym/leases", json=wish), leases)
        assert [answer.status_code for answer in lent] == [201] * 8
