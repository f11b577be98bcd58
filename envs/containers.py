"""Services in containers, for `backend="docker"`: started when nobody has one, shared, and never left behind.

Whoever uses a container holds a lock on a file in the folder of its session. The operating system lets go
of the locks of a process that dies, however it dies. So a container without a held lock has no user: the last
one who closes removes it, and whoever starts one sweeps away what a killed process left.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import secrets
import socket
import tempfile
import time
import uuid
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException, ImageNotFound, NotFound
from docker.types import Mount

from workgym.services.catalogue import service as catalogued
from workgym.services.kernel import BadInput, InfrastructureFault, WorkgymError

SERVICE, SESSION, RECIPE = "workgym.service", "workgym.session", "workgym.recipe"
OWNER, USERS, UNTIL = "workgym.owner", "workgym.users", "workgym.until"
LIFETIME_S = 24 * 3600  # after which other machines that share the engine may remove a container
SQLITE = "sqlite:////var/lib/workgym/service.db"
_PORT = "8000/tcp"
_POLL_S = 0.1
_PROBE_S = 2.0
_LOG_LINES = 20
_OWNED = "uid=10001,gid=10001,mode=700"  # the user of compose/Dockerfile
_log = logging.getLogger(__name__)
_FAULTS = (DockerException, OSError)  # the SDK's HTTP client raises kinds of OSError


@dataclass(frozen=True)
class Recipe:
    """What a container is made of; containers of equal recipes are interchangeable.

    Attributes:
        service: name in the catalogue.
        image: id of the image.
        database: SQLAlchemy URL, as it is reached from inside.
        cpus: processors that it may use.
        memory: most of it, as Docker writes sizes; the SQLite database is in it too.
        settings: further variables of the environment (`workgym.services.settings`).
    """

    service: str
    image: str
    database: str
    cpus: float
    memory: str
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The same for equal recipes."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


class Container:
    """A running service and our right to use it.

    Attributes:
        base_url: where it answers.
        token: that it asks for.
        name: of the container.
    """

    def __init__(self, base_url: str, token: str, name: str, seat: _Seat) -> None:
        self.base_url = base_url
        self.token = token
        self.name = name
        self._leave = weakref.finalize(self, _leave, seat)  # also at the end of the process

    def close(self) -> None:
        """Use it no longer; the last user removes it."""
        self._leave()

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serving(
    service: str,
    *,
    image: str | None = None,
    database: str = "sqlite",
    join: bool = True,
    cpus: float = 1.0,
    memory: str = "1g",
    settings: Mapping[str, str] | None = None,
    deadline_s: float = 60.0,
) -> Container:
    """A healthy container of a service on the Docker engine of this machine.

    Args:
        service: name in the catalogue.
        image: its name; None for `workgym/<service>`.
        database: `sqlite` in the container's memory, or the URL of a PostgreSQL that it reaches; this
            machine is `host.docker.internal` to it.
        join: whether a container of the same recipe may be shared with its other users.
        cpus: processors that it may use.
        memory: most of it, as Docker writes sizes.
        settings: further variables of the environment, such as `{"WORKGYM_FAULTS": "drop=0.05"}`.
        deadline_s: seconds until it must be healthy.

    Raises:
        NotFound: there is no such service.
        BadInput: there is no engine or no image.
        InfrastructureFault: the container could not be started or did not become healthy.
    """
    wanted = image or image_of(service)
    catalogued(service)
    with _turn(), _engine() as engine:
        _sweep(engine)
        recipe = Recipe(
            service,
            _image_id(engine, wanted, service),
            SQLITE if database == "sqlite" else database,
            cpus,
            memory,
            dict(settings or {}),
        )
        joined = _joined(engine, recipe) if join else None
        return joined or _started(engine, recipe, deadline_s)


def image_of(service: str) -> str:
    """The image of a service as compose/compose.yaml names it."""
    return f"{os.environ.get('WORKGYM_IMAGES', 'workgym')}/{service.replace('_', '-')}"


def sweep() -> list[str]:
    """Remove containers that nobody uses; their names.

    Raises:
        BadInput: there is no engine.
    """
    with _turn(), _engine() as engine:
        return _sweep(engine)


# The engine


@contextmanager
def _engine() -> Iterator[Any]:
    try:
        engine = docker.from_env()
        engine.ping()
    except _FAULTS as error:
        raise BadInput(
            f"expected a Docker engine, found none ({error}); start Docker or set DOCKER_HOST, "
            "or take backend 'embedded', which is the same service in this process"
        ) from error
    try:
        yield engine
    except _FAULTS as error:
        raise InfrastructureFault(f"the Docker engine did not do its work: {error}") from error
    finally:
        engine.close()


def _image_id(engine: Any, image: str, service: str) -> str:
    try:
        return str(engine.images.get(image).id)
    except ImageNotFound as error:
        raise BadInput(
            f"expected the image {image}, found none; build it in a checkout of workgym: docker build "
            f"-f compose/Dockerfile --target service --build-arg SERVICE={service} -t {image} ."
        ) from error


def _started(engine: Any, recipe: Recipe, deadline_s: float) -> Container:
    seat = _Seat.taken(uuid.uuid4().hex)
    token = secrets.token_urlsafe(24)
    deadline = time.monotonic() + deadline_s
    try:
        container = engine.containers.create(**_options(recipe, seat, token))
        container.start()
        _await_health(container, deadline, deadline_s)
    except BaseException:
        seat.left()
        _sweep(engine)
        raise
    return _seated(container, token, seat)


def _options(recipe: Recipe, seat: _Seat, token: str) -> dict[str, Any]:
    """Not removed by the engine when it ends: then nobody could read why it did."""
    return {
        "image": recipe.image,
        "name": f"workgym-{recipe.service.replace('_', '-')}-{seat.session[:8]}",
        "labels": {
            SERVICE: recipe.service,
            SESSION: seat.session,
            RECIPE: recipe.digest,
            OWNER: f"{os.getpid()}@{socket.gethostname()}",
            USERS: str(seat.folder),
            UNTIL: str(int(time.time() + LIFETIME_S)),
        },
        "environment": {
            **recipe.settings,
            "WORKGYM_DATABASE_URL": recipe.database,
            "WORKGYM_ADMIN_TOKEN": token,
        },
        "ports": {_PORT: ("127.0.0.1", None)},
        "extra_hosts": {"host.docker.internal": "host-gateway"},
        "read_only": True,
        "tmpfs": {"/tmp": "size=64m", "/var/lib/workgym": _OWNED},
        "mounts": [Mount("/var/cache/workgym", None)],  # begins with the kernels that the image brings
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "init": True,
        "nano_cpus": int(recipe.cpus * 1e9),
        "mem_limit": recipe.memory,
        "pids_limit": 512,
    }


def _await_health(container: Any, deadline: float, deadline_s: float) -> None:
    while time.monotonic() < deadline:
        container.reload()
        if container.status not in ("created", "running"):
            raise InfrastructureFault(f"{container.name} ended before it answered{_log_of(container)}", "no")
        if container.status == "running" and _healthy(container):
            return
        time.sleep(_POLL_S)
    raise InfrastructureFault(
        f"{container.name} was not healthy within {deadline_s:g} seconds{_log_of(container)}", "no"
    )


def _healthy(container: Any) -> bool:
    port = _port(container)
    if port is None:
        return False
    connection = HTTPConnection("127.0.0.1", port, timeout=_PROBE_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _log_of(container: Any) -> str:
    text = container.logs(tail=_LOG_LINES).decode(errors="replace").strip()
    return f"; the end of its log:\n{text}" if text else "; its log is empty"


def _port(container: Any) -> int | None:
    """On this machine, once the engine has published it."""
    published = container.ports.get(_PORT)
    return int(published[0]["HostPort"]) if published else None


def _seated(container: Any, token: str, seat: _Seat) -> Container:
    return Container(f"http://127.0.0.1:{_port(container)}", token, container.name, seat)


def _joined(engine: Any, recipe: Recipe) -> Container | None:
    """A seat in a container of the same recipe that is healthy."""
    same = {"label": f"{RECIPE}={recipe.digest}"}
    for container in engine.containers.list(filters=same, ignore_removed=True):
        if _mine(container) and _healthy(container):
            return _seated(container, _token(container), _Seat.taken(container.labels[SESSION]))
    return None


def _token(container: Any) -> str:
    """Whoever may ask the engine may read it anyway."""
    variables = dict(one.split("=", 1) for one in container.attrs["Config"]["Env"])
    return str(variables["WORKGYM_ADMIN_TOKEN"])


# Who uses what


def _home() -> Path:
    """One folder for each person of this machine."""
    return Path(tempfile.gettempdir()) / f"workgym-{os.getuid()}"


@contextmanager
def _turn() -> Iterator[None]:
    """Only one process at a time looks for users, joins, starts and removes."""
    _home().mkdir(mode=0o700, exist_ok=True)
    with (_home() / "turn").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class _Seat:
    """A held lock in the folder of a session."""

    session: str
    path: Path
    lock: int
    process: int

    @classmethod
    def taken(cls, session: str) -> _Seat:
        folder = _home() / session
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / uuid.uuid4().hex
        lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return cls(session, path, lock, os.getpid())

    @property
    def folder(self) -> Path:
        return self.path.parent

    def left(self) -> None:
        os.close(self.lock)
        self.path.unlink(missing_ok=True)
        _tidy(self.folder)


def _tidy(folder: Path) -> None:
    with suppress(OSError):  # somebody sits there, or it is gone
        folder.rmdir()


def _leave(seat: _Seat) -> None:
    if os.getpid() != seat.process:  # a forked child inherits what its parent still uses
        return
    with _turn():
        seat.left()
        if _used(seat.folder):
            return
        try:
            with _engine() as engine:
                _sweep(engine)
        except WorkgymError as error:  # the next start sweeps again
            _log.warning("a container of session %s may be left: %s", seat.session, error)


def _used(folder: Path) -> bool:
    """Whether a living process holds a lock here; what dead ones left is removed."""
    used = False
    for path in [*folder.glob("*")]:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                used = True
            else:
                path.unlink(missing_ok=True)
    return used


def _mine(container: Any) -> bool:
    """Whether its users are processes of this person on this machine."""
    host = container.labels.get(OWNER, "").partition("@")[2]
    folder = Path(container.labels.get(USERS, "/"))
    return host == socket.gethostname() and folder.parent == _home()


def _abandoned(container: Any) -> bool:
    if _mine(container):
        return not _used(Path(container.labels[USERS]))
    return time.time() > float(container.labels.get(UNTIL, "inf"))


def _sweep(engine: Any) -> list[str]:
    removed = []
    for container in engine.containers.list(all=True, filters={"label": SESSION}, ignore_removed=True):
        if _abandoned(container):
            try:
                container.remove(force=True, v=True)
            except NotFound:  # somebody else was faster
                continue
            if _mine(container):
                _tidy(Path(container.labels[USERS]))
            removed.append(str(container.name))
    return removed
