"""The live side of the supply chain: N worlds of the service, advanced set-wise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.envs import base
from workgym.envs.live import ACTOR, LiveBackend
from workgym.envs.supply_chain import env, view
from workgym.services.compiled import KERNEL
from workgym.services.storage import Transaction
from workgym.services.supply_chain import days, live_state, rules, twin, worlds
from workgym.services.supply_chain import statements as sql
from workgym.services.supply_chain.days import Booked
from workgym.services.supply_chain.floor import Floor, Journal, Yard, read, see, take
from workgym.services.supply_chain.scenario import Setup, drawn_family
from workgym.services.supply_chain.soundness import sound_state
from workgym.services.supply_chain.spec import Network
from workgym.services.supply_chain.state import State
from workgym.services.supply_chain.tables import metadata
from workgym.services.supply_chain.worlds import Plan


class LiveChain:
    """How worlds of a network are opened, advanced and read; it has buffers for its lanes.

    Args:
        network: what nodes, links and SKUs are called.
        setup: the same as arrays.
        lanes: how many worlds.
        actions: `units` or `cover`.
        observation: `flat` or `rows`.
    """

    metadata = metadata

    def __init__(
        self,
        network: Network,
        setup: Setup,
        lanes: int,
        actions: str = "units",
        observation: str = "flat",
    ) -> None:
        self.setup = setup
        self._kinds = (actions, observation)
        self._plan = Plan(network, setup)
        self._arrays = twin.empty_lanes(setup, lanes)
        self.sheet = view.sheet_of(setup)
        self._insight = view.new_insight(setup, self.sheet, lanes)

    def open(self, tx: Transaction, names: Sequence[str]) -> list[int]:
        """Worlds before anything happened."""
        return [worlds.open_world(tx, self._plan, name, 0, 0) for name in names]

    def reopen(
        self,
        tx: Transaction,
        ids: Sequence[int],
        names: Sequence[str],
        keys: Sequence[int],
        families: Sequence[int],
    ) -> None:
        """Put worlds at their beginning again."""
        worlds.reopen(tx, self._plan, ids, names, keys, families)

    def drawn_family(self, key: np.uint64) -> int:
        """The family that an episode's key draws."""
        return int(drawn_family(key, len(self.setup.families)))

    def advance(
        self, tx: Transaction, ids: Sequence[int], param: object, mode: NDArray[np.int8], actions: base.Ints
    ) -> base.Board:
        """Order and close the day in each world that acts."""
        journal = Journal(ACTOR)
        floor = take(tx, ids, param)
        yard = read(tx, self.setup, floor, self._arrays)
        missed = floor.rows[:, sql.WORLD_MISSED].copy()
        booked, refusal = self._act(tx, floor, yard, mode == base.ACT, actions, journal)
        journal.write(tx)
        return self._show(floor, booked, refusal, floor.rows[:, sql.WORLD_MISSED] - missed)

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
        lanes = len(acts)
        booked = Booked.nothing(self.setup, lanes)
        refusal = np.zeros(lanes, dtype=np.int64)
        if acts.any():
            kind = view.kind_of(self._kinds[0], self._kinds[1] == "rows")
            asked = np.ascontiguousarray(actions).reshape(lanes, -1)
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
        credit = np.zeros((len(refusal), self.setup.most.size), dtype=np.int64)
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

    def state(self, tx: Transaction, world: int) -> bytes:
        """A world's canonical state."""
        return live_state.of_world(tx, self._plan, world).to_bytes()

    def put(self, tx: Transaction, world: int, name: str, data: bytes) -> None:
        """Put a canonical state into a world."""
        live_state.into_world(tx, self._plan, world, name, sound_state(data, self.setup))

    def facts(self, tx: Transaction, world: int) -> dict[str, int]:
        """A world's counters."""
        counters = np.zeros(twin.LANE_WIDTH, dtype=np.int64)
        counters[[twin.FAMILY, twin.DAY, twin.ENDED, twin.DEMANDED, twin.MISSED]] = see(tx, [world]).rows[
            0, sql.WORLD_FAMILY : sql.WORLD_MISSED + 1
        ]
        return env.facts_of(counters)

    def page(self, data: bytes) -> str:
        """The stock as a page of text."""
        return env.page(self.setup, State.from_bytes(data))

    def drop(self, tx: Transaction, ids: Sequence[int]) -> None:
        """Remove worlds with everything in them."""
        worlds.drop(tx, ids)


class EmbeddedBackend(LiveBackend):
    """N lanes of a network as worlds of the live service in this process.

    Args:
        network: what nodes, links and SKUs are called.
        setup: the same as arrays.
        lanes: how many worlds.
        actions: `units` or `cover`.
        observation: `flat` or `rows`.
        url: SQLAlchemy URL of the database.
    """

    live: LiveChain

    def __init__(
        self,
        network: Network,
        setup: Setup,
        lanes: int,
        actions: str = "units",
        observation: str = "flat",
        url: str = "sqlite://",
    ) -> None:
        live = LiveChain(network, setup, lanes, actions, observation)
        super().__init__(live, lanes, (setup.most.size,), url)

    def insight(self) -> view.Insight:
        """What planners see of all lanes: expected demand and positions."""
        return self.live.insight()


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
