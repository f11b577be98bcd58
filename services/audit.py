"""The audit log that every service keeps: who did what to whom. It is append-only."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import (
    DDL,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    column,
    event,
    func,
    insert,
    select,
    table,
)
from sqlalchemy.sql.ddl import ExecutableDDLElement

from workgym.services.storage import SERIAL, Statement, Transaction

_COLUMNS = ("world_id", "day", "actor", "verb", "subject", "payload")
_audit = table("audit", *(column(name) for name in ("id", *_COLUMNS)))  # of whichever service it is
LOG = Statement(insert(_audit).values({name: bindparam(name) for name in _COLUMNS}), *_COLUMNS)

_APPEND_ONLY = {
    "sqlite": (
        """CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
           BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
        """CREATE TRIGGER audit_is_never_shortened BEFORE DELETE ON audit
           WHEN EXISTS (SELECT 1 FROM worlds WHERE id = OLD.world_id)
           BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
    ),
    "postgresql": (
        """CREATE OR REPLACE FUNCTION keep_audit() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN
             IF TG_OP = 'DELETE' THEN
               IF NOT EXISTS (SELECT 1 FROM worlds WHERE id = OLD.world_id) THEN RETURN OLD; END IF;
             END IF;
             RAISE EXCEPTION 'the audit log is append-only';
           END $$""",
        """CREATE TRIGGER audit_is_never_changed BEFORE UPDATE OR DELETE ON audit
           FOR EACH ROW EXECUTE FUNCTION keep_audit()""",
        """CREATE TRIGGER audit_is_never_emptied BEFORE TRUNCATE ON audit
           FOR EACH STATEMENT EXECUTE FUNCTION keep_audit()""",
    ),
}


@dataclass(frozen=True)
class Entry:
    """One line of the audit log; `payload` is JSON."""

    id: int
    day: int
    actor: str
    verb: str
    subject: str
    payload: str


def audit_table(metadata: MetaData) -> Table:
    """The log of a service that has a table `worlds`, with the triggers that guard it."""
    audit = Table(
        "audit",
        metadata,
        Column("id", SERIAL, primary_key=True),
        # The only cascade: while a world exists nobody may shorten its log, and it goes with the world.
        Column("world_id", SERIAL, ForeignKey("worlds.id", ondelete="CASCADE"), nullable=False),
        Column("day", Integer, nullable=False),
        Column("actor", Text, nullable=False),
        Column("verb", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("payload", Text, nullable=False),  # JSON
        Column("recorded_at", DateTime, nullable=False, server_default=func.current_timestamp()),
        Index("audit_by_world", "world_id"),
    )
    for dialect, texts in _APPEND_ONLY.items():
        for text in texts:
            trigger: ExecutableDDLElement = DDL(text)  # type: ignore[no-untyped-call]  # SQLAlchemy's own
            event.listen(audit, "after_create", trigger.execute_if(dialect=dialect))
    return audit


def entries(tx: Transaction, world: int, subject: str | None, limit: int) -> list[Entry]:
    """The latest lines of a world's log, newest first."""
    query = select(_audit).where(_audit.c.world_id == world).order_by(_audit.c.id.desc()).limit(limit)
    if subject is not None:
        query = query.where(_audit.c.subject == subject)
    return [
        Entry(row.id, row.day, row.actor, row.verb, row.subject, row.payload)
        for row in tx.connection.execute(query)
    ]
