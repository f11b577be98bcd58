"""What holds for every command, whoever added it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from workgym.factory.cli import app


def leaves(group: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        path = (*before, name)
        if hasattr(command, "commands"):
            yield from leaves(command, path)
        else:
            yield path


COMMANDS = [pytest.param(path, id=" ".join(path)) for path in leaves(typer.main.get_command(app))]


@pytest.mark.parametrize("path", COMMANDS)
def test_its_help_has_an_example_of_itself_and_a_form_for_machines(path: tuple[str, ...]) -> None:
    told = CliRunner().invoke(app, [*path, "--help"], terminal_width=200)
    assert told.exit_code == 0
    example = " ".join(told.output.split()).partition("Example: ")[2]
    assert " ".join(path) in example.removeprefix("factory ")[:80]
    assert "--json" in told.output


@pytest.mark.parametrize("path", COMMANDS)
def test_an_option_that_does_not_exist_is_a_usage_error(path: tuple[str, ...]) -> None:
    told = CliRunner().invoke(app, [*path, "--no-such-option"])
    assert told.exit_code == 2
    assert "No such option" in told.output


def test_the_exit_codes_are_documented() -> None:
    told = " ".join(CliRunner().invoke(app, ["--help"], terminal_width=200).output.split())
    for code in (
        "0 done",
        "2 wrong usage",
        "3 a gate",
        "4 a gate",
        "5 refused",
        "6 infra",
        "7 integrity",
        "130",
    ):
        assert code in told
