"""Whatever is changed behind the registry's back, the proof names it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests.factory.conftest import SUITE, Desk, Ticking
from workgym.factory import ledger
from workgym.factory.artifacts import ArtifactStore
from workgym.factory.invariants import Break
from workgym.factory.proof import ORIGINS, TABLES, verify
from workgym.factory.records import Outcome
from workgym.factory.registry import Registry, open_registry
from workgym.factory.suite_uses import SuiteUses
from workgym.factory.tables import OutboxRow
from workgym.services.kernel import NotFound

# What may change in a row for good reasons, each of which has its own check.
CASES = [(table, column) for table in TABLES for column in ledger.COLUMNS[table]]


def fill(desk: Desk) -> None:
    """Two champions, a rollback, people's words, a rejected version, and news after the last line."""
    registry = desk.registry
    registry.finish_training(
        (training := desk.training(run := desk.run())).id, digest := desk.policy(), steps=9, cpu_seconds=1.0
    )
    version = registry.register(
        "orders",
        run_id=run.id,
        artifact_digest=digest,
        scorecard=desk.card(digest),
        required_gates=["gain", "flips"],
        training_id=training.id,
    )
    registry.record_measures(version, "champion", {"profit": 1.5, "bytes": 900.0})
    desk.promote(desk.judge(version))
    registry.protect("orders", "champion", 1, actor="Ada", reason="money")
    second, third = desk.blessed(), desk.blessed()
    registry.approve("orders", second.version, actor="Bob", reason="looks right")
    registry.reject("orders", third.version, actor="Eve", reason="too slow")
    registry.promote(
        "orders",
        second.version,
        expected_generation=1,
        actor="Ada",
        reason="it earns more",
        run_id=run.id,
        profile="robust",
        given_up={"profit": -2.0},
    )
    desk.rollback()
    uses = SuiteUses(registry, Ticking())
    assert [uses.use(SUITE, policy, "generalisation") for policy in ("a", "b")] == [1, 2]
    last = desk.judge(desk.candidate(), Outcome.FAIL)
    registry.record_measures(last, "champion", {"profit": 0.5})


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of a registry where everything happened once."""
    home = tmp_path_factory.mktemp("filled")
    url = f"sqlite:///{home}/registry.db"
    with Registry(url, ArtifactStore(home / "artifacts"), Ticking()) as registry:
        fill(Desk(registry, url))
    return home


@pytest.fixture
def home(filled: Path, tmp_path: Path) -> Path:
    """A copy of that workspace to do harm to."""
    return Path(shutil.copytree(filled, tmp_path / "copy"))


def raw(home: Path) -> sqlite3.Connection:
    """The database, without its guards."""
    connection = sqlite3.connect(home / "registry.db", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    return connection


def change(home: Path, table: str, column: str, last: bool) -> None:
    """Give one cell another value of its kind."""
    with raw(home) as connection:
        order = "DESC" if last else "ASC"
        where = f"rowid = (SELECT rowid FROM {table} ORDER BY rowid {order} LIMIT 1)"
        (now,) = connection.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchone()
        then = now + 1000 if isinstance(now, (int, float)) else "1" if now is None else now + " "
        assert connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (then,)).rowcount == 1


def proof(home: Path, **wishes: str):
    with open_registry(home) as registry:
        return verify(registry, **wishes)


def test_an_honest_registry_is_proved(home: Path) -> None:
    found = proof(home)
    assert found.breaks == ()
    assert found.checked["ledger"] == 6
    assert found.checked["artifacts"] >= 8
    assert all(found.checked[table] for table in TABLES)


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize(("table", "column"), CASES)
def test_every_changed_cell_is_named(home: Path, table: str, column: str, last: bool) -> None:
    change(home, table, column, last)
    assert not proof(home).sound


@pytest.mark.parametrize(
    ("table", "column"), [(one, name) for one in ORIGINS for name in ledger.COLUMNS[one]]
)
def test_a_version_whose_origin_was_changed_is_named(home: Path, table: str, column: str) -> None:
    change(home, table, column, last=False)
    assert not proof(home).sound


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("table", TABLES)
def test_every_row_that_is_gone_is_missed(home: Path, table: str, last: bool) -> None:
    with raw(home) as connection:
        order = "max" if last else "min"
        connection.execute(f"DELETE FROM {table} WHERE rowid = (SELECT {order}(rowid) FROM {table})")
    head = head_of(home, table)
    assert not proof(home, **head).sound


def head_of(home: Path, table: str) -> dict[str, str]:
    """Who cuts the end of the ledger off leaves a shorter chain, which a head that was kept tells."""
    with raw(home) as connection:
        ((seq,),) = connection.execute("SELECT max(seq) FROM ledger").fetchall()
    return {"head": "f" * 64} if table == "ledger" and seq < 6 else {}


@pytest.mark.parametrize("table", sorted(set(TABLES) - {"ledger", "outbox", "aliases", "protections"}))
def test_a_row_that_nobody_announced_is_named(home: Path, table: str) -> None:
    with raw(home) as connection:
        columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
        fresh = {"seq": "seq + 500", "id": "id + 500", "version": "version + 500", "run_id": "2"}
        fresh |= {"generation": "generation + 500", "name": "name || '-2'", "purpose": "'other'"}
        values = ", ".join(fresh.get(name, name) for name in columns)
        connection.execute(f"INSERT INTO {table} SELECT {values} FROM {table} LIMIT 1")
    assert not proof(home).sound


def test_a_status_that_the_verdicts_do_not_say_is_named(home: Path) -> None:
    with raw(home) as connection:
        connection.execute("UPDATE model_versions SET status = 'blessed' WHERE version = 4")
    (found,) = proof(home).breaks
    assert (found.place, found.what) == ("orders version 4", "is blessed, its verdicts say rejected")


def test_the_head_that_was_kept_is_found_again(home: Path) -> None:
    with open_registry(home) as registry:
        lines = registry.ledger()
    for line in lines:
        assert proof(home, head=line.hash).sound
    assert proof(home).head == lines[-1].hash


def test_a_chain_that_was_written_anew_does_not_hold_the_old_head(home: Path) -> None:
    kept = proof(home).head
    with raw(home) as connection:
        forge(connection)
    assert proof(home, head=kept).breaks[0].place == f"head {kept}"


def forge(connection: sqlite3.Connection) -> None:
    """Change who rolled back everywhere it stands, and hash the last line again."""
    line = dict(zip(ledger.COLUMNS["ledger"], last_row(connection, "ledger"), strict=True))
    move = dict(zip(ledger.COLUMNS["history"], last_row(connection, "history"), strict=True))
    move["actor"] = "Mallory"
    said = {**json.loads(line["payload"]), "actor": "Mallory", "record": ledger.record("history", move)}
    line["payload"] = json.dumps(said, sort_keys=True, separators=(",", ":"))
    old, line["hash"] = line["hash"], ledger.line_hash(line)
    connection.execute("UPDATE history SET actor = 'Mallory' WHERE seq = ?", (move["seq"],))
    words = (line["payload"], line["hash"], line["seq"])
    connection.execute("UPDATE ledger SET payload = ?, hash = ? WHERE seq = ?", words)
    connection.execute("UPDATE outbox SET payload = replace(payload, ?, ?)", (old, line["hash"]))


def last_row(connection: sqlite3.Connection, table: str) -> tuple[object, ...]:
    names = ", ".join(ledger.COLUMNS[table])
    found: tuple[object, ...] = connection.execute(
        f"SELECT {names} FROM {table} ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    return found


def test_a_perfect_forgery_without_a_kept_head_is_the_limit_of_the_proof(home: Path) -> None:
    with raw(home) as connection:
        forge(connection)
    assert proof(home).sound  # which is why `factory verify` says: keep the head elsewhere


def test_anybody_can_walk_the_chain_as_the_design_note_shows(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = Path(__file__).parents[2] / "docs" / "design" / "ledger.md"
    snippet = note.read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / ".workgym").symlink_to(home)
    monkeypatch.chdir(tmp_path)
    known: dict[str, object] = {}
    exec(snippet, known)
    assert known["before"] == proof(home).head
    change(home, "ledger", "payload", last=False)
    with pytest.raises(AssertionError):
        exec(snippet, {})


@pytest.mark.parametrize("kind", ["policy", "scorecard"])
def test_bytes_that_were_changed_are_named(home: Path, kind: str) -> None:
    with open_registry(home) as registry:
        version = registry.version("orders", 2)
        manifest = json.loads(registry.artifacts.get(version.artifact_digest))
        digest = {"policy": manifest["policy.safetensors"], "scorecard": version.scorecard_digest}[kind]
        path = Path(registry.artifacts.path(digest))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"!")
    (found,) = proof(home).breaks
    assert found.place == f"{kind} of orders version 2"
    path.unlink()
    assert "no artifact" in proof(home).breaks[0].what


def test_a_committed_chunk_without_bytes_is_named(home: Path) -> None:
    with raw(home) as connection:
        connection.execute(
            "INSERT INTO tasks (kind, grp, seq, status, token, attempts, owner, lease_until, retry_at, "
            "cpu_seconds, wall_seconds, message) "
            "VALUES ('chunk', 'g', 1, 'committed', 1, 0, '', 0, 0, 0, 0, '')"
        )
    assert [(one.place, one.what) for one in proof(home).breaks] == [
        ("task 1", "is a committed chunk without bytes")
    ]


PROMOTE, WHERE = "promotion of orders version 1 (ledger line {})", "workgym.factory.registry"


@pytest.mark.parametrize(
    ("broken", "instead", "place", "what"),
    [
        ("_require_earned", list, PROMOTE.format(2), "rests on no verdict of gate 'beats-champion'"),
        ("require_approved", list, PROMOTE.format(2), "was made with 0 approvals, expected 1"),
    ],
)
def test_a_registry_that_promotes_what_it_should_not_is_found_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, broken: str, instead: type, place: str, what: str
) -> None:
    version = desk.blessed()
    desk.registry.protect("orders", "champion", 1, actor="Ada", reason="money")
    monkeypatch.setattr(f"{WHERE}.{broken}", lambda *_: instead())
    if broken == "_require_earned":
        monkeypatch.setattr(f"{WHERE}.require_approved", lambda *_: [])
    desk.promote(version)
    assert Break(place, what) in verify(desk.registry).breaks


def test_a_registry_that_promotes_over_a_rejection_is_found_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = desk.blessed()
    desk.registry.protect("orders", "champion", 1, actor="Ada", reason="money")
    desk.registry.reject("orders", 1, actor="Eve", reason="no")
    monkeypatch.setattr(f"{WHERE}.require_approved", lambda *_: [])
    desk.promote(version)
    (found,) = verify(desk.registry).breaks
    assert found.what == "was made although somebody rejected it"


def test_a_rollback_to_whom_nobody_knew_is_found_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.champions(1)
    desk.candidate()
    monkeypatch.setattr(f"{WHERE}._rollback_target", lambda *_: 2)
    desk.rollback()
    (found,) = verify(desk.registry).breaks
    assert found == Break("orders@champion", "was rolled back to a version that had not served")


def test_one_model_can_be_proved_without_the_others(home: Path) -> None:
    with open_registry(home) as registry:
        other = Desk(registry, "", name="returns")
        version = other.candidate()
        other.champions(1)
        path = Path(registry.artifacts.path(version.scorecard_digest))
    path.chmod(0o644)
    path.write_bytes(b"{}")
    assert proof(home, model="orders").sound
    assert proof(home, model="returns").breaks[0].place == "scorecard of returns version 1"


def test_an_unknown_model_is_not_proved(home: Path) -> None:
    with pytest.raises(NotFound, match="did you mean 'orders'"):
        proof(home, model="order")


def test_a_proof_sees_one_moment_whoever_writes_meanwhile(desk: Desk) -> None:
    desk.candidate()
    lines = select(func.count()).select_from(OutboxRow)
    with desk.registry.reading(one_moment=True) as session, desk.reopen() as other:
        before = session.scalar(lines)
        Desk(other, desk.url).candidate()
        assert session.scalar(lines) == before
    with desk.registry.reading() as session:
        assert session.scalar(lines) > before


def test_every_database_tells_the_same(desk: Desk) -> None:
    fill(desk)
    found = verify(desk.registry)
    assert found.breaks == ()
    assert found.head == desk.registry.ledger()[-1].hash
