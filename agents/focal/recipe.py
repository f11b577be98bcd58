"""What a positive-congruent update depends on, but the code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from workgym.agents.recipe import Recipe
from workgym.services.kernel import BadInput

ALGORITHM = "focal-ppo"
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FocalRecipe(Recipe):
    """Masked PPO that begins as another policy, the teacher, and is held to it where the teacher succeeds.

    Every gradient step adds `focal_weight` times the mean divergence KL(teacher || policy) over decisions
    that the teacher took in seasons of the train split which it handles. Seasons that it fails hold
    nothing back. The gate says which weight is right: sweep it.

    The value network is not part of a saved policy and begins anew; until it can tell good from bad
    its advice would destroy what the policy knows, so the policy stands still for `value_rollouts`.

    Source: Yan et al. (2021), "Positive-congruent training", arXiv 2011.09161.

    Attributes:
        teacher: digest of the saved policy that is updated, `workgym.agents.policy.files_digest`. `net`
            and `activation` must be its own.
        focal_weight: 0 is plain fine-tuning; more flips less and gains less. 0.1 to 3.
        focal_temperature: the teacher's logits are divided by it. At 1 the policy keeps the teacher's doubts,
            too, which it never acts on; lower holds it to what the teacher does. 0.1 to 1.
        focal_seasons: seasons of each family that are looked through for what the teacher handles.
        focal_kwargs: what differs in the env of those seasons from `env_kwargs`: where the teacher serves
            today, while the update plays what is new.
        focal_rows: decisions that are kept of them.
        focal_batch: of those, how many in each gradient step.
        value_rollouts: rollouts in which the value network alone learns. 2 to 10.
    """

    ALGORITHMS: ClassVar[tuple[str, ...]] = (ALGORITHM,)
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        **Recipe.RANGES,
        "focal_weight": (0.0, 1000.0),
        "focal_temperature": (1e-3, 1e3),
        "focal_seasons": (1, 10_000),
        "focal_rows": (1, 10**7),
        "focal_batch": (1, 10**6),
        "value_rollouts": (0, 10**6),
    }

    algorithm: str = ALGORITHM
    teacher: str = ""
    focal_weight: float = 0.0
    focal_temperature: float = 0.25
    focal_seasons: int = 64
    focal_kwargs: Mapping[str, Any] = field(default_factory=dict)
    focal_rows: int = 30_000
    focal_batch: int = 1024
    value_rollouts: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_digest("teacher", self.teacher)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON knows them."""
        return super().to_dict() | {"focal_kwargs": dict(self.focal_kwargs)}


def check_digest(field: str, value: object) -> None:
    """Refuse what is no digest of a saved policy.

    Raises:
        BadInput: it is none.
    """
    if not isinstance(value, str) or not DIGEST.fullmatch(value):
        raise BadInput(f"expected the digest of a saved policy, 64 hex digits, as {field}, found {value!r}")
