"""Infrastructure faults on purpose, to prove that nobody takes one for an outcome.

    WORKGYM_FAULTS="drop=0.03,delay=0.02:50ms,duplicate=0.02,error=0.02,reset=0.01,lost-answer=0.02,database=0.01;seed=7"

    drop          the request is lost: nothing is done and nothing is answered until the client gives up
    delay         the request comes later
    duplicate     the request comes twice, and the first answer is lost
    error         503 before anything is done
    reset         the connection breaks in the middle of the answer
    lost-answer   what was asked is done, and the connection breaks before the answer, or it is a 500
    database      a transaction fails before it begins, before it commits or after it has committed

A number is the share of requests, of transactions for `database`. Which request is hit is a function of the
seed and its number. Hit are requests below `/gym` and business verbs. A verb without an `Idempotency-Key` is
never duplicated: nothing on the way repeats what it may not, and the business would see two wishes.
"""

from __future__ import annotations

import hashlib
import math
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from typing import Any

import anyio
from fastapi import FastAPI

from workgym.services.access.doors import Doors
from workgym.services.access.roles import BUSINESS, READS
from workgym.services.kernel import BadInput, InfrastructureFault, Service, did_you_mean
from workgym.services.metrics import Metrics, metrics_of
from workgym.services.problems import Message, Receive, Send, problem
from workgym.services.settings import Settings
from workgym.services.storage import Hazard, Moment

GYM = "/gym/"
LONGEST_BODY = 16 * 2**20  # bytes that are kept in order to be sent twice

_SHARE = re.compile(r"(?P<kind>[a-z-]+)=(?P<share>[0-9.]+)(?::(?P<time>[0-9.]+)(?P<unit>ms|s))?")
_SEED = re.compile(r"seed=([0-9]{1,18})")
_SECONDS = {"ms": 0.001, "s": 1.0}
_REQUESTS, _TRANSACTIONS = "requests", "transactions"
_MOMENTS: tuple[Moment, ...] = ("begin", "commit", "committed")
_exposed: ContextVar[bool] = ContextVar("exposed", default=False)  # whether a request may be hit

ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Profile:
    """How often what goes wrong; shares of requests sum to at most 1.

    Attributes:
        drop, delay, duplicate, error, reset, lost_answer: shares of requests.
        database: share of the transactions.
        delay_s: how much later a request comes, seconds.
        drop_s: after how many seconds the server gives a lost request up, should the client not do so.
        seed: which requests it hits.
    """

    drop: float = 0.0
    delay: float = 0.0
    duplicate: float = 0.0
    error: float = 0.0
    reset: float = 0.0
    lost_answer: float = 0.0
    database: float = 0.0
    delay_s: float = 0.05
    drop_s: float = 30.0
    seed: int = 0

    @classmethod
    def parse(cls, text: str) -> Profile:
        """The profile of a text such as `drop=0.03,delay=0.02:50ms;seed=7`.

        Raises:
            BadInput: the text says something else, names a kind twice, or its shares exceed 1.
        """
        shares, _, rest = text.partition(";")
        found: dict[str, Any] = {}
        for part in filter(None, (piece.strip() for piece in shares.split(","))):
            for name, value in _share(part).items():
                if name in found:
                    raise BadInput(f"expected each kind of fault once, found {part!r} again in {text!r}")
                found[name] = value
        if rest.strip():
            if not (seed := _SEED.fullmatch(rest.strip())):
                raise BadInput(f"expected seed=NUMBER behind the semicolon, found {rest.strip()!r}")
            found["seed"] = int(seed[1])
        profile = cls(**found)
        if (total := sum(share for _, share in profile.shares())) > 1 + 1e-9:
            raise BadInput(f"expected shares of requests that sum to at most 1, found {total:g} in {text!r}")
        return profile

    def shares(self) -> Iterator[tuple[str, float]]:
        """The kinds that hit requests."""
        for kind in KINDS:
            if kind != "database":
                yield kind, getattr(self, _attribute(kind))

    def request(self, number: int) -> str | None:
        """What happens to a request; None for nothing."""
        at = self.chance(_REQUESTS, number)
        for kind, share in self.shares():
            at -= share
            if at < 0:
                return kind
        return None

    def transaction(self, number: int) -> Moment | None:
        """When a transaction fails; None for never."""
        at = self.chance(_TRANSACTIONS, number)
        return _MOMENTS[int(at / self.database * len(_MOMENTS))] if at < self.database else None

    def chance(self, of: str, number: int) -> float:
        """A number in [0, 1) for each request and transaction."""
        hashed = hashlib.blake2b(f"{self.seed}/{of}/{number}".encode(), digest_size=8).digest()
        return (int.from_bytes(hashed) >> 11) / 2**53  # as many bits as a float holds


