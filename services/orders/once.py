"""A request is carried out once, however often it is sent with the same idempotency key."""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple, TypeVar

from pydantic import TypeAdapter

from workgym.services.kernel import Conflict, Refused
from workgym.services.orders import statements as sql
from workgym.services.storage import Transaction

T = TypeVar("T")


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
    kept = tx.rows(sql.SEE_ANSWER, request.world, request.key)
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
    _keep(tx, request, {"answer": TypeAdapter(kind).dump_python(answer, mode="json")})


def keep_refusal(tx: Transaction, request: Request, refusal: Refused) -> None:
    """Remember why it was refused; a retry is told the same, even if the business would say yes by now."""
    _keep(tx, request, {"refused": [refusal.reason, refusal.code]})


def _keep(tx: Transaction, request: Request, answer: dict[str, object]) -> None:
    if request.key is not None:
        tx.run(sql.KEEP_ANSWER, request.world, request.key, request.digest(), json.dumps(answer))


def read_answer(text: str, kind: type[T]) -> T:
    """The answer of a kept text.

    Raises:
        Refused: that was the answer.
    """
    kept = json.loads(text)
    if "refused" in kept:
        raise Refused(*kept["refused"])
    return TypeAdapter(kind).validate_python(kept["answer"])
