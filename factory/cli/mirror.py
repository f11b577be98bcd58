"""Commands of the mirror: MLflow is told what the registry says, now or for as long as one likes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from workgym.factory import mirror as mirrors
from workgym.factory.cli.base import AsJson, Home, app, err, say, workspace
from workgym.factory.registry import Registry
from workgym.services.kernel import BadInput, InfrastructureFault

mirror = typer.Typer(
    help="Show the registry in MLflow: set WORKGYM_MLFLOW to a tracking URI.", no_args_is_help=True
)
app.add_typer(mirror, name="mirror")


@mirror.command("sync")
def sync(
    watch: Annotated[bool, typer.Option("--watch", help="Go on until interrupted.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks, with --watch.")] = 5.0,
    again: Annotated[
        bool, typer.Option("--again", help="Begin with the first line, when MLflow lost what it had.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Tell MLflow what it has not heard yet; exits with 6 when it could not hear all.

    Example: WORKGYM_MLFLOW=sqlite:///mlflow.db factory mirror sync
    """
    with workspace(home) as (registry, _):
        listener = _configured(registry)
        if again:
            mirrors.forget(registry.database, listener.name)
        with noted_interrupt() as interrupts:
            report = mirrors.sync(registry.database, listener)
            while watch:
                if report.done or report.error:
                    err.print(f"{report.done} lines told; {report.sentence}", highlight=False, markup=False)
                time.sleep(every)
                if interrupts:
                    raise KeyboardInterrupt
                report = mirrors.sync(registry.database, listener)
    say(as_json, report, lambda: f"{report.done} lines told")
    if report.behind:
        raise InfrastructureFault(f"{report.sentence}; run the command again to go on", committed="no")


@mirror.command("status")
def status(home: Home = None, as_json: AsJson = False) -> None:
    """Say how far MLflow is behind the registry, and why; asks the registry alone.

    Example: factory mirror status --json
    """
    from workgym.factory.mlflow_mirror import NAME

    with workspace(home) as (registry, _):
        report = mirrors.status(registry.database, NAME)
    since = f", since {report.since[:19]}" if report.since else ""
    say(as_json, report, lambda: f"{report.sentence}{since}")


@contextmanager
def noted_interrupt() -> Iterator[list[int]]:
    """Ctrl-C that cannot get lost: besides the exception, a number in a list.

    Python swallows an exception that is raised while it runs a destructor or a weak reference's callback,
    and a supervisor asks but once.
    """
    noted: list[int] = []

    def note(number: int, frame: Any) -> None:
        noted.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _configured(registry: Registry) -> mirrors.Mirror:
    from workgym.factory.mlflow_mirror import SETTING, configured

    listener = configured(registry)
    if listener is None:
        raise BadInput(f"no mirror is configured; set {SETTING} to an MLflow tracking URI, http or sqlite")
    return listener
