"""The ledger on a page: its head, whether its hashes hold, and the mirrors that follow it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from workgym.factory import ledger
from workgym.factory.entries import HistoryLine
from workgym.factory.mirror import Report, status
from workgym.factory.registry import Registry
from workgym.factory.tables import LedgerRow, MirrorRow

WALKED = 1000  # of the newest lines are hashed again for a page; `factory verify` walks them all


@dataclass(frozen=True)
class Chain:
    """The ledger.

    Attributes:
        lines: how many there are.
        head: hash of the last, "" before the first.
        walked: how many of the newest were hashed again.
        broken: what does not hold, or nothing.
    """

    lines: int
    head: str
    walked: int
    broken: str


@dataclass(frozen=True)
class Entry:
    """The ledger's line about a move."""

    seq: int
    hash: str
    move: HistoryLine


def chain(registry: Registry) -> Chain:
    """Hash the newest lines again; what they name is left to `factory verify`."""
    with registry.reading() as session:
        count = session.scalar(select(func.count()).select_from(LedgerRow)) or 0
        newest = session.scalar(select(func.max(LedgerRow.seq))) or 0
        lines = ledger.stored(session, "ledger", ledger.column("ledger", "seq") > newest - WALKED)
    broken = f"{newest - count} of {newest} lines are missing" if newest != count else ""
    before = None if newest > WALKED else ledger.FIRST
    for line in lines:
        if before is not None and line["prev_hash"] != before:
            broken = broken or f"line {line['seq']} does not follow the one before it"
        if ledger.line_hash(line) != line["hash"]:
            broken = broken or f"line {line['seq']} was changed"
        before = line["hash"]
    return Chain(count, lines[-1]["hash"] if lines else "", len(lines), broken)


def entries(registry: Registry, model: str, moves: tuple[HistoryLine, ...]) -> tuple[Entry, ...]:
    """The ledger's lines about these moves of a model, in their order."""
    row = LedgerRow
    query = select(row.seq, row.alias, row.at, row.hash).where(row.model == model, row.kind == "move")
    with registry.reading() as session:
        known = {(alias, at): (seq, hash_) for seq, alias, at, hash_ in session.execute(query)}
    there = ((known.get((move.alias, move.at)), move) for move in moves)
    return tuple(Entry(*found, move) for found, move in there if found)


def lagging(registry: Registry) -> tuple[Report, ...]:
    """The mirrors that have not heard everything."""
    with registry.reading() as session:
        names = session.scalars(select(MirrorRow.name).order_by(MirrorRow.name)).all()
    reports = (status(registry.database, name) for name in names)
    return tuple(report for report in reports if report.behind)
