"""The retailer's state, written one canonical way by the twin and by the live service.

Equal businesses give equal bytes: integers only, rows in order-number order, nothing that a read
changes. What the future holds (patience, deliveries, carriers) is not in it: the episode's key
brings it back.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.services.kernel import BadInput
from workgym.services.orders import desk, rules, twin
from workgym.services.orders.scenario import (
    BASKET,
    GIVE_UP,
    LINES,
    ORDER_WIDTH,
    PARCELS,
    PLACED,
    PRIORITY,
    PROMISE,
    REGION,
    REVIEWED,
    STATUS,
    Setup,
    arrive,
)

COLUMNS = (BASKET, REGION, PRIORITY, PLACED, PROMISE, STATUS, PARCELS, REVIEWED)
_VERSION = 1


@dataclass(frozen=True)
class State:
    """One world, whole.

    Attributes:
        key: key of the running episode.
        family: index of its family.
        day: the business day.
        ended: whether the season is over.
        broken: promises broken so far.
        orders: (n, 8) basket, region, priority, placed, promise, status, parcels, day of review.
        free: (C, K) units neither shipped nor reserved.
        picks: (C,) lines that can still be picked today.
        ledger: (accounts,) cents booked.
    """

    key: int
    family: int
    day: int
    ended: bool
    broken: int
    orders: NDArray[np.int64]
    free: NDArray[np.int64]
    picks: NDArray[np.int64]
    ledger: NDArray[np.int64]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        fields = {name: _plain(value) for name, value in vars(self).items()}
        return json.dumps({"version": _VERSION, **fields}, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> State:
        """Read what `to_bytes` wrote.

        Raises:
            BadInput: the bytes are no state of this version.
        """
        try:
            fields = json.loads(data)
            if fields.pop("version") != _VERSION:
                raise BadInput(f"expected a state of version {_VERSION}, found another; take a new snapshot")
            arrays = {name: np.array(fields[name], dtype=np.int64) for name in ("free", "picks", "ledger")}
            orders = np.array(fields["orders"], dtype=np.int64).reshape(-1, len(COLUMNS))
            return cls(**{**fields, **arrays, "orders": orders})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                f"expected a snapshot of the orders service, found other bytes ({error})"
            ) from error

    def digest(self) -> str:
        """Content hash."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def of_lane(setup: Setup, lanes: twin.Lanes, i: int) -> State:
    """The state of one twin lane."""
    lane = lanes.lane[i]
    orders = lanes.orders[i, : lane[twin.N_ORDERS]].astype(np.int64)[:, list(COLUMNS)]
    status, reviewed = orders[:, COLUMNS.index(STATUS)], orders[:, COLUMNS.index(REVIEWED)]
    orders[(status == rules.ALLOCATED) & (reviewed < lane[twin.DAY]), COLUMNS.index(STATUS)] = rules.SHIPPED
    return State(
        key=int(lanes.key[i]),
        family=int(lane[twin.FAMILY]),
        day=int(lane[twin.DAY]),
        ended=bool(lane[twin.ENDED]),
        broken=int(lane[twin.BROKEN]),
        orders=orders,
        free=np.ascontiguousarray(lanes.free[i].T, dtype=np.int64),
        picks=lanes.picks[i].astype(np.int64),
        ledger=lanes.ledger[i].copy(),
    )


def into_lane(setup: Setup, lanes: twin.Lanes, i: int, state: State) -> None:
    """Put a state into a twin lane, whatever it held.

    Raises:
        BadInput: the state belongs to a season with other constants.
    """
    if state.free.shape != setup.stock.shape or len(state.orders) > setup.max_orders:
        raise BadInput(
            f"expected a state of {setup.stock.shape[0]} centres x {setup.stock.shape[1]} SKUs, "
            f"found {state.free.shape}; restore it into an env made with the same arguments"
        )
    lanes.key[i] = state.key
    lanes.free[i], lanes.picks[i], lanes.ledger[i] = state.free.T, state.picks, state.ledger
    rows = np.zeros((setup.max_orders, ORDER_WIDTH), dtype=np.int32)
    rows[: len(state.orders), list(COLUMNS)] = state.orders
    lanes.orders[i] = rows
    lane = lanes.lane[i]
    lane[:] = 0
    lane[twin.FAMILY], lane[twin.DAY] = state.family, state.day
    lane[twin.ENDED], lane[twin.BROKEN] = state.ended, state.broken
    lane[twin.N_ORDERS] = len(state.orders)
    _derive(setup, lanes, i)


@njit(cache=True)
def _derive(setup: Any, lanes: Any, i: int) -> None:
    """Bring back what follows from the state: patience, the waiting list, today's carrier surprises."""
    lane, key = lanes.lane[i], lanes.key[i]
    future = np.zeros((setup.max_orders, ORDER_WIDTH), dtype=np.int32)
    first = 0
    for day in range(min(lane[twin.DAY] + 1, setup.days)):
        first += arrive(setup, key, lane[twin.FAMILY], day, future[first:])
    for number in range(lane[twin.N_ORDERS]):
        order = lanes.orders[i, number]
        order[GIVE_UP] = future[number, GIVE_UP]
        today = order[REVIEWED] == lane[twin.DAY]
        if order[STATUS] == rules.ALLOCATED and today and lane[twin.ENDED] == 0:
            cents, broken = desk.carrier_surprise(setup, key, number, order)
            lane[twin.LATER_LATENESS] += cents
            lane[twin.LATER_BROKEN] += broken
        if order[STATUS] == rules.WAITING and today:
            lanes.waiting[i, lane[twin.N_WAITING]] = number
            lane[twin.N_WAITING] += 1
    lane[twin.CURSOR] = lane[twin.N_WAITING]
    for number in range(lane[twin.N_ORDERS]):
        order = lanes.orders[i, number]
        if order[STATUS] == rules.WAITING and order[REVIEWED] != lane[twin.DAY]:
            lanes.waiting[i, lane[twin.N_WAITING]] = number
            lane[twin.N_WAITING] += 1
            lane[twin.BEHIND_PICKS] += setup.facts[order[BASKET], LINES]
