"""Commands on searches: what was tried."""

from __future__ import annotations

from typing import Annotated

import typer

from workgym.factory.cli.base import AsJson, Home, app, say, workspace


@app.command()
def trials(
    run: Annotated[int, typer.Argument(help="Number of a run.", min=1)],
    variant: Annotated[str | None, typer.Option(help="Only this variant's search.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List what a run's searches tried, how far each trial was trained, and what it earned.

    Example: factory trials 3 --variant tuned
    """
    from workgym.factory.trials import trials_json, trials_of, trials_table

    with workspace(home) as (registry, _):
        found = trials_of(registry.database, run, variant)
    say(as_json, trials_json(found), lambda: trials_table(run, found))
