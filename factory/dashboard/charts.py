"""Where the lines of a chart go: across in percent of its width, down in pixels of its height.

With no scaled coordinate system a chart fills any width and its text keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

CURVES, SPARK = 220.0, 28.0  # heights in pixels
SLOTS = 6  # colours in the style sheet
MARKS = ("circle", "square", "triangle", "diamond")  # a line is known by its mark too, not by colour alone


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Series:
    """A named line.

    Attributes:
        points: (across, value), in order.
    """

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A drawn series.

    Attributes:
        slot: its colour.
        mark: the shape at its end.
        last: its last value.
    """

    name: str
    slot: int
    mark: str
    points: tuple[tuple[float, float], ...]
    last: float

    @property
    def segments(self) -> list[tuple[tuple[float, float], tuple[float, float]]]:
        """From each point to the next."""
        return list(zip(self.points, self.points[1:], strict=False))


@dataclass(frozen=True)
class Chart:
    """Lines between two axes.

    Attributes:
        level: where the dashed line of the baseline goes.
        bottom: value at the lower end.
        top: value at the upper end.
    """

    height: float
    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    level: float | None
    bottom: float
    top: float


def curves(series: Sequence[Series], level: float | None, height: float = CURVES) -> Chart | None:
    """A chart of learning curves, or None when nothing was learned yet."""
    drawn = [one for one in series if one.points]
    if not drawn:
        return None
    values = [value for one in drawn for _, value in one.points] + ([] if level is None else [level])
    across = ticks(0.0, max(at for one in drawn for at, _ in one.points), 5)
    up = ticks(min(values), max(values), 4)
    wide, low, high = across[-1], up[0], up[-1]

    def down(value: float) -> float:
        return round((high - value) / (high - low) * height, 2)

    return Chart(
        height=height,
        lines=tuple(
            Line(
                name=one.name,
                slot=number % SLOTS,
                mark=MARKS[number % len(MARKS)],
                points=tuple((round(at / wide * 100, 3), down(value)) for at, value in one.points),
                last=one.points[-1][1],
            )
            for number, one in enumerate(drawn)
        ),
        across=tuple(Tick(round(at / wide * 100, 3), compact(at)) for at in across),
        up=tuple(Tick(down(value), compact(value)) for value in up),
        level=None if level is None else down(level),
        bottom=low,
        top=high,
    )


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`."""
    if not low < high:
        low, high = low - max(abs(low), 1.0) / 2, low + max(abs(low), 1.0) / 2
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * count, 12) for count in range(first, last + 1)]


def compact(value: float) -> str:
    """A number for an axis: 250, 1.5k, 12M."""
    size, unit = next((s, u) for s, u in ((1e9, "bn"), (1e6, "M"), (1e3, "k"), (0, "")) if abs(value) >= s)
    text = f"{value / size if size else value:,.4g}"
    return f"{text}{unit}".replace("-", "−")


@dataclass(frozen=True)
class Span:
    """Where an interval is drawn, in percent from the left.

    Attributes:
        at: the value, or None where it lies beyond the axis.
        left: whether it goes on beyond the axis there.
        right: likewise.
        outside: whether nothing of it lies on the axis.
    """

    low: float
    at: float | None
    high: float
    left: bool
    right: bool
    outside: bool


@dataclass(frozen=True)
class Scale:
    """The axis that a column of intervals shares; zero is always on it."""

    low: float
    high: float
    ticks: tuple[Tick, ...] = ()

    def __call__(self, value: float) -> float:
        """Percent from the left."""
        return round((value - self.low) / (self.high - self.low) * 100, 3)

    def span(self, value: float, low: float | None, high: float | None) -> Span:
        """An interval on this axis; an end that is None is not bounded."""
        start = -math.inf if low is None else low
        end = math.inf if high is None else high
        return Span(
            low=self(min(max(start, self.low), self.high)),
            at=self(value) if self.low <= value <= self.high else None,
            high=self(max(min(end, self.high), self.low)),
            left=start < self.low,
            right=end > self.high,
            outside=end < self.low or start > self.high,
        )


def scale(intervals: Sequence[tuple[float, float | None, float | None]]) -> Scale:
    """The axis for (value, low, high).

    One very bad candidate must not press all others into a dot: the axis ends at twice the middle
    one's distance from zero, and what lies farther out is drawn as going on.
    """
    known = [[end for end in interval if end is not None] for interval in intervals]
    reach = sorted(max(map(abs, ends)) for ends in known)
    cap = 2 * reach[len(reach) // 2] if reach else 0.0
    ends = [min(max(end, -cap), cap) for interval in known for end in interval]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    room = (high - low) * 0.06 or 1.0
    low, high = low - room, high + room
    bare = Scale(low, high)
    found = [tick for tick in ticks(low, high, 3) if low <= tick <= high]
    return Scale(low, high, tuple(Tick(bare(tick), signed(tick)) for tick in found))


def signed(value: float) -> str:
    """A difference, with a true minus sign."""
    return "0" if value == 0 else f"{'+' if value > 0 else '−'}{compact(abs(value))}"


@dataclass(frozen=True)
class Spot:
    """A thing with two numbers.

    Attributes:
        kind: a word of the style sheet.
        title: the whole of it in words.
        at: end of the address of its page; empty where it has none.
        label: drawn beside it where it matters most.
    """

    across: float
    up: float
    kind: str
    title: str
    at: str = ""
    label: str = ""


@dataclass(frozen=True)
class Cloud:
    """Spots between two axes: (percent from the left, pixels from the top, spot)."""

    height: float
    spots: tuple[tuple[float, float, Spot], ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]


def cloud(
    spots: Sequence[Spot],
    logarithmic: bool = False,
    called: Callable[[float], str] = compact,
    height: float = CURVES,
) -> Cloud | None:
    """A scatter, or None where there is nothing to draw; what matters is drawn last, on top.

    Args:
        spots: any.
        logarithmic: whether factors count across, not amounts; an axis of amounts begins at zero.
        called: what a value across is called.
        height: in pixels.
    """
    if not spots:
        return None
    values = [spot.across for spot in spots]
    logarithmic = logarithmic and min(values) > 0
    across = powers(min(values), max(values)) if logarithmic else ticks(min(0.0, *values), max(values), 4)
    up = ticks(min(spot.up for spot in spots), max(spot.up for spot in spots), 4)
    left, right = _placed(across[0], logarithmic), _placed(across[-1], logarithmic)

    def aside(value: float) -> float:
        return round((_placed(value, logarithmic) - left) / (right - left) * 100, 3)

    def down(value: float) -> float:
        return round((up[-1] - value) / (up[-1] - up[0]) * height, 2)

    kinds = list(dict.fromkeys(["unproven", "beaten", "front", "serves", *(spot.kind for spot in spots)]))
    drawn = sorted(spots, key=lambda spot: kinds.index(spot.kind))
    return Cloud(
        height=height,
        spots=tuple((aside(spot.across), down(spot.up), spot) for spot in drawn),
        across=tuple(Tick(aside(value), called(value)) for value in across),
        up=tuple(Tick(down(value), compact(value)) for value in up),
    )


def _placed(value: float, logarithmic: bool) -> float:
    return math.log10(value) if logarithmic else value


def powers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten from at or below `low` to at or above `high`; few where it is far."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1
    steps = (1, 2, 5) if high / low < 100 else (1,)
    every = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    below = [value for value in every if value <= low][-1]
    above = next(value for value in every if value >= high and value > below)
    return [value for value in every if below <= value <= above]
