"""The register of users, tokens and sessions, in the service's own database."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, column, delete, insert, inspect, select, table, update

from workgym.services.access import hashing
from workgym.services.access.roles import ROLES, USER_ROLES, Person, Role
from workgym.services.access.tables import metadata, sessions, tokens, users
from workgym.services.kernel import BadInput, Conflict, NotFound, did_you_mean
from workgym.services.storage import Database, Transaction

SESSION_S = 12 * 3600.0  # a working day
LONGEST_DAYS = 3650
SHORTEST_PASSWORD = 8
ADMIN_TOKEN = "admin-token"  # who asks with the token of `Settings.admin_token`
_DAY_S = 86400.0
_SECRET = re.compile(r"wg_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")  # scanners for leaked secrets know it by this
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_WORLDS = table("worlds", column("id"))  # of whichever service it is
_NOBODY = "scrypt$32768$8$3$" + "00" * 16 + "$" + "00" * 64


@dataclass(frozen=True)
class User:
    """Somebody who signs in with a password."""

    name: str
    role: Role
    disabled: bool


@dataclass(frozen=True)
class Token:
    """What a program signs in with, without its secret.

    Attributes:
        id: names the token in lists; it is no secret.
        owner: who answers for it.
        role: what it may do.
        world: the only world that an agent may use.
        expires_at: seconds since 1970.
    """

    id: str
    owner: str
    role: Role
    world: int | None
    expires_at: float

    @property
    def person(self) -> Person:
        """Who asks with this token: an agent acts under its own name, everybody else under the owner's."""
        return Person(f"agent/{self.id}" if self.role == "agent" else self.owner, self.role, self.world)


