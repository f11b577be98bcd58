"""The log as lines that programs read: one JSON object each, or `key=value` for people.

    {"time": "2026-11-21T15:00:00.000+00:00", "level": "INFO", "logger": "workgym.requests",
     "message": "request", "method": "POST", "route": "/worlds/{world}/orders", "status": 201, ...}

A record's own fields come as `extra={"fields": {...}}`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

OFF, TEXT, JSON = KINDS = ("off", "text", "json")


class JsonLines(logging.Formatter):
    """One JSON object for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """The record in ASCII, so that no field can begin a line of its own."""
        line: dict[str, Any] = {
            "time": _time_of(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """Time, level, logger, message, and the fields that have a value."""

    def format(self, record: logging.LogRecord) -> str:
        """The record; a traceback takes lines of its own."""
        fields = "".join(
            f" {name}={value}" for name, value in _fields_of(record).items() if value is not None
        )
        text = f"{_time_of(record)} {record.levelname:7} {record.name} {record.getMessage()}{fields}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class _Ours(logging.StreamHandler[Any]):
    """A handler that the next call of `write_logs` replaces."""


def write_logs(kind: str) -> None:
    """Write every logger's records to the standard error, workgym's from INFO on.

    Args:
        kind: one of `KINDS`; `off` leaves logging as it is.
    """
    if kind == OFF:
        return
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _Ours)]:
        root.removeHandler(handler)
    ours = _Ours()
    ours.setFormatter(JsonLines() if kind == JSON else TextLines())
    root.addHandler(ours)
    logging.getLogger("workgym").setLevel(logging.INFO)


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    fields: Mapping[str, object] = getattr(record, "fields", {})
    return fields
