"""What the versions of a model cost each other: the Pareto front drawn, and listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workgym.factory.dashboard.charts import Cloud, Spot, cloud
from workgym.factory.entries import ModelVersion
from workgym.factory.profiles import MEASURES, Measures, comparable, figure, shown
from workgym.factory.states import VersionStatus

AGAINST = {  # by measure, what a link and an axis call it
    "flips": ("flips", "share of scenarios that flip"),
    "bytes": ("size", "bytes of the files"),
    "p99_us": ("slowness", "microseconds of a decision, p99"),
}
LOGARITHMIC = ("bytes", "p99_us")  # differ by factors, not by amounts
LISTED = 12  # versions of the front in the table


@dataclass(frozen=True)
class Row:
    """A version that passed its gates, with its measures in the order of `TradeOffs.over`."""

    version: int
    variant: str
    values: tuple[str, ...]
    serves: bool


@dataclass(frozen=True)
class TradeOffs:
    """The versions that were measured for a release.

    Attributes:
        aliases: releases that something was measured for.
        over: the measures that all that passed have.
        units: of those, a phrase each.
        rows: the front, and who serves, the newest first.
        unlisted: versions of the front that the table leaves out.
        beaten: versions that passed and that another beats in everything.
        against: the measure that profit is drawn against, or empty where none was measured.
        choices: the others that it could be drawn against.
        chart: profit upwards, the other measure across.
    """

    alias: str
    aliases: tuple[str, ...]
    over: tuple[str, ...]
    units: tuple[str, ...]
    rows: tuple[Row, ...]
    unlisted: int
    beaten: int
    against: str
    choices: tuple[str, ...]
    chart: Cloud | None


def trade_offs(
    versions: Sequence[ModelVersion],
    measures: Mapping[str, Mapping[int, Measures]],
    alias: str,
    against: str,
    serving: int | None,
) -> TradeOffs:
    """Compare a model's versions.

    Args:
        versions: the newest first.
        measures: by alias and id of the version.
        alias: the release.
        against: the measure that profit is drawn against, where it was measured.
        serving: who serves under the alias.
    """
    own = measures.get(alias, {})
    passed = [one for one in versions if one.id in own and one.status is VersionStatus.BLESSED]
    over = comparable({one.version: own[one.id] for one in passed})
    front = on_front([own[one.id] for one in passed], over)
    best = {one.version for one, is_best in zip(passed, front, strict=True) if is_best}
    listed = [one for one in passed if one.version == serving or one.version in best]
    choices = tuple(name for name in AGAINST if any(name in one for one in own.values()))
    chosen = against if against in choices else next(iter(choices), "")
    drawn = [one for one in versions if chosen in own.get(one.id, {})]
    spots = [_spot(one, own[one.id], chosen, best, serving) for one in drawn]
    return TradeOffs(
        alias=alias,
        aliases=tuple(sorted(measures, key=lambda name: (name != "champion", name))),
        over=tuple(over),
        units=tuple(_unit(name) for name in over),
        rows=tuple(_row(one, own[one.id], over, serving) for one in listed[:LISTED]),
        unlisted=len(listed[LISTED:]),
        beaten=len(passed) - len(best),
        against=chosen,
        choices=choices,
        chart=cloud(spots, chosen in LOGARITHMIC),
    )


def on_front(candidates: Sequence[Measures], over: Sequence[str]) -> list[bool]:
    """Whether nobody is at least as good everywhere and better somewhere; `profiles.front`, all at once."""
    sign = np.array([1.0 if MEASURES[name].more else -1.0 for name in over])
    values = (
        np.array([[one[name] for name in over] for one in candidates]).reshape(len(candidates), -1) * sign
    )
    no_worse = (values[:, None] >= values).all(axis=2)
    better = (values[:, None] > values).any(axis=2)
    found: list[bool] = (~(no_worse & better).any(axis=0)).tolist()
    return found


def _spot(version: ModelVersion, own: Measures, across: str, best: set[int], serving: int | None) -> Spot:
    passed = version.status is VersionStatus.BLESSED
    kinds = ((version.version == serving, "serves"), (version.version in best, "front"), (passed, "beaten"))
    kind = next((name for holds, name in kinds if holds), "unproven")
    variant = version.lineage.get("variant") or "by hand"
    numbers = ", ".join(shown(name, own[name]) for name in ("profit", across))
    told = f"version {version.version}, {variant}: {numbers}"
    at = f"/versions/{version.version}"
    return Spot(own[across], own["profit"], kind, f"{told}; {KINDS[kind]}", at, f"v{version.version}")


KINDS = {
    "serves": "serves",
    "front": "on the front",
    "beaten": "beaten by another in everything",
    "unproven": "did not pass every gate",
}


def _row(version: ModelVersion, own: Measures, over: Sequence[str], serving: int | None) -> Row:
    values = tuple(figure(own[name]) for name in over)
    variant = str(version.lineage.get("variant") or "by hand")
    return Row(version.version, variant, values, version.version == serving)


def _unit(name: str) -> str:
    one = MEASURES[name]
    return f"{name.replace('_', ' ')}: {one.unit} {one.told}, {'more' if one.more else 'less'} is better"
