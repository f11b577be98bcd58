"""A training whose recipe changes on its way, as population-based training finds them.

    recipe = make_recipe({
        "algorithm": "schedule",
        "env_id": "workgym/Orders-v0",
        "base": {"algorithm": "maskable-ppo", "steps": 1_600_000},
        "stages": [{"start": 0, "changes": {"gamma": 0.9}}, {"start": 2, "changes": {"gamma": 0.95}}],
    })

Each chunk is one of the recipe that holds then, so a schedule is a chain of pure chunks like any other,
and replays to the same weights without whoever found it. The state passes from one recipe to the next by
`continued`, which checks whose it is and stamps it anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from workgym.agents.states import opened, state_bytes
from workgym.services.kernel import BadInput, did_you_mean

ALGORITHM = "schedule"

# Fields that may change between two chunks: nothing in a state and no number of chunks hangs on them.
MOVABLE = (
    "minibatch",
    "epochs",
    "learning_rate",
    "final_rate",
    "gamma",
    "gae_lambda",
    "ent_coef",
    "clip",
    "vf_coef",
    "max_grad_norm",
    "refusal_cost",
    "violation_cost",
    "focal_weight",
    "focal_batch",
    "scatter",
)


class Stage(NamedTuple):
    """From which chunk on which recipe holds.

    Attributes:
        start: first chunk of the stage.
        changes: what its recipe has in place of the base's fields.
        parent: SHA-256 of the state before it, where it was found; empty at the beginning, or unknown.
    """

    start: int
    changes: Mapping[str, Any]
    parent: str = ""


@dataclass(frozen=True)
class ScheduleRecipe:
    """A training in stages.

    Attributes:
        env_id: Gymnasium id.
        algorithm: `schedule`; the base names the one that learns.
        env_kwargs: how the env is made.
        seed: names this training, in all stages.
        base: fields of the recipe that the stages change.
        stages: in the order of their first chunks; the first begins at 0. Only `MOVABLE` fields change.
    """

    env_id: str
    algorithm: str = ALGORITHM
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    base: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] = (Stage(0, {}),)

    def __post_init__(self) -> None:
        if self.algorithm != ALGORITHM:
            raise BadInput(did_you_mean("algorithm", self.algorithm, [ALGORITHM]))
        object.__setattr__(self, "stages", tuple(map(_stage, self.stages)))
        starts = [stage.start for stage in self.stages]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise BadInput(f"expected stages that start at chunk 0 and grow, found {starts}")
        if (lengths := {one.chunks for one in self.recipes}) != {self.chunks}:
            raise BadInput(f"expected stages of recipes with as many chunks, found {sorted(lengths)}")
        if starts[-1] >= self.chunks:
            raise BadInput(f"expected stages within {self.chunks} chunks, found one from {starts[-1]} on")

    @cached_property
    def recipes(self) -> tuple[Any, ...]:
        """The recipe of each stage."""
        from workgym.agents.training import make_recipe  # it knows all kinds of recipes, this one too

        if self.base.get("algorithm") == ALGORITHM:
            raise BadInput("expected the recipe of a learner as base of a schedule, found a schedule")
        own = {"env_id": self.env_id, "env_kwargs": dict(self.env_kwargs), "seed": self.seed}
        return tuple(make_recipe({**self.base, **stage.changes, **own}) for stage in self.stages)

    @property
    def chunks(self) -> int:
        """Chunks of the whole training."""
        return int(self.recipes[0].chunks)

    def at(self, k: int) -> Any:
        """The recipe of chunk k."""
        return next(
            recipe
            for stage, recipe in zip(self.stages[::-1], self.recipes[::-1], strict=True)
            if stage.start <= max(k, 0)
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON knows them; `make_recipe` reads them."""
        stages = [stage._asdict() | {"changes": dict(stage.changes)} for stage in self.stages]
        plain = {"env_kwargs": dict(self.env_kwargs), "base": dict(self.base), "stages": stages}
        return {"env_id": self.env_id, "algorithm": self.algorithm, "seed": self.seed, **plain}

    def digest(self) -> str:
        """Content hash; equal recipes train equal policies."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def _stage(given: Any) -> Stage:
    try:
        stage = Stage(**given) if isinstance(given, Mapping) else Stage(*given)
        whole = isinstance(stage.start, int) and isinstance(stage.changes, Mapping)
    except TypeError as error:
        raise BadInput(f"expected a stage of a schedule, found {given!r}: {error}") from error
    if not whole or not isinstance(stage.parent, str):
        raise BadInput(f"expected start, changes and parent as a stage of a schedule, found {given!r}")
    for name in stage.changes:
        if name not in MOVABLE:
            raise BadInput(did_you_mean("field that may change within a training", name, list(MOVABLE)))
    return stage


def continued(state: bytes, k: int, before: Any, after: Any) -> bytes:
    """The state after k chunks, of one recipe, as another goes on from it.

    Raises:
        BadInput: it is damaged, not of the first recipe, or not the one after k chunks.
    """
    tensors, whose, done = opened(state)
    if (whose, done) != (before.digest(), k):
        raise BadInput(
            f"expected the state of recipe {before.digest()[:12]} after {k} chunks, "
            f"found one of {whose[:12]} after {done}"
        )
    return state_bytes(after, k, tensors)


def initial_state(recipe: ScheduleRecipe, *inputs: Mapping[str, bytes]) -> bytes:
    """The state before the first chunk: that of the first stage's recipe."""
    from workgym.agents import training

    first = recipe.at(0)
    return training.initial_state(first, dict(zip(training.needs(first), inputs, strict=True)))


def train_chunk(recipe: ScheduleRecipe, k: int, state: bytes) -> tuple[bytes, Any]:
    """Play chunk k from the state after k chunks, under the recipe that holds then.

    Raises:
        BadInput: the state is damaged, not of the recipe before, or not the one after k chunks.
    """
    from workgym.agents import training

    before, now = recipe.at(k - 1), recipe.at(k)
    if now != before:
        state = continued(state, k, before, now)
    return training.train_chunk(now, k, state)


def policy_from(recipe: ScheduleRecipe, state: bytes, name: str = "") -> dict[str, bytes]:
    """The policy in a state, as files that `workgym.agents.policy.load_policy` reads.

    Raises:
        BadInput: the state is damaged or of another recipe.
    """
    from workgym.agents import training

    _, _, k = opened(state)
    name = name or f"{recipe.algorithm}-{recipe.digest()[:12]}"
    return training.policy_from(recipe.at(k - 1), state, name)


def stages_of(lineage: Sequence[tuple[int, Mapping[str, Any], str]]) -> tuple[Stage, ...]:
    """Stages from what held at each chunk: (k, changes, digest of the state before it)."""
    stages: list[Stage] = []
    for k, changes, parent in lineage:
        if not stages or stages[-1].changes != changes:
            stages.append(Stage(k, dict(changes), parent if k else ""))
    return tuple(stages)
