"""Why a version serves, or why it does not and what it would take, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workgym.factory.entries import HistoryLine, Kind, ModelVersion, RecordedVerdict
from workgym.factory.profiles import shown
from workgym.factory.records import Outcome
from workgym.factory.registry import Registry
from workgym.factory.versions import gates_for
from workgym.services.kernel import NotFound, did_you_mean

Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Explanation:
    """Where a version stands.

    Attributes:
        headline: one sentence.
        because: what that rests on.
        needs: what it would take to serve; empty where it serves.
    """

    model: str
    version: int
    alias: str
    serves: bool
    headline: str
    because: tuple[str, ...]
    needs: tuple[str, ...]


def explain(registry: Registry, model: str, number: int, alias: str = "champion") -> Explanation:
    """Explain where a version stands for an alias.

    Raises:
        NotFound: there is no such model, version or alias.
    """
    version = registry.version(model, number)
    history = registry.history(model)
    _require_known(registry, version, alias, {line.alias for line in history})
    moves = [line for line in history if line.alias == alias]
    serves = bool(moves) and moves[-1].to_version == number
    told = [_move(line, moves) for line in moves if line.to_version == number]
    if serves:
        because = [*told, *_given_up(moves[-1]), *_earned(registry, version, moves)]
        headline = f"{version} serves as {alias} since {moves[-1].at[:19]} (generation {len(moves)})."
        return Explanation(model, number, alias, True, headline, tuple(because), ())
    verdicts = _latest(registry, version, alias)
    open_ = _open(registry, version, alias, verdicts, len(moves))
    if told:
        headline = f"{version} no longer serves as {alias}."
    elif open_:
        headline = f"{version} does not serve as {alias}: {len(open_)} of its conditions are not met."
    else:
        headline = f"{version} passed everything and was not chosen for {alias}."
    said = [f"{one.gate}, {one.outcome}: {one.sentence}" for one in verdicts.values()]
    because = [*told, *said, *_instead(moves)]
    needs = open_ or [f"`factory promote {model} {number} --alias {alias}` lets it serve."]
    return Explanation(model, number, alias, False, headline, tuple(because), tuple(needs))


def _require_known(registry: Registry, version: ModelVersion, alias: str, served: set[str]) -> None:
    """An alias is known once somebody served, was judged or is to be released as it."""
    releases = registry.run(version.run_id).spec.get("releases", [])
    judged = {one.alias for one in registry.verdicts(version)}
    known = {"champion", *served, *judged, *(str(one["alias"]) for one in releases)}
    if alias not in known:
        raise NotFound(did_you_mean("alias", alias, sorted(known)))


def _move(line: HistoryLine, moves: list[HistoryLine]) -> str:
    """How a version came to serve and, if it does no more, how it went."""
    came = {
        Kind.PROMOTE: f"{line.actor} promoted it at {line.at[:19]}: {line.reason}",
        Kind.ROLLBACK: f"{line.actor} rolled back to it at {line.at[:19]}: {line.reason}",
    }[line.kind]
    if line.generation == len(moves):
        return came
    after = moves[line.generation]
    return f"{came}; version {after.to_version} replaced it at {after.at[:19]} ({after.kind}): {after.reason}"


def _given_up(line: HistoryLine) -> list[str]:
    chosen = [f"It was chosen for {line.profile!r}."] if line.profile else []
    return chosen + [
        f"It gave up {_lost(name, lost)}." for name, lost in sorted((line.given_up or {}).items())
    ]


def _lost(name: str, lost: Any) -> str:
    if isinstance(lost, Mapping) and {"chosen", "best", "version"} <= lost.keys():
        best = shown(name, float(lost["best"]))
        return f"{best}, which version {lost['version']} has, for {shown(name, float(lost['chosen']))}"
    return f"{name}: {lost}"


def _earned(registry: Registry, version: ModelVersion, moves: list[HistoryLine]) -> list[str]:
    """The verdicts that the last promotion of a version rests on."""
    promoted = [one for one in moves if one.to_version == version.version and one.kind is Kind.PROMOTE]
    before = promoted[-1].generation - 1
    alias = moves[-1].alias
    found = {
        one.gate: one
        for one in registry.verdicts(version)
        if (one.alias, one.champion_generation, one.outcome) == (alias, before, Outcome.PASS)
    }
    return [
        f"{one.gate}, pass: {one.sentence}" for one in found.values() if one.gate in version.required_gates
    ]


def _latest(registry: Registry, version: ModelVersion, alias: str) -> dict[str, RecordedVerdict]:
    return {one.gate: one for one in registry.verdicts(version) if one.alias == alias}


def _open(
    registry: Registry,
    version: ModelVersion,
    alias: str,
    verdicts: Mapping[str, RecordedVerdict],
    generation: int,
) -> list[str]:
    """Every condition that is not met, with what would meet it."""
    again = f"`factory gate {version.name} {version.version}` asks again"
    if not version.required_gates:
        return ["It was registered without a gate; only a new version from a pipeline with gates can serve."]
    needs = []
    for gate in gates_for(version.required_gates, generation):
        one = verdicts.get(gate)
        if one is None:
            needs.append(f"{gate}: no verdict yet; {again}.")
        elif one.outcome is not Outcome.PASS:
            needs.append(f"{gate}: {_way(one)}")
        elif one.champion_generation != generation:
            needs.append(f"{gate}: compared with {one.champion}, and {alias} has moved since; {again}.")
    return needs + _people(registry, version, alias, generation)


def _people(registry: Registry, version: ModelVersion, alias: str, generation: int) -> list[str]:
    asked = registry.protection(version.name, alias)
    words = registry.approvals(version.name, version.version, alias)
    here = [one for one in words if one.generation == generation]
    against = [one for one in here if one.decision == "reject"]
    if asked and against:
        return [f"approval: {one.actor} rejected it: {one.reason}; promote another." for one in against]
    if len(here) < asked:
        by = f"`factory approve {version.name} {version.version} --alias {alias} --reason ...`"
        return [f"approval: {len(here)} of {asked} people approved; {by}."]
    return []


def _instead(moves: list[HistoryLine]) -> list[str]:
    if not moves:
        return ["Nobody has served yet."]
    line = moves[-1]
    profile = f" for {line.profile!r}" if line.profile else ""
    return [f"Version {line.to_version} serves{profile}: {line.reason}", *_given_up(line)[1:]]


# What it would take


def _way(verdict: RecordedVerdict) -> str:
    """What would turn a verdict into a pass."""
    way = WAYS.get(verdict.gate)
    try:
        told = way(verdict.numbers) if way else ""
    except KeyError:  # an earlier release wrote other numbers
        told = ""
    if verdict.outcome is Outcome.INCONCLUSIVE:
        more = "more scenarios may tell: raise `per_family` under [suite] of the pipeline and run it again"
        return f"{told}; {more}." if told else f"{more}."
    owner = "a better candidate, or another limit, which is for the owner of the pipeline to say"
    return f"{told}." if told else f"{owner}."


def _more_profit(numbers: Numbers) -> str:
    low, margin = float(numbers["low"]), float(numbers["margin"])
    gap = margin - low
    return (
        f"it would have to be sure of {margin:+,.2f} cents per order and is sure of {low:+,.2f}: "
        f"{gap:,.2f} more"
    )


def _fewer_flips(numbers: Numbers) -> str:
    most = int(float(numbers["budget"]) * int(numbers["n"]))
    return (
        f"{numbers['flips']} scenarios that the champion handles are lost, the budget of "
        f"{float(numbers['budget']):.2%} leaves room for {most} at most, and for fewer to be sure; "
        "`factory flips` lists them"
    )


def _less_harm(numbers: Numbers) -> str:
    harmed = str(numbers["harmed"]) or "none"
    unclear = str(numbers["unclear"]) or "none"
    return f"the families that lose are {harmed}, unclear are {unclear}; each must keep what it earned"


def _fewer_violations(numbers: Numbers) -> str:
    high, margin = float(numbers["high"]), float(numbers["margin"])
    return f"it may violate {margin:.2%} more than the champion and may violate {high:.2%} more"


def _faster(numbers: Numbers) -> str:
    return f"99 of 100 decisions take {float(numbers['p99']):,.0f} us, {float(numbers['budget']):,.0f} may"


WAYS: dict[str, Callable[[Numbers], str]] = {
    "improvement": _more_profit,
    "improvement-fixed": _more_profit,
    "flips": _fewer_flips,
    "no-harm": _less_harm,
    "constraints": _fewer_violations,
    "latency": _faster,
}
