"""Who asks: tokens and sessions, and the name that the audit log tells; on every database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import anyio
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text

from workgym.services import services
from workgym.services.access.guard import REMEMBERED_S, Recognition
from workgym.services.access.register import SESSION_S, Register
from workgym.services.hosting import hosted
from workgym.services.kernel import InfrastructureFault
from workgym.services.settings import Settings
from workgym.services.storage import Database

SERVICES = services()
ADMIN = "an admin's own secret"
BY_ADMIN = {"Authorization": f"Bearer {ADMIN}"}
PASSWORD = "correct horse"
HOME = "http://testserver"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def register(database_url, clock) -> Iterator[Register]:
    database = Database(database_url)
    with database.write() as tx:
        tx.connection.execute(text("CREATE TABLE worlds (id BIGINT PRIMARY KEY)"))
        tx.connection.execute(text("INSERT INTO worlds VALUES (3)"))
    yield Register(database, clock)
    database.close()


class Site(NamedTuple):
    """A hosted service with one world."""

    app: FastAPI
    client: TestClient
    world: int

    def mint(self, **wish: Any) -> dict[str, Any]:
        minted = self.client.post("/tokens", json=wish, headers=BY_ADMIN)
        assert minted.status_code == 201, minted.text
        return minted.json()

    def lines(self) -> list[dict[str, Any]]:
        return self.client.get(f"/worlds/{self.world}/audit", headers=BY_ADMIN).json()


@pytest.fixture(params=SERVICES)
def site(request, database_url) -> Iterator[Site]:
    app = hosted(SERVICES[request.param], database_url, Settings(ADMIN))
    with TestClient(app, HOME) as client:
        world = client.post("/worlds", json={"name": "shop"}, headers=BY_ADMIN).json()["id"]
        yield Site(app, client, world)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


# Tokens


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_a_token_is_its_owner(register, role):
    _, secret = register.mint(role, owner="ann")
    person = register.bearer(secret)
    assert (person.name, person.role, person.world) == ("ann", role, None)


def test_an_agent_has_a_name_of_its_own_and_one_world(register):
    token, secret = register.mint("agent", owner="ann", world=3)
    person = register.bearer(secret)
    assert (person.name, person.role, person.world) == (f"agent/{token.id}", "agent", 3)


def test_a_token_ends_when_it_was_said_to_end(register, clock):
    _, secret = register.mint("viewer", owner="ann", days=1)
    clock.now += 86400 - 1
    assert register.bearer(secret)
    clock.now += 1
    assert register.bearer(secret) is None
    assert not register.tokens()


def test_a_forged_token_is_nobody(register):
    token, secret = register.mint("viewer", owner="ann")
    other, _ = register.mint("admin", owner="ann")
    forged = [
        "",
        "wg",
        "wg_",
        secret[:-1],
        secret + "A",
        secret[:-1] + ("A" if secret[-1] != "A" else "B"),
        secret.replace(token.id, other.id),  # another's id with one's own secret
        secret.replace(token.id, "0" * 12),
        secret.replace(token.id, "%" * 12),
        f"wg_{token.id}_{'x' * 43}",
        f"wg_{token.id}_\x00",
    ]
    assert [register.bearer(one) for one in forged] == [None] * len(forged)
    assert register.bearer(secret)


def test_a_token_dies_with_its_owner(register):
    register.add_user("ann", PASSWORD, "operator")
    _, hers = register.mint("operator", owner="ann")
    _, agents = register.mint("agent", owner="ann", world=3)
    _, others = register.mint("operator", owner="bob")
    register.disable_user("ann")
    assert [bool(register.bearer(each)) for each in (hers, agents, others)] == [False, False, True]


def test_no_secret_stands_in_the_database(register):
    register.add_user("ann", PASSWORD, "operator")
    _, token = register.mint("viewer", owner="ann")
    cookie = register.sign_in("ann", PASSWORD)
    kept = []
    with register.database.read() as tx:
        for table in ("access_users", "access_tokens", "access_sessions"):
            kept += [repr(tuple(row)) for row in tx.connection.execute(text(f"SELECT * FROM {table}"))]
    assert len(kept) == 3
    for secret in (PASSWORD, token, token.rpartition("_")[2], cookie):
        assert not [row for row in kept if secret in row]


def test_a_token_that_another_process_revokes_works_for_seconds_at_most(register, clock):
    recognition = Recognition(register, ADMIN, "cookie", clock)
    token, secret = register.mint("viewer", owner="ann", days=300)
    assert anyio.run(recognition.bearer, secret)
    Register(register.database).revoke(token.id)
    clock.now += REMEMBERED_S - 0.1
    assert anyio.run(recognition.bearer, secret)
    clock.now += 0.1
    assert anyio.run(recognition.bearer, secret) is None


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        f"Basic {ADMIN}",
        ADMIN,
        f"Bearer {ADMIN}x",
        f"Bearer {ADMIN[:-1]}",
    ],
)
def test_who_is_not_recognised_is_told_how_to_sign_in(site, authorization):
    answer = site.client.get("/worlds", headers={"Authorization": authorization})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert answer.json()["reason"] == "not-signed-in"


def test_an_admin_hands_a_world_to_an_agent_and_takes_it_back(site):
    minted = site.mint(role="agent", world=site.world, days=1)
    assert minted["owner"] == "admin-token"
    audit = f"/worlds/{site.world}/audit"
    assert site.client.get(audit, headers=bearer(minted["secret"])).status_code == 200
    listed = site.client.get("/tokens", headers=BY_ADMIN).json()
    assert listed == [{key: value for key, value in minted.items() if key != "secret"}]
    assert site.client.delete(f"/tokens/{minted['id']}", headers=BY_ADMIN).status_code == 204
    assert site.client.get(audit, headers=bearer(minted["secret"])).status_code == 401
    assert site.client.delete(f"/tokens/{minted['id']}", headers=BY_ADMIN).status_code == 404


@pytest.mark.parametrize(
    ("wish", "status"),
    [
        ({"role": "agent"}, 422),
        ({"role": "viewer", "world": 1}, 422),
        ({"role": "agent", "world": 10**6}, 404),
        ({"role": "king"}, 422),
        ({"role": "viewer", "days": 0}, 422),
        ({"role": "viewer", "owner": "ann"}, 422),
    ],
)
def test_a_token_that_makes_no_sense_is_not_minted(site, wish, status):
    assert site.client.post("/tokens", json=wish, headers=BY_ADMIN).status_code == status
    assert site.client.get("/tokens", headers=BY_ADMIN).json() == []


def test_tokens_go_with_their_world_before_another_gets_its_number(site):
    secret = site.mint(role="agent", world=site.world)["secret"]
    assert site.client.get(f"/worlds/{site.world}/audit", headers=bearer(secret)).status_code == 200
    assert site.client.delete(f"/worlds/{site.world}", headers=BY_ADMIN).status_code < 300
    site.client.post("/worlds", json={"name": "next"}, headers=BY_ADMIN)
    assert site.client.get(f"/worlds/{site.world}/audit", headers=bearer(secret)).status_code == 401


# Names


def test_the_audit_log_names_who_asked_whatever_the_client_claims(site):
    agent = site.mint(role="agent", world=site.world)
    claims = [{}, {"X-Actor": "the chief"}, {"x-actor": "the chief"}]
    for claim in claims:
        path = f"/worlds/{site.world}/close-day"
        closed = site.client.post(path, headers={**bearer(agent["secret"]), **claim})
        assert closed.status_code == 200, closed.text
    path = f"/worlds/{site.world}/close-day"
    assert site.client.post(path, headers={**BY_ADMIN, "X-Actor": "ann"}).status_code == 200
    names = {line["actor"] for line in site.lines()}
    assert names == {f"agent/{agent['id']}", "admin-token"}


def test_a_request_from_within_is_permitted_by_its_person_alone(site):
    """As MCP and pages ask: the state of the scope is the server's, no client writes it."""
    from workgym.services.access import Person

    async def ask(person: Person, path: str) -> int:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            "state": {"person": person},
        }
        told = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            told.append(message.get("status"))

        await site.app(scope, receive, send)
        return told[0]

    agent = Person("agent/x", "agent", site.world)
    assert anyio.run(ask, agent, f"/worlds/{site.world}/audit") == 200
    assert anyio.run(ask, agent, f"/worlds/{site.world + 1}/audit") == 403
    assert anyio.run(ask, agent, "/worlds") == 403


