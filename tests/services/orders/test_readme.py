"""The README's commands do what it says, in the order in which they stand, on the server that it starts."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from workgym.services.orders import api, rules
from workgym.services.orders.api_models import REASON_WORDS
from workgym.services.orders.tables import metadata

README = (Path(api.__file__).parent / "README.md").read_text()
FENCES = re.findall(r"```(sh|json)\n(.*?)```", README, re.DOTALL)
HERE = "localhost:8000"


class Example(NamedTuple):
    """A curl command, the status that its comment states, and what the README shows of the answer."""

    command: str
    status: int | None
    shown: Any


def commands_in(block: str) -> list[str]:
    """Commands of a block; a quoted body and a trailing backslash go on to the next line."""
    return [found.strip() for found in re.split(r"\n(?=curl )", block) if found.strip()]


def examples() -> list[Example]:
    found: list[Example] = []
    for language, block in FENCES:
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


@pytest.fixture
def base(tmp_path: Path) -> Iterator[str]:
    """The server of the README's first command, on a free port."""
    (command,) = [block for _, block in FENCES if block.startswith("python ")]
    words = shlex.split(command)
    words[0], words[words.index("--port") + 1] = sys.executable, "0"
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=env) as server:
        try:
            yield re.search(r"http://\S+", server.stdout.readline())[0]
        finally:
            server.terminate()


def test_every_command_does_what_the_readme_says(base, tmp_path):
    for command, status, shown in examples():
        answer = curl(base, tmp_path, command)
        assert answer.status_code == status or (status is None and answer.is_success), (command, answer.text)
        assert shown is None or holds(shown, answer.json()), (command, answer.json())


def test_every_operation_has_an_example():
    operations = {
        (method.upper(), re.sub(r"{\w+}", "*", path))
        for path, methods in api.create_app("sqlite://").openapi()["paths"].items()
        for method in methods
        if path != "/healthz"
    }
    shown = set()
    for command, _, _ in examples():
        path = re.search(rf"{HERE}([^\s'?]*)", command)[1]
        method = re.search(r"-X (\w+)", command)
        posts = "--json" in command
        shown.add((method[1] if method else "POST" if posts else "GET", re.sub(r"/\d+", "/*", path)))
    assert operations - shown == {("GET", "/worlds"), ("GET", "/worlds/*")}


def test_the_picture_names_every_table():
    picture = README.split("## Tables")[1].split("##")[0]
    assert not [name for name in metadata.tables if not re.search(rf"\b{name}\b", picture)]


def test_the_table_of_errors_names_every_reason():
    words = {*REASON_WORDS.values(), "refused", "not-found", "conflict", "bad-input", "too-large", "fault"}
    impossible = {REASON_WORDS[rules.UNKNOWN_ACTION]}  # over REST a decision is an address
    assert (
        set(re.findall(r"`([a-z-]+)`", README.split("| status |")[1].split("The same key")[0]))
        >= words - impossible
    )


def test_a_false_claim_would_be_found():
    assert not holds({"day": 1}, {"day": 2})
    assert not holds([{"number": 0}], [{"number": 0}, {"number": 2}])
    assert not holds({"ended": False}, {"ended": 0})
    assert len(examples()) > 25
