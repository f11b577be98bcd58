"""Where calls are done: in this process, or on Ray, from this machine's cores to a cluster.

An engine forgets everything: it takes calls and brings their outputs back, or says that a worker was
lost. What was asked, tried and finished is in our database.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from workgym.services.kernel import BadInput, did_you_mean

Answer = tuple[bytes | None, Any]  # bytes for the artifact store, and plain JSON


@dataclass(frozen=True)
class Resources:
    """What a call needs of a machine.

    Attributes:
        cpus: cores.
        memory_mb: 0 asks for nothing.
        custom: by the names that a cluster's nodes offer, `{"gpu_small": 1}` for instance.
    """

    cpus: float = 1.0
    memory_mb: int = 0
    custom: Mapping[str, float] = field(default_factory=dict)

    def bundle(self) -> dict[str, float]:
        """As Ray counts them; memory in bytes."""
        memory = {"memory": self.memory_mb * 2**20} if self.memory_mb else {}
        return {"CPU": self.cpus, **memory, **self.custom}


@dataclass(frozen=True)
class Call:
    """A pure function and its arguments, on their way to a worker.

    Attributes:
        name: what tables call it.
        function: importable by its name, on any node.
    """

    name: str
    function: Callable[..., Answer]
    args: tuple[Any, ...]
    resources: Resources = Resources()


@dataclass(frozen=True)
class Output:
    """What a worker made.

    Attributes:
        worker: host and process.
    """

    artifact: bytes | None
    result: Any
    cpu_seconds: float
    wall_seconds: float
    worker: str


class Finished(NamedTuple):
    """A call that came to an end: with an output, an error of its own, or the loss of its worker."""

    ticket: int
    output: Output | None = None
    error: Exception | None = None
    lost: str = ""


class Engine(Protocol):
    """Does calls, several at once where it has several slots."""

    @property
    def slots(self) -> int:
        """Calls that are done at once."""

    def submit(self, call: Call) -> int:
        """Take a call; the ticket that `wait` gives back."""

    def wait(self, timeout: float) -> list[Finished]:
        """Calls that came to an end, at the latest after so many seconds."""

    def cancel(self, ticket: int) -> None:
        """Stop a call; `wait` never speaks of it again."""

    def expect(self, wanted: Sequence[Resources]) -> None:
        """Be told what runs and what waits, so that a cluster may grow, and shrink again."""

    def close(self) -> None:
        """Give back what was started."""


def perform(function: Callable[..., Answer], args: tuple[Any, ...]) -> Output:
    """Do a call here and now."""
    wall, cpu = time.monotonic(), time.process_time()
    artifact, result = function(*args)
    return Output(
        artifact=artifact,
        result=result,
        cpu_seconds=time.process_time() - cpu,
        wall_seconds=time.monotonic() - wall,
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )


class LocalEngine:
    """One call after the other, in this process."""

    slots = 1

    def __init__(self) -> None:
        self._queue: deque[tuple[int, Call]] = deque()
        self._tickets = 0

    def submit(self, call: Call) -> int:
        """Take a call."""
        self._tickets += 1
        self._queue.append((self._tickets, call))
        return self._tickets

    def wait(self, timeout: float) -> list[Finished]:
        """Do the next call, however long it takes."""
        if not self._queue:
            time.sleep(timeout)
            return []
        ticket, call = self._queue.popleft()
        try:
            return [Finished(ticket, output=perform(call.function, call.args))]
        except Exception as error:
            return [Finished(ticket, error=error)]

    def cancel(self, ticket: int) -> None:
        """Forget a call that was not begun."""
        self._queue = deque(one for one in self._queue if one[0] != ticket)

    def expect(self, wanted: Sequence[Resources]) -> None:
        """Stay as it is."""

    def close(self) -> None:
        """Forget what was not begun."""
        self._queue.clear()


def _local(home: Path, address: str | None) -> Engine:
    if address is not None:
        raise BadInput(f"expected --address with --engine ray alone, found {address!r} with local")
    return LocalEngine()


def _ray(home: Path, address: str | None) -> Engine:
    from workgym.factory.ray_engine import RayEngine

    return RayEngine(home, address)


ENGINES: dict[str, Callable[[Path, str | None], Engine]] = {"local": _local, "ray": _ray}


def make_engine(name: str, home: Path, address: str | None = None) -> Engine:
    """An engine by its name.

    Args:
        name: `local` or `ray`.
        home: the workspace.
        address: of a Ray cluster; without it RAY_ADDRESS, else Ray is started here.

    Raises:
        BadInput: no engine has that name, or it takes no address.
    """
    if name not in ENGINES:
        raise BadInput(did_you_mean("engine", name, sorted(ENGINES)))
    return ENGINES[name](home, address)
