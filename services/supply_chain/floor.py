"""The worlds that a transaction works in, as arrays, and what it writes down about them when it ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.services.audit import Line, append
from workgym.services.compiled import KERNEL
from workgym.services.floor import WorldRows, found
from workgym.services.storage import Transaction, table_of
from workgym.services.supply_chain import statements as sql
from workgym.services.supply_chain import twin
from workgym.services.supply_chain.scenario import Setup
from workgym.services.supply_chain.tables import MAILED

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_COUNTERS = [sql.WORLD_DAY, sql.WORLD_FAMILY, sql.WORLD_ENDED, sql.WORLD_DEMANDED, sql.WORLD_MISSED]


class Floor(WorldRows):
    """Some worlds of one network, ascending by id; rows have the columns `sql.WORLD_*`."""


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


class Yard(NamedTuple):
    """What the tables say of a floor's worlds.

    Attributes:
        lanes: the worlds as the twin's arrays; their ledgers stay empty.
        lines: (n, 9) order lines in hand, columns `sql.LINE_*`; worlds count from 0 within the floor.
    """

    lanes: twin.Lanes
    lines: Ints


def read(tx: Transaction, setup: Setup, floor: Floor, lanes: twin.Lanes | None = None) -> Yard:
    """Read shelves, orders in hand and shipments on their way.

    Args:
        tx: the transaction.
        setup: of the worlds' network.
        floor: the worlds.
        lanes: arrays to use again.
    """
    n, shape = len(floor), setup.opening.shape
    lanes = twin.empty_lanes(setup, n) if lanes is None else lanes
    lanes.key[:] = floor.key
    lanes.lane[:] = floor.rows[:, _COUNTERS]
    shelves = table_of(tx.rows(sql.SEE_STOCK, floor.worlds), 4).reshape(n, *shape, 4)
    for at, name in enumerate(("on_hand", "backlog", "asked", "level")):
        getattr(lanes, name)[:] = shelves[..., at]
    lines = table_of(tx.rows(sql.SEE_LINES, floor.worlds), sql.LINE_WIDTH)
    lines[:, sql.LINE_WORLD] = np.searchsorted(floor.ids, lines[:, sql.LINE_WORLD])
    way = table_of(tx.rows(sql.SEE_WAY, floor.worlds), 5)
    way[:, 0] = np.searchsorted(floor.ids, way[:, 0])
    _sum_up(lanes, lines, way)
    return Yard(lanes, lines)


@njit(**KERNEL)
def _sum_up(lanes: Any, lines: Any, way: Any) -> None:
    """Add order lines and shipments up, by the period when they arrive."""
    lanes.owed[:] = 0
    lanes.mail[:] = 0
    lanes.way[:] = 0
    for n in range(len(lines)):
        line = lines[n]
        i, a, k = line[sql.LINE_WORLD], line[sql.LINE_LINK], line[sql.LINE_SKU]
        if line[sql.LINE_STATUS] == MAILED:
            lanes.mail[i, a, k, line[sql.LINE_REACHES] - lanes.lane[i, twin.DAY]] += line[sql.LINE_OWED]
        else:
            lanes.owed[i, a, k] += line[sql.LINE_OWED]
    for n in range(len(way)):
        i, a, k, units, due = way[n]
        lanes.way[i, a, k, due - lanes.lane[i, twin.DAY]] += units


class Journal:
    """Audit lines and postings of a transaction, written together by `write`."""

    def __init__(self, actor: str) -> None:
        self.actor = actor
        self._postings: list[tuple[int, int, int | None, int, int]] = []
        self._log: list[Line] = []

    def post(self, world: int, day: int, node: int | None, account: int, money: int) -> None:
        """Note one ledger entry; nothing when it is 0."""
        if money:
            self._postings.append((world, day, node, account, money))

    def post_all(self, floor: Floor, booked: Ints) -> None:
        """Note what was booked in every world today: (B, nodes, accounts)."""
        where = np.nonzero(booked)
        days = floor.day[where[0]].tolist()
        worlds = floor.ids[where[0]].tolist()
        rows = zip(worlds, days, where[1].tolist(), where[2].tolist(), booked[where].tolist(), strict=True)
        self._postings += rows

    def note(self, world: int, day: int, verb: str, subject: str, **payload: Any) -> None:
        """Note one audit line."""
        self._log.append((world, day, self.actor, verb, subject, json.dumps(payload, sort_keys=True)))

    def write(self, tx: Transaction) -> None:
        """Put everything noted into the database."""
        tx.many(sql.POST, self._postings)
        append(tx, self._log)
        self._postings, self._log = [], []
