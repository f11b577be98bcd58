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
    whole = blocks(families)

    def drawn(block: int) -> str:
        return hashlib.sha256(f"{release}\n{suite.digest}\n{block}".encode()).hexdigest()

    order = [int(at) for block in sorted(range(len(whole)), key=drawn) for at in whole[block]]
    return order + sorted(set(range(len(families))) - set(order))
