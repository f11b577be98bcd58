"""The running episode of a supply chain as a picture: small multiples, one row a node.

Left to right: stock and who waits for it, orders placed and goods arrived, what was asked and missed;
at the bottom the books. All is drawn in pixels on one canvas.
"""

from __future__ import annotations

import importlib.util
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workgym.envs.supply_chain.story import ARRIVED, ASKED, MISSED, ON_HAND, ORDERED, TOLD, WAITING, Story
from workgym.services.kernel import BadInput
from workgym.services.supply_chain import rules
from workgym.services.supply_chain.spec import Network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Series = NDArray[np.float64]

WIDTH, DPI = 960, 100
HEAD, ROWS, BOOKS = 84, 420, 156  # pixels from the top
HEIGHT = HEAD + ROWS + BOOKS
LEFT, GAP, RIGHT = 64, 62, 26
MOST_ROWS = 6  # nodes that get a row of their own; more are shown in two sums
MOST_POINTS = 240  # periods that are shown one by one; more are shown in means

STOCK, ORDERS, SERVED, TROUBLE = "#6f94bf", "#7fae8f", "#c9ced6", "#c8553d"
INK, QUIET, RULE = "#24292f", "#768390", "#d8dee4"


class Row(NamedTuple):
    """Nodes that are shown together."""

    name: str
    nodes: list[int]


class Panel(NamedTuple):
    """A rectangle on the canvas, in pixels from the lower left, and the range of its values."""

    left: float
    bottom: float
    width: float
    height: float
    lowest: float
    highest: float
    points: int  # that fill its width

    def xs(self, count: int, since: int = 0) -> Series:
        """Where points begin, and where the last one ends."""
        xs: Series = self.left + self.width * (since + np.arange(count + 1)) / self.points
        return xs

    def y(self, values: Any) -> Any:
        """Where values are."""
        return self.bottom + self.height * (values - self.lowest) / (self.highest - self.lowest)


def require_matplotlib() -> None:
    """Say at once, not at the first picture, what is missing.

    Raises:
        BadInput: Matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise BadInput(
            "expected Matplotlib for pictures, found none; pip install 'workgym[plot]', or render mode 'ansi'"
        )


def picture_of(network: Network, story: Story) -> NDArray[np.uint8]:
    """(height, width, 3) the story so far.

    Raises:
        BadInput: Matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    sheet = _Sheet(figure, network, story)
    sheet.head()
    sheet.rows()
    sheet.books()
    canvas.draw()  # type: ignore[no-untyped-call]  # Matplotlib leaves it untyped
    whole = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]  # and this
    return whole[:, :, :3].copy()


