"""The `factory` command.

Exit codes: 0 done, 2 wrong usage or input, 3 a gate failed, 4 a gate is inconclusive, 5 refused or
stale, 6 infrastructure, 7 integrity; 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from workgym.factory.artifacts import Tampered
from workgym.factory.pipeline import read_pipeline
from workgym.factory.records import Outcome
from workgym.factory.registry import Registry, open_registry
from workgym.services.kernel import BadInput, Conflict, InfrastructureFault, NotFound, Refused, WorkgymError

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # two threads make small networks many times slower

EXIT_CODES: dict[type[WorkgymError], int] = {
    BadInput: 2,
    NotFound: 2,
    Refused: 5,
    Conflict: 5,
    InfrastructureFault: 6,
    Tampered: 7,
}
GATE_FAILED, GATE_INCONCLUSIVE, INTERRUPTED = 3, 4, 130

app = typer.Typer(
    name="factory",
    help="Train policy variants, gate them against today's champion, promote, watch and roll back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=(
        "Exit codes: 0 done; 2 wrong usage or input; 3 a gate or law failed; 4 a gate is inconclusive; "
        "5 refused or stale; 6 infrastructure; 7 integrity; 130 interrupted."
    ),
    rich_markup_mode="rich",
)
imports = typer.Typer(help="Read a company's own history.", no_args_is_help=True)
app.add_typer(imports, name="import")

WIDTH = None if sys.stdout.isatty() else 132  # a pipe has no width; tables need one
out = Console(width=WIDTH)
err = Console(stderr=True, width=WIDTH)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Home = Annotated[
    Path | None,
    typer.Option("--home", help="Workspace of the registry; default $WORKGYM_HOME, else .workgym here."),
]
Model = Annotated[str, typer.Argument(help="Name of a model, as `factory models` lists them.")]
Version = Annotated[int, typer.Argument(help="Number of a version.", min=1)]


def main() -> None:
    """Run the command line; every error that we raise on purpose becomes one line and an exit code."""
    try:
        sys.exit(app(standalone_mode=False) or 0)  # an Exit comes back as its code
    except WorkgymError as error:
        err.print(f"factory: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(exit_code(error))
    except (typer.Abort, KeyboardInterrupt):
        err.print("factory: interrupted; run the same command again to continue", style="yellow")
        sys.exit(INTERRUPTED)
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # a usage error of the parser
            error.show()
            sys.exit(error.exit_code)
        raise


def exit_code(error: WorkgymError) -> int:
    """The exit code of an error: that of the nearest class that has one."""
    return next((EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES), 1)


@contextmanager
def workspace(home: Path | None) -> Iterator[tuple[Registry, Path]]:
    """The registry and the folder it lives in."""
    folder = Path(home or os.environ.get("WORKGYM_HOME") or ".workgym").absolute()
    with open_registry(folder) as registry:
        yield registry, folder


def plain(value: Any) -> Any:
    """Records as plain types, for JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def say(as_json: bool, value: Any, text: Callable[[], Any]) -> None:
    """Print a record as JSON, or as text."""
    if as_json:
        print(json.dumps(plain(value), indent=2))
    else:
        rendered = text()
        out.print(rendered, soft_wrap=isinstance(rendered, str), highlight=False, markup=False)


@app.command()
def run(
    pipeline: Annotated[Path, typer.Argument(help="A pipeline, for example pipelines/orders.toml.")],
    home: Home = None,
    engine: Annotated[
        str, typer.Option(help="ray: side by side on this machine; local: one after the other.")
    ] = "ray",
    as_json: AsJson = False,
) -> None:
    """Train a pipeline's variants, gate them, and promote the best that passes.

    Interrupted or killed, the same command goes on from the last finished chunk.

    Example: factory run pipelines/orders.toml
    """
    from workgym.factory import run as line
    from workgym.factory.show import Live, run_json, run_report

    if engine not in ("ray", "local"):
        raise BadInput(f"expected --engine ray or local, found {engine!r}")
    spec = read_pipeline(pipeline)
    with workspace(home) as (registry, folder), Live(err, quiet=as_json) as live:
        result = line.run(spec, registry, folder, engine, live)  # type: ignore[arg-type]  # checked above
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
        verdicts = gate_again(registry, model, version)
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

    Example: factory promote orders 3 --reason "smaller, and nothing lost"
    """
    with workspace(home) as (registry, _):
        generation = registry.generation(model, alias)
        line = registry.promote(
            model, version, alias, expected_generation=generation, actor=actor(), reason=reason
        )
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


@app.command()
def dashboard(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8080,
    home: Home = None,
) -> None:
    """Serve the read-only page of champions, verdicts, history and runs.

    Example: factory dashboard --port 8080
    """
    from workgym.factory.dashboard.server import serve

    folder = Path(home or os.environ.get("WORKGYM_HOME") or ".workgym").absolute()
    serve(folder, host, port, lambda url: err.print(f"dashboard at {url} (Ctrl-C stops it)"))


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


@app.callback(invoke_without_command=True)
def top(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Train policy variants, gate them against today's champion, promote, watch and roll back."""
    if show_version:
        print(f"workgym {installed_version('workgym')}")
        raise typer.Exit


def actor() -> str:
    """Who gives the command, for the history."""
    return os.environ.get("WORKGYM_ACTOR") or os.environ.get("USER") or f"uid {os.getuid()}"
