"""A service over PostgreSQL whose parts can be killed and started again, as processes or as containers."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[1]
SERVICE, USER = "orders", "workgym"
_START_S = 90.0
_VERIFY = ("-m", "workgym.services", "audit", "verify", "--database")


class Plant(ABC):
    """What can be broken; a context that starts everything and leaves nothing behind.

    Attributes:
        base_url: of the service.
        token: of its admin.
    """

    base_url: str
    token: str

    def __enter__(self) -> Self:
        try:
            self.start()
            await_health(self)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> None:
        """Start everything."""

    @abstractmethod
    def stop(self) -> None:
        """Leave nothing behind."""

    @abstractmethod
    def kill_service(self) -> None:
        """Without a warning."""

    @abstractmethod
    def start_service(self) -> None:
        """Let it run again; it need not answer yet."""

    @abstractmethod
    def kill_database(self) -> None:
        """Without a warning."""

    @abstractmethod
    def start_database(self) -> None:
        """Let it run again."""

    @abstractmethod
    def verify(self) -> bool:
        """Whether the audit logs are as they were written."""


def await_health(plant: Plant) -> None:
    """Wait until the service and its database answer."""
    until = time.monotonic() + _START_S
    while True:
        try:
            with urlopen(f"{plant.base_url}/healthz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            assert time.monotonic() < until, "the service does not answer"
        time.sleep(0.1)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class PrivatePostgres:
    """A PostgreSQL of this machine that nobody else uses (tests/support/postgres.sh); a context.

    Attributes:
        url: SQLAlchemy URL, once it was started.
    """

    def __init__(self) -> None:
        self.url = ""
        self._folder = TemporaryDirectory(prefix="chaos-", dir="/tmp")  # short: a socket is in it
        Path(self._folder.name).chmod(0o755)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Recovers what was committed."""
        until = time.monotonic() + _START_S
        while (started := self._do("start")).returncode:  # children of the killed one still end
            assert time.monotonic() < until, started.stderr
            time.sleep(0.2)
        self.url = started.stdout.strip()

    def stop(self) -> None:
        """Leave nothing behind."""
        self._do("stop")
        self._folder.cleanup()

    def kill(self) -> None:
        """SIGKILL of the postmaster; its children notice and end."""
        (pid_file,) = Path(self._folder.name).glob("workgym-postgres-*/data/postmaster.pid")
        postmaster = int(pid_file.read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
        with suppress(ProcessLookupError):
            while True:  # until somebody has buried it, pg_ctl takes it for alive
                os.kill(postmaster, 0)
                time.sleep(0.01)

    def _do(self, command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "TMPDIR": self._folder.name, "WORKGYM_TEST_POSTGRES_PORT": "5432"}
        return subprocess.run(
            [str(ROOT / "tests" / "support" / "postgres.sh"), command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )


class Processes(Plant):
    """A server process, and a PostgreSQL of its own."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(24)
        self._port = _free_port()
        self.base_url = f"http://127.0.0.1:{self._port}"
        self._postgres = PrivatePostgres()
        self._service: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.start_database()
        self.start_service()

    def stop(self) -> None:
        self.kill_service()
        self._postgres.stop()

    def kill_service(self) -> None:
        """SIGKILL."""
        if self._service is not None:
            self._service.kill()
            self._service.wait()

    def start_service(self) -> None:
        """A new process."""
        command = [sys.executable, "-m", "workgym.services", "serve", SERVICE, "--port", str(self._port)]
        settings = {"WORKGYM_ADMIN_TOKEN": self.token, "WORKGYM_DATABASE_URL": self._postgres.url}
        self._service = subprocess.Popen(
            command, env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill_database(self) -> None:
        """SIGKILL of the postmaster."""
        self._postgres.kill()

    def start_database(self) -> None:
        """Recovers what was committed."""
        self._postgres.start()

    def verify(self) -> bool:
        """By the command, in a process of its own."""
        command = [sys.executable, *_VERIFY, self._postgres.url]
        return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0


class Containers(Plant):
    """A container of the service and one of PostgreSQL in a network of their own.

    Args:
        image: of the service.
        database: image of PostgreSQL.
    """

    def __init__(self, image: str = f"workgym/{SERVICE}", database: str = "postgres:15") -> None:
        self.token = secrets.token_urlsafe(24)
        self._images = image, database
        self._password = secrets.token_urlsafe(24)
        self._name = f"workgym-chaos-{secrets.token_hex(4)}"
        self._port = _free_port()
        self.base_url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        _docker("network", "create", self._name)
        self._run_database()
        self._run_service()

    def stop(self) -> None:
        for name in (self._of("service"), self._of("database")):
            _docker("rm", "--force", "--volumes", name, check=False)
        _docker("network", "rm", self._name, check=False)

    def _of(self, part: str) -> str:
        return f"{self._name}-{part}"

    def _run_database(self) -> None:
        self._run("database", {"POSTGRES_USER": USER, "POSTGRES_PASSWORD": self._password}, self._images[1])
        until = time.monotonic() + _START_S
        # Over TCP: while the image makes the data folder, it has a server on the socket alone.
        probe = ("exec", self._of("database"), "pg_isready", "--host", "127.0.0.1", "--username", USER)
        while _docker(*probe, check=False).returncode:
            assert time.monotonic() < until, "the database does not answer"
            time.sleep(0.2)

    def _run_service(self) -> None:
        host = f"{USER}:{self._password}@{self._of('database')}"
        variables = {"WORKGYM_ADMIN_TOKEN": self.token, "WORKGYM_DATABASE_URL": f"postgresql://{host}/{USER}"}
        self._run("service", variables, "--publish", f"127.0.0.1:{self._port}:8000", self._images[0])

    def _run(self, part: str, variables: dict[str, str], *more: str) -> None:
        told = [piece for name in variables for piece in ("--env", name)]  # values stay out of `ps`
        run = ("run", "--detach", "--name", self._of(part), "--network", self._name)
        _docker(*run, *told, *more, **variables)

    def kill_service(self) -> None:
        """SIGKILL of the container."""
        _docker("kill", self._of("service"))

    def start_service(self) -> None:
        """The same container."""
        _docker("start", self._of("service"))

    def kill_database(self) -> None:
        """SIGKILL of the container."""
        _docker("kill", self._of("database"))

    def start_database(self) -> None:
        """The same container, which recovers what was committed."""
        _docker("start", self._of("database"))

    def verify(self) -> bool:
        """By the command, inside the service's container."""
        script = f'exec python {" ".join(_VERIFY)} "$WORKGYM_DATABASE_URL"'
        return _docker("exec", self._of("service"), "sh", "-c", script, check=False).returncode == 0


def _docker(*arguments: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["docker", *arguments], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, f"docker {arguments[0]}: {done.stderr[-2000:]}"
    return done
