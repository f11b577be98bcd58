"""What a training by RLlib's PPO depends on, but the code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workgym.agents.recipe import Recipe
from workgym.services.kernel import BadInput

ALGORITHM = "rllib-ppo"


@dataclass(frozen=True)
class RllibRecipe(Recipe):
    """A training by RLlib's PPO; the fields that it shares with `Recipe` mean the same.

    Attributes:
        algorithm: `rllib-ppo` samples legal actions only. Advantages are standardised over a rollout,
            not over a minibatch, and Adam's epsilon is torch's own.
        env_runners: processes that play, of one thread each. 0 plays in the learner's process and needs
            no Ray; 1 learns the same weights, bit by bit. More divide `lanes` and `n_steps * lanes`
            stays one rollout; they pay where a step costs more than what it takes to send it.
        checkpoint: `boundary`.
    """

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {**Recipe.RANGES, "env_runners": (0, 64)}
    ALGORITHMS: ClassVar[tuple[str, ...]] = (ALGORITHM,)

    algorithm: str = ALGORITHM
    env_runners: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint != "boundary":
            raise BadInput(
                f"expected checkpoint 'boundary' with {ALGORITHM}, found {self.checkpoint!r}; "
                "actors do not hand over their running episodes"
            )
        if self.env_runners and self.lanes % self.env_runners:
            raise BadInput(
                f"expected lanes that {self.env_runners} env runners share evenly, found {self.lanes}"
            )
