"""The worlds that a transaction works in, and what it writes down about them when it ends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workgym.services.audit import Line, append
from workgym.services.floor import WorldRows, found
from workgym.services.orders import rules
from workgym.services.orders import statements as sql
from workgym.services.storage import Transaction

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NO_ORDER_NUMBER = -1  # of a posting that belongs to no single order


class Floor(WorldRows):
    """Some worlds, ascending by id; rows have the columns `sql.WORLD_*`."""

    def only(self, tx: Transaction, which: Bools) -> Floor:
        """Some of these worlds, as they are now."""
        if which.all():
            return self
        rows = self.rows[which]
        return Floor(rows, tx.numbers(rows[:, sql.WORLD_ID].tolist()))

    def day_of(self, worlds: Ints) -> Ints:
        """The business day of each world of `worlds`."""
        days: Ints = self.day[np.searchsorted(self.ids, worlds)]
        return days


def take(tx: Transaction, ids: Sequence[int], param: object = None) -> Floor:
    """Lock worlds until the transaction ends.

    Args:
        tx: the transaction.
        ids: ascending.
        param: the value of the parameter `worlds`, where the caller knows it already.

    Raises:
        NotFound: one of them does not exist.
    """
    return Floor(*found(tx, sql.TAKE_WORLDS, ids, sql.WORLD_WIDTH, param))


def see(tx: Transaction, ids: Sequence[int], param: object = None) -> Floor:
    """Worlds as they are now, not locked; see `take`."""
    return Floor(*found(tx, sql.SEE_WORLDS, ids, sql.WORLD_WIDTH, param))


class Journal:
    """Postings, broken promises and audit lines of a transaction, written together by `write`."""

    def __init__(self, actor: str) -> None:
        self.actor = actor
        self._postings: list[Ints] = []
        self._broken: list[Ints] = []
        self._log: list[Line] = []

    def post(self, rows: Ints) -> None:
        """Note ledger entries: (n, 5) world, day, order, account, cents."""
        if len(rows):
            self._postings.append(rows)

    def broke(self, rows: Ints) -> None:
        """Note promises broken, negative for those that hold again: (n, 2) count, world."""
        rows = rows[rows[:, 0] != 0]
        if len(rows):
            self._broken.append(rows)

    def log(self, lines: Iterable[tuple[int, int, str, str, str]]) -> None:
        """Note audit lines: world, day, verb, subject, payload."""
        actor = self.actor
        self._log += [(world, day, actor, verb, subject, text) for world, day, verb, subject, text in lines]

    def note(self, world: int, day: int, verb: str, subject: str, **payload: Any) -> None:
        """Note one audit line."""
        self.log([(world, day, verb, subject, json.dumps(payload, sort_keys=True))])

    def earned(self, ids: Ints) -> Ints:
        """(accounts, B) cents noted so far for each world of `ids`, which are ascending."""
        terms = np.zeros((len(rules.ACCOUNTS), len(ids)), dtype=np.int64)
        for rows in self._postings:
            np.add.at(terms, (rows[:, 3], np.searchsorted(ids, rows[:, 0])), rows[:, 4])
        return terms

    def write(self, tx: Transaction) -> None:
        """Put everything noted into the database."""
        names = rules.ACCOUNTS
        entries = [
            (world, day, None if number == NO_ORDER_NUMBER else number, names[account], cents)
            for rows in self._postings
            for world, day, number, account, cents in rows.tolist()
        ]
        tx.many(sql.POST, entries)
        for rows in self._broken:
            tx.many(sql.BREAK_PROMISES, rows.tolist())
        append(tx, self._log)
        self._postings, self._broken, self._log = [], [], []
