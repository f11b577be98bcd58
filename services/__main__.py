"""Runs a service and keeps its people: `python -m workgym.services serve orders --port 8000`.

    serve SERVICE           serve until interrupted
    user add|list|disable   who signs in with a password
    token mint|list|revoke  what programs and agents sign in with
    audit verify            whether the audit log is as it was written

Exit codes: 0 done, 1 the database or the address could not be had, 2 wrong arguments, 3 an audit log is not
as it was written.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import uvicorn
from sqlalchemy import column, inspect, select, table
from sqlalchemy.exc import ArgumentError

from workgym.services.access.commands import add_commands
from workgym.services.catalogue import ASGIApp, service, services
from workgym.services.hosting import hosted
from workgym.services.kernel import BadInput, Conflict, InfrastructureFault, NotFound, Service
from workgym.services.settings import Settings
from workgym.services.storage import Database

DATABASE = "WORKGYM_DATABASE_URL"
_DATABASE_HELP = f"SQLAlchemy URL (default: ${DATABASE}, then sqlite:///SERVICE.db, here)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _serve(options) if options.command == "serve" else _administer(options)
    except (BadInput, NotFound, Conflict) as error:
        return _complain(error, 2)
    except InfrastructureFault as error:
        return _complain(error, 1)


def _parser() -> argparse.ArgumentParser:
    known = "\n".join(f"  {name:12} {each.title}" for name, each in services().items())
    form: dict[str, Any] = {
        "epilog": f"services:\n{known}",
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
    parser = argparse.ArgumentParser(
        prog="python -m workgym.services", description="Run a service and keep its people.", **form
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(commands, form)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--service", help="name of the service, for its default database")
    common.add_argument("--database", help=_DATABASE_HELP)
    add_commands(commands, common)
    audit = commands.add_parser("audit", help="whether the audit log is as it was written")
    verify = audit.add_subparsers(dest="what", required=True, metavar="COMMAND").add_parser(
        "verify", parents=[common], help="check every line", description="Check every line of the audit logs."
    )
    verify.add_argument("--world", type=int, help="only this world's log")
    verify.set_defaults(run=_verify)
    return parser


def _add_serve(commands: Any, form: dict[str, Any]) -> None:
    serve = commands.add_parser(
        "serve", help="serve until interrupted", description="Run one service.", **form
    )
    serve.add_argument("service", metavar="SERVICE", help="name of the service")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    serve.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")
    serve.add_argument("--database", help=_DATABASE_HELP)
    serve.add_argument("--open", action="store_true", help="let whoever reaches the address do everything")


# Serving


def _serve(options: argparse.Namespace) -> int:
    wanted, settings = service(options.service), Settings.from_environment()
    if settings.open and not options.open and not _is_loopback(options.host):
        raise BadInput(
            f"expected a loopback address such as 127.0.0.1, found {options.host!r}: nobody has to sign in; "
            f"set WORKGYM_ADMIN_TOKEN, or say --open if whoever reaches the address may do everything"
        )
    with _listener(options.host, options.port) as listener:
        app = _opened(wanted, _url(options.database, wanted), settings)
        host, port = listener.getsockname()[:2]
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        print(f"{wanted.title}: http://{where} (operations: /docs)", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listener])
    return 0


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _opened(wanted: Service, database: str, settings: Settings) -> ASGIApp:
    try:
        return hosted(wanted, database, settings)
    except ArgumentError as error:
        raise _no_url(database, error) from error


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


# Keeping


def _administer(options: argparse.Namespace) -> int:
    url = _url(options.database, service(options.service) if options.service else None)
    try:
        database = Database(url)
    except ArgumentError as error:
        raise _no_url(url, error) from error
    try:
        return int(options.run(options, database))
    finally:
        database.close()


def _verify(options: argparse.Namespace, database: Database) -> int:
    """Check the audit logs; 3 when one is not as it was written."""
    from workgym.services.audit import verify

    worlds = table("worlds", column("id"))
    with database.read() as tx:
        if not inspect(tx.connection).has_table("worlds"):
            raise NotFound("no worlds in this database; name the one that a service has served")
        every = list(tx.connection.scalars(select(worlds.c.id).order_by(worlds.c.id)))
        chosen = every if options.world is None else [options.world]
        found = {world: verify(tx, world) for world in chosen}
    for world, findings in found.items():
        if findings.broken is not None:
            print(f"world {world}: line {findings.broken.number}: {findings.broken.found}")
        else:
            print(f"world {world}: {findings.rows} lines as written, head {findings.head or 'none'}")
    return 0 if all(findings.whole for findings in found.values()) else 3


def _url(said: str | None, wanted: Service | None) -> str:
    found = said or os.environ.get(DATABASE) or (f"sqlite:///{wanted.name}.db" if wanted else None)
    if found is None:
        raise BadInput(f"expected --database URL, --service NAME or {DATABASE}, found none of them")
    return found


def _no_url(database: str, error: Exception) -> BadInput:
    return BadInput(
        f"expected a database URL such as sqlite:///orders.db or postgresql://user@host/name, "
        f"found {database!r} ({error})"
    )


def _complain(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
