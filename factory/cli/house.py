"""Commands on the workspace itself: the dashboard, and whether this machine can work."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from workgym.factory.cli.base import EXIT_CODES, AsJson, Home, app, err, say
from workgym.services.kernel import InfrastructureFault


@app.command()
def dashboard(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8080,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Serve the read-only page of champions, verdicts, history and runs, until it is interrupted.

    Example: factory dashboard --port 8080
    """
    from workgym.factory.dashboard.server import serve

    def announce(url: str) -> None:
        err.print(f"dashboard at {url} (Ctrl-C stops it)")
        if as_json:
            print(json.dumps({"url": url}), flush=True)

    folder = Path(home or os.environ.get("WORKGYM_HOME") or ".workgym").absolute()
    serve(folder, host, port, announce)


@app.command()
def doctor(home: Home = None, as_json: AsJson = False) -> None:
    """Check that this machine can run the factory, and say how to mend what is missing.

    Example: factory doctor
    """
    from workgym.factory.doctor import examine
    from workgym.factory.show import doctor_table

    folder = Path(home or os.environ.get("WORKGYM_HOME") or ".workgym").absolute()
    findings = examine(folder)
    say(as_json, findings, lambda: doctor_table(findings))
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(EXIT_CODES[InfrastructureFault])
