"""Claims that hold for every registered forecaster, and those of single ones.

That learning twice gives the same is part of the claim that what comes later is not learned.
"""

import importlib.util
import json
from functools import cache

import numpy as np
import pytest

from workgym.agents.forecast import (
    HEADER,
    forecaster,
    forecasters,
    load_forecaster,
    make_forecaster,
    make_panel,
    synthetic,
)
from workgym.agents.forecast.metrics import actuals, weighted_quantile_loss
from workgym.agents.forecast.naive import filled, sample_quantiles
from workgym.services.kernel import BadInput, Conflict

H, UNTIL, PERIODS, SEASON = 4, 50, 70, 13
QS = (0.1, 0.5, 0.9)
NEEDS = {"ets": "statsmodels", "quantile-forest": "quantile_forest", "lightgbm": "lightgbm"}
TINY = {"iterations": 12, "batch": 8, "forks": 8, "width": 8, "layers": 3, "context": 4, "season": SEASON}
OPTIONS = {
    "seasonal-naive": {"season": SEASON},
    "empirical": {"window": 9},
    "quantile-forest": {"rows": 600, "trees": 8, "leaf": 5, "season": SEASON},
    "lightgbm": {"rows": 2000, "trees": 12, "leaf": 20, "season": SEASON},
    "mq-rnn": TINY,
    "mq-cnn": TINY | {"members": 2},
    "mq-transformer": TINY,
}
everyone = pytest.mark.parametrize("name", sorted(forecasters()))
neural = pytest.mark.parametrize("name", ["mq-rnn", "mq-cnn", "mq-transformer"])


def board():
    """A panel with gaps, a launch in the middle, and a series that is unknown."""
    panel = synthetic(0, series=12, periods=PERIODS, season=SEASON)
    demand = panel.demand.copy()
    demand[0, :20] = np.nan
    demand[1, 30:33] = np.nan
    demand[2] = np.nan
    return make_panel(demand, panel.known, panel.static)


def made(name, quantiles=QS, **options):
    if library := NEEDS.get(name):
        require(library)
    return make_forecaster(name, H, quantiles, **(OPTIONS.get(name, {}) | options))


@cache
def fitted(name):
    """One that has learned from the board; nobody changes it."""
    return made(name).fit(board(), UNTIL)


def require(library):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"found no {library}: pip install 'workgym[forecast]'")


def with_other_future(panel, t):
    demand = panel.demand.copy()
    demand[:, t:] = np.random.default_rng(9).gamma(2, 50, demand[:, t:].shape)
    return make_panel(demand, panel.known, panel.static)


@everyone
def test_forecasts_have_one_shape_are_finite_and_never_cross(name):
    panel = board()
    made_one = made(name)
    assert (made_one.name, made_one.horizon, made_one.quantiles) == (name, H, QS)
    told = fitted(name).predict(panel, [UNTIL, 55, PERIODS - H])
    assert told.shape == (12, 3, H, 3)
    assert told.dtype == np.float32
    assert np.isfinite(told).all()
    assert (told >= 0).all()
    assert (np.diff(told, axis=-1) >= 0).all()


@everyone
def test_the_future_changes_no_forecast(name):
    panel, t = board(), 56
    learned = fitted(name)
    origins = [UNTIL, 53, t]
    before = learned.predict(panel, origins)
    np.testing.assert_array_equal(learned.predict(with_other_future(panel, t), origins), before)
    assert (learned.predict(with_other_future(panel, t - 1), [t]) != before[:, 2:]).any()


@everyone
def test_only_the_periods_before_the_end_of_learning_are_learned(name):
    panel = board()
    other = made(name).fit(with_other_future(panel, UNTIL), UNTIL)
    np.testing.assert_array_equal(fitted(name).predict(panel, [UNTIL]), other.predict(panel, [UNTIL]))


@everyone
def test_a_forecast_does_not_depend_on_the_other_origins(name):
    panel = board()
    together = fitted(name).predict(panel, [60, 52, 57])
    for i, origin in enumerate([60, 52, 57]):
        alone = fitted(name).predict(panel, [origin])
        np.testing.assert_allclose(alone[:, 0], together[:, i], rtol=1e-4, atol=1e-4)


@everyone
def test_a_saved_forecaster_comes_back_the_same(name):
    panel, learned = board(), fitted(name)
    if name == "quantile-forest":
        with pytest.raises(BadInput, match="safe file format"):
            learned.save()
        return
    files = learned.save()
    again = load_forecaster(files)
    np.testing.assert_array_equal(again.predict(panel, [UNTIL, 60]), learned.predict(panel, [UNTIL, 60]))
    assert again.save() == files
    assert (again.name, again.horizon, again.quantiles) == (name, H, QS)


