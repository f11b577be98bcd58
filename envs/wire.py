"""What goes over the wire between an env and the worlds that it plays in: msgpack, or JSON for people.

An array is a map of its type, its shape and its bytes in msgpack, a list in JSON; bytes are base64 in JSON.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from workgym.envs.contract import BEGIN, REST, Board, Episodes, Ints
from workgym.services.kernel import BadInput

MSGPACK, JSON = "application/msgpack", "application/json"
_TYPES = ("<f4", "<f8", "<i8", "|i1", "|b1")


def pack(values: Mapping[str, Any]) -> bytes:
    """A map of numbers, texts, bytes and arrays as msgpack."""
    packed: bytes = msgpack.packb(values, default=_array_as_map)
    return packed


def unpack(data: bytes) -> dict[str, Any]:
    """The map that `pack` was given, with arrays that can be written to.

    Raises:
        BadInput: the bytes are something else.
    """
    try:
        values = msgpack.unpackb(data, object_hook=_map_as_array, strict_map_key=True)
    except (ValueError, TypeError, KeyError, msgpack.exceptions.UnpackException) as error:
        raise BadInput(f"expected a msgpack map, found {len(data)} bytes that are none: {error}") from error
    if not isinstance(values, dict):
        raise BadInput(f"expected a msgpack map, found a {type(values).__name__}")
    return values


def as_json(values: Mapping[str, Any]) -> bytes:
    """The same map for people."""
    return json.dumps(values, default=_plain).encode()


def from_json(data: bytes) -> dict[str, Any]:
    """A map of a JSON body.

    Raises:
        BadInput: the bytes are something else.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"expected a JSON object, found {len(data)} bytes that are none: {error}") from error
    if not isinstance(values, dict):
        raise BadInput(f"expected a JSON object, found a {type(values).__name__}")
    return values


def _array_as_map(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"type": value.dtype.str, "shape": value.shape, "bytes": np.ascontiguousarray(value).tobytes()}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"expected numbers, texts, bytes and arrays, found a {type(value).__name__}")


def _map_as_array(value: dict[str, Any]) -> Any:
    if value.keys() != {"type", "shape", "bytes"}:
        return value
    if value["type"] not in _TYPES:
        raise ValueError(f"arrays of {', '.join(_TYPES)}, found {value['type']!r}")
    if not isinstance(value["bytes"], bytes):
        raise ValueError("an array whose bytes are no bytes")
    return np.frombuffer(bytearray(value["bytes"]), dtype=value["type"]).reshape(value["shape"])


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.item()


class Move(NamedTuple):
    """What N lanes are asked to do.

    Attributes:
        call: number of the call of this lease, from 1.
        mode: (N,) BEGIN, ACT or REST.
        actions: as `Backend.advance` takes them.
        episodes: that the lanes play.
    """

    call: int
    mode: NDArray[np.int8]
    actions: Ints
    episodes: Episodes

    def values(self) -> dict[str, Any]:
        """As a map."""
        salt, seed, number, family = self.episodes
        return {
            "call": self.call,
            "mode": self.mode,
            "actions": self.actions,
            "salt": int(salt),
            "seed": seed,
            "number": number,
            "family": family,
        }


def move_of(values: Mapping[str, Any], lanes: int, decisions: tuple[int, ...], families: int) -> Move:
    """A move of `lanes` lanes.

    Raises:
        BadInput: a part is missing, or has another shape or range.
    """
    mode = _numbers(values, "mode", (lanes,), (0, REST)).astype(np.int8)
    salt = _one(values, "salt", 2**64 - 1)
    numbers = (-1, 2**62)
    episodes = Episodes(
        np.uint64(salt),
        _numbers(values, "seed", (lanes,), (-(2**62), 2**62)),
        _numbers(values, "number", (lanes,), numbers),
        _numbers(values, "family", (lanes,), (-1, families - 1)),
    )
    if (episodes.number[mode == BEGIN] < 0).any():
        raise BadInput("expected episode numbers from 0 in lanes that begin, found a negative one")
    actions = _numbers(values, "actions", (lanes, *decisions), (-(2**62), 2**62))
    return Move(call_of(values), mode, actions, episodes)


def call_of(values: Mapping[str, Any]) -> int:
    """The number of a call (BadInput)."""
    return _one(values, "call", 2**62)


def _one(values: Mapping[str, Any], name: str, most: int) -> int:
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise BadInput(f"expected {name!r} to be a whole number in 0..{most}, found {str(value)[:40]!r}")
    return value


def _numbers(
    values: Mapping[str, Any], name: str, shape: tuple[int, ...], between: tuple[int, int]
) -> NDArray[np.int64]:
    wanted = f"expected {name!r} to be whole numbers of shape {shape} in {between[0]}..{between[1]}"
    told = values.get(name)
    if not (isinstance(told, np.ndarray) or _fits(told, shape)):  # NumPy makes room for anything
        raise BadInput(f"{wanted}, found something else")
    given = np.asarray(told)
    if given.dtype.kind not in "ib" or given.shape != shape:
        raise BadInput(f"{wanted}, found {given.dtype} of shape {given.shape}")
    if given.size and not between[0] <= given.min() <= given.max() <= between[1]:
        raise BadInput(f"{wanted}, found {given.min()}..{given.max()}")
    return given.astype(np.int64)


def _fits(told: Any, shape: tuple[int, ...]) -> bool:
    """Whether lists hold whole numbers in this shape."""
    if not shape:
        return isinstance(told, int)
    return isinstance(told, list) and len(told) == shape[0] and all(_fits(one, shape[1:]) for one in told)


def board_values(board: Board) -> dict[str, Any]:
    """A board as a map."""
    return board._asdict()


def board_of(values: Mapping[str, Any]) -> Board:
    """The board of a map."""
    return Board(**values)
