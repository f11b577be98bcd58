"""Commands on what can be proved and explained: ledger, approvals, lineage, flips, replay, card."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from workgym.factory.cli.base import (
    AsJson,
    Home,
    Model,
    Version,
    actor,
    app,
    err,
    say,
    workspace,
)

INTEGRITY, REFUSED = 7, 5

Alias = Annotated[str, typer.Option(help="The alias that is asked about.")]
Reason = Annotated[str, typer.Option(help="Why, in a sentence; it stays in the ledger.")]
Who = Annotated[str, typer.Argument(help="A version's number, an alias, or a rule of the department.")]
FamilyWish = Annotated[str | None, typer.Option("--family", help="This business situation alone.")]


@app.command()
def verify(
    model: Annotated[
        str | None, typer.Option(help="Rows and bytes of this model alone; the chain is walked whole.")
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="Hash of a line that was the last one once; it must still be there.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Prove that nothing was changed: ledger, rows, who earned what, and every stored byte.

    Exits with 7 and the first place that does not hold. Keep the printed head somewhere else: with
    --head the next proof also notices a ledger that was written anew.

    Example: factory verify --model orders
    """
    from workgym.factory.proof import verify as walk
    from workgym.factory.show_proof import proof_report

    with workspace(home) as (registry, _):
        proof = walk(registry, model, head)
    say(as_json, {**asdict(proof), "sound": proof.sound}, lambda: proof_report(proof))
    if not proof.sound:
        first = proof.breaks[0]
        err.print(f"factory: {first.place}: {first.what}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(INTEGRITY)


@app.command()
def protect(
    model: Model,
    alias: Alias = "champion",
    approvals: Annotated[int, typer.Option(help="How many different people; 0 lifts it.", min=0)] = 1,
    reason: Reason = "protected by hand",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Let an alias move only after people approved; a rollback asks nobody.

    Example: factory protect orders --alias champion --approvals 2
    """
    with workspace(home) as (registry, _):
        registry.protect(model, alias, approvals, actor=actor(), reason=reason)
    told = f"needs {approvals} approvals to move" if approvals else "moves without approval"
    said = {"model": model, "alias": alias, "approvals": approvals}
    say(as_json, said, lambda: f"{model}@{alias} {told}.")


@app.command()
def approve(
    model: Model,
    version: Version,
    reason: Annotated[str, typer.Option(help="Why, in a sentence; it stays in the ledger.")],
    alias: Alias = "champion",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say yes to a version that wants a protected alias; the name is $WORKGYM_ACTOR, else $USER.

    Example: factory approve orders 3 --reason "looked at the flips, none hurts"
    """
    with workspace(home) as (registry, _):
        word = registry.approve(model, version, alias, actor=actor(), reason=reason)
        here = [
            one
            for one in registry.approvals(model, version, alias)
            if (one.generation, one.decision) == (word.generation, "approve")
        ]
        asked = registry.protection(model, alias)
    nexts = f"`factory promote {model} {version} --alias {alias}` lets it serve once every gate passed."
    text = f"{word.actor} approved {model} version {version} for {alias}: {len(here)} of {asked}."
    say(as_json, word, lambda: f"{text} {nexts}" if len(here) >= asked else text)


@app.command()
def reject(
    model: Model,
    version: Version,
    reason: Annotated[str, typer.Option(help="Why, in a sentence; it stays in the ledger.")],
    alias: Alias = "champion",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say no to a version that wants a protected alias; no approval outweighs it.

    Example: factory reject orders 3 --reason "too many express parcels to Cork"
    """
    with workspace(home) as (registry, _):
        word = registry.reject(model, version, alias, actor=actor(), reason=reason)
    say(as_json, word, lambda: f"{word.actor} rejected {model} version {version} for {alias}.")


@app.command()
def lineage(
    model: Model,
    version: Version,
    dot: Annotated[bool, typer.Option("--dot", help="Print Graphviz' language instead.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show what a version was made of, and every verdict and line of the ledger about it.

    Example: factory lineage orders 3 --dot
    """
    from workgym.factory.lineage import lineage as trace

    with workspace(home) as (registry, _):
        found = trace(registry, model, version)
    say(as_json, found, found.to_dot if dot else found.to_text)


@app.command()
def explain(
    model: Model,
    version: Version,
    alias: Alias = "champion",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say why a version serves, or why not and what it would take.

    Example: factory explain orders 3
    """
    from workgym.factory.explain import explain as tell
    from workgym.factory.show_proof import explanation_report

    with workspace(home) as (registry, _):
        found = tell(registry, model, version, alias)
    say(as_json, found, lambda: explanation_report(found))


@app.command()
def flips(
    model: Model,
    a: Who,
    b: Who,
    family: FamilyWish = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List the scenarios that one handles and the other fails, each with a command that replays it.

    Example: factory flips orders champion 4
    """
    from workgym.factory.flips import flips as compare
    from workgym.factory.show_proof import flips_report

    with workspace(home) as (registry, _):
        found = compare(registry, model, a, b, family)
    say(as_json, found, lambda: flips_report(found))


@app.command()
def replay(
    model: Model,
    who: Who,
    family: Annotated[str, typer.Option(help="Business situation of the scenario.")],
    seed: Annotated[int, typer.Option(help="Seed of the scenario.", min=0)],
    against: Annotated[str | None, typer.Option(help="Somebody else who plays the same scenario.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of the scenario; default the one that the pipeline judges on.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Play one season and print it decision by decision, or two of them side by side.

    Example: factory replay orders 3 --family normal --seed 17 --against champion
    """
    from workgym.factory.replay import replay as play
    from workgym.factory.show_proof import season_report, side_by_side

    with workspace(home) as (registry, _):
        season = play(registry, model, who, family, seed, split)
        other = play(registry, model, against, family, seed, split) if against else None
    told = {"season": asdict(season), "against": asdict(other)} if other else asdict(season)
    say(as_json, told, lambda: side_by_side(season, other) if other else season_report(season))


@app.command()
def card(
    model: Model,
    version: Version,
    to: Annotated[Path | None, typer.Option(help="Write MODEL-vN.md and MODEL-vN.json there.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Print a version's model card: purpose, trade-offs, data, training, verdicts, limits.

    Example: factory card orders 3 --to cards
    """
    from workgym.factory.card import card as write
    from workgym.factory.card import to_markdown, write_card

    with workspace(home) as (registry, _):
        made = write(registry, model, version)
    if to is None:
        say(as_json, made, lambda: to_markdown(made).rstrip())
        return
    pages = write_card(made, to)
    say(as_json, {"files": [str(page) for page in pages]}, lambda: "\n".join(map(str, pages)))


@app.command()
def reproduce(
    model: Model,
    version: Annotated[int | None, typer.Argument(help="A version; default the champion.", min=1)] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Train a version again from what was recorded of it and compare every chunk, bit for bit.

    Exits with 7 when the same code gives other bytes, and with 5 when the code has changed since and
    other bytes come out.

    Example: factory reproduce orders 3
    """
    from workgym.factory.reproduce import reproduce as again

    def watch(chunk: int, of: int) -> None:
        if not as_json:
            err.print(f"  chunk {chunk} of {of} trained again", highlight=False)

    with workspace(home) as (registry, _):
        done = again(registry, model, version, watch)
    told = {**asdict(done), "identical": done.identical, "sentence": done.sentence()}
    say(as_json, told, lambda: f"{done.sentence()}: expected {done.expected}, found {done.found}.")
    if not done.identical:
        raise typer.Exit(INTEGRITY if done.same_code else REFUSED)