class _Sheet:
    """One picture in the making."""

    def __init__(self, figure: Figure, network: Network, story: Story) -> None:
        from matplotlib.transforms import IdentityTransform

        self.figure, self.network, self.story = figure, network, story
        self.pixels = IdentityTransform()
        self.wide = math.ceil(network.periods / MOST_POINTS)  # periods in a point
        self.points = math.ceil(network.periods / self.wide)
        self.told = np.array(story.told, dtype=np.float64).reshape(-1, TOLD, len(network.nodes))
        self.told /= network.step
        self.terms = np.array(story.terms, dtype=np.float64).reshape(-1, len(rules.ACCOUNTS)) / network.scale

    def head(self) -> None:
        """What is shown, how far it has come, and the keys of the colours."""
        now, network = self.story.now(), self.network
        top = HEIGHT - 30
        self.text(20, top, network.name, size=15, weight="bold")
        day = f"period {now.day} of {network.periods}"
        family = network.families[now.family].name
        self.text(WIDTH - RIGHT, top, f"{day}, family {family}", QUIET, 12, ha="right")
        keys = (
            (("on hand", STOCK), ("waited for or owed", TROUBLE)),
            (("ordered", ORDERS), ("arrived", INK)),
            (("handed over", SERVED), ("missed", TROUBLE)),
        )
        for column, words in enumerate(keys):
            x = float(self.place(column)[0])
            for word, colour in words:
                self.block(x, HEIGHT - HEAD + 21, colour, thin=word == "arrived")
                self.text(x + 15, HEIGHT - HEAD + 19, word, QUIET, 11)
                x += 33 + 6.6 * len(word)

    def rows(self) -> None:
        """Three panels for each row."""
        rows = rows_of(self.network)
        pitch = ROWS / len(rows)
        for number, row in enumerate(rows):
            bottom = HEIGHT - HEAD - pitch * (number + 1) + 24
            size = bottom, pitch - 34
            told = self.told[:, :, row.nodes].sum(axis=2)
            self.text(LEFT, bottom + size[1] + 3, shortened(row.name), INK, 11.5, weight="bold")
            self._stock(told, *size)
            self._orders(told, *size)
            self._demand(told, *size)
            if number == len(rows) - 1:
                self._periods(bottom)

    def _stock(self, told: Series, bottom: float, height: float) -> None:
        stock, waiting = self.points_of(told[:, ON_HAND]), self.points_of(told[:, WAITING])
        panel = self.panel(0, bottom, height, waiting, stock)
        self.steps(panel, np.zeros_like(stock), stock, STOCK)
        self.steps(panel, -waiting, np.zeros_like(waiting), TROUBLE)
        self.frame(panel)
        if len(told):
            self.note(panel, f"{number_of(told[-1, ON_HAND])} now")

    def _orders(self, told: Series, bottom: float, height: float) -> None:
        ordered, arrived = self.points_of(told[:, ORDERED]), self.points_of(told[:, ARRIVED])
        panel = self.panel(1, bottom, height, np.zeros(1), np.maximum(ordered, arrived))
        self.steps(panel, np.zeros_like(ordered), ordered, ORDERS)
        if len(arrived):
            xs, gaps = panel.xs(len(arrived), self.since), np.full(len(arrived), np.nan)
            ys = panel.y(arrived)  # strokes without risers: those would hide the orders behind them
            self.line(
                np.stack([xs[:-1], xs[1:], gaps]).T.ravel(), np.stack([ys, ys, gaps]).T.ravel(), INK, 1.5
            )
        self.frame(panel)
        if len(told):
            self.note(panel, f"{number_of(told[:, ORDERED].mean())} a period")

    def _demand(self, told: Series, bottom: float, height: float) -> None:
        asked, missed = self.points_of(told[:, ASKED]), self.points_of(told[:, MISSED])
        panel = self.panel(2, bottom, height, np.zeros(1), asked)
        self.steps(panel, np.zeros_like(asked), asked - missed, SERVED)
        self.steps(panel, asked - missed, asked, TROUBLE)
        self.frame(panel)
        if total := told[:, ASKED].sum():
            self.note(panel, f"{100 * (1 - told[:, MISSED].sum() / total):.1f} % at once")

    def _periods(self, bottom: float) -> None:
        """The scale of time, under the last row."""
        means = f", means of {self.wide}" if self.wide > 1 else ""
        for column in range(3):
            left, width = self.place(column)
            self.text(left, bottom - 15, "0", QUIET, 10, ha="center")
            self.text(left + width, bottom - 15, f"{self.network.periods}", QUIET, 10, ha="center")
            self.text(left + width / 2, bottom - 15, f"periods{means}", QUIET, 10, ha="center")

    def books(self) -> None:
        """The result so far, and what it is made of."""
        width, bottom, height = WIDTH * 0.52, 34.0, BOOKS - 66.0
        scale, currency = self.network.scale, self.network.currency
        unit = f", in {currency}" if scale == 1 else f", reward / {scale:,}"
        self.line([20, WIDTH - 20], [BOOKS, BOOKS])
        self.text(20, BOOKS - 20, "Books", INK, 12, weight="bold")
        self.text(LEFT + 6, BOOKS - 20, f"result so far{unit}", QUIET, 11)
        result = self.points_of(self.terms.sum(axis=1).cumsum(), last=True)
        low, high = min(result.min(initial=0), 0.0), max(result.max(initial=0), 0.0)
        lowest, highest = -nice(-low, 0), nice(high, 1 if low == 0 else 0)
        panel = Panel(LEFT, bottom, width - LEFT, height, lowest, highest, self.points)
        self.frame(panel, of_books=True)
        if len(result):
            xs, ys = panel.xs(len(result), self.since)[1:], panel.y(result)
            self.line(xs, ys, INK, 1.8)
            self.text(
                min(xs[-1] + 6, panel.left + panel.width + 6), ys[-1] - 4, number_of(result[-1]), INK, 11
            )
        self._accounts(WIDTH * 0.66, bottom, height + 6)

    def _accounts(self, left: float, bottom: float, height: float) -> None:
        """A bar for each account that was ever booked."""
        totals = self.terms.sum(axis=0)
        booked = [n for n in range(len(totals)) if self.terms[:, n].any()]
        zero, most = left + 88, max(np.abs(totals).max(initial=0), 1e-9)
        pitch = min(height / max(len(booked), 1), 24.0)
        for place, n in enumerate(booked):
            y = bottom + height - pitch * (place + 1)
            long = (WIDTH - RIGHT - 74 - zero) * abs(totals[n]) / most
            colour = SERVED if totals[n] < 0 else STOCK
            self.steps(Panel(zero, y, long, pitch - 5, 0, 1, 1), np.zeros(1), np.ones(1), colour, since=0)
            middle = y + (pitch - 5) / 2
            self.text(zero - 8, middle, rules.ACCOUNTS[n], QUIET, 11, ha="right", va="center")
            self.text(zero + long + 6, middle, number_of(totals[n]), INK, 11, va="center")

    # What all parts draw with

    @property
    def since(self) -> int:
        """The point that the story begins with."""
        return self.story.since // self.wide

    def points_of(self, values: Series, last: bool = False) -> Series:
        """One value a point: the mean of its periods, or the last of them."""
        if self.wide == 1 or not len(values):
            return values
        starts = np.arange(0, len(values), self.wide)
        if last:
            lasts: Series = values[np.minimum(starts + self.wide, len(values)) - 1]
            return lasts
        means: Series = np.add.reduceat(values, starts) / np.diff([*starts, len(values)])
        return means

    def place(self, column: int) -> tuple[float, float]:
        """Where a column of panels begins, and its width."""
        width = (WIDTH - LEFT - RIGHT - 2 * GAP) / 3
        return LEFT + column * (width + GAP), width

    def panel(self, column: int, bottom: float, height: float, below: Series, above: Series) -> Panel:
        """A panel that shows values from -`below` to `above`."""
        left, width = self.place(column)
        lowest, highest = nice(below.max(initial=0), 0), nice(above.max(initial=0), 1)
        return Panel(left, bottom, width, height, -lowest, highest, self.points)

    def frame(self, panel: Panel, of_books: bool = False) -> None:
        """Lines at zero and at the bounds, and what the bounds are."""
        zero = panel.y(0.0)
        for value in sorted({panel.lowest, 0.0, panel.highest}):
            y = panel.y(value)
            self.line([panel.left, panel.left + panel.width], [y, y], RULE if value else QUIET, 0.8)
            if value == 0 or abs(y - zero) >= 10:  # no room for a bound beside the zero
                shown = number_of(value if of_books else abs(value))
                self.text(panel.left - 5, y, shown, QUIET, 9.5, ha="right", va="center")

    def note(self, panel: Panel, words: str) -> None:
        """The number to remember, over the panel's right end."""
        self.text(panel.left + panel.width, panel.bottom + panel.height + 3, words, INK, 10, ha="right")

    def text(self, x: float, y: float, words: str, colour: str = INK, size: float = 11, **more: Any) -> None:
        """Words at a place; the size is in pixels."""
        points = size * 72 / DPI
        self.figure.text(
            x, y, words, transform=self.pixels, color=colour, fontsize=points, family="DejaVu Sans", **more
        )

    def line(self, xs: Any, ys: Any, colour: str = RULE, width: float = 1.0) -> None:
        """A line through points; NaN interrupts it."""
        from matplotlib.lines import Line2D

        drawn = Line2D(xs, ys, color=colour, linewidth=width * 72 / DPI, transform=self.pixels)
        self.figure.add_artist(drawn)

    def block(self, x: float, y: float, colour: str, thin: bool) -> None:
        """The key of a colour."""
        tall = 2.0 if thin else 8.0
        panel = Panel(x, y + (8.0 - tall) / 2, 9.0, tall, 0, 1, 1)
        self.steps(panel, np.zeros(1), np.ones(1), colour, since=0)

    def steps(self, panel: Panel, low: Series, high: Series, colour: str, since: int | None = None) -> None:
        """Fill between two step functions."""
        from matplotlib.patches import Polygon

        if not len(high):
            return
        xs = np.repeat(panel.xs(len(high), self.since if since is None else since), 2)[1:-1]
        upper, lower = np.repeat(panel.y(high), 2), np.repeat(panel.y(low), 2)
        corners = np.column_stack([np.concatenate([xs, xs[::-1]]), np.concatenate([upper, lower[::-1]])])
        self.figure.add_artist(
            Polygon(corners, closed=True, facecolor=colour, edgecolor="none", transform=self.pixels)
        )


def rows_of(network: Network) -> list[Row]:
    """Each node by itself, or the sums of those without and with customers where there are many."""
    if len(network.nodes) <= MOST_ROWS:
        return [Row(node.name, [n]) for n, node in enumerate(network.nodes)]
    shops = list(network.stores)
    inner = [n for n in range(len(network.nodes)) if n not in shops]
    rows = (
        Row(network.nodes[inner[0]].name if len(inner) == 1 else f"{len(inner)} inner", inner)
        if inner
        else None,
        Row(f"{len(shops)} stores", shops),
    )
    return [row for row in rows if row is not None]


def nice(value: float, least: float) -> float:
    """The next round number that is no smaller, so that the scale seldom jumps."""
    if value <= least:
        return float(least)
    ten = 10.0 ** math.floor(math.log10(value) + 1e-9)
    return next(
        step * ten
        for step in (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
        if step * ten >= value * (1 - 1e-9)
    )


def shortened(name: str, most: int = 24) -> str:
    """A name that leaves room for the number beside it."""
    return name if len(name) <= most else name[: most - 1] + "…"


def number_of(value: float) -> str:
    """As many digits as tell something."""
    if value == 0:
        return "0"  # also a negative zero
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"
