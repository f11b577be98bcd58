"""Scenarios that one of two scorecards handles and the other fails."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from workgym.factory.records import Scorecard


@dataclass(frozen=True)
class Flip:
    """A scenario that one of two handles.

    Attributes:
        a_profit: what the first earned, in the env's unit.
        b_profit: what the second earned.
        replay: a command that plays both, side by side.
    """

    family: str
    seed: int
    a_profit: int
    b_profit: int
    replay: str


@dataclass(frozen=True)
class Flipped:
    """All of them.

    Attributes:
        n: scenarios that both played.
        lost: the first handles them, the second fails; the dearest first.
        won: the second handles them, the first fails; the dearest first.
    """

    n: int
    lost: tuple[Flip, ...]
    won: tuple[Flip, ...]


def flipped(
    first: Scorecard, second: Scorecard, replay: Callable[[str, int], str], family: str | None = None
) -> Flipped:
    """Compare two scorecards, without the scenarios that one of them lost to a fault.

    Args:
        first: of the one policy.
        second: of the other.
        replay: the command that plays a scenario, by its family and seed.
        family: look at this business situation alone.
    """
    place = {scenario: at for at, scenario in enumerate(zip(second.family, second.seed, strict=True))}
    found: dict[bool, list[Flip]] = {True: [], False: []}
    count = 0
    for at, (name, seed) in enumerate(zip(first.family, first.seed, strict=True)):
        there = place.get((name, seed))
        if there is None or family not in (None, name):
            continue
        count += 1
        if first.success[at] != second.success[there]:
            profits = int(first.profit[at]), int(second.profit[there])
            found[bool(first.success[at])].append(Flip(name, seed, *profits, replay(name, seed)))
    lost, won = (tuple(sorted(found[kind], key=_dearest)) for kind in (True, False))
    return Flipped(count, lost, won)


def replayed(model: str, a: str, b: str, split: str) -> Callable[[str, int], str]:
    """The command that plays a scenario of a model with two players, by its family and seed."""
    elsewhere = [] if split == "gate" else ["--split", split]

    def command(family: str, seed: int) -> str:
        words = ["factory", "replay", model, a, "--family", family, "--seed", str(seed), "--against", b]
        return shlex.join([*words, *elsewhere])

    return command


def _dearest(flip: Flip) -> tuple[int, str, int]:
    return -abs(flip.a_profit - flip.b_profit), flip.family, flip.seed
