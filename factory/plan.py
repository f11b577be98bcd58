"""From a pipeline to the trainings that it asks for, each with an identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from workgym.agents.focal.recipe import ALGORITHM as FOCAL
from workgym.agents.policy import HEADER, VIEW, files_digest
from workgym.agents.presets import PRESETS
from workgym.agents.training import AnyRecipe, make_recipe
from workgym.factory.pipeline import Pipeline, VariantSpec
from workgym.services.kernel import BadInput, did_you_mean

OF_THIS_RUN = "variant:"  # before the name of a teacher that the run itself trains
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


Files = Mapping[str, bytes]


def plan(pipeline: Pipeline, teachers: Mapping[str, Files] | None = None) -> list[Job]:
    """Every (variant, seed) of a pipeline whose teacher is there.

    Variants that are searched are not among them: `factory.search` plans those.

    Args:
        pipeline: what is asked for.
        teachers: files of saved policies by the name that `teacher_of` gives them.

    Raises:
        BadInput: a variant names an unknown preset or a field that recipes do not have.
    """
    known = teachers or {}
    return [
        job_of(pipeline, variant, seed, _taught(pipeline, variant, known[name]) if name else None)
        for variant, seed in _asked(pipeline)
        if (name := teacher_of(variant, seed)) is None or name in known
    ]


def teacher_of(variant: VariantSpec, seed: int) -> str | None:
    """Whom a training learns from: an alias, `version:3`, or `variant:` and a job's name; None: nobody."""
    of_this_run = variant.teacher is not None and variant.teacher.startswith(OF_THIS_RUN)
    return f"{variant.teacher}/{seed}" if of_this_run else variant.teacher


def teachers_of(pipeline: Pipeline) -> list[str]:
    """Everybody that its variants learn from, once."""
    return list(dict.fromkeys(filter(None, (teacher_of(*asked) for asked in _asked(pipeline)))))


def _taught(pipeline: Pipeline, variant: VariantSpec, teacher: Files) -> dict[str, Any]:
    """Fields of a recipe that follow from its teacher; an update has the net of whom it updates."""
    taught: dict[str, Any] = {"teacher": files_digest(teacher)}
    if _fields(pipeline, variant).get("algorithm") == FOCAL:
        header = json.loads(teacher.get(HEADER, b"{}"))
        taught |= {"net": header.get("hidden", []), "activation": header.get("activation", "")}
    return taught


def _asked(pipeline: Pipeline) -> Iterator[tuple[VariantSpec, int]]:
    for variant in pipeline.variants:
        if variant.search is None:
            for seed in seeds_of(pipeline, variant):
                yield variant, seed


def seeds_of(pipeline: Pipeline, variant: VariantSpec) -> tuple[int, ...]:
    """The seeds that a variant is trained with."""
    return variant.seeds or pipeline.training.seeds


def job_of(
    pipeline: Pipeline,
    variant: VariantSpec,
    seed: int,
    changes: Mapping[str, Any] | None = None,
    name: str = "",
) -> Job:
    """The training of a variant with a seed; `changes` to its recipe win over what the pipeline says.

    Raises:
        BadInput: the variant names an unknown preset or a field that recipes do not have.
    """
    fields = {**_fields(pipeline, variant), **(changes or {})}
    for part in variant.view:
        if part not in VIEW:
            raise BadInput(did_you_mean(f"part of the view of {variant.name}", part, list(VIEW)))
    env_kwargs = {**pipeline.env_kwargs, **variant.view}
    fields |= {"env_id": pipeline.env, "env_kwargs": env_kwargs, "seed": seed}
    return job_named(name or variant.name, variant.purpose, make_recipe(fields))


def _fields(pipeline: Pipeline, variant: VariantSpec) -> dict[str, Any]:
    """What a variant says of its recipe, with its preset and what all variants share."""
    if variant.preset is not None and variant.preset not in PRESETS:
        raise BadInput(did_you_mean("preset", variant.preset, sorted(PRESETS)))
    preset = PRESETS[variant.preset] if variant.preset else {}
    return {**preset, **pipeline.training.recipe, **variant.recipe}


def job_named(variant: str, purpose: str, recipe: AnyRecipe) -> Job:
    """The training of a recipe by the code that stands here."""
    return Job(variant, purpose, recipe, training_digest(recipe, code_digest()))


def training_digest(recipe: AnyRecipe, code: str) -> str:
    """What a training of a recipe by some code is known by; equal digests give equal weights."""
    return hashlib.sha256((recipe.digest() + code).encode()).hexdigest()


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Content hash of the code and the libraries that a training runs."""
    root = Path(__file__).resolve().parent.parent
    whole = hashlib.sha256(
        json.dumps(_libraries(("torch", "stable-baselines3", "sb3-contrib", "ray", "numpy"))).encode()
    )
    for folder in _TRAINS:
        for path in sorted((root / folder).rglob("*.py")):
            whole.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def _libraries(names: Iterable[str]) -> dict[str, str]:
    return {name: version(name) for name in names}
