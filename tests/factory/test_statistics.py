import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from workgym.factory.statistics import (
    Mean,
    mcnemar_p,
    proportion_bounds,
    rate_difference,
    ratio,
    scenarios_needed,
    stratified_mean,
)
from workgym.services.kernel import BadInput

ALPHAS = (0.05, 0.025, 0.002)
REPS = 2_000
FAMILIES = tuple(np.repeat(["normal", "outage", "recall"], 128).tolist())

counts = st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
cents = st.lists(st.integers(-1_000_000, 1_000_000), min_size=3, max_size=60)


def allowed(alpha: float, reps: int = REPS) -> float:
    """An error rate that a limit with this alpha exceeds once in a thousand simulations."""
    return alpha + 3 * np.sqrt(alpha * (1 - alpha) / reps)


def one(x: object) -> list[str]:
    return ["all"] * len(x)  # type: ignore[arg-type]  any sized


# shares


@given(counts.filter(lambda pair: pair[1] > 0), st.sampled_from(ALPHAS))
def test_share_limits_are_those_of_scipy(pair: tuple[int, int], alpha: float) -> None:
    successes, n = pair
    expected = stats.binomtest(successes, n).proportion_ci(1 - 2 * alpha, method="exact")
    assert proportion_bounds(successes, n, alpha) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", [1, 20, 149, 384])
def test_share_limits_are_never_wrong_more_often_than_claimed(n: int, alpha: float) -> None:
    limits = np.array([proportion_bounds(k, n, alpha) for k in range(n + 1)])
    for p in np.linspace(0.001, 0.999, 97):
        chance = stats.binom.pmf(np.arange(n + 1), n, p)
        assert chance[limits[:, 0] > p].sum() <= alpha + 1e-12
        assert chance[limits[:, 1] < p].sum() <= alpha + 1e-12


def test_share_limits_hold_for_the_mean_of_unequal_chances() -> None:
    rng = np.random.default_rng(1)
    chances = np.where(np.arange(384) % 6 == 0, 0.12, 0.0)
    seen = (rng.random((REPS, 384)) < chances).sum(axis=1)
    wrong = [proportion_bounds(int(k), 384, 0.05).high < chances.mean() for k in seen]
    assert np.mean(wrong) <= 0.05


def test_nothing_observed_leaves_every_share_possible() -> None:
    assert proportion_bounds(0, 0, 0.05) == (0, 1)


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (1, 0)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    with pytest.raises(BadInput, match="expected between 0 and"):
        proportion_bounds(successes, n, 0.05)


@pytest.mark.parametrize(
    ("budget", "expected"), [(0.01, (299, 473, 628)), (0.02, (149, 236, 313)), (0.05, (59, 93, 124))]
)
def test_scenarios_needed_for_a_budget(budget: float, expected: tuple[int, int, int]) -> None:
    assert tuple(scenarios_needed(flips, budget, 0.05) for flips in range(3)) == expected


@given(st.integers(0, 30), st.sampled_from([0.005, 0.02, 0.1]), st.sampled_from(ALPHAS))
def test_scenarios_needed_is_the_smallest_suite_that_passes(flips: int, budget: float, alpha: float) -> None:
    n = scenarios_needed(flips, budget, alpha)
    assert proportion_bounds(flips, n, alpha).high <= budget
    assert n - 1 == flips or proportion_bounds(flips, n - 1, alpha).high > budget


def test_mcnemar_is_the_exact_sign_test() -> None:
    assert mcnemar_p(1, 9) == pytest.approx(2 * 11 / 1024)
    assert mcnemar_p(9, 1) == mcnemar_p(1, 9)
    assert mcnemar_p(0, 0) == mcnemar_p(5, 5) == 1


# means


@pytest.mark.parametrize("alpha", ALPHAS)
def test_symmetrical_values_get_students_limits(alpha: float) -> None:
    half = np.random.default_rng(2).normal(size=20)
    x = np.concatenate([half, -half]) + 3
    expected = stats.ttest_1samp(x, 0).confidence_interval(1 - 2 * alpha)
    found = stratified_mean(x, one(x)).bounds(alpha)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(cents, st.sampled_from(ALPHAS))
