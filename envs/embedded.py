"""The live side of the order desk: N worlds of the order service, decided set-wise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.envs import base, orders
from workgym.envs.live import ACTOR, LiveBackend
from workgym.services.orders import decisions, live_state, rules, scenario, season, worlds
from workgym.services.orders import statements as sql
from workgym.services.orders.decisions import Hands
from workgym.services.orders.floor import Bools, Floor, Journal, see, take
from workgym.services.orders.scenario import Setup
from workgym.services.orders.soundness import sound_state
from workgym.services.orders.state import State
from workgym.services.orders.tables import metadata
from workgym.services.orders.worlds import Catalogue, Templates
from workgym.services.storage import Transaction


class LiveOrders:
    """How worlds of the retailer are opened, advanced and read.

    Args:
        setup: constants of the season.
        catalogue: what the SKUs are called and cost, for people who look at the worlds.
    """

    metadata = metadata

    def __init__(self, setup: Setup, catalogue: Catalogue | None = None) -> None:
        self.setup = setup
        self._templates = Templates(setup, catalogue or Catalogue.of_setup(setup))

    def open(self, tx: Transaction, names: Sequence[str]) -> list[int]:
        """Worlds on their first day, before anything happened."""
        return [worlds.open_world(tx, self._templates, name, 0, 0) for name in names]

    def reopen(
        self,
        tx: Transaction,
        ids: Sequence[int],
        names: Sequence[str],
        keys: Sequence[int],
        families: Sequence[int],
    ) -> None:
        """Put worlds on their first day again."""
        worlds.reopen(tx, self._templates, ids, names, keys, families)

    def drawn_family(self, key: np.uint64) -> int:
        """The family that an episode's key draws."""
        return int(scenario.drawn_family(key, len(self.setup.families)))

    def advance(
        self, tx: Transaction, ids: Sequence[int], param: object, mode: NDArray[np.int8], actions: base.Ints
    ) -> base.Board:
        """Decide the order in hand of each world that acts."""
        journal = Journal(ACTOR)
        board = orders.new_board(len(ids))
        floor = take(tx, ids, param)
        broken = floor.rows[:, sql.WORLD_BROKEN].copy()
        begins = mode == base.BEGIN
        if begins.any():
            season.begin(tx, self.setup, floor.only(tx, begins), journal)
        board.refusal[:] = self._act(tx, floor, mode == base.ACT, actions, journal)
        board.terms[:] = journal.earned(floor.ids)
        journal.write(tx)
        after = see(tx, ids, param)
        self._show(after, decisions.queue_hands(tx, after), board)
        board.violations[:] = after.rows[:, sql.WORLD_BROKEN] - broken
        return board

    def _act(
        self, tx: Transaction, floor: Floor, acts: Bools, actions: base.Ints, journal: Journal
    ) -> base.Ints:
        """Decide in the lanes that act; the refusals of all lanes."""
        refusal = np.zeros(len(acts), dtype=np.int64)
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

    def state(self, tx: Transaction, world: int) -> bytes:
        """A world's canonical state."""
        return live_state.of_world(tx, world).to_bytes()

    def put(self, tx: Transaction, world: int, name: str, data: bytes) -> None:
        """Put a canonical state into a world."""
        live_state.into_world(tx, self._templates, world, name, sound_state(data, self.setup))

    def facts(self, tx: Transaction, world: int) -> dict[str, int]:
        """A world's counters."""
        row = see(tx, [world]).rows[0]
        placed = int(row[sql.WORLD_PLACED])
        return {
            "day": int(row[sql.WORLD_DAY]),
            "family": int(row[sql.WORLD_FAMILY]),
            "cases": placed,
            "obligations": placed,
            "violations": int(row[sql.WORLD_BROKEN]),
        }

    def page(self, data: bytes) -> str:
        """The order desk as a page of text."""
        return orders.page(self.setup, State.from_bytes(data))

    def drop(self, tx: Transaction, ids: Sequence[int]) -> None:
        """Remove worlds with everything in them."""
        worlds.drop(tx, ids)


class EmbeddedBackend(LiveBackend):
    """N lanes of the retailer as worlds of the live service in this process.

    Args:
        setup: constants of the season.
        lanes: how many worlds.
        url: SQLAlchemy URL of the database.
        catalogue: what the SKUs are called and cost.
    """

    def __init__(
        self, setup: Setup, lanes: int, url: str = "sqlite://", catalogue: Catalogue | None = None
    ) -> None:
        super().__init__(LiveOrders(setup, catalogue), lanes, (), url)


@njit(cache=True)
def _observe(setup: Any, hands: Any, obs: Any, mask: Any) -> None:
    """Show each lane what the desk sees of its order in hand."""
    rank = np.zeros(setup.zone.shape[0], dtype=np.int64)
    plan = np.zeros(rules.MAX_LINES, dtype=np.int64)
    for i in range(len(obs)):
        orders.observe(setup, hands.case[i], hands.free[i], hands.picks[i], rank, plan, obs[i], mask[i])
