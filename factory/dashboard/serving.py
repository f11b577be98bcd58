"""How those that serve differ, from their recorded scorecards alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workgym.factory.profiles import flip_matrix
from workgym.factory.records import Scorecard


@dataclass(frozen=True)
class Tier:
    """Who serves as an alias.

    Attributes:
        profit: cents per order.
        handles: by the other aliases in their order, the share of scenarios that this one handles and
            the other does not; None against itself.
    """

    alias: str
    version: int
    profit: float
    handles: tuple[float | None, ...]


@dataclass(frozen=True)
class Tiers:
    """All who serve.

    Attributes:
        scenarios: that all of them played.
        apart: aliases whose results are of other scenarios, so that nothing can be said of them.
    """

    tiers: tuple[Tier, ...]
    scenarios: int
    apart: tuple[str, ...]


def tiers(serving: Mapping[str, tuple[int, Scorecard | None]]) -> Tiers | None:
    """Compare who serves; None while there are not two versions with results of the same scenarios.

    Args:
        serving: version and recorded results by alias, the one to compare with first.
    """
    cards = {alias: card for alias, (_, card) in serving.items() if card is not None}
    if not cards:
        return None
    first = next(iter(cards.values()))
    same = {alias: card for alias, card in cards.items() if _played(card) == _played(first)}
    if len({serving[alias][0] for alias in same}) < 2:
        return None
    matrix = flip_matrix(same).tolist()
    rows = tuple(
        Tier(
            alias,
            serving[alias][0],
            card.profit_per_case(),
            tuple(None if other == at else share for other, share in enumerate(matrix[at])),
        )
        for at, (alias, card) in enumerate(same.items())
    )
    return Tiers(rows, first.n, tuple(alias for alias in serving if alias not in same))


def _played(card: Scorecard) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
    return card.suite, card.family, card.seed
