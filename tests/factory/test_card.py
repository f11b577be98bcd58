"""A card says what is known of a version and what is not, in the same bytes every time."""

from __future__ import annotations

import json

import pytest

from workgym.factory.card import FORMAT, UNKNOWN, card, to_json, to_markdown, write_card
from workgym.factory.gates import known_gates

KEYS = {
    "format",
    "model",
    "version",
    "status",
    "made_at",
    "purpose",
    "serving",
    "data",
    "made_of",
    "training",
    "results",
    "measures",
    "verdicts",
    "limits",
    "load",
}
SECTIONS = ["Trade-offs", "Data", "Training", "Results", "Verdicts", "Limits", "How to load it"]


@pytest.fixture
def database_url(tmp_path):
    """One kind of database will do: nothing here asks it anything of its own."""
    return f"sqlite:///{tmp_path}/registry.db"


@pytest.mark.slow
def test_a_card_says_everything_and_the_same_thing_twice(tiny_registry, tmp_path) -> None:
    made = card(tiny_registry, "orders", 1)
    assert made["format"] == FORMAT
    assert made.keys() == KEYS
    assert to_json(made) == to_json(card(tiny_registry, "orders", 1))
    assert [line[3:] for line in to_markdown(made).splitlines() if line.startswith("## ")] == SECTIONS
    assert made["purpose"]["description"] == "A tiny line."
    assert made["training"]["recipe"]["steps"] == 4096
    assert made["results"]["all"]["scenarios"] == 12
    assert sum(row["scenarios"] for row in made["results"]["families"].values()) == 12
    assert made["serving"][0]["serves"]
    pages = write_card(made, tmp_path / "cards")
    assert json.loads(pages[1].read_text()) == made
    assert [page.name for page in pages] == ["orders-v1.md", "orders-v1.json"]


@pytest.mark.slow
def test_what_a_card_says_of_loading_works(tiny_registry, tiny_workspace, monkeypatch) -> None:
    monkeypatch.setenv("WORKGYM_HOME", str(tiny_workspace))
    known: dict[str, object] = {}
    exec(card(tiny_registry, "orders", 1)["load"]["python"], known)
    assert callable(known["policy"].act)  # type: ignore[attr-defined]  # the snippet made it


def test_gates_that_were_not_asked_are_limits(desk, registry) -> None:
    desk.judge(desk.candidate(gates=("fidelity", "gain")))
    said = " ".join(card(registry, "orders", 1)["limits"])
    assert UNKNOWN.keys() <= known_gates().keys()
    for gate in UNKNOWN:
        assert (f"gate `{gate}` was not asked" in said) == (gate != "fidelity")


def test_a_version_that_was_registered_by_hand_has_a_card(desk, registry) -> None:
    desk.candidate()
    made = card(registry, "orders", 1)
    assert made["training"] is None
    assert "It was not trained here." in to_markdown(made)
    assert "No gate was asked." in to_markdown(made)


def test_what_is_rarer_than_the_suite_can_show_is_said(desk, registry) -> None:
    desk.candidate()
    assert "fewer than 63.2% of all scenarios" in " ".join(card(registry, "orders", 1)["limits"])  # n=3
