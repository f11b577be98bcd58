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

from workgym.services.compiled import KERNEL
from workgym.services.kernel import BadInput
from workgym.services.orders import rules, twin
from workgym.services.orders.scenario import (
    BASKET,
    GIVE_UP,
    NEVER,
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

LATEST_DAY = 199  # that a canonical state tells of
COLUMNS = (BASKET, REGION, PRIORITY, PLACED, PROMISE, STATUS, PARCELS, REVIEWED)
_ROW = (twin.REGION, twin.PRIORITY, twin.PLACED, twin.PROMISE, twin.STATUS, twin.PARCELS, twin.REVIEWED)
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
    n = lane[twin.N_ORDERS]
    rows = lanes.orders[i, :n].astype(np.int64)
    orders = np.column_stack([lanes.basket[i, :n, 0], *(rows[:, column] for column in _ROW)])
    reviewed = orders[:, COLUMNS.index(REVIEWED)]
    reviewed[reviewed == twin.NEVER] = NEVER
    gone = (orders[:, COLUMNS.index(STATUS)] == rules.ALLOCATED) & (reviewed < lane[twin.DAY])
    orders[gone, COLUMNS.index(STATUS)] = rules.SHIPPED
    return State(
        key=int(lanes.key[i]),
        family=int(lane[twin.FAMILY]),
        day=int(lane[twin.DAY]),
        ended=bool(lane[twin.ENDED]),
        broken=int(lane[twin.BROKEN]),
        orders=orders,
        free=np.ascontiguousarray(lanes.free[i, :-1].T, dtype=np.int64),
        picks=lanes.picks[i].astype(np.int64),
        ledger=lanes.ledger[i].copy(),
    )


def into_lane(setup: Setup, lanes: twin.Lanes, i: int, state: State) -> None:
    """Put a state into a twin lane, whatever it held.

    Raises:
        BadInput: the state belongs to a season with other constants.
    """
    _require_fit(setup, state)
    lanes.key[i] = state.key
    lanes.free[i, :-1], lanes.picks[i], lanes.ledger[i] = state.free.T, state.picks, state.ledger
    n = len(state.orders)
    lanes.orders[i] = 0
    lanes.basket[i, :n, 0] = state.orders[:, 0]
    lanes.orders[i, :n, list(_ROW)] = (state.orders[:, 1:] & 255).T  # NEVER is the last byte
    lane = lanes.lane[i]
    lane[:] = 0
    lane[twin.FAMILY], lane[twin.DAY] = state.family, state.day
    lane[twin.ENDED], lane[twin.BROKEN] = state.ended, state.broken
    lane[twin.N_ORDERS] = n
    _derive(setup, lanes, i, np.zeros((setup.max_orders, ORDER_WIDTH), dtype=np.int32))


def _require_fit(setup: Setup, state: State) -> None:
    if state.free.shape != setup.stock.shape or len(state.orders) > setup.max_orders:
        raise BadInput(
            f"expected a state of {setup.stock.shape[0]} centres x {setup.stock.shape[1]} SKUs, "
            f"found {state.free.shape}; restore it into an env made with the same arguments"
        )
    n_baskets, n_regions = len(setup.facts), setup.zone.shape[1]
    days = LATEST_DAY + 1
    largest = (n_baskets, n_regions, 2, days, days, len(rules.STATUSES), 256, days)
    rows = state.orders
    if (rows[:, :-1] < 0).any() or (rows[:, -1] < NEVER).any() or (rows >= largest).any():
        raise BadInput(
            f"expected orders of {n_baskets} baskets and {n_regions} regions, found others; "
            "restore the state into an env made with the same arguments"
        )


@njit(**KERNEL)
def _derive(setup: Any, lanes: Any, i: int, future: Any) -> None:
    """Bring back what follows from the state: patience, the waiting list, today's carrier surprises."""
    lane, key = lanes.lane[i], lanes.key[i]
    first = 0
    for day in range(min(np.int64(lane[twin.DAY]) + 1, setup.days)):
        first += arrive(setup, key, np.int64(lane[twin.FAMILY]), day, future[first:])
    for number in range(lane[twin.N_ORDERS]):
        order = lanes.orders[i, number]
        order[twin.GIVE_UP] = future[number, GIVE_UP]
        today = order[twin.REVIEWED] == lane[twin.DAY]
        if order[twin.STATUS] == rules.ALLOCATED and today and lane[twin.ENDED] == 0:
            cents, broken = twin.surprise(setup, lanes, i, number)
            lane[twin.LATER_LATENESS] += cents
            lane[twin.LATER_BROKEN] += broken
        if order[twin.STATUS] == rules.WAITING and today:
            _queue_up(lanes, i, number, twin.HELD, twin.PICKS_HELD)
    lane[twin.CURSOR] = lane[twin.QUEUE] = lane[twin.HELD]
    for number in range(lane[twin.N_ORDERS]):
        order = lanes.orders[i, number]
        if order[twin.STATUS] == rules.WAITING and order[twin.REVIEWED] != lane[twin.DAY]:
            _queue_up(lanes, i, number, twin.QUEUE, twin.PICKS_ASKED)
    twin.pick_up(lanes, i)


@njit(**KERNEL)
def _queue_up(lanes: Any, i: int, number: int, length: int, picks: int) -> None:
    """Put an order at the end of the part of the queue that the lane's column `length` counts."""
    lanes.queue[i, lanes.lane[i, length]] = number
    lanes.lane[i, length] += 1
    lanes.lane[i, picks] += lanes.book.baskets[lanes.basket[i, number, 0], twin.N_LINES]
