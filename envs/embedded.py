"""The live order service as a backend: N worlds in one database, decided set-wise.

The database is SQLite in memory unless a URL names another. One advance is one transaction, whatever
the number of lanes.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.envs import base, orders
from workgym.services.orders import decisions, live_state, rules, season, worlds
from workgym.services.orders import statements as sql
from workgym.services.orders.decisions import Hands
from workgym.services.orders.floor import Bools, Floor, Journal, see, take
from workgym.services.orders.scenario import Setup, drawn_family
from workgym.services.orders.state import State
from workgym.services.orders.tables import metadata
from workgym.services.orders.worlds import Catalogue, Templates
from workgym.services.scenario import episode_key
from workgym.services.storage import Database, Transaction

ACTOR = "agent"


class EmbeddedBackend:
    """N lanes of the retailer as worlds of the live service.

    Args:
        setup: constants of the season.
        lanes: how many worlds.
        url: SQLAlchemy URL of the database; the worlds are dropped from it when the backend is closed.
        catalogue: what the SKUs are called and cost, for people who look at the worlds.
    """

    def __init__(
        self, setup: Setup, lanes: int, url: str = "sqlite://", catalogue: Catalogue | None = None
    ) -> None:
        self.lanes = lanes
        self.setup = setup
        self.url = url
        self.database = Database(url)
        self.database.create(metadata)
        self._templates = Templates(setup, catalogue or Catalogue.of_setup(setup))
        run = secrets.token_hex(6)
        self._names = [f"lane {lane} of {run}" for lane in range(lanes)]
        with self.database.write() as tx:
            self._ids = [worlds.open_world(tx, self._templates, name, 0, 0) for name in self._names]
            self._param = tx.numbers(self._ids)
        self._closed = False

    def advance(self, mode: NDArray[np.int8], actions: base.Ints, episodes: base.Episodes) -> base.Board:
        """Let each lane act, begin or stand still."""
        journal = Journal(ACTOR)
        board = orders.new_board(self.lanes)
        with self.database.write() as tx:
            begins = mode == base.BEGIN
            if begins.any():
                self._reopen(tx, np.flatnonzero(begins), episodes)
            floor = take(tx, self._ids, self._param)
            broken = floor.rows[:, sql.WORLD_BROKEN].copy()
            if begins.any():
                season.begin(tx, self.setup, floor.only(tx, begins), journal)
            board.refusal[:] = self._act(tx, floor, mode == base.ACT, actions, journal)
            board.terms[:] = journal.earned(floor.ids)
            journal.write(tx)
            after = see(tx, self._ids, self._param)
            self._show(after, decisions.queue_hands(tx, after), board)
        board.violations[:] = after.rows[:, sql.WORLD_BROKEN] - broken
        return board

    def _reopen(self, tx: Transaction, lanes: NDArray[np.int64], episodes: base.Episodes) -> None:
        keys, families = [], []
        for lane in lanes.tolist():
            key = np.uint64(episode_key(episodes.salt, episodes.seed[lane], episodes.number[lane]))
            family = int(episodes.family[lane])
            families.append(drawn_family(key, len(self.setup.families)) if family < 0 else family)
            keys.append(int(key))
        ids, names = self._pick(self._ids, lanes), self._pick(self._names, lanes)
        worlds.reopen(tx, self._templates, ids, names, keys, families)

    @staticmethod
    def _pick(values: Sequence[Any], lanes: NDArray[np.int64]) -> list[Any]:
        return [values[lane] for lane in lanes.tolist()]

    def _act(
        self, tx: Transaction, floor: Floor, acts: Bools, actions: base.Ints, journal: Journal
    ) -> base.Ints:
        """Decide in the lanes that act; the refusals of all lanes."""
        refusal = np.zeros(self.lanes, dtype=np.int64)
        if acts.any():
            acting = floor.only(tx, acts)
            hands = decisions.queue_hands(tx, acting)
            decided = decisions.decide(tx, self.setup, acting, hands, actions[acts], journal)
            refusal[acts] = decided.refusal
            if decided.last.any():
                season.pass_idle_days(tx, self.setup, acting.only(tx, decided.last), journal)
        return refusal

    def _show(self, floor: Floor, hands: Hands, board: base.Board) -> None:
        board.ended[:] = floor.rows[:, sql.WORLD_ENDED] == 1
        _observe(decisions.desk_setup(self.setup, hands), hands, board.obs, board.mask)

    def state_bytes(self, lane: int) -> bytes:
        """The lane's canonical state."""
        with self.database.read() as tx:
            return live_state.of_world(tx, self._ids[lane]).to_bytes()

    def load_state(self, lane: int, data: bytes) -> base.Board:
        """Put a canonical state into a lane."""
        state = State.from_bytes(data)
        with self.database.write() as tx:
            live_state.into_world(tx, self._templates, self._ids[lane], self._names[lane], state)
        rest = np.full(self.lanes, base.REST, dtype=np.int8)
        nothing = np.zeros(self.lanes, dtype=np.int64)
        return self.advance(rest, nothing, base.Episodes(np.uint64(0), nothing, nothing, nothing))

    def facts(self, lane: int) -> dict[str, int]:
        """The lane's counters."""
        with self.database.read() as tx:
            row = see(tx, [self._ids[lane]]).rows[0]
        placed = int(row[sql.WORLD_PLACED])
        return {
            "day": int(row[sql.WORLD_DAY]),
            "family": int(row[sql.WORLD_FAMILY]),
            "cases": placed,
            "obligations": placed,
            "violations": int(row[sql.WORLD_BROKEN]),
        }

    def render(self, lane: int) -> str:
        """The order desk as a page of text."""
        with self.database.read() as tx:
            return orders.page(self.setup, live_state.of_world(tx, self._ids[lane]))

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
        return {"setup": self.setup, "url": self.url, "goods": self._templates.catalogue, "states": states}

    def __setstate__(self, state: dict[str, Any]) -> None:
        EmbeddedBackend.__init__(self, state["setup"], len(state["states"]), state["url"], state["goods"])
        for lane, data in enumerate(state["states"]):
            self.load_state(lane, data)


@njit(cache=True)
def _observe(setup: Any, hands: Any, obs: Any, mask: Any) -> None:
    """Show each lane what the desk sees of its order in hand."""
    rank = np.zeros(setup.zone.shape[0], dtype=np.int64)
    plan = np.zeros(rules.MAX_LINES, dtype=np.int64)
    for i in range(len(obs)):
        orders.observe(setup, hands.case[i], hands.free[i], hands.picks[i], rank, plan, obs[i], mask[i])
