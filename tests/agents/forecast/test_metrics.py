"""Claims about the measures of forecasts, against sums done by hand."""

import numpy as np
import pytest

from workgym.agents.forecast import make_panel
from workgym.agents.forecast.metrics import actuals, coverage, pinball, volatility, weighted_quantile_loss
from workgym.services.kernel import BadInput

QS = (0.1, 0.5, 0.9)
ACTUAL = np.array([[[10.0, 20.0]]], dtype=np.float32)  # one series, one origin, two horizons
TOLD = np.array([[[[6, 10, 15], [10, 24, 30]]]], dtype=np.float32)


def test_the_targets_of_an_origin_begin_with_the_period_itself():
    panel = make_panel(np.arange(12.0).reshape(2, 6))
    np.testing.assert_array_equal(actuals(panel, [2, 4], 2), [[[2, 3], [4, 5]], [[8, 9], [10, 11]]])


def test_pinball_by_hand():
    # too low by 4: 0.1 * 4; exact: 0; too high by 5: 0.1 * 5; then 0.1 * 10, 0.5 * 4, 0.1 * 10
    np.testing.assert_allclose(pinball(ACTUAL, TOLD, QS), [[[[0.4, 0, 0.5], [1, 2, 1]]]], atol=1e-6)


def test_weighted_quantile_loss_by_hand():
    # twice the sums 1.4, 2.0, 1.5 over the demand of 30
    np.testing.assert_allclose(
        weighted_quantile_loss(ACTUAL, TOLD, QS), [2.8 / 30, 4 / 30, 3 / 30], rtol=1e-6
    )


def test_unknown_demand_counts_for_nothing():
    actual = np.concatenate([ACTUAL, np.full_like(ACTUAL, np.nan)])
    told = np.concatenate([TOLD, np.full_like(TOLD, 1e6)])
    for measure in (weighted_quantile_loss, coverage):
        np.testing.assert_allclose(measure(actual, told, QS), measure(ACTUAL, TOLD, QS))


def test_coverage_counts_what_lies_at_or_below():
    np.testing.assert_allclose(coverage(ACTUAL, TOLD, QS), [0, 1, 1])  # 10 <= 10 and 20 <= 24


def test_the_true_quantiles_are_calibrated_and_lose_least():
    rng = np.random.default_rng(0)
    actual = rng.uniform(0, 1, (200, 50, 1)).astype(np.float32)
    true = np.broadcast_to(np.float32(QS), (*actual.shape, 3))
    np.testing.assert_allclose(coverage(actual, true, QS), QS, atol=0.01)
    best = weighted_quantile_loss(actual, true, QS)
    for wrong in (true - 0.08, true + 0.08):
        assert (weighted_quantile_loss(actual, wrong, QS) > best).all()


def test_volatility_by_hand():
    # origins 0, 1, 2 with two horizons: period 1 moves from 8 to 10, period 2 from 5 to 9
    told = np.array([[[7, 8], [10, 5], [9, 3]]], dtype=np.float32)[..., None]
    actual = np.array([[[1, 4], [4, 6], [6, 9]]], dtype=np.float32)
    np.testing.assert_allclose(volatility(actual, told, (0.5,), [0, 1, 2]), [(2 + 4) / (4 + 6)])


def test_a_forecast_that_is_never_revised_has_no_volatility():
    date = np.arange(5)[:, None] + np.arange(3)
    told = np.float32(date)[None, ..., None]
    assert volatility(np.ones((1, 5, 3), np.float32), told, (0.5,), range(5)) == [0]


@pytest.mark.parametrize("origins", [[3], [3, 5], [4, 3]])
def test_volatility_needs_successive_origins(origins):
    actual = np.ones((1, len(origins), 2), np.float32)
    with pytest.raises(BadInput, match="successive"):
        volatility(actual, actual[..., None], (0.5,), origins)


def test_forecasts_of_another_shape_are_refused():
    with pytest.raises(BadInput, match=r"expected forecasts of the shape \(1, 1, 2, 3\)"):
        coverage(ACTUAL, TOLD[..., :2], QS)


def test_a_loss_without_demand_has_no_meaning():
    with pytest.raises(BadInput, match="found none"):
        weighted_quantile_loss(ACTUAL * 0, TOLD, QS)