def test_limits_are_never_narrower_than_students(values: list[int], alpha: float) -> None:
    mean = stratified_mean(values, one(values))
    reach = stats.t.ppf(1 - alpha, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    low, high = mean.bounds(alpha)
    slack = 1e-6 * (1 + abs(mean.value))
    assert low <= mean.value - reach + slack
    assert high >= mean.value + reach - slack


SHAPES = {
    "normal": lambda rng, size: rng.normal(size=size),
    "heavy": lambda rng, size: rng.standard_t(3, size=size),
    "lopsided": lambda rng, size: np.exp(0.5) - rng.lognormal(size=size),
    "disaster in 1 of 100": lambda rng, size: rng.normal(1, 1, size) - 100 * (rng.random(size) < 0.01),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_limits_of_a_suite_of_384_hold(shape: str) -> None:
    """As docs/design/gates.md claims: up to twice the nominal rate for lopsided losses."""
    rng = np.random.default_rng(3)
    limits = np.array([_centred(shape, rng) for _ in range(REPS)])
    assert (limits[:, 0] > 0).mean() <= allowed(0.05 if shape == "lopsided" else 0.025)
    assert (limits[:, 1] < 0).mean() <= allowed(0.025)


def _centred(shape: str, rng: np.random.Generator) -> tuple[float, float]:
    """Limits of three families with different levels and true mean 0."""
    level = np.repeat([-50.0, 0.0, 50.0], 128)
    return stratified_mean(SHAPES[shape](rng, 384) + level, FAMILIES).bounds(0.025)


@pytest.mark.parametrize("skew", [-0.4, -0.05, 1e-12, 0.3])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_skewed_limits_follow_halls_transformation(skew: float, alpha: float) -> None:
    """Written out as in Hall (1992): T + gT^2/3 + g^2T^3/27 + g/6 is nearly a Student's t."""

    def hall(t: float) -> float:
        return t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6

    low, high = Mean(0.0, 1.0, 50.0, skew).bounds(alpha)
    z = float(stats.t.ppf(1 - alpha, 50))
    assert min(hall(-low) - z, -low - z) == pytest.approx(0, abs=1e-9)
    assert min(-z - hall(-high), high - z) == pytest.approx(0, abs=1e-9)


def test_students_limit_alone_would_miss_rare_disasters() -> None:
    rng = np.random.default_rng(4)
    x = SHAPES["disaster in 1 of 100"](rng, (REPS, 384))
    student = x.mean(1) - stats.t.ppf(0.975, 383) * x.std(1, ddof=1) / np.sqrt(384)
    ours = [stratified_mean(row, one(row)).bounds(0.025).low for row in x]
    assert (student > 0).mean() > 3 * 0.025
    assert np.mean(np.array(ours) > 0) <= allowed(0.025)


@given(cents, st.integers(-5_000, 5_000), st.sampled_from([0.01, 1.0, 250.0]))
def test_limits_move_with_the_unit_and_the_origin(values: list[int], origin: int, unit: float) -> None:
    x = np.array(values, dtype=float)
    here, there = stratified_mean(x, one(x)), stratified_mean(unit * x + origin, one(x))
    expected = [unit * limit + origin for limit in here.bounds(0.025)]
    assert there.bounds(0.025) == pytest.approx(expected, rel=1e-6, abs=1e-6 * (1 + unit * np.abs(x).max()))


@given(cents)
def test_losses_and_gains_are_treated_alike(values: list[int]) -> None:
    x = np.array(values, dtype=float)
    low, high = stratified_mean(x, one(x)).bounds(0.025)
    assert stratified_mean(-x, one(x)).bounds(0.025) == pytest.approx((-high, -low))


@given(cents, st.randoms(use_true_random=False))
def test_the_order_of_scenarios_does_not_matter(values: list[int], random: object) -> None:
    pairs = [(value, "ab"[at % 2]) for at, value in enumerate(values)]
    mixed = random.sample(pairs, len(pairs))  # type: ignore[attr-defined]  hypothesis' Random
    (x, a), (y, b) = zip(*pairs, strict=True), zip(*mixed, strict=True)
    assert stratified_mean(x, a).bounds(0.05) == pytest.approx(stratified_mean(y, b).bounds(0.05))


def test_differences_between_families_do_not_widen_the_limits() -> None:
    x = np.random.default_rng(5).normal(size=384) + np.repeat([-50.0, 0.0, 50.0], 128)
    apart, pooled = stratified_mean(x, FAMILIES), stratified_mean(x, one(x))
    assert apart.value == pooled.value
    assert apart.error < 0.1 * pooled.error


def test_a_family_of_one_scenario_is_pooled_with_the_others() -> None:
    x = [1.0, 2.0, 4.0, 8.0]
    assert stratified_mean(x, ["a", "a", "a", "b"]) == stratified_mean(x, one(x))


@pytest.mark.parametrize("values", [[], [7.0]])
def test_too_few_values_say_nothing(values: list[float]) -> None:
    assert stratified_mean(values, one(values)).bounds(0.05) == (-np.inf, np.inf)


def test_equal_values_have_no_spread() -> None:
    assert stratified_mean([0.1] * 50, one([0.1] * 50)) == Mean(pytest.approx(0.1), 0.0, 49.0, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(BadInput, match="NaN or infinity"):
        stratified_mean([1.0, bad, 2.0], one("abc"))


def test_a_value_without_a_family_is_refused() -> None:
    with pytest.raises(BadInput, match="one stratum per value"):
        stratified_mean([1.0, 2.0], ["a"])


# ratios


def test_a_ratio_is_that_of_the_sums() -> None:
    assert ratio([10, 20, 60], [1, 2, 3], one("abc")).value == pytest.approx(15)
    assert ratio([10, 20, 60], [1, 2, 3], one("abc"), at=7.0).value == pytest.approx(15)


def test_limits_of_a_ratio_hold_when_its_base_varies() -> None:
    rng, wrong = np.random.default_rng(6), np.zeros(2)
    for _ in range(REPS):
        base = rng.integers(1, 60, 96)
        low, high = ratio(12 * base + rng.normal(0, 100, 96), base, one(base), at=12.0).bounds(0.025)
        wrong += (low > 12, high < 12)
    assert (wrong / REPS <= allowed(0.025)).all()


def test_limits_of_a_rate_difference_hold_when_obligations_differ() -> None:
    rng, wrong = np.random.default_rng(7), np.zeros(2)
    for _ in range(REPS):
        hard, ours, theirs = rng.beta(2, 18, 150), rng.integers(5, 60, 150), rng.integers(5, 60, 150)
        mean = rate_difference(
            (rng.binomial(ours, hard), ours), (rng.binomial(theirs, hard), theirs), one(ours)
        )
        low, high = mean.bounds(0.05)
        wrong += (low > 0, high < 0)
    assert (wrong / REPS <= allowed(0.05)).all()


def test_a_rate_that_never_varies_is_known_exactly() -> None:
    """Obligations differ, the share violated does not."""
    ours, theirs = np.array([10, 20, 60]), np.array([50, 30, 40])
    mean = rate_difference((0.2 * ours, ours), (0.1 * theirs, theirs), one(ours))
    assert mean.bounds(0.05) == pytest.approx((0.1, 0.1))


def test_a_rate_difference_changes_sign_with_its_sides() -> None:
    ours, theirs = ([1, 0, 3], [10, 20, 10]), ([0, 2, 1], [10, 10, 20])
    there, back = (rate_difference(*sides, one("abc")) for sides in ((ours, theirs), (theirs, ours)))
    assert there.value == pytest.approx(4 / 40 - 3 / 40)
    assert there.bounds(0.05) == pytest.approx(tuple(-limit for limit in reversed(back.bounds(0.05))))


@pytest.mark.parametrize("base", [[0, 0], [np.nan, 1.0]])
def test_a_rate_without_a_base_is_refused(base: list[float]) -> None:
    with pytest.raises(BadInput):
        ratio([1, 1], base, one("ab"))
    with pytest.raises(BadInput):
        rate_difference(([1, 1], base), ([1, 1], [2, 2]), one("ab"))
