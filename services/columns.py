"""Records of columns as one `.npz` file each: no pickled object, and a digest that says it is whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workgym.services.kernel import BadInput, NotFound

Unusable = Callable[[str | Path, str], BadInput]  # from a path and what was found there


def write_columns(path: str | Path, columns: Mapping[str, Any], digest: str) -> str:
    """Write columns and the digest of what they say; returns the digest."""
    arrays = {name: np.asarray(value) for name, value in columns.items()}
    with Path(path).open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, digest=np.asarray(digest), **arrays)
    return digest


def read_columns(
    path: str | Path, wanted: Collection[str], absent: str, unusable: Unusable
) -> dict[str, NDArray[Any]]:
    """The columns of a file, `digest` among them; whether it is theirs is the caller's to check.

    Args:
        path: where they are.
        wanted: names that must be there.
        absent: what to say when there is no such file.
        unusable: the error of a file that is damaged, or something else.

    Raises:
        NotFound: there is no such file.
        BadInput: what `unusable` makes.
    """
    if not Path(path).is_file():
        raise NotFound(absent)
    try:
        with np.load(path, allow_pickle=False) as archive:
            columns = {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive fails in zipfile, zlib, numpy or struct
        raise unusable(path, str(error)) from error
    if missing := {"digest", *wanted} - set(columns):
        raise unusable(path, f"it lacks {', '.join(sorted(missing))}")
    return columns


def require_whole(
    path: str | Path, columns: Mapping[str, NDArray[Any]], digest: str, unusable: Unusable
) -> None:
    """Refuse columns that do not say what their digest was taken of."""
    if digest != str(columns["digest"]):
        raise unusable(path, "its content does not match its digest")
