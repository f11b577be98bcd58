"""rliable at work on an archive of scores; it knows nothing of workgym. Prints what it found as JSON.

python tests/support/rliable_client.py scores.npz one other 2000 500
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rliable import library, metrics

Floats = NDArray[np.float64]


def estimates(scores: dict[str, Any], statistic: Any, reps: int) -> dict[str, list[float]]:
    """Value, lower and upper 95% limit of a statistic, by name."""
    np.random.seed(0)  # rliable draws from the global stream, whatever random_state it is given
    values, limits = library.get_interval_estimates(
        scores, lambda *drawn: np.array([statistic(*drawn)]), reps=reps
    )
    return {name: [float(values[name][0]), *map(float, limits[name].ravel())] for name in scores}


def variant(archive: Any, name: str) -> Floats:
    """A variant's scores on all families side by side."""
    parts = [archive[key] for key in sorted(archive.files) if key.startswith(f"{name}/")]
    return np.concatenate(parts, axis=1)


if __name__ == "__main__":
    file, one, other, reps, pair_reps = sys.argv[1:]
    with np.load(file) as archive:
        scores = {name: variant(archive, name) for name in (one, other)}
    middles = estimates(scores, metrics.aggregate_iqm, int(reps))
    pair = {"improvement": (scores[other], scores[one])}
    chance = estimates(pair, metrics.probability_of_improvement, int(pair_reps))
    print(json.dumps({**middles, **chance}))
