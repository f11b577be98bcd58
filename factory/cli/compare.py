"""Commands on results side by side: compare two versions, export scores for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workgym.factory.cli.base import AsJson, Home, Model, app, say, workspace

exports = typer.Typer(
    help="Write what the registry holds in a form that other tools read.", no_args_is_help=True
)
app.add_typer(exports, name="export")


@app.command()
def compare(
    model: Model,
    first: Annotated[str, typer.Argument(help="Number of a version, or an alias such as champion.")],
    second: Annotated[str, typer.Argument(help="The same, of whom would replace the first.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Pair two versions on the same scenarios: gain by family, flips, latency, size, cost, seeds.

    Example: factory compare orders champion 5
    """
    from workgym.factory import compare as pairing

    with workspace(home) as (registry, _):
        found = pairing.compare(registry, model, first, second)
    say(as_json, found, lambda: pairing.comparison_table(found))


@exports.command("scores")
def scores(
    model: Model,
    to: Annotated[Path | None, typer.Option(help="Where to write; default MODEL.scores.npz here.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Write cents per case as matrices (seeds, scenarios), one for each variant and family.

    The versions are those on the newest version's suite, of every run. A matrix is called VARIANT/FAMILY;
    `seeds:FAMILY` holds the scenarios' seeds.

    Example: factory export scores orders --to scores.npz
    """
    from workgym.factory.export import export_scores

    target = to or Path(f"{model}.scores.npz")
    with workspace(home) as (registry, _):
        written = export_scores(registry, model, target)
    lines = [f"{name}: {rows} seeds, {columns} scenarios" for name, (rows, columns) in written.shapes.items()]
    say(as_json, written, lambda: "\n".join([*lines, f"Written to {target}."]))
