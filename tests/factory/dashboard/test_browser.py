"""What a person sees in a real Chromium, on a phone and on a desk, by day and by night."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import uvicorn

from tests.factory.dashboard.conftest import trials
from workgym.factory.dashboard.server import create_app
from workgym.factory.registry import open_registry
from workgym.factory.trials import record_trials

playwright = pytest.importorskip(
    "playwright.sync_api", reason="found no playwright; pip install 'workgym[test]' brings it"
)

pytestmark = pytest.mark.browser

WIDTHS = {"phone": (390, 844), "desktop": (1280, 900)}
PAGES = {
    "overview": "/",
    "model": "/models/orders",
    "version": "/models/orders/versions/11",
    "rejected": "/models/orders/versions/12",
    "runs": "/runs",
    "run": "/runs/3",
}
HOUSE = {
    "house": "/",
    "house-model": "/models/orders",
    "house-edge": "/models/orders?release=edge&against=bytes",
    "house-version": "/models/orders/versions/4",
    "house-router": "/models/orders/versions/6",
    "house-run": "/runs/2",
}
SERVE = (
    "import sys; from pathlib import Path; from workgym.factory.dashboard.server import serve; "
    "serve(Path(sys.argv[1]), '127.0.0.1', 0, lambda url: print(url, flush=True))"
)


@pytest.fixture(scope="module")
def address(workspace):
    """Where the dashboard is, served in a process of its own until Ctrl-C."""
    command = [sys.executable, "-c", SERVE, str(workspace)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **streams, text=True) as server:
        yield server.stdout.readline().strip()
        server.send_signal(signal.SIGINT)
        assert server.communicate(timeout=60) == ("", "")
        assert server.returncode == 0


@contextmanager
def serving(folder):
    """The dashboard of another workspace, served from a thread."""
    app = create_app(lambda: open_registry(folder))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(params=list(WIDTHS))
def width(request):
    return request.param


@pytest.fixture
def look(browser, width, tmp_path):
    """Opens an address and gives back the page; nothing may go wrong in the browser meanwhile."""
    complaints = []

    def open_page(url, name, scheme="light"):
        size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
        page = browser.new_page(viewport=size, color_scheme=scheme)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        page.goto(url)
        picture = tmp_path / f"dashboard-{name}-{width}-{scheme}.png"
        page.screenshot(path=picture, full_page=True)
        if wanted := os.environ.get("WORKGYM_SCREENSHOTS"):
            Path(wanted).mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, wanted)
        return page

    yield open_page
    assert not complaints


def overflow(page):
    """Pixels by which the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_champion_and_the_rejected_variant_with_its_reason_are_seen(look, address, scheme):
    page = look(address, "overview", scheme)
    champion = page.get_by_role("region", name="champion")
    playwright.expect(champion.get_by_role("link", name="version 11")).to_be_visible()
    playwright.expect(champion).to_contain_text("against cheapest-feasible, the best rule")
    rejected = page.locator("tbody", has=page.get_by_text("rejected", exact=True)).first
    playwright.expect(rejected.get_by_role("link", name="explorer/0")).to_be_visible()
    playwright.expect(rejected.get_by_text("does not beat")).to_be_visible()
    playwright.expect(page.get_by_role("img", name="Learning curves of run 3")).to_be_visible()
    assert overflow(page) == 0


@pytest.mark.parametrize("name", list(PAGES))
def test_no_page_is_wider_than_the_window(look, address, name):
    page = look(address + PAGES[name], name)
    assert overflow(page) == 0


@pytest.mark.parametrize("name", list(HOUSE))
def test_no_page_of_a_house_is_wider_than_the_window(look, house, name):
    with serving(house) as url:
        page = look(url + HOUSE[name], name, "dark")
        for fold in page.locator("summary").all():
            fold.click()
        assert overflow(page) == 0


def test_a_mark_of_the_trade_offs_says_what_it_is_and_leads_to_its_version(look, house):
    with serving(house) as url:
        page = look(url + "/models/orders?against=bytes", "mark")
        mark = page.get_by_role("link", name="version 2, small: profit")
        drawn = mark.bounding_box()
        plot = page.get_by_role("group", name="Profit in cents per order against").bounding_box()
        assert plot["x"] - 8 <= drawn["x"] + drawn["width"] / 2 <= plot["x"] + plot["width"] + 8
        mark.click()
        playwright.expect(page.get_by_role("heading", name="Version 2")).to_be_visible()


def test_the_style_sheet_is_applied_under_the_content_security_policy(look, address):
    page = look(address, "styled")
    numerals = page.evaluate("getComputedStyle(document.body).fontVariantNumeric")
    assert "tabular-nums" in numerals
    drawn = page.locator(".plot .series line").first.evaluate("line => getComputedStyle(line).stroke")
    assert drawn not in ("none", "rgb(0, 0, 0)")


def test_passed_verdicts_unfold(look, address):
    page = look(address, "unfolded")
    said = page.get_by_text("budget 5,000 us").first
    playwright.expect(said).to_be_hidden()
    page.get_by_text("passed improvement, flips").first.click()
    playwright.expect(said).to_be_visible()


def test_everything_is_reached_by_keyboard_the_content_first(look, address):
    page = look(address, "focused")
    page.keyboard.press("Tab")
    playwright.expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    playwright.expect(page.get_by_role("heading", name="orders").get_by_role("link")).to_be_focused()


def test_endless_words_stay_inside(look, floor):
    endless = "W" * 300
    with floor.open() as registry:
        floor.work(registry, {endless: (38, 0)})
        floor.work(registry, {endless: (80, 0)}, endless)
        registry.rollback("orders", actor=endless, reason=endless)
        registry.fail_run(floor.start(registry, [endless]).id, endless)
    with serving(floor.folder) as url:
        for at, path in enumerate(["", "/models/orders", "/models/orders/versions/1", "/runs", "/runs/1"]):
            assert overflow(look(url + path, f"endless-{at}")) == 0


def test_endless_words_of_a_house_stay_inside(look, own_house):
    floor, _ = own_house
    endless = "W" * 300
    with floor.open() as registry:
        registry.reject("orders", 4, actor=endless, reason=endless)
        trial = replace(trials()[0], params={endless: endless})
        record_trials(registry.database, 2, endless, [trial])
    with serving(floor.folder) as url:
        for at, path in enumerate(["", "/models/orders", "/models/orders/versions/4", "/runs/2"]):
            assert overflow(look(url + path, f"endless-house-{at}")) == 0


def test_an_empty_registry_and_a_tampered_policy_are_seen(look, floor, tamper):
    with serving(floor.folder) as url:
        playwright.expect(look(url, "empty").get_by_text("No model yet")).to_be_visible()
        with open_registry(floor.folder) as registry:
            tamper(registry, floor.work(registry, {"steady": (38, 0)}).artifact_digest)
        notice = look(url, "tampered").get_by_text("The policy was tampered with").first
        playwright.expect(notice).to_be_visible()
