"""What the versions of a model cost each other: the Pareto front drawn, and listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workgym.factory.dashboard.charts import Cloud, Spot, cloud, compact
from workgym.factory.dashboard.text import amount, measured
from workgym.factory.entries import ModelVersion
from workgym.factory.profiles import MEASURES, Measures, comparable
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
    """A version that passed its gates, with its measures in the order of `TradeOffs.over`.

    Attributes:
        beaten_by: versions as good in everything and better in something; none on the front.
    """

    version: int
    variant: str
    values: tuple[str, ...]
    serves: bool
    beaten_by: tuple[int, ...]


@dataclass(frozen=True)
class TradeOffs:
    """The versions that were measured for a release.

    Attributes:
        aliases: releases that something was measured for.
        over: the measures that all that passed have.
        rows: the front, and who serves, the newest first.
        unlisted: versions of the front that the table leaves out.
        beaten: versions that passed, where another is as good in everything and better in something.
        against: the measure that profit is drawn against, or empty where none was measured.
        choices: the others that it could be drawn against.
        chart: profit upwards, the other measure across.
    """

    alias: str
    aliases: tuple[str, ...]
    over: tuple[str, ...]
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
    beaten = beaten_by([own[one.id] for one in passed], over)
    better = {
        one.version: tuple(passed[at].version for at in by) for one, by in zip(passed, beaten, strict=True)
    }
    listed = [one for one in passed if one.version == serving or not better[one.version]]
    choices = tuple(name for name in AGAINST if any(name in one for one in own.values()))
    chosen = against if against in choices else next(iter(choices), "")
    drawn = [one for one in versions if chosen in own.get(one.id, {})]
    spots = [_spot(one, own[one.id], chosen, better, serving) for one in drawn]
    return TradeOffs(
        alias=alias,
        aliases=tuple(sorted(measures, key=lambda name: (name != "champion", name))),
        over=tuple(over),
        rows=tuple(_row(one, own[one.id], over, better, serving) for one in listed[:LISTED]),
        unlisted=len(listed[LISTED:]),
        beaten=sum(map(bool, better.values())),
        against=chosen,
        choices=choices,
        chart=cloud(spots, chosen in LOGARITHMIC, _percent if chosen == "flips" else compact),
    )


def beaten_by(candidates: Sequence[Measures], over: Sequence[str]) -> list[list[int]]:
    """Who is at least as good everywhere and better somewhere; `profiles.dominates`, all at once."""
    sign = np.array([1.0 if MEASURES[name].more else -1.0 for name in over])
    found = np.array([[one[name] for name in over] for one in candidates])
    values = found.reshape(len(candidates), len(over)) * sign
    no_worse = (values[:, None] >= values).all(axis=2)
    better = (values[:, None] > values).any(axis=2)
    return [np.flatnonzero(column).tolist() for column in (no_worse & better).T]


def _spot(
    version: ModelVersion,
    own: Measures,
    across: str,
    better: Mapping[int, tuple[int, ...]],
    serving: int | None,
) -> Spot:
    kind = "unproven"
    if version.version in better:
        kind = "beaten" if better[version.version] else "front"
    kind = "serves" if version.version == serving else kind
    variant = version.lineage.get("variant") or "by hand"
    numbers = ", ".join(amount(name, own[name]) for name in ("profit", across))
    told = f"version {version.version}, {variant}: {numbers}; {KINDS[kind]}"
    return Spot(own[across], own["profit"], kind, told, f"/versions/{version.version}", f"v{version.version}")


KINDS = {
    "serves": "serves",
    "front": "on the front",
    "beaten": "beaten by another",
    "unproven": "did not pass every gate",
}


def _percent(value: float) -> str:
    return f"{100 * value:.3g}%"


def _row(
    version: ModelVersion,
    own: Measures,
    over: Sequence[str],
    better: Mapping[int, tuple[int, ...]],
    serving: int | None,
) -> Row:
    values = tuple(measured(name, own[name]) for name in over)
    variant = str(version.lineage.get("variant") or "by hand")
    return Row(version.version, variant, values, version.version == serving, better[version.version])
