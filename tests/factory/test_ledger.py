"""One line for each decision, hashed with the one before, in the transaction of the decision."""

from __future__ import annotations

import json

import pytest
from alembic import command
from sqlalchemy import text

from tests.factory.conftest import Desk, Ticking
from workgym.factory import ledger
from workgym.factory.artifacts import ArtifactStore
from workgym.factory.database import _WRITES, alembic_config, make_engine
from workgym.factory.proof import verify
from workgym.factory.registry import Registry
from workgym.services.kernel import Refused


def outbox(registry: Registry) -> list[tuple[str, dict]]:
    with registry.reading() as session:
        return [(row["topic"], json.loads(row["payload"])) for row in ledger.stored(session, "outbox")]


def test_a_move_is_a_line_that_names_what_it_rests_on(desk: Desk, registry: Registry) -> None:
    version = desk.judge(desk.candidate(gates=("flips", "gain")))
    registry.promote(
        "orders",
        1,
        expected_generation=0,
        actor="Ada",
        reason="it earns more",
        run_id=version.run_id,
        profile="robust",
        given_up={"profit": -1.5},
    )
    (line,) = registry.ledger()
    said = line.payload
    assert (line.seq, line.kind, line.model, line.alias, line.prev_hash) == (
        1,
        "move",
        "orders",
        "champion",
        "",
    )
    assert (said["from_version"], said["to_version"], said["generation"]) == (None, 1, 1)
    assert (said["profile"], said["given_up"], said["run_id"]) == (
        "robust",
        {"profit": -1.5},
        version.run_id,
    )
    assert (said["artifact"], said["scorecard"]) == (version.artifact_digest, version.scorecard_digest)
    assert (said["env_version"], said["suite"]) == ("Orders-v0+abc", version.suite_digest)
    assert said["code_version"] == "0.1.0+def"
    assert [one["gate"] for one in said["verdicts"]] == ["flips", "gain"]
    move = registry.history("orders")[0]
    assert (move.run_id, move.profile, move.given_up) == (version.run_id, "robust", {"profit": -1.5})


def test_each_line_follows_the_one_before(desk: Desk, registry: Registry) -> None:
    desk.champions(3)
    desk.rollback()
    lines = registry.ledger()
    assert [line.seq for line in lines] == [1, 2, 3, 4]
    assert [line.prev_hash for line in lines] == ["", *(line.hash for line in lines[:-1])]


def test_the_chain_goes_over_all_models(desk: Desk, registry: Registry) -> None:
    desk.champions(1)
    desk.name = "returns"
    desk.champions(1)
    assert [line.model for line in registry.ledger()] == ["orders", "returns"]
    assert [line.seq for line in registry.ledger("returns")] == [2]


def test_what_is_refused_leaves_no_line(desk: Desk, registry: Registry) -> None:
    with pytest.raises(Refused):
        desk.promote(desk.candidate())
    assert registry.ledger() == ()
    assert [topic for topic, _ in outbox(registry)] == ["version.registered"]


def test_the_outbox_tells_of_versions_verdicts_measures_and_moves(desk: Desk, registry: Registry) -> None:
    version = desk.blessed()
    registry.record_measures(version, "champion", {"profit": 2.5})
    registry.record_measures(version, "champion", {"profit": 9.0})  # is there already
    desk.judge(version)  # says the same again
    line = desk.promote(version)
    told = outbox(registry)
    topics = ["version.registered", "version.judged", "version.measured", "alias.moved"]
    assert [topic for topic, _ in told] == topics
    moved = told[-1][1]
    assert moved["artifact"] == version.artifact_digest
    assert (moved["version"], moved["generation"]) == (line.to_version, line.generation)
    assert moved["ledger"] == registry.ledger()[-1].hash


def test_a_registry_from_before_the_ledger_gets_its_lines(database_url: str, artifacts: ArtifactStore):
    old = old_registry(database_url, artifacts)
    with Registry(database_url, artifacts, Ticking()) as registry:
        assert [line.payload["to_version"] for line in registry.ledger()] == [1, 2, 1]
        assert [len(line.payload["verdicts"]) for line in registry.ledger()] == [1, 1, 0]
        assert len([one for one in outbox(registry) if one[0] == "version.registered"]) == 2
        assert registry.history("orders")[-1].to_version == old
        assert verify(registry).breaks == ()


def old_registry(url: str, artifacts: ArtifactStore) -> int:
    """A registry as it was before it had a ledger, where version 1 serves again after version 2."""
    with Registry(url, artifacts, Ticking()) as registry:
        desk = Desk(registry, url)
        desk.champions(2)
        desk.rollback()
        with registry.reading() as session:
            tables = ("runs", "model_versions", "verdicts", "aliases", "history")
            kept = {name: session.execute(text(f"SELECT * FROM {name}")).mappings().all() for name in tables}
    engine = make_engine(url)
    with engine.execution_options(**{_WRITES: True}).begin() as connection:
        drop_everything(connection)
        command.upgrade(alembic_config(connection), "0001")
        for name, rows in kept.items():
            columns = [one for one in rows[0] if one not in NEW[name]] if name in NEW else list(rows[0])
            names, places = ", ".join(columns), ", ".join(f":{one}" for one in columns)
            for row in rows:
                connection.execute(text(f"INSERT INTO {name} ({names}) VALUES ({places})"), dict(row))
    engine.dispose()
    return 1


NEW = {"history": {"run_id", "profile", "given_up"}, "verdicts": {"env_version"}}


def drop_everything(connection) -> None:
    """Leave an empty database."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        return
    connection.execute(text("PRAGMA defer_foreign_keys = ON"))
    found = connection.execute(
        text("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND type <> 'index'")
    ).all()
    for kind, name in sorted(found, reverse=True):
        connection.execute(text(f"DROP {kind} IF EXISTS {name}"))
