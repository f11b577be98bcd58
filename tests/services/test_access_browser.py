"""Signing in with a real Chromium, whose own rules about forms, cookies and origins guard the desk."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.support.served import served
from workgym.services import services
from workgym.services.access import Register
from workgym.services.settings import Settings
from workgym.services.storage import Database

playwright = pytest.importorskip(
    "playwright.sync_api", reason="found no playwright; pip install 'workgym[test]' brings it"
)

pytestmark = pytest.mark.browser

ADMIN = "an admin's own secret"
PASSWORD = "correct horse"


@pytest.fixture(params=services())
def office(request, tmp_path):
    """A service where people sign in, ann among them; the address of its only world."""
    where = f"sqlite:///{tmp_path}/office.db"
    database = Database(where)
    Register(database).add_user("ann", PASSWORD, "operator")
    database.close()
    with served(request.param, where, Settings(ADMIN)) as server:
        by_admin = {"Authorization": f"Bearer {ADMIN}"}
        opened = httpx.post(f"{server.base_url}/worlds", json={"name": "shop"}, headers=by_admin, timeout=60)
        yield server.base_url, opened.json()["id"]


@pytest.fixture
def page(browser):
    opened = browser.new_page()
    yield opened
    opened.close()


def test_a_person_signs_in_acts_and_leaves(office, page, tmp_path):
    url, world = office
    page.goto(f"{url}/desk/{world}")
    assert "/signin?next=" in page.url
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill("wrong horse")
    page.get_by_role("button", name="Sign in").click()
    assert page.get_by_role("alert").is_visible()
    page.screenshot(path=tmp_path / "signin.png")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{url}/desk/{world}")
    assert page.get_by_role("heading", level=1).is_visible()

    page.get_by_role("button", name=re.compile("Close the (day|period)")).first.click()
    page.goto(f"{url}/desk/{world}/audit")
    assert page.get_by_role("cell", name="ann", exact=True).first.is_visible()

    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{url}/signin")
    page.goto(f"{url}/desk/{world}")
    assert "/signin?next=" in page.url


def test_a_form_on_another_site_does_nothing_with_the_cookie(office, page):
    url, world = office
    page.goto(f"{url}/signin")
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{url}/desk")
    before = httpx.get(f"{url}/worlds/{world}", headers={"Authorization": f"Bearer {ADMIN}"}).json()
    page.route(
        "http://evil.example/",
        lambda route: route.fulfill(
            body=f'<form method="post" action="{url}/worlds/{world}/close-day"><button>Win</button></form>',
            content_type="text/html",
        ),
    )
    page.goto("http://evil.example/")
    with page.expect_response(f"{url}/worlds/{world}/close-day") as told:
        page.get_by_role("button", name="Win").click()
    assert told.value.status in (401, 403)
    after = httpx.get(f"{url}/worlds/{world}", headers={"Authorization": f"Bearer {ADMIN}"}).json()
    assert after == before
