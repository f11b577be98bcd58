"""Scores for other tools: matrices (runs, tasks) in one NumPy archive, nothing pickled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workgym.factory.aggregate import Floats, stacked
from workgym.factory.entries import ModelVersion
from workgym.factory.registry import Registry
from workgym.services.kernel import BadInput


@dataclass(frozen=True)
class Written:
    """What an archive holds.

    Attributes:
        file: where it is.
        suite: digest of the suite that all its scenarios belong to.
        versions: whose scores these are, by variant, in the order of the rows.
        shapes: (seeds, scenarios) by variant and family.
        left_out: versions that were judged on another suite.
    """

    file: str
    suite: str
    versions: dict[str, tuple[int, ...]]
    shapes: dict[str, tuple[int, int]]
    left_out: tuple[int, ...]


def export_scores(registry: Registry, model: str, file: Path) -> Written:
    """Write every version's cents per case by variant and family, on the newest version's suite.

    Raises:
        BadInput: the file cannot be written.
    """
    everyone = registry.list_versions(model)
    suite = everyone[0].suite_digest
    chosen = [version for version in reversed(everyone) if version.suite_digest == suite]
    variants: dict[str, list[ModelVersion]] = {}
    for version in chosen:
        variants.setdefault(str(version.lineage.get("variant", "version")), []).append(version)
    card = registry.scorecard(everyone[0].scorecard_digest)
    families, seeds = np.array(card.family), np.array(card.seed)
    matrices: dict[str, Floats] = {}
    for variant, versions in variants.items():
        scores = stacked([registry.scorecard(version.scorecard_digest) for version in versions])
        for family in sorted(set(card.family)):
            matrices[f"{variant}/{family}"] = scores[:, families == family]
    of_scenarios = {f"seeds:{family}": seeds[families == family] for family in sorted(set(card.family))}
    try:
        with file.open("wb") as archive:  # given a name, NumPy would append .npz to it
            np.savez_compressed(archive, **matrices, **of_scenarios)  # type: ignore[arg-type]  # names are free
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror}; name another file with --to") from error
    return Written(
        file=str(file),
        suite=suite,
        versions={name: tuple(one.version for one in versions) for name, versions in variants.items()},
        shapes={name: (matrix.shape[0], matrix.shape[1]) for name, matrix in matrices.items()},
        left_out=tuple(version.version for version in everyone if version.suite_digest != suite),
    )
