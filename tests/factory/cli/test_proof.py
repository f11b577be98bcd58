"""The commands of proof say what they did, and what is wrong in one line with a stable exit code."""

from __future__ import annotations

import json
import sqlite3

import pytest

from tests.factory.conftest import Desk, Ticking
from tests.support.workspace import bless
from workgym.factory.artifacts import ArtifactStore
from workgym.factory.registry import Registry, open_registry

NOBODY = "no model named 'order'; did you mean 'orders'"
WRONG = [
    (["verify", "--model", "order"], 2, NOBODY),
    (["verify", "--head", "f" * 64], 7, "it was cut short or written anew"),
    (["verify", "--haed", "x"], 2, "No such option"),
    (["protect", "order"], 2, NOBODY),
    (["protect", "orders", "--approvals", "-1"], 2, "Invalid value for '--approvals'"),
    (["protect", "orders", "--alias", "No!"], 2, "expected a alias name"),
    (["protect", "orders", "--approvals", "0"], 5, "protected by 0 already"),
    (["approve", "order", "1", "--reason", "x"], 2, NOBODY),
    (["approve", "orders", "9", "--reason", "x"], 2, "versions 1 to 2"),
    (["approve", "orders", "2"], 2, "Missing option '--reason'"),
    (["approve", "orders", "2", "--reason", "x", "--alias", "edge"], 5, "asks for nobody's approval"),
    (["reject", "order", "1", "--reason", "x"], 2, NOBODY),
    (["reject", "orders", "nine", "--reason", "x"], 2, "Invalid value for"),
    (["reject", "orders", "9", "--reason", "x"], 2, "versions 1 to 2"),
    (["reject", "orders", "2", "--reason", "x", "--alias", "edge"], 5, "asks for nobody's approval"),
    (["lineage", "order", "1"], 2, NOBODY),
    (["lineage", "orders", "9"], 2, "versions 1 to 2"),
    (["lineage", "orders", "1", "--dto"], 2, "No such option"),
    (["explain", "order", "1"], 2, NOBODY),
    (["explain", "orders", "0"], 2, "Invalid value for"),
    (["explain", "orders", "9"], 2, "versions 1 to 2"),
    (["explain", "orders", "1", "--alias", "chmapion"], 2, "did you mean 'champion'"),
    (["flips", "order", "1", "2"], 2, NOBODY),
    (["flips", "orders", "1", "9"], 2, "versions 1 to 2"),
    (["flips", "orders", "1"], 2, "Missing argument"),
    (["flips", "orders", "1", "2"], 2, "registered by hand"),
    (["replay", "order", "1", "--family", "normal", "--seed", "1"], 2, NOBODY),
    (["replay", "orders", "9", "--family", "normal", "--seed", "1"], 2, "versions 1 to 2"),
    (["replay", "orders", "1", "--family", "normal"], 2, "Missing option '--seed'"),
    (["replay", "orders", "1", "--family", "normal", "--seed", "-1"], 2, "Invalid value for '--seed'"),
    (["card", "order", "1"], 2, NOBODY),
    (["card", "orders", "9"], 2, "versions 1 to 2"),
    (["card", "orders", "1", "--too", "x"], 2, "No such option"),
    (["reproduce", "order"], 2, NOBODY),
    (["reproduce", "orders", "9"], 2, "versions 1 to 2"),
    (["reproduce", "orders", "1"], 2, "was not trained here"),
    (["reproduce", "orders", "0"], 2, "Invalid value for"),
]


@pytest.fixture
def home(tmp_path):
    """A workspace whose version 1 serves and whose version 2 has passed."""
    url = f"sqlite:///{tmp_path}/registry.db"
    with Registry(url, ArtifactStore(tmp_path / "artifacts"), Ticking()) as registry:
        desk = Desk(registry, url)
        desk.champions(1)
        desk.blessed()
    return tmp_path


@pytest.mark.parametrize(("arguments", "code", "sentence"), WRONG)
def test_wrong_arguments_get_one_line_and_a_stable_code(factory, home, arguments, code, sentence) -> None:
    told = factory(*arguments, home=home)
    assert told.code == code, told
    assert sentence in told.line
    assert "Traceback" not in told.err


def test_verify_prints_the_head_and_finds_it_again(factory, home) -> None:
    head = factory("verify", "--json", home=home).json["head"]
    told = factory("verify", "--head", str(head), home=home)
    assert told.code == 0
    assert "Everything holds." in told.out
    assert f"factory verify --head {head}" in told.out