@everyone
@pytest.mark.parametrize("origins", [[], [0], [PERIODS - H + 1], [UNTIL, 1000]])
def test_origins_outside_the_panel_are_refused(name, origins):
    panel = board()
    with pytest.raises(BadInput, match="expected origins between 1 and 66"):
        made(name).predict(panel, origins)


@pytest.mark.parametrize("name", ["ets", "lightgbm", "quantile-forest", "mq-rnn", "mq-cnn", "mq-transformer"])
def test_nothing_is_told_before_something_is_learned(name):
    with pytest.raises(BadInput, match="call fit first"):
        made(name).predict(board(), [UNTIL])


@everyone
@pytest.mark.parametrize("until", [0, PERIODS + 1])
def test_learning_outside_the_panel_is_refused(name, until):
    with pytest.raises(BadInput, match="expected to learn until"):
        made(name).fit(board(), until)


@everyone
def test_one_quantile_is_enough(name):
    panel = board()
    told = made(name, quantiles=(0.7,)).fit(panel, UNTIL).predict(panel, [UNTIL])
    assert told.shape == (12, 1, H, 1)


@everyone
def test_a_panel_without_covariates_and_a_future_that_is_unknown_will_do(name):
    bare = make_panel(board().demand)
    told = made(name).fit(bare, PERIODS).predict(bare.extended(H), [PERIODS])
    assert np.isfinite(told).all()


# The registry


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'mq-cnn'"):
        make_forecaster("mq-cn", 4)


def test_an_unknown_option_is_refused():
    for name in ("empirical", "mq-cnn", "lightgbm"):
        with pytest.raises(BadInput, match="widht"):
            make_forecaster(name, 4, widht=3)


@pytest.mark.parametrize("quantiles", [(), (0.5, 0.1), (0.0, 0.5), (0.5, 1.0), (0.5, 0.5)])
def test_quantiles_that_do_not_rise_are_refused(quantiles):
    with pytest.raises(BadInput, match="rise strictly"):
        make_forecaster("empirical", 4, quantiles)


def test_a_name_is_entered_once():
    with pytest.raises(Conflict, match="two forecasters are named 'empirical'"):

        @forecaster("empirical")
        def another(horizon, quantiles):
            raise NotImplementedError


@pytest.mark.parametrize(
    ("change", "told"),
    [({"format": 2}, "format 1"), ({"name": "mq-cn"}, "did you mean"), ({"options": {"width": 9}}, "damage")],
)
def test_files_that_do_not_fit_are_refused(change, told):
    files = fitted("mq-cnn").save()
    files[HEADER] = json.dumps(json.loads(files[HEADER]) | change).encode()
    with pytest.raises(BadInput, match=told):
        load_forecaster(files)


def test_missing_files_are_named():
    with pytest.raises(BadInput, match=r"expected forecaster\.json, found x"):
        load_forecaster({"x": b""})
    files = fitted("mq-cnn").save()
    with pytest.raises(BadInput, match="damage"):
        load_forecaster({HEADER: files[HEADER]})


# Single forecasters


def one_series(values):
    return make_panel(np.float32([values]))


def test_the_last_value_stands_over_gaps():
    panel = one_series([3, 5, np.nan, np.nan, np.nan])
    told = make_forecaster("last-value", 2).predict(panel, [1, 3])
    np.testing.assert_array_equal(told[0, :, :, 1], [[3, 3], [5, 5]])


def test_a_season_ago_is_told_again_and_the_last_value_before_that():
    panel = one_series([1, 2, 3, 4, 5, 6, 7, 8])
    made_one = make_forecaster("seasonal-naive", 4, season=3)
    np.testing.assert_array_equal(made_one.predict(panel, [4])[0, 0, :, 1], [2, 3, 4, 2])
    np.testing.assert_array_equal(made_one.predict(panel, [2])[0, 0, :, 1], [2, 1, 2, 2])


def test_empirical_quantiles_are_numpys_of_the_window():
    rng = np.random.default_rng(0)
    values = rng.gamma(2, 10, (5, 30))
    told = make_forecaster("empirical", 3, QS, window=11).predict(make_panel(values), [20])
    expected = np.quantile(values[:, 9:20], QS, axis=1).T
    for h in range(3):
        np.testing.assert_allclose(told[:, 0, h], expected, rtol=1e-5)


