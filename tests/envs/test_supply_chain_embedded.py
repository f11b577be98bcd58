"""Twin and live supply chain are one business: equal at every step, and a bug in either is caught."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, literal_column, select, update

from workgym.envs import base
from workgym.envs.supply_chain.embedded import EmbeddedBackend
from workgym.envs.supply_chain.env import TwinBackend
from workgym.services.kernel import BadInput
from workgym.services.storage import Statement
from workgym.services.supply_chain import days, presets, rules
from workgym.services.supply_chain import statements as sql
from workgym.services.supply_chain.retail import retail
from workgym.services.supply_chain.scenario import Setup, setup_of
from workgym.services.supply_chain.spec import SUPPLIER, Distribution, Family, Link, Network, Node
from workgym.services.supply_chain.tables import stock, worlds

Ints = base.Ints
PERIODS = 12


def awkward() -> Network:
    """Everything that the presets leave out: losses, instalments, no overtaking, mail, packs, capacity."""
    first = Link(
        SUPPLIER, "hub", ((1, 500), (4, 500)), crosses=False, instalments_pm=(600, 0, 400), loss_pm=120,
        order_delay=2, keeps_orders=True, most=40, pack=3, capacity=25, cost=7, order_cost=5, transit=1,
        unshipped=2, opening=3,
    )  # fmt: skip
    second = Link("hub", "shop", 0, most=30, order_cost=1, order_delay=1, keeps_orders=True, unshipped=3)
    third = Link(SUPPLIER, "shop", ((0, 300), (2, 700)), most=9, cost=11, loss_pm=300)
    hub = Node("hub", holding=1, salvage=2, opening=(9, 0))
    shop = Node(
        "shop",
        Distribution("poisson", (4.0,)),
        price=20,
        holding=2,
        lost=3,
        waiting=4,
        waits_pm=400,
        opening=6,
    )
    families = (Family("normal"), Family("trouble", level_steps=6, late_days=2, outage_days=4, loss_pm=90))
    return Network(
        "awkward", (hub, shop), (first, second, third), ("a", "b"), periods=PERIODS, families=families
    )


NETWORKS: dict[str, Network] = {
    "lost-sales": presets.lost_sales(periods=PERIODS),
    "dual-sourcing": presets.dual_sourcing(periods=PERIODS),
    "serial": presets.serial(periods=PERIODS),
    "one-warehouse": presets.one_warehouse(periods=PERIODS),
    "beer-game": presets.beer_game(periods=PERIODS),
    "or-gym": presets.or_gym(periods=PERIODS),
    "or-gym-lost": presets.or_gym(lost=True, periods=PERIODS),
    "retail": retail(skus=3, stores=2, periods=PERIODS),
    "awkward": awkward(),
}


class Differs(AssertionError):
    """Twin and live service differ."""


@lru_cache
def setup(name: str) -> Setup:
    return setup_of(NETWORKS[name])


class Pair:
    """The same lanes as twin and as live service, driven together; a lane for each family and for none."""

    def __init__(
        self, name: str, kinds: tuple[str, str] = ("units", "flat"), url: str = "sqlite://", salt: int = 7
    ) -> None:
        self.name = name
        families = len(NETWORKS[name].families)
        self.lanes = n = families + 1
        self.twin: base.Backend = TwinBackend(setup(name), n, *kinds)
        self.live: base.Backend = EmbeddedBackend(NETWORKS[name], setup(name), n, *kinds, url)
        number = np.zeros(n, dtype=np.int64)
        self.episodes = base.Episodes(np.uint64(salt), np.arange(n), number, np.arange(n) - 1)
        self.decisions = setup(name).most.size
        nothing = np.zeros((n, self.decisions), dtype=np.int64)
        self.board = self.advance(np.full(n, base.BEGIN, dtype=np.int8), nothing)

    def advance(self, mode: Any, actions: Ints) -> base.Board:
        shown = self.twin.advance(mode, actions, self.episodes)
        _require_equal(shown, self.live.advance(mode, actions, self.episodes))
        self.board = shown
        return shown

    def step(self, actions: Ints) -> base.Board:
        """Act in every lane; a lane whose episode is over begins the next one."""
        over = self.board.ended
        self.episodes = self.episodes._replace(number=self.episodes.number + over)
        return self.advance(np.where(over, base.BEGIN, base.ACT).astype(np.int8), actions)

    def load(self, lane: int, data: bytes) -> None:
        shown = self.twin.load_state(lane, data)
        _require_equal(shown, self.live.load_state(lane, data))
        self.board = shown
        self.require_same_states()

    def require_same_states(self) -> None:
        for lane in range(self.lanes):
            if self.twin.state_bytes(lane) != self.live.state_bytes(lane):
                raise Differs(f"state of lane {lane}")

    def play(self, policy: Callable[[Pair, np.random.Generator], Ints], steps: int) -> None:
        rng = np.random.default_rng(1)
        for _ in range(steps):
            self.step(policy(self, rng))
            self.require_same_states()


def _require_equal(shown: base.Board, told: base.Board) -> None:
    for name, ours, theirs in zip(shown._fields, shown, told, strict=True):
        if ours is None or theirs is None:
            if ours is not theirs:
                raise Differs(f"{name}: {ours} and {theirs}")
        elif ours.dtype != theirs.dtype or ours.tobytes() != theirs.tobytes():
            raise Differs(f"{name}: {ours[ours != theirs][:5]} and {theirs[ours != theirs][:5]}")


def modest(pair: Pair, rng: np.random.Generator) -> Ints:
    """Orders about as large as a business places, and often none."""
    most = np.maximum(setup(pair.name).most.ravel() // 5, 1)
    orders = rng.integers(0, most + 1, size=(pair.lanes, pair.decisions))
    return orders * (rng.random(orders.shape) < 0.6)


def greedy(pair: Pair, rng: np.random.Generator) -> Ints:
    """More than sources have and links carry."""
    most = setup(pair.name).most.ravel()
    return rng.integers(most // 2, most + 1, size=(pair.lanes, pair.decisions))


def any_number(pair: Pair, rng: np.random.Generator) -> Ints:
    """Legal or not."""
    orders = modest(pair, rng)
    wrong = rng.random(pair.lanes) < 0.4
    orders[wrong, rng.integers(pair.decisions)] = rng.choice([-1, 10**7])
    return orders


@pytest.mark.parametrize("policy", [modest, greedy, any_number], ids=lambda one: one.__name__)
@pytest.mark.parametrize("name", NETWORKS)
def test_twin_and_live_are_equal_at_every_step(name: str, policy: Any) -> None:
    pair = Pair(name)
    while pair.episodes.number.min() == 0:  # until every episode ended, and the next one began
        pair.play(policy, PERIODS // 2)


@pytest.mark.parametrize("name", ["retail", "awkward"])
@pytest.mark.parametrize("observation", ["flat", "rows"])
def test_covers_and_rows_are_equal_too(name: str, observation: str) -> None:
    pair = Pair(name, ("cover", observation))
    pair.play(lambda p, rng: rng.integers(0, 16, size=(p.lanes, p.decisions)), PERIODS + 3)


def test_a_demand_that_is_replayed_is_equal() -> None:
    network = NETWORKS["retail"]
    rng = np.random.default_rng(4)
    shape = (PERIODS + 9, len(network.nodes), len(network.skus))
    replays = setup_of(network, rng.poisson(3.0, shape).astype(np.int32), rng.random(shape[::2]) < 0.1)
    twin, live = TwinBackend(replays, 2), EmbeddedBackend(network, replays, 2)
    number = np.zeros(2, dtype=np.int64)
    episodes = base.Episodes(np.uint64(1), number, number, number)
    mode = np.full(2, base.BEGIN, dtype=np.int8)
    for _ in range(PERIODS):
        orders = rng.integers(0, 9, size=(2, replays.most.size))
        _require_equal(twin.advance(mode, orders, episodes), live.advance(mode, orders, episodes))
        assert twin.state_bytes(1) == live.state_bytes(1)
        mode = np.zeros(2, dtype=np.int8)


@lru_cache
def _shared_pair() -> Pair:
    return Pair("awkward")


@settings(deadline=None, max_examples=40)
@given(
    salt=st.integers(0, 2**64 - 1),
    orders=st.lists(st.lists(st.integers(-1, 42), min_size=6, max_size=6), max_size=PERIODS),
)
def test_no_sequence_of_orders_tells_them_apart(salt: int, orders: list[list[int]]) -> None:
    pair = _shared_pair()
    pair.episodes = pair.episodes._replace(salt=np.uint64(salt))
    nothing = np.zeros((pair.lanes, pair.decisions), dtype=np.int64)
    pair.advance(np.full(pair.lanes, base.BEGIN, dtype=np.int8), nothing)
    for one in orders:
        pair.step(np.tile(np.array(one), (pair.lanes, 1)))
        pair.require_same_states()


def test_a_refused_order_changes_nothing_and_says_why() -> None:
    pair = Pair("retail")
    pair.play(modest, 3)
    before = [pair.live.state_bytes(lane) for lane in range(pair.lanes)]
    for wrong, reason in ((-1, rules.NOT_POSITIVE), (10**7, rules.TOO_MUCH)):
        orders = np.ones((pair.lanes, pair.decisions), dtype=np.int64)
        orders[:, 2] = wrong
        board = pair.step(orders)
        assert (board.refusal == reason).all()
        assert not board.terms.any()
        assert [pair.live.state_bytes(lane) for lane in range(pair.lanes)] == before


def test_an_episode_that_is_over_takes_no_order() -> None:
    pair = Pair("lost-sales")
    pair.play(modest, PERIODS)
    assert pair.board.ended.all()
    board = pair.advance(np.zeros(pair.lanes, dtype=np.int8), np.ones((pair.lanes, 1), dtype=np.int64))
    assert (board.refusal == rules.EPISODE_OVER).all()


# Snapshots


@pytest.mark.parametrize("name", ["awkward", "beer-game", "retail"])
def test_a_state_travels_both_ways_and_the_future_repeats_itself(name: str) -> None:
    pair = Pair(name)
    pair.play(greedy, PERIODS // 2)
    here, there = Pair(name, salt=8), Pair(name, salt=9)
    for lane in range(pair.lanes):
        here.load(lane, pair.live.state_bytes(lane))
        there.load(lane, pair.twin.state_bytes(lane))
    rng = np.random.default_rng(3)
    for _ in range(PERIODS // 2):
        orders = modest(pair, rng)
        boards = [one.advance(np.zeros(pair.lanes, dtype=np.int8), orders) for one in (pair, here, there)]
        _require_equal(boards[0], boards[1])
        _require_equal(boards[0], boards[2])
    assert pair.board.ended.all()
    for one in (pair, here, there):
        one.require_same_states()


def test_a_copy_goes_on_where_the_backend_was() -> None:
    pair = Pair("awkward")
    pair.play(modest, 4)
    copy = pickle.loads(pickle.dumps(pair.live))
    orders = modest(pair, np.random.default_rng(5))
    mode = np.zeros(pair.lanes, dtype=np.int8)
    _require_equal(pair.advance(mode, orders), copy.advance(mode, orders, pair.episodes))


def test_another_networks_state_is_refused_and_nothing_is_changed() -> None:
    pair = Pair("awkward")
    before = pair.live.state_bytes(0)
    for data in (b"nonsense", Pair("serial").live.state_bytes(0)):
        with pytest.raises(BadInput):
            pair.live.load_state(0, data)
    assert pair.live.state_bytes(0) == before


def test_facts_and_page_are_those_of_the_twin() -> None:
    pair = Pair("awkward")
    pair.play(modest, 5)
    assert pair.live.facts(1) == pair.twin.facts(1)
    assert pair.live.facts(1)["day"] == 5
    assert pair.live.render(1) == pair.twin.render(1)


# PostgreSQL


def test_the_live_service_is_equal_on_every_database(database_url: str) -> None:
    pair = Pair("awkward", url=database_url)
    pair.play(greedy, PERIODS + 2)
    pair.load(0, pair.live.state_bytes(1))
    pair.play(any_number, 5)
    pair.live.close()


def test_closing_leaves_nothing_of_the_lanes_behind(database_url: str) -> None:
    pair = Pair("awkward", url=database_url)
    pair.play(modest, 3)
    pair.live.close()
    other = EmbeddedBackend(NETWORKS["awkward"], setup("awkward"), 1, url=database_url)
    with other.database.read() as tx:
        left = tx.connection.execute(select(worlds.c.name)).all()
    assert len(left) == 1  # its own


# Planted bugs


def _dearer_supplier(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    _misinform(pair, cost=setup(pair.name).cost + 1)


def _longer_way(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    _misinform(pair, leads=np.minimum(setup(pair.name).leads + 1, 4))


def _larger_packs(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    _misinform(pair, pack=setup(pair.name).pack + 1)


def _misinform(pair: Pair, **constants: Any) -> None:
    """Go on with a twin that works with other constants than the service."""
    wrong = TwinBackend(setup(pair.name)._replace(**constants), pair.lanes)
    for lane in range(pair.lanes):
        wrong.load_state(lane, pair.twin.state_bytes(lane))
    pair.twin = wrong


def _shipments_get_lost(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(days, "_write_sends", lambda *_: None)


def _orders_are_not_written(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(days, "write_orders", lambda *_: None)


def _orders_are_shipped_again(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(days, "_write_lines", lambda *_: None)


def _shelves_stay_as_they_were(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(days, "_write_stock", lambda *_: None)


def _nothing_is_received(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    core = update(worlds).values(day=worlds.c.day).where(worlds.c.name == bindparam("worlds"))
    patch.setattr(sql, "RECEIVE", Statement(core, "worlds"))


def _backlog_is_forgotten(pair: Pair, patch: pytest.MonkeyPatch) -> None:
    core = (
        update(stock)
        .values(
            on_hand=bindparam("units"),
            backlog=bindparam("waiting") * literal_column("0"),
            asked=bindparam("seen"),
            level=bindparam("usual"),
            sold=stock.c.sold + bindparam("more"),
        )
        .where(
            stock.c.world_id == bindparam("world"),
            stock.c.node == bindparam("at"),
            stock.c.sku == bindparam("what"),
        )
    )
    patch.setattr(sql, "SET_STOCK", Statement(core, *sql.SET_STOCK.names))


BUGS = [
    _dearer_supplier,
    _longer_way,
    _larger_packs,
    _shipments_get_lost,
    _orders_are_not_written,
    _orders_are_shipped_again,
    _shelves_stay_as_they_were,
    _nothing_is_received,
    _backlog_is_forgotten,
]


@pytest.mark.parametrize("plant", BUGS, ids=lambda one: one.__name__[1:])
def test_a_planted_bug_is_caught(plant: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair("awkward")
    plant(pair, monkeypatch)
    with pytest.raises((Differs, IndexError)):
        pair.play(greedy, PERIODS)
