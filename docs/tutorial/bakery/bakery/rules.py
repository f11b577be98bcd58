"""What is true in the bakery, whoever holds its state: plain functions over whole numbers."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np

from workgym.services.kernel import BadInput, Refused
from workgym.services.scenario import below, draw

OVEN, SHELF, DAYS = 12, 16, 30
PRICE, FLOUR, STALE = 300, 80, 20  # cents: a loaf sold, baked, thrown away
ACCOUNTS = ("sales", "flour", "waste")
FAMILIES = ("usual", "fair")
REASONS = ("", "the shelf has no room for so many loaves")
_FAMILY, _CUSTOMERS = 1, 2  # sources of the scenario's randomness


class State(NamedTuple):
    """A bakery in the morning."""

    key: int  # of the episode
    family: int
    day: int = 0
    shelf: int = 0  # loaves
    asked: int = 0  # loaves that customers wanted so far
    missed: int = 0  # of them, loaves that were not there
    cents: tuple[int, ...] = (0,) * len(ACCOUNTS)

    @property
    def ended(self) -> bool:
        """Whether the month is over."""
        return self.day >= DAYS

    def to_bytes(self) -> bytes:
        """The canonical form: equal states give equal bytes."""
        return json.dumps(self).encode()


def state_from(data: bytes) -> State:
    """The state of its canonical form (BadInput)."""
    try:
        *numbers, cents = json.loads(data)
        state = State(*map(int, numbers), tuple(map(int, cents)))
    except (ValueError, TypeError) as error:
        raise BadInput(f"expected the state of a bakery, found {data[:40]!r}") from error
    if not (0 <= state.shelf <= SHELF and 0 <= state.day <= DAYS and 0 <= state.family < len(FAMILIES)):
        raise BadInput(f"expected a bakery that can be, found {state}")
    return state


def drawn_family(key: int) -> int:
    """The family of an episode that was not given one."""
    return _below(len(FAMILIES), key, _FAMILY, 0)


def customers(key: int, family: int, day: int) -> int:
    """Loaves that customers want on a day: a function of the scenario alone, never of what was baked."""
    wanted = _below(9, key, _CUSTOMERS, day)
    return wanted * 2 if FAMILIES[family] == "fair" and day % 7 == 5 else wanted


def _below(n: int, key: int, source: int, day: int) -> int:
    return int(below(np.uint64(draw(np.uint64(key), source, day, 0)), n))


def refusal(state: State, loaves: int) -> int:
    """Why so much cannot be baked: a position in `REASONS`, 0 when it can."""
    return int(not 0 <= loaves <= OVEN or state.shelf + loaves > SHELF)


def bake(state: State, loaves: int) -> tuple[State, tuple[int, ...]]:
    """Bake in the morning, sell during the day, throw half of what is left away.

    Returns:
        The next morning, and what the day booked by account.

    Raises:
        Refused: there is no room; nothing is changed.
    """
    if reason := refusal(state, loaves):
        raise Refused(REASONS[reason], reason)
    wanted, there = customers(state.key, state.family, state.day), state.shelf + loaves
    sold = min(wanted, there)
    stale = (there - sold + 1) // 2
    booked = (PRICE * sold, -FLOUR * loaves, -STALE * stale)
    cents = tuple(before + now for before, now in zip(state.cents, booked, strict=True))
    asked, missed = state.asked + wanted, state.missed + wanted - sold
    tomorrow = State(state.key, state.family, state.day + 1, there - sold - stale, asked, missed, cents)
    return tomorrow, booked
