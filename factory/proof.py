"""The proof: walks the ledger and everything that it rests on, and names what does not hold.

Four questions, each asked only when the one before is answered with yes, because a forged line proves
nothing about what it names:

1. Is the chain whole, does it hold the head that somebody wrote down, and the outbox that it sealed?
2. Are the rows the ones that were written (`workgym.factory.ledger.record`), none missing, none added?
3. Did everybody who served earn it, were the people asked, do the aliases stand where history leads?
4. Are the bytes of policies, scorecards and chunks the ones that the rows name? (asked in any case)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from workgym.factory import ledger
from workgym.factory.artifacts import canonical_json
from workgym.factory.invariants import Break, earned, kept_bytes, legible, sprung, standing
from workgym.factory.mirror import ALIAS_MOVED, VERSION_JUDGED, VERSION_REGISTERED
from workgym.factory.registry import Registry
from workgym.factory.tables import ModelVersionRow
from workgym.factory.versions import no_model

Row = Mapping[str, Any]
TABLES = (
    "ledger",
    "outbox",
    "history",
    "model_versions",
    "verdicts",
    "approvals",
    "measures",
    "suite_uses",
    "protections",
    "aliases",
)


ORIGINS = ("runs", "trainings")  # read for what versions say of them; the rest of them may change
# What a line of the outbox must say to be read; one that does not leaves its rows untold.
SAYS = {
    VERSION_REGISTERED: {"model", "version"},
    VERSION_JUDGED: {"model", "version", "verdicts"},
    ledger.VERSION_MEASURED: {"model", "version", "alias", "measures"},
    ALIAS_MOVED: {"model", "alias", "generation"},
}


@dataclass(frozen=True)
class Proof:
    """What a walk through the registry found.

    Attributes:
        head: hash of the last line; keep it somewhere else and give it to the next proof.
        checked: how many of each were looked at.
        breaks: what does not hold, in the order of the walk; none means proved.
    """

    head: str
    checked: dict[str, int]
    breaks: tuple[Break, ...]

    @property
    def sound(self) -> bool:
        """Whether everything holds."""
        return not self.breaks


@dataclass(frozen=True)
class Books:
    """The tables as they stand, JSON as text; read in one snapshot."""

    rows: dict[str, list[dict[str, Any]]]
    status: dict[int, str]
    model: str | None = None

    def __getitem__(self, table: str) -> list[dict[str, Any]]:
        return self.rows[table]

    def lines(self, *kinds: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """The ledger's lines of some kinds, with what they say."""
        for line in self["ledger"]:
            if line["kind"] in kinds and self.model in (None, line["model"]):
                yield line, json.loads(line["payload"])

    def told(self, *topics: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """The outbox's lines of some topics, with what they say."""
        for line in self["outbox"]:
            said = legible(line["payload"])
            readable = line["topic"] in topics and said.keys() >= SAYS[line["topic"]]
            if readable and self.model in (None, said["model"]):
                yield line, said

    def uses(self) -> set[tuple[str, str]]:
        """What the outbox told of sealed suites, as text and time; of all models."""
        return {(one["payload"], one["at"]) for one in self["outbox"] if one["topic"] == ledger.SUITE_USED}

    def version(self, name: str, number: int) -> dict[str, Any] | None:
        """A version's row."""
        return self._versions.get((name, number))

    @cached_property
    def _versions(self) -> dict[tuple[str, int], dict[str, Any]]:
        return {(one["name"], one["version"]): one for one in self["model_versions"]}

    def verdicts_on(self, version: Row) -> list[dict[str, Any]]:
        """A version's verdicts, the oldest first."""
        return self._verdicts.get(version["id"], [])

    @cached_property
    def _verdicts(self) -> dict[int, list[dict[str, Any]]]:
        found: dict[int, list[dict[str, Any]]] = {}
        for one in self["verdicts"]:
            found.setdefault(one["version_id"], []).append(one)
        return found


def verify(registry: Registry, model: str | None = None, head: str | None = None) -> Proof:
    """Walk through the registry.

    Args:
        registry: whose.
        model: look at the rows and bytes of this model alone; the chain is walked whole.
        head: hash of a line that was the last one once; it must still be there.

    Raises:
        NotFound: there is no such model.
    """
    with registry.reading(one_moment=True) as session:
        books = _read(session, model)
        breaks = list(_chain(books)) or list(_headed(books, head))
        breaks = breaks or list(chain(_told(books), _recorded(books)))
        breaks = breaks or list(chain(standing(session, books), earned(books), sprung(books)))
        found, count = kept_bytes(session, registry.artifacts, books)
    last = books["ledger"][-1]["hash"] if books["ledger"] else ledger.FIRST
    checked = {table: len(books[table]) for table in TABLES}
    return Proof(last, {**checked, "artifacts": count}, (*breaks, *found))


def _read(session: Session, model: str | None) -> Books:
    rows = {table: ledger.stored(session, table) for table in (*TABLES, *ORIGINS)}
    status = {row.id: row.status for row in session.scalars(select(ModelVersionRow))}
    if model is None:
        return Books(rows, status)
    rows["model_versions"] = [one for one in rows["model_versions"] if one["name"] == model]
    if not rows["model_versions"]:
        raise no_model(session, model)
    ids = {one["id"] for one in rows["model_versions"]}
    for table in ("verdicts", "approvals", "measures"):
        rows[table] = [one for one in rows[table] if one["version_id"] in ids]
    for table in ("history", "aliases", "protections"):
        rows[table] = [one for one in rows[table] if one["model"] == model]
    return Books(rows, status, model)


# 1. The chain


def _chain(books: Books) -> Iterator[Break]:
    """The first line that does not hold; what comes after it proves nothing."""
    for place, line in enumerate(books["outbox"], 1):
        if line["seq"] != place:
            yield Break(f"outbox line {place}", f"missing; the next one is {line['seq']}")
            return
    before, sealed, at = ledger.FIRST, None, 0
    for place, line in enumerate(books["ledger"], 1):
        wrong = _wrong_line(line, place, before)
        if wrong:
            yield Break(f"ledger line {place}", wrong)
            return
        seal = json.loads(line["payload"])["outbox"]
        if ledger.seal(sealed, books["outbox"][at : seal["seq"]]) != seal:
            where = f"outbox lines {at + 1} to {seal['seq']}"
            yield Break(where, f"not the ones that line {place} of the ledger sealed")
            return
        before, sealed, at = line["hash"], seal, seal["seq"]


def _headed(books: Books, head: str | None) -> Iterator[Break]:
    if head is not None and head not in {line["hash"] for line in books["ledger"]}:
        what = f"not among the {len(books['ledger'])} lines of the ledger: it was cut short or written anew"
        yield Break(f"head {head}", what)


def _wrong_line(line: Row, place: int, before: str) -> str:
    if line["seq"] != place:
        return f"missing; the next one is {line['seq']}"
    if line["prev_hash"] != before:
        return f"follows {line['prev_hash'] or 'nothing'}, expected {before or 'nothing'}"
    found = ledger.line_hash(line)
    return "" if found == line["hash"] else f"changed: its hash is {found}, written is {line['hash']}"


# 2. The rows


def _told(books: Books) -> Iterator[Break]:
    """Versions, verdicts and measures against the outbox's lines about them."""
    verdicts = {one["id"]: one for one in books["verdicts"]}
    versions: set[int] = set()
    judged: set[int] = set()
    measures: set[tuple[int, str, str, float]] = set()
    for line, said in books.told(VERSION_REGISTERED, VERSION_JUDGED, ledger.VERSION_MEASURED):
        place = f"{said['model']} version {said['version']}"
        version = books.version(said["model"], said["version"])
        if version is None:
            yield Break(place, f"gone; outbox line {line['seq']} tells of it")
        elif line["topic"] == VERSION_REGISTERED:
            versions.add(version["id"])
            yield from _same(line, ledger.registered_payload(version), version["created_at"], place)
        elif line["topic"] == VERSION_JUDGED:
            ids = [one["id"] for one in said["verdicts"]]
            judged.update(ids)
            yield from _judged(line, version, ids, [verdicts[one] for one in ids if one in verdicts])
        else:
            payload = ledger.measured_payload(version, said["alias"], said["measures"], line["at"])
            yield from _same(line, payload, line["at"], f"measures of {place}")
            fresh = said["measures"].items()
            measures.update((version["id"], said["alias"], name, value) for name, value in fresh)
    yield from _untold(books, versions, judged, measures)
    uses = {(canonical_json(one), one["at"]) for one in books["suite_uses"]}
    for use, at in sorted(uses ^ books.uses(), key=str):
        yield Break(f"use of a suite at {at}", f"not as the outbox says: {use}")


def _judged(line: Row, version: Row, ids: list[int], there: list[dict[str, Any]]) -> Iterator[Break]:
    numbers = ", ".join(map(str, ids))
    place = f"verdicts {numbers} on {version['name']} version {version['version']}"
    if len(there) < len(ids):
        yield Break(place, f"not all there; outbox line {line['seq']} tells of them")
    else:
        yield from _same(line, ledger.judged_payload(version, there), there[-1]["created_at"], place)


def _same(line: Row, payload: dict[str, Any], at: str, place: str) -> Iterator[Break]:
    if (line["payload"], line["at"]) != (canonical_json(payload), at):
        yield Break(place, f"not as outbox line {line['seq']} says, which was written with it")


def _untold(books: Books, versions: set[int], judged: set[int], measures: set[Any]) -> Iterator[Break]:
    for version in books["model_versions"]:
        if version["id"] not in versions:
            yield Break(f"{version['name']} version {version['version']}", "in no line of the outbox")
    for verdict in books["verdicts"]:
        if verdict["id"] not in judged:
            yield Break(f"verdict {verdict['id']} of gate {verdict['gate']!r}", "in no line of the outbox")
    stand = {(one["version_id"], one["alias"], one["name"], one["value"]) for one in books["measures"]}
    for version_id, _, name, value in sorted(stand ^ measures, key=str):
        yield Break(f"measure {name!r} of version id {version_id}", f"not as the outbox says: {value}")


def _recorded(books: Books) -> Iterator[Break]:
    """Moves, approvals and protections against the ledger's lines about them."""
    yield from _moves(books)
    lines = [(said["id"], said["record"], line) for line, said in books.lines("approve", "reject")]
    rows = {one["id"]: ledger.record("approvals", one) for one in books["approvals"]}
    yield from _matched("approval", rows, lines)
    for line, said in books.lines("move", "approve", "reject"):
        number = said["to_version"] if line["kind"] == "move" else said["version"]
        version = books.version(line["model"], number)
        if version is None or ledger.record("model_versions", version) != said["version_record"]:
            place = f"{line['model']} version {number}"
            yield Break(place, f"not the one that line {line['seq']} of the ledger is about")
    asked = {(line["model"], line["alias"]): said["approvals"] for line, said in books.lines("protect")}
    stand = {(one["model"], one["alias"]): one["approvals"] for one in books["protections"]}
    for (model, alias), approvals in sorted(asked.items() ^ stand.items(), key=str):
        yield Break(f"protection of {model}@{alias}", f"not as the ledger says: {approvals} approvals")


def _moves(books: Books) -> Iterator[Break]:
    """Lines of history against the ledger's, and the ledger's against the outbox's and the verdicts'."""
    history = {_move_key(one, one["generation"]): one for one in books["history"]}
    lines = [(_move_key(line, said["generation"]), said, line) for line, said in books.lines("move")]
    rows = {key: ledger.record("history", one) for key, one in history.items()}
    yield from _matched("move", rows, [(key, said["record"], line) for key, said, line in lines])
    verdicts = {one["id"]: ledger.record("verdicts", one) for one in books["verdicts"]}
    fresh = set()
    for key, said, line in lines:
        for one in said["verdicts"]:
            if verdicts.get(one["id"]) != one["record"]:
                yield Break(f"verdict {one['id']}", f"not as line {line['seq']} of the ledger names it")
        if key in history:
            moved = ledger.moved_payload(history[key], said["artifact"], line["hash"])
            fresh.add((canonical_json(moved), line["at"]))
    told = {(line["payload"], line["at"]) for line, _ in books.told(ALIAS_MOVED)}
    for payload, at in sorted(told ^ fresh):
        yield Break("outbox", f"not as the ledger says of the move at {at}: {payload}")


def _move_key(row: Row, generation: int) -> str:
    return f"{row['model']}@{row['alias']} to generation {generation}"


def _matched(noun: str, rows: dict[Any, str], lines: Iterable[tuple[Any, str, Row]]) -> Iterator[Break]:
    """Every row has its line, every line its row, and both say the same."""
    found = set()
    for key, record, line in lines:
        found.add(key)
        if key not in rows:
            yield Break(f"{noun} {key}", f"gone; line {line['seq']} of the ledger tells of it")
        elif rows[key] != record:
            yield Break(f"{noun} {key}", f"not as line {line['seq']} of the ledger says")
    for key in rows:
        if key not in found:
            yield Break(f"{noun} {key}", "in no line of the ledger")
