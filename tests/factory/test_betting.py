"""Limits that hold however often one looks, against simulation, brute force and the textbook."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from workgym.factory.betting import (
    FREQUENT,
    HALVES,
    RARE,
    Gains,
    Rarity,
    Stakes,
    capital,
    clean_needed,
    evidence,
    reach,
    rounds_needed,
    tally,
)

REPS = 2_000
BLOCKS = 128
ALPHA = 0.05
STAKES = pytest.mark.parametrize("stakes", [HALVES, RARE, FREQUENT], ids=["halves", "rare", "frequent"])
SHAPES: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "normal": lambda rng, size: np.clip(rng.normal(0, 0.3, size), -1, 1),
    "coin": lambda rng, size: rng.choice([-1.0, 1.0], size),
    "disaster in 1 of 20": lambda rng, size: np.where(rng.random(size) < 0.05, -0.95, 0.05),
    "lopsided gains": lambda rng, size: rng.exponential(0.5, size) - 0.5,
    "family of levels": lambda rng, size: rng.uniform(-0.2, 0.2, size) * (1 + np.arange(size[1]) % 3),
}
units = st.lists(st.floats(-1, 3), min_size=1, max_size=30)


def allowed(alpha: float, reps: int = REPS) -> float:
    """An error rate that evidence with this alpha exceeds once in a thousand simulations."""
    return float(alpha + 3 * np.sqrt(alpha * (1 - alpha) / reps))


# The capital


@STAKES
def test_stakes_are_fractions_of_the_whole_capital(stakes: Stakes) -> None:
    assert sum(stakes.share) == pytest.approx(1)
    assert max(stakes.fraction) <= 1
    assert min(stakes.fraction) > 0


@STAKES
@given(x=units)
def test_the_capital_is_what_the_bettors_hold_together(stakes: Stakes, x: list[float]) -> None:
    hands = [share * np.prod(1 + f * np.array(x)) for f, share in zip(*stakes, strict=True)]
    assert np.exp(capital(x, stakes)[-1]) == pytest.approx(sum(hands), rel=1e-9, abs=1e-12)


@STAKES
@pytest.mark.parametrize("rounds", [1, 4, 7])
def test_fair_bets_neither_win_nor_lose_in_expectation(stakes: Stakes, rounds: int) -> None:
    """Over every course that a game can take whose rounds pay -1 or 3 with chances 3/4 and 1/4."""
    courses = np.array(list(product([-1.0, 3.0], repeat=rounds)))
    chance = np.prod(np.where(courses < 0, 0.75, 0.25), axis=1)
    assert chance @ np.exp(capital(courses, stakes)[:, -1]) == pytest.approx(1)


@pytest.mark.parametrize("alpha", [0.2, 0.05])
def test_the_chance_of_ever_being_sure_is_exactly_bounded(alpha: float) -> None:
    """By enumeration of 2^14 courses of a coin that is fair at the margin."""
    courses = np.array(list(product([-1.0, 1.0], repeat=14)))
    ever = capital(courses).max(axis=1) >= -np.log(alpha)
    assert 0 < ever.mean() <= alpha


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("alpha", [0.05, 0.025])
def test_a_worthless_candidate_passes_at_most_as_often_as_claimed_however_often_one_looks(
    shape: str, alpha: float
) -> None:
    x = SHAPES[shape](np.random.default_rng(1), (REPS, BLOCKS))
    ever = capital(x).max(axis=1) >= -np.log(alpha)
    assert ever.mean() <= allowed(alpha)


def test_the_bound_is_not_idle() -> None:
    """A coin that wins or loses all that can be lost comes within a factor of four of it."""
    x = SHAPES["coin"](np.random.default_rng(9), (10 * REPS, 64))
    assert (capital(x).max(axis=1) >= -np.log(0.025)).mean() > 0.025 / 4


@pytest.mark.parametrize("shape", SHAPES)
def test_naive_peeking_passes_many_times_as_many(shape: str) -> None:
    """The z-test that looks after every block, from the eighth on."""
    x = SHAPES[shape](np.random.default_rng(1), (REPS, BLOCKS))
    n = np.arange(1, BLOCKS + 1)
    mean = x.cumsum(axis=1) / n
    error = np.sqrt(np.maximum((x**2).cumsum(axis=1) / n - mean**2, 1e-12) / n)
    peeking = (mean / error)[:, 7:].max(axis=1) > stats.norm.ppf(1 - ALPHA)
    ours = capital(x).max(axis=1) >= -np.log(ALPHA)
    assert peeking.mean() > 0.15
    assert peeking.mean() > 4 * ours.mean()


def test_a_round_that_loses_more_than_all_ruins_for_good() -> None:
    x = [5.0, -1.5, 5.0, 5.0]
    assert np.isneginf(capital(x)[1:]).all()
    assert capital(x)[0] > 0


@given(units)
def test_the_order_of_rounds_changes_only_when_one_is_sure(x: list[float]) -> None:
    assert capital(x)[-1] == pytest.approx(capital(x[::-1])[-1]) or np.isneginf(capital(x)[-1])


@given(units, st.floats(0, 2))
def test_who_gains_more_is_proven_no_later(x: list[float], more: float) -> None:
    less, plus = evidence(x, ALPHA), evidence(np.array(x) + more, ALPHA)
    assert plus.proven >= less.proven
    assert not less.proven or plus.after <= less.after


def test_the_rounds_that_are_told_to_be_needed_are_about_enough() -> None:
    rng = np.random.default_rng(2)
    for mean in (0.1, 0.3):
        x = rng.normal(mean, 0.15, 4_000).clip(-1, 1)
        needed = int(rounds_needed(x, 0.025))
        assert evidence(x[: 2 * needed], 0.025).proven
        assert not evidence(x[: needed // 2], 0.025).proven
    assert rounds_needed(-x, 0.025) == np.inf


# Gains


def gains(x: np.ndarray, share: float = 0.1, level: float = 100.0, orders: float = 40.0) -> Gains:
    """Blocks of 40 orders that earn 100 cents each; `x` is the gain in units of the range."""
    profit = np.full(x.shape, level * orders)
    return Gains(x * share * level * orders, np.full(x.shape, orders), reach(profit, share))


def test_the_range_of_a_block_is_known_before_it_is_played() -> None:
    profit = np.array([100.0, 300.0, -50.0, 1e9])
    assert reach(profit, 0.1) == pytest.approx([0, 10, 20, 350 / 30])
    assert reach(-profit, 0.1) == pytest.approx(reach(profit, 0.1))
    assert (reach(np.array([profit, profit]), 0.1) == reach(profit, 0.1)).all()


@pytest.mark.parametrize("shape", ["normal", "disaster in 1 of 20", "lopsided gains"])
def test_the_interval_holds_at_all_looks_at_once(shape: str) -> None:
    """The true gain is 3 cents per order; the evidence is that of the best of 60 looks."""
    rng, wrong = np.random.default_rng(3), np.zeros(2)
    for x in SHAPES[shape](rng, (REPS, 60)):
        true = gains(x)
        true = true._replace(gained=true.gained + 3 * true.orders)
        wrong += (true.above(3, ALPHA).proven, true.below(3, ALPHA).proven)
    assert (wrong / REPS <= allowed(ALPHA)).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_only_shrinks_from_look_to_look(seed: int) -> None:
    x = gains(np.random.default_rng(seed).normal(0.2, 0.3, 60).clip(-1, 1))
    looks = np.array([Gains(*(column[:to] for column in x)).bounds(ALPHA) for to in (2, 10, 30, 60)])
    assert (np.diff(looks[:, 0]) >= -1e-6).all()
    assert (np.diff(looks[:, 1]) <= 1e-6).all()


@given(st.lists(st.floats(-0.9, 0.9), min_size=2, max_size=25), st.floats(-15, 15))
@settings(max_examples=40)
def test_a_margin_is_proven_when_the_lower_limit_says_so(x: list[float], margin: float) -> None:
    seen = gains(np.array(x))
    low, high = seen.bounds(0.025)
    if abs(margin - low) > 1e-6 * (1 + abs(low)):
        assert seen.above(margin, 0.025).proven == (low > margin)
    if abs(margin - high) > 1e-6 * (1 + abs(high)):
        assert seen.below(margin, 0.025).proven == (high < margin)


@given(st.lists(st.floats(-0.9, 0.9), min_size=2, max_size=25))
@settings(max_examples=40)
def test_gains_and_losses_are_treated_alike(x: list[float]) -> None:
    low, high = gains(np.array(x)).bounds(0.025)
    assert gains(-np.array(x)).bounds(0.025) == pytest.approx((-high, -low), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("blocks", [0, 1])
def test_before_the_second_block_nothing_is_known(blocks: int) -> None:
    assert gains(np.full(blocks, 0.5)).bounds(ALPHA) == (-np.inf, np.inf)


def test_blocks_without_orders_do_not_mislead() -> None:
    seen = gains(np.full(30, 0.5))
    low, _ = seen._replace(orders=np.where(np.arange(30) % 5, seen.orders, 0.0)).bounds(ALPHA)
    assert 0 < low < 10


# Rarity


def seen(flags: np.ndarray, block: int = 6) -> Rarity:
    counted = flags.reshape(-1, block).sum(axis=1).cumsum()
    return Rarity(counted, block * np.arange(1, len(counted) + 1))


@STAKES
@given(st.integers(0, 30), st.integers(0, 30), st.floats(0.01, 40))
def test_a_tally_is_the_capital_of_bets_of_one_size(stakes: Stakes, won: int, lost: int, odds: float) -> None:
    x = [odds] * won + [-1.0] * lost
    expected = capital(x, stakes)[-1] if x else 0.0
    assert np.exp(tally(won, lost, odds, stakes)) == pytest.approx(np.exp(expected), rel=1e-9)


@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.1])
def test_limits_of_a_share_hold_at_all_looks_even_if_families_differ(share: float, unequal: bool) -> None:
    rng = np.random.default_rng(4)
    chance = np.tile([6 * share, 0, 0, 0, 0, 0] if unequal else [share] * 6, 64)
    wrong = np.zeros(2)
    for flags in rng.random((REPS, 384)) < chance:
        counted = seen(flags)
        wrong += (counted.more(share, ALPHA).proven, counted.rarer(share, ALPHA).proven)
    assert (wrong / REPS <= allowed(ALPHA)).all()


@given(st.lists(st.booleans(), min_size=6, max_size=60), st.floats(0.005, 0.9))
@settings(max_examples=40)
def test_a_share_is_proven_when_its_limits_say_so(flags: list[bool], share: float) -> None:
    counted = seen(np.array(flags[: len(flags) // 6 * 6]))
    low, high = counted.bounds(ALPHA)
    assert 0 <= low <= high <= 1
    if min(abs(share - low), abs(share - high)) > 1e-9:
        assert counted.rarer(share, ALPHA).proven == (high < share)
        assert counted.more(share, ALPHA).proven == (low > share)


@pytest.mark.parametrize(
    ("budget", "expected"), [(0.01, (364, 649, 842)), (0.02, (181, 323, 420)), (0.05, (72, 128, 166))]
)
def test_looking_at_any_time_has_its_price_in_scenarios(budget: float, expected: tuple[int, ...]) -> None:
    """Against 149, 236 and 313 scenarios of the fixed-size limit at 2%."""
    assert tuple(clean_needed(flips, budget, ALPHA) for flips in range(3)) == expected


@given(st.integers(0, 12), st.sampled_from([0.005, 0.02, 0.1]), st.sampled_from([0.05, 0.0125]))
def test_clean_scenarios_needed_are_the_fewest(flips: int, budget: float, alpha: float) -> None:
    n = clean_needed(flips, budget, alpha)
    assert Rarity(np.array([flips]), np.array([n])).rarer(budget, alpha).proven
    assert not Rarity(np.array([flips]), np.array([n - 1])).rarer(budget, alpha).proven


def test_the_limits_are_close_to_those_of_a_beta_mixture() -> None:
    """Robbins' mixture over all shares, which is what the PyPI package ville uses, on the same stream."""
    flags = np.random.default_rng(5).random(384) < 0.1
    counted, shares = seen(flags), np.linspace(0.001, 0.999, 2_000)
    n, k = counted.n[:, None], counted.seen[:, None]
    logs = special.betaln(1 + k, 1 + n - k) - special.xlogy(k, shares) - special.xlogy(n - k, 1 - shares)
    inside = shares[logs.max(axis=0) < -np.log(2 * ALPHA)]
    low, high = counted.bounds(ALPHA)
    assert low == pytest.approx(inside.min(), abs=0.025)
    assert high == pytest.approx(inside.max(), abs=0.035)