def test_verify_names_the_first_place_that_does_not_hold(factory, home) -> None:
    with sqlite3.connect(home / "registry.db") as connection:
        connection.execute("DROP TRIGGER history_update")
        connection.execute("UPDATE history SET actor = 'Mallory'")
    told = factory("verify", "--json", home=home)
    assert told.code == 7
    assert not told.json["sound"]
    assert "move orders@champion to generation 1: not as line 1 of the ledger says" in told.line


def test_a_protected_alias_waits_for_a_person_who_is_named(factory, home) -> None:
    assert factory("protect", "orders", "--reason", "money", home=home).code == 0
    told = factory("promote", "orders", "2", home=home)
    assert (told.code, "waits for 1 more person" in told.line) == (5, True)
    told = factory("approve", "orders", "2", "--reason", "fine", home=home, actor="Bob")
    assert told.out.startswith("Bob approved orders version 2 for champion: 1 of 1.")
    assert factory("promote", "orders", "2", home=home).code == 0
    with open_registry(home) as registry:
        said = [(line.kind, line.payload["actor"]) for line in registry.ledger()]
    assert said == [("move", "Ada"), ("protect", "Ada"), ("approve", "Bob"), ("move", "Ada")]


def test_a_rejected_version_is_refused(factory, home) -> None:
    factory("protect", "orders", home=home)
    told = factory("reject", "orders", "2", "--reason", "no", "--json", home=home, actor="Eve")
    assert told.json["decision"] == "reject"
    told = factory("promote", "orders", "2", home=home)
    assert (told.code, "Eve rejected orders version 2" in told.line) == (5, True)


def test_explain_says_what_it_takes(factory, home) -> None:
    told = factory("explain", "orders", "2", home=home)
    assert "`factory gate orders 2` asks again" in told.out or "lets it serve" in told.out
    assert factory("explain", "orders", "1", "--json", home=home).json["serves"]


def test_lineage_is_text_json_and_dot(factory, home) -> None:
    assert "ledger" in factory("lineage", "orders", "1", home=home).out
    assert factory("lineage", "orders", "1", "--dot", home=home).out.startswith("digraph ")
    found = json.loads(factory("lineage", "orders", "1", "--json", home=home).out)
    assert {"pipeline", "code", "env", "suite", "artifact"} <= {node["id"] for node in found["nodes"]}


def test_a_card_is_printed_or_written(factory, home, tmp_path) -> None:
    assert factory("card", "orders", "1", home=home).out.startswith("# orders version 1")
    told = factory("card", "orders", "1", "--to", str(tmp_path / "cards"), "--json", home=home)
    files = told.json["files"]
    assert files == [str(tmp_path / "cards" / name) for name in ("orders-v1.md", "orders-v1.json")]


@pytest.mark.slow
def test_flips_replay_and_reproduce_on_a_real_model(factory, own_workspace) -> None:
    told = factory(
        "flips", "orders", "cheapest-feasible", "champion", "--family", "normal", home=own_workspace
    )
    assert "replay" in told.out
    told = factory("replay", "orders", "1", "--family", "normal", "--seed", "3", home=own_workspace)
    assert "decisions; day 10" in told.out
    wrong = factory("replay", "orders", "1", "--family", "nromal", "--seed", "3", home=own_workspace)
    assert (wrong.code, "did you mean 'normal'" in wrong.line) == (2, True)
    wrong = factory(
        "replay", "orders", "1", "--family", "normal", "--seed", "3", "--split", "gaet", home=own_workspace
    )
    assert (wrong.code, "did you mean 'gate'" in wrong.line) == (2, True)
    told = factory("reproduce", "orders", home=own_workspace)
    assert (told.code, "bit for bit" in told.out) == (0, True)
    assert "chunk 2 of 2 trained again" in told.err


@pytest.mark.slow
def test_a_real_registry_is_proved_before_and_after_a_rollback(factory, own_workspace) -> None:
    assert factory("verify", home=own_workspace).code == 0
    with open_registry(own_workspace) as registry:
        bless(registry, 2)
    assert factory("promote", "orders", "2", home=own_workspace).code == 0
    assert factory("rollback", "orders", home=own_workspace).code == 0
    assert factory("verify", "--model", "orders", "--json", home=own_workspace).json["sound"]
