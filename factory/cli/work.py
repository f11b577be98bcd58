"""Commands on runs: resume, cancel and retry them, and see how they go on."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from workgym.factory.artifacts import Tampered
from workgym.factory.cli.base import (
    EXIT_CODES,
    Address,
    AsJson,
    EngineName,
    Home,
    actor,
    app,
    err,
    out,
    plain,
    say,
    workers,
    workspace,
)
from workgym.services.kernel import BadInput

RunNumber = Annotated[int, typer.Argument(help="Number of a run, as `factory status` shows it.", min=1)]
OVER = ("finished", "failed", "abandoned")


@app.command()
def resume(
    run: RunNumber,
    home: Home = None,
    engine: EngineName = "ray",
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Go on with an unfinished run; nothing that was committed is done again.

    Exits with 5 while another scheduler drives it, and when today's code is not the run's.

    Example: factory resume 3 --engine local
    """
    _go_on(run, home, engine, address, as_json)


@app.command()
def retry(
    run: RunNumber,
    home: Home = None,
    engine: EngineName = "ray",
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Give the failed tasks of a run new attempts, and go on with it.

    Example: factory retry 3
    """
    with workspace(home) as (registry, _):
        opened = registry.reopen_run(run)
    err.print(f"opened {opened} failed tasks of run {run} again", highlight=False)
    _go_on(run, home, engine, address, as_json)


def _go_on(run: int, home: Any, engine: str, address: str | None, as_json: bool) -> None:
    from workgym.factory import run as line
    from workgym.factory.show import Live, run_json, run_report

    with (
        workspace(home) as (registry, folder),
        workers(engine, folder, address) as floor,
        Live(err, quiet=as_json) as live,
    ):
        result = line.resume(registry, run, floor, live)
    say(as_json, run_json(result) if as_json else None, lambda: run_report(result))


@app.command()
def cancel(
    run: RunNumber,
    reason: Annotated[str, typer.Option(help="Why, in a sentence; it stays with the run.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Stop a run, wherever its scheduler is; it can be resumed later.

    Its scheduler notices within seconds, and what it brings after that is refused.

    Example: factory cancel 3 --reason "the wrong history"
    """
    if not reason.strip():
        raise BadInput("expected why the run is cancelled, found nothing; say it in a sentence")
    with workspace(home) as (registry, _):
        cancelled = registry.cancel_run(run, actor(), reason)
    say(as_json, cancelled, lambda: f"run {run} is {cancelled.message}; `factory resume {run}` goes on")


@app.command()
def status(
    run: Annotated[int | None, typer.Argument(help="Number of a run; default the newest.", min=1)] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show who drives a run, its queue, its workers, and what a resumption would do again.

    Example: factory status 3
    """
    from workgym.factory.standing import newest, standing, standing_table

    with workspace(home) as (registry, _):
        found = standing(registry, newest(registry) if run is None else run)
    say(as_json, found, lambda: standing_table(found))


@app.command()
def watch(
    run: Annotated[int | None, typer.Argument(help="Number of a run; default the newest.", min=1)] = None,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1)] = 1.0,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Follow a run until it is over; with --json one document a line, for every look that brings news.

    Example: factory watch 3
    """
    from rich.live import Live as Screen

    from workgym.factory.standing import newest, standing, standing_table

    with workspace(home) as (registry, _):
        number = newest(registry) if run is None else run
        found, told = standing(registry, number), None
        with nullcontext() if as_json else Screen(standing_table(found), console=out) as screen:
            while True:
                news = (found.queue, found.run.status)
                if screen is not None:
                    screen.update(standing_table(found), refresh=True)
                elif news != told:
                    print(json.dumps(plain(found)), flush=True)
                if str(found.run.status) in OVER:
                    return
                told = news
                time.sleep(every)
                found = standing(registry, number)


@app.command()
def logs(
    run: RunNumber,
    training: Annotated[str | None, typer.Option(help="One training only: VARIANT/SEED.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List every try at a run's tasks: worker, times, outcome, and what went wrong.

    Example: factory logs 3 --training small/1
    """
    from workgym.factory.standing import attempts_of, attempts_table

    with workspace(home) as (registry, _):
        found = attempts_of(registry, run, training)
    say(as_json, found, lambda: attempts_table(found))


@app.command()
def chaos(
    pipeline: Annotated[
        Path | None, typer.Argument(help="A pipeline; default a tiny one that trains and promotes.")
    ] = None,
    kills: Annotated[int, typer.Option(help="Half of workers, half of schedulers.", min=1)] = 20,
    keep: Annotated[
        Path | None, typer.Option(help="An empty folder for the two workspaces; default a scratch one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Kill workers and schedulers at every commit boundary, and show that it changes nothing.

    The same pipeline runs undisturbed beside it; exits with 7 when a weight, a scorecard or the
    history differs, or when a kill could not be placed. Your own workspace is not touched.

    Example: factory chaos --kills 20
    """
    from workgym.factory.chaos import chaos as disturb
    from workgym.factory.chaos_report import chaos_json, chaos_table
    from workgym.factory.pipeline import read_pipeline

    if pipeline is not None:
        read_pipeline(pipeline)
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise BadInput(f"expected an empty folder to --keep, found something in {keep}; name another")
    with TemporaryDirectory(prefix="wg-") if keep is None else nullcontext(str(keep)) as folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        whole = pipeline and pipeline.absolute()
        report = disturb(Path(folder).absolute(), kills, whole, lambda text: err.print(text, highlight=False))
    say(as_json, chaos_json(report), lambda: chaos_table(report))
    if not report.identical:
        raise typer.Exit(EXIT_CODES[Tampered])
