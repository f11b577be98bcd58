"""A request is carried out once, however often it is sent with the same idempotency key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import Column, ForeignKey, MetaData, Table, Text, bindparam, column, insert, select, table

from workgym.services.kernel import Conflict, Refused
from workgym.services.storage import CLUSTERED, SERIAL, Database, Statement, Transaction

T = TypeVar("T")
F = TypeVar("F")

_COLUMNS = ("world_id", "key", "request", "response")
_kept = table("idempotency", *(column(name) for name in _COLUMNS))  # of whichever service it is
_SEE_ANSWER = Statement(
    select(_kept.c.request, _kept.c.response).where(
        _kept.c.world_id == bindparam("world"), _kept.c.key == bindparam("once")
    ),
    "world",
    "once",
)
_KEEP_ANSWER = Statement(insert(_kept).values({name: bindparam(name) for name in _COLUMNS}), *_COLUMNS)


def idempotency_table(metadata: MetaData) -> Table:
    """Where a service that has a table `worlds` remembers what it answered."""
    return Table(
        "idempotency",
        metadata,
        Column(
            "world_id", SERIAL, ForeignKey("worlds.id"), primary_key=True, autoincrement=False, nullable=False
        ),
        Column("key", Text, primary_key=True),
        Column("request", Text, nullable=False),  # hash
        Column("response", Text, nullable=False),  # JSON
        **CLUSTERED,
    )


class Request(NamedTuple):
    """Who asks for what.

    Attributes:
        world: its id.
        verb: of the store.
        actor: who asks.
        key: idempotency key, None for a request that may be carried out again.
        asked: the verb's arguments.
    """

    world: int
    verb: str
    actor: str
    key: str | None = None
    asked: tuple[object, ...] = ()

    def digest(self) -> str:
        """Hash of what is asked, whoever asks."""
        return hashlib.sha256(json.dumps([self.verb, self.asked]).encode()).hexdigest()


def answer_before(tx: Transaction, request: Request) -> str | None:
    """The answer that this key has had, to be read by `read_answer`.

    Raises:
        Conflict: the key came with another request.
    """
    if request.key is None:
        return None
    kept = tx.rows(_SEE_ANSWER, request.world, request.key)
    if not kept:
        return None
    asked, response = kept[0]
    if asked != request.digest():
        raise Conflict(
            f"idempotency key {request.key!r} came with another request before; use a fresh key for this one"
        )
    return str(response)


def keep_answer(tx: Transaction, request: Request, answer: T, kind: type[T]) -> None:
    """Remember what was answered."""
    if request.key is not None:
        _keep(tx, request, {"answer": _shape_of(kind).dump_python(answer, mode="json")})


def keep_refusal(tx: Transaction, request: Request, refusal: Refused) -> None:
    """Remember why it was refused; a retry is told the same, even if the business would say yes by now."""
    _keep(tx, request, {"refused": [refusal.reason, refusal.code]})


def _keep(tx: Transaction, request: Request, answer: dict[str, object]) -> None:
    if request.key is not None:
        tx.run(_KEEP_ANSWER, request.world, request.key, request.digest(), json.dumps(answer))


def read_answer(text: str, kind: type[T]) -> T:
    """The answer of a kept text.

    Raises:
        Refused: that was the answer.
    """
    kept = json.loads(text)
    if "refused" in kept:
        raise Refused(*kept["refused"])
    answer: T = _shape_of(kind).validate_python(kept["answer"])
    return answer


_shapes: dict[object, TypeAdapter[Any]] = {}


def _shape_of(kind: Any) -> TypeAdapter[Any]:
    """How answers of a kind are written and read; making one takes longer than a decision."""
    if kind not in _shapes:
        _shapes[kind] = TypeAdapter(kind)
    return _shapes[kind]


def carry_out(
    database: Database,
    request: Request,
    kind: type[T],
    lock: Callable[[Transaction], F],
    act: Callable[[Transaction, F], T],
) -> T:
    """Carry a request out once, whatever the number of calls with its idempotency key.

    Args:
        database: where it happens, in one transaction.
        request: who asks for what.
        kind: type of the answer.
        lock: takes what the request is about before anything is read.
        act: checks, changes and answers; a Refused comes before its first change.
    """
    refusal: Refused | None = None
    with database.write() as tx:
        held = lock(tx)
        before = answer_before(tx, request)
        if before is not None:
            return read_answer(before, kind)
        try:
            answer = act(tx, held)
        except Refused as error:
            refusal = error
            keep_refusal(tx, request, error)
        else:
            keep_answer(tx, request, answer, kind)
    if refusal is not None:
        raise refusal
    return answer
