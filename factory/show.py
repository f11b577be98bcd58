"""How the command line shows things: live progress, tables, pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from workgym.envs.conformance import Finding as LawFinding
from workgym.factory.doctor import Finding
from workgym.factory.entries import HistoryLine, ModelSummary, RecordedVerdict
from workgym.factory.records import Outcome, Scorecard, Verdict
from workgym.factory.registry import Registry
from workgym.factory.releasing import Judged, Released
from workgym.factory.run import Result
from workgym.factory.train import Progress as TrainingProgress

STYLES = {Outcome.PASS: "green", Outcome.FAIL: "red", Outcome.INCONCLUSIVE: "yellow"}


class Live:
    """Progress of a run on a terminal; plain lines where there is none."""

    def __init__(self, console: Console, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._told: dict[str, int] = {}

    def __enter__(self) -> Live:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def stage(self, text: str) -> None:
        """Print what begins now."""
        if not self._quiet:
            self._console.print(f"[bold]{text}[/bold]")

    def training(self, progress: list[TrainingProgress]) -> None:
        """Move the bars, or print a line a quarter of the way."""
        for one in progress:
            note = _note(one)
            if self._console.is_terminal:
                self._move(one, note)
            elif not self._quiet and self._quarter(one):
                self._console.print(
                    f"  {one.job.name}: chunk {one.chunks} of {one.of} {note}", highlight=False
                )

    def _move(self, one: TrainingProgress, note: str) -> None:
        if one.job.name not in self._tasks:
            self._tasks[one.job.name] = self._bars.add_task(one.job.name, total=one.of, note="")
        self._bars.update(self._tasks[one.job.name], completed=one.chunks, note=note)

    def _quarter(self, one: TrainingProgress) -> bool:
        quarter = 4 * one.chunks // max(one.of, 1)
        news = one.chunks > 0 and self._told.get(one.job.name) != quarter
        self._told[one.job.name] = quarter
        return news


def _note(one: TrainingProgress) -> str:
    profit = f"profit {one.curve[-1]['mean_return'] / 100:,.0f} a season" if one.curve else ""
    return f"{profit}, attempt {one.attempts}" if one.attempts > 1 else profit


def run_report(result: Result) -> RenderableType:
    """The table of a run, its outcome, and where to look next."""
    name = result.run.pipeline
    nexts = f"Look next: factory show {name} | factory dashboard | factory evaluate {name} --split audit"
    parts = [part for one in result.releases for part in _release_report(result, one)]
    return Group(*parts, Text(nexts, style="dim"))


def _release_report(result: Result, released: Released) -> list[RenderableType]:
    what = f"{released.spec.alias}, chosen for {released.spec.profile}"
    title = f"{result.run.pipeline}, run {result.run.id}: {what}, against {released.opponent.name}"
    table = Table(title=title, title_justify="left")
    for column in ("variant", "version", "profit/order", "gain", "interval", "flips", "p99 us"):
        table.add_column(column, justify="left" if column == "variant" else "right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for judged in released.judged:
        table.add_row(*_judged_row(judged))
    for card in result.rules:
        profit = f"{card.profit_per_case():.1f}"
        table.add_row(card.policy, "", profit, "", "", "", "", "rule of today", style="dim")
    held = [one for one in released.judged if not one.passed]
    reasons = [Text(f"{one.candidate.name}: {one.reason()}") for one in held]
    return [table, *reasons, Text(released.sentence, style="green" if released.promoted else "yellow")]


def _judged_row(judged: Judged) -> list[RenderableType]:
    candidate = judged.candidate
    numbers = {verdict.gate: verdict.numbers for verdict in judged.verdicts}
    gain = numbers.get("improvement", {})
    latency = candidate.card.latency_us or {}
    return [
        candidate.name,
        str(candidate.version.version),
        f"{candidate.card.profit_per_case():.1f}",
        _number(gain, "gain", "{:+.1f}"),
        f"{_number(gain, 'low', '{:+.1f}')} to {_number(gain, 'high', '{:+.1f}')}",
        _number(numbers.get("flips", {}), "flips", "{:.0f}"),
        _number(latency, "p99", "{:.0f}"),
        _short_verdict(judged),
    ]


def _short_verdict(judged: Judged) -> Text:
    """Passed, or the gates that hold the candidate back."""
    if judged.passed:
        return Text("passed every gate", style="green")
    held = [f"{verdict.gate} {verdict.outcome}" for verdict in judged.verdicts if not verdict.passed]
    return Text(", ".join(held), style="red")


def _number(numbers: Any, name: str, pattern: str) -> str:
    value = numbers.get(name)
    return pattern.format(value) if isinstance(value, (int, float)) else "-"


def run_json(result: Result) -> dict[str, Any]:
    """A run's outcome for machines."""
    return {
        "run": result.run.id,
        "model": result.run.pipeline,
        "sentence": result.sentence,
        "rules": {card.policy: card.profit_per_case() for card in result.rules},
        "releases": [_release_json(released) for released in result.releases],
    }


def _release_json(released: Released) -> dict[str, Any]:
    return {
        "alias": released.spec.alias,
        "profile": released.spec.profile,
        "opponent": released.opponent.name,
        "promoted": asdict(released.promoted) if released.promoted else None,
        "sentence": released.sentence,
        "candidates": [_judged_json(judged) for judged in released.judged],
    }