def _attribute(kind: str) -> str:
    return kind.replace("-", "_")


KINDS = ("drop", "delay", "duplicate", "error", "reset", "lost-answer", "database")


def _share(part: str) -> dict[str, float]:
    match = _SHARE.fullmatch(part)
    if match is None:
        raise BadInput(f"expected KIND=SHARE or KIND=SHARE:TIME such as delay=0.02:50ms, found {part!r}")
    kind, share, time = match["kind"], _number(match["share"], part), match["time"]
    if kind not in KINDS:
        raise BadInput(did_you_mean("kind of fault", kind, list(KINDS)))
    if share > 1:
        raise BadInput(f"expected a share in 0..1, found {part!r}")
    if time is None:
        return {_attribute(kind): share}
    if kind not in ("drop", "delay"):
        raise BadInput(f"expected a time for drop or delay only, found {part!r}; leave it out")
    return {_attribute(kind): share, f"{kind}_s": _number(time, part) * _SECONDS[match["unit"]]}


def _number(text: str, part: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadInput(f"expected a number in {part!r}, found {text!r}")
    return number


class Faults:
    """Middleware between the network and everything else.

    Args:
        app: what is hit.
        profile: how often what goes wrong.
        doors: tell which requests are business verbs.
        metrics: where faults are counted.
    """

    def __init__(self, app: ASGIApp, profile: Profile, doors: Doors, metrics: Metrics) -> None:
        self.app = app
        self.profile = profile
        self.doors = doors
        self.metrics = metrics
        self._numbers = count()
        self._do: dict[str, Callable[[Message, Receive, Send, int], Awaitable[None]]] = {
            "drop": self._drop,
            "delay": self._delay,
            "duplicate": self._duplicate,
            "error": self._error,
            "reset": self._reset,
            "lost-answer": self._lose_answer,
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve, or do worse."""
        if scope["type"] != "http" or not self._is_target(scope):
            await self.app(scope, receive, send)
            return
        number = next(self._numbers)
        kind = self.profile.request(number)
        exposed = _exposed.set(True)
        try:
            if kind is None or (kind == "duplicate" and not _repeatable(scope)):
                await self.app(scope, receive, send)
            else:
                self.metrics.faults.labels(kind).inc()
                await self._do[kind](scope, receive, send, number)
        finally:
            _exposed.reset(exposed)

    def _is_target(self, scope: Message) -> bool:
        if scope["path"].startswith(GYM):
            return True
        return scope["method"] not in READS and self.doors.of(scope).group == BUSINESS

    async def _drop(self, _scope: Message, receive: Receive, _send: Send, _number: int) -> None:
        with anyio.move_on_after(self.profile.drop_s):
            await _gone(receive)
        await _break(receive)

    async def _delay(self, scope: Message, receive: Receive, send: Send, _number: int) -> None:
        await anyio.sleep(self.profile.delay_s)
        await self.app(scope, receive, send)

    async def _duplicate(self, scope: Message, receive: Receive, send: Send, _number: int) -> None:
        body, whole = await _read(receive)
        if whole:
            first = {**scope, "headers": list(scope["headers"]), "state": dict(scope.get("state", {}))}
            await self.app(first, _again(body, receive), _nowhere)
        await self.app(scope, _again(body, receive), send)

    async def _error(self, _scope: Message, _receive: Receive, send: Send, _number: int) -> None:
        await _answer(send, 503, "the service was not reached; ask again with the same key", "no")

    async def _reset(self, scope: Message, receive: Receive, send: Send, _number: int) -> None:
        broken = False

        async def half(message: Message) -> None:
            nonlocal broken
            if broken:
                return
            body = message.get("body", b"")
            if message["type"] == "http.response.body":
                broken = True
                await send({**message, "body": body[: len(body) // 2], "more_body": True})
                await _break(receive)
            else:
                await send(message)

        await self.app(scope, receive, half)

    async def _lose_answer(self, scope: Message, receive: Receive, send: Send, number: int) -> None:
        await self.app(scope, receive, _nowhere)
        if self.profile.chance("lost", number) < 0.5:
            await _break(receive)
        else:
            await _answer(send, 500, "the answer was lost; ask again with the same key", "unknown")


def _repeatable(scope: Message) -> bool:
    return scope["path"].startswith(GYM) or any(name == b"idempotency-key" for name, _ in scope["headers"])


async def _answer(send: Send, status: int, detail: str, committed: str) -> None:
    answer = problem(status, "fault", detail, {"Retry-After": "0"}, committed=committed)
    await send({"type": "http.response.start", "status": status, "headers": answer.raw_headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _nowhere(_message: Message) -> None:
    """Where lost answers go."""


async def _gone(receive: Receive) -> None:
    """Wait until the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(receive: Receive) -> tuple[list[Message], bool]:
    """The messages of a request, and whether these are all."""
    messages, size = [], 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            return messages, message["type"] == "http.request"
        if size > LONGEST_BODY:
            return messages, False


def _again(messages: list[Message], receive: Receive) -> Receive:
    """What was received, once more, and then what comes."""
    kept = iter(messages)

    async def replay() -> Message:
        return next(kept, None) or await receive()

    return replay


async def _break(receive: Receive) -> None:
    """Reset the connection: ASGI has no word for it, so this reaches for uvicorn's transport.

    Raises:
        RuntimeError: the server is another one; it closes the connection when it sees an error.
    """
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise RuntimeError("a fault on purpose broke this connection")
    if transport.is_closing():
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        # Without lingering the system sends a reset instead of a polite end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await _gone(receive)


class DatabaseFaults:
    """Lets transactions of requests that faults may hit fail.

    Args:
        profile: how often.
        metrics: where faults are counted.
    """

    def __init__(self, profile: Profile, metrics: Metrics) -> None:
        self.profile = profile
        self.metrics = metrics
        self._numbers = count()

    def __call__(self, writes: bool) -> Hazard:
        """What happens to the next transaction; one that only reads can only fail to begin."""
        moment = self.profile.transaction(next(self._numbers)) if _exposed.get() else None
        if moment is None:
            return _calm
        chosen: Moment = moment if writes else "begin"

        def strike(now: Moment) -> None:
            if now == chosen:
                self.metrics.faults.labels("database").inc()
                raise InfrastructureFault(
                    f"the connection to the database was lost at {_PLACES[chosen]} on purpose; try again",
                    "yes" if chosen == "committed" else "no",
                )

        return strike


_PLACES = {"begin": "the begin", "commit": "the commit, before it took effect,", "committed": "the commit"}


def _calm(_now: Moment) -> None:
    """Nothing happens."""


def faults(app: FastAPI, _service: Service, settings: Settings) -> None:
    """The part of the hosting that breaks it; without `Settings.faults` it is not there."""
    if settings.faults is None:
        return
    profile, metrics = Profile.parse(settings.faults), metrics_of(app)
    if profile.database:
        app.state.store.database.hazard = DatabaseFaults(profile, metrics)
    app.add_middleware(Faults, profile=profile, doors=Doors(app), metrics=metrics)
