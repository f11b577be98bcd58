"""The audit trail of a world as people read it: who did what to whom, and when."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import DateTime, or_, select
from sqlalchemy import column as _column
from sqlalchemy import table as _table

from workgym.services.storage import Database

PAGE = 50
_NAMES = ("number", "world_id", "day", "actor", "verb", "subject", "payload")
_audit = _table("audit", *(_column(name) for name in _NAMES), _column("recorded_at", DateTime))


class Event(NamedTuple):
    """One line of the trail."""

    number: int
    day: int
    actor: str
    verb: str
    subject: str
    payload: Mapping[str, Any]
    recorded_at: datetime


def trail(
    database: Database,
    world: int,
    *,
    subject: str = "",
    actor: str = "",
    verb: str = "",
    before: int | None = None,
    limit: int = PAGE,
) -> list[Event]:
    """The latest lines, newest first.

    Args:
        database: of the service.
        world: its id.
        subject: `order/7`, or `order` for every order; empty does not matter.
        actor: who; empty does not matter.
        verb: what; empty does not matter.
        before: only lines older than this one.
        limit: how many at most.
    """
    query = select(_audit).where(_audit.c.world_id == world).order_by(_audit.c.number.desc()).limit(limit)
    if subject:
        below = _audit.c.subject.startswith(f"{subject}/", autoescape=True)
        query = query.where(or_(_audit.c.subject == subject, below))
    if actor:
        query = query.where(_audit.c.actor == actor)
    if verb:
        query = query.where(_audit.c.verb == verb)
    if before is not None:
        query = query.where(_audit.c.number < before)
    with database.read() as tx:
        rows = tx.connection.execute(query).all()
    return [
        Event(row.number, row.day, row.actor, row.verb, row.subject, json.loads(row.payload), row.recorded_at)
        for row in rows
    ]
