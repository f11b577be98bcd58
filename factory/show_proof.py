"""How the command line shows proofs, explanations, flips and seasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from workgym.factory.explain import Explanation
from workgym.factory.flipped import Flip
from workgym.factory.flips import Flips
from workgym.factory.proof import Proof
from workgym.factory.replay import Decision, Season, parting

SHOWN_NUMBERS = 8  # of an action
SHOWN_FLIPS = 20  # of each kind; --json has all


def proof_report(proof: Proof) -> RenderableType:
    """What was looked at, what does not hold, and the head to keep."""
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in proof.checked.items())
    lines: list[RenderableType] = [Text(f"looked at {counts}")]
    lines += [Text(f"{one.place}: {one.what}", style="red") for one in proof.breaks]
    if proof.sound:
        head = proof.head or "none yet"
        lines.append(Text("Everything holds.", style="green"))
        lines.append(Text(f"head: {head}"))
        if proof.head:
            lines.append(
                Text(f"Keep it elsewhere; next time: factory verify --head {proof.head}", style="dim")
            )
    return Group(*lines)


def explanation_report(told: Explanation) -> RenderableType:
    """Headline, what it rests on, what it would take."""
    lines: list[RenderableType] = [Text(told.headline, style="green" if told.serves else "yellow")]
    lines += [Text(f"- {one}") for one in told.because]
    if told.needs:
        lines.append(Text("To serve it needs:", style="bold"))
        lines += [Text(f"- {one}") for one in told.needs]
    return Group(*lines)


def flips_report(found: Flips) -> RenderableType:
    """Both lists, the dearest flips first."""
    head = (
        f"{found.n} scenarios: {len(found.lost)} that {found.a} handles and {found.b} fails, "
        f"{len(found.won)} the other way round"
    )
    parts: list[RenderableType] = [Text(head, style="bold")]
    parts += _flips(f"{found.a} handles, {found.b} fails", found, found.lost)
    parts += _flips(f"{found.b} handles, {found.a} fails", found, found.won)
    return Group(*parts)


def _flips(title: str, found: Flips, flips: Sequence[Flip]) -> list[RenderableType]:
    if not flips:
        return []
    table = Table(title=title, title_justify="left")
    for name in ("family", "seed", found.a, found.b):
        table.add_column(name, justify="left" if name == "family" else "right", no_wrap=True)
    table.add_column("replay", overflow="fold")
    for one in flips[:SHOWN_FLIPS]:
        profits = (_amount(one.a_profit, found.unit), _amount(one.b_profit, found.unit))
        table.add_row(one.family, str(one.seed), *profits, one.replay)
    more = len(flips) - SHOWN_FLIPS
    return [table, Text(f"and {more} more; --json has all", style="dim")] if more > 0 else [table]


def season_report(season: Season) -> RenderableType:
    """Every decision, one line each, and what they came to."""
    table = Table(title=_title(season), title_justify="left")
    for name in ("step", "day", "legal", "action", "reward", "so far"):
        table.add_column(name, justify="left" if name == "action" else "right", no_wrap=name != "action")
    table.add_column("terms", overflow="fold")
    total = 0
    for one in season.decisions:
        total += one.reward
        legal = "any" if one.legal is None else str(one.legal)
        amounts = (_amount(one.reward, season.unit), _amount(total, season.unit))
        terms = ", ".join(
            f"{name} {_amount(value, season.unit)}" for name, value in one.terms.items() if value
        )
        table.add_row(str(one.number), str(one.day), legal, _action(one), *amounts, terms)
    return Group(table, Text(_sum(season)))


def side_by_side(one: Season, other: Season) -> RenderableType:
    """Where two part, and what each day and each term brought them."""
    parts: list[RenderableType] = [
        Text(f"{_title(one)}, against {other.who}", style="bold"),
        _parted(one, other),
    ]
    ours, theirs = one.by_day(), other.by_day()
    days = {str(day): (ours.get(day, 0), theirs.get(day, 0)) for day in sorted({*ours, *theirs})}
    parts.append(_compared("day", one, other, days))
    own, their = one.terms(), other.terms()
    terms = {name: (int(own[name]), int(their.get(name, 0))) for name in own}
    parts.append(_compared("term", one, other, {**terms, "all": (one.profit, other.profit)}))
    return Group(*parts)


def _compared(noun: str, one: Season, other: Season, rows: dict[str, tuple[int, int]]) -> Table:
    table = Table()
    for name in (noun, one.who, other.who, "difference"):
        table.add_column(name, justify="left" if name == noun else "right")
    for name, (ours, theirs) in rows.items():
        table.add_row(name, *(_amount(value, one.unit) for value in (ours, theirs, ours - theirs)))
    return table


def _parted(one: Season, other: Season) -> Text:
    pair = parting(one, other)
    if pair is None:
        return Text("They took the same decisions.")
    ours, theirs = pair
    where = f"They part at step {ours.number}, day {ours.day}"
    return Text(f"{where}: {one.who} takes {_action(ours)}, {other.who} takes {_action(theirs)}.")


def _title(season: Season) -> str:
    return f"{season.who} in {season.family}/{season.seed} of split {season.split}"


def _action(one: Decision) -> str:
    action = one.action if isinstance(one.action, str) else _numbers(one.action)
    relieved = " (by the noop: stalled too long)" if one.relieved else ""
    return f"{action}{relieved}, refused: {one.refused}" if one.refused else f"{action}{relieved}"


def _numbers(action: list[Any]) -> str:
    shown = ", ".join(str(one) for one in action[:SHOWN_NUMBERS])
    return f"{shown}, ... {len(action)} in all" if len(action) > SHOWN_NUMBERS else shown


def _amount(value: float, unit: str) -> str:
    """Cents as people write money; any other unit as it is."""
    return f"{value / 100:,.2f}" if unit == "cents" else f"{value:,.0f}"


def _sum(season: Season) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in season.facts.items())
    unit = "" if season.unit == "cents" else f" {season.unit}"
    return f"{_amount(season.profit, season.unit)}{unit} in {len(season.decisions)} decisions; {facts}"
