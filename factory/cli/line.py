"""Commands of the line: run a pipeline, check an env, read a company's history."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workgym.factory.cli.base import (
    GATE_FAILED,
    Address,
    AsJson,
    EngineName,
    Home,
    app,
    err,
    say,
    workers,
    workspace,
)
from workgym.factory.pipeline import read_pipeline
from workgym.services.kernel import BadInput

imports = typer.Typer(help="Read a company's own history.", no_args_is_help=True)
app.add_typer(imports, name="import")


@app.command()
def run(
    pipeline: Annotated[Path, typer.Argument(help="A pipeline, for example pipelines/orders.toml.")],
    home: Home = None,
    engine: EngineName = "ray",
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Train a pipeline's variants, gate them, and promote the best that passes.

    Interrupted or killed, the same command goes on from the last finished chunk. Exits with 5 while
    another scheduler drives the same pipeline.

    Example: factory run pipelines/orders.toml
    """
    from workgym.factory import run as line
    from workgym.factory.show import Live, run_json, run_report

    spec = read_pipeline(pipeline)
    with (
        workspace(home) as (registry, folder),
        workers(engine, folder, address) as floor,
        Live(err, quiet=as_json) as live,
    ):
        result = line.run(spec, registry, floor, live)
    say(as_json, run_json(result) if as_json else None, lambda: run_report(result))


@app.command()
def check(
    env_id: Annotated[str, typer.Argument(help="A Gymnasium id, for example workgym/Orders-v0.")],
    backend: Annotated[
        list[str] | None,
        typer.Option(help="twin, embedded, docker, or http (the server at $WORKGYM_URL); repeat it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check an environment against every law and print the number of cases.

    Example: factory check workgym/Orders-v0 --backend twin --backend embedded
    """
    from workgym.agents.baselines.players import players
    from workgym.envs import conformance
    from workgym.factory.show import conformance_table

    findings = conformance.check(env_id, tuple(backend) if backend else None, players=players(env_id))
    say(as_json, findings, lambda: conformance_table(env_id, findings))
    if not all(finding.passed for finding in findings):
        raise typer.Exit(GATE_FAILED)


@imports.command("orders")
def import_orders(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet export of order lines.")],
    to: Annotated[
        Path | None, typer.Option(help="Where to write; default FILE's name with .baskets.npz here.")
    ] = None,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="FIELD=COLUMN where the guess is wrong; repeat it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read a company's order history into baskets that a season draws its orders from.

    Example: factory import orders export.csv --map sku=StockCode
    """
    from workgym.services.orders.history import read_orders, to_orders

    history = read_orders(file, _mapping(mapping or []))
    baskets = to_orders(history)
    target = to or Path(f"{file.stem}.baskets.npz")
    digest = baskets.save(target)
    use = f'Use it: history = "{target}" under [env_kwargs] of a pipeline, or as an argument of gym.make.'
    summary = {**history.to_dict(), "baskets": len(baskets), "skus": len(baskets.codes), "file": str(target)}
    report = "\n".join(history.report())
    made = f"{len(baskets):,} orders of {len(baskets.codes):,} SKUs in {target} ({digest[:12]})."
    text = f"{report}\n{made}\n{use}"
    say(as_json, {**summary, "digest": digest}, lambda: text)


@imports.command("demand")
def import_demand(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet export: date, SKU, location, quantity.")],
    to: Annotated[
        Path | None, typer.Option(help="Where to write; default FILE's name with .demand.npz here.")
    ] = None,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="FIELD=COLUMN where the guess is wrong; repeat it.")
    ] = None,
    period: Annotated[str | None, typer.Option(help="day or week; guessed from the dates.")] = None,
    skus: Annotated[int, typer.Option(help="Keep this many of the busiest SKUs.", min=1)] = 200,
    locations: Annotated[int, typer.Option(help="Keep this many of the busiest locations.", min=1)] = 20,
    as_json: AsJson = False,
) -> None:
    """Read a company's demand history into a book that a supply chain replays.

    Example: factory import demand sales.csv --map sku=StockCode
    """
    from workgym.services.supply_chain.demand_history import read_demand, to_book

    history = read_demand(file, _mapping(mapping or []), period=period)  # type: ignore[arg-type]  # it checks
    book = to_book(history, skus, locations)
    target = to or Path(f"{file.stem}.demand.npz")
    digest = book.save(target)
    use = f'Use it: history = "{target}" under [env_kwargs] of a pipeline, or as an argument of gym.make.'
    summary = {**history.to_dict(), **book.to_dict(), "file": str(target), "digest": digest}
    text = "\n".join([*history.report(), *book.summary(), f"Written to {target} ({digest[:12]}).", use])
    say(as_json, summary, lambda: text)


def _mapping(pairs: list[str]) -> dict[str, str] | None:
    for pair in pairs:
        if "=" not in pair:
            raise BadInput(f"expected --map FIELD=COLUMN, found {pair!r}; for example --map sku=StockCode")
    return dict(pair.split("=", 1) for pair in pairs) or None
