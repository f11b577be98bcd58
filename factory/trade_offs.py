"""The versions of a model side by side: the Pareto front, and the pick of a profile."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from workgym.factory.profiles import (
    MEASURES,
    OF_FAMILY,
    Measures,
    Pick,
    comparable,
    dominates,
    figure,
    front,
    measured_by,
    pick,
)
from workgym.factory.registry import Registry
from workgym.factory.states import VersionStatus
from workgym.services.kernel import NotFound, did_you_mean


@dataclass(frozen=True)
class Standing:
    """A version among the others.

    Attributes:
        variant: what it was trained as.
        on_front: whether no other is at least as good in everything and better in something.
        dominated_by: versions that are.
    """

    version: int
    variant: str
    status: str
    measures: Measures
    on_front: bool
    dominated_by: tuple[int, ...]


@dataclass(frozen=True)
class TradeOffs:
    """All that were measured for a release.

    Attributes:
        over: the measures that all of them have, over which they are compared.
        standings: the newest first.
        profile: whose pick this is, if one was asked for.
    """

    model: str
    alias: str
    over: tuple[str, ...]
    standings: tuple[Standing, ...]
    profile: str | None
    pick: Pick | None


def trade_offs(
    registry: Registry, model: str, alias: str, profile: str | None, everyone: bool = False
) -> TradeOffs:
    """Compare the versions that were measured for a release.

    Args:
        registry: where they are.
        model: whose versions.
        alias: the release.
        profile: whose pick to tell.
        everyone: also those that did not pass every gate.

    Raises:
        NotFound: none was measured for this release, or none passed.
        BadInput: there is no such profile.
    """
    versions = [
        one for one in registry.list_versions(model) if everyone or one.status is VersionStatus.BLESSED
    ]
    measured = {one.version: registry.measures(one, alias) for one in versions}
    measured = {number: own for number, own in measured.items() if own}
    if not measured:
        raise _nobody(registry, model, alias, everyone)
    if profile is not None:
        families = [name.removeprefix(OF_FAMILY) for name in next(iter(measured.values()))]
        measured_by(profile, [name for name in families if name not in MEASURES])
    over = comparable(measured)
    best = front(measured, over)
    standings = tuple(
        Standing(
            one.version,
            str(one.lineage.get("variant", "")),
            str(one.status),
            measured[one.version],
            one.version in best,
            tuple(
                other for other, theirs in measured.items() if dominates(theirs, measured[one.version], over)
            ),
        )
        for one in versions
        if one.version in measured
    )
    chosen = pick(measured, profile, {}) if profile else None
    return TradeOffs(model, alias, tuple(over), standings, profile, chosen)


def _nobody(registry: Registry, model: str, alias: str, everyone: bool) -> NotFound:
    aliases = sorted({line.alias for line in registry.history(model)})
    if aliases and alias not in aliases:
        return NotFound(did_you_mean("alias", alias, aliases))
    way_out = "run a pipeline" if everyone else "--all shows those that did not pass"
    return NotFound(f"no version of {model} was measured for {alias!r} and passed its gates; {way_out}")


def trade_offs_table(found: TradeOffs) -> RenderableType:
    """For people."""
    table = Table(title=f"{found.model}, measured for {found.alias}", title_justify="left")
    for column in ("version", "variant", *found.over):
        table.add_column(column, justify="left" if column == "variant" else "right")
    table.add_column("front")
    for one in found.standings:
        numbers = [figure(one.measures[name]) for name in found.over]
        beaten = ", ".join(map(str, one.dominated_by))
        where = Text("yes", style="green") if one.on_front else Text(f"beaten by {beaten}", style="dim")
        table.add_row(str(one.version), one.variant, *numbers, where)
    units = "; ".join(_unit(name) for name in found.over)
    parts: list[RenderableType] = [table, Text(units, style="dim")]
    if found.profile is not None:
        told = f"version {found.pick.number}: {found.pick.sentence}" if found.pick else "nobody"
        parts.append(Text(f"{found.profile} would pick {told}"))
    return Group(*parts)


def _unit(name: str) -> str:
    one = MEASURES[name]
    return f"{name}: {one.unit} {one.told}, {'more' if one.more else 'less'} is better"
