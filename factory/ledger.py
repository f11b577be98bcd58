"""The ledger: a chain of lines, each hashed with the line before, over all that decides who serves.

The hash of a line is the SHA-256 of the canonical JSON of its other columns, `payload` as the text that is
stored. The first line's `prev_hash` is "". Whoever wrote down the last hash can tell later whether a line
was changed, left out or put in between, with nothing but a database client (docs/design/ledger.md).

A line names the rows that it rests on by their *record*, the hash of what may never change in them. What is
recorded without a line of its own (versions, verdicts) is told to the outbox with its record, and each
line seals the outbox as it was.

Everything here reads and writes the columns that are named here and no others, in SQL's own text, so a
hash that was written is found again whatever columns the tables gain.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Text, insert, select, type_coerce
from sqlalchemy.orm import Session

from workgym.factory.artifacts import canonical_json, digest_of
from workgym.factory.mirror import ALIAS_MOVED, VERSION_JUDGED, VERSION_REGISTERED, announce
from workgym.factory.tables import Base, CanonicalJson, LedgerRow

Rows = Session | Connection
Row = Mapping[str, Any]

VERSION_MEASURED = "version.measured"
SUITE_USED = "suite.used"
FIRST = ""  # the prev_hash of the first line
LINE = ("seq", "kind", "model", "alias", "at", "payload", "prev_hash")
COLUMNS: dict[str, tuple[str, ...]] = {
    "ledger": (*LINE, "hash"),
    "outbox": ("seq", "topic", "payload", "at"),
    "history": (
        "seq",
        "model",
        "alias",
        "from_version",
        "to_version",
        "kind",
        "actor",
        "reason",
        "at",
        "generation",
        "run_id",
        "profile",
        "given_up",
    ),
    "model_versions": (
        "id",
        "name",
        "version",
        "run_id",
        "training_id",
        "artifact_digest",
        "scorecard_digest",
        "suite_digest",
        "env_id",
        "env_version",
        "required_gates",
        "lineage",
        "created_at",
    ),
    "verdicts": (
        "id",
        "version_id",
        "gate",
        "outcome",
        "sentence",
        "numbers",
        "champion",
        "alias",
        "champion_generation",
        "suite_digest",
        "created_at",
        "env_version",
    ),
    "measures": ("version_id", "alias", "name", "value"),
    "suite_uses": ("suite_digest", "policy", "purpose", "at"),
    "protections": ("model", "alias", "approvals"),
    "aliases": ("model", "alias", "version", "generation"),
    "runs": ("id", "spec", "spec_digest", "env_id", "env_version", "code_version"),
    "trainings": ("id", "run_id", "seed", "recipe", "recipe_digest", "policy_digest"),
    "approvals": ("id", "version_id", "alias", "generation", "decision", "actor", "reason", "at"),
}


def stored(rows: Rows, table: str, *conditions: Any) -> list[dict[str, Any]]:
    """What stands in a table, the oldest row first, JSON as the text that it is."""
    columns = Base.metadata.tables[table].c
    chosen = [_as_text(columns[name]) for name in COLUMNS[table]]
    query = select(*chosen).where(*conditions).order_by(columns[COLUMNS[table][0]])
    return [dict(row) for row in rows.execute(query).mappings()]


def column(table: str, name: str) -> Any:
    """A column to ask for in a condition of `stored`."""
    return Base.metadata.tables[table].c[name]


def _as_text(one: Any) -> Any:
    return type_coerce(one, Text).label(one.name) if isinstance(one.type, CanonicalJson) else one


def record(table: str, row: Row) -> str:
    """The hash of what may never change in a row."""
    return digest_of({name: row[name] for name in COLUMNS[table]})


def line_hash(line: Row) -> str:
    """What a line's hash must be."""
    return digest_of({name: line[name] for name in LINE})


def append(rows: Rows, kind: str, model: str, alias: str, payload: dict[str, Any], at: str) -> str:
    """Write the next line, in the transaction of the change that it is about; its hash."""
    last = last_line(rows)
    sealed = seal(json.loads(last["payload"])["outbox"] if last else None, stored_outbox(rows, last))
    line: dict[str, Any] = {
        "seq": last["seq"] + 1 if last else 1,
        "kind": kind,
        "model": model,
        "alias": alias,
        "at": at,
        "prev_hash": last["hash"] if last else FIRST,
    }
    whole = {**payload, "outbox": sealed}
    line["hash"] = line_hash({**line, "payload": canonical_json(whole)})
    rows.execute(insert(LedgerRow).values(**line, payload=whole))
    return str(line["hash"])


def last_line(rows: Rows) -> dict[str, Any] | None:
    """The head of the chain, or None before the first line."""
    newest = select(LedgerRow.seq).order_by(LedgerRow.seq.desc()).limit(1).scalar_subquery()
    found = stored(rows, "ledger", column("ledger", "seq") == newest)
    return found[0] if found else None


