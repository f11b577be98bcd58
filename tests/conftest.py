"""What all tests share."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, make_url, text

NO_POSTGRES = (
    "set WORKGYM_TEST_POSTGRES to the URL of a server where databases may be created: "
    'export WORKGYM_TEST_POSTGRES="$(tests/support/postgres.sh start)"'
)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/test.db"
        return
    if not (server := os.environ.get("WORKGYM_TEST_POSTGRES")):
        pytest.skip(NO_POSTGRES)
    with fresh_postgres(make_url(server)) as url:
        yield url.render_as_string(hide_password=False)


@contextmanager
def fresh_postgres(server: URL) -> Iterator[URL]:
    """A database of its own, dropped afterwards whoever is still connected."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    name = f"test_{uuid.uuid4().hex}"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium, driven by playwright."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("found no Chromium; apt-get install chromium, or put google-chrome on the PATH")
    # Chromium's sandbox refuses to run as root, which is who CI is.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="session")
def orders_image() -> Iterator[str]:
    """The name of an image of the service orders, built from this checkout."""
    from tests.support.images import NO_ENGINE, built, no_engine

    if no_engine():
        pytest.skip(NO_ENGINE)
    with built("orders") as name:
        yield name


# In CI a skipped test fails the run unless .ci/allowed-skips.txt lists it.


class UnlistedSkips:
    """Collects what was skipped and compares it with the list when the session ends."""

    def __init__(self, allowed: list[tuple[str, str]]) -> None:
        self.allowed = allowed
        self.found: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.note(report)

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(self.covers(node, part, report.nodeid, reason) for node, part in self.allowed):
            self.found.append((report.nodeid, reason))

    @staticmethod
    def covers(node: str, part: str, nodeid: str, reason: str) -> bool:
        return part in reason and (nodeid == node or nodeid.startswith((f"{node}::", f"{node}[")))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.found and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.found:
            terminalreporter.section("skips that .ci/allowed-skips.txt does not list", red=True)
            for nodeid, reason in self.found:
                terminalreporter.line(f"{nodeid} -- {reason}")


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI") == "true" or os.environ.get("WORKGYM_CI") == "1":
        listed = (config.rootpath / ".ci" / "allowed-skips.txt").read_text().splitlines()
        entries = [line.partition(" -- ") for line in listed if line.strip() and not line.startswith("#")]
        config.pluginmanager.register(
            UnlistedSkips([(node.strip(), part.strip()) for node, _, part in entries])
        )
