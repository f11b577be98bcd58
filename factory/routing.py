"""A candidate that harms some families serves the others, behind a router that keeps the champion there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np

from workgym.agents.policy import load_policy
from workgym.agents.routers import ByFamily, Saved
from workgym.factory.gates import judge, known_gates
from workgym.factory.lab import Lab
from workgym.factory.partial import COLUMNS, PartialPlan, compose, propose_partial
from workgym.factory.records import Scorecard, Verdict
from workgym.services.kernel import BadInput, Conflict

Gates = Mapping[str, Mapping[str, Any]]


def propose(
    candidate: Scorecard, champion: Scorecard, gates: Gates, verdicts: tuple[Verdict, ...], tried: int
) -> PartialPlan | None:
    """Where a candidate may serve that `no-harm` holds back, or None.

    Args:
        candidate: its results.
        champion: of whom it would replace.
        gates: options by gate name.
        verdicts: what the gates said of the candidate alone.
        tried: how many candidates there are.
    """
    held = {verdict.gate for verdict in verdicts if not verdict.passed}
    if "no-harm" not in held:
        return None
    return propose_partial(candidate, champion, _of_kind(gates, plays=False), tried)


def router(
    name: str, champion: Mapping[str, bytes], candidate: Mapping[str, bytes], plan: PartialPlan
) -> dict[str, bytes]:
    """The files of a policy that leaves the plan's kept families to the champion.

    Raises:
        BadInput: the two see the env differently, or a kind of policy cannot be put behind a router.
    """
    parts = [load_policy(files) for files in (champion, candidate)]
    for part in parts:
        if not hasattr(part, "save"):
            raise BadInput(f"expected policies that can be saved anew, found {type(part).__name__}")
    kept, other = (cast("Saved", part) for part in parts)
    return ByFamily(name, kept, other, plan.kept).save()


def require_as_planned(
    played: Scorecard, candidate: Scorecard, champion: Scorecard, plan: PartialPlan
) -> None:
    """Refuse a router that does not play what its plan was judged on.

    Raises:
        Conflict: a scenario differs.
    """
    planned = compose(candidate, champion, plan.kept)
    for column in COLUMNS:
        if not np.array_equal(getattr(played, column), getattr(planned, column)):
            raise Conflict(
                f"expected a router to play as its two policies do, found another {column}; "
                "their answers depend on more than the scenario, so they cannot share it"
            )


def judge_router(
    card: Scorecard, champion: Scorecard, gates: Gates, plan: PartialPlan, tried: int, lab: Lab
) -> tuple[Verdict, ...]:
    """The plan's verdicts, which the choice of families had no say in, and those of the gates that play."""
    planned = [
        replace(verdict, candidate=card.policy, champion=champion.policy, suite=card.suite)
        for verdict in plan.verdicts
    ]
    played = judge(card, champion, _of_kind(gates, plays=True), tried, lab=lab)
    by_gate = {verdict.gate: verdict for verdict in (*planned, *played)}
    return tuple(by_gate[name] for name in gates if name in by_gate)


def _of_kind(gates: Gates, plays: bool) -> dict[str, Mapping[str, Any]]:
    known = known_gates()
    return {name: options for name, options in gates.items() if known[name].plays == plays}
