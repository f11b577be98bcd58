"""What a training through the simulator depends on, but the code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workgym.agents.recipe import BaseRecipe
from workgym.services.kernel import BadInput, did_you_mean

ALGORITHM = "pathwise"
ROUNDINGS = ("smooth", "whole")


@dataclass(frozen=True)
class PathwiseRecipe(BaseRecipe):
    """A training that follows the gradient of an episode's money by the policy's weights.

    Attributes:
        env_id: Gymnasium id of a supply chain.
        algorithm: `pathwise`.
        env_kwargs: how the env is made; with rows, `{"observation": "rows", "actions": "box"}`.
        seed: names this training; another one shows how much of a result is luck.
        updates: gradient steps. A few hundred find the policy, some more its last tenth of a percent.
        chunk_updates: gradient steps between two checkpoints.
        lanes: episodes of one gradient step. More make it steadier and cost time. 32 to 1,024.
        window: periods of one gradient step, on an endless horizon where one follows on another; 0 for
            whole episodes. A few times the longest lead time.
        tail: last periods of a window, or of nothing, whose decisions teach nothing: their consequences
            lie beyond. About the lead time and a few periods more.
        warm_up: periods that are played before the first window of a chunk.
        scatter: share of lanes that begin with another stock than the network's. 0 knows the beaten
            track alone.
        learning_rate: Adam's. 1e-3 to 1e-2.
        final_rate: share of the learning rate that is left at the end of a half cosine.
        max_grad_norm: longer gradients are shortened to this; usual ones are around 0.05.
        net: hidden layers.
        rounding: `smooth` learns from fractions of units; `whole` plays whole packs, and passes the gradient
            as if they were fractions. `whole` for goods that sell less than a few units a period.
    """

    ALGORITHMS: ClassVar[tuple[str, ...]] = (ALGORITHM,)
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        **BaseRecipe.RANGES,
        "updates": (1, 10**7),
        "chunk_updates": (1, 10**7),
        "lanes": (1, 65536),
        "window": (0, 10_000),
        "tail": (0, 1_000),
        "warm_up": (0, 10_000),
        "scatter": (0.0, 1.0),
        "learning_rate": (1e-8, 1.0),
        "final_rate": (0.0, 1.0),
        "max_grad_norm": (1e-6, 1e6),
    }

    algorithm: str = ALGORITHM
    updates: int = 1000
    chunk_updates: int = 250
    lanes: int = 256
    window: int = 0
    tail: int = 0
    warm_up: int = 40
    scatter: float = 0.5
    learning_rate: float = 3e-3
    final_rate: float = 0.01
    max_grad_norm: float = 0.2
    net: tuple[int, ...] = (48, 48)
    rounding: str = "smooth"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounding not in ROUNDINGS:
            raise BadInput(did_you_mean("rounding", self.rounding, list(ROUNDINGS)))
        if self.window and self.tail >= self.window:
            raise BadInput(f"expected a tail within the window of {self.window}, found {self.tail}")

    @property
    def chunks(self) -> int:
        """Chunks of the whole training."""
        return -(-self.updates // self.chunk_updates)

    def span(self, k: int) -> range:
        """The updates of chunk k."""
        return range(k * self.chunk_updates, min((k + 1) * self.chunk_updates, self.updates))


@dataclass(frozen=True)
class PathwiseReport:
    """How one chunk went.

    Attributes:
        steps: decisions it learned from.
        cpu_seconds: processor time of this process.
        mean_return: money an episode, or a window, of its last tenth of updates.
        gradient: mean length of the gradient over the same updates.
    """

    steps: int
    cpu_seconds: float
    mean_return: float
    gradient: float
