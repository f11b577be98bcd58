"""What a forecaster told of a book's demand, period by period: a file beside the book."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workgym.services.columns import read_columns, require_whole, write_columns
from workgym.services.kernel import BadInput

FORMAT = "workgym outlook 1"
COLUMNS = {"quantiles", "protection", "book", "forecaster", "format", "digest"}


@dataclass(frozen=True, eq=False)
class Outlook:
    """Quantiles of the demand over each link's protection interval, told before each period of a book.

    Attributes:
        quantiles: (T, A, K, 3) P10, P50, P90, 1/256 units; -1 where nothing could be told.
        protection: (A,) periods that the quantiles of a link speak of, the period itself first.
        book: digest of the whole book.
        forecaster: its name.
    """

    quantiles: NDArray[np.int32]
    protection: NDArray[np.int64]
    book: str
    forecaster: str

    def digest(self) -> str:
        """Content hash, the same on every machine."""
        told = np.ascontiguousarray(self.quantiles, "<i4")
        head = [FORMAT, self.book, self.forecaster, self.protection.tolist(), told.shape]
        return hashlib.sha256(json.dumps(head).encode() + told.tobytes()).hexdigest()

    def save(self, path: str | Path) -> str:
        """Write one `.npz` file without pickled objects; returns the digest that `load` verifies."""
        return write_columns(path, {**vars(self), "format": FORMAT}, self.digest())

    @classmethod
    def load(cls, path: str | Path) -> Outlook:
        """Read what `save` wrote.

        Raises:
            NotFound: there is no such file.
            BadInput: the file is damaged, or something else.
        """
        absent = f"no forecast at {Path(path)}; workgym.agents.forecast.outlook makes it"
        columns = read_columns(path, (), absent, _unusable)
        if set(columns) != COLUMNS or str(columns["format"]) != FORMAT:
            raise _unusable(path, f"it holds {', '.join(sorted(columns)) or 'nothing'}")
        quantiles, protection = columns["quantiles"], columns["protection"]
        if quantiles.dtype != np.int32 or quantiles.ndim != 4 or protection.dtype != np.int64:
            raise _unusable(path, f"its quantiles are {quantiles.dtype} {quantiles.shape}")
        found = cls(quantiles, protection, str(columns["book"]), str(columns["forecaster"]))
        require_whole(path, columns, found.digest(), _unusable)
        return found


def _unusable(path: str | Path, found: str) -> BadInput:
    return BadInput(
        f"expected a forecast in {Path(path)}, found a file that cannot be used: {found}; make it again"
    )
