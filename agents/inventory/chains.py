"""The long-run average cost of a stationary policy: its Markov chain and value iteration on it.

Nothing is truncated here: the states are those that the policy reaches from where it starts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.agents.inventory.demand import Floats, Integers
from workgym.services.compiled import KERNEL
from workgym.services.kernel import BadInput

MOST_STATES = 3_000_000  # with the few dozen moves of each, half a gigabyte
MOST_SWEEPS = 100_000
_ON_HAND_BITS = 16
_ZERO = 1 << (_ON_HAND_BITS - 1)  # stock may be negative: backlog


class Average(NamedTuple):
    """A long-run average cost per period, between two proven bounds.

    Attributes:
        lower: no less than this.
        upper: no more than this.
        sweeps: passes of value iteration that it took.
    """

    lower: float
    upper: float
    sweeps: int

    @property
    def cost(self) -> float:
        """The middle of the bounds."""
        return (self.lower + self.upper) / 2


class Moves(NamedTuple):
    """What one period does to n states; only the stock on hand is random.

    Attributes:
        on_hand: (n, e) stock at the start of the next period.
        probability: (n, e) of each, zero where a state has fewer than e moves.
        pipeline: (n, k) orders under way at the start of the next period, the oldest first.
        cost: (n,) expected cost of the period.
    """

    on_hand: Integers
    probability: Floats
    pipeline: Integers
    cost: Floats


class Chain(NamedTuple):
    """States that a policy reaches, and the moves between them, rows compressed.

    Attributes:
        on_hand: (n,) and
        pipeline: (n, k): the states.
        cost: (n,) expected cost of a period that starts there.
        first: (n + 1,) state i's moves are first[i]..first[i + 1] of the next two columns.
        target: (m,) index of the next state.
        probability: (m,) of the move.
    """

    on_hand: Integers
    pipeline: Integers
    cost: Floats
    first: Integers
    target: NDArray[np.int32]
    probability: Floats


Period = Callable[[Integers, Integers], Moves]  # (n,) on hand, (n, k) pipeline -> moves


def reachable(
    period: Period, on_hand: int, pipeline: Integers, most_states: int = MOST_STATES, chunk: int = 65_536
) -> Chain:
    """Every state that `period` reaches from (`on_hand`, `pipeline` (k,)), with its moves.

    Raises:
        BadInput: more than `most_states` states.
    """
    width = len(pipeline)
    codes = _encode(np.array([[on_hand]]), np.asarray(pipeline, dtype=np.int64).reshape(1, width))[:, 0]
    known, frontier = codes, codes
    parts: list[tuple[Integers, Integers, Integers, Floats, Floats]] = []
    while len(frontier):
        fresh = []
        for begin in range(0, len(frontier), chunk):
            part = frontier[begin : begin + chunk]
            moves = period(*_decode(part, width))
            targets = _encode(moves.on_hand, moves.pipeline)
            real = moves.probability > 0
            parts.append((part, real.sum(axis=1), targets[real], moves.probability[real], moves.cost))
            fresh.append(np.unique(targets[real]))
        frontier = np.setdiff1d(np.concatenate(fresh), known)
        known = np.union1d(known, frontier)
        if len(known) > most_states:
            raise BadInput(
                f"an exact evaluation takes {most_states} states at most, found {len(known)} and more; "
                "simulate the policy, or cap its orders"
            )
    return _assembled(known, parts, width)


def _assembled(known: Integers, parts: list[Any], width: int) -> Chain:
    """The parts in the order they were met, their targets turned from codes into places in that order."""
    met, counts, targets, probability, cost = (np.concatenate(column) for column in zip(*parts, strict=True))
    place = np.empty(len(known), dtype=np.int32)
    place[np.searchsorted(known, met)] = np.arange(len(met), dtype=np.int32)
    first = np.append(0, np.cumsum(counts)).astype(np.int64)
    target = place[np.searchsorted(known, targets)]
    return Chain(*_decode(met, width), np.ascontiguousarray(cost), first, target, probability)


def _slot_bits(width: int) -> int:
    return (62 - _ON_HAND_BITS) // max(width, 1)


def _encode(on_hand: Integers, pipeline: Integers) -> Integers:
    """One integer for each state: (n, e) for on hand (n, e) and pipeline (n, k)."""
    width = pipeline.shape[-1]
    bits = _slot_bits(width)
    largest = int(pipeline.max(initial=0))
    if largest >= 1 << bits or on_hand.max() >= _ZERO or on_hand.min() < -_ZERO:
        raise BadInput(
            f"an exact evaluation knows orders below {1 << bits} and stock within {_ZERO} of zero, "
            f"found {largest} and {on_hand.min()}..{on_hand.max()}; cap the policy's orders"
        )
    rest = np.zeros(len(pipeline), dtype=np.int64)
    for slot in range(width):
        rest = (rest << bits) | pipeline[:, slot]
    return (rest << _ON_HAND_BITS)[:, None] | (on_hand + _ZERO)


def _decode(codes: Integers, width: int) -> tuple[Integers, Integers]:
    bits = _slot_bits(width)
    on_hand = (codes & ((1 << _ON_HAND_BITS) - 1)) - _ZERO
    rest = codes >> _ON_HAND_BITS
    pipeline = np.empty((len(codes), width), dtype=np.int64)
    for slot in range(width - 1, -1, -1):
        pipeline[:, slot] = rest & ((1 << bits) - 1)
        rest = rest >> bits
    return on_hand, pipeline


@njit(**KERNEL)
def _sweep(value: Any, fresh: Any, cost: Any, first: Any, target: Any, probability: Any, span: Any) -> None:
    """One pass of value iteration; `span` (2,) becomes the least and the largest change of a value."""
    span[0], span[1] = np.inf, -np.inf
    for state in range(len(value)):
        total = cost[state]
        for move in range(first[state], first[state + 1]):
            total += probability[move] * value[target[move]]
        fresh[state] = total
        change = total - value[state]
        span[0] = min(span[0], change)
        span[1] = max(span[1], change)
    anchor = fresh[0]
    for state in range(len(value)):
        fresh[state] -= anchor


def average_cost(chain: Chain, tolerance: float = 1e-7) -> Average:
    """The average cost of a chain with one recurrent class, bounds `tolerance` apart at most (relative).

    The least and the largest change of a value in one pass bound the average. Source: Puterman (1994),
    theorem 8.5.5.

    Raises:
        BadInput: the bounds do not meet: the chain is periodic, or has more than one recurrent class.
    """
    value, fresh, span = np.zeros(len(chain.cost)), np.zeros(len(chain.cost)), np.zeros(2)
    for sweep in range(1, MOST_SWEEPS + 1):
        _sweep(value, fresh, chain.cost, chain.first, chain.target, chain.probability, span)
        value, fresh = fresh, value
        if span[1] - span[0] <= tolerance * max(1.0, abs(span[1])):
            return Average(float(span[0]), float(span[1]), sweep)
    raise BadInput(
        f"value iteration needs a chain with one recurrent class, found bounds {span[0]:.6g}..{span[1]:.6g} "
        f"after {MOST_SWEEPS} sweeps; loosen the tolerance or simulate"
    )
