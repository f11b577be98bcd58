"""Signing in with a browser: the form, the cookie, and what another site cannot do with it."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient

from workgym.services import services
from workgym.services.access.limits import SIGN_IN_MINUTES, TRIES_BY_ADDRESS, TRIES_BY_NAME, Allowance
from workgym.services.access.signin import local
from workgym.services.hosting import hosted
from workgym.services.settings import Settings

SERVICES = services()
ADMIN = "an admin's own secret"
BY_ADMIN = {"Authorization": f"Bearer {ADMIN}"}
PASSWORD = "correct horse"
HERE = "http://testserver"
OWN = {"Origin": HERE}


@pytest.fixture(scope="module", params=SERVICES)
def app(request) -> FastAPI:
    app = hosted(SERVICES[request.param], "sqlite://", Settings(ADMIN))
    for name, role in (("ann", "operator"), ("vic", "viewer")):
        app.state.recognition.register.add_user(name, PASSWORD, role)
    return app


@pytest.fixture
def browser(app) -> TestClient:
    """Somebody with no cookie yet."""
    return TestClient(app, HERE, follow_redirects=False)


@pytest.fixture(scope="module")
def world(app) -> int:
    opened = TestClient(app).post("/worlds", json={"name": "shop"}, headers=BY_ADMIN)
    return opened.json()["id"]


@pytest.fixture(scope="module")
def cookies(app) -> dict[str, str]:
    """Of a session of ann: it takes a third of a second to get one."""
    browser = TestClient(app, HERE, follow_redirects=False)
    assert sign_in(browser).status_code == 303
    return dict(browser.cookies)


@pytest.fixture
def signed_in(browser, cookies) -> TestClient:
    browser.cookies.update(cookies)
    return browser


def sign_in(browser: TestClient, name: str = "ann", password: str = PASSWORD, **more):
    form = {"name": name, "password": password, **more.pop("form", {})}
    return browser.post("/signin", data=form, headers=more.pop("headers", OWN))


class Controls(HTMLParser):
    """The inputs of a page, and how many stand in a label."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.inputs: list[dict[str, str | None]] = []
        self.labelled = 0
        self.scripts = 0
        self._open = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open += tag == "label"
        self.scripts += tag == "script"
        if tag == "input" and dict(attrs)["type"] != "hidden":
            self.labelled += bool(self._open)
        if tag == "input":
            self.inputs.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        self._open -= tag == "label"


def test_the_form_asks_for_name_and_password_without_a_script(browser):
    page = browser.get("/signin")
    assert page.status_code == 200
    controls = Controls(page.text)
    assert [one["name"] for one in controls.inputs] == ["next", "name", "password"]
    assert controls.labelled == 2
    assert not controls.scripts
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(app, scheme):
    browser = TestClient(app, f"{scheme}://testserver", follow_redirects=False)
    answer = sign_in(browser, headers={"Origin": f"{scheme}://testserver"})
    attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}
    assert {"httponly", "samesite=lax", "path=/"} <= attributes
    assert ("secure" in attributes) == (scheme == "https")


