"""Evidence that grows by betting, so that one may look after every round and stop whenever one likes.

Somebody who doubts a claim is offered bets on it, round after round. If the claim is false no system of bets
is expected to win, and the chance that its capital ever reaches 1 / alpha is at most alpha, however often one
looks (Ville's inequality). Here the capital is shared by bettors who each stake a fixed fraction of what is
theirs: that needs no tuning, wins about as fast as bets that follow the estimated mean and spread
(docs/design/gates.md), and what it has won falls steadily as more is claimed, so that the limit it proves is
found by bisection. Source: Waudby-Smith and Ramdas (2024), JRSS B 86, 1-27.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from workgym.factory.statistics import Bounds

Floats = NDArray[np.float64]
STEPS = 40  # of a bisection, which leaves a millionth of a millionth


class Stakes(NamedTuple):
    """How the capital is shared.

    Attributes:
        fraction: what each bettor stakes every time; 1 is all that a round can take.
        share: of the capital that each begins with; they sum to 1.
    """

    fraction: tuple[float, ...]
    share: tuple[float, ...]


def evenly(*fraction: float) -> Stakes:
    """Bettors who begin with equal capital."""
    return Stakes(fraction, (1 / len(fraction),) * len(fraction))


HALVES = Stakes((1, 1 / 2, 1 / 4, 1 / 8, 1 / 16), (16 / 31, 8 / 31, 4 / 31, 2 / 31, 1 / 31))
RARE = evenly(1, 0.85, 0.7, 0.5)  # wins when what must be rare is up to half as frequent as allowed
FREQUENT = evenly(0.2, 0.1, 0.05, 0.025)  # wins when it is two to ten times as frequent


class Evidence(NamedTuple):
    """What the bets came to.

    Attributes:
        proven: whether the capital reached 1 / alpha.
        after: after how many rounds, or scenarios, it did; 0 if it did not.
    """

    proven: bool
    after: int


def capital(x: ArrayLike, stakes: Stakes = HALVES) -> Floats:
    """Logarithm of the capital after each round of bets that the mean of `x` is above 0.

    A round that loses more than 1 ruins everybody for good. It also breaks the promise on which the error
    rests: whoever lets such rounds in must not conclude anything from the capital before them.

    Args:
        x: (..., rounds) what each round pays per unit staked; at least -1.
        stakes: who bets.
    """
    paid = np.maximum(np.asarray(x, dtype=np.float64), -1.0)
    ruined = np.logical_or.accumulate(np.asarray(x) < -1, axis=-1)
    with np.errstate(divide="ignore"):
        each = [
            np.log(share) + np.cumsum(np.log1p(fraction * paid), axis=-1)
            for fraction, share in zip(stakes.fraction, stakes.share, strict=True)
        ]
    return np.where(ruined, -np.inf, np.logaddexp.reduce(each, axis=0))


def evidence(x: ArrayLike, alpha: float, stakes: Stakes = HALVES) -> Evidence:
    """Whether bets that the mean of `x` is above 0 ever multiplied the capital by 1 / alpha.

    Args:
        x: (rounds,) what each round pays per unit staked; at least -1.
        alpha: the chance that this happens although the mean is not above 0.
        stakes: who bets.
    """
    won = np.flatnonzero(capital(x, stakes) >= -np.log(alpha))
    return Evidence(True, int(won[0]) + 1) if len(won) else Evidence(False, 0)


def edge(proven: Callable[[float], bool], inside: float, outside: float) -> float:
    """The value nearest to `inside` that is still proven, between it and one that is not."""
    for _ in range(STEPS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if proven(middle) else (inside, middle)
    return inside


class Gains(NamedTuple):
    """What a candidate earned more than the champion, block by block; all in cents of one block.

    Attributes:
        gained: (blocks,) profit more than the champion's.
        orders: (blocks,) that came in.
        reach: (blocks,) how far a block may fall short of what is claimed, known before the block is played;
            0 where nothing is known yet and nothing is staked.
    """

    gained: Floats
    orders: Floats
    reach: Floats

    @property
    def mean(self) -> float:
        """Cents per order gained."""
        return float(self.gained.sum() / max(self.orders.sum(), 1.0))

    @property
    def range(self) -> float:
        """Cents per order by which the last block may miss a margin."""
        return (
            float(self.reach[-1] * len(self.orders) / max(self.orders.sum(), 1.0)) if len(self.reach) else 0.0
        )

    def units(self, margin: float) -> Floats:
        """How far each block goes beyond the margin, as a share of its reach; the first by the second's."""
        beyond, allowed = self.gained - margin * self.orders, self.reach.copy()
        allowed[:1] = self.reach[1:2].max(initial=0.0)
        return np.divide(beyond, allowed, out=np.zeros_like(beyond), where=allowed > 0)

    def above(self, margin: float, alpha: float) -> Evidence:
        """Whether the gain is proven to be above the margin."""
        return self._unbroken(self.units(margin), alpha)

    def below(self, margin: float, alpha: float) -> Evidence:
        """Whether the gain is proven to be below the margin."""
        return self._unbroken(-self.units(margin), alpha)

    def _unbroken(self, x: Floats, alpha: float) -> Evidence:
        """The evidence, unless some block, early or late, lost more than was declared possible."""
        return Evidence(False, 0) if (x < -1).any() else evidence(x * (self.reach > 0), alpha)

    def bounds(self, alpha: float) -> Bounds:
        """Limits in cents per order, one-sided, that hold at all looks at once."""
        if not (self.reach > 0).any():
            return Bounds(-np.inf, np.inf)
        worst, best = self._extremes()
        low = _limit(lambda margin: self.above(margin, alpha).proven, best, -self.range)
        return Bounds(low, _limit(lambda margin: self.below(margin, alpha).proven, worst, self.range))

    def _extremes(self) -> tuple[float, float]:
        each = self.gained[self.orders > 0] / self.orders[self.orders > 0]
        return (float(each.min()), float(each.max())) if len(each) else (0.0, 0.0)


