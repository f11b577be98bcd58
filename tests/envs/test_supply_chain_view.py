"""What is seen of a supply chain: the documented layout, on a small network and by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import workgym.envs  # noqa: F401  the import registers the ids
from workgym.envs.contract import Snapshot
from workgym.envs.supply_chain import view
from workgym.envs.supply_chain.env import Parts, Wish, lanes_of
from workgym.services.supply_chain.scenario import setup_of
from workgym.services.supply_chain.spec import SUPPLIER, Calendar, Distribution, Link, Network, Node
from workgym.services.supply_chain.state import State

GENERAL = "workgym/SupplyChain-v0"
# Two units a period through a depot. Promotions never, season of two octaves' halves to see the calendar.
CHAIN = Network(
    "two",
    nodes=(
        Node("depot", holding=1, opening=9),
        Node("shop", Distribution("constant", (2,)), price=10, holding=1, lost=2, opening=3),
    ),
    links=(
        Link(SUPPLIER, "depot", 1, order_delay=1, keeps_orders=True, cost=4, order_cost=28, most=9),
        Link("depot", "shop", 0, keeps_orders=True, order_cost=7, pack=3, capacity=4, most=9),
    ),
    periods=6,
    calendar=Calendar(season=((0, 0, 0, 16, 16, 16),), random_start=False),
)


def shown(network: Network, observation: str, **changes: Any) -> tuple[np.ndarray, State]:
    """What the env shows of its opening state, changed."""
    env: Any = gym.make(GENERAL, network=network, observation=observation).unwrapped
    env.reset(seed=0)
    here: Snapshot = env.snapshot()
    state = State.from_bytes(here.state)
    for name, value in changes.items():
        now = getattr(state, name)
        fits = np.broadcast_to(np.asarray(value), now.shape).copy() if isinstance(now, np.ndarray) else value
        state = replace(state, **{name: fits})
    obs, _ = env.restore(replace(here, state=state.to_bytes()))
    return obs, state


def test_a_flat_observation_has_the_documented_layout() -> None:
    way = [[[0, 5]], [[0, 0]]]  # five units reach the depot in the next period
    mail = [[[1, 3]], [[0, 0]]]
    obs, _ = shown(
        CHAIN, "flat", day=3, on_hand=[[7], [4]], backlog=[[0], [1]], level=[[0], [640]],
        owed=[[2], [3]], mail=mail, way=way,
    )  # fmt: skip
    node = 1 / (2 * (1 + 2))  # usual demand of the longest lead time and two periods
    into_depot, into_shop = 1 / (2 * (1 + 2)), 1 / (2 * (0 + 2))
    expected = [
        7 * node, 0.0,  # depot: net stock, estimated demand
        (4 - 1) * node, 640 / 256 * node,  # shop
        2 * into_depot, 1 * into_depot, 3 * into_depot, 0.0, 5 * into_depot,  # owed, mail, way
        3 * into_shop, 0.0, 0.0, 0.0, 0.0,
        1.0,  # an octave of season in the fourth period
        3 / 6,
    ]  # fmt: skip
    np.testing.assert_allclose(obs, expected, rtol=1e-6)


ROWS: dict[str, tuple[float, float]] = {  # of the link into the depot, and of that into the shop
    "on hand": (7 / 6, 4 / 2),
    "waiting customers": (0.0, 1 / 2),
    "owed on this link, or ordered and not there yet": ((2 + 4) / 6, 3 / 2),
    # below the depot lies all: 7 + 4 - 1 on shelves, 5 on the way, 2 owed, 4 in the mail
    "position of the node, or of it and all below it": (21 / 6, (4 - 1 + 3) / 2),
    "on hand at the source": (0.0, 7 / 2),
    "the source is a supplier": (1.0, 0.0),
    "expected demand of the next period": (1.0, 1.0),
    # three periods from period 1 on: 2, 2 and, in season, 4
    "expected demand until an order of today has done its service (protection interval)": (8 / 6, 1.0),
    "expected demand of the week after": ((2 + 2 + 1 + 1 + 1 + 2 + 2) / 7, (1 + 2 + 2 + 2 + 1 + 1 + 1) / 7),
    "demand of the last period": (5 / 2, 5 / 2),
    "promoted now": (0.0, 0.0),
    "promoted within the protection interval": (0.0, 0.0),
    "size: log2 of the expected demand a period": (0.25, 0.25),
    "margin, share of the price": (0.6, 0.6),
    # a missed unit costs 6 of margin and 2 of goodwill, a kept one 1 a period of the lead time
    "critical ratio of a missed against a kept unit, over the lead time": (8 / 9, 8 / 9),
    "price of an order, over that of a week's goods": (28 / (14 * 4), 7 / (14 * 10)),
    "mean lead time": (1 / 8, 0.0),
    "spread of the lead time": (0.0, 0.0),
    "the source is closed": (0.0, 0.0),
    "purchase price today, over the usual": (1.0, 1.0),
    "expected demand of the next three periods": (4 / 3, 4 / 3),
    "lumpiness: variance over mean of demand": (0.0, 0.0),
    "units that are ordered together": (1 / 6, 3 / 2),
    "share of the link's capacity that a usual period takes": (0.0, 2 / 4),
}


def test_rows_show_what_the_head_says() -> None:
    obs, _ = shown(
        CHAIN, "rows", day=1, on_hand=[[7], [4]], backlog=[[0], [1]], level=[[0], [512]],
        owed=[[2], [3]], mail=[[[1, 3]], [[0, 0]]], way=[[[0, 5]], [[0, 0]]], asked=[[0], [5]],
    )  # fmt: skip
    assert tuple(ROWS) == view.HEAD
    assert obs.shape == (2, view.FEATURES) == (2, len(view.HEAD) + view.SLOTS + len(view.OUTLOOK))
    for feature, (name, expected) in enumerate(ROWS.items()):
        np.testing.assert_allclose(obs[:, feature], expected, rtol=1e-5, atol=1e-12, err_msg=name)
    pipeline = obs[:, len(view.HEAD) : -3]
    assert pipeline[0].tolist() == [0.0, np.float32(5 / 6), *[0.0] * 6]
    assert not pipeline[1].any()


def test_the_last_slot_holds_all_that_comes_later() -> None:
    far = replace(CHAIN.links[0], lead_time=12, order_delay=0)
    network = replace(CHAIN, links=(far, CHAIN.links[1]))
    way = np.zeros((2, 1, 13), dtype=np.int64)
    way[0, 0] = np.arange(13)
    obs, _ = shown(network, "rows", way=way, level=[[0], [512]])
    unit = 1 / (2 * 13)  # protection of 12 periods and one
    slots = [0, 1, 2, 3, 4, 5, 6, 7 + 8 + 9 + 10 + 11 + 12]
    np.testing.assert_allclose(obs[0, len(view.HEAD) : -3], [n * unit for n in slots], rtol=1e-6)


# Expected: 8 units in three periods into the depot, 2 in one into the shop; constant demand counts as a
# quarter as lumpy as Poisson's. A tenth of a normal law lies below the mean less 1.2816 deviations.
ESTIMATED = [
    [(8 - 1.2816 * (8 / 4) ** 0.5) / 6, 8 / 6, (8 + 1.2816 * (8 / 4) ** 0.5) / 6],
    [(2 - 1.2816 * (2 / 4) ** 0.5) / 2, 2 / 2, (2 + 1.2816 * (2 / 4) ** 0.5) / 2],
]


def test_without_a_forecast_rows_end_with_the_estimate() -> None:
    obs, _ = shown(CHAIN, "rows", day=1, level=[[0], [512]])
    np.testing.assert_allclose(obs[:, -3:], ESTIMATED, rtol=1e-5)
    none, _ = shown(CHAIN, "rows", day=1, level=[[0], [32]])  # P10 of so little would be below zero
    assert none[1, -3] == 0.0 < none[1, -2] < none[1, -1]


def test_with_a_forecast_rows_end_with_what_it_told_before_the_period() -> None:
    history = np.full((6, 2, 1), 2, np.int32)
    told = np.zeros((6, 2, 1, 3), np.int32)
    told[0] = [[[3 * 256, 6 * 256, 999 * 256]], [[1, 2, 3]]]
    told[1] = [[[256, 512, 768]], [[-1, -1, -1]]]  # of the shop it tells nothing
    parts = Parts(GENERAL, CHAIN, setup_of(CHAIN, history, None, told), lambda _: parts)
    env = lanes_of(parts, 2, Wish(observation="rows"))
    first, _ = env.reset(seed=0)
    expected = [[3 / 6, 6 / 6, view.BOUND], [1 / 512, 2 / 512, 3 / 512]]
    np.testing.assert_allclose(first[:, :, -3:], [expected] * 2, rtol=1e-5)
    second = env.step(np.zeros((2, 2), dtype=np.int64))[0]
    expected = [[1 / 6, 2 / 6, 3 / 6], ESTIMATED[1]]
    np.testing.assert_allclose(second[:, :, -3:], [expected] * 2, rtol=1e-5)


LARGEST = int(np.iinfo(np.int32).max)


@pytest.mark.parametrize("observation", ["flat", "rows"])
@pytest.mark.parametrize("count", [0, 1, LARGEST])
def test_features_are_bounded_and_finite_at_extremes(observation: str, count: int) -> None:
    env: Any = gym.make("workgym/SupplyChain.retail-v0", skus=3, stores=2, observation=observation).unwrapped
    env.reset(seed=0)
    here = env.snapshot()
    state = State.from_bytes(here.state)
    names = ("on_hand", "backlog", "asked", "level", "owed", "mail", "way")
    for full in ({*names}, *({one} for one in names)):
        arrays = {name: np.full_like(getattr(state, name), count if name in full else 0) for name in names}
        obs, _ = env.restore(replace(here, state=replace(state, **arrays).to_bytes()))
        assert np.isfinite(obs).all()
        assert np.abs(obs).max() <= view.BOUND
        assert env.observation_space.contains(obs)


def test_an_ended_episode_shows_nothing() -> None:
    env: Any = gym.make(GENERAL, network=CHAIN).unwrapped
    env.reset(seed=0)
    for _ in range(6):
        obs, _, over, _, _ = env.step(np.zeros(2, dtype=np.int64))
    assert over
    assert not obs.any()
