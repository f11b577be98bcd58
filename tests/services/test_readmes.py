"""Every service's README: its commands do what it says, in their order, on the server that it starts."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from workgym import services as catalogue_folder
from workgym.services import services

FOLDER = Path(catalogue_folder.__path__[0])
OURS = [name for name in services() if (FOLDER / name / "README.md").exists()]
HERE = "localhost:8000"
# Reasons that no request over REST can meet: a decision is an address, a malformed number is a 422.
IMPOSSIBLE = {"orders": {"unknown-action"}, "supply_chain": {"not-positive"}}

every_readme = pytest.mark.parametrize("name", OURS)


def readme(name: str) -> str:
    return (FOLDER / name / "README.md").read_text()


def fences(name: str) -> list[tuple[str, str]]:
    return re.findall(r"```(sh|json)\n(.*?)```", readme(name), re.DOTALL)


def module(name: str, part: str) -> Any:
    return import_module(f"workgym.services.{name}.{part}")


class Example(NamedTuple):
    """A curl command, the status that its comment states, and what the README shows of the answer."""

    command: str
    status: int | None
    shown: Any


def commands_in(block: str) -> list[str]:
    """Commands of a block; a quoted body and a trailing backslash go on to the next line."""
    return [found.strip() for found in re.split(r"\n(?=curl )", block) if found.strip()]


def examples(name: str) -> list[Example]:
    found: list[Example] = []
    for language, block in fences(name):
        if language == "json":
            found[-1] = found[-1]._replace(shown=json.loads(block))
        elif block.startswith("curl "):
            for command in commands_in(block):
                status = re.search(r"# (\d{3})$", command)
                found.append(Example(command, int(status[1]) if status else None, None))
    return found


def curl(base: str, folder: Path, command: str) -> httpx.Response:
    """Do what curl would do; an option that is not known here fails."""
    words = iter(shlex.split(command.replace("\\\n", " "), comments=True)[1:])
    method, url, headers, content, file = None, "", {}, None, None
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "--json":
            content, headers["Content-Type"] = next(words).encode(), "application/json"
        elif word == "--data-binary":
            content = (folder / next(words).removeprefix("@")).read_bytes()
        elif word == "-o":
            file = folder / next(words)
        else:
            assert word.startswith(HERE), f"{word!r} in {command!r}"
            url = word.replace(HERE, base)
    answer = httpx.request(
        method or ("POST" if content else "GET"), url, headers=headers, content=content, timeout=60
    )
    if file:
        file.write_bytes(answer.content)
    return answer


def holds(shown: Any, found: Any) -> bool:
    """Whether an answer has everything that the README shows of it."""
    if isinstance(shown, dict):
        return isinstance(found, dict) and all(holds(its, found.get(name)) for name, its in shown.items())
    if isinstance(shown, list):
        return len(shown) == len(found) and all(map(holds, shown, found))
    return type(shown) is type(found) and shown == found


@contextmanager
def served(name: str, folder: Path) -> Iterator[str]:
    """The server of the README's first command, on a free port."""
    (command,) = [block for _, block in fences(name) if block.startswith("python ")]
    words = shlex.split(command)
    words[0], words[words.index("--port") + 1] = sys.executable, "0"
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True, env=env) as server:
        try:
            yield re.search(r"http://\S+", server.stdout.readline())[0]
        finally:
            server.terminate()


@every_readme
def test_every_command_does_what_the_readme_says(name, tmp_path):
    with served(name, tmp_path) as base:
        for command, status, shown in examples(name):
            answer = curl(base, tmp_path, command)
            assert answer.status_code == status or (status is None and answer.is_success), (
                command,
                answer.text,
            )
            assert shown is None or holds(shown, answer.json()), (command, answer.json())


@every_readme
def test_every_operation_has_an_example(name):
    paths = module(name, "api").create_app("sqlite://").openapi()["paths"]
    shown = set()
    for command, _, _ in examples(name):
        path = re.search(rf"{HERE}([^\s'?]*)", command)[1]
        method = re.search(r"-X (\w+)", command)
        shown.add((method[1] if method else "POST" if "--json" in command else "GET", path))
    missing = {
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if not any(method.upper() == verb and fits(path, address) for verb, address in shown)
    }
    assert missing == {("GET", "/healthz"), ("GET", "/worlds"), ("GET", "/worlds/{world}")}


def fits(path: str, address: str) -> bool:
    """Whether an address is one of a path with names in braces."""
    parts, found = path.split("/"), address.split("/")
    same = (one == other or one.startswith("{") for one, other in zip(parts, found, strict=False))
    return len(parts) == len(found) and all(same)


@every_readme
def test_the_picture_names_every_table(name):
    picture = readme(name).split("## Tables")[1].split("##")[0]
    tables = module(name, "tables").metadata.tables
    assert tables
    assert not [table for table in tables if not re.search(rf"\b{table}\b", picture)]


@every_readme
def test_the_table_of_errors_names_every_reason(name):
    words = set(module(name, "api_models").REASON_WORDS.values())
    words |= {"refused", "not-found", "conflict", "bad-input", "too-large", "fault"}
    told = readme(name).split("## Errors")[1].split("| status |")[1].split("The same key")[0]
    assert set(re.findall(r"`([a-z-]+)`", told)) >= words - IMPOSSIBLE.get(name, set())


def test_every_status_of_an_order_line_is_told():
    told = readme("supply_chain").split("| status of a line |")[1].split("Customers")[0]
    assert tuple(re.findall(r"^\| `(\w+)`", told, re.MULTILINE)) == module("supply_chain", "tables").STATUSES


@every_readme
def test_there_is_something_to_try(name):
    assert len(examples(name)) > 20


def test_a_false_claim_would_be_found():
    assert not holds({"day": 1}, {"day": 2})
    assert not holds([{"number": 0}], [{"number": 0}, {"number": 2}])
    assert not holds({"ended": False}, {"ended": 0})
    assert not fits("/worlds/{world}", "/worlds")
