"""What searches tried, as the registry keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select

from workgym.factory.database import Database
from workgym.factory.entries import entry
from workgym.factory.runs import required_row
from workgym.factory.tables import RunRow, TrialRow

State = Literal["running", "pruned", "complete"]


@dataclass(frozen=True)
class Trial:
    """A recipe that a search tried.

    Attributes:
        number: in the order of asking.
        params: the fields of the recipe that were looked for.
        training_digest: the training behind it; empty where the fields make no recipe.
        chunks: how far it was trained for the search.
        value: cents a case on train scenarios then; None before the first rung.
        state: complete when it reached the last rung, pruned when it did not.
    """

    number: int
    params: dict[str, Any]
    training_digest: str
    chunks: int
    value: float | None
    state: State


def record_trials(database: Database, run_id: int, variant: str, trials: Sequence[Trial]) -> None:
    """Keep where the trials of a run's variant stand; a repeated search writes the same again."""
    with database.write() as session:
        for trial in trials:
            session.merge(TrialRow(run_id=run_id, variant=variant, **vars(trial)))


def trials_of(database: Database, run_id: int, variant: str | None = None) -> dict[str, tuple[Trial, ...]]:
    """A run's trials by variant, each in the order of asking.

    Raises:
        NotFound: there is no such run.
    """
    query = select(TrialRow).filter_by(run_id=run_id).order_by(TrialRow.variant, TrialRow.number)
    if variant is not None:
        query = query.filter_by(variant=variant)
    found: dict[str, list[Trial]] = {}
    with database.read() as session:
        required_row(session, RunRow, run_id, "run")
        for row in session.scalars(query):
            found.setdefault(row.variant, []).append(entry(Trial, row))
    return {name: tuple(rows) for name, rows in found.items()}
