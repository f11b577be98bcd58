"""Every command has help with an example, and wrong arguments get one line and a stable exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from workgym.factory.cli import EXIT_CODES, app, exit_code, main
from workgym.factory.registry import Stale
from workgym.services.kernel import WorkgymError

COMMANDS = sorted(command.name or command.callback.__name__ for command in app.registered_commands)  # type: ignore[union-attr]  # all are functions
RETAIL = Path(__file__).parents[4] / "shared" / "data" / "online_retail_sample.csv"


def factory(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real command, as a shell would."""
    environ = {**os.environ, "WORKGYM_HOME": str(home)}
    command = [str(Path(sys.executable).with_name("factory")), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_has_help_with_an_example(command: str) -> None:
    told = CliRunner().invoke(app, [command, "--help"])
    assert told.exit_code == 0
    assert "Example: factory" in told.output


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run", "nothing.toml"], 2, "no pipeline file at nothing.toml"),
        (
            ["run", "pipelines/orders.toml", "--engine", "rya"],
            2,
            "no engine named 'rya'; did you mean 'ray'?",
        ),
        (["show", "orders"], 2, "no model named 'orders'; known: none"),
        (["promote", "orders", "1"], 2, "no model named 'orders'"),
        (["promote", "orders", "one"], 2, "Invalid value for"),
        (["rollback", "orders"], 2, "no version of 'orders' has served"),
        (["gate", "orders", "1"], 2, "no model named 'orders'"),
        (["evaluate", "orders", "--split", "audti"], 2, "did you mean 'audit'"),
        (["import", "orders", "nothing.csv"], 2, "no file at nothing.csv"),
        (["import", "orders", "README.md", "--map", "sku"], 2, "expected --map FIELD=COLUMN"),
        (["frobnicate"], 2, "No such command 'frobnicate'"),
        (["check", "workgym/Orders-v0", "--backend", "twni"], 2, "did you mean 'twin'"),
    ],
)
def test_wrong_arguments_get_one_line_and_a_stable_code(
    tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    done = factory(tmp_path, *arguments)
    assert done.returncode == code, done.stderr
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("error", [*EXIT_CODES, Stale])
def test_every_error_of_ours_has_an_exit_code(error: type[WorkgymError]) -> None:
    assert exit_code(error.__new__(error)) in range(2, 8)


def test_an_empty_workspace_says_how_to_make_the_first_model(tmp_path: Path) -> None:
    assert "factory run pipelines/orders.toml" in factory(tmp_path, "models").stdout
    assert json.loads(factory(tmp_path, "models", "--json").stdout) == []


def test_doctor_finds_a_new_machine_fit(tmp_path: Path) -> None:
    done = factory(tmp_path, "doctor", "--json")
    assert done.returncode == 0, done.stdout
    assert {finding["name"] for finding in json.loads(done.stdout)} >= {
        "python",
        "registry",
        "disk",
        "threads",
    }


def test_import_counts_every_row_of_a_real_export(tmp_path: Path) -> None:
    if not RETAIL.exists():
        pytest.skip(
            f"needs {RETAIL.name}, the UCI Online Retail sample, in ../shared/data beside the checkout"
        )
    done = factory(tmp_path, "import", "orders", str(RETAIL), "--to", str(tmp_path / "h.npz"), "--json")
    told = json.loads(done.stdout)
    assert told["accepted"] + sum(told["rejected"].values()) == told["rows"] == 10_000
    assert (tmp_path / "h.npz").exists()


def test_help_lists_the_exit_codes() -> None:
    assert isinstance(app, typer.Typer)
    told = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    for code in sorted(set(EXIT_CODES.values())):
        assert f"{code} " in told


def test_an_interruption_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**_: object) -> int:
        return 130  # what the library makes of a KeyboardInterrupt

    monkeypatch.setattr("workgym.factory.cli.base.app", interrupted)
    with pytest.raises(SystemExit, match="130"):
        main()
    assert "run the same command again to continue" in capfd.readouterr().err
