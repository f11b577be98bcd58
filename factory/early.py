"""Stops the evaluation of a candidate that no release can want any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workgym.factory.judging import Opponent
from workgym.factory.pipeline import Pipeline, ReleaseSpec
from workgym.factory.records import Outcome, Scorecard
from workgym.factory.sequential import Looks
from workgym.factory.shards import like

PARTIAL = (
    "no-harm"  # with this gate a candidate that fails may still serve the families that it does not harm
)


@dataclass(frozen=True)
class Early:
    """Looks at what has been played so far, with the gates that may decide at any look.

    Attributes:
        pipeline: whose releases there are.
        opponents: whom the candidate would replace, one a release, in the pipeline's order.
        whole: scenarios of the suite.
        tried: how many candidates there are.
    """

    pipeline: Pipeline
    opponents: Sequence[Opponent]
    whole: int
    tried: int

    def stop(self, card: Scorecard) -> bool:
        """Whether a gate of every release has failed the candidate for good.

        A pass never stops: who may serve is measured on the whole suite.
        """
        asked = zip(self.pipeline.releases, self.opponents, strict=True)
        return all(self._failed(release, opponent, card) for release, opponent in asked)

    def _failed(self, release: ReleaseSpec, opponent: Opponent, card: Scorecard) -> bool:
        gates = self.pipeline.gates_of(release)
        if opponent.version is not None and PARTIAL in gates:
            return False
        looks = Looks(gates, self.whole, self.tried, bootstrap=opponent.version is None)
        return Outcome.FAIL in looks.look(card, like(opponent.card, card)).values()


def opposite(opponent: Opponent, card: Scorecard, whole: int) -> Scorecard:
    """The opponent's results on what a candidate has played, if that was stopped early."""
    return like(opponent.card, card) if card.n + card.dropped < whole else opponent.card
