"""Commands on trade-offs: who is on the front, and what each profile would pick."""

from __future__ import annotations

from typing import Annotated

import typer

from workgym.factory.cli.base import AsJson, Home, Model, app, say, workspace


@app.command()
def pareto(
    model: Model,
    alias: Annotated[str, typer.Option(help="The release whose measures are compared.")] = "champion",
    profile: Annotated[
        str | None, typer.Option(help="Also say whom this profile would pick, and what that gives up.")
    ] = None,
    everyone: Annotated[
        bool, typer.Option("--all", help="Also versions that did not pass every gate.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List the versions that no other beats in everything, and what dominates the rest.

    Example: factory pareto orders --profile small
    """
    from workgym.factory.trade_offs import trade_offs, trade_offs_table

    with workspace(home) as (registry, _):
        found = trade_offs(registry, model, alias, profile, everyone)
    say(as_json, found, lambda: trade_offs_table(found))


@app.command()
def tiers(
    model: Model,
    alias: Annotated[
        list[str] | None, typer.Option("--alias", help="Only these aliases; repeat it. Default: all.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show how those that serve differ: which scenarios one handles and another does not.

    Example: factory tiers orders --alias champion --alias edge
    """
    from workgym.factory.tiers import tiers as differences
    from workgym.factory.tiers import tiers_table

    with workspace(home) as (registry, _):
        found = differences(registry, model, alias or ())
    say(as_json, found, lambda: tiers_table(model, found))
