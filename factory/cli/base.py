"""What all commands share: the application, its errors and exit codes, how it prints.

Exit codes: 0 done, 2 wrong usage or input, 3 a gate failed, 4 a gate is inconclusive, 5 refused or
stale, 6 infrastructure, 7 integrity; 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, redirect_stdout
from dataclasses import asdict, is_dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from sqlalchemy.exc import OperationalError

from workgym.factory.artifacts import Tampered
from workgym.factory.engines import Engine, make_engine
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

WIDTH = None if sys.stdout.isatty() else 132  # a pipe has no width; tables need one
out = Console(width=WIDTH)
err = Console(stderr=True, width=WIDTH)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Home = Annotated[
    Path | None,
    typer.Option("--home", help="Workspace of the registry; default $WORKGYM_HOME, else .workgym here."),
]
EngineName = Annotated[
    str,
    typer.Option("--engine", help="ray: side by side, here or on a cluster; local: one after the other."),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="A Ray cluster, HOST:PORT or auto; default $RAY_ADDRESS, else Ray here."),
]
Model = Annotated[str, typer.Argument(help="Name of a model, as `factory models` lists them.")]
Version = Annotated[int, typer.Argument(help="Number of a version.", min=1)]


def main() -> None:
    """Run the command line; every error that we raise on purpose becomes one line and an exit code."""
    try:
        code = app(standalone_mode=False) or 0  # an Exit comes back as its code, an interruption as 130
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)
    except WorkgymError as error:
        err.print(f"factory: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(exit_code(error))
    except OperationalError as error:
        said = f"factory: the registry's database does not answer: {error.orig}; run the same command again"
        err.print(said, style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(EXIT_CODES[InfrastructureFault])
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
    with open_registry(folder) as registry, _mirrored(registry):
        yield registry, folder


def _mirrored(registry: Registry) -> AbstractContextManager[None]:
    """What a command writes is told to the mirror at once, where one is configured."""
    from workgym.factory.mirror import followed
    from workgym.factory.mlflow_mirror import configured

    listener = configured(registry)
    if listener is None:
        return nullcontext()
    return followed(registry.database, listener, lambda said: err.print(said, style="yellow", markup=False))


@contextmanager
def workers(engine: str, folder: Path, address: str | None) -> Iterator[Engine]:
    """An engine for as long as the block lasts; what Ray says of dying nodes goes to stderr."""
    with redirect_stdout(sys.stderr), closing(make_engine(engine, folder, address)) as made:
        yield made


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


@app.callback(invoke_without_command=True)
def top(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    database: Annotated[
        str | None,
        typer.Option(help="URL of the registry's database, PostgreSQL for instance; or $WORKGYM_DATABASE."),
    ] = None,
    artifacts: Annotated[
        str | None, typer.Option(help="URL of the artifacts, s3://... for instance; or $WORKGYM_ARTIFACTS.")
    ] = None,
) -> None:
    """Train policy variants, gate them against today's champion, promote, watch and roll back."""
    for name, given in (("WORKGYM_DATABASE", database), ("WORKGYM_ARTIFACTS", artifacts)):
        if given is not None:
            os.environ[name] = given
    if show_version:
        print(f"workgym {installed_version('workgym')}")
        raise typer.Exit


def actor() -> str:
    """Who gives the command, for the history."""
    return os.environ.get("WORKGYM_ACTOR") or os.environ.get("USER") or f"uid {os.getuid()}"
