"""What every service is made of: its record, its errors, and the mark of a business rule.

The error tree:

    WorkgymError
    ├── Refused             the business said no; nothing was changed (HTTP 409)
    ├── NotFound            no such thing (HTTP 404)
    ├── Conflict            somebody else changed it first, or an idempotency key was reused (HTTP 409)
    ├── BadInput            the caller's data or arguments are wrong (HTTP 422, exit code 2)
    └── InfrastructureFault the service could not be reached or did not answer; never an outcome
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numba
from numba.extending import register_jitable

Cents = int
_LONGEST_NAME, _MOST_NAMES = 1000, 100  # that an error repeats
F = TypeVar("F", bound=Callable[..., Any])


class WorkgymError(Exception):
    """Base of every error that workgym raises on purpose."""


class Refused(WorkgymError):
    """The business refused the request and changed nothing."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class NotFound(WorkgymError):
    """There is no such world, order or model."""


class Conflict(WorkgymError):
    """The thing changed since it was read, or an idempotency key came back with another request."""


class BadInput(WorkgymError, ValueError):
    """The caller's data is wrong; the text says what was expected, what was found and the way out."""


class InfrastructureFault(WorkgymError):
    """A service could not be reached or did not answer in time.

    It is never an outcome: callers retry with the same idempotency key or drop the episode.

    Attributes:
        committed: whether the step took effect.
    """

    def __init__(self, message: str, committed: Literal["yes", "no", "unknown"] = "unknown") -> None:
        super().__init__(message)
        self.committed = committed


def did_you_mean(kind: str, name: str, known: list[str]) -> str:
    """One sentence for an unknown name, with the nearest known one."""
    import difflib

    if len(name) > _LONGEST_NAME:  # comparing takes the square of its length
        return f"no {kind} has a name of {len(name):,} characters"
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known: {_listed(sorted(known))}"
    return f"no {kind} named {name!r}{hint}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return (", ".join(names[:_MOST_NAMES]) or "none") + more


@dataclass(frozen=True)
class Service:
    """A business application in the catalogue.

    Attributes:
        name: folder name under `services/`.
        title: what people call it.
        create_app: `module:function` that builds the application over a database's URL. It is a FastAPI with
            the store, which has a `database`, in `app.state.store`.
    """

    name: str
    title: str
    create_app: str


@dataclass(frozen=True)
class Gym:
    """An environment that stands on a service, which does not know of it.

    Attributes:
        env_id: Gymnasium id.
        service: its name in the catalogue.
        env: `module:class` of the single env.
        vector_env: `module:class` of the vector env.
        max_episode_steps: after which an episode is cut; None where it ends by itself.
    """

    env_id: str
    service: str
    env: str
    vector_env: str
    max_episode_steps: int | None = None


def rule(function: F) -> F:
    """Mark a business rule: plain Python to the live service, compilable by Numba for the twin."""
    compilable: F = register_jitable(function)
    return compilable


def _source_digest() -> str:
    """Digest of every module whose code can be compiled into a kernel."""
    root = Path(__file__).resolve().parent.parent
    texts = [
        path.read_bytes() for path in sorted([*root.glob("services/**/*.py"), *root.glob("envs/**/*.py")])
    ]
    compiled = [text for text in texts if b"@njit" in text or b"@rule" in text]
    return hashlib.sha256(b"".join(compiled)).hexdigest()[:16]


def share_compiled_kernels() -> None:
    """Point Numba's cache at one folder for all processes, keyed by our sources.

    Numba notices a change in the kernel's own file only, not in the rules that it inlines, so a
    cache that outlives an edited rule would run the old business.
    """
    if "NUMBA_CACHE_DIR" not in os.environ:
        home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        folder = home / "workgym" / f"numba-{numba.__version__}-{_source_digest()}"
        os.environ["NUMBA_CACHE_DIR"] = str(folder)
        numba.config.CACHE_DIR = str(folder)


share_compiled_kernels()
