"""Clients that others wrote complete a task in a running container."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.images import ROOT, run

SCRIPTS = ROOT / "tests" / "support"


@pytest.fixture(scope="module")
def url(orders_image: str) -> Iterator[str]:
    """An open container of the order department: OpenEnv's validator brings no token."""
    command = ("serve", "orders", "--host", "0.0.0.0", "--port", "8000", "--open")
    container = run(
        *("docker", "run", "--detach", "--publish", "127.0.0.1::8000", orders_image),
        *("python", "-m", "workgym.services", *command),
    ).stdout.strip()
    try:
        where = run("docker", "port", container, "8000").stdout.split()[0]
        yield _healthy(f"http://{where}", container)
    finally:
        run("docker", "rm", "--force", "--volumes", container)


def _healthy(url: str, container: str) -> str:
    for _ in range(240):
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=2):
                return url
        except OSError:
            time.sleep(0.25)
    raise AssertionError(run("docker", "logs", container, check=False).stderr)


def python_of(variable: str) -> str:
    found = os.environ.get(variable)
    if not found:
        pytest.skip(
            f"set {variable} to a Python with that client: tests/services/mcp, tests/envs/test_openenv.py"
        )
    return found


def said(python: str, script: str, *arguments: str) -> str:
    command = [python, str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def asked(url: str, path: str, body: object = None) -> object:
    request = urllib.request.Request(
        url + path,
        None if body is None else json.dumps(body).encode(),
        {"X-Actor": "test", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("variable", ["WORKGYM_MCP1_PYTHON", "WORKGYM_MCP2_PYTHON"])
def test_the_official_mcp_client_does_a_days_work_in_a_container(url, variable):
    python = python_of(variable)
    world = asked(url, "/worlds", {"name": variable, "seed": 7})["id"]
    asked(url, f"/worlds/{world}/start-season", {})
    told = json.loads(said(python, "mcp_client.py", f"{url}/mcp", "--world", str(world)))
    assert told["closed"] == asked(url, f"/worlds/{world}")
    assert told["closed"]["day"] == 1
    assert asked(url, f"/worlds/{world}/books")["sales"] > 0


@pytest.mark.docker
@pytest.mark.slow
def test_openenvs_client_plays_a_season_in_a_container_and_its_validator_passes(url):
    python = python_of("WORKGYM_OPENENV_PYTHON")
    played = said(python, "openenv_client.py", "play", url, "--env-id", "workgym/Orders-v0", "--seeds", "3")
    (episode,) = json.loads(played)
    assert episode["state"]["terminated"]
    assert episode["state"]["total_reward"] == sum(episode["rewards"])
    command = [str(Path(python).with_name("openenv")), "validate", "--url", url, "--json"]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    assert report["passed"], report
    assert report["summary"]["passed_count"] == 6
