"""A candidate that harms some families may still serve the others: the champion is kept where it is better.

    plan = propose_partial(candidate, champion, gates, candidates=4)
    if plan: print(plan.sentence)     # a router: the candidate in plan.served, the champion in plan.kept

Which families are kept is chosen on every other block and judged on the blocks between, which had no say
in the choice: judged on the same scenarios, the choice would be whatever luck made look safe
(docs/design/gates.md has both error rates).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workgym.factory.gates import judge, paired, promotable, select, short
from workgym.factory.records import Scorecard, Verdict
from workgym.factory.statistics import blocks
from workgym.services.kernel import BadInput

COLUMNS = ("profit", "cases", "success", "violations", "obligations")


@dataclass(frozen=True)
class PartialPlan:
    """Where a candidate may serve although it may not serve everywhere.

    Attributes:
        served: families in which the candidate decides.
        kept: families in which the champion goes on.
        verdicts: of every gate on the two together, from the scenarios that had no say in the choice.
        chosen_on: scenarios on which the families were chosen.
        judged_on: scenarios on which the gates decided.
        sentence: the plan in one sentence.
    """

    served: tuple[str, ...]
    kept: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    chosen_on: int
    judged_on: int
    sentence: str


def compose(candidate: Scorecard, champion: Scorecard, kept: Collection[str]) -> Scorecard:
    """What a router earns that leaves the kept families to the champion.

    Raises:
        BadInput: a family is not in the suite, or the two did not play the same scenarios.
    """
    ours, theirs = paired(candidate, champion)
    if unknown := sorted(set(kept) - set(ours.family)):
        known = ", ".join(sorted(set(ours.family)))
        raise BadInput(f"expected families of the suite ({known}), found {', '.join(unknown)}")
    keeps = np.array([family in kept for family in ours.family], dtype=np.bool_)
    columns = {name: np.where(keeps, getattr(theirs, name), getattr(ours, name)) for name in COLUMNS}
    return replace(
        ours,
        policy=f"{candidate.policy} except {', '.join(sorted(kept))}" if kept else candidate.policy,
        latency_us=_slower(candidate, champion),
        **columns,
    )


def _slower(candidate: Scorecard, champion: Scorecard) -> dict[str, float] | None:
    """A router is as slow as the slower of its two; unknown unless both were measured."""
    ours, theirs = candidate.latency_us, champion.latency_us
    if not ours or not theirs:
        return None
    return {name: max(ours[name], theirs[name]) for name in ours if name in theirs}


def propose_partial(
    candidate: Scorecard,
    champion: Scorecard,
    gates: Mapping[str, Mapping[str, Any]],
    candidates: int = 1,
) -> PartialPlan | None:
    """Find the families in which the candidate may serve, or None.

    A family is served when `no-harm` calls it safe on the first, third, fifth ... block; the others keep the
    champion. All gates then judge the two together on the second, fourth, sixth ... block. A gate that plays
    the policy itself has nothing to play before the router exists: leave it out and ask it then.

    Args:
        candidate: results of the policy that may not serve everywhere.
        champion: results of the one that serves today.
        gates: options by gate name; `no-harm` chooses with its defaults where it is not named.
        candidates: how many were tried on this suite, the judged one included.

    Raises:
        BadInput: there is no such gate or option, or the two did not play the same scenarios.
    """
    ours, theirs = paired(candidate, champion)
    at = blocks(theirs.family)
    first, second = ([int(one) for one in np.sort(half.ravel())] for half in (at[::2], at[1::2]))
    safe = _safe(select(ours, first), select(theirs, first), gates.get("no-harm", {}), candidates)
    kept = sorted(set(theirs.family) - safe)
    if not safe or not kept:
        return None
    whole = compose(ours, theirs, kept)
    asked = _without_passed(gates, select(whole, first))
    verdicts = judge(select(whole, second), select(theirs, second), asked, candidates)
    if not promotable(verdicts):
        return None
    serves, stays = ", ".join(sorted(safe)), ", ".join(kept)
    told = (
        f"{short(candidate)} serves {serves}, {short(champion)} goes on in {stays}; "
        f"chosen on {len(first)} scenarios, judged on {len(second)} others: {verdicts[0].sentence}"
    )
    return PartialPlan(tuple(sorted(safe)), tuple(kept), tuple(verdicts), len(first), len(second), told)


def _without_passed(gates: Mapping[str, Mapping[str, Any]], seen: Scorecard) -> dict[str, Mapping[str, Any]]:
    """The gates without those must-pass scenarios that were handled where the families were chosen.

    They are not among the scenarios that are judged; one that was failed stays, and stops the plan.
    """
    played = zip(seen.family, seen.seed, seen.success, strict=True)
    passed = {f"{family}/{seed}" for family, seed, handled in played if handled}
    return {
        name: {**given, "must_pass": [one for one in given["must_pass"] if one not in passed]}
        if "must_pass" in given
        else given
        for name, given in gates.items()
    }


def _safe(candidate: Scorecard, champion: Scorecard, given: Mapping[str, Any], candidates: int) -> set[str]:
    """The families that `no-harm` calls safe."""
    (verdict,) = judge(candidate, champion, {"no-harm": given}, candidates)
    return set(filter(None, str(verdict.numbers.get("safe", "")).split(", ")))
