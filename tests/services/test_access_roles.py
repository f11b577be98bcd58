"""Who may do what, over every operation of every service, and over whatever is mounted beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from workgym.services import services
from workgym.services.access import declare
from workgym.services.hosting import hosted
from workgym.services.settings import Settings

SERVICES = services()
ADMIN = "an admin's own secret"
ROLES = ("nobody", "viewer", "operator", "agent", "admin")
OPEN_TO_ALL = ("health", "public")
FOR_ADMINS = ("scenario", "gym", "access")


class Site(NamedTuple):
    """A hosted service with one world, and what each role signs in with."""

    app: FastAPI
    client: TestClient
    world: int
    headers: dict[str, dict[str, str]]


@pytest.fixture(scope="module", params=SERVICES)
def site(request) -> Iterator[Site]:
    app = hosted(SERVICES[request.param], "sqlite://", Settings(ADMIN, requests_per_minute={}))
    # Without it a test that asks for a page would be led away instead of told.
    with TestClient(app, follow_redirects=False, raise_server_exceptions=False) as client:
        admin = {"Authorization": f"Bearer {ADMIN}"}
        world = client.post("/worlds", json={"name": "shop"}, headers=admin).json()["id"]
        headers = {"nobody": {}, "admin": admin}
        for role in ("viewer", "operator", "agent"):
            wish = {"role": role, "world": world if role == "agent" else None}
            minted = client.post("/tokens", json=wish, headers=admin)
            headers[role] = {"Authorization": f"Bearer {minted.json()['secret']}"}
        yield Site(app, client, world, headers)


def may(role: str, method: str, tag: str) -> bool:
    """What the roles mean, told in another way than `roles.GRANTS` tells it."""
    reads = method == "GET"
    if tag in OPEN_TO_ALL or role == "admin":
        return True
    if role == "nobody" or tag in FOR_ADMINS:
        return False
    if tag in ("worlds", "telemetry"):
        return reads and role != "agent"
    if tag == "pages":
        return role == "operator" or (reads and role == "viewer")
    return reads or role != "viewer" or tag == "mcp"


def operations(app: FastAPI) -> list[tuple[str, str, str]]:
    return [
        (method, route.path_format, route.tags[0])
        for route in iter_route_contexts(app.router.routes)
        if isinstance(route.original_route, APIRoute)
        for method in sorted(route.methods)
    ]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_the_table_says_and_nothing_else(site, role):
    listed = operations(site.app)
    assert {"worlds", "health", "access"} < {tag for _, _, tag in listed}
    wrong = []
    for method, path, tag in listed:
        world = 10**6 if tag == "worlds" and method == "DELETE" else site.world
        filled = re.sub(r"{\w+}", "0", path.replace("{world}", str(world)))
        status = site.client.request(method, filled, headers=site.headers[role]).status_code
        led_away = status == 303 and role == "nobody"
        told = status not in (401, 403) and not led_away
        if tag == "public":
            continue  # sign-in answers for itself
        if told != may(role, method, tag):
            wrong.append((method, path, tag, status))
    assert not wrong


def business(site: Site) -> list[tuple[str, str]]:
    others = (*OPEN_TO_ALL, *FOR_ADMINS, "worlds", "telemetry", "pages", "mcp")
    return [(method, path) for method, path, tag in operations(site.app) if tag not in others]


def test_an_agent_meets_no_other_world_and_does_not_learn_which_there_are(site):
    admin, agent = site.headers["admin"], site.headers["agent"]
    other = site.client.post("/worlds", json={"name": "other"}, headers=admin).json()["id"]
    for method, path in business(site):
        answers = []
        for world in (str(other), str(10**6), f"0{site.world}", f"+{site.world}", "x"):
            filled = re.sub(r"{\w+}", "0", path.replace("{world}", world))
            answer = site.client.request(method, filled, headers=agent)
            answers.append((answer.status_code, answer.text))
        assert answers[0][0] == 403
        assert len(set(answers)) == 1, path
    site.client.delete(f"/worlds/{other}", headers=admin)


@pytest.mark.parametrize("role", ["agent", "operator", "viewer"])
def test_only_an_admin_bends_a_world_itself(site, role):
    bending = [
        ("POST", "/worlds"),
        ("DELETE", "/worlds/{world}"),
        ("PUT", "/worlds/{world}/snapshot"),
        ("POST", "/worlds/{world}/fork"),
        ("POST", "/gym/leases"),
        ("POST", "/tokens"),
    ]
    there = [(method, path) for method, path, _ in operations(site.app)]
    days = [(method, path) for method, path, tag in operations(site.app) if tag == "scenario"]
    for method, path in [*bending, *days]:
        assert (method, path) in there
        filled = path.replace("{world}", str(site.world))
        answer = site.client.request(method, filled, headers=site.headers[role])
        assert answer.status_code == 403, path
        assert answer.json()["reason"] == "not-permitted"
        assert answer.headers["content-type"] == "application/problem+json"


def test_an_agent_reads_no_snapshot(site):
    path = f"/worlds/{site.world}/snapshot"
    assert site.client.get(path, headers=site.headers["agent"]).status_code == 403


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/healthz", "/signin"])
def test_what_nobody_has_to_sign_in_for(site, path):
    assert site.client.get(path).status_code == 200


def test_a_path_where_nothing_is_tells_nobody_so_before_they_sign_in(site):
    assert site.client.get("/nothing/here").status_code == 401
    assert site.client.get("/nothing/here", headers=site.headers["viewer"]).status_code == 404
    assert site.client.patch("/worlds", headers=site.headers["viewer"]).status_code == 405


def test_openapi_tells_how_to_sign_in_and_how_it_is_refused(site):
    document = site.app.openapi()
    assert set(document["components"]["securitySchemes"]) == {"token", "session"}
    assert document["components"]["securitySchemes"]["session"]["in"] == "cookie"
    for path, item in document["paths"].items():
        for method, operation in item.items():
            guarded = operation["tags"][0] not in OPEN_TO_ALL
            assert ("security" in operation) == guarded, path
            assert ({"401", "403", "429"} <= set(operation["responses"])) == guarded, (method, path)
            assert "x-actor" not in {one["name"].lower() for one in operation.get("parameters", ())}


# What is mounted beside the operations


async def annex(scope, receive, send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})
        return
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture(scope="module")
def extended() -> Iterator[Site]:
    """A service of its own with more mounted beside it."""
    app = hosted(next(iter(SERVICES.values())), "sqlite://", Settings(ADMIN))
    app.mount("/hidden", annex)
    app.mount("/shown", annex)
    declare(app, "/shown", "telemetry")
    declare(app, "/shown/free", "public")

    @app.websocket("/socket")
    async def answer(socket: WebSocket) -> None:
        await annex(socket.scope, socket.receive, socket.send)

    admin = {"Authorization": f"Bearer {ADMIN}"}
    with TestClient(app) as client:
        minted = client.post("/tokens", json={"role": "viewer"}, headers=admin).json()["secret"]
        headers = {"nobody": {}, "viewer": {"Authorization": f"Bearer {minted}"}, "admin": admin}
        yield Site(app, client, 0, headers)


@pytest.mark.parametrize(
    ("path", "nobody", "viewer", "admin"),
    [
        ("/hidden/x", 401, 403, 204),
        ("/shown/x", 401, 204, 204),
        ("/shown/free/x", 204, 204, 204),
        ("/shown/freedom", 401, 204, 204),
    ],
)
def test_what_is_mounted_is_for_whom_it_was_declared_and_else_for_admins(
    extended, path, nobody, viewer, admin
):
    found = [
        extended.client.get(path, headers=extended.headers[role]).status_code for role in extended.headers
    ]
    assert found == [nobody, viewer, admin]


@pytest.mark.parametrize(("role", "status"), [("nobody", 401), ("viewer", 403)])
def test_a_websocket_is_refused_like_a_request(extended, role, status):
    refused = pytest.raises(WebSocketDenialResponse)
    headers = extended.headers[role]
    with refused as denial, extended.client.websocket_connect("/socket", headers=headers):
        pass
    assert denial.value.status_code == status


def test_an_admin_may_open_a_websocket(extended):
    with extended.client.websocket_connect("/socket", headers=extended.headers["admin"]) as socket:
        assert socket.receive()["code"] == 1000
