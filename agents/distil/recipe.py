"""What the training of a small policy by a large one depends on, but the code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workgym.agents.focal.recipe import check_digest
from workgym.agents.recipe import ACTIVATIONS, BaseRecipe
from workgym.services.kernel import BadInput, did_you_mean

ALGORITHM = "distil"


@dataclass(frozen=True)
class DistilRecipe(BaseRecipe):
    """A student that plays, and learns in every situation it meets what its teacher would do there.

    Examples of the teacher's own play would not show how to recover from the student's mistakes.

    Source: Ross, Gordon and Bagnell (2011), "A reduction of imitation learning and structured prediction
    to no-regret online learning", without its growing memory: the gym never runs out of situations.

    Attributes:
        env_id: Gymnasium id of a task of choices.
        algorithm: `distil`.
        env_kwargs: how the env is made.
        seed: names this training; another one shows how much of a result is luck.
        teacher: digest of the saved policy, `workgym.agents.policy.files_digest`.
        rounds: how often the student plays, then learns. 20 to 200.
        chunk_rounds: rounds between two checkpoints; each begins new episodes.
        lanes: worlds that are played side by side. 128 to 1,024.
        n_steps: decisions a lane in each round. 16 to 128.
        teacher_share: of the lanes, how many the teacher plays itself. In the first round it plays all.
        minibatch: decisions in one gradient step. 512 to 4,096.
        epochs: passes over each round. 1 to 8.
        learning_rate: Adam's. 1e-3 to 1e-2.
        final_rate: share of the learning rate that is left at the end of a linear descent.
        temperature: the teacher's logits are divided by it. Below 1 the student learns what it decides,
            above 1 what it was torn between, too. 0.25 to 4.
        net: hidden layers of the student. (8,) to (32, 32).
        activation: `relu` or `tanh`.
    """

    ALGORITHMS: ClassVar[tuple[str, ...]] = (ALGORITHM,)
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        **BaseRecipe.RANGES,
        "rounds": (1, 10**7),
        "chunk_rounds": (1, 10**7),
        "lanes": (1, 65536),
        "n_steps": (1, 65536),
        "teacher_share": (0.0, 1.0),
        "minibatch": (1, 10**7),
        "epochs": (1, 1000),
        "learning_rate": (1e-8, 1.0),
        "final_rate": (0.0, 1.0),
        "temperature": (1e-3, 1e3),
    }

    algorithm: str = ALGORITHM
    teacher: str = ""
    rounds: int = 60
    chunk_rounds: int = 20
    lanes: int = 512
    n_steps: int = 32
    teacher_share: float = 0.25
    minibatch: int = 1024
    epochs: int = 3
    learning_rate: float = 5e-3
    final_rate: float = 0.0
    temperature: float = 1.0
    net: tuple[int, ...] = (16, 16)
    activation: str = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation not in ACTIVATIONS:
            raise BadInput(did_you_mean("activation", self.activation, list(ACTIVATIONS)))
        check_digest("teacher", self.teacher)

    @property
    def chunks(self) -> int:
        """Chunks of the whole training."""
        return -(-self.rounds // self.chunk_rounds)

    def span(self, k: int) -> range:
        """The rounds of chunk k."""
        return range(k * self.chunk_rounds, min((k + 1) * self.chunk_rounds, self.rounds))


@dataclass(frozen=True)
class DistilReport:
    """How one chunk went.

    Attributes:
        steps: decisions it learned from.
        cpu_seconds: processor time of this process.
        mean_return: cents an episode, of student and teacher as the recipe mixes them.
        agreement: share of decisions of the last round in which the student chose, before it learned from
            them, what the teacher would.
        divergence: mean KL(teacher || student) of the last round, in nats, over its last pass.
    """

    steps: int
    cpu_seconds: float
    mean_return: float
    agreement: float
    divergence: float
