"""The images of this checkout, under names of their own, for as long as tests need them.

`WORKGYM_TEST_IMAGES=workgym` takes those that `make up` has built instead, as they are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READY = os.environ.get("WORKGYM_TEST_IMAGES")
PREFIX = f"workgym-test-{os.getpid()}"
NO_ENGINE = "found no Docker engine; start one"


def no_engine() -> bool:
    """Whether no Docker engine answers."""
    if shutil.which("docker") is None:
        return True
    return run("docker", "info", check=False).returncode != 0


def run(*command: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
    """A command with more environment; what it said is in the error."""
    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **more}, capture_output=True, text=True, check=False
    )
    if check and ended.returncode:
        raise AssertionError(f"{' '.join(command)}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}")
    return ended


@contextmanager
def built(service: str) -> Iterator[str]:
    """The name of a service's image; the layers are shared with other builds of the same sources."""
    if READY:
        yield f"{READY}/{service.replace('_', '-')}"
        return
    name = f"{PREFIX}/{service.replace('_', '-')}"
    run(
        *("docker", "build", "-f", "compose/Dockerfile", "--target", "service"),
        *("--build-arg", f"SERVICE={service}", "-t", name, "."),
    )
    try:
        yield name
    finally:
        run("docker", "image", "rm", "--force", name, check=False)
