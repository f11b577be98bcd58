"""What a person at the desk sees and does in a real Chromium, at a desk and on a phone."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import httpx
import pytest

from tests.support.served import served

playwright = pytest.importorskip(
    "playwright.sync_api", reason="found no playwright; pip install 'workgym[test]' brings it"
)

pytestmark = pytest.mark.browser

WIDTHS = {"phone": (390, 844), "desktop": (1280, 900)}
PAGES = {
    "orders": ("", "/orders", "/orders/3", "/queue", "/deliveries", "/stock", "/ledger", "/books", "/audit"),
    "supply_chain": ("", "/stock", "/orders", "/purchases", "/shipments", "/policies", "/links", "/audit"),
}
BY_TRAINER = {"X-Actor": "trainer"}
ENDLESS = "W" * 100


class Office:
    """A service that runs, with a world in it."""

    def __init__(self, name: str, url: str) -> None:
        self.name, self.url = name, url
        self.world = self.open("Autumn")
        if name == "orders":
            self.post(f"/worlds/{self.world}/start-season")
        else:
            self.post(f"/worlds/{self.world}/close-day")

    @property
    def home(self) -> str:
        return f"{self.url}/desk/{self.world}"

    def open(self, name: str) -> int:
        return self.post("/worlds", {"name": name, "seed": 3}).json()["id"]

    def post(self, path: str, body: object = None) -> httpx.Response:
        answer = httpx.post(self.url + path, json=body, headers=BY_TRAINER, timeout=60)
        answer.raise_for_status()
        return answer


@pytest.fixture(scope="module", params=list(PAGES))
def office(request):
    with served(request.param, "sqlite://") as server:
        yield Office(request.param, server.base_url)


@pytest.fixture(scope="module")
def shop():
    with served("orders", "sqlite://") as server:
        yield Office("orders", server.base_url)


@pytest.fixture(params=list(WIDTHS))
def width(request):
    return request.param


@pytest.fixture
def desk(browser, width):
    """Opens an address and gives back the page; nothing may go wrong in the browser meanwhile."""
    complaints, opened = [], []

    def open_page(url, scheme="light"):
        size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
        page = browser.new_page(viewport=size, color_scheme=scheme)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        page.goto(url)
        opened.append(page)
        return page

    yield open_page
    for page in opened:
        page.close()
    assert not complaints


@pytest.fixture
def keep(tmp_path, width):
    """Writes a picture of a page."""

    def picture(page, name):
        path = tmp_path / f"desk-{name}-{width}.png"
        page.screenshot(path=path, full_page=True)
        if wanted := os.environ.get("WORKGYM_SCREENSHOTS"):
            Path(wanted).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, wanted)
        return path

    return picture


def overflow(page):
    """Pixels by which the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_a_clerk_searches_opens_and_allocates_an_order_and_reads_the_trail(desk, keep, shop):
    page = desk(shop.home)
    page.get_by_label("Order number or customer").fill("a")
    page.get_by_role("button", name="Find").click()
    found = page.get_by_role("region", name="Orders found")
    playwright.expect(found.get_by_role("row")).not_to_have_count(1)
    page.goto(f"{shop.home}/queue")
    page.get_by_role("region", name="To decide today").get_by_role("link").first.click()
    number = re.search(r"orders/(\d+)", page.url)[1]
    playwright.expect(page.get_by_role("heading", level=1)).to_contain_text(f"Order {number} waiting")
    page.get_by_role("button", name="Allocate to").first.dblclick()
    playwright.expect(page.get_by_role("status")).to_have_text("Done: ship an order whole.")
    playwright.expect(page.get_by_role("heading", level=1)).to_contain_text(f"Order {number} allocated")
    trail = page.get_by_role("region", name="History")
    playwright.expect(trail.get_by_role("row", name="allocate")).to_have_count(1)
    playwright.expect(trail.get_by_role("row", name="allocate")).to_contain_text("desk")
    keep(page, "allocated")
    assert overflow(page) == 0


def test_a_refusal_is_read_on_the_page_and_nothing_typed_is_lost(browser, width, keep, shop):
    size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
    page = browser.new_page(viewport=size)
    page.goto(f"{shop.home}/deliveries")
    page.get_by_label("Centre").last.select_option("Leeds")
    page.get_by_label("SKU").select_option("A002")
    page.get_by_label("Units").fill("12")
    page.get_by_label("Eta").fill("0")
    page.locator("[name='body.eta']").evaluate("one => { one.type = 'text'; one.value = 'soon' }")
    page.get_by_role("button", name="Announce a delivery").click()
    playwright.expect(page.get_by_role("alert")).to_contain_text("Not done.")
    playwright.expect(page.get_by_label("Units")).to_have_value("12")
    keep(page, "refused")
    assert overflow(page) == 0
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_the_window(desk, keep, office, scheme):
    page = desk(f"{office.url}/desk", scheme)
    keep(page, f"{office.name}-worlds-{scheme}")
    for path in PAGES[office.name]:
        page.goto(office.home + path)
        assert overflow(page) == 0, path
        keep(page, f"{office.name}{path.replace('/', '-')}-{scheme}")


def test_text_can_be_read(desk, office):
    """Text and what it stands on differ by WCAG's 4.5 to 1, in both schemes."""
    for scheme in ("light", "dark"):
        page = desk(office.home, scheme)
        assert page.evaluate(WORST_CONTRAST) >= 4.5


def test_endless_names_stay_inside_and_hostile_ones_are_text(desk, shop):
    number = shop.open(f"<script>alert(1)</script>{len(httpx.get(f'{shop.url}/worlds').json())}")
    page = desk(f"{shop.url}/desk/{number}")
    playwright.expect(page.get_by_role("heading", level=1)).to_contain_text("<script>alert(1)</script>")
    number = shop.open(ENDLESS[: 90 - len(httpx.get(f"{shop.url}/worlds").json())])
    page.goto(f"{shop.url}/desk/{number}")
    assert overflow(page) == 0
    page.goto(f"{shop.url}/desk")
    assert overflow(page) == 0


def test_everything_is_reached_by_keyboard_the_content_first(desk, office):
    page = desk(office.home)
    page.keyboard.press("Tab")
    playwright.expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


# The least contrast of any visible text with the nearest background behind it.
WORST_CONTRAST = """() => {
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const behind = one => {
    for (; one; one = one.parentElement) {
      const color = numbers(getComputedStyle(one).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  let worst = 21;
  for (const one of document.querySelectorAll('body *')) {
    const said = [...one.childNodes].some(child => child.nodeType === 3 && child.data.trim());
    if (!said || !one.checkVisibility()) continue;
    const [a, b] = [light(numbers(getComputedStyle(one).color)), light(behind(one))];
    worst = Math.min(worst, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return worst;
}"""
