"""Worlds are lent for a while, and a holder's calls happen once."""

from __future__ import annotations

import pytest

from workgym.services import leases
from workgym.services.kernel import Conflict, NotFound
from workgym.services.leases import Lease
from workgym.services.storage import Database

LEASE = Lease("a-lease-of-worlds", "ann", "{}", (3, 4), 60)
OTHER = Lease("another-lease-of-worlds", "ben", "{}", (5,), 10)


@pytest.fixture
def database(database_url):
    made = Database(database_url)
    made.create(leases.metadata)
    with made.write() as tx:
        leases.open_lease(tx, LEASE, now=100.0)
        leases.open_lease(tx, OTHER, now=100.0)
    yield made
    made.close()


def carry_out(database, call, asked, answer=b"done"):
    with database.write() as tx:
        before = leases.answered(tx, LEASE.id, call, asked)
        if before is None:
            leases.keep_answer(tx, LEASE, asked, answer, now=200.0)
        return before


def test_a_lease_is_found_as_it_was_written(database):
    with database.read() as tx:
        assert leases.find_lease(tx, LEASE.id) == LEASE


def test_a_call_that_comes_again_has_the_answer_it_had(database):
    assert carry_out(database, 1, b"buy", b"bought") is None
    assert carry_out(database, 1, b"buy", b"bought twice") == b"bought"
    with database.read() as tx:
        assert leases.calls_of(tx, LEASE.id) == 1


@pytest.mark.parametrize(("call", "asked"), [(1, b"sell"), (3, b"buy"), (0, b"buy"), (-1, b"buy")])
def test_another_request_under_a_known_number_and_a_skipped_number_conflict(database, call, asked):
    carry_out(database, 1, b"buy")
    with pytest.raises(Conflict):
        carry_out(database, call, asked)


def test_who_shows_up_keeps_the_lease_and_who_does_not_loses_it(database):
    carry_out(database, 1, b"buy")  # at 200, for a minute
    with database.write() as tx:
        assert [lease.id for lease in leases.expired(tx, now=201.0)] == [OTHER.id]
        leases.renew(tx, OTHER, now=201.0)
    with database.write() as tx:
        assert leases.expired(tx, now=210.0) == []
        assert {lease.id for lease in leases.expired(tx, now=1e9)} == {LEASE.id, OTHER.id}


def test_a_lease_that_is_over_is_told_so(database):
    with database.write() as tx:
        assert leases.end_lease(tx, LEASE.id)
        assert not leases.end_lease(tx, LEASE.id)
    with pytest.raises(NotFound, match="expired"), database.write() as tx:
        leases.answered(tx, LEASE.id, 1, b"buy")
