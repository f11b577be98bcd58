"""Claims about panels and how they are made."""

import numpy as np
import pytest

from workgym.agents.forecast import from_csv, make_panel, synthetic, with_calendar
from workgym.agents.forecast.panel import rolling_mean
from workgym.services.kernel import BadInput

LINES = """date,sku,location,quantity
2024-01-01,tea,north,2
2024-01-03,tea,north,3
2024-01-08,tea,north,4
2024-01-09,mug,south,5
2024-01-16,mug,south,-9
2024-01-21,tea,north,1
2024-01-22,tea,north,7
"""


def test_sales_are_summed_by_week_and_unknown_before_the_first_sale(tmp_path):
    (tmp_path / "sales.csv").write_text(LINES)
    panel, keys = from_csv(tmp_path / "sales.csv")
    assert keys == [("mug", "south"), ("tea", "north")]
    # three whole weeks; the 22nd opens a fourth that the file does not fill
    np.testing.assert_array_equal(panel.demand, [[np.nan, 5, 0], [5, 4, 1]])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("date,sku,quantity\n", "found no \\['location'\\]"),
        ("date,sku,location,quantity\n2024-13-01,tea,north,1\n", "line 2"),
        ("date,sku,location,quantity\n2024-01-01,tea,north,few\n", "line 2"),
        ("date,sku,location,quantity\n", "found no line"),
        ("date,sku,location,quantity\n2024-01-01,tea,north,1\n", "at least 7 days"),
    ],
)
def test_a_file_that_does_not_read_is_refused_with_its_place(tmp_path, text, told):
    (tmp_path / "sales.csv").write_text(text)
    with pytest.raises(BadInput, match=told):
        from_csv(tmp_path / "sales.csv")


def test_covariates_alike_for_all_series_are_spread():
    panel = make_panel(np.ones((3, 4)), np.arange(8.0).reshape(4, 2))
    assert panel.known.shape == (3, 4, 2)
    np.testing.assert_array_equal(panel.known[2], panel.known[0])


def test_a_calendar_repeats_after_its_period_and_keeps_what_was_known():
    panel = with_calendar(make_panel(np.ones((2, 12)), np.ones((12, 1))), period=4, harmonics=2)
    assert panel.known.shape == (2, 12, 5)
    np.testing.assert_array_equal(panel.known[..., 0], 1)
    np.testing.assert_allclose(panel.known[:, :4], panel.known[:, 4:8], atol=1e-6)
    assert not np.allclose(panel.known[:, 0], panel.known[:, 1])


def test_a_longer_panel_knows_no_more_demand():
    panel = make_panel(np.ones((2, 3))).extended(2)
    assert panel.periods == 5
    assert np.isnan(panel.demand[:, 3:]).all()
    assert not np.isnan(panel.demand[:, :3]).any()


def test_covariates_must_be_told_of_the_periods_to_come():
    with pytest.raises(BadInput, match="4 known covariates of 2 more periods"):
        with_calendar(make_panel(np.ones((2, 8))), 4).extended(2)


@pytest.mark.parametrize(
    ("demand", "known", "static"),
    [
        (np.ones((2, 3, 1)), None, None),
        (-np.ones((2, 3)), None, None),
        (np.full((2, 3), np.inf), None, None),
        (np.ones((2, 3)), np.ones((2, 4, 1)), None),
        (np.ones((2, 3)), np.full((3, 1), np.nan), None),
        (np.ones((2, 3)), None, np.ones((3, 1))),
    ],
)
def test_parts_that_do_not_fit_are_refused(demand, known, static):
    with pytest.raises(BadInput, match="expected"):
        make_panel(demand, known, static)


def test_the_synthetic_panel_depends_on_its_seed_alone():
    one, same, other = synthetic(1, 5, 60), synthetic(1, 5, 60), synthetic(2, 5, 60)
    np.testing.assert_array_equal(one.demand, same.demand)
    assert (one.demand != other.demand).any()
    assert one.known.shape == (5, 60, 5)


def test_promotions_of_the_synthetic_panel_sell():
    panel = synthetic(0, 300, 100)
    promoted = panel.known[..., 0] > 0
    typical = panel.demand.mean(axis=1, keepdims=True)
    ratio = panel.demand / typical
    assert ratio[promoted].mean() > 1.5 * ratio[~promoted].mean()


def test_a_rolling_mean_skips_what_is_not_known():
    values = np.array([[np.nan, 2, 4, np.nan, 9]], dtype=np.float32)
    np.testing.assert_allclose(rolling_mean(values, 2), [[0, 2, 3, 4, 9]])
    np.testing.assert_allclose(rolling_mean(values, 9), [[0, 2, 3, 3, 5]])
