"""Whom the variants of a run learn from: who serves, kept versions, and each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workgym.factory.entries import Run
from workgym.factory.pipeline import Pipeline
from workgym.factory.plan import OF_THIS_RUN, Files, Job, plan, teacher_of, teachers_of
from workgym.factory.registry import Registry
from workgym.factory.train import Trained
from workgym.services.kernel import BadInput

VERSION = "version:"


def kept_teachers(pipeline: Pipeline, registry: Registry, record: Run | None = None) -> dict[str, Files]:
    """The policies that variants learn from and that are in the registry, by the names they have in a plan.

    A run that is continued goes on with those that it began with, whoever serves by now.

    Raises:
        NotFound: there is no such version.
        Tampered: a policy's bytes are not those that were registered.
    """
    begun = _begun_with(pipeline, registry, record) if record else {}
    names = [name for name in teachers_of(pipeline) if not name.startswith(OF_THIS_RUN)]
    found = {name: begun.get(name) or _digest_of(registry, pipeline.name, name) for name in names}
    return {name: registry.artifacts.get_folder(digest) for name, digest in found.items() if digest}


def _digest_of(registry: Registry, model: str, name: str) -> str | None:
    if name.startswith(VERSION):
        return registry.version(model, int(name.removeprefix(VERSION))).artifact_digest
    serving = registry.champion(model, name)
    return serving.artifact_digest if serving else None


def _begun_with(pipeline: Pipeline, registry: Registry, record: Run) -> dict[str, str]:
    """Digests of the teachers that the run's trainings were started with."""
    variants = {variant.name: variant for variant in pipeline.variants}
    begun: dict[str, str] = {}
    for training in registry.trainings(record.id):
        variant = variants.get(training.variant)
        name = teacher_of(variant, training.seed) if variant else None
        if name and training.recipe.get("teacher"):
            begun[name] = str(training.recipe["teacher"])
    return begun


def train_in_turns(
    pipeline: Pipeline,
    known: Mapping[str, Files],
    found: Sequence[Job],
    train: Callable[[Sequence[Job]], list[Trained]],
    tell: Callable[[str], Any],
) -> list[Trained]:
    """Train every variant, those that learn from others after them; in the pipeline's order.

    Args:
        pipeline: what is asked for.
        known: policies of the registry that variants learn from.
        found: trainings that searches found; they come last.
        train: trains jobs side by side and keeps their policies.
        tell: hears of variants that wait for somebody who does not serve yet.

    Raises:
        BadInput: nobody can be trained, because all wait.
    """
    teachers: dict[str, Files] = dict(known)
    done: dict[str, Trained] = {}
    while jobs := [job for job in (*plan(pipeline, teachers), *found) if job.name not in done]:
        for one in train(jobs):
            done[one.job.name] = one
            teachers[f"{OF_THIS_RUN}{one.job.name}"] = one.files
            found_by = one.job.variant.partition(".")[0]  # a search names its winners tuned.4, the best first
            teachers.setdefault(f"{OF_THIS_RUN}{found_by}/{one.job.recipe.seed}", one.files)
    waiting = [name for name in teachers_of(pipeline) if name not in teachers]
    if waiting:
        tell(f"not trained: what learns from {', '.join(waiting)}, who does not serve yet")
    if not done:
        raise BadInput(
            f"every variant of {pipeline.name!r} learns from {', '.join(waiting)}, and nobody serves as that "
            "yet; promote somebody first, or add a variant without a teacher"
        )
    return [done[job.name] for job in (*plan(pipeline, teachers), *found)]
