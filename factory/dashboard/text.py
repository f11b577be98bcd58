"""Numbers and times as the pages write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from workgym.factory.dashboard.charts import compact
from workgym.factory.dashboard.results import short


def cents(value: float | None) -> str:
    """Cents per order; a dash where the number is not known."""
    return "–" if value is None else f"{value:,.1f}".replace("-", "−")


def gained(value: float | None) -> str:
    """A difference with its sign; infinite where nothing bounds it."""
    return "unbounded" if value is None else f"{value:+,.1f}".replace("-", "−")


def share(value: float | None) -> str:
    """A share in percent."""
    return "–" if value is None else f"{value:.1%}"


def moment(stamp: str) -> str:
    """The registry's time for people, in UTC as everywhere."""
    at = datetime.fromisoformat(stamp).astimezone(UTC)
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def took(start: str, end: str) -> str:
    """The time between two stamps."""
    seconds = round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
    hours, rest = divmod(max(seconds, 0), 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def plain(value: Any) -> str:
    """A lineage's or a specification's value on one or more lines."""
    return (
        value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    )


# By measure: what people call it, its unit here (a decided case is an order), how its value is written.
_MEASURES: dict[str, tuple[str, str, Callable[[float], str]]] = {
    "profit": ("profit", "cents per order", cents),
    "worst_family": ("worst family", "cents per order", cents),
    "robustness": ("robustness", "of profit left", share),
    "flips": ("flips", "of scenarios", "{:.2%}".format),
    "p99_us": ("p99 of a decision", "µs", "{:,.4g}".format),
    "bytes": ("size", "bytes", "{:,.0f}".format),
    "cpu_seconds": ("training", "CPU seconds", "{:,.1f}".format),
}


def measure(name: str) -> tuple[str, str]:
    """What people call a measure, and its unit; any other than the seven is the profit of a family."""
    known = _MEASURES.get(name)
    return known[:2] if known else (f"profit in {name.removeprefix('profit.')}", "cents per order")


def measured(name: str, value: float) -> str:
    """A measure's value."""
    return _MEASURES.get(name, _MEASURES["profit"])[2](value)


def amount(name: str, value: float) -> str:
    """A measure by its name, with its value and unit."""
    called, unit = measure(name)
    return f"{called} {measured(name, value)} {unit}"


def field(value: Any) -> str:
    """A field of a recipe."""
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


FILTERS = {
    "field": field,
    "measure": measure,
    "cents": cents,
    "gained": gained,
    "share": share,
    "moment": moment,
    "plain": plain,
    "compact": compact,
    "short": short,
}
