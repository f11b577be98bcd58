"""What a training depends on, but the code: of every kind, and by PPO."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from workgym.services.kernel import BadInput, did_you_mean

ALGORITHMS = ("maskable-ppo", "ppo")
ACTIVATIONS = ("relu", "tanh")
CHECKPOINTS = ("boundary", "full")
IN_PROCESS = ("twin", "embedded")  # backends whose lanes a state can carry along


@dataclass(frozen=True)
class BaseRecipe:
    """What the recipes of all learners of nets have in common.

    A subclass names its `ALGORITHMS`, and in `RANGES` the inclusive range of every number: what lies
    outside has no meaning, or stops learning altogether.

    Attributes:
        env_id: Gymnasium id.
        algorithm: one of `ALGORITHMS`.
        env_kwargs: how the env is made.
        seed: names this training; another one shows how much of a result is luck.
        net: hidden layers.
    """

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {"seed": (0, 2**31 - 1)}
    ALGORITHMS: ClassVar[tuple[str, ...]]

    env_id: str
    algorithm: str = ""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    net: tuple[int, ...] = (64, 64)

    def __post_init__(self) -> None:
        if self.algorithm not in self.ALGORITHMS:
            raise BadInput(did_you_mean("algorithm", self.algorithm, list(self.ALGORITHMS)))
        for name, (low, high) in self.RANGES.items():
            kind, value = type(self.__dataclass_fields__[name].default), getattr(self, name)
            right = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
            if not right or not low <= value <= high:
                what = "a whole number" if kind is int else "a number"
                raise BadInput(f"expected {what} in {low:g}..{high:g} as {name}, found {value!r}")
        if not self.net or not all(isinstance(n, int) and 1 <= n <= 4096 for n in self.net):
            raise BadInput(f"expected hidden layers of 1 to 4096 units as net, found {self.net}")

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON knows them; `make_recipe` reads them."""
        return asdict(self) | {"env_kwargs": dict(self.env_kwargs), "net": list(self.net)}

    def digest(self) -> str:
        """Content hash; equal recipes train equal policies."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Recipe(BaseRecipe):
    """Everything that a training depends on, but the code.

    Usual ranges are those of Andrychowicz et al. (2021), "What matters in on-policy reinforcement
    learning?", and of Huang et al. (2022), "The 37 implementation details of PPO"; where the default
    differs, `benchmarks/README.md` has the measurement.

    Attributes:
        env_id: Gymnasium id of a task with a native vector env.
        algorithm: `maskable-ppo` samples legal actions only (Huang and Ontañón 2022, "A closer look
            at invalid action masking"). `ppo` samples any, an illegal one is refused at
            `refusal_cost`; it is there to be compared with. Both act masked once they are trained.
        env_kwargs: how the env is made.
        seed: names this training; another one shows how much of a result is luck.
        steps: steps to learn from, over all lanes. Profit rises with their logarithm. A step is one
            decision, or as many as the task has rows.
        chunk_steps: decisions between two checkpoints, rounded up to whole rollouts. Shorter ones
            lose less to a kill; each begins new episodes, so it should hold several of them a lane.
        lanes: worlds that are played side by side. More make a step cheaper until about 1,024; fewer
            see longer stretches of each episode in a rollout. 64 to 2,048.
        n_steps: decisions a lane before each update. Longer ones follow rewards further and update
            less often. Times `lanes`, 8,192 to 65,536.
        minibatch: steps in one gradient step; divides `lanes * n_steps`. Small ones learn more from a
            rollout and cost more a row: 64 is five times dearer than 4,096. 2,048 to 8,192.
        epochs: passes over each rollout. More squeeze it further and drift from the policy that
            played it; watch `approx_kl`. 2 to 10.
        learning_rate: Adam's. Too large shows as a jumping `approx_kl`, too small as a straight
            slow curve. 3e-4 to 3e-3.
        final_rate: share of the learning rate that is left at the end of a linear descent. 0 settles
            the policy; 1 keeps it constant, for trainings that will be continued.
        gamma: how much the next decision's reward counts; 1 / (1 - gamma) decisions is how far the
            policy looks ahead. Small ones learn faster from less. 0.9 to 0.999.
        gae_lambda: 1 trusts the rewards that followed, 0 the value network. 0.8 to 0.98.
        ent_coef: reward for keeping options open. Too large keeps it undecided, too small lets it
            settle on the first rule that works. 0 to 0.02.
        clip: how far one update may move an action's probability. 0.1 to 0.3.
        vf_coef: weight of the value network's loss; without shared layers it hardly matters. 0.25 to 1.
        max_grad_norm: longer gradients are shortened to this. 0.5 to 10.
        net: hidden layers of the policy and of the value network. Wider ones decide finer and cost
            time here and latency there. (32,) to (256, 256).
        activation: `relu` or `tanh`. tanh costs a third of the training's speed.
        refusal_cost: what a refused action costs `ppo`, in the learner's unit. 0.01 to 1.
        violation_cost: cents that a violated constraint costs the learner on top of the reward. 0 learns
            profit alone; more keeps more promises for less profit. 0 to 2,000.
        checkpoint: what a state carries from one chunk to the next. `boundary`: weights and moments; every
            chunk begins new episodes, so a service that the factory does not own can be learned from.
            `full`: the running episodes and the random generators too, so that cutting a training into
            chunks changes nothing; for backends in this process.
    """

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        **BaseRecipe.RANGES,
        "steps": (1, 10**12),
        "chunk_steps": (1, 10**10),
        "lanes": (1, 65536),
        "n_steps": (2, 65536),
        "minibatch": (2, 10**7),
        "epochs": (1, 100),
        "learning_rate": (1e-8, 1.0),
        "final_rate": (0.0, 1.0),
        "gamma": (0.0, 1.0),
        "gae_lambda": (0.0, 1.0),
        "ent_coef": (0.0, 1.0),
        "clip": (1e-3, 1.0),
        "vf_coef": (0.0, 10.0),
        "max_grad_norm": (1e-6, 1e6),
        "refusal_cost": (0.0, 100.0),
        "violation_cost": (0, 10**6),
    }
    ALGORITHMS: ClassVar[tuple[str, ...]] = ALGORITHMS

    algorithm: str = "maskable-ppo"
    steps: int = 1_600_000
    chunk_steps: int = 400_000
    lanes: int = 512
    n_steps: int = 64
    minibatch: int = 4096
    epochs: int = 3
    learning_rate: float = 3e-3
    final_rate: float = 0.0
    gamma: float = 0.95
    gae_lambda: float = 0.9
    ent_coef: float = 0.003
    clip: float = 0.2
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    activation: str = "relu"
    refusal_cost: float = 0.1
    violation_cost: int = 0
    checkpoint: str = "boundary"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation not in ACTIVATIONS:
            raise BadInput(did_you_mean("activation", self.activation, list(ACTIVATIONS)))
        if self.checkpoint not in CHECKPOINTS:
            raise BadInput(did_you_mean("checkpoint", self.checkpoint, list(CHECKPOINTS)))
        backend = self.env_kwargs.get("backend", "twin")
        if self.checkpoint == "full" and backend not in IN_PROCESS:
            raise BadInput(
                f"expected backend {' or '.join(IN_PROCESS)} with checkpoint 'full', found {backend!r}; "
                f"leave checkpoint at 'boundary'"
            )
        if self.rollout % self.minibatch:
            raise BadInput(
                f"expected a minibatch that divides lanes * n_steps = {self.rollout}, found {self.minibatch}"
            )

    @property
    def rollout(self) -> int:
        """Decisions between two updates."""
        return self.lanes * self.n_steps

    @property
    def rollouts(self) -> int:
        """Updates in one chunk."""
        return -(-min(self.chunk_steps, self.steps) // self.rollout)

    @property
    def chunks(self) -> int:
        """Chunks of the whole training."""
        return -(-self.steps // (self.rollouts * self.rollout))

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON knows them, without a `checkpoint` at a boundary."""
        whole = super().to_dict()
        return {name: value for name, value in whole.items() if (name, value) != ("checkpoint", "boundary")}
