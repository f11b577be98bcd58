"""Twin and live service are one business: equal at every step, and a bug in either is caught."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, literal_column, select, update

from workgym.envs import base, orders
from workgym.envs.embedded import EmbeddedBackend
from workgym.services.kernel import BadInput
from workgym.services.orders import days, scenario
from workgym.services.orders import statements as sql
from workgym.services.orders.tables import centres, stock, worlds
from workgym.services.storage import Among, Statement

Ints = base.Ints
Policy = Callable[[base.Board, np.random.Generator], Ints]
FAMILIES = len(scenario.FAMILIES)
COSTS = slice(orders.HEAD + 4 * orders.PER_CENTRE, orders.HEAD + 4 * (orders.PER_CENTRE + 3))


class Differs(AssertionError):
    """Twin and live service differ."""


class Pair:
    """The same lanes as twin and as live service, driven together."""

    def __init__(
        self, lanes: int, setup: scenario.Setup | None = None, url: str = "sqlite://", salt: int = 7
    ) -> None:
        setup = setup or short()
        self.lanes = lanes
        self.twin: base.Backend = orders.TwinBackend(setup, lanes)
        self.live: base.Backend = EmbeddedBackend(setup, lanes, url)
        number = np.zeros(lanes, dtype=np.int64)
        self.episodes = base.Episodes(
            np.uint64(salt), np.arange(lanes), number, np.arange(lanes) % (FAMILIES + 1) - 1
        )
        self.board = self.advance(np.full(lanes, base.BEGIN, dtype=np.int8), number)

    def advance(self, mode: Any, actions: Ints) -> base.Board:
        shown = self.twin.advance(mode, actions, self.episodes)
        _require_equal(shown, self.live.advance(mode, actions, self.episodes))
        self.board = shown
        return shown

    def step(self, actions: Ints) -> base.Board:
        """Act in every lane; a lane whose season is over begins the next one."""
        over = self.board.ended
        self.episodes = self.episodes._replace(number=self.episodes.number + over)
        return self.advance(np.where(over, base.BEGIN, base.ACT).astype(np.int8), actions)

    def load(self, lane: int, data: bytes) -> None:
        shown = self.twin.load_state(lane, data)
        _require_equal(shown, self.live.load_state(lane, data))
        self.board = shown
        self.require_same_state(lane)

    def require_same_state(self, *lanes: int) -> None:
        for lane in lanes:
            if self.twin.state_bytes(lane) != self.live.state_bytes(lane):
                raise Differs(f"state of lane {lane}")
            if self.twin.facts(lane) != self.live.facts(lane):
                raise Differs(f"facts of lane {lane}")

    def play(self, policy: Policy, steps: int) -> None:
        rng = np.random.default_rng(1)
        for step in range(steps):
            self.step(policy(self.board, rng))
            self.require_same_state(step % self.lanes)
        self.require_same_state(*range(self.lanes))


def _require_equal(shown: base.Board, told: base.Board) -> None:
    for name, ours, theirs in zip(shown._fields, shown, told, strict=True):
        if ours is None and theirs is None:
            continue
        if ours.dtype != theirs.dtype or ours.tobytes() != theirs.tobytes():
            raise Differs(f"{name}: {ours[ours != theirs][:5]} and {theirs[ours != theirs][:5]}")


@lru_cache
def short() -> scenario.Setup:
    """Seasons that end while a test looks."""
    return orders.setup_for("train", days=4)


def legal(board: base.Board, rng: np.random.Generator) -> Ints:
    return np.array([rng.choice(np.flatnonzero(mask)) for mask in board.mask])


def any_number(board: base.Board, rng: np.random.Generator) -> Ints:
    return rng.integers(-2, board.mask.shape[1] + 2, size=len(board.mask))


def illegal(board: base.Board, rng: np.random.Generator) -> Ints:
    """Refused wherever something can be."""
    return np.array([rng.choice(np.flatnonzero(~mask)) if not mask.all() else 99 for mask in board.mask])


def cheapest(board: base.Board, rng: np.random.Generator) -> Ints:
    """What the department does today: the cheapest whole shipment, else split, else hold."""
    n = COSTS.stop - COSTS.start
    cost = np.where(board.mask[:, :n], board.obs[:, COSTS], 9.0)
    fallback = np.where(board.mask[:, n], n, n + 1)
    return np.where(board.mask[:, :n].any(axis=1), cost.argmin(axis=1), fallback)


def mostly_waiting(board: base.Board, rng: np.random.Generator) -> Ints:
    """Long queues, customers who give up, and splits when they are possible."""
    split = board.mask.shape[1] - 3
    held = np.where(rng.random(len(board.mask)) < 0.7, split + 1, legal(board, rng))
    return np.where(board.mask[:, split], split, held)


@pytest.mark.parametrize(
    "policy", [legal, any_number, cheapest, mostly_waiting], ids=lambda one: one.__name__
)
def test_twin_and_live_are_equal_at_every_step(policy: Policy) -> None:
    pair = Pair(3 * (FAMILIES + 1))
    pair.play(policy, 60)
    while pair.episodes.number.max() == 0:  # until a season ended, and the next one began
        pair.play(policy, 20)


def test_sixty_four_worlds_are_equal() -> None:
    Pair(64).play(legal, 40)


def test_a_refused_action_changes_nothing_on_either_side() -> None:
    pair = Pair(FAMILIES + 1)
    pair.play(cheapest, 12)
    before = [pair.live.state_bytes(lane) for lane in range(pair.lanes)]
    board = pair.step(illegal(pair.board, np.random.default_rng(0)))
    assert (board.refusal > 0).all()
    assert not board.terms.any()
    assert [pair.live.state_bytes(lane) for lane in range(pair.lanes)] == before


def test_the_default_season_is_equal_to_its_end() -> None:
    pair = Pair(2, orders.setup_for("gate"))
    rng = np.random.default_rng(0)
    while pair.episodes.number.min() == 0:
        pair.step(legal(pair.board, rng))
    pair.require_same_state(0, 1)


def test_seasons_with_idle_days_are_equal() -> None:
    pair = Pair(8, orders.setup_for("train", days=12, orders_per_day=0.5))
    pair.play(legal, 20)


def test_lanes_that_rest_stand_still() -> None:
    pair = Pair(4)
    before = pair.live.state_bytes(3)
    pair.advance(np.array([base.ACT, base.BEGIN, base.ACT, base.REST], dtype=np.int8), np.full(4, 13))
    pair.require_same_state(0, 1, 2, 3)
    assert pair.live.state_bytes(3) == before


@settings(max_examples=25, deadline=None)
@given(
    salt=st.integers(0, 2**64 - 1),
    actions=st.lists(st.integers(-1, 15), max_size=40),
    family=st.integers(0, FAMILIES - 1),
)
def test_no_sequence_of_actions_tells_them_apart(salt: int, actions: list[int], family: int) -> None:
    pair = _shared_pair()
    pair.episodes = base.Episodes(
        np.uint64(salt), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), np.array([family])
    )
    pair.advance(np.array([base.BEGIN], dtype=np.int8), np.zeros(1, dtype=np.int64))
    for action in actions:
        pair.step(np.array([action]))
        pair.require_same_state(0)


@lru_cache
def _shared_pair() -> Pair:
    return Pair(1, orders.setup_for("train", days=2, orders_per_day=6.0))


# Snapshots


def test_a_state_travels_both_ways_and_the_future_repeats_itself() -> None:
    pair = Pair(FAMILIES)
    pair.play(mostly_waiting, 25)
    here, there = Pair(FAMILIES, salt=8), Pair(FAMILIES, salt=9)
    for lane in range(FAMILIES):
        here.load(lane, pair.live.state_bytes(lane))
        there.load(lane, pair.twin.state_bytes(lane))
    rng = np.random.default_rng(3)
    for _ in range(40):
        actions = legal(pair.board, rng)
        boards = [one.advance(np.zeros(FAMILIES, dtype=np.int8), actions) for one in (pair, here, there)]
        _require_equal(boards[0], boards[1])
        _require_equal(boards[0], boards[2])
    for one in (pair, here, there):
        one.require_same_state(*range(FAMILIES))


def test_the_state_of_a_season_that_is_over_travels_too() -> None:
    pair = Pair(1)
    while not pair.board.ended[0]:
        pair.step(cheapest(pair.board, np.random.default_rng(0)))
    data = pair.live.state_bytes(0)
    pair.step(np.array([13]))
    pair.load(0, data)
    assert pair.board.ended[0]


def test_another_seasons_state_is_refused_and_nothing_is_changed() -> None:
    pair = Pair(1)
    before = pair.live.state_bytes(0)
    other = before.replace(b'"free":[[', b'"free":[[1,')
    for data in (b"nonsense", other):
        with pytest.raises(BadInput):
            pair.live.load_state(0, data)
    pair.require_same_state(0)
    assert pair.live.state_bytes(0) == before


# PostgreSQL


def test_the_live_service_is_equal_on_every_database(database_url: str) -> None:
    pair = Pair(FAMILIES + 1, url=database_url)
    pair.play(any_number, 25)
    pair.play(cheapest, 25)
    pair.load(0, pair.live.state_bytes(1))
    pair.play(mostly_waiting, 10)
    pair.live.close()


def test_closing_leaves_nothing_of_the_lanes_behind(database_url: str) -> None:
    pair = Pair(2, url=database_url)
    pair.play(cheapest, 5)
    pair.live.close()
    other = EmbeddedBackend(short(), 1, database_url)
    with other.database.read() as tx:
        left = tx.connection.execute(select(worlds.c.name).where(worlds.c.template == 0)).all()
    assert len(left) == 1  # its own


# Planted bugs


def _misinform(pair: Pair, setup: scenario.Setup) -> None:
    """Go on with a twin that works with other constants than the service."""
    wrong = orders.TwinBackend(setup, pair.twin.lanes)
    for lane in range(wrong.lanes):
        wrong.load_state(lane, pair.twin.state_bytes(lane))
    pair.twin = wrong


def _dearer_carrier(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    setup = short()
    _misinform(pair, setup._replace(per_kg=setup.per_kg + 1))


def _slower_carrier(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    setup = short()
    _misinform(pair, setup._replace(transit=setup.transit + 1))


def _other_demand(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    setup = short()
    _misinform(pair, setup._replace(inbound=setup.inbound + 700))


def _picks_counted_twice(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    core = (
        update(centres)
        .values(picks_left=centres.c.picks_left - bindparam("lines") * literal_column("2"))
        .where(centres.c.world_id == bindparam("world"), centres.c.centre == bindparam("at"))
    )
    patch.setattr(sql, "PICK", Statement(core, "lines", "world", "at"))


def _shelf_keeps_what_left(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    core = update(stock).values(reserved=literal_column("0")).where(Among(stock.c.world_id, "worlds"))
    patch.setattr(sql, "LEAVE_SHELF", Statement(core, "worlds"))


def _nobody_gives_up(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(days, "withdraw_impatient", lambda *_: None)


def _deliveries_get_lost(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(days, "receive", lambda *_: None)


def _promises_are_not_counted(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    core = update(worlds).values(broken=worlds.c.broken + bindparam("more") * literal_column("0"))
    patch.setattr(
        sql, "BREAK_PROMISES", Statement(core.where(worlds.c.id == bindparam("world")), "more", "world")
    )


BUGS = [
    _dearer_carrier,
    _slower_carrier,
    _other_demand,
    _picks_counted_twice,
    _shelf_keeps_what_left,
    _nobody_gives_up,
    _deliveries_get_lost,
    _promises_are_not_counted,
]


@pytest.mark.parametrize("plant", BUGS, ids=lambda one: one.__name__[1:])
def test_a_planted_bug_is_caught(plant: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(2 * (FAMILIES + 1))
    plant(pair, monkeypatch)
    with pytest.raises(Differs):
        pair.play(mostly_waiting if plant is _nobody_gives_up else legal, 120)