# The PyPI package ville, which bets otherwise: plug-in stakes for means, a beta mixture for shares


def when_ville_is_sure(x: np.ndarray) -> int:
    """After how many rounds its betting limit at 2.5% a side lies above 0; 0 if never."""
    ville = pytest.importorskip("ville")
    low = ville.BettingCS(bounds=(-1.0, 1.0), alpha=ALPHA, grid=401).fit(x).lower_
    return int(np.argmax(low > 0)) + 1 if (low > 0).any() else 0


@pytest.mark.parametrize("mean", [0.25, 0.5])
def test_ville_is_sure_of_the_same_clear_cases_no_earlier(mean: float) -> None:
    rng = np.random.default_rng(6)
    streams = rng.normal(mean, 0.3, (40, BLOCKS)).clip(-1, 1)
    ours = np.array([evidence(x, ALPHA / 2).after for x in streams])
    theirs = np.array([when_ville_is_sure(x) for x in streams])
    assert (ours > 0).all()
    assert (theirs > 0).all()
    assert np.median(ours) <= np.median(theirs)
    assert np.median(theirs) <= 2.5 * np.median(ours)


def test_ville_is_sure_of_nothing_either_where_there_is_nothing() -> None:
    streams = np.random.default_rng(7).normal(0, 0.3, (60, BLOCKS)).clip(-1, 1)
    assert sum(when_ville_is_sure(x) > 0 for x in streams) <= 6
    assert sum(evidence(x, ALPHA / 2).proven for x in streams) <= 6


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_villes_limits_of_a_share_are_close_to_ours(share: float) -> None:
    ville = pytest.importorskip("ville")
    flags = np.random.default_rng(8).random(384) < share
    theirs = ville.BernoulliCS(alpha=2 * ALPHA).fit(flags.astype(float)).interval()
    low, high = seen(flags).bounds(ALPHA)
    assert (low, high) == pytest.approx([float(limit) for limit in theirs], abs=0.04)
