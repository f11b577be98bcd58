"""Commands on what is registered: look, gate, promote, roll back, evaluate."""

from __future__ import annotations

from typing import Annotated

import typer

from workgym.factory.cli.base import (
    GATE_FAILED,
    GATE_INCONCLUSIVE,
    AsJson,
    Home,
    Model,
    Version,
    actor,
    app,
    say,
    workspace,
)
from workgym.factory.records import Outcome


@app.command()
def models(home: Home = None, as_json: AsJson = False) -> None:
    """List the models, who serves and since when.

    Example: factory models --json
    """
    from workgym.factory.show import models_table

    with workspace(home) as (registry, _):
        found = registry.list_models()
    say(as_json, found, lambda: models_table(found))


@app.command()
def show(
    model: Model,
    version: Annotated[
        int | None, typer.Argument(help="A version; without it all versions and the history.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show a model's versions and history, or one version with every verdict.

    Example: factory show orders 3
    """
    from workgym.factory import show as view

    with workspace(home) as (registry, _):
        page = (
            view.model_page(registry, model)
            if version is None
            else view.version_page(registry, model, version)
        )
    say(as_json, page.data, page.text)


@app.command()
def gate(
    model: Model,
    version: Version,
    alias: Annotated[
        str | None, typer.Option(help="A release of its pipeline; default the first one.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Judge a version against today's champion and record the verdicts.

    Exits with 3 when a gate fails and with 4 when one is inconclusive.

    Example: factory gate orders 3
    """
    from workgym.factory.again import gate_again
    from workgym.factory.show import verdict_table

    with workspace(home) as (registry, _):
        verdicts = gate_again(registry, model, version, alias)
    say(as_json, [verdict.to_dict() for verdict in verdicts], lambda: verdict_table(verdicts))
    outcomes = {verdict.outcome for verdict in verdicts}
    if Outcome.FAIL in outcomes:
        raise typer.Exit(GATE_FAILED)
    if Outcome.INCONCLUSIVE in outcomes:
        raise typer.Exit(GATE_INCONCLUSIVE)


@app.command()
def promote(
    model: Model,
    version: Version,
    reason: Annotated[
        str, typer.Option(help="Why, in a sentence; it stays in the history.")
    ] = "promoted by hand",
    alias: Annotated[str, typer.Option(help="What it serves as.")] = "champion",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Let a version serve; refused unless every required gate passed against today's champion.

    Verdicts on another env or suite than today's, or another champion, are stale: exit code 5.

    Example: factory promote orders 3 --reason "smaller, and nothing lost"
    """
    from workgym.factory.again import promote_by_hand

    with workspace(home) as (registry, _):
        line = promote_by_hand(registry, model, version, alias, actor=actor(), reason=reason)
    say(
        as_json,
        line,
        lambda: f"{model} version {version} now serves as {alias} (generation {line.generation}).",
    )


@app.command()
def rollback(
    model: Model,
    to: Annotated[
        int | None, typer.Option(help="A version that served before; default the previous one.")
    ] = None,
    reason: Annotated[
        str, typer.Option(help="Why, in a sentence; it stays in the history.")
    ] = "rolled back by hand",
    alias: Annotated[str, typer.Option(help="What it serves as.")] = "champion",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Let the previous champion serve again.

    Example: factory rollback orders --reason "complaints from Cork"
    """
    with workspace(home) as (registry, _):
        line = registry.rollback(model, alias, to=to, actor=actor(), reason=reason)
    text = (
        f"{model} version {line.to_version} serves again as {alias}, instead of version {line.from_version}."
    )
    say(as_json, line, lambda: text)


@app.command()
def evaluate(
    model: Model,
    version: Annotated[int | None, typer.Argument(help="A version; default the champion.")] = None,
    split: Annotated[str, typer.Option(help="gate or audit.")] = "gate",
    per_family: Annotated[int, typer.Option(min=1, help="Scenarios of each family.")] = 64,
    backend: Annotated[str, typer.Option(help="twin or embedded.")] = "twin",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Play a version and the department's rules on a suite and print profit by family.

    Example: factory evaluate orders 3 --split audit
    """
    from workgym.factory.again import evaluate_again
    from workgym.factory.show import cards_json, cards_table

    with workspace(home) as (registry, _):
        cards = evaluate_again(registry, model, version, split, per_family, backend)
    say(as_json, cards_json(cards), lambda: cards_table(cards))
