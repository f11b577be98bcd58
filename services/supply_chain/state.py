"""The supply chain's state, written one canonical way by the twin and by the live service.

Equal businesses give equal bytes: integers only, in the order of the network's nodes, links and SKUs,
nothing that a read changes. What the future holds is not in it: the episode's key brings it back.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workgym.services.kernel import BadInput
from workgym.services.supply_chain import twin
from workgym.services.supply_chain.scenario import Setup

_VERSION = 1
_ARRAYS = ("on_hand", "backlog", "asked", "level", "owed", "mail", "way", "ledger")


@dataclass(frozen=True)
class State:
    """One world, whole; S nodes, K SKUs, A links.

    Attributes:
        key: key of the running episode.
        family: index of its family.
        day: the period to decide.
        ended: whether the episode is over.
        demanded: units that customers have asked for.
        missed: units of them that were not served at once.
        on_hand: (S, K) units on the shelf.
        backlog: (S, K) units that customers wait for.
        asked: (S, K) demand of the last period, as far as the node saw it.
        level: (S, K) estimated demand of a usual period, 1/256 units.
        owed: (A, K) units ordered over a link and not shipped yet.
        mail: (A, K, delay) orders that reach the source in 0, 1, ... periods.
        way: (A, K, horizon) units that arrive in 0, 1, ... periods.
        ledger: (accounts,) money booked.
    """

    key: int
    family: int
    day: int
    ended: bool
    demanded: int
    missed: int
    on_hand: NDArray[np.int64]
    backlog: NDArray[np.int64]
    asked: NDArray[np.int64]
    level: NDArray[np.int64]
    owed: NDArray[np.int64]
    mail: NDArray[np.int64]
    way: NDArray[np.int64]
    ledger: NDArray[np.int64]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        plain = {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in vars(self).items()}
        return json.dumps({"version": _VERSION, **plain}, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> State:
        """Read what `to_bytes` wrote.

        Raises:
            BadInput: the bytes are no state of this version.
        """
        try:
            given: dict[str, Any] = json.loads(data)
            if given.pop("version") != _VERSION:
                raise BadInput(f"expected a state of version {_VERSION}, found another; take a new snapshot")
            if set(given) != {one.name for one in fields(cls)}:
                raise ValueError("other fields")
            return cls(**given | {name: np.array(given[name], dtype=np.int64) for name in _ARRAYS})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                f"expected a snapshot of the supply chain service, found other bytes ({error})"
            ) from error

    def digest(self) -> str:
        """Content hash."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def of_lane(lanes: twin.Lanes, i: int) -> State:
    """The state of one twin lane."""
    row = lanes.lane[i].tolist()
    return State(
        key=int(lanes.key[i]),
        family=row[twin.FAMILY],
        day=row[twin.DAY],
        ended=bool(row[twin.ENDED]),
        demanded=row[twin.DEMANDED],
        missed=row[twin.MISSED],
        **{name: getattr(lanes, name)[i].astype(np.int64) for name in _ARRAYS},
    )


def into_lane(setup: Setup, lanes: twin.Lanes, i: int, state: State) -> None:
    """Put a state into a twin lane, whatever it held.

    Raises:
        BadInput: the state belongs to another network.
    """
    check_fit(setup, state)
    lanes.key[i] = state.key
    row = lanes.lane[i]
    row[twin.FAMILY], row[twin.DAY], row[twin.ENDED] = state.family, state.day, state.ended
    row[twin.DEMANDED], row[twin.MISSED] = state.demanded, state.missed
    for name in _ARRAYS:
        getattr(lanes, name)[i] = getattr(state, name)


def check_fit(setup: Setup, state: State) -> None:
    """Refuse a state of another network.

    Raises:
        BadInput: its sizes differ, or a number cannot be one of a world that was played.
    """
    expected = {name: getattr(lane_of(setup), name).shape[1:] for name in _ARRAYS}
    found = {name: getattr(state, name).shape for name in _ARRAYS}
    if expected != found:
        raise BadInput(
            f"expected a state of {len(setup.opening)} nodes, {len(setup.source)} links and "
            f"{setup.most.shape[1]} SKUs, found other sizes; restore it into an env of the same arguments"
        )
    if not 0 <= state.day <= setup.periods or not 0 <= state.family < len(setup.families):
        raise BadInput(
            f"expected a period in 0..{setup.periods} and a family in 0..{len(setup.families) - 1}, "
            f"found {state.day} and {state.family}"
        )
    for name in ("on_hand", "backlog", "asked", "level", "owed", "mail", "way"):
        values = getattr(state, name)
        if values.min(initial=0) < 0 or values.max(initial=0) > np.iinfo(np.int32).max:
            raise BadInput(f"expected counts that are not negative as {name}, found {values.min()}")


def lane_of(setup: Setup) -> twin.Lanes:
    """One empty lane: what a state's arrays must fit."""
    return twin.empty_lanes(setup, 1)
