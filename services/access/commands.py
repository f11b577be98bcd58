"""The commands `user` and `token`: who gets in, told by whoever runs the server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from getpass import getpass
from typing import Any

from workgym.services.access.register import Register
from workgym.services.access.roles import ROLES, USER_ROLES
from workgym.services.kernel import BadInput
from workgym.services.storage import Database

Command = Callable[[argparse.Namespace, Database], int]


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add `user` and `token` to the parsers of an `argparse` command.

    Args:
        commands: what `add_subparsers` made.
        common: the options that say which database.
    """
    user = _group(commands, "user", "who signs in with a password")
    add = _leaf(user, "add", common, _add_user, "a new user; the password is asked, or read from the input")
    add.add_argument("name")
    add.add_argument("--role", required=True, choices=USER_ROLES)
    _leaf(user, "list", common, _list_users, "all users")
    disable = _leaf(user, "disable", common, _disable_user, "end a user's sessions, refuse them from now on")
    disable.add_argument("name")

    token = _group(commands, "token", "what programs and agents sign in with")
    mint = _leaf(token, "mint", common, _mint, "a new token; its secret is printed this once")
    mint.add_argument("--role", required=True, choices=ROLES)
    mint.add_argument("--world", type=int, help="the only world of an agent")
    mint.add_argument("--owner", required=True, help="who answers for it")
    mint.add_argument("--days", type=float, default=30.0, help="until it expires (default: %(default)g)")
    _leaf(token, "list", common, _list_tokens, "all tokens that work")
    revoke = _leaf(token, "revoke", common, _revoke, "let a token be worth nothing")
    revoke.add_argument("id")


def _group(commands: Any, name: str, about: str) -> Any:
    parser = commands.add_parser(name, help=about, description=f"{name.capitalize()}s: {about}.")
    return parser.add_subparsers(dest="what", required=True, metavar="COMMAND")


def _leaf(
    group: Any, name: str, common: argparse.ArgumentParser, run: Command, about: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = group.add_parser(name, parents=[common], help=about, description=about)
    parser.set_defaults(run=run)
    return parser


def _add_user(options: argparse.Namespace, database: Database) -> int:
    user = Register(database).add_user(options.name, _password(), options.role)
    print(f"{user.name} signs in as {user.role}")
    return 0


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass("Password: ")
    if getpass("Again: ") != password:
        raise BadInput("expected the same password twice, found two; nothing was changed")
    return password


def _list_users(options: argparse.Namespace, database: Database) -> int:
    for user in Register(database).users():
        print(f"{user.name:24} {user.role:10} {'disabled' if user.disabled else ''}".rstrip())
    return 0


def _disable_user(options: argparse.Namespace, database: Database) -> int:
    Register(database).disable_user(options.name)
    print(f"{options.name} is disabled")
    return 0


def _mint(options: argparse.Namespace, database: Database) -> int:
    token, secret = Register(database).mint(
        options.role, owner=options.owner, world=options.world, days=options.days
    )
    print(f"token {token.id} of {token.owner}, {token.role}, until {_day(token.expires_at)}", file=sys.stderr)
    print(secret)
    return 0


def _list_tokens(options: argparse.Namespace, database: Database) -> int:
    for token in Register(database).tokens():
        world = "" if token.world is None else f"world {token.world}"
        print(f"{token.id} {token.owner:24} {token.role:10} {_day(token.expires_at)} {world}".rstrip())
    return 0


def _revoke(options: argparse.Namespace, database: Database) -> int:
    Register(database).revoke(options.id)
    print(f"token {options.id} is revoked; servers notice within seconds")
    return 0


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
