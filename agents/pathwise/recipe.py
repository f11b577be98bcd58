"""What a training through the simulator depends on, but the code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from workgym.services.kernel import BadInput, did_you_mean

ALGORITHM = "pathwise"
ROUNDINGS = ("smooth", "whole")


@dataclass(frozen=True)
class PathwiseRecipe:
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

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "seed": (0, 2**31 - 1),
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

    env_id: str
    algorithm: str = ALGORITHM
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
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
        if self.algorithm != ALGORITHM:
            raise BadInput(did_you_mean("algorithm", self.algorithm, [ALGORITHM]))
        if self.rounding not in ROUNDINGS:
            raise BadInput(did_you_mean("rounding", self.rounding, list(ROUNDINGS)))
        for name, (low, high) in self.RANGES.items():
            value = getattr(self, name)
            whole = isinstance(self.__dataclass_fields__[name].default, int)
            right = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
            if not right or not low <= value <= high:
                kind = "a whole number" if whole else "a number"
                raise BadInput(f"expected {kind} in {low:g}..{high:g} as {name}, found {value!r}")
        if not self.net or not all(isinstance(n, int) and 1 <= n <= 4096 for n in self.net):
            raise BadInput(f"expected hidden layers of 1 to 4096 units as net, found {self.net}")
        if self.window and self.tail >= self.window:
            raise BadInput(f"expected a tail within the window of {self.window}, found {self.tail}")

    @property
    def chunks(self) -> int:
        """Chunks of the whole training."""
        return -(-self.updates // self.chunk_updates)

    def span(self, k: int) -> range:
        """The updates of chunk k."""
        return range(k * self.chunk_updates, min((k + 1) * self.chunk_updates, self.updates))

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON knows them."""
        return asdict(self) | {"env_kwargs": dict(self.env_kwargs), "net": list(self.net)}

    def digest(self) -> str:
        """Content hash; equal recipes train equal policies."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


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
