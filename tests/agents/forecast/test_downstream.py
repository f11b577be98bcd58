"""Claims about what a forecast is worth to a buyer, against replays done by hand."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workgym.agents.forecast.downstream import Economics, levels_at, order_up_to, replay, run, tuned
from workgym.services.kernel import BadInput

QS = (0.1, 0.5, 0.9)


def told_exactly(demand, origins, horizon):
    """(series, origins, horizon, 3) the future itself at every quantile."""
    padded = np.pad(demand, ((0, 0), (0, horizon)))
    points = padded[:, np.asarray(origins)[:, None] + np.arange(horizon)]
    return np.repeat(points[..., None], 3, axis=-1).astype(np.float32)


def test_a_replay_by_hand():
    # lead 1, price 3, cost 1, holding 0.5, start 5, always up to 10; demand 4, 7, 12
    # t=0: order 5; 4 of the 5 sold, 1 left
    # t=1: order 4 (shelf 1, pipeline 5); 5 arrive, 6 of 7 sold, 1 lost, 0 left
    # t=2: order 6; 4 arrive, 4 of 12 sold, 8 lost
    worth = run(np.array([[4.0, 7, 12]]), np.full((1, 3), 10.0), np.array([5.0]), Economics(3, 1, 0.5, 1))
    assert (worth.sold[0], worth.lost[0], worth.held[0]) == (14, 9, 1)
    assert worth.profit[0] == 2 * 14 - 0.5 * 1
    assert worth.perfect[0] == 2 * (4 + 7 + 12) - 0.5 * 1  # the unit left of the start is held once


def test_without_a_lead_time_an_order_serves_the_same_period():
    worth = run(np.array([[4.0, 7]]), np.array([[4.0, 7]]), np.zeros(1), Economics(3, 1, 0.5, lead=0))
    assert worth.profit[0] == worth.perfect[0] == 22


@pytest.mark.parametrize("lead", [0, 1, 3])
def test_knowing_the_future_sells_everything(lead):
    rng = np.random.default_rng(0)
    demand = rng.poisson(5, (20, 30)).astype(np.float32)
    origins = range(5, 25)
    economics = Economics(3, 1, 0.5, lead)
    levels = order_up_to(told_exactly(demand, origins, 6), QS, economics)
    enough = demand[:, 5 : 5 + lead].sum(axis=1, dtype=np.float64)  # until the first order arrives
    worth = run(demand[:, 5:25].astype(np.float64), levels, enough, economics)
    assert worth.lost.sum() == pytest.approx(0, abs=1e-4)
    assert worth.share == pytest.approx(1, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 4), st.floats(0, 1))
def test_units_are_conserved_and_foresight_is_never_beaten(seed, lead, dependence):
    rng = np.random.default_rng(seed)
    demand = rng.poisson(rng.gamma(1, 10), (6, 20)).astype(np.float32)
    forecast = np.sort(rng.gamma(2, 5, (6, 15, 5, 3)), axis=-1).astype(np.float32)
    origins = range(4, 19)
    worth = replay(demand, forecast, QS, origins, Economics(2, 1, 0.1, lead, dependence))
    wanted = demand[:, 4:19].sum(axis=1)
    np.testing.assert_allclose(worth.sold + worth.lost, wanted, rtol=1e-6)
    assert (worth.held >= -1e-9).all()
    assert (worth.lost >= -1e-9).all()
    assert (worth.profit <= worth.perfect + 1e-6).all()


def test_the_level_of_normal_demand_is_the_textbook_base_stock():
    normal = NormalDist(100, 20)
    forecast = np.float32([normal.inv_cdf(q) for q in QS])
    forecast = np.broadcast_to(forecast, (1, 1, 4, 3))
    economics = Economics(5, 1, 0.25, lead=2, dependence=0)
    ratio = 4 / 4.25
    textbook = 3 * 100 + NormalDist().inv_cdf(ratio) * 20 * np.sqrt(3)  # independent periods
    assert order_up_to(forecast, QS, economics)[0, 0] == pytest.approx(textbook, rel=1e-5)
    alike = order_up_to(forecast, QS, Economics(5, 1, 0.25, lead=2, dependence=1))[0, 0]
    assert alike == pytest.approx(3 * normal.inv_cdf(ratio), rel=1e-5)


def test_a_cautious_ratio_orders_below_the_median():
    forecast = np.float32([50, 100, 150]).reshape(1, 1, 1, 3)
    low = order_up_to(forecast, QS, Economics(1.1, 1, 0.9, lead=0))[0, 0]
    assert low == pytest.approx(50, rel=1e-5)  # margin 0.1 over 1.0: the tenth


@pytest.mark.parametrize("q", QS)
def test_a_quantile_that_was_told_is_found_again(q):
    told = np.float32([1, 5, 30])
    assert levels_at(told, QS, np.asarray(q)) == pytest.approx(told[QS.index(q)])


def test_quantiles_between_and_beyond_those_told_rise():
    told = np.float32([10, 20, 50])
    found = [float(levels_at(told, QS, np.asarray(q))) for q in (0.02, 0.1, 0.3, 0.5, 0.7, 0.95, 0.99)]
    assert found == sorted(found)
    assert found[-1] > 50
    assert found[0] >= 0


def test_a_better_forecast_earns_more():
    rng = np.random.default_rng(1)
    level = rng.gamma(3, 20, (200, 1))
    demand = rng.poisson(level, (200, 40)).astype(np.float32)
    spread = np.sqrt(level) * [NormalDist().inv_cdf(q) for q in QS]
    good = np.broadcast_to((level + spread)[:, None, None], (200, 30, 3, 3)).astype(np.float32)
    economics = Economics(3, 1, 0.4, lead=2, dependence=0)
    share = [replay(demand, f, QS, range(5, 35), economics).share for f in (good, 0.7 * good, 1.4 * good)]
    assert share[0] == max(share)


@pytest.mark.parametrize(
    ("price", "holding", "lead", "dependence"),
    [(1, 0.1, 1, 0.5), (2, 0, 1, 0.5), (2, 0.1, -1, 0.5), (2, 0.1, 1, 1.5)],
)
def test_an_economy_without_meaning_is_refused(price, holding, lead, dependence):
    with pytest.raises(BadInput, match="expected"):
        Economics(price, 1, holding, lead, dependence)


def test_a_replay_refuses_what_it_cannot_judge():
    demand = np.ones((1, 10), np.float32)
    told = told_exactly(demand, range(3, 8), 2)
    with pytest.raises(BadInput, match="expected forecasts of 3 periods"):
        replay(demand, told, QS, range(3, 8), Economics(2, 1, 0.1, lead=2))
    with pytest.raises(BadInput, match="successive"):
        replay(demand, told[:, :2], QS, [3, 5], Economics(2, 1, 0.1, lead=1))
    demand[0, 4] = np.nan
    with pytest.raises(BadInput, match="found NaN"):
        replay(demand, told, QS, range(3, 8), Economics(2, 1, 0.1, lead=1))


def test_tuning_finds_the_service_that_earns_most_and_mends_a_forecast_that_is_too_wide():
    rng = np.random.default_rng(2)
    demand = rng.poisson(20, (100, 60)).astype(np.float32)
    wide = np.broadcast_to(np.float32([5, 20, 60]), (100, 40, 3, 3))
    economics = Economics(3, 1, 0.4, lead=2)
    chosen = tuned(demand, wide[:, :20], QS, range(5, 25), economics)
    assert chosen.service < economics.critical_ratio
    plain, mended = (replay(demand, wide[:, 20:], QS, range(25, 45), e).share for e in (economics, chosen))
    assert mended > plain
    for service in (0.3, 0.5, 0.7, 0.9):
        other = replay(demand, wide[:, :20], QS, range(5, 25), replace(economics, service=service)).share
        assert replay(demand, wide[:, :20], QS, range(5, 25), chosen).share >= other


def test_a_service_outside_its_range_is_refused():
    with pytest.raises(BadInput, match="service between 0 and 1"):
        Economics(3, 1, 0.4, lead=2, service=1.0)