# Faults and openness


def test_a_database_that_is_away_is_no_wrong_token(site, monkeypatch):
    def away(secret: str) -> None:
        raise InfrastructureFault("the database is away", "no")

    monkeypatch.setattr(site.app.state.recognition.register, "bearer", away)
    answer = site.client.get("/worlds", headers=bearer("wg_x"))
    assert answer.status_code == 503
    assert answer.json()["committed"] == "no"


@pytest.mark.parametrize("name", SERVICES)
def test_without_an_admin_token_nothing_is_installed(name, database_url):
    with TestClient(hosted(SERVICES[name], database_url, Settings())) as client:
        by_ann = {"X-Actor": "ann"}
        opened = client.post("/worlds", json={"name": "shop"}, headers=by_ann).json()
        client.post(f"/worlds/{opened['id']}/close-day", headers=by_ann)
        assert client.get(f"/worlds/{opened['id']}/audit").json()[0]["actor"] == "ann"
        assert client.get("/tokens").status_code == 404
        assert "securitySchemes" not in client.get("/openapi.json").json()["components"]


# How often


def test_a_person_who_asks_too_often_is_told_when_to_ask_again(database_url):
    settings = Settings(ADMIN, requests_per_minute={"viewer": 3})
    with TestClient(hosted(SERVICES["orders"], database_url, settings)) as client:
        one, other, operator = (
            client.post("/tokens", json={"role": role}, headers=BY_ADMIN).json()["secret"]
            for role in ("viewer", "viewer", "operator")
        )
        found = [client.get("/worlds", headers=bearer(one)) for _ in range(4)]
        assert [answer.status_code for answer in found] == [200, 200, 200, 429]
        assert 1 <= int(found[-1].headers["retry-after"]) <= 60
        assert found[-1].json()["reason"] == "too-often"
        # A second token is no second person.
        assert client.get("/worlds", headers=bearer(other)).status_code == 429
        assert {client.get("/worlds", headers=bearer(operator)).status_code for _ in range(9)} == {200}


