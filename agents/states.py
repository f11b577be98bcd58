"""The state of a training between two chunks: plain tensors, stamped with whose they are and how far."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from workgym.services.kernel import BadInput

State = dict[str, NDArray[Any]]


class Stamped(Protocol):
    """What a state belongs to."""

    @property
    def chunks(self) -> int:
        """Chunks of the whole training."""

    def digest(self) -> str:
        """Content hash of the recipe."""


def state_bytes(recipe: Stamped, k: int, tensors: State) -> bytes:
    """Tensors as the state after k chunks; equal tensors give equal bytes."""
    whole = tensors | {
        "recipe": np.frombuffer(bytes.fromhex(recipe.digest()), dtype=np.uint8),
        "chunk": np.array([k], dtype=np.int64),
    }
    return save_tensors({name: np.ascontiguousarray(whole[name]) for name in sorted(whole)})


def read_state(recipe: Stamped, state: bytes) -> State:
    """The tensors of a state.

    Raises:
        BadInput: the bytes are no state, or one of another recipe.
    """
    tensors, found, _ = opened(state)
    if found != recipe.digest():
        raise BadInput(
            f"expected a state of recipe {recipe.digest()[:12]}, found one of {found[:12]}; "
            "begin with initial_state(recipe)"
        )
    return tensors


def state_at(recipe: Stamped, k: int, state: bytes) -> State:
    """The tensors of the state after k chunks.

    Raises:
        BadInput: the state is damaged, of another recipe, or not the one after k chunks.
    """
    tensors = read_state(recipe, state)
    if (found := int(tensors["chunk"][0])) != k or k >= recipe.chunks:
        raise BadInput(f"expected the state after {k} of {recipe.chunks} chunks, found the one after {found}")
    return tensors


def opened(state: bytes) -> tuple[State, str, int]:
    """The tensors of a state, the digest of its recipe, and after how many chunks it is.

    Raises:
        BadInput: the bytes are no state.
    """
    try:
        tensors: State = load_tensors(state)
        return tensors, tensors["recipe"].tobytes().hex(), int(tensors["chunk"][0])
    except (SafetensorError, KeyError, ValueError, TypeError, IndexError) as error:
        raise BadInput(f"expected the state of a training, found damage: {error}") from error
