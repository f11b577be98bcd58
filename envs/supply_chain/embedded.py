"""The live supply chain as a backend: N worlds in one database, advanced set-wise.

The database is SQLite in memory unless a URL names another. One advance is one transaction, whatever
the number of lanes.
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.envs import base
from workgym.envs.supply_chain import env, view
from workgym.services.compiled import KERNEL
from workgym.services.scenario import episode_key
from workgym.services.storage import Database, Transaction
from workgym.services.supply_chain import days, live_state, rules, twin, worlds
from workgym.services.supply_chain import statements as sql
from workgym.services.supply_chain.days import Booked
from workgym.services.supply_chain.floor import Floor, Journal, Yard, read, see, take
from workgym.services.supply_chain.scenario import Setup, drawn_family
from workgym.services.supply_chain.spec import Network
from workgym.services.supply_chain.state import State
from workgym.services.supply_chain.tables import metadata
from workgym.services.supply_chain.worlds import Plan

ACTOR = "agent"


class EmbeddedBackend:
    """N lanes of a network as worlds of the live service.

    Args:
        network: what nodes, links and SKUs are called.
        setup: the same as arrays.
        lanes: how many worlds.
        actions: `units` or `cover`.
        observation: `flat` or `rows`.
        url: SQLAlchemy URL of the database; the worlds are dropped from it when the backend is closed.
    """

    def __init__(
        self,
        network: Network,
        setup: Setup,
        lanes: int,
        actions: str = "units",
        observation: str = "flat",
        url: str = "sqlite://",
    ) -> None:
        self.lanes = lanes
        self.setup = setup
        self.url = url
        self._kinds = (actions, observation)
        self._plan = Plan(network, setup)
        self._arrays = twin.empty_lanes(setup, lanes)
        self.sheet = view.sheet_of(setup)
        self._insight = view.new_insight(setup, self.sheet, lanes)
        self.database = Database(url)
        self.database.create(metadata)
        run = secrets.token_hex(6)
        self._names = [f"lane {lane} of {run}" for lane in range(lanes)]
        with self.database.write() as tx:
            self._ids = [worlds.open_world(tx, self._plan, name, 0, 0) for name in self._names]
            self._param = tx.numbers(self._ids)
        self._closed = False

    def advance(self, mode: NDArray[np.int8], actions: base.Ints, episodes: base.Episodes) -> base.Board:
        """Let each lane act, begin or stand still."""
        begins = mode == base.BEGIN
        journal = Journal(ACTOR)
        with self.database.write() as tx:
            if begins.any():
                self._reopen(tx, np.flatnonzero(begins), episodes)
            floor = take(tx, self._ids, self._param)
            yard = read(tx, self.setup, floor, self._arrays)
            missed = floor.rows[:, sql.WORLD_MISSED].copy()
            booked, refusal = self._act(tx, floor, yard, mode == base.ACT, actions, journal)
            journal.write(tx)
        return self._show(floor, booked, refusal, floor.rows[:, sql.WORLD_MISSED] - missed)

    def _reopen(self, tx: Transaction, lanes: NDArray[np.int64], episodes: base.Episodes) -> None:
        keys, families = [], []
        for lane in lanes.tolist():
            key = np.uint64(episode_key(episodes.salt, episodes.seed[lane], episodes.number[lane]))
            family = int(episodes.family[lane])
            families.append(drawn_family(key, len(self.setup.families)) if family < 0 else family)
            keys.append(int(key))
        ids, names = ([values[lane] for lane in lanes.tolist()] for values in (self._ids, self._names))
        worlds.reopen(tx, self._plan, ids, names, keys, families)

    def _act(
        self,
        tx: Transaction,
        floor: Floor,
        yard: Yard,
        acts: base.Bools,
        actions: base.Ints,
        journal: Journal,
    ) -> tuple[Booked, base.Ints]:
        """Order and close the day in the lanes that act; what was booked, and the refusals."""
        booked = Booked.nothing(self.setup, self.lanes)
        refusal = np.zeros(self.lanes, dtype=np.int64)
        if acts.any():
            kind = view.kind_of(self._kinds[0], self._kinds[1] == "rows")
            asked = np.ascontiguousarray(actions).reshape(self.lanes, -1)
            quantities: base.Ints = np.zeros(asked.shape, dtype=np.int64)
            _understand(
                self.setup, self.sheet, yard.lanes, self._insight, kind, acts, asked, quantities, refusal
            )
            plays = acts & (refusal == rules.OK)
            if plays.any():
                fresh = days.order(self.setup, floor, plays, quantities, booked)
                days.close(tx, self.setup, floor, yard, plays, fresh, booked, journal)
        return booked, refusal

    def _show(self, floor: Floor, booked: Booked, refusal: base.Ints, missed: base.Ints) -> base.Board:
        credit = np.zeros((self.lanes, self.setup.most.size), dtype=np.int64)
        _share_credit(self.setup, self.sheet, booked.profit, credit)
        ended = floor.rows[:, sql.WORLD_ENDED] == 1
        return env.show(
            self.setup, self.sheet, self._arrays, self._insight,
            self._kinds[1] == "rows", self._kinds[0] == "cover",
            booked.accounts.sum(axis=1), ended, refusal, missed, credit,
        )  # fmt: skip

    def insight(self) -> view.Insight:
        """What planners see of all lanes: expected demand and positions."""
        view.foresee(self.setup, self.sheet, self._arrays, self._insight)
        return self._insight

    def state_bytes(self, lane: int) -> bytes:
        """The lane's canonical state."""
        return self._state(lane).to_bytes()

    def _state(self, lane: int) -> State:
        with self.database.read() as tx:
            return live_state.of_world(tx, self._plan, self._ids[lane])

    def load_state(self, lane: int, data: bytes) -> base.Board:
        """Put a canonical state into a lane."""
        state = State.from_bytes(data)
        with self.database.write() as tx:
            live_state.into_world(tx, self._plan, self._ids[lane], self._names[lane], state)
        rest = np.full(self.lanes, base.REST, dtype=np.int8)
        nothing = np.zeros(self.lanes, dtype=np.int64)
        asked = np.zeros((self.lanes, self.setup.most.size), dtype=np.int64)
        return self.advance(rest, asked, base.Episodes(np.uint64(0), nothing, nothing, nothing))

    def facts(self, lane: int) -> dict[str, int]:
        """The lane's counters."""
        with self.database.read() as tx:
            floor = see(tx, [self._ids[lane]])
        counters = np.zeros(twin.LANE_WIDTH, dtype=np.int64)
        counters[[twin.FAMILY, twin.DAY, twin.ENDED, twin.DEMANDED, twin.MISSED]] = floor.rows[
            0, sql.WORLD_FAMILY : sql.WORLD_MISSED + 1
        ]
        return env.facts_of(counters)

    def render(self, lane: int) -> str:
        """The stock as a page of text."""
        return env.page(self.setup, self._state(lane))

    def close(self) -> None:
        """Drop the worlds and give the database back."""
        if not self._closed:
            self._closed = True
            with self.database.write() as tx:
                worlds.drop(tx, self._ids)
            self.database.close()

    def __getstate__(self) -> dict[str, Any]:
        """The lanes as canonical states; a database does not travel, and a copy gets worlds of its own."""
        states = [self.state_bytes(lane) for lane in range(self.lanes)]
        made = (self._plan.network, self.setup, self.lanes, *self._kinds, self.url)
        return {"made": made, "states": states}

    def __setstate__(self, state: dict[str, Any]) -> None:
        EmbeddedBackend.__init__(self, *state["made"])
        for lane, data in enumerate(state["states"]):
            self.load_state(lane, data)


@njit(**KERNEL)
def _share_credit(setup: Any, sheet: Any, profit: Any, credit: Any) -> None:
    for i in range(len(profit)):
        view.share_credit(setup, sheet, profit[i], credit[i])


@njit(**KERNEL)
def _understand(
    setup: Any,
    sheet: Any,
    lanes: Any,
    insight: Any,
    kind: int,
    acts: Any,
    actions: Any,
    quantities: Any,
    refusal: Any,
) -> None:
    """Fill the quantities that the acting lanes order, and why some are refused."""
    skus = setup.most.shape[1]
    for i in range(len(acts)):
        if not acts[i]:
            continue
        if kind == view.COVER and lanes.lane[i, twin.ENDED] == 0:
            view.look_ahead(setup, sheet, lanes, i, insight)
        for d in range(actions.shape[1]):
            quantities[i, d] = view.asked_units(
                setup, sheet, lanes, insight, kind, i, d // skus, d % skus, actions[i, d]
            )
        refusal[i] = twin.refuse(setup, lanes, i, quantities[i])