def stored_outbox(rows: Rows, since: Row | None) -> list[dict[str, Any]]:
    """The outbox's lines that no line of the ledger has sealed yet."""
    sealed = json.loads(since["payload"])["outbox"]["seq"] if since else 0
    return stored(rows, "outbox", column("outbox", "seq") > sealed)


def seal(before: Row | None, fresh: Sequence[Row]) -> dict[str, Any]:
    """A hash over the whole outbox up to its last line, made from the last seal and what came since."""
    whole = hashlib.sha256((before["digest"] if before else FIRST).encode())
    for row in fresh:
        whole.update(record("outbox", row).encode())
    last = fresh[-1]["seq"] if fresh else before["seq"] if before else 0
    return {"seq": last, "digest": whole.hexdigest()}


# What each kind of line, and each line of the outbox, says


def move_payload(
    move: Row, version: Row, code_version: str, verdicts: Iterable[Row], approvals: Iterable[Row]
) -> dict[str, Any]:
    """Why an alias moved: the move, what was moved, and what it rests on."""
    said = {name: move[name] for name in COLUMNS["history"] if name not in ("model", "alias", "at")}
    given_up = move["given_up"]
    return {
        **said,
        "given_up": None if given_up is None else json.loads(given_up),
        "record": record("history", move),
        "version_record": record("model_versions", version),
        "artifact": version["artifact_digest"],
        "scorecard": version["scorecard_digest"],
        "env_version": version["env_version"],
        "suite": version["suite_digest"],
        "code_version": code_version,
        "verdicts": [
            {"gate": one["gate"], "id": one["id"], "record": record("verdicts", one)} for one in verdicts
        ],
        "approvals": [
            {"actor": one["actor"], "id": one["id"], "record": record("approvals", one)} for one in approvals
        ],
    }


def approval_payload(approval: Row, version: Row) -> dict[str, Any]:
    """Somebody's word on a version."""
    said = {name: approval[name] for name in ("id", "generation", "decision", "actor", "reason")}
    return {
        **said,
        "version": version["version"],
        "artifact": version["artifact_digest"],
        "record": record("approvals", approval),
        "version_record": record("model_versions", version),
    }


def tell_registered(rows: Rows, version: Row) -> None:
    """Tell the outbox of a new version."""
    announce(rows, VERSION_REGISTERED, registered_payload(version), version["created_at"])


def registered_payload(version: Row) -> dict[str, Any]:
    """A new version, for whoever mirrors it."""
    return {
        "model": version["name"],
        "version": version["version"],
        "artifact": version["artifact_digest"],
        "scorecard": version["scorecard_digest"],
        "suite": version["suite_digest"],
        "env_id": version["env_id"],
        "env_version": version["env_version"],
        "run": version["run_id"],
        "record": record("model_versions", version),
    }


def tell_judged(rows: Rows, version: Row, verdicts: Sequence[Row]) -> None:
    """Tell the outbox of verdicts that were made together."""
    announce(rows, VERSION_JUDGED, judged_payload(version, verdicts), verdicts[-1]["created_at"])


def judged_payload(version: Row, verdicts: Sequence[Row]) -> dict[str, Any]:
    """New verdicts, for whoever mirrors them."""
    return {
        "model": version["name"],
        "version": version["version"],
        "alias": verdicts[-1]["alias"],
        "generation": verdicts[-1]["champion_generation"],
        "verdicts": [
            {
                "gate": one["gate"],
                "outcome": one["outcome"],
                "id": one["id"],
                "record": record("verdicts", one),
            }
            for one in verdicts
        ],
    }


def tell_measured(rows: Rows, version: Row, alias: str, measures: Mapping[str, float], at: str) -> None:
    """Tell the outbox what a version is newly measured by."""
    announce(rows, VERSION_MEASURED, measured_payload(version, alias, measures, at), at)


def measured_payload(version: Row, alias: str, measures: Mapping[str, float], at: str) -> dict[str, Any]:
    """New measures, for whoever mirrors them."""
    said = {"model": version["name"], "version": version["version"], "alias": alias, "at": at}
    return {**said, "measures": dict(measures)}


def tell_used(rows: Rows, use: Row) -> None:
    """Tell the outbox that a sealed suite was shown to a policy's gate."""
    announce(rows, SUITE_USED, {name: use[name] for name in COLUMNS["suite_uses"]}, use["at"])


def tell_moved(rows: Rows, move: Row, artifact: str, line: str) -> None:
    """Tell the outbox of a move, and of the ledger's line about it."""
    announce(rows, ALIAS_MOVED, moved_payload(move, artifact, line), move["at"])


def moved_payload(move: Row, artifact: str, line: str) -> dict[str, Any]:
    """A move, for whoever mirrors it."""
    return {
        "model": move["model"],
        "alias": move["alias"],
        "version": move["to_version"],
        "from": move["from_version"],
        "generation": move["generation"],
        "kind": move["kind"],
        "artifact": artifact,
        "ledger": line,
    }
