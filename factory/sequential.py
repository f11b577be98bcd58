"""Deciding along the way: scenarios are played in an order committed before the first episode.

    order = committed_order(suite, release)      # play suite.scenarios[at] for at in order
    looks = Looks({"improvement": {}, "flips": {}, "no-harm": {}}, whole=len(order), candidates=4)
    answers = looks.look(candidate_so_far, champion_so_far)
    if looks.may_stop(answers): ...

One may look after every block, and stop at any time for any reason: the sequential gates stay within their
error. Both scorecards must hold the same contiguous prefix of the committed order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workgym.factory.gates import configure, known_gates
from workgym.factory.records import Outcome, Scorecard, Verdict
from workgym.factory.statistics import blocks
from workgym.services.scenario import Suite


def committed_order(suite: Suite, release: str) -> list[int]:
    """Positions of the suite in the order in which this release plays them.

    Blocks (one scenario of every family) are permuted by a hash of the release and the suite, so nobody
    chooses what is seen first; within a block the families keep their turns. Scenarios that fill no
    block come last.

    Args:
        suite: what is played.
        release: what the order is committed to, the id of a run for instance.
    """
    families = [scenario.family for scenario in suite.scenarios]
    whole, digest = blocks(families), suite.digest

    def drawn(block: int) -> str:
        return hashlib.sha256(f"{release}\n{digest}\n{block}".encode()).hexdigest()

    order = [int(at) for block in sorted(range(len(whole)), key=drawn) for at in whole[block]]
    return order + sorted(set(range(len(families))) - set(order))


@dataclass(frozen=True)
class Looks:
    """What the gates say while scenarios come in.

    Attributes:
        gates: options by gate name, as `judge` takes them.
        whole: scenarios of the whole suite.
        candidates: how many are tried on this suite.
        bootstrap: whether there is no champion yet, so that the gate `bootstrap` is asked at the end.
    """

    gates: Mapping[str, Mapping[str, Any]]
    whole: int
    candidates: int = 1
    bootstrap: bool = False

    def look(self, candidate: Scorecard, champion: Scorecard) -> dict[str, Outcome | None]:
        """Each gate's decision, or None while it has none.

        Only a gate that is entered as sequential decides before the suite is over; the others are asked then,
        by `judge`. A candidate that differed nowhere so far may still differ.

        Args:
            candidate: its results on the scenarios played so far, in the committed order.
            champion: the champion's on the same ones.

        Raises:
            BadInput: the two do not hold the same scenarios, or there is no such gate or option.
        """
        known = known_gates()
        options = configure(self.gates, self.candidates)
        early = [name for name in self.gates if known[name].sequential]
        told = {name: known[name](candidate, champion, options[name]) for name in early}
        over = candidate.n + candidate.dropped >= self.whole
        settled = candidate.n >= 2 * len(set(candidate.family))  # less may not hold every family yet
        names = [*self.gates, *(["bootstrap"] if self.bootstrap else [])]
        return {
            name: _decided(told[name], over, settled) if name in told else None
            for name in dict.fromkeys(names)
        }

    def may_stop(self, answers: Mapping[str, Outcome | None]) -> bool:
        """Whether the rest of the suite cannot change what becomes of the candidate: a fail, or all pass."""
        decided = list(answers.values())
        return Outcome.FAIL in decided or all(outcome is Outcome.PASS for outcome in decided)


def _decided(verdict: Verdict, over: bool, settled: bool) -> Outcome | None:
    return verdict.outcome if over or (settled and verdict.numbers.get("n_used")) else None
