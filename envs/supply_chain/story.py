"""What has happened in an episode: flows of each period and node, for pictures and for credit by node.

A story plays the episode's own decisions again in a lane of the twin, so it is the same on every backend
and asks nothing of them that they do not answer anyway.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.envs import base
from workgym.envs.supply_chain import view
from workgym.services.compiled import INNER, KERNEL
from workgym.services.supply_chain import rules, scenario, state, twin

# What is told of a node in a period, in units of all SKUs; the last in money.
ON_HAND, WAITING, ORDERED, ARRIVED, ASKED, MISSED, BOOKED = range(7)
TOLD = 7


class Story:
    """The running episode, period by period.

    Asked are the customers' demand and the orders that reached the node from others; missed is what of it
    was not handed over at once. Waiting counts customers, and what is owed to others.

    Args:
        setup: the network.
        cover: decisions are cover choices instead of units.

    Attributes:
        since: the period that the story begins with, 0 unless the env went to another moment.
        told: of each period, (TOLD, S).
        terms: of each period, (accounts,) what was booked.
        reached: (A, K) orders that reached their sources in the last period.
    """

    def __init__(self, setup: scenario.Setup, cover: bool) -> None:
        self.setup = setup
        self.lanes = twin.empty_lanes(setup, 1)
        self._cover = cover
        self._sheet = view.sheet_of(setup)
        self._insight = view.new_insight(setup, self._sheet, 1)
        self._carried = np.zeros(len(setup.opening), dtype=np.int64)
        self._orders = np.zeros(setup.most.size, dtype=np.int64)
        self.reached = np.zeros(setup.most.shape, dtype=np.int64)
        self.since = 0
        self.told: list[base.Ints] = []
        self.terms: list[base.Ints] = []

    def begin(self, moment: bytes) -> None:
        """Forget what was, and go on from a canonical state."""
        now = state.State.from_bytes(moment)
        state.into_lane(self.setup, self.lanes, 0, now)
        self.since = now.day
        self.told, self.terms = [], []
        self.reached[:] = 0
        self._carried[:] = 0

    def play(self, actions: base.Ints) -> None:
        """Tell one more period; the decisions (A * K,) were legal."""
        told = np.zeros((TOLD, len(self.setup.opening)), dtype=np.int64)
        terms = np.zeros(len(rules.ACCOUNTS), dtype=np.int64)
        _play(
            self.setup, self._sheet, self.lanes, self._insight, self._cover,
            np.ascontiguousarray(actions), self._orders, self.reached, self._carried, told, terms,
        )  # fmt: skip
        self.told.append(told)
        self.terms.append(terms)

    def now(self) -> state.State:
        """Where the story has come to; equal to the env's own state."""
        return state.of_lane(self.lanes, 0)


class Remembered:
    """A backend of one lane that keeps the story of its episode.

    Args:
        backend: what holds the state.
        setup: the network.
        cover: decisions are cover choices instead of units.
    """

    lanes = 1

    def __init__(self, backend: base.Backend, setup: scenario.Setup, cover: bool) -> None:
        self.backend = backend
        self.setup = setup
        self.story = Story(setup, cover)

    def advance(self, mode: NDArray[np.int8], actions: base.Ints, episodes: base.Episodes) -> base.Board:
        """Act, begin or stand still, and note it."""
        board = self.backend.advance(mode, actions, episodes)
        if mode[0] == base.BEGIN:
            self.story.begin(self.backend.state_bytes(0))
        elif mode[0] == base.ACT and board.refusal[0] == rules.OK:
            self.story.play(actions.reshape(-1))
        return board

    def load_state(self, lane: int, data: bytes) -> base.Board:
        """Go to a moment; what led there is not known."""
        board = self.backend.load_state(lane, data)
        self.story.begin(data)
        return board

    def state_bytes(self, lane: int) -> bytes:
        """The canonical state."""
        return self.backend.state_bytes(lane)

    def facts(self, lane: int) -> dict[str, int]:
        """The counters."""
        return self.backend.facts(lane)

    def render(self, lane: int) -> str:
        """The stock as a page of text."""
        return self.backend.render(lane)

    def close(self) -> None:
        """Give back what the backend holds."""
        self.backend.close()


