"""Charts put higher values higher, round numbers on their axes, and no candidate out of sight."""

import itertools

import pytest

from workgym.factory.dashboard import charts
from workgym.factory.dashboard.text import took


@pytest.mark.parametrize(
    ("low", "high", "about"), [(0, 196_608, 5), (-3, 7, 4), (0.001, 0.0012, 3), (5, 5, 4), (-1e9, 2e9, 4)]
)
def test_ticks_are_few_even_and_cover_all(low, high, about):
    found = charts.ticks(low, high, about)
    assert found[0] <= low <= high <= found[-1]
    assert 2 <= len(found) <= about + 3
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert steps == pytest.approx([steps[0]] * len(steps))


def test_one_very_bad_candidate_does_not_press_the_others_into_a_dot():
    close = [(26.0, 22.0, 30.0), (20.0, 16.0, 24.0), (1.0, -3.0, 5.0)]
    scale = charts.scale([*close, (-1900.0, -1950.0, -1850.0)])
    assert scale(30) - scale(22) > 5
    bad = scale.span(-1900, -1950, -1850)
    assert (bad.outside, bad.left, bad.at) == (True, True, None)
    assert not scale.span(*close[0]).left


def test_an_interval_without_bounds_goes_on_at_both_ends():
    scale = charts.scale([(3.0, None, None), (1.0, -1.0, 4.0)])
    span = scale.span(3.0, None, None)
    assert (span.low, span.high, span.left, span.right, span.outside) == (0, 100, True, True, False)


def test_a_chart_without_points_is_none_and_one_point_is_a_mark():
    assert charts.curves([charts.Series("a", [])], 5.0) is None
    (line,) = charts.curves([charts.Series("a", [(100.0, 7.0)])], None).lines
    assert (len(line.points), line.segments, line.last) == (1, [], 7.0)


def test_higher_values_are_drawn_higher_and_later_ones_farther_right():
    chart = charts.curves([charts.Series("a", [(0.0, 1.0), (50.0, 9.0)])], 5.0)
    (start, end) = chart.lines[0].points
    assert start[0] < end[0]
    assert start[1] > chart.level > end[1]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (950, "950"), (1500, "1.5k"), (-120_000, "−120k"), (2.5e9, "2.5bn"), (0.25, "0.25")],
)
def test_axis_numbers_are_compact(value, text):
    assert charts.compact(value) == text


def test_durations_are_said_in_two_units():
    start = "2026-11-20T10:00:00+00:00"
    ends = {"2026-11-20T10:00:42+00:00": "42 s", "2026-11-20T10:01:42+00:00": "1 min 42 s"}
    ends |= {"2026-11-20T12:03:00+00:00": "2 h 3 min", "2026-11-20T09:59:00+00:00": "0 s"}
    assert {end: took(start, end) for end in ends} == ends
