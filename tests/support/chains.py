"""Trainings played chunk by chunk, and how their states are told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from workgym.agents.training import initial_state, train_chunk


def chain(
    recipe: Any, inputs: Mapping[str, Mapping[str, bytes]] | None = None
) -> tuple[list[bytes], list[Any]]:
    """All states of a training, the initial one first, and its reports."""
    states, reports = [initial_state(recipe, inputs)], []
    for k in range(recipe.chunks):
        state, report = train_chunk(recipe, k, states[-1])
        states.append(state)
        reports.append(report)
    return states, reports


def sha(data: bytes) -> str:
    """The digest of a state."""
    return hashlib.sha256(data).hexdigest()