def _limit(proven: Callable[[float], bool], outside: float, step: float) -> float:
    """The outermost margin that is proven, searched from one that is not in steps that double."""
    for doubled in range(STEPS):
        if proven(outside + step * 2**doubled):
            return edge(proven, outside + step * 2**doubled, outside)
    return float(np.copysign(np.inf, step))


def rounds_needed(x: Floats, alpha: float) -> float:
    """Rounds that would prove the mean of `x` above 0 if they paid like these; may be infinite."""
    fraction, share = np.array(HALVES.fraction), np.array(HALVES.share)
    with np.errstate(divide="ignore"):
        growth = np.log1p(fraction[:, None] * np.maximum(x, -1)).mean(axis=1)
    rate = np.maximum(growth, 0)
    return float(
        np.min(np.divide(-np.log(alpha * share), rate, out=np.full(len(rate), np.inf), where=rate > 0))
    )


def reach(profit: ArrayLike, share: float) -> Floats:
    """A share of the mean of what the champion earned in the blocks before each one; 0 for the first.

    Args:
        profit: (..., blocks) of the champion.
        share: how much of it a block may lose.
    """
    earned = np.asarray(profit, dtype=np.float64)
    before = np.cumsum(earned, axis=-1)[..., :-1] / np.arange(1, earned.shape[-1])
    return np.concatenate([np.zeros_like(earned[..., :1]), share * np.abs(before)], axis=-1)


class Rarity(NamedTuple):
    """How often something was seen that must be rare, at each look.

    Attributes:
        seen: (looks,) scenarios so far that had it.
        n: (looks,) scenarios so far; whole blocks, so that their mix of families is the suite's.
    """

    seen: NDArray[np.int64]
    n: NDArray[np.int64]

    def rarer(self, share: float, alpha: float) -> Evidence:
        """Whether it is proven to be in less than this share of scenarios."""
        return self._first(tally(self.n - self.seen, self.seen, share / (1 - share), RARE), alpha)

    def more(self, share: float, alpha: float) -> Evidence:
        """Whether it is proven to be in more than this share of scenarios."""
        return self._first(tally(self.seen, self.n - self.seen, (1 - share) / share, FREQUENT), alpha)

    def _first(self, logs: Floats, alpha: float) -> Evidence:
        won = np.flatnonzero(logs >= -np.log(alpha))
        return Evidence(True, int(self.n[won[0]])) if len(won) else Evidence(False, 0)

    def bounds(self, alpha: float) -> Bounds:
        """One-sided limits of the share that hold at all looks at once."""
        low = edge(lambda share: self.more(share, alpha).proven, 0.0, 1.0)
        return Bounds(low, edge(lambda share: self.rarer(share, alpha).proven, 1.0, 0.0))


def tally(won: ArrayLike, lost: ArrayLike, odds: float, stakes: Stakes) -> Floats:
    """Logarithm of the capital after bets won, each paying `odds` per unit staked, and bets lost."""
    each = [
        np.log(share) + special.xlog1py(won, fraction * odds) + special.xlog1py(lost, -fraction)
        for fraction, share in zip(stakes.fraction, stakes.share, strict=True)
    ]
    logs: Floats = np.logaddexp.reduce(each, axis=0)
    return logs


def clean_needed(count: int, share: float, alpha: float) -> int:
    """Fewest scenarios of which so many had it, and whose evidence is that it is rarer than `share`."""
    odds, enough = share / (1 - share), -np.log(alpha)
    high = count + 1
    while tally(high - count, count, odds, RARE) < enough:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        proven = middle > count and tally(middle - count, count, odds, RARE) >= enough
        low, high = (low, middle) if proven else (middle, high)
    return high
