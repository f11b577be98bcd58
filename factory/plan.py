"""From a pipeline to the trainings that it asks for, each with an identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from workgym.agents.policy import VIEW
from workgym.agents.presets import PRESETS
from workgym.agents.training import AnyRecipe, make_recipe
from workgym.factory.pipeline import Pipeline, VariantSpec
from workgym.services.kernel import BadInput, did_you_mean

_TRAINS = ("services", "envs", "agents")  # folders whose code decides what a training produces


@dataclass(frozen=True)
class Job:
    """One training: a variant with a seed.

    Attributes:
        variant: the variant's name.
        purpose: what the variant is for.
        recipe: everything that the training depends on, but the code.
        digest: content hash of recipe and code; equal digests give equal weights.
    """

    variant: str
    purpose: str
    recipe: AnyRecipe
    digest: str

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.variant}/{self.recipe.seed}"


def plan(pipeline: Pipeline) -> list[Job]:
    """Every (variant, seed) of a pipeline.

    Raises:
        BadInput: a variant names an unknown preset or a field that recipes do not have.
    """
    return [
        _job(pipeline, variant, seed)
        for variant in pipeline.variants
        for seed in (variant.seeds or pipeline.training.seeds)
    ]


def _job(pipeline: Pipeline, variant: VariantSpec, seed: int) -> Job:
    if variant.preset is not None and variant.preset not in PRESETS:
        raise BadInput(did_you_mean("preset", variant.preset, sorted(PRESETS)))
    preset = PRESETS[variant.preset] if variant.preset else {}
    fields: dict[str, Any] = {**preset, **pipeline.training.recipe, **variant.recipe}
    for name in variant.view:
        if name not in VIEW:
            raise BadInput(did_you_mean(f"part of the view of {variant.name}", name, list(VIEW)))
    env_kwargs = {**pipeline.env_kwargs, **variant.view}
    fields |= {"env_id": pipeline.env, "env_kwargs": env_kwargs, "seed": seed}
    recipe = make_recipe(fields)
    whole = hashlib.sha256((recipe.digest() + code_digest()).encode()).hexdigest()
    return Job(variant.name, variant.purpose, recipe, whole)


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Content hash of the code and the libraries that a training runs."""
    root = Path(__file__).resolve().parent.parent
    whole = hashlib.sha256(
        json.dumps(_libraries(("torch", "stable-baselines3", "sb3-contrib", "numpy"))).encode()
    )
    for folder in _TRAINS:
        for path in sorted((root / folder).rglob("*.py")):
            whole.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def _libraries(names: Iterable[str]) -> dict[str, str]:
    return {name: version(name) for name in names}