def test_agents_and_admins_are_not_throttled_unless_somebody_says_so():
    assert set(Settings().requests_per_minute) == {"viewer", "operator"}


# Sessions


def test_a_session_is_over_after_a_working_day(register, clock):
    register.add_user("ann", PASSWORD, "viewer")
    cookie = register.sign_in("ann", PASSWORD)
    clock.now += SESSION_S - 1
    assert register.session(cookie).name == "ann"
    clock.now += 1
    assert register.session(cookie) is None


def test_a_session_ends_when_its_user_is_disabled_or_leaves(register):
    for name in ("ann", "bob"):
        register.add_user(name, PASSWORD, "viewer")
    hers, his = register.sign_in("ann", PASSWORD), register.sign_in("bob", PASSWORD)
    register.disable_user("ann")
    assert register.session(hers) is None
    assert register.session(his).name == "bob"
    register.sign_out(his)
    assert register.session(his) is None


def test_name_and_password_must_belong_together(register):
    register.add_user("ann", PASSWORD, "viewer")
    wrong = [("ann", "wrong horse"), ("bob", PASSWORD), ("", ""), ("a\x00n", PASSWORD), ("ann", "\ud800")]
    assert [register.sign_in(*each) for each in wrong] == [None] * len(wrong)
    assert register.sign_in("ann", PASSWORD)
