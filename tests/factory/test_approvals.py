"""A protected alias moves only after different people said yes, and nobody said no."""

from __future__ import annotations

import pytest

from tests.factory.conftest import Desk
from workgym.factory.approvals import Unapproved
from workgym.factory.proof import verify
from workgym.factory.registry import Registry, Stale
from workgym.services.kernel import BadInput, Conflict, NotFound, Refused


@pytest.fixture
def guarded(desk: Desk) -> Desk:
    """A desk whose champion is protected by two people."""
    desk.champions(1)
    desk.registry.protect("orders", "champion", 2, actor="Ada", reason="it moves money")
    return desk


def approve(registry: Registry, version: int, *people: str) -> None:
    for one in people:
        registry.approve("orders", version, actor=one, reason="I looked at it")


def test_a_version_waits_until_enough_different_people_approved(guarded: Desk) -> None:
    version = guarded.blessed()
    with pytest.raises(Unapproved, match=r"waits for 2 more people .*factory approve orders 2 ") as waits:
        guarded.promote(version)
    assert waits.value.missing == 2
    approve(guarded.registry, 2, "Bob")
    with pytest.raises(Unapproved, match="waits for 1 more person"):
        guarded.promote(version)
    approve(guarded.registry, 2, "Eve")
    assert guarded.promote(version).to_version == 2
    line = guarded.registry.ledger()[-1]
    assert [one["actor"] for one in line.payload["approvals"]] == ["Bob", "Eve"]


def test_one_person_speaks_once(guarded: Desk) -> None:
    guarded.blessed()
    approve(guarded.registry, 2, "Bob")
    for again in (guarded.registry.approve, guarded.registry.reject):
        with pytest.raises(Conflict, match=r"Bob approved orders version 2 .* already"):
            again("orders", 2, actor="Bob", reason="once more")


def test_a_rejection_outweighs_every_approval(guarded: Desk) -> None:
    version = guarded.blessed()
    approve(guarded.registry, 2, "Bob", "Eve")
    guarded.registry.reject("orders", 2, actor="Mia", reason="fails in Cork")
    with pytest.raises(Refused, match="Mia rejected orders version 2 for 'champion': fails in Cork"):
        guarded.promote(version)
    assert guarded.serving() == 1


def test_approvals_end_with_the_generation_that_they_were_given_at(guarded: Desk) -> None:
    late, rival = guarded.blessed(), guarded.blessed()
    approve(guarded.registry, 2, "Bob", "Eve")
    approve(guarded.registry, 3, "Bob", "Eve")
    guarded.promote(rival)
    with pytest.raises(Stale):
        guarded.promote(late)
    with pytest.raises(Unapproved):
        guarded.promote(guarded.judge(late))


def test_approval_earns_nothing(guarded: Desk) -> None:
    version = guarded.candidate()
    approve(guarded.registry, 2, "Bob", "Eve")
    with pytest.raises(Refused, match="no verdict of gate"):
        guarded.promote(version)


def test_a_rollback_asks_nobody(guarded: Desk) -> None:
    guarded.blessed()
    approve(guarded.registry, 2, "Bob", "Eve")
    guarded.promote(guarded.registry.version("orders", 2))
    assert guarded.rollback().to_version == 1


def test_a_protection_is_lifted_on_the_record(guarded: Desk) -> None:
    version = guarded.blessed()
    guarded.registry.protect("orders", "champion", 0, actor="Bob", reason="holidays")
    assert guarded.promote(version).to_version == 2
    said = [(line.kind, line.payload.get("actor")) for line in guarded.registry.ledger("orders")]
    assert said == [("move", "Ada"), ("protect", "Ada"), ("protect", "Bob"), ("move", "Ada")]
    assert verify(guarded.registry).sound


def test_what_people_said_is_kept(guarded: Desk) -> None:
    guarded.blessed()
    word = guarded.registry.approve("orders", 2, actor="Bob", reason="I looked at it")
    assert guarded.registry.approvals("orders", 2) == (word,)
    assert (word.decision, word.actor, word.generation) == ("approve", "Bob", 1)


@pytest.mark.parametrize(
    ("version", "alias", "actor", "error", "sentence"),
    [
        (9, "champion", "Bob", NotFound, "versions 1 to 2"),
        (2, "edge", "Bob", Refused, "orders@edge asks for nobody's approval"),
        (1, "champion", "Bob", Refused, "already serves"),
        (2, "champion", " ", BadInput, "empty actor"),
    ],
)
def test_a_word_that_decides_nothing_is_refused(guarded: Desk, version, alias, actor, error, sentence):
    guarded.blessed()
    with pytest.raises(error, match=sentence):
        guarded.registry.approve("orders", version, alias, actor=actor, reason="why not")


@pytest.mark.parametrize(
    ("model", "alias", "count", "error", "sentence"),
    [
        ("order", "champion", 1, NotFound, "did you mean 'orders'"),
        ("orders", "Champion!", 1, BadInput, "alias name"),
        ("orders", "champion", -1, BadInput, "0 or more"),
        ("orders", "champion", 2, Refused, "already"),
    ],
)
def test_a_protection_that_makes_no_sense_is_refused(guarded: Desk, model, alias, count, error, sentence):
    with pytest.raises(error, match=sentence):
        guarded.registry.protect(model, alias, count, actor="Ada", reason="why not")