def test_quantiles_of_a_sample_skip_what_is_not_known():
    sample = np.array([[4, np.nan, 2], [np.nan] * 3, [7, np.nan, np.nan]])
    np.testing.assert_allclose(sample_quantiles(sample, (0.5, 0.75)), [[3, 3.5], [0, 0], [7, 7]])


def test_nothing_is_filled_in_before_the_first_known_demand():
    np.testing.assert_array_equal(filled(np.float32([[np.nan, 2, np.nan, 3, np.nan]])), [[0, 2, 2, 3, 3]])


def test_ets_tells_what_statsmodels_tells_at_the_end_of_learning():
    require("statsmodels")
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    values = np.random.default_rng(0).normal(100, 5, 60) + np.arange(60)
    panel = one_series(values)
    told = make_forecaster("ets", 4).fit(panel, 50).predict(panel, [50])[0, 0, :, 1]
    past = np.float32(values[:50]).astype(np.float64)
    theirs = ExponentialSmoothing(past, trend="add", damped_trend=True, initialization_method="estimated")
    np.testing.assert_allclose(told, theirs.fit(use_brute=False).forecast(4), rtol=1e-4)


def test_ets_covers_what_it_claims_on_noise_around_a_level():
    require("statsmodels")
    values = np.random.default_rng(1).normal(100, 10, (40, 80))
    panel = make_panel(values)
    origins = range(50, 76)
    told = make_forecaster("ets", 4, QS).fit(panel, 50).predict(panel, origins)
    below = (actuals(panel, origins, 4)[..., None] <= told).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(below, QS, atol=0.05)


def test_ets_refuses_another_panel():
    require("statsmodels")
    with pytest.raises(BadInput, match="12 series"):
        fitted("ets").predict(make_panel(np.ones((3, PERIODS))), [UNTIL])


@pytest.mark.parametrize("name", ["mq-cnn", "mq-rnn", "mq-transformer", "lightgbm"])
def test_learning_beats_the_last_periods_quantiles_on_a_sharp_season(name):
    # a spike every eighth period, at a phase of its own for each series: quantiles of the past cannot tell
    rng = np.random.default_rng(0)
    phase = rng.integers(8, size=(40, 1))
    spike = (np.arange(90) + phase) % 8 == 0
    panel = make_panel(rng.poisson(np.where(spike, 60, 10)))
    learner = {
        "iterations": 150,
        "learning_rate": 0.01,
        "dropout": 0.0,
        "members": 1,
        "width": 16,
        "context": 8,
    }
    options = {"trees": 60} if name == "lightgbm" else learner
    origins = range(70, 80)
    truth = actuals(panel, origins, H)
    simple, learned = (
        weighted_quantile_loss(truth, f.fit(panel, 70).predict(panel, origins), QS)
        for f in (made("empirical", window=16), made(name, season=8, **options))
    )
    assert (learned < np.array([1.0, 0.8, 0.5]) * simple).all()  # the low quantile sits in the valleys


@neural
def test_scaling_all_demand_scales_the_forecasts(name):
    panel = board()
    larger = make_panel(8 * panel.demand, panel.known, panel.static)
    one = fitted(name).predict(panel, [UNTIL])
    other = made(name).fit(larger, UNTIL).predict(larger, [UNTIL])
    np.testing.assert_allclose(other, 8 * one, rtol=2e-2, atol=1e-2)


@neural
def test_training_leaves_the_random_state_and_the_threads_alone(name):
    import torch

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    made(name, iterations=2).fit(board(), UNTIL)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_training_tells_its_progress_and_another_seed_another_net():
    heard = []
    one = made("mq-cnn").fit(board(), UNTIL, progress=lambda *told: heard.append(told))
    assert [i for i, _, _ in heard] == 2 * list(range(12))  # two members
    assert one.save() != made("mq-cnn", seed=1).fit(board(), UNTIL).save()


def test_a_limit_in_seconds_ends_the_training():
    heard = []
    made("mq-rnn", iterations=10**6, cpu_seconds=0.2).fit(board(), UNTIL, progress=lambda *t: heard.append(t))
    assert 1 <= len(heard) < 10**4


@pytest.mark.parametrize(
    "options", [{"batch": 0}, {"heads": 3}, {"learning_rate": 0.0}, {"season": H}, {"reach": 0}]
)
def test_recipes_without_meaning_are_refused(options):
    with pytest.raises(BadInput, match="expected"):
        make_forecaster("mq-cnn", H, QS, **options)
