"""The desk of every service, read and used without a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from tests.support.desk import Form, Page
from workgym.services import services
from workgym.services.access.roles import Person
from workgym.services.hosting import hosted
from workgym.services.kernel import InfrastructureFault
from workgym.services.pages.rendering import money, shown
from workgym.services.settings import Settings

SERVICES = services()
HOSTILE = "<script>alert(1)</script> \"&' Söhne"
BY_TRAINER = {"X-Actor": "trainer"}
MOST_PAGES = 60
NOT_BUSINESS = {"worlds", "scenario", "gym", "access"}
OPEN = Settings()
ADMIN = "an admin's own secret"


@dataclass
class Site:
    """A hosted service with a world in which something has happened."""

    client: TestClient
    world: int

    @property
    def home(self) -> str:
        return f"/desk/{self.world}"

    def get(self, path: str, status: int = 200) -> Page:
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        return Page(answer)

    def send(self, form: Form, at: str, **typed: Any) -> httpx.Response:
        fields = {**form.fields, **{name.replace("__", "."): str(value) for name, value in typed.items()}}
        return self.client.post(form.action or at, data=fields)

    def lines(self) -> list[dict[str, Any]]:
        return self.client.get(f"/worlds/{self.world}/audit").json()

    def waiting(self) -> int:
        return self.client.get(f"/worlds/{self.world}/queue").json()[0]["number"]


def begun(client: TestClient, name: str, world: str = HOSTILE) -> Site:
    opened = client.post("/worlds", json={"name": world, "seed": 3}, headers=BY_TRAINER).json()["id"]
    site = Site(client, opened)
    if name == "orders":
        client.post(f"/worlds/{opened}/start-season", headers=BY_TRAINER).raise_for_status()
    if name == "supply_chain":
        sku = client.get(f"/worlds/{opened}/stock").json()[0]["sku"]
        wish = {"link": 0, "lines": [{"sku": sku, "units": 40}]}
        client.post(f"/worlds/{opened}/purchases", json=wish, headers=BY_TRAINER).raise_for_status()
        client.post(f"/worlds/{opened}/close-day", headers=BY_TRAINER).raise_for_status()
    return site


@pytest.fixture(params=SERVICES)
def site(request) -> Iterator[Site]:
    with TestClient(hosted(SERVICES[request.param], "sqlite://", OPEN)) as client:
        yield begun(client, request.param)


@pytest.fixture
def shop(database_url) -> Iterator[Site]:
    with TestClient(hosted(SERVICES["orders"], database_url, OPEN)) as client:
        yield begun(client, "orders", "shop")


@pytest.fixture
def chain() -> Iterator[Site]:
    with TestClient(hosted(SERVICES["supply_chain"], "sqlite://", OPEN)) as client:
        yield begun(client, "supply_chain", "chain")


def crawled(site: Site) -> Iterator[Page]:
    """The pages that links lead to, one of each kind, and some more."""
    wanted, seen, kinds = ["/desk", site.home], set(), {}
    while wanted and len(seen) < MOST_PAGES:
        path = wanted.pop(0)
        kind = re.sub(r"\d+", "#", urlsplit(path).path)
        if path in seen or kinds.get(kind, 0) > 2:
            continue
        seen.add(path)
        kinds[kind] = kinds.get(kind, 0) + 1
        page = site.get(path)
        yield page
        for link in page.links:
            parts = urlsplit(link)
            if parts.path.startswith("/desk") and not parts.fragment:
                wanted.append(parts.path + (f"?{parts.query}" if parts.query else ""))


# Every page of every service


def test_every_page_has_what_a_reader_needs_and_no_script(site):
    pages = list(crawled(site))
    assert len(pages) > 12
    for page in pages:
        where = str(page.answer.url)
        assert page.title.strip(), where
        assert page.tags["h1"] == page.tags["main"] == page.tags["header"] == 1, where
        assert not page.tags["script"], where
        assert not page.foreign, where
        assert not page.nameless, where
        assert all(count == 1 for count in page.ids.values()), (where, page.ids.most_common(3))
        assert page.tags["caption"] == page.tags["table"], where
        assert all(said.strip() for form in page.forms for said in form.buttons), where


def test_no_page_allows_a_script(site):
    for page in crawled(site):
        policy = page.answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "form-action 'self'" in policy


def test_every_form_that_acts_can_be_sent_twice_and_names_a_business_verb(site):
    document = site.client.get("/openapi.json").json()
    tags = {
        told["operationId"]: told["tags"][0] for path in document["paths"].values() for told in path.values()
    }
    verbs = set()
    for page in crawled(site):
        for form in page.forms:
            if form.method == "post":
                assert form.fields["key"]
                verbs.add(form.fields["operation"])
    assert verbs
    assert not {tags[verb] for verb in verbs} & NOT_BUSINESS


def test_every_business_operation_has_a_page(site):
    document = site.client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        tags = {tag for told in methods.values() for tag in told.get("tags", ())}
        business = "/worlds/{world}/" in path and not tags & NOT_BUSINESS
        if business and "{" not in path.partition("{world}")[2]:
            site.get(path.replace("/worlds/{world}", site.home))


def test_hostile_text_is_shown_as_text(site):
    assert site.get("/desk").text.count(HOSTILE) == 1
    assert HOSTILE in site.get(site.home).title


@pytest.mark.parametrize(
    ("path", "status"),
    [("/desk/999", 404), ("/desk/x", 422), ("{home}/nonsense", 404), ("{home}/orders/99999", 404)],
)
def test_what_is_not_there_is_told_on_a_page_with_a_way_back(site, path, status):
    page = site.get(path.format(home=site.home), status)
    assert page.tags["h1"] == 1
    assert any(urlsplit(link).path == "/desk" for link in page.links)
    assert f"Status {status}" in page.text


def test_programs_are_told_of_problems_as_before(site):
    answer = site.client.get("/worlds/999")
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_root_leads_to_the_desk(site):
    assert urlsplit(str(site.client.get("/").url)).path == "/desk"


# Acting


def test_a_clerk_finds_an_order_allocates_it_and_sees_it_in_the_trail(shop):
    number = shop.waiting()
    page = shop.get(f"{shop.home}/orders?find={number}")
    assert page.title.startswith(f"Order {number}")
    done = Page(shop.send(page.form("Allocate to"), f"{shop.home}/orders/{number}"))
    assert done.answer.status_code == 200
    assert "Done: ship an order whole" in done.text
    assert "allocated" in done.text
    line = shop.lines()[0]
    assert (line["actor"], line["verb"], line["subject"]) == ("desk", "allocate", f"order/{number}")
    assert "allocate" in shop.get(f"{shop.home}/audit?subject=order/{number}").text


def test_a_double_click_acts_once(shop):
    at = f"{shop.home}/orders/{shop.waiting()}"
    form = shop.get(at).form("Hold until tomorrow")
    before = len(shop.lines())
    assert [shop.send(form, at).status_code for _ in range(3)] == [200] * 3
    assert len(shop.lines()) == before + 1


def test_a_stale_page_is_refused_with_a_sentence_and_shows_how_things_stand(shop):
    at = f"{shop.home}/orders/{shop.waiting()}"
    stale = shop.get(at).form("Cancel the order")
    shop.send(shop.get(at).form("Allocate to"), at)
    answer = shop.send(stale, at)
    page = Page(answer)
    assert answer.status_code == 409
    assert "Not done. Expected version" in " ".join(page.text.split())
    assert page.form("Cancel the order").fields["key"] != stale.fields["key"]
    assert page.form("Expedite")


def test_what_was_typed_survives_a_refusal(shop):
    at = f"{shop.home}/deliveries"
    form = shop.get(at).form("Announce a delivery")
    answer = shop.send(form, at, body__centre="Leeds", body__sku="A001", body__units="many", body__eta="3")
    assert answer.status_code == 422
    page = Page(answer)
    assert "Units" in page.text or "units" in page.text
    kept = page.form("Announce a delivery").fields
    assert (kept["body.centre"], kept["body.sku"], kept["body.eta"]) == ("Leeds", "A001", "3")
    assert Page(shop.send(page.form("Announce a delivery"), at, body__units="7")).answer.status_code == 200
    assert shop.lines()[0]["payload"]["units"] == 7


def test_a_request_of_unknown_fate_is_sent_again_with_its_key(shop, monkeypatch):
    at = f"{shop.home}/orders/{shop.waiting()}"
    form = shop.get(at).form("Hold until tomorrow")
    store = shop.client.app.state.store
    hold = store.hold

    def lost(*asked: Any, **told: Any) -> None:
        hold(*asked, **told)
        raise InfrastructureFault("the connection broke")

    monkeypatch.setattr(store, "hold", lost)
    answer = shop.send(form, at)
    assert answer.status_code == 503
    again = Page(answer).form("Hold until tomorrow")
    assert again.fields["key"] == form.fields["key"]
    monkeypatch.undo()
    before = len(shop.lines())
    shop.send(form, at).raise_for_status()
    assert len(shop.lines()) == before


def test_an_order_with_several_lines_is_placed_and_more_lines_can_be_had(chain):
    at = f"{chain.home}/purchases"
    form = chain.get(at).form("Buy from a supplier")
    skus = list(dict.fromkeys(one["sku"] for one in chain.client.get(f"/worlds/{chain.world}/stock").json()))
    typed = {"body__link": 0, "body__lines__0__sku": skus[0], "body__lines__0__units": 40}
    more = Page(chain.send(form, at, **typed, more=1)).form("Buy from a supplier")
    assert len(more.fields) > len(form.fields)
    assert more.fields["body.lines.0.sku"] == skus[0]
    answer = chain.send(more, at, body__lines__4__sku=skus[1], body__lines__4__units=42)
    assert urlsplit(str(answer.url)).path == f"{chain.home}/orders/1"
    assert Page(answer).title.startswith("Order 1")


def test_a_policy_is_set_and_its_suggestion_fills_the_order(chain):
    at = f"{chain.home}/policies"
    shelf = chain.client.get(f"/worlds/{chain.world}/stock").json()[0]
    typed = {"path__node": shelf["node"], "path__sku": shelf["sku"]}
    answer = chain.send(
        chain.get(at).form("Set a policy"), at, **typed, body__reorder_point=5000, body__base_stock=6000
    )
    assert shelf["sku"] in Page(answer).text
    link = next(link for link in chain.get(chain.home).links if "/purchases?" in link)
    filled = chain.get(link).form("Buy from a supplier").fields
    assert filled["body.lines.0.sku"] == shelf["sku"]
    assert int(filled["body.lines.0.units"]) > 0


def test_a_policy_that_changed_since_it_was_read_is_not_overwritten(chain):
    shelf = chain.client.get(f"/worlds/{chain.world}/stock").json()[0]
    policy = f"/worlds/{chain.world}/policies/{shelf['node']}/{shelf['sku']}"
    wish = {"reorder_point": 5, "base_stock": 9}
    chain.client.put(policy, json=wish, headers=BY_TRAINER).raise_for_status()
    link = next(link for link in chain.get(f"{chain.home}/policies").links if "expected_version=1" in link)
    form = chain.get(link).form("Set a policy")
    assert form.fields["body.base_stock"] == "9"
    chain.client.put(policy, json={**wish, "base_stock": 11}, headers=BY_TRAINER).raise_for_status()
    answer = chain.send(form, link, body__base_stock=10)
    assert answer.status_code == 409
    assert "expected version 1 of the policy, found 2" in answer.text.lower()


def test_a_form_of_another_site_is_refused(shop):
    at = f"{shop.home}/orders/{shop.waiting()}"
    form = shop.get(at).form("Hold until tomorrow")
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"}):
        answer = shop.client.post(at, data=form.fields, headers=headers)
        assert answer.status_code == 403
        assert Page(answer).tags["h1"] == 1
    assert shop.lines()[0]["verb"] != "hold"


@pytest.mark.parametrize("verb", ["open_world", "drop_world", "start_season", "list_orders", "", "nonsense"])
def test_a_form_cannot_ask_for_what_is_not_the_business(shop, verb):
    before = shop.lines()
    answer = shop.client.post(shop.home, data={"operation": verb, "key": "k"})
    assert answer.status_code == 404
    assert shop.lines() == before


# The trail


def test_the_trail_is_filtered_and_paged(shop):
    every = shop.get(f"{shop.home}/audit")
    assert "Lines" in every.text
    for number in range(60):
        order = {"customer": 0, "lines": [{"sku": "A001", "qty": 1}]}
        who = {"X-Actor": f"clerk {number % 2}"}
        shop.client.post(f"/worlds/{shop.world}/orders", json=order, headers=who).raise_for_status()
    first = shop.get(f"{shop.home}/audit?actor=clerk+1")
    assert "clerk 0" not in first.text
    page = shop.get(f"{shop.home}/audit?subject=order")
    older = [link for link in page.links if "before=" in link]
    assert len(older) == 1
    assert "order/" in shop.get(older[0]).text
    assert "Nothing was done yet" in shop.get(f"{shop.home}/audit?subject=order/9%25").text


# People


def signed_in(site: Site, person: Person) -> Site:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "state": {**scope.get("state", {}), "person": person}}
        await site.client.app(scope, receive, send)

    return Site(TestClient(app), site.world)


def test_a_viewer_sees_no_form_that_acts(site):
    viewer = signed_in(site, Person("vera", "viewer"))
    for page in crawled(viewer):
        assert {form.action for form in page.forms if form.method == "post"} == {"/signout"}
        assert "vera" in page.text


def test_an_operator_acts_under_their_own_name(shop):
    clerk = signed_in(shop, Person("olga", "operator"))
    at = f"{shop.home}/orders/{shop.waiting()}"
    page = clerk.get(at)
    assert page.form("Sign out").action == "/signout"
    clerk.send(page.form("Hold until tomorrow"), at).raise_for_status()
    assert shop.lines()[0]["actor"] == "olga"


def test_a_viewer_who_sends_a_form_by_hand_is_refused():
    with TestClient(hosted(SERVICES["orders"], "sqlite://", Settings(ADMIN))) as client:
        admin = {"Authorization": f"Bearer {ADMIN}"}
        world = client.post("/worlds", json={"name": "shop"}, headers=admin).json()["id"]
        minted = client.post("/tokens", json={"role": "viewer"}, headers=admin).json()
        viewer = {"Authorization": f"Bearer {minted['secret']}"}
        assert client.get(f"/desk/{world}", headers=viewer).status_code == 200
        answer = client.post(f"/desk/{world}", data={"operation": "close_day", "key": "k"}, headers=viewer)
        assert answer.status_code == 403
        assert Page(answer).tags["h1"] == 1
        assert client.get(f"/worlds/{world}", headers=admin).json()["day"] == 0


def test_whoever_is_not_signed_in_is_led_to_the_door():
    with TestClient(hosted(SERVICES["orders"], "sqlite://", Settings(ADMIN))) as client:
        page = Page(client.get("/desk"))
        assert urlsplit(str(page.answer.url)).path == "/signin"
        assert page.tags["h1"] == 1
        assert not page.nameless


# Words


@pytest.mark.parametrize(
    ("cents", "written"), [(0, "0.00"), (5, "0.05"), (-5, "−0.05"), (123456, "1,234.56"), (None, "–")]
)
def test_money_is_written_from_whole_cents(cents, written):
    assert money(cents) == written


def test_lists_within_a_cell_are_kept_apart():
    assert shown([[5, 500], [7, 300]]) == "5, 500; 7, 300"
    assert shown(["a", "b"]) == "a, b"
    assert shown([{"sku": "a", "qty": 2}]) == "sku a, qty 2"
