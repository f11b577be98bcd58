"""What `factory chaos` shows."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from workgym.factory.chaos import Report


def chaos_json(report: Report) -> dict[str, Any]:
    """A report for machines."""
    return {
        "identical": report.identical,
        "wanted": report.wanted,
        "kills": [
            {"where": where, "who": who, "engine": engine, "times": times}
            for (where, who, engine), times in report.counts().items()
        ],
        "weights": {name: list(pair) for name, pair in report.weights.items()},
        "chunks": report.chunks,
        "findings": report.findings,
    }


def chaos_table(report: Report) -> RenderableType:
    """A report for people; ends with whether the weights are identical."""
    kills = Table(title=f"{len(report.kills)} kills", title_justify="left")
    for column in ("where", "who", "engine", "times"):
        kills.add_column(column, justify="right" if column == "times" else "left")
    for (where, who, engine), times in report.counts().items():
        kills.add_row(where, who, engine, str(times))
    weights = Table(title="weights, SHA-256", title_justify="left")
    for column in ("training", "undisturbed", "after the kills"):
        weights.add_column(column)
    for name, (calm, wild) in report.weights.items():
        weights.add_row(name, calm[:16], Text(wild[:16], style="green" if calm == wild else "red"))
    same = all(calm == wild for calm, wild in report.weights.values())
    found = [Text(finding, style="red") for finding in report.findings]
    rest = "" if report.findings else f"; {report.chunks} chunks, scorecards and history too"
    verdict = Text(
        f"weights identical: {'yes' if same else 'no'}{rest}", style="green" if report.identical else "red"
    )
    return Group(kills, weights, *found, verdict)