def _judged_json(judged: Judged) -> dict[str, Any]:
    candidate = judged.candidate
    return {
        "variant": candidate.name,
        "version": candidate.version.version,
        "passed": judged.passed,
        "profit_per_case": candidate.card.profit_per_case(),
        "latency_us": candidate.card.latency_us,
        "measures": judged.measures,
        "reused": candidate.trained.reused if candidate.trained else False,
        "attempts": candidate.trained.progress.attempts if candidate.trained else 0,
        "verdicts": [verdict.to_dict() for verdict in judged.verdicts],
    }


@dataclass(frozen=True)
class Page:
    """One thing, for machines and for people."""

    data: Any
    text: Callable[[], RenderableType]


def model_page(registry: Registry, name: str) -> Page:
    """All versions of a model and its history."""
    versions, history = registry.list_versions(name), registry.history(name)
    champion = registry.champion(name)

    def text() -> RenderableType:
        table = _table(
            f"{name}: {len(versions)} versions", "version", "status", "variant", "profit/order", "made"
        )
        for version in versions:
            mark = " *" if champion and champion.version == version.version else ""
            profit = registry.scorecard(version.scorecard_digest).profit_per_case()
            variant = str(version.lineage.get("variant", ""))
            table.add_row(
                f"{version.version}{mark}",
                str(version.status),
                variant,
                f"{profit:.1f}",
                version.created_at[:19],
            )
        return Group(table, history_table(history), Text("* serves as champion", style="dim"))

    return Page(
        {"versions": [asdict(one) for one in versions], "history": [asdict(one) for one in history]}, text
    )


def version_page(registry: Registry, name: str, number: int) -> Page:
    """One version: results by family, verdicts, lineage."""
    version = registry.version(name, number)
    verdicts, card = registry.verdicts(version), registry.scorecard(version.scorecard_digest)

    def text() -> RenderableType:
        lineage = _table("lineage", "", "")
        for key, value in sorted(version.lineage.items()):
            lineage.add_row(key, str(value))
        return Group(
            Text(f"{version}, {version.status}", style="bold"),
            cards_table([card]),
            verdict_table(verdicts),
            lineage,
        )

    data = {**asdict(version), "verdicts": [asdict(one) for one in verdicts], "families": by_family(card)}
    return Page(data, text)


def models_table(models: Sequence[ModelSummary]) -> RenderableType:
    """Who serves, one line a model."""
    if not models:
        return Text("no models yet; `factory run pipelines/orders.toml` makes the first")
    table = _table("models", "model", "env", "versions", "champion", "since")
    for model in models:
        champion = f"v{model.champion}" if model.champion else "-"
        table.add_row(model.name, model.env_id, str(model.versions), champion, (model.since or "-")[:19])
    return table


def history_table(lines: Sequence[HistoryLine]) -> RenderableType:
    """Every move of an alias."""
    table = _table("history", "at", "alias", "move", "who", "why")
    for line in lines:
        before = f"v{line.from_version}" if line.from_version else "nothing"
        table.add_row(
            line.at[:19], line.alias, f"{line.kind} {before} to v{line.to_version}", line.actor, line.reason
        )
    return table


def verdict_table(verdicts: Sequence[Verdict | RecordedVerdict]) -> RenderableType:
    """Each gate's sentence."""
    table = _table("verdicts", "gate", "outcome", "sentence")
    for verdict in verdicts:
        table.add_row(
            verdict.gate, Text(str(verdict.outcome), style=STYLES[verdict.outcome]), verdict.sentence
        )
    return table


def by_family(card: Scorecard) -> dict[str, dict[str, float]]:
    """Cents per order, share of scenarios handled and of promises broken, by family."""
    families = np.array(card.family)
    found = {}
    for name in dict.fromkeys(card.family):
        here = families == name
        found[name] = {
            "profit_per_case": float(card.profit[here].sum() / max(card.cases[here].sum(), 1)),
            "success": float(card.success[here].mean()),
            "violations": float(card.violations[here].sum() / max(card.obligations[here].sum(), 1)),
        }
    return found


def cards_json(cards: Sequence[Scorecard]) -> list[dict[str, Any]]:
    """Scorecards for machines, by family."""
    return [
        {"policy": card.policy, "profit_per_case": card.profit_per_case(), "families": by_family(card)}
        for card in cards
    ]


def cards_table(cards: Sequence[Scorecard]) -> RenderableType:
    """Cents per order by family, one column a policy."""
    table = _table(
        f"cents per order, n={cards[0].n} scenarios", "family", *(card.policy[:20] for card in cards)
    )
    columns = [by_family(card) for card in cards]
    for name in columns[0]:
        table.add_row(name, *(f"{column[name]['profit_per_case']:.1f}" for column in columns))
    table.add_row("all", *(f"{card.profit_per_case():.1f}" for card in cards), style="bold")
    return table


def conformance_table(env_id: str, findings: Sequence[LawFinding]) -> RenderableType:
    """Each law with its number of cases."""
    table = _table(f"{env_id}: laws", "law", "backend", "cases", "result")
    for finding in findings:
        result = Text("holds", style="green") if finding.passed else Text(finding.detail, style="red")
        table.add_row(finding.law, finding.backend, f"{finding.cases:,}", result)
    return table


def doctor_table(findings: Sequence[Finding]) -> RenderableType:
    """What was found and how to mend it."""
    styles = {"ok": "green", "missing": "yellow", "broken": "red"}
    table = _table("doctor", "what", "state", "found", "way out")
    for finding in findings:
        table.add_row(
            finding.name, Text(finding.state, style=styles[finding.state]), finding.found, finding.mend
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table
