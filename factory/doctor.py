"""Whether this machine can run the factory, and how to mend what is missing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from workgym.factory.registry import Registry, open_registry
from workgym.services.kernel import WorkgymError

GIGABYTE = 10**9
State = Literal["ok", "missing", "broken"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what was looked at.
        state: ok; missing (optional, something cannot be done); broken (the factory cannot run).
        found: what there is.
        mend: what to do about it; empty when nothing.
    """

    name: str
    state: State
    found: str
    mend: str = ""


def examine(home: Path) -> list[Finding]:
    """Look at everything that the factory needs or can use."""
    return [look(home) for look in _LOOKS]


def _python(_: Path) -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    return Finding(
        "python", "ok" if good else "broken", found, "" if good else "install Python 3.11 or newer"
    )


def _libraries(_: Path) -> Finding:
    try:
        found = ", ".join(
            f"{name} {version(name)}" for name in ("torch", "ray", "gymnasium", "stable-baselines3")
        )
        return Finding("libraries", "ok", found)
    except PackageNotFoundError as error:
        return Finding("libraries", "broken", f"{error.name} is not installed", "pip install workgym")


def _threads(_: Path) -> Finding:
    found = os.environ.get("OMP_NUM_THREADS", "not set")
    mend = "" if found == "1" else "export OMP_NUM_THREADS=1: more threads train small networks slower"
    return Finding("threads", "ok" if found == "1" else "missing", f"OMP_NUM_THREADS is {found}", mend)


def _disk(home: Path) -> Finding:
    folder = next(parent for parent in (home, *home.parents) if parent.exists())
    free = shutil.disk_usage(folder).free / GIGABYTE
    good = free > 1
    return Finding(
        "disk",
        "ok" if good else "broken",
        f"{free:.0f} GB free",
        "" if good else "free 1 GB or set WORKGYM_HOME",
    )


def _registry(home: Path) -> Finding:
    try:
        with open_registry(home) as registry:
            models = registry.list_models()
            damaged = _damaged(registry, [model.name for model in models])
    except WorkgymError as error:
        return Finding(
            "registry", "broken", str(error), "restore the workspace from a backup or set WORKGYM_HOME"
        )
    if damaged:
        return Finding(
            "registry", "broken", f"damaged: {', '.join(damaged)}", "roll back to a version that verifies"
        )
    return Finding("registry", "ok", f"{len(models)} models; every champion's bytes verify")


def _damaged(registry: Registry, names: list[str]) -> list[str]:
    found = []
    for name in names:
        champion = registry.champion(name)
        try:
            if champion is not None:
                registry.artifacts.verify(champion.artifact_digest)
        except WorkgymError:
            found.append(str(champion))
    return found


def _docker(_: Path) -> Finding:
    if Path("/var/run/docker.sock").exists() or "DOCKER_HOST" in os.environ:
        return Finding("docker", "ok", "an engine's socket is there")
    return Finding("docker", "missing", "no engine", "only container backends need it; start Docker")


def _program(name: str, candidates: tuple[str, ...], mend: str) -> Callable[[Path], Finding]:
    def look(_: Path) -> Finding:
        found = next((path for path in map(shutil.which, candidates) if path), None)
        return Finding(name, "ok" if found else "missing", found or "not found", "" if found else mend)

    return look


_LOOKS: tuple[Callable[[Path], Finding], ...] = (
    _python,
    _libraries,
    _threads,
    _disk,
    _registry,
    _docker,
    _program("postgresql", ("postgres", "psql"), "optional: a server for many machines"),
    _program(
        "chromium",
        ("chromium", "google-chrome", "chromium-browser"),
        "only the tests of the dashboard need it",
    ),
)
