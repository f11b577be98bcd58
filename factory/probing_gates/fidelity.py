"""The gate `fidelity`: what the twin promised, the live service pays."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from workgym.factory.builtin_gates.claims import listed
from workgym.factory.gates import Finding, Numbers, Options, gate, undecided
from workgym.factory.lab import CANDIDATE, Lab
from workgym.factory.records import Outcome, Scorecard

COLUMNS = ("profit", "cases", "violations", "obligations")


class Fidelity(Options):
    """Options of `fidelity`."""

    backend: Literal["embedded", "http", "docker"] = Field(
        default="embedded", description="how the live service is reached; http reads WORKGYM_URL"
    )
    per_family: int = Field(default=1, ge=1, description="seasons of each family; the live service is slower")


@gate("fidelity")
def fidelity(candidate: Scorecard, champion: Scorecard, options: Fidelity, lab: Lab) -> Finding:
    """Claims that on the live service the candidate earns the very same cents as on the twin."""
    twin = lab.play(CANDIDATE, per_family=options.per_family)
    live = lab.play(CANDIDATE, per_family=options.per_family, backend=options.backend)
    numbers: Numbers = {
        "n": candidate.n,
        "played": live.n,
        "dropped": live.dropped,
        "backend": options.backend,
    }
    if live.n == 0 or live.dropped > options.dropped * (live.n + live.dropped):
        why = f"{live.dropped} episodes on {options.backend} were lost to infrastructure faults"
        return undecided(f"{why}; play them again (n={candidate.n})", numbers)
    at = {name: place for place, name in enumerate(_scenarios(twin))}
    other = [at[name] for name in _scenarios(live)]
    differs = np.zeros(live.n, dtype=np.bool_)
    for column in COLUMNS:
        differs |= getattr(live, column) != getattr(twin, column)[other]
    apart = np.abs(live.profit - twin.profit[other])
    numbers |= {"differ": int(differs.sum()), "most_cents": int(apart.max())}
    if not differs.any():
        earned = f"earns the very same {int(live.profit.sum()):,} cents"
        return Finding(
            Outcome.PASS,
            f"{earned} on {options.backend} as on the twin ({live.n} seasons, n={candidate.n})",
            numbers,
        )
    names = [f"{family}/{seed}" for family, seed in np.array(_scenarios(live), dtype=object)[differs]]
    told = f"differs from the twin in {len(names)} of {live.n} seasons on {options.backend}{listed(names)}"
    return Finding(Outcome.FAIL, f"{told}; by at most {int(apart.max()):,} cents (n={candidate.n})", numbers)


def _scenarios(card: Scorecard) -> list[tuple[str, int]]:
    return list(zip(card.family, card.seed, strict=True))
