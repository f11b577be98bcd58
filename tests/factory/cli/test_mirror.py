"""`factory mirror`: what it says without a mirror, and that a lag is an exit code."""

from __future__ import annotations

import json
import signal
import sys

import pytest
from typer.testing import CliRunner

from workgym.factory.cli import app
from workgym.factory.cli.base import exit_code
from workgym.factory.cli.mirror import noted_interrupt
from workgym.factory.mlflow_mirror import SETTING
from workgym.services.kernel import BadInput, InfrastructureFault


@pytest.fixture
def database_url(tmp_path):
    return f"sqlite:///{tmp_path}/registry.db"


@pytest.fixture
def factory(desk, tmp_path, monkeypatch):
    """A function that runs a command on a registry with one version, and no mirror unless one is named."""
    desk.candidate()

    def run(*arguments, mirror=None):
        if mirror is None:
            monkeypatch.delenv(SETTING, raising=False)
        else:
            monkeypatch.setenv(SETTING, mirror)
        return CliRunner().invoke(app, ["mirror", *arguments, "--home", str(tmp_path)])

    return run


def test_status_says_how_far_behind_without_asking_the_mirror(factory):
    report = json.loads(factory("status", "--json", mirror="http://127.0.0.1:1").stdout)
    assert (report["mirror"], report["behind"], report["failures"]) == ("mlflow", 1, 0)
    assert report["since"].startswith("2026-01-01")
    assert "mirror mlflow is 1 line behind, since 2026-01-01" in factory("status").stdout


def test_sync_without_a_mirror_says_how_to_set_one(factory):
    error = factory("sync").exception
    assert isinstance(error, BadInput)
    assert exit_code(error) == 2
    assert SETTING in str(error)


def test_a_mirror_that_is_behind_after_a_sync_is_a_fault_of_infrastructure(factory):
    done = factory("sync", "--json", mirror="http://127.0.0.1:1")
    assert isinstance(done.exception, InfrastructureFault)
    assert exit_code(done.exception) == 6
    assert json.loads(done.stdout)["behind"] == 1
    assert "no MLflow server answers at http://127.0.0.1:1" in str(done.exception)


@pytest.mark.parametrize("arguments", [["snyc"], ["sync", "--every", "0"], ["status", "now"]])
def test_wrong_arguments_are_a_usage_error(factory, arguments):
    assert factory(*arguments).exit_code == 2


@pytest.mark.parametrize("command", ["sync", "status"])
def test_a_command_has_help_with_an_example(command):
    told = CliRunner().invoke(app, ["mirror", command, "--help"])
    assert told.exit_code == 0
    assert "factory mirror" in told.output


class Deaf:
    """Is interrupted where Python swallows exceptions."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_that_python_swallows_is_noted(monkeypatch):
    swallowed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda one: swallowed.append(one.exc_type))
    before = signal.getsignal(signal.SIGINT)
    with noted_interrupt() as interrupts:
        Deaf()
        assert swallowed == [KeyboardInterrupt]
        assert interrupts == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is before
