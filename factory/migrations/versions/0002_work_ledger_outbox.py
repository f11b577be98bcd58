"""Work that survives kills, the chained ledger, approvals, measures, and the outbox of mirrors."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from workgym.factory import ledger

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# What may never change, and the keys by which SQLite's REPLACE could delete without a DELETE.
KEYS = {
    "ledger": ["seq = NEW.seq", "hash = NEW.hash", "prev_hash = NEW.prev_hash"],
    "approvals": [
        "id = NEW.id",
        "(version_id = NEW.version_id AND alias = NEW.alias AND generation = NEW.generation "
        "AND actor = NEW.actor)",
    ],
    "outbox": ["seq = NEW.seq"],
    "measures": ["(version_id = NEW.version_id AND alias = NEW.alias AND name = NEW.name)"],
    "suite_uses": [
        "(suite_digest = NEW.suite_digest AND policy = NEW.policy AND purpose = NEW.purpose)",
    ],
}


def upgrade() -> None:
    """Bring the schema here."""
    create_work()
    create_ledger()
    create_measures()
    create_outbox()
    op.add_column("history", sa.Column("run_id", sa.Integer(), nullable=True))
    op.add_column("history", sa.Column("profile", sa.String(), nullable=True))
    op.add_column("history", sa.Column("given_up", sa.Text(), nullable=True))
    op.add_column("verdicts", sa.Column("env_version", sa.String(), nullable=True))
    tell_what_happened()
    guard = guard_sqlite if op.get_bind().dialect.name == "sqlite" else guard_postgresql
    guard()


def create_work() -> None:
    """Who drives a run, the tasks of it, every try at them, and what searches tried."""
    op.create_table(
        "drivers",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_drivers_run_id")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_drivers")),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("grp", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("retry_at", sa.Double(), nullable=False),
        sa.Column("artifact", sa.String(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("cpu_seconds", sa.Double(), nullable=False),
        sa.Column("wall_seconds", sa.Double(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.CheckConstraint(
            "status IN ('leased', 'waiting', 'committed', 'failed')", name=op.f("ck_tasks_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
        sa.UniqueConstraint("kind", "grp", "seq", name=op.f("uq_tasks_kind_grp_seq")),
    )
    op.create_index(op.f("ix_tasks_status"), "tasks", ["status"])
    op.create_table(
        "attempts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("began_at", sa.String(), nullable=False),
        sa.Column("ended_at", sa.String(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('running', 'committed', 'lost', 'failed', 'late')", name=op.f("ck_attempts_outcome")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_attempts_run_id")),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_attempts_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("task_id", "token", name=op.f("uq_attempts_task_id_token")),
    )
    op.create_index(op.f("ix_attempts_run_id"), "attempts", ["run_id"])
    op.create_table(
        "trials",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("variant", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("training_digest", sa.String(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.CheckConstraint("state IN ('running', 'pruned', 'complete')", name=op.f("ck_trials_state")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_trials_run_id")),
        sa.PrimaryKeyConstraint("run_id", "variant", "number", name=op.f("pk_trials")),
    )


def create_ledger() -> None:
    """The chained ledger, and who must and did say yes."""
    op.create_table(
        "ledger",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("prev_hash", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.CheckConstraint("kind IN ('move', 'approve', 'reject', 'protect')", name=op.f("ck_ledger_kind")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_ledger")),
        sa.UniqueConstraint("hash", name=op.f("uq_ledger_hash")),
        sa.UniqueConstraint("prev_hash", name=op.f("uq_ledger_prev_hash")),
    )
    op.create_table(
        "protections",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("approvals", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("model", "alias", name=op.f("pk_protections")),
    )
    op.create_table(
        "approvals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.CheckConstraint("decision IN ('approve', 'reject')", name=op.f("ck_approvals_decision")),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name=op.f("fk_approvals_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
        sa.UniqueConstraint(
            "version_id",
            "alias",
            "generation",
            "actor",
            name=op.f("uq_approvals_version_id_alias_generation_actor"),
        ),
    )


def create_measures() -> None:
    """What versions are measured by, and how often a sealed suite was shown."""
    op.create_table(
        "measures",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name=op.f("fk_measures_version_id")),
        sa.PrimaryKeyConstraint("version_id", "alias", "name", name=op.f("pk_measures")),
    )
    op.create_table(
        "suite_uses",
        sa.Column("suite_digest", sa.String(), nullable=False),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("suite_digest", "policy", "purpose", name=op.f("pk_suite_uses")),
    )


def create_outbox() -> None:
    """What mirrors must hear of, and how far each has come."""
    op.create_table(
        "outbox",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_outbox")),
    )
    op.create_table(
        "mirrors",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_mirrors")),
    )


def tell_what_happened() -> None:
    """Write the outbox and the ledger of a registry that had neither, in the order of the clock."""
    connection = op.get_bind()
    versions = {row["id"]: row for row in ledger.stored(connection, "model_versions")}
    said = ledger.stored(connection, "verdicts")
    moves = ledger.stored(connection, "history")
    told = [(row["created_at"], 0, row["id"], row) for row in versions.values()]
    told += [(row["created_at"], 1, row["id"], row) for row in said]
    told += [(row["at"], 2, row["seq"], row) for row in moves]
    numbered = {(row["name"], row["version"]): row for row in versions.values()}
    for _, step, _, row in sorted(told, key=lambda one: one[:3]):
        if step == 0:
            ledger.tell_registered(connection, row)
        elif step == 1:
            ledger.tell_judged(connection, versions[row["version_id"]], [row])
        else:
            tell_move(row, numbered[row["model"], row["to_version"]], said)


def tell_move(move: dict[str, Any], version: dict[str, Any], said: list[dict[str, Any]]) -> None:
    """A line for a move that was made before there was a ledger."""
    connection = op.get_bind()
    run = sa.text("SELECT code_version FROM runs WHERE id = :id")
    code_version = connection.execute(run, {"id": version["run_id"]}).scalar_one()
    earned = {}
    for one in said:
        about = (one["version_id"], one["alias"], one["champion_generation"])
        earlier = one["created_at"] <= move["at"]
        if earlier and about == (version["id"], move["alias"], move["generation"] - 1):
            earned[one["gate"]] = one
    required = json.loads(version["required_gates"]) if move["kind"] == "promote" else []
    verdicts = [earned[gate] for gate in required if gate in earned]
    payload = ledger.move_payload(move, version, code_version, verdicts, [])
    line = ledger.append(connection, "move", move["model"], move["alias"], payload, move["at"])
    ledger.tell_moved(connection, move, version["artifact_digest"], line)


def guard_sqlite() -> None:
    """Refuse in the database itself, also to whoever comes with raw SQL."""
    for table, keys in KEYS.items():
        refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        same_key = f"SELECT 1 FROM {table} WHERE {' OR '.join(keys)}"
        op.execute(f"CREATE TRIGGER {table}_update BEFORE UPDATE ON {table} {refuse}")
        op.execute(f"CREATE TRIGGER {table}_delete BEFORE DELETE ON {table} {refuse}")
        op.execute(
            f"CREATE TRIGGER {table}_replace BEFORE INSERT ON {table} WHEN EXISTS ({same_key}) {refuse}"
        )


def guard_postgresql() -> None:
    """The same refusals; PostgreSQL has no REPLACE, and has TRUNCATE."""
    for table in KEYS:
        refuse = f"EXECUTE FUNCTION registry_refuse('{table} is append-only')"
        op.execute(f"CREATE TRIGGER {table}_update BEFORE UPDATE ON {table} FOR EACH ROW {refuse}")
        op.execute(f"CREATE TRIGGER {table}_delete BEFORE DELETE ON {table} FOR EACH ROW {refuse}")
        op.execute(f"CREATE TRIGGER {table}_truncate BEFORE TRUNCATE ON {table} {refuse}")
