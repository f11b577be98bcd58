"""Runs one service: `python -m workgym.services orders --port 8000 --database sqlite:///orders.db`.

Exit codes: 0 stopped, 1 the database or the address could not be had, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence

import uvicorn
from sqlalchemy.exc import ArgumentError

from workgym.services.catalogue import ASGIApp, service, services
from workgym.services.hosting import hosted
from workgym.services.kernel import BadInput, InfrastructureFault, NotFound, Service


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        wanted = service(options.service)
        with _listener(options.host, options.port) as listener:
            _serve(wanted, options.database or f"sqlite:///{wanted.name}.db", listener)
    except (BadInput, NotFound) as error:
        return _complain(error, 2)
    except InfrastructureFault as error:
        return _complain(error, 1)
    return 0


def _parser() -> argparse.ArgumentParser:
    known = "\n".join(f"  {name:12} {each.title}" for name, each in services().items())
    parser = argparse.ArgumentParser(
        prog="python -m workgym.services",
        description="Run one service.",
        epilog=f"services:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("service", help="name of the service")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--database", help="SQLAlchemy URL (default: sqlite:///SERVICE.db, here)")
    return parser


def _serve(wanted: Service, database: str, listener: socket.socket) -> None:
    app = _opened(wanted, database)
    host, port = listener.getsockname()[:2]
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    print(f"{wanted.title}: http://{where} (operations: /docs)", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listener])


def _opened(wanted: Service, database: str) -> ASGIApp:
    try:
        return hosted(wanted, database)
    except ArgumentError as error:
        raise BadInput(
            f"expected a database URL such as sqlite:///orders.db or postgresql://user@host/name, "
            f"found {database!r} ({error})"
        ) from error


def _listener(host: str, port: int) -> socket.socket:
    """A socket that is ours before the server starts, so that port 0 is known and a taken one is told."""
    if not 0 <= port <= 65535:
        raise BadInput(f"expected --port in 0..65535, found {port}")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise InfrastructureFault(
            f"cannot listen on {host} port {port}: {error}; stop what listens there, or give another --port "
            f"(0 takes a free one)",
            "no",
        ) from error


def _complain(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
