"""A service that brings no page of its own has a desk all the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

import pytest
from fastapi import APIRouter, FastAPI, Path, Query
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field
from sqlalchemy import Column, MetaData, Table, Text

from tests.support.desk import Page
from workgym.services.audit import append, audit_table
from workgym.services.kernel import Conflict, NotFound, Refused, Service
from workgym.services.pages import pages
from workgym.services.rest import ACT, CHANGE, READ, Actor, Key, Request, WorldId, one_of, rest_application
from workgym.services.settings import Settings
from workgym.services.storage import SERIAL, Database, Transaction
from workgym.services.worlds import WorldStore

Number = Annotated[int, Path(ge=0, le=129)]
Only = Annotated[str | None, Query(description="Where they stand")]
LAUNDRY = Service("laundry", "Laundry", "not:needed")


class World(BaseModel):
    id: int
    name: str
    day: int


class Machine(BaseModel):
    number: int
    state: str
    price_cents: int
    version: int


class Load(Request):
    kind: str = Field(description="What is washed", json_schema_extra=one_of(("linen", "wool")))
    kilos: int = Field(ge=1, le=20)
    express: bool = False
    expected_version: int | None = None


class Laundry(WorldStore):
    """Washes in memory, and keeps its audit trail like every service."""

    def __init__(self) -> None:
        self.database = Database("sqlite://")
        self.metadata = metadata = MetaData()
        Table("worlds", metadata, Column("id", SERIAL, primary_key=True), Column("name", Text))
        audit_table(metadata)
        self.database.create(metadata)
        with self.database.write() as tx:
            tx.connection.exec_driver_sql("INSERT INTO worlds VALUES (1, 'soap')")
        self.machines = [Machine(number=i, state="idle", price_cents=250 * i, version=0) for i in range(130)]
        self.loads: list[dict[str, Any]] = []

    def worlds(self) -> list[World]:
        return [self.world(1)]

    def world(self, world: int) -> World:
        if world != 1:
            raise NotFound(f"no world with id {world}")
        return World(id=1, name="soap", day=0)

    @staticmethod
    def _see(tx: Transaction, ids: Sequence[int]) -> None:
        """There is one, and it is always there."""

    _take = _see

    def fill(self, number: int, load: Load, actor: str, key: str | None) -> Machine:
        machine = self.machines[number]
        if load.expected_version not in (None, machine.version):
            raise Conflict("the machine changed since it was read")
        if machine.state != "idle":
            raise Refused("the machine is running")
        machine.state, machine.version = "running", machine.version + 1
        self.loads.append({**load.model_dump(), "key": key})
        with self.database.write() as tx:
            append(tx, [(1, 0, actor, "fill", f"machine/{number}", '{"kilos": 3}')])
        return machine


def laundry() -> FastAPI:
    store = Laundry()
    floor = APIRouter(prefix="/worlds/{world}", tags=["floor"])

    @floor.get("/machines", summary="List machines", response_model=list[Machine], responses=READ)
    def list_machines(world: WorldId, state: Only = None) -> list[Machine]:
        return [one for one in store.machines if state in (None, one.state)]

    @floor.get("/machines/{number}", summary="Read a machine", response_model=Machine, responses=READ)
    def read_machine(world: WorldId, number: Number) -> Machine:
        return store.machines[number]

    @floor.post("/machines/{number}/fill", summary="Fill a machine", response_model=Machine, responses=CHANGE)
    def fill_machine(world: WorldId, number: Number, load: Load, actor: Actor, key: Key = None) -> Machine:
        return store.fill(number, load, actor, key)

    @floor.post("/close", summary="Close the shop", response_model=World, responses=ACT)
    def close_shop(world: WorldId, actor: Actor, key: Key = None) -> World:
        raise Refused("customers are still waiting")

    app = rest_application(store, [floor], world=World, title="Laundry", about="", tags=[], reasons={})
    pages(app, LAUNDRY, Settings())
    return app


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(laundry()) as client:
        yield client


def test_its_lists_are_tables_that_lead_to_records(client):
    page = Page(client.get("/desk/1/machines"))
    assert page.tags["table"] == page.tags["h1"] == 1
    assert "2.50" in page.text
    assert any(link.endswith("/desk/1/machines/7") for link in page.links)
    assert any("start=50" in link for link in page.links)
    assert "Version" not in page.text


def test_its_lists_are_searched(client):
    assert "Nothing here" in Page(client.get("/desk/1/machines?state=running")).text


def test_its_verbs_are_forms_on_the_record(client):
    page = Page(client.get("/desk/1/machines/7"))
    form = page.form("Fill a machine")
    assert form.fields["body.expected_version"] == "0"
    assert form.fields["path.number"] == "7"
    assert not page.nameless
    sent = {**form.fields, "body.kind": "wool", "body.kilos": "3", "body.express": "on"}
    done = Page(client.post("/desk/1/machines/7", data=sent))
    assert "Done: fill a machine" in done.text
    assert urlsplit(str(done.answer.url)).path == "/desk/1/machines/7"
    assert "desk" in done.text  # who acted, in the record's history
    (load,) = client.app.state.store.loads
    assert load == {
        "kind": "wool",
        "kilos": 3,
        "express": True,
        "expected_version": 0,
        "key": form.fields["key"],
    }


def test_its_refusals_keep_what_was_typed(client):
    form = Page(client.get("/desk/1/machines/7")).form("Fill a machine")
    sent = {**form.fields, "body.kind": "wool", "body.kilos": "99"}
    page = Page(client.post("/desk/1/machines/7", data=sent))
    assert page.answer.status_code == 422
    assert "Not done" in page.text
    assert page.form("Fill a machine").fields["body.kilos"] == "99"
    assert page.form("Fill a machine").fields["body.kind"] == "wool"


def test_a_verb_of_the_whole_world_has_a_page_and_a_place_on_the_overview(client):
    assert Page(client.get("/desk/1")).form("Close the shop")
    form = Page(client.get("/desk/1/close")).form("Close the shop")
    page = Page(client.post("/desk/1/close", data=form.fields))
    assert page.answer.status_code == 409
    assert "Customers are still waiting." in page.text


def test_its_trail_is_shown(client):
    form = Page(client.get("/desk/1/machines/7")).form("Fill a machine")
    client.post("/desk/1/machines/7", data={**form.fields, "body.kind": "wool", "body.kilos": "3"})
    assert "machine/7" in Page(client.get("/desk/1/audit?subject=machine")).text
