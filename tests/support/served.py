"""A service on a real server, in a thread of this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from workgym.services.catalogue import service
from workgym.services.hosting import hosted
from workgym.services.settings import Settings


class Server:
    """Serves until it is stopped; a stopped one can be started again on the same port.

    Attributes:
        base_url: where it listens.
    """

    def __init__(self, name: str, database: str, settings: Settings | None = None) -> None:
        self._made_of = (service(name), database, settings or Settings())
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = int(free.getsockname()[1])
        self.base_url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self.app = hosted(*self._made_of)
        config = uvicorn.Config(self.app, port=self._port, log_level="error", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until = time.monotonic() + 30
        while not self._server.started:
            assert time.monotonic() < until, "the server does not start"
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server does not stop"


@contextmanager
def served(name: str, database: str, settings: Settings | None = None) -> Iterator[Server]:
    """A running server, stopped at the end."""
    server = Server(name, database, settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()
