"""What searches tried, as the registry keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy import select

from workgym.factory.database import Database
from workgym.factory.entries import entry
from workgym.factory.runs import required_row
from workgym.factory.tables import RunRow, TrialRow
from workgym.services.kernel import NotFound, did_you_mean

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
        NotFound: there is no such run, or it did not search for such a variant.
    """
    query = select(TrialRow).filter_by(run_id=run_id).order_by(TrialRow.variant, TrialRow.number)
    found: dict[str, list[Trial]] = {}
    with database.read() as session:
        required_row(session, RunRow, run_id, "run")
        for row in session.scalars(query):
            found.setdefault(row.variant, []).append(entry(Trial, row))
    if variant is not None and variant not in found:
        raise NotFound(did_you_mean(f"search in run {run_id}", variant, sorted(found)))
    return {name: tuple(rows) for name, rows in found.items() if variant in (None, name)}


def trials_json(found: Mapping[str, Sequence[Trial]]) -> list[dict[str, Any]]:
    """Trials as plain rows, each with its variant."""
    return [{"variant": name, **vars(trial)} for name, trials in found.items() for trial in trials]


def trials_table(run_id: int, found: Mapping[str, Sequence[Trial]]) -> RenderableType:
    """A table for each search, who came furthest and earned most first."""
    if not found:
        return Text(f"run {run_id} searched for nothing; [variants.search] in a pipeline does")
    return Group(*(_table(name, trials) for name, trials in found.items()))


def _table(variant: str, trials: Sequence[Trial]) -> Table:
    chunks = sum(trial.chunks for trial in trials)
    table = Table(title=f"{variant}: {len(trials)} trials, {chunks} chunks", title_justify="left")
    for name in ("trial", "state", "chunks", "profit/case", *trials[0].params):
        table.add_column(name, justify="left" if name in ("trial", "state") else "right")
    for trial in sorted(trials, key=lambda one: (-one.chunks, -(one.value or 0.0), one.number)):
        value = "-" if trial.value is None else f"{trial.value:.1f}"
        fields = (f"{one:.4g}" if isinstance(one, float) else str(one) for one in trial.params.values())
        table.add_row(f"{variant}.{trial.number}", trial.state, str(trial.chunks), value, *fields)
    return table
