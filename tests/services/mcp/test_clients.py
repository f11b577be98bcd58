"""The official clients, of both majors, do a day's work on a server of its own, with an agent's token."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ADMIN = "an-admin-token-of-some-forty-characters"
SCRIPT = Path(__file__).resolve().parents[2] / "support" / "mcp_client.py"
PYTHONS = {"1": "WORKGYM_MCP1_PYTHON", "2": "WORKGYM_MCP2_PYTHON"}


class Server:
    """A served order department, for its admin."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {ADMIN}"}, timeout=30)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.http.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def season(self, name: str) -> int:
        world = self.ask("POST", "/worlds", {"name": name, "seed": 7})["id"]
        self.ask("POST", f"/worlds/{world}/start-season")
        return world

    def snapshot(self, world: int) -> bytes:
        return self.http.get(f"/worlds/{world}/snapshot").content

    def orders(self, world: int) -> list[dict[str, Any]]:
        return self.ask("GET", f"/worlds/{world}/orders?limit=200")["items"]

    def shipped(self, world: int) -> list[int]:
        return [order["number"] for order in self.orders(world) if order["status"] == "shipped"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    database = f"sqlite:///{tmp_path_factory.mktemp('served')}/orders.db"
    command = [sys.executable, "-m", "workgym.services", "serve", "orders", "--port", "0"]
    with subprocess.Popen(
        [*command, "--database", database],
        env={**os.environ, "WORKGYM_ADMIN_TOKEN": ADMIN},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            told = process.stdout.readline() if process.stdout else ""
            url = re.search(r"http://\S+", told)
            assert url, f"expected the server's address, found {told!r}"
            yield Server(url[0])
        finally:
            process.terminate()


def worked(python: str, *arguments: str, token: str) -> dict[str, Any]:
    done = subprocess.run(
        [python, str(SCRIPT), *arguments],
        env={**os.environ, "WORKGYM_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def python_of(major: str) -> str:
    if not (found := os.environ.get(PYTHONS[major])):
        pytest.skip(
            f"set {PYTHONS[major]} to a Python with the official client: python -m venv mcp{major}; "
            f"mcp{major}/bin/pip install 'mcp=={major}.*' jsonschema"
        )
    return found


@pytest.mark.parametrize(
    ("major", "mode", "protocol"),
    [("1", "auto", "2025-11-25"), ("2", "auto", "2026-07-28"), ("2", "legacy", "2025-11-25")],
)
def test_an_official_client_does_a_days_work(server, major, mode, protocol):
    python = python_of(major)
    world, twin = server.season(f"{major} {mode}"), server.season(f"{major} {mode} by REST")
    token = server.ask("POST", "/tokens", {"role": "agent", "world": world, "days": 1})["secret"]
    before = server.snapshot(world)

    told = worked(python, f"{server.url}/mcp", "--mode", mode, token=token)

    assert told["protocol"] == protocol
    assert len(told["shipped"]) > 5
    assert told["wave"]["shipped"] == len(told["shipped"])
    assert json.loads(told["refusal"]["content"][0]["text"])["reason"] == "not-waiting"
    assert told["closed"] == server.ask("GET", f"/worlds/{world}")
    assert told["closed"]["day"] == 1
    assert {each["number"] for each in server.orders(world) if each["status"] == "shipped"} == set(
        told["shipped"]
    )
    assert server.ask("GET", f"/worlds/{world}/books")["sales"] > 0
    repeat(server, world, twin)
    assert server.snapshot(twin) == server.snapshot(world) != before


def repeat(server: Server, world: int, twin: int) -> None:
    """Do by REST in one world what was done in another."""
    for order in server.orders(world):
        number, parcels = order["number"], order["parcels"]
        if parcels:
            wish = {"centre": parcels[0]["centre"], "service": parcels[0]["service"]}
            server.ask("POST", f"/worlds/{twin}/orders/{number}/allocate", wish)
        else:
            server.ask("POST", f"/worlds/{twin}/orders/{number}/hold")
    server.ask("POST", f"/worlds/{twin}/ship-wave")
    server.ask("POST", f"/worlds/{twin}/close-day")


@pytest.mark.parametrize("major", ["1", "2"])
def test_an_admin_names_the_world(server, major):
    python = python_of(major)
    world = server.season(f"{major} of the admin")
    told = worked(python, f"{server.url}/mcp", "--world", str(world), token=ADMIN)
    assert told["closed"]["id"] == world