def test_a_person_acts_under_their_name_once_signed_in(signed_in, world):
    closed = signed_in.post(f"/worlds/{world}/close-day", headers={**OWN, "X-Actor": "the chief"})
    assert closed.status_code == 200
    assert signed_in.get(f"/worlds/{world}/audit").json()[0]["actor"] == "ann"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[evil"}, 403),
        ({"Origin": f"{HERE}.evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", **OWN}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        (OWN, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_a_cookie_acts_only_for_pages_of_this_server(signed_in, world, headers, status):
    before = len(signed_in.get(f"/worlds/{world}/audit?limit=1000").json())
    answer = signed_in.post(f"/worlds/{world}/close-day", headers=headers)
    assert answer.status_code in (status, 409 if status == 200 else status)
    after = len(signed_in.get(f"/worlds/{world}/audit?limit=1000").json())
    assert (after > before) == (answer.status_code == 200)


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://evil.example"}])
def test_another_site_can_neither_sign_somebody_in_nor_out(signed_in, headers, world):
    assert sign_in(signed_in, "vic", headers=headers).status_code == 403
    assert signed_in.post("/signout", headers=headers).status_code == 403
    assert signed_in.get(f"/worlds/{world}/audit").status_code == 200


def test_who_signs_out_is_out_at_once_even_with_the_old_cookie(browser, world):
    sign_in(browser)
    cookies = dict(browser.cookies)
    path = f"/worlds/{world}/audit"
    assert browser.get(path).status_code == 200
    answer = browser.post("/signout", headers=OWN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/signin")
    assert not browser.cookies
    browser.cookies.update(cookies)
    assert browser.get(path).status_code == 401


def test_a_forged_cookie_is_nobody(browser, app, world):
    browser.cookies.set(app.state.recognition.cookie, "x" * 43)
    assert browser.get(f"/worlds/{world}/audit").status_code == 401


def test_a_wrong_token_is_not_saved_by_a_good_cookie(signed_in, world):
    answer = signed_in.get(f"/worlds/{world}/audit", headers={"Authorization": "Bearer x"})
    assert answer.status_code == 401


def test_two_services_on_one_host_keep_their_cookies_apart():
    hosts = [hosted(each, "sqlite://", Settings(ADMIN)) for each in SERVICES.values()]
    assert len({app.state.recognition.cookie for app in hosts}) == len(hosts)


# Where to


def test_a_browser_is_led_to_the_form_and_back(browser):
    led = browser.get("/desk/3?x=1&y=a%20b")
    assert led.status_code == 303
    assert led.headers["location"] == "/signin?next=%2Fdesk%2F3%3Fx%3D1%26y%3Da%2520b"
    wanted = Controls(browser.get(led.headers["location"]).text).inputs[0]["value"]
    assert sign_in(browser, form={"next": wanted}).headers["location"] == "/desk/3?x=1&y=a%20b"


@pytest.mark.parametrize(
    "target",
    [
        "",
        "desk",
        "http://evil.example/",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "javascript:alert(1)",
        " /desk",
        "/\u2028evil",
        "/desk\r\nSet-Cookie: a=b",
        "//[evil",
        "/desk page",
    ],
)
def test_nobody_is_led_to_another_site(browser, target):
    assert local(target) == "/desk"
    shown = browser.get("/signin", params={"next": target})
    assert Controls(shown.text).inputs[0]["value"] == "/desk"


def test_a_form_that_was_tampered_with_leads_nobody_to_another_site(browser):
    assert sign_in(browser, form={"next": "//evil.example"}).headers["location"] == "/desk"


@pytest.mark.parametrize("target", ["/", "/desk/3", "/desk/3/orders?late=on&after=7#top"])
def test_a_path_of_this_server_is_kept(target):
    assert local(target) == target


# Guessing


def test_a_wrong_password_is_told_without_telling_which_names_there_are(browser):
    known, unknown = (sign_in(browser, name, "wrong horse") for name in ("ann", "zoe"))
    assert known.status_code == unknown.status_code == 401
    assert known.text.replace("ann", "zoe") == unknown.text
    assert "set-cookie" not in known.headers


def test_what_was_typed_comes_back_as_text(browser):
    page = sign_in(browser, "<script>alert(1)</script>", "wrong horse")
    assert "<script>" not in page.text
    assert "&lt;script&gt;" in page.text


def test_an_unknown_name_takes_as_long_as_a_known_one(browser):
    seconds = {}
    for name in ("vic", "yan"):
        begun = time.perf_counter()
        sign_in(browser, name, "wrong horse")
        seconds[name] = time.perf_counter() - begun
    assert seconds["yan"] > seconds["vic"] / 20  # without hashing it is a hundredth


def test_guessing_a_password_ends_even_with_the_right_one(browser, app):
    app.state.recognition.register.add_user("eve", PASSWORD, "viewer")
    for _ in range(TRIES_BY_NAME):
        assert sign_in(browser, "eve", "wrong horse").status_code == 401
    answer = sign_in(browser, "eve")
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60 * SIGN_IN_MINUTES
    assert "set-cookie" not in answer.headers


def test_one_address_cannot_try_one_password_with_every_name():
    allowance = Allowance({})
    for i in range(TRIES_BY_ADDRESS):
        allowance.attempt(f"user{i}", "192.0.2.1")
    with pytest.raises(HTTPException) as refusal:
        allowance.attempt("another", "192.0.2.1")
    assert refusal.value.status_code == 429
    allowance.attempt("another", "192.0.2.2")


def test_who_knows_the_password_starts_afresh():
    allowance = Allowance({})
    for _ in range(3):
        for i in range(TRIES_BY_NAME):
            allowance.attempt("ann", f"192.0.2.{i}")
        allowance.succeeded("ann")


# Pages


def test_a_viewer_sees_pages_and_sends_no_form(browser, world):
    sign_in(browser, "vic")
    assert browser.get("/desk").status_code == 200
    refused = browser.post(f"/desk/{world}/close-day", headers=OWN)
    assert refused.status_code == 403
    assert refused.headers["content-type"].startswith("text/html")
    assert "vic" in refused.text


def test_an_agent_has_no_desk(app, world):
    client = TestClient(app)
    wish = {"role": "agent", "world": world}
    secret = client.post("/tokens", json=wish, headers=BY_ADMIN).json()["secret"]
    assert client.get("/desk", headers={"Authorization": f"Bearer {secret}"}).status_code == 403
