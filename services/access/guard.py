"""The middleware that finds out who asks, and lets them do what their role may do.

Whoever was recognised is `scope["state"]["person"]`, and their name takes the place of the header X-Actor,
whatever the client wrote there. A part that calls the application in process passes `person` on in the
state of its scope: such a call is neither recognised nor counted again, only permitted or not.

What was recognised is remembered for `REMEMBERED_S` seconds; so long a token that another process revoked
still works.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import HTTPException
from fastapi.responses import RedirectResponse, Response
from starlette.requests import cookie_parser

from workgym.services.access import hashing
from workgym.services.access.doors import Door, Doors, Scope
from workgym.services.access.limits import Allowance
from workgym.services.access.register import ADMIN_TOKEN, Register
from workgym.services.access.roles import BUSINESS, READS, Person, permitted
from workgym.services.catalogue import ASGIApp
from workgym.services.kernel import WorkgymError
from workgym.services.problems import Receive, Send, problem_of
from workgym.services.rest import LARGEST_ID

REMEMBERED_S = 5.0
_MOST_REMEMBERED = 4096
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="workgym"'}
_BAD_TOKEN = {"WWW-Authenticate": 'Bearer realm="workgym", error="invalid_token"'}
_POLICY_VIOLATION = 1008  # how a WebSocket is told


class Recognition:
    """Who a credential belongs to, asked of the register at most once in `REMEMBERED_S` seconds.

    Args:
        register: of users, tokens and sessions.
        admin_token: the token that always works.
        cookie: name of the cookie of a session.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        register: Register,
        admin_token: str,
        cookie: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.register = register
        self.cookie = cookie
        self._admin = hashing.digest(admin_token)
        self._clock = clock
        self._known: dict[tuple[str, bytes], tuple[Person, float]] = {}

    async def bearer(self, secret: str) -> Person | None:
        """Who asks with a token."""
        if hashing.same(hashing.digest(secret), self._admin):
            return Person(ADMIN_TOKEN, "admin")
        return await self._recall("bearer", secret, self.register.bearer)

    async def session(self, secret: str) -> Person | None:
        """Who asks with a cookie."""
        return await self._recall("session", secret, self.register.session)

    def forget(self) -> None:
        """Ask the register again: somebody lost a right just now."""
        self._known.clear()

    async def _recall(self, kind: str, secret: str, ask: Callable[[str], Person | None]) -> Person | None:
        key = (kind, hashing.digest(secret))
        person, until = self._known.get(key, (None, 0.0))
        if person is not None and self._clock() < until:
            return person
        since = self._clock()
        person = await run_sync(ask, secret)
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        if person is None:
            self._known.pop(key, None)
        else:
            self._known[key] = (person, since + REMEMBERED_S)
        return person


class Guard:
    """Admits or refuses each request.

    Args:
        app: what is guarded.
        doors: what a request asks for.
        recognition: who asks.
        allowance: how often one may ask.
    """

    def __init__(self, app: ASGIApp, doors: Doors, recognition: Recognition, allowance: Allowance) -> None:
        self.app = app
        self.doors = doors
        self.recognition = recognition
        self.allowance = allowance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve whoever may ask this."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        door = self.doors.of(scope)
        try:
            person = await self._admit(scope, door)
            if person is not None:
                await self._before_a_world_goes(scope, door)
        except (HTTPException, WorkgymError) as refusal:
            await _refuse(refusal, door, scope, receive, send)
            return
        _name_the_actor(scope, person)
        await self.app(scope, receive, send)

    async def _admit(self, scope: Scope, door: Door) -> Person | None:
        method = _method(scope)
        roles = permitted(door.group, method) if door.group else frozenset()
        if roles is None:
            return None
        person: Person | None = scope.get("state", {}).get("person")
        if person is None:
            person = await self._recognise(scope)
            scope.setdefault("state", {})["person"] = person  # a refusal tells it, too
            self.allowance.request(person)
        if door.group is None:
            return person
        if person.role not in roles:
            raise HTTPException(
                403, f"expected one of the roles {', '.join(sorted(roles))} here, found {person.role}"
            )
        # Whether another world exists is not told: the path is compared, nothing is looked up.
        if person.world is not None and door.group == BUSINESS and door.world != str(person.world):
            raise HTTPException(403, f"expected a path in world {person.world}, the only one of this token")
        return person

    async def _recognise(self, scope: Scope) -> Person:
        authorization = header(scope, b"authorization")
        if authorization is not None:
            scheme, _, secret = authorization.partition(" ")
            person = await self.recognition.bearer(secret.strip()) if scheme.lower() == "bearer" else None
            if person is None:
                raise HTTPException(401, "expected a token that is good, found another one", _BAD_TOKEN)
            return person
        session = cookie_of(scope, self.recognition.cookie)
        person = await self.recognition.session(session) if session else None
        if person is None:
            raise HTTPException(
                401, "sign in at /signin, or send a token as Authorization: Bearer", CHALLENGE
            )
        unsafe = scope["type"] == "websocket" or scope["method"] not in READS
        if unsafe and not same_origin(scope):
            raise HTTPException(403, "expected this request from a page of this server")
        return person

    async def _before_a_world_goes(self, scope: Scope, door: Door) -> None:
        """Its tokens go first: the next world may get its id."""
        if door.group != "worlds" or _method(scope) != "DELETE":
            return
        world = int(door.world) if door.world and door.world.isdecimal() else None
        if world is not None and world <= LARGEST_ID:
            await run_sync(self.recognition.register.revoke_world, world)
            self.recognition.forget()


def _method(scope: Scope) -> str:
    """Of an HTTP request; a WebSocket can act."""
    return str(scope.get("method", "POST"))


def _name_the_actor(scope: Scope, person: Person | None) -> None:
    headers = [pair for pair in scope["headers"] if pair[0].lower() != b"x-actor"]
    if person is not None:
        headers.append((b"x-actor", person.name.encode("ascii")))
    scope["headers"] = headers


async def _refuse(
    refusal: HTTPException | WorkgymError, door: Door, scope: Scope, receive: Receive, send: Send
) -> None:
    answer: Response = problem_of(refusal)
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await receive()  # the request to connect, which has to be read before it is declined
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    if answer.status_code == 401 and door.group == "pages" and scope.get("method") in READS:
        answer = RedirectResponse(f"/signin?next={quote(_target(scope), safe='')}", 303)
    await answer(scope, receive, send)


def _target(scope: Scope) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    return quote(scope["path"]) + (f"?{query}" if query else "")


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of a name."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name), None)


def cookie_of(scope: Scope, name: str) -> str | None:
    """The value of a cookie."""
    cookies = header(scope, b"cookie")
    return cookie_parser(cookies).get(name) if cookies else None


def same_origin(scope: Scope) -> bool:
    """Whether a browser says that one of our own pages sent this; a page of another site cannot forge it."""
    site = header(scope, b"sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = header(scope, b"origin")
    return origin is not None and origin.partition("://")[2] == header(scope, b"host")
