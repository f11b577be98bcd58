"""What others must hear of: lines written with the change itself, read in order by every mirror."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from workgym.factory.tables import OutboxRow

VERSION_REGISTERED = "version.registered"
VERSION_JUDGED = "version.judged"
ALIAS_MOVED = "alias.moved"


def announce(session: Session, topic: str, payload: dict[str, Any], at: str) -> None:
    """Write a line into the outbox, in the transaction of the change that it tells of.

    Args:
        session: the writer that makes the change; a line of a change that is undone is undone too.
        topic: what happened, one of the topics above.
        payload: plain JSON; names at least `model` and `version`, and `alias` where one moved.
        at: UTC, ISO 8601.
    """
    session.add(OutboxRow(topic=topic, payload=payload, at=at))
