"""Worlds lent for a while: a lease expires unless its holder shows up, and then the worlds are reclaimed.

A lease also makes its holder's calls happen once. They are numbered: the call after the last one is
carried out, the last one again is answered as before, anything else is a conflict. One answer a lease is all
that has to be remembered.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    literal_column,
    select,
    update,
)

from workgym.services.kernel import Conflict, NotFound
from workgym.services.storage import Statement, Transaction, insert_into

metadata = MetaData()
_leases = Table(
    "leases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("purpose", Text, nullable=False),  # JSON, the holder's business
    Column("worlds", Text, nullable=False),  # JSON, ascending ids
    Column("calls", BigInteger, nullable=False),  # how many were carried out
    Column("request", Text, nullable=False),  # hash of the last one
    Column("answer", LargeBinary, nullable=False),  # to the last one
    Column("seconds", Integer, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),  # Unix time
)
_OPEN = insert_into(
    _leases, "id", "holder", "purpose", "worlds", "calls", "request", "answer", "seconds", "expires_at"
)
_SHOWN = (_leases.c.id, _leases.c.holder, _leases.c.purpose, _leases.c.worlds, _leases.c.seconds)
_SEE = Statement(select(*_SHOWN).where(_leases.c.id == bindparam("lease")), "lease")
_TAKE = Statement(
    select(_leases.c.calls, _leases.c.request).where(_leases.c.id == bindparam("lease")).with_for_update(),
    "lease",
)
_ANSWER = Statement(select(_leases.c.answer).where(_leases.c.id == bindparam("lease")), "lease")
_KEEP = Statement(
    update(_leases)
    .where(_leases.c.id == bindparam("lease"))
    .values(
        calls=literal_column("calls + 1"),
        request=bindparam("asked"),
        answer=bindparam("answered"),
        expires_at=bindparam("until"),
    ),
    "asked",
    "answered",
    "until",
    "lease",
)
_RENEW = Statement(
    update(_leases).where(_leases.c.id == bindparam("lease")).values(expires_at=bindparam("until")),
    "until",
    "lease",
)
_EXPIRED = Statement(
    select(*_SHOWN).where(_leases.c.expires_at < bindparam("now")).with_for_update(skip_locked=True), "now"
)
_END = Statement(delete(_leases).where(_leases.c.id == bindparam("lease")), "lease")


@dataclass(frozen=True)
class Lease:
    """Worlds that somebody holds.

    Attributes:
        id: chosen by the holder, hard to guess.
        holder: who asked for it.
        purpose: JSON of the holder.
        worlds: ids, ascending.
        seconds: how long it lasts without a sign of life.
    """

    id: str
    holder: str
    purpose: str
    worlds: tuple[int, ...]
    seconds: int


def open_lease(tx: Transaction, lease: Lease, now: float) -> None:
    """Write a lease down."""
    worlds = json.dumps(lease.worlds)
    tx.run(
        _OPEN, lease.id, lease.holder, lease.purpose, worlds, 0, "", b"", lease.seconds, now + lease.seconds
    )


def find_lease(tx: Transaction, lease: str) -> Lease:
    """A lease by its id (NotFound)."""
    found = tx.rows(_SEE, lease)
    if not found:
        raise NotFound("no such lease: it was given back, or it expired and its worlds were reclaimed")
    return _of_row(found[0])


def _of_row(row: Sequence[object]) -> Lease:
    lease, holder, purpose, worlds, seconds = row
    return Lease(str(lease), str(holder), str(purpose), tuple(json.loads(str(worlds))), int(str(seconds)))


def answered(tx: Transaction, lease: str, call: int, asked: bytes) -> bytes | None:
    """The answer that this call has had, or None when it is the next one; the lease is locked.

    Args:
        tx: the transaction that carries the call out.
        lease: its id.
        call: number of the call, from 1.
        asked: what is asked.

    Raises:
        NotFound: there is no such lease.
        Conflict: the number is neither the last nor the next, or it came with another request before.
    """
    found = tx.rows(_TAKE, lease)
    if not found:
        find_lease(tx, lease)
    calls, request = found[0]
    if call == calls + 1:
        return None
    if call != calls:
        raise Conflict(f"expected call {calls + 1} of this lease, or {calls} again; found {call}")
    if request != _digest(asked):
        raise Conflict(f"call {call} of this lease came with another request before; nothing was changed")
    return bytes(tx.rows(_ANSWER, lease)[0][0])


def keep_answer(tx: Transaction, lease: Lease, asked: bytes, answer: bytes, now: float) -> None:
    """Remember the answer to the next call, and that the holder lives."""
    tx.run(_KEEP, _digest(asked), answer, now + lease.seconds, lease.id)


def calls_of(tx: Transaction, lease: str) -> int:
    """How many calls were carried out (NotFound)."""
    found = tx.rows(_TAKE, lease)
    if not found:
        find_lease(tx, lease)
    return int(found[0][0])


def renew(tx: Transaction, lease: Lease, now: float) -> None:
    """The holder lives."""
    tx.run(_RENEW, now + lease.seconds, lease.id)


def expired(tx: Transaction, now: float) -> list[Lease]:
    """Leases whose holders are gone, locked; those that somebody else reclaims are left out."""
    return [_of_row(row) for row in tx.rows(_EXPIRED, now)]


def end_lease(tx: Transaction, lease: str) -> bool:
    """Strike a lease; whether it was there."""
    return tx.run(_END, lease) > 0


def _digest(asked: bytes) -> str:
    return hashlib.sha256(asked).hexdigest()
