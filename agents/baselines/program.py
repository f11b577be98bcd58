"""A mixed-integer program that is written down column by column and solved by HiGHS."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workgym.services.kernel import WorkgymError


class Unsolved(WorkgymError):
    """The solver broke down; the program is wrong or too large."""


class Solution(NamedTuple):
    """What the solver found."""

    chosen: NDArray[np.float64]  # (columns,) value of each column; zeros when it found no plan
    gain: float  # of that plan
    bound: float  # no plan gains more


@dataclass
class Program:
    """Maximise the gain of columns in [0, most] under rows of the form `sum of uses <= limit`.

    Attributes:
        gain: of one unit of each column.
        most: upper limit of each column.
        whole: whether the column takes whole numbers only.
        limit: upper limit of each row, by its name.
    """

    gain: list[float] = field(default_factory=list)
    most: list[float] = field(default_factory=list)
    whole: list[bool] = field(default_factory=list)
    limit: dict[Hashable, float] = field(default_factory=dict)
    _exact: set[Hashable] = field(default_factory=set)
    _uses: list[tuple[Hashable, int, float]] = field(default_factory=list)

    def row(self, name: Hashable, limit: float, exact: bool = False) -> None:
        """Add a row; an exact one must meet its limit."""
        self.limit[name] = limit
        if exact:
            self._exact.add(name)

    def column(
        self, gain: float, uses: Mapping[Hashable, float], most: float = 1.0, whole: bool = True
    ) -> int:
        """Add a column and what one unit of it uses of each row; rows that do not exist limit nothing."""
        number = len(self.gain)
        self.gain.append(gain)
        self.most.append(most)
        self.whole.append(whole)
        self._uses += [(name, number, amount) for name, amount in uses.items() if name in self.limit]
        return number

    def use(self, name: Hashable, column: int, amount: float) -> None:
        """Let a column use a row that was added after it."""
        self._uses.append((name, column, amount))

    def solve(self, gap: float = 0.0, nodes: int = 1000) -> Solution:
        """Find a plan within `gap` (a share) of the best, and a bound on the best.

        The search stops after `nodes`, never after seconds: equal programs have equal solutions on a
        busy machine too.

        Raises:
            Unsolved: the solver broke down.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        columns = len(self.gain)
        if columns == 0:
            return Solution(np.zeros(0), 0.0, 0.0)
        place = {name: i for i, name in enumerate(self.limit)}
        rows = np.array([place[name] for name, _, _ in self._uses], dtype=np.int64)
        at = np.array([column for _, column, _ in self._uses], dtype=np.int64)
        amount = np.array([amount for _, _, amount in self._uses], dtype=np.float64)
        upper = np.array(list(self.limit.values()), dtype=np.float64)
        lower = np.array([limit if name in self._exact else -np.inf for name, limit in self.limit.items()])
        matrix = csr_array((amount, (rows, at)), shape=(len(place), columns))
        found = milp(
            -np.array(self.gain),
            integrality=np.array(self.whole, dtype=np.int64),
            bounds=Bounds(0.0, np.array(self.most)),
            constraints=LinearConstraint(matrix, lower, upper) if place else None,
            options={
                "node_limit": nodes,
                "mip_rel_gap": gap,
                "presolve": False,
            },  # presolved, it writes to stdout
        )
        return _solution(found, columns)


def _solution(found: Any, columns: int) -> Solution:
    """Read SciPy's result; a search that stopped at its limit of nodes has both a plan and a bound."""
    if found.x is None or found.mip_dual_bound is None:
        raise Unsolved(f"HiGHS found no plan: {found.message}; try fewer orders or days, or more nodes")
    return Solution(np.asarray(found.x), -float(found.fun), -float(found.mip_dual_bound))
