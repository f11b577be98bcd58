"""Recipes that work, by what they are for. `factory/pipeline.py` names them, its variants change them."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # Profit alone: shows what promises cost, and is expected to break more of them than the rules do.
    "profit": {},
    # Keeps promises: each broken one costs the learner as much as an apology to a priority customer.
    "reliable": {"violation_cost": 600},
    # Fits anywhere: a sixteenth of the weights, for the same promises.
    "small": {"violation_cost": 600, "net": (16, 16)},
    # Looks five days ahead instead of one.
    "patient": {"violation_cost": 600, "gamma": 0.99, "gae_lambda": 0.95},
}
