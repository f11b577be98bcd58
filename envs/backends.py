"""How an env reaches the worlds that it plays in.

twin        arrays in this process (the default)
embedded    the live service in this process, on SQLite in memory
http        a server at `base_url`, over leased worlds
docker      a container with that server, which is started, or joined if one runs already
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from workgym.envs.contract import Backend, Task
from workgym.envs.live import Live, LiveBackend
from workgym.envs.mishaps import Disturbed, Mishaps
from workgym.services.kernel import BadInput, did_you_mean

LOCAL = ("twin", "embedded")
REMOTE = ("http", "docker")
BACKENDS = (*LOCAL, *REMOTE)
FILES = ("history", "forecast")  # arguments that name a file, which the other side does not have
REMOTE_ARGUMENTS = (
    "backend",
    "base_url",
    "transport",
    "mishaps",
    "render_mode",
)  # of an env, that its server does not get


@dataclass(frozen=True)
class Transport:
    """How patient an env is with its server.

    Attributes:
        token: that the server asks for; None for the environment variable WORKGYM_TOKEN.
        deadline_s: seconds after which a call is given up, with all its attempts.
        attempt_s: seconds after which one attempt is given up and made again.
        lease_s: seconds after which the server reclaims the worlds of a client that shows no sign of life.
        connections: requests on their way at the same time; the lanes are dealt out to them.
        on_fault: what becomes of lanes whose call is given up: `raise` an InfrastructureFault, or `drop`
            their episodes, which vector envs count and never reward.
    """

    token: str | None = None
    deadline_s: float = 30.0
    attempt_s: float = 10.0
    lease_s: int = 60
    connections: int = 1
    on_fault: str = "raise"

    def __post_init__(self) -> None:
        for name in ("deadline_s", "attempt_s", "lease_s", "connections"):
            if not getattr(self, name) > 0:
                raise BadInput(f"expected transport[{name!r}] above zero, found {getattr(self, name)!r}")
        if self.on_fault not in ("raise", "drop"):
            raise BadInput(f"expected transport['on_fault'] to be raise or drop, found {self.on_fault!r}")

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Transport:
        """A transport from the arguments of an env.

        Raises:
            BadInput: one is unknown or out of range.
        """
        known = [field.name for field in fields(cls)]
        for name in given or {}:
            if name not in known:
                raise BadInput(did_you_mean("field of transport", name, known))
        return cls(**(given or {}))


class Sides(NamedTuple):
    """The two ways to hold a task's state, each for a number of lanes.

    Attributes:
        task: what is asked.
        twin: arrays.
        live: worlds of the service.
        planned: what planners ask a backend for beyond the contract; a remote one answers from a twin that it
            gives the same states.
    """

    task: Task
    twin: Callable[[int], Backend]
    live: Callable[[int], Live]
    planned: tuple[str, ...] = ()

    def lanes(
        self,
        n: int,
        arguments: Mapping[str, Any],
        around: Callable[[Backend], Backend] | None = None,
    ) -> Backend:
        """N lanes behind the backend that the arguments of an env name, with the mishaps that they name.

        Args:
            n: how many.
            arguments: of the env.
            around: what is put around the backend, inside of the mishaps: it sees what really happens.

        Raises:
            BadInput: there is no such backend, what it needs is missing, or there are no such mishaps.
            InfrastructureFault: its server does not answer.
        """
        mishaps = Mishaps.of(arguments.get("mishaps"))
        backend = self._reliable(n, arguments)
        if around is not None:
            backend = around(backend)
        return Disturbed(backend, self.task, mishaps) if any(mishaps.shares) else backend

    def _reliable(self, n: int, arguments: Mapping[str, Any]) -> Backend:
        backend, base_url = arguments["backend"], arguments.get("base_url")
        if backend not in BACKENDS:
            raise BadInput(did_you_mean("backend", str(backend), list(BACKENDS)))
        if backend != "http" and base_url is not None:
            raise BadInput(f"expected base_url with backend 'http' alone, found it with {backend!r}")
        if backend == "twin":
            return self.twin(n)
        if backend == "embedded":
            return LiveBackend(self.live(n), n, self.task.action_shape)
        from workgym.envs.remote import remote_lanes  # brings the HTTP client

        return remote_lanes(self, n, arguments, Transport.of(arguments.get("transport")))
