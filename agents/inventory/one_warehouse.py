"""One warehouse and its stores: what each asks for, and who gets what when the warehouse is short.

Pure functions on integer arrays, any number of lanes at once: pieces, int64, stores along the last axis.

Source: the policies that Kaynov et al. (2024), Deep reinforcement learning for one-warehouse multi-retailer
inventory management, measure theirs by; proportional and minimum-shortage allocation as worded here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from workgym.agents.inventory.demand import Integers
from workgym.services.kernel import BadInput


def requests(levels: Integers, positions: Integers) -> Integers:
    """What lifts every position to its level, 0 where it is there already; shapes (..., K) each."""
    return np.asarray(np.maximum(np.asarray(levels, dtype=np.int64) - positions, 0))


def _checked(asked: Integers, on_hand: Integers) -> tuple[Integers, Integers]:
    """Requests (..., K) and what can be shipped of them, (...,): all, or what the warehouse has."""
    asked, on_hand = np.asarray(asked, dtype=np.int64), np.asarray(on_hand, dtype=np.int64)
    if asked.ndim != on_hand.ndim + 1 or asked.min(initial=0) < 0 or on_hand.min(initial=0) < 0:
        raise BadInput(
            f"requests (..., stores) and stock (...,) of 0 or more are needed, found shapes {asked.shape} "
            f"and {on_hand.shape}, least {asked.min(initial=0)} and {on_hand.min(initial=0)}; clip them first"
        )
    return asked, np.minimum(asked.sum(axis=-1), on_hand)


def proportional(asked: Integers, on_hand: Integers) -> Integers:
    """Ship each store its share of the stock by what it asked for, (..., K); all of it where there is enough.

    Shares are cut to whole pieces, and the pieces left over go to the largest cut-off parts, the first store
    on a tie. Shapes: `asked` (..., K), `on_hand` (...,) at the warehouse.
    """
    asked, available = _checked(asked, on_hand)
    total = np.maximum(asked.sum(axis=-1), 1)[..., None]
    shipped, cut = np.divmod(asked * available[..., None], total)
    spare = (available - shipped.sum(axis=-1))[..., None]
    rank = np.argsort(np.argsort(-cut, axis=-1, kind="stable"), axis=-1, kind="stable")
    return np.asarray(shipped + (rank < spare), dtype=np.int64)


def minimum_shortage(asked: Integers, on_hand: Integers) -> Integers:
    """Ship so that the largest shortage left, asked less shipped, is as small as can be, (..., K).

    Shortages are levelled: nobody with a smaller one gets a piece before those with larger ones are down to
    it. Pieces that do not level a whole group go to its first stores. Shapes as in `proportional`.
    """
    asked, available = _checked(asked, on_hand)
    low = np.zeros_like(available)
    high = asked.max(axis=-1, initial=0)
    while (low < high).any():  # the least shortage that the stock can bring everybody down to, by bisection
        middle = (low + high) // 2
        enough = np.maximum(asked - middle[..., None], 0).sum(axis=-1) <= available
        low, high = np.where(enough, low, np.minimum(middle + 1, high)), np.where(enough, middle, high)
    shipped = np.maximum(asked - high[..., None], 0)
    spare = (available - shipped.sum(axis=-1))[..., None]
    level = (asked >= high[..., None]) & (high[..., None] > 0)
    return np.asarray(shipped + (level & (np.cumsum(level, axis=-1) <= spare)), dtype=np.int64)


class Shipments(NamedTuple):
    """What the warehouse orders from its supplier, (...,), and ships to each store, (..., K)."""

    ordered: Integers
    shipped: Integers


@dataclass(frozen=True)
class EchelonBaseStock:
    """Echelon base-stock with an allocation rule.

    Attributes:
        warehouse: the level of the whole system's position.
        stores: (K,) the level of each store's position.
        allocation: who gets what when the warehouse is short.
    """

    warehouse: int
    stores: tuple[int, ...]
    allocation: Literal["proportional", "minimum-shortage"] = "proportional"

    def order(self, on_hand: Integers, under_way: Integers, positions: Integers) -> Shipments:
        """Orders and shipments of any number of lanes.

        Shapes: `on_hand` (...,) stock at the warehouse that can be shipped now, `under_way` (...,) on its
        way to the warehouse, `positions` (..., K) each store's stock plus what is on its
        way there, less its backlog.
        """
        asked = requests(np.array(self.stores), positions)
        allocate = proportional if self.allocation == "proportional" else minimum_shortage
        echelon = on_hand + under_way + np.asarray(positions).sum(axis=-1)
        return Shipments(np.maximum(self.warehouse - echelon, 0), allocate(asked, on_hand))