@njit(**KERNEL)
def _play(
    setup: Any,
    sheet: Any,
    lanes: Any,
    insight: Any,
    cover: bool,
    actions: Any,
    orders: Any,
    reached: Any,
    carried: Any,
    told: Any,
    terms: Any,
) -> None:
    """`twin.play_period`, with a look at the shelves between its parts."""
    links, skus = setup.most.shape
    if cover:
        view.look_ahead(setup, sheet, lanes, 0, insight)
    for d in range(len(orders)):
        a, k = d // skus, d % skus
        orders[d] = actions[d]
        if cover:
            orders[d] = view.cover_order(setup, sheet, insight, 0, a, k, actions[d])
        told[ORDERED, setup.target[a]] += rules.whole_packs(orders[d], setup.pack[a, k], setup.most[a, k])
        reached[a, k] = -np.int64(lanes.owed[0, a, k])
    lanes.scratch.profit[:] = 0
    twin.place(setup, lanes, 0, orders, terms)
    for a in range(links):
        for k in range(skus):
            reached[a, k] += lanes.scratch.wanted[a, k]
    twin.dispatch(setup, lanes, 0, terms)
    _claims(setup, lanes, reached, told)
    for s in range(len(carried)):
        told[ARRIVED, s] = carried[s] - _shelf(lanes, s)
    twin.receive(setup, lanes, 0)
    for s in range(len(carried)):
        told[ARRIVED, s] += _shelf(lanes, s)
    _customers(setup, lanes, told)
    twin.serve(setup, lanes, 0, terms)
    twin.keep_stock(setup, lanes, 0, terms)
    for s in range(len(carried)):
        told[ON_HAND, s] = _shelf(lanes, s)
    twin.close_period(setup, lanes, 0, terms)
    for account in range(len(terms)):
        lanes.ledger[0, account] += terms[account]
    for s in range(len(carried)):
        carried[s] = _shelf(lanes, s) - told[ON_HAND, s]
        for k in range(skus):
            told[WAITING, s] += lanes.backlog[0, s, k]
            told[BOOKED, s] += lanes.scratch.profit[s, k]


@njit(**INNER)
def _shelf(lanes: Any, s: int) -> Any:
    units: Any = 0
    for k in range(lanes.on_hand.shape[2]):
        units += np.int64(lanes.on_hand[0, s, k])
    return units


@njit(**INNER)
def _claims(setup: Any, lanes: Any, reached: Any, told: Any) -> None:
    """What other nodes asked for, and did not get at once."""
    for a in range(len(setup.source)):
        s = setup.source[a]
        if s == scenario.EXTERNAL:
            continue
        for k in range(reached.shape[1]):
            missing = lanes.scratch.wanted[a, k] - lanes.scratch.shipped[a, k]
            told[ASKED, s] += reached[a, k]
            told[MISSED, s] += min(reached[a, k], missing)
            told[WAITING, s] += lanes.owed[0, a, k]


@njit(**INNER)
def _customers(setup: Any, lanes: Any, told: Any) -> None:
    """What customers ask for and will not get at once; those who wait are served before them."""
    key, family, t = lanes.key[0], lanes.lane[0, twin.FAMILY], lanes.lane[0, twin.DAY]
    for s in range(setup.opening.shape[0]):
        for k in range(setup.opening.shape[1]):
            if setup.group[s, k] >= 0:
                demand = scenario.demand_of(setup, key, family, t, s, k)
                free = max(np.int64(lanes.on_hand[0, s, k]) - lanes.backlog[0, s, k], 0)
                told[ASKED, s] += demand
                told[MISSED, s] += max(demand - free, 0)