class Register:
    """Users, tokens and sessions.

    Args:
        database: of the service; missing tables are made.
        clock: seconds since 1970.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self.database = database
        self.clock = clock
        database.create(metadata)

    # Users

    def add_user(self, name: str, password: str, role: str) -> User:
        """A new user.

        Raises:
            BadInput: the name, the password or the role will not do.
            Conflict: the name is taken.
        """
        if not _NAME.fullmatch(name) or name == ADMIN_TOKEN:
            raise BadInput(
                f"expected a name of at most 64 letters, digits and . _ @ -, other than {ADMIN_TOKEN!r}, "
                f"found {name!r}"
            )
        if len(password) < SHORTEST_PASSWORD:
            raise BadInput(f"expected a password of at least {SHORTEST_PASSWORD} characters")
        user = User(name, known_role(role, USER_ROLES), False)
        row = {"name": name, "password": hashing.hash_password(password), "role": role, "disabled": False}
        with self.database.write() as tx:
            if tx.connection.execute(select(users.c.name).where(users.c.name == name)).first():
                raise Conflict(f"there is a user named {name!r} already; choose another name")
            tx.connection.execute(insert(users).values(row))
        return user

    def users(self) -> list[User]:
        """All users by name."""
        query = select(users.c.name, users.c.role, users.c.disabled).order_by(users.c.name)
        with self.database.read() as tx:
            return [User(*row) for row in tx.connection.execute(query)]

    def disable_user(self, name: str) -> None:
        """End a user's sessions and refuse them and their tokens from now on (NotFound)."""
        with self.database.write() as tx:
            changed = tx.connection.execute(update(users).where(users.c.name == name).values(disabled=True))
            if not changed.rowcount:
                raise NotFound(did_you_mean("user", name, list(tx.connection.scalars(select(users.c.name)))))
            tx.connection.execute(delete(sessions).where(sessions.c.user == name))

    # Tokens

    def mint(
        self, role: str, *, owner: str, world: int | None = None, days: float = 30.0
    ) -> tuple[Token, str]:
        """A new token and its secret, which nobody can read again.

        Args:
            role: what it may do.
            owner: who answers for it; when that is a user, the token dies with the user.
            world: the only world of an agent; nobody else's tokens have one.
            days: until it expires.

        Raises:
            BadInput: role, owner, world or days will not do.
            NotFound: there is no such world.
        """
        chosen = known_role(role, ROLES)
        if (chosen == "agent") != (world is not None):
            raise BadInput(f"expected a world for an agent and for nobody else, found {role} and {world}")
        if not 0 < days <= LONGEST_DAYS:
            raise BadInput(f"expected days above 0 and up to {LONGEST_DAYS}, found {days}")
        if not _NAME.fullmatch(owner):
            raise BadInput(f"expected an owner of at most 64 letters, digits and . _ @ -, found {owner!r}")
        token = Token(secrets.token_hex(6), owner, chosen, world, self.clock() + days * _DAY_S)
        secret = f"wg_{token.id}_{hashing.new_secret()}"
        with self.database.write() as tx:
            if world is not None:
                _check_world(tx, world)
            tx.connection.execute(insert(tokens).values({**vars(token), "digest": hashing.digest(secret)}))
        return token, secret

    def tokens(self) -> list[Token]:
        """All tokens that are neither revoked nor expired, those that expire first on top."""
        query = select(*_TOKEN).where(tokens.c.expires_at > self.clock()).order_by(tokens.c.expires_at)
        with self.database.read() as tx:
            return [Token(*row) for row in tx.connection.execute(query)]

    def revoke(self, token: str) -> None:
        """Let a token be worth nothing (NotFound)."""
        with self.database.write() as tx:
            if not tx.connection.execute(delete(tokens).where(tokens.c.id == token)).rowcount:
                raise NotFound(f"no token with the id {token!r}; list them to see which there are")

    def revoke_world(self, world: int) -> None:
        """Revoke the tokens of a world that goes away: the next world may get its id."""
        with self.database.write() as tx:
            tx.connection.execute(delete(tokens).where(tokens.c.world == world))

    def bearer(self, secret: str) -> Person | None:
        """Who asks with a token; None for a token that is forged, expired, revoked or of a disabled user."""
        shape = _SECRET.fullmatch(secret)
        if shape is None:
            return None
        query = (
            select(*_TOKEN, tokens.c.digest)
            .outerjoin(users, users.c.name == tokens.c.owner)
            .where(tokens.c.id == shape[1], tokens.c.expires_at > self.clock(), _IN_GOOD_STANDING)
        )
        row = self._first(query)
        if row is None or not hashing.same(hashing.digest(secret), row.digest):
            return None
        return Token(*row[: len(_TOKEN)]).person

    # Sessions

    def sign_in(self, name: str, password: str) -> str | None:
        """The secret of a new session; None when name and password do not belong together."""
        possible = _NAME.fullmatch(name)
        query = select(users.c.password, users.c.disabled).where(users.c.name == name)
        row = self._first(query) if possible else None
        # An unknown name takes as long as a known one.
        right = hashing.fits(password, row.password if row else _NOBODY)
        if row is None or row.disabled or not right:
            return None
        secret, now = hashing.new_secret(), self.clock()
        opened = {"digest": hashing.digest(secret), "user": name, "expires_at": now + SESSION_S}
        with self.database.write() as tx:
            tx.connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
            tx.connection.execute(insert(sessions).values(opened))
        return secret

    def session(self, secret: str) -> Person | None:
        """Whose session it is; None when it is over."""
        found = hashing.digest(secret)
        query = (
            select(users.c.name, users.c.role, sessions.c.digest)
            .join(users, users.c.name == sessions.c.user)
            .where(sessions.c.digest == found, sessions.c.expires_at > self.clock(), _IN_GOOD_STANDING)
        )
        row = self._first(query)
        return Person(row.name, row.role) if row and hashing.same(found, row.digest) else None

    def sign_out(self, secret: str) -> None:
        """End a session."""
        with self.database.write() as tx:
            tx.connection.execute(delete(sessions).where(sessions.c.digest == hashing.digest(secret)))

    def _first(self, query: Select[Any]) -> Row[Any] | None:
        with self.database.read() as tx:
            return tx.connection.execute(query).first()


_TOKEN = (tokens.c.id, tokens.c.owner, tokens.c.role, tokens.c.world, tokens.c.expires_at)
_IN_GOOD_STANDING: ColumnElement[bool] = users.c.disabled.is_not(True)  # whoever is no user is not disabled


def known_role(role: str, known: tuple[Role, ...]) -> Role:
    """A role by its name.

    Raises:
        BadInput: it is not among those that will do here.
    """
    if role not in known:
        raise BadInput(f"expected a role among {', '.join(known)}, found {role!r}")
    return role


def _check_world(tx: Transaction, world: int) -> None:
    known = inspect(tx.connection).has_table("worlds")
    if not known or not tx.connection.execute(select(_WORLDS).where(_WORLDS.c.id == world)).first():
        raise NotFound(f"there is no world {world}; open one, then mint its token")
