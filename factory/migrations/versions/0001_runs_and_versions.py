"""Runs, model versions, verdicts, aliases, and the triggers that keep what was written."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# What may never change, and the keys by which SQLite's REPLACE could delete without a DELETE.
KEYS = {
    "history": ["seq = NEW.seq", "(model = NEW.model AND alias = NEW.alias AND generation = NEW.generation)"],
    "verdicts": ["id = NEW.id"],
    "model_versions": [
        "id = NEW.id",
        "(name = NEW.name AND version = NEW.version)",
        "(name = NEW.name AND run_id = NEW.run_id AND artifact_digest = NEW.artifact_digest)",
    ],
    "aliases": ["(model = NEW.model AND alias = NEW.alias)"],
}
FIXED = (
    "id, name, version, run_id, training_id, artifact_digest, scorecard_digest, suite_digest, "
    "env_id, env_version, required_gates, lineage, created_at"
)
UPDATES = {
    "history": ("UPDATE", ""),
    "verdicts": ("UPDATE", ""),
    "model_versions": (f"UPDATE OF {FIXED}", ""),
    "aliases": ("UPDATE", "WHEN (NEW.generation <> OLD.generation + 1)"),
}
REFUSALS = {
    "history": "history is append-only",
    "verdicts": "verdicts is append-only",
    "model_versions": "model_versions is append-only but for its status",
    "aliases": "aliases moves only to the next generation",
}


def upgrade() -> None:
    """Bring the schema here."""
    create_runs()
    create_trainings()
    create_model_versions()
    create_verdicts()
    create_aliases()
    guard = guard_sqlite if op.get_bind().dialect.name == "sqlite" else guard_postgresql
    guard()


def create_runs() -> None:
    """Executions of pipelines, and the baselines that each was measured against."""
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pipeline", sa.String(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("spec_digest", sa.String(), nullable=False),
        sa.Column("env_id", sa.String(), nullable=False),
        sa.Column("env_version", sa.String(), nullable=False),
        sa.Column("code_version", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("started_at", sa.String(), nullable=False),
        sa.Column("finished_at", sa.String(), nullable=True),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("process_started", sa.Double(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.CheckConstraint(
            "status IN ('running', 'finished', 'failed', 'abandoned')", name=op.f("ck_runs_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(op.f("ix_runs_status"), "runs", ["status"])
    op.create_table(
        "baselines",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("suite_digest", sa.String(), nullable=False),
        sa.Column("scorecard_digest", sa.String(), nullable=False),
        sa.Column("scenarios", sa.Integer(), nullable=False),
        sa.Column("profit_per_case", sa.Double(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_baselines_run_id")),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_baselines")),
    )


def create_trainings() -> None:
    """Trained variants and their learning curves."""
    op.create_table(
        "trainings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("variant", sa.String(), nullable=False),
        sa.Column("algorithm", sa.String(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("recipe_digest", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("cpu_seconds", sa.Double(), nullable=False),
        sa.Column("policy_digest", sa.String(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.CheckConstraint(
            "status <> 'finished' OR policy_digest IS NOT NULL", name=op.f("ck_trainings_policy")
        ),
        sa.CheckConstraint(
            "status IN ('running', 'finished', 'failed', 'abandoned')", name=op.f("ck_trainings_status")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_trainings_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trainings")),
        sa.UniqueConstraint("run_id", "variant", "seed", name=op.f("uq_trainings_run_id_variant_seed")),
    )
    op.create_table(
        "curve_points",
        sa.Column("training_id", sa.Integer(), nullable=False),
        sa.Column("steps", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("cpu_seconds", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["training_id"], ["trainings.id"], name=op.f("fk_curve_points_training_id")),
        sa.PrimaryKeyConstraint("training_id", "steps", name=op.f("pk_curve_points")),
    )


def create_model_versions() -> None:
    """Candidates that were kept."""
    op.create_table(
        "model_versions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("training_id", sa.Integer(), nullable=True),
        sa.Column("artifact_digest", sa.String(), nullable=False),
        sa.Column("scorecard_digest", sa.String(), nullable=False),
        sa.Column("suite_digest", sa.String(), nullable=False),
        sa.Column("env_id", sa.String(), nullable=False),
        sa.Column("env_version", sa.String(), nullable=False),
        sa.Column("required_gates", sa.Text(), nullable=False),
        sa.Column("lineage", sa.Text(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.CheckConstraint(
            "status IN ('registered', 'blessed', 'rejected')", name=op.f("ck_model_versions_status")
        ),
        sa.CheckConstraint("version >= 1", name=op.f("ck_model_versions_version")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_model_versions_run_id")),
        sa.ForeignKeyConstraint(
            ["training_id"], ["trainings.id"], name=op.f("fk_model_versions_training_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint(
            "name", "run_id", "artifact_digest", name=op.f("uq_model_versions_name_run_id_artifact_digest")
        ),
        sa.UniqueConstraint("name", "version", name=op.f("uq_model_versions_name_version")),
    )


def create_verdicts() -> None:
    """What the gates said."""
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("gate", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("sentence", sa.String(), nullable=False),
        sa.Column("numbers", sa.Text(), nullable=False),
        sa.Column("champion", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("champion_generation", sa.Integer(), nullable=False),
        sa.Column("suite_digest", sa.String(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.CheckConstraint("outcome IN ('pass', 'fail', 'inconclusive')", name=op.f("ck_verdicts_outcome")),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name=op.f("fk_verdicts_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
    )
    op.create_index(op.f("ix_verdicts_version_id_gate"), "verdicts", ["version_id", "gate"])


def create_aliases() -> None:
    """Who serves, and every move of it."""
    version = ["model_versions.name", "model_versions.version"]
    op.create_table(
        "aliases",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.CheckConstraint("generation >= 1", name=op.f("ck_aliases_generation")),
        sa.ForeignKeyConstraint(["model", "version"], version, name=op.f("fk_aliases_model")),
        sa.PrimaryKeyConstraint("model", "alias", name=op.f("pk_aliases")),
    )
    op.create_table(
        "history",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("from_version", sa.Integer(), nullable=True),
        sa.Column("to_version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.CheckConstraint("kind IN ('promote', 'rollback')", name=op.f("ck_history_kind")),
        sa.ForeignKeyConstraint(["model", "to_version"], version, name=op.f("fk_history_model")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_history")),
        sa.UniqueConstraint("model", "alias", "generation", name=op.f("uq_history_model_alias_generation")),
    )


def guard_sqlite() -> None:
    """Refuse in the database itself, also to whoever comes with raw SQL."""
    for table, text in REFUSALS.items():
        refuse = f"BEGIN SELECT RAISE(ABORT, '{text}'); END"
        verb, condition = UPDATES[table]
        same_key = f"SELECT 1 FROM {table} WHERE {' OR '.join(KEYS[table])}"
        op.execute(f"CREATE TRIGGER {table}_update BEFORE {verb} ON {table} {condition} {refuse}")
        op.execute(f"CREATE TRIGGER {table}_delete BEFORE DELETE ON {table} {refuse}")
        op.execute(
            f"CREATE TRIGGER {table}_replace BEFORE INSERT ON {table} WHEN EXISTS ({same_key}) {refuse}"
        )


def guard_postgresql() -> None:
    """The same refusals; PostgreSQL has no REPLACE, and has TRUNCATE."""
    op.execute(
        "CREATE FUNCTION registry_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    for table, text in REFUSALS.items():
        refuse = f"EXECUTE FUNCTION registry_refuse('{text}')"
        verb, condition = UPDATES[table]
        op.execute(
            f"CREATE TRIGGER {table}_update BEFORE {verb} ON {table} FOR EACH ROW {condition} {refuse}"
        )
        op.execute(f"CREATE TRIGGER {table}_delete BEFORE DELETE ON {table} FOR EACH ROW {refuse}")
        op.execute(f"CREATE TRIGGER {table}_truncate BEFORE TRUNCATE ON {table} {refuse}")
