"""Some worlds of one transaction as rows of numbers, whatever the service."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workgym.services.kernel import NotFound
from workgym.services.storage import Statement, Transaction, table_of

Ints = NDArray[np.int64]

WORLD_ID, WORLD_KEY, WORLD_FAMILY, WORLD_DAY = range(4)  # what the row of a world begins with


class WorldRows:
    """Some worlds, ascending by id.

    Attributes:
        ids: (B,) their ids.
        rows: (B, columns) as the service's statements read them, kept equal to the database by its verbs.
        worlds: the value of the statements' parameter `worlds`.
    """

    def __init__(self, rows: Ints, worlds: object) -> None:
        self.rows = rows
        self.ids = rows[:, WORLD_ID]
        self.worlds = worlds

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def day(self) -> Ints:
        """(B,) business days."""
        return self.rows[:, WORLD_DAY]

    @property
    def key(self) -> NDArray[np.uint64]:
        """(B,) keys of the scenarios' episodes."""
        return np.ascontiguousarray(self.rows[:, WORLD_KEY]).view(np.uint64)


def found(
    tx: Transaction, statement: Statement, ids: Sequence[int], width: int, param: object = None
) -> tuple[Ints, object]:
    """The rows of worlds and the value of the parameter `worlds`.

    Args:
        tx: the transaction.
        statement: reads them, locked or not.
        ids: ascending.
        width: columns of a row.
        param: the value of the parameter, where the caller knows it already.

    Raises:
        NotFound: one of them does not exist.
    """
    worlds = tx.numbers(ids) if param is None else param
    rows = tx.rows(statement, worlds)
    if len(rows) != len(ids):
        missing = sorted(set(ids) - {row[0] for row in rows})
        raise NotFound(f"no world with id {', '.join(map(str, missing))}; open one, or list them")
    return table_of(rows, width), worlds
