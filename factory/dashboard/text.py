"""Numbers and times as the pages write them."""

from __future__ import annotations

import json
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


def field(value: Any) -> str:
    """A field of a recipe."""
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


FILTERS = {
    "field": field,
    "cents": cents,
    "gained": gained,
    "share": share,
    "moment": moment,
    "plain": plain,
    "compact": compact,
    "short": short,
}
