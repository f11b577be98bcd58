"""The chain of the audit log: what was tampered with is found, at the line where it begins."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any

import pytest
from sqlalchemy import insert, text, update

from workgym.services.audit import Entry, append, chained, verify
from workgym.services.kernel import BadInput, Conflict, NotFound, Refused
from workgym.services.rest import AuditEntry

PLAN = [(deed, how) for how in range(2) for deed in range(8)]
UNGUARDED = {
    "sqlite": ["DROP TRIGGER audit_is_never_changed", "DROP TRIGGER audit_is_never_shortened"],
    "postgresql": ["ALTER TABLE audit DISABLE TRIGGER USER"],
}


class Log:
    """The log of a world in which a lot has happened, and the hands of somebody who may do anything."""

    def __init__(self, business: Any, url: str) -> None:
        self.store = business.store(url)
        self.world = business.begin(self.store, "shop", 7)
        business.play(self.store, self.world, PLAN)
        self.table = self.store.metadata.tables["audit"]
        self.mine = self.table.c.world_id == self.world

    def verified(self, world: int | None = None) -> Any:
        with self.store.database.read() as tx:
            return verify(tx, self.world if world is None else world)

    def lines(self) -> list[Any]:
        return list(reversed(self.store.audit(self.world, limit=1000)))

    def forge(self, *statements: Any) -> None:
        with self.store.database.write() as tx:
            for guard in UNGUARDED[tx.dialect.name]:
                tx.connection.execute(text(guard))
            for statement in statements:
                tx.connection.execute(statement)

    def at(self, number: int) -> Any:
        return update(self.table).where(self.mine, self.table.c.number == number)

    def gone(self, number: int) -> Any:
        return self.table.delete().where(self.mine, self.table.c.number == number)


@pytest.fixture
def log(business: Any, database_url: str) -> Log:
    return Log(business, database_url)


def test_a_log_that_nobody_touched_is_whole(log: Log) -> None:
    lines, found = log.lines(), log.verified()
    assert len(lines) > 10
    assert [line.id for line in lines] == list(range(len(lines)))
    assert (found.rows, found.head, found.broken, found.whole) == (len(lines), lines[-1].digest, None, True)


def test_a_digest_is_what_the_documentation_says(log: Log) -> None:
    before = ""
    for line in log.lines():
        told = (line.day, line.actor, line.verb, line.subject, line.payload)
        before = chained(before, log.world, *told)
        assert line.digest == before


def test_digests_of_different_lines_differ_wherever_a_text_ends() -> None:
    told = [("ab", "c", "d", ""), ("a", "bc", "d", ""), ("a", "b", "cd", ""), ("a", "b", "c", "d")]
    assert len({chained("", 1, 2, *texts) for texts in told}) == len(told)


@pytest.mark.parametrize(
    "column", ["day", "actor", "verb", "subject", "payload", "digest"], ids=lambda column: f"the {column}"
)
def test_a_changed_line_is_found(log: Log, column: str) -> None:
    log.forge(log.at(5).values({column: 4 if column == "day" else "{}"}))
    found = log.verified()
    assert found.broken is not None
    assert (found.broken.number, found.whole) == (5, False)
    assert "changed" in found.broken.found


@pytest.mark.parametrize("number", [0, 5])
def test_a_removed_line_is_found(log: Log, number: int) -> None:
    log.forge(log.gone(number))
    found = log.verified()
    assert found.broken is not None
    assert found.broken.number == number
    assert "missing" in found.broken.found


def test_a_removed_line_is_found_when_the_rest_moves_up(log: Log) -> None:
    ups = [log.at(number).values(number=number - 1) for number in range(6, len(log.lines()))]
    log.forge(log.gone(5), *ups)
    found = log.verified()
    assert found.broken is not None
    assert found.broken.number == 5


def test_two_lines_that_changed_places_are_found(log: Log) -> None:
    log.forge(log.at(5).values(number=-1), log.at(6).values(number=5), log.at(-1).values(number=6))
    found = log.verified()
    assert found.broken is not None
    assert found.broken.number == 5


def test_an_inserted_line_is_found(log: Log) -> None:
    last = log.lines()[-1]
    row = {"world_id": log.world, "number": last.id + 1, "day": last.day, "actor": "eve", "verb": "cancel"}
    log.forge(insert(log.table).values(**row, subject="order/1", payload="{}", digest=last.digest))
    found = log.verified()
    assert found.broken is not None
    assert found.broken.number == last.id + 1


def test_the_log_of_another_world_is_found(business: Any, log: Log) -> None:
    other = business.begin(log.store, "other", 8)
    log.forge(
        log.table.delete().where(log.mine),
        update(log.table).where(log.table.c.world_id == other).values(world_id=log.world),
    )
    found = log.verified()
    assert found.broken is not None
    assert found.broken.number == 0


def test_a_cut_tail_is_told_by_a_head_that_was_kept_elsewhere(log: Log) -> None:
    kept = log.verified().head
    log.forge(log.gone(log.lines()[-1].id))
    assert log.verified().whole
    assert kept not in {line.digest for line in log.lines()}


def test_a_line_cannot_be_continued_twice(log: Log) -> None:
    row = {
        name: getattr(log.lines()[-1], name)
        for name in ("day", "actor", "verb", "subject", "payload", "digest")
    }
    twice = insert(log.table).values(world_id=log.world, number=len(log.lines()) - 1, **row)
    with pytest.raises(Exception, match=r"(?i)unique|same moment"), log.store.database.write() as tx:
        tx.connection.execute(twice)


def test_many_who_write_to_one_world_make_one_chain(business: Any, log: Log) -> None:
    def work(how: int) -> None:
        for deed in range(len(business.deeds)):
            try:
                business.do(log.store, log.world, deed, how)
            except (Conflict, BadInput):  # somebody else has closed the day meanwhile
                continue

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))
    found = log.verified()
    assert found.whole
    assert found.rows == len(log.lines())


def test_one_transaction_writes_to_many_worlds(business: Any, log: Log) -> None:
    worlds = [log.world, *(business.begin(log.store, f"world {n}", n) for n in range(3))]
    before = {world: log.verified(world).rows for world in worlds}
    with log.store.database.write() as tx:
        append(tx, [(world, 0, "ann", "note", f"day/{n}", "{}") for n in range(2) for world in worlds])
    for world in worlds:
        found = log.verified(world)
        assert (found.rows, found.whole) == (before[world] + 2, True)


def test_the_same_business_has_the_same_head_on_every_database(business: Any, log: Log) -> None:
    elsewhere = Log(business, "sqlite://")
    assert elsewhere.world == log.world
    assert elsewhere.verified() == log.verified()


def test_a_refusal_writes_no_line(business: Any, log: Log) -> None:
    before = log.verified()

    def refused(tx: Any) -> None:
        append(tx, [(log.world, 0, "ann", "note", "day/0", "{}")])
        raise Refused("no")

    with pytest.raises(Refused), log.store.database.write() as tx:
        refused(tx)
    assert log.verified() == before


def test_a_world_that_does_not_exist_has_no_log(log: Log) -> None:
    with pytest.raises(NotFound, match="999"):
        log.verified(999)


def test_an_answer_has_the_fields_of_an_entry():
    assert list(AuditEntry.model_fields) == [field.name for field in fields(Entry)]
