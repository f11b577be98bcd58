"""Claims of the supply chain's environment: actions, rewards, families, any network."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import workgym.envs
from workgym.envs import conformance
from workgym.envs.supply_chain.env import units_of
from workgym.envs.supply_chain.story import ARRIVED, BOOKED, ORDERED, Remembered
from workgym.services.kernel import BadInput
from workgym.services.supply_chain import scenario
from workgym.services.supply_chain.retail import FAMILIES, retail
from workgym.services.supply_chain.scenario import EXTERNAL, setup_of
from workgym.services.supply_chain.spec import SUPPLIER, Distribution, Link, Network, Node
from workgym.services.supply_chain.state import State

GENERAL = "workgym/SupplyChain-v0"
RETAIL = "workgym/SupplyChain.retail-v0"
LOST_SALES = "workgym/SupplyChain.lost-sales-v0"
CHAINS = [env_id for env_id in workgym.envs.ENV_IDS if "SupplyChain" in env_id]
# As a company would write it: a depot of 5 and a shop of 3, two customers a period.
BY_HAND = """{
  "name": "by hand", "periods": 2,
  "nodes": [
    {"name": "depot", "holding": 1, "opening": 5},
    {"name": "shop", "demand": {"kind": "constant", "parameters": [2]},
     "price": 10, "holding": 1, "lost": 3, "salvage": 2, "opening": 3}
  ],
  "links": [
    {"source": "supplier", "target": "depot", "lead_time": 1, "cost": 4, "order_cost": 5, "most": 9},
    {"source": "depot", "target": "shop", "lead_time": 0, "most": 9}
  ]
}"""


def made(env_id: str, **arguments: Any) -> Any:
    return gym.make(env_id, **arguments).unwrapped


def state_of(env: Any) -> State:
    return State.from_bytes(env.snapshot().state)


def remembering(env: Any) -> Any:
    """The same env with its story, without pictures."""
    env.backend = env._lanes.backend = Remembered(
        env.backend, env.backend.setup, env.arguments["actions"] == "cover"
    )
    return env.backend.story


# Actions


@pytest.mark.parametrize("observation", ["flat", "rows"])
@pytest.mark.parametrize("actions", ["units", "box", "cover"])
@pytest.mark.parametrize("env_id", [env_id for env_id in CHAINS if env_id != GENERAL])
def test_every_action_is_legal(env_id: str, actions: str, observation: str) -> None:
    env = made(env_id, actions=actions, observation=observation)
    env.action_space.seed(2)
    env.reset(seed=2)
    space = env.action_space
    extremes = (
        [space.low, space.high]
        if actions == "box"
        else [0 * space.sample(), (space.nvec if space.shape else np.int64(space.n)) - 1]
    )
    for action in (*extremes, *(space.sample() for _ in range(6))):
        *_, info = env.step(action)
        assert "refused" not in info


@pytest.mark.parametrize("env_id", [LOST_SALES, "workgym/SupplyChain.serial-v0", RETAIL])
def test_a_box_reaches_from_nothing_to_the_largest_order(env_id: str) -> None:
    box, units = made(env_id, actions="box"), made(env_id, actions="units")
    most = box.backend.setup.most.ravel()
    for number, order in ((-1.0, 0 * most), (1.0, most), (-7.0, 0 * most), (7.0, most)):
        box.reset(seed=1)
        units.reset(seed=1)
        box.step(np.full(len(most), number, dtype=np.float32))
        units.step(order if units.action_space.shape else order[0])
        assert box.state_hash() == units.state_hash()


def test_a_box_rounds_to_whole_units() -> None:
    most = np.array([10, 3])
    assert units_of(most, np.array([[0.0, 0.0], [-0.89, -0.68]])).tolist() == [[5, 2], [1, 0]]


@pytest.mark.parametrize(
    ("choice", "order"),
    # 25 units are expected until the next order is there (5 periods of 5) and 25 on hand or on the way;
    # Poisson demand deviates by 5: -1.5, ... 5.5 of them.
    [(0, 0), (1, 0), (4, 0), (5, 3), (7, 8), (9, 13), (15, 28)],
)
def test_a_cover_choice_orders_up_to_expected_demand_and_safety(choice: int, order: int) -> None:
    cover, units = made(LOST_SALES, actions="cover"), made(LOST_SALES)
    cover.reset(seed=3)
    units.reset(seed=3)
    cover.step(choice)
    units.step(order)
    assert cover.state_hash() == units.state_hash()


def test_a_cover_counts_what_lies_below() -> None:
    """The depot's position includes the shop's shelf, so a full shop keeps the depot from ordering."""
    for on_shelf, bought in ((40, 0), (0, 4)):
        network = json.loads(BY_HAND)
        network["nodes"][0]["opening"], network["nodes"][1]["opening"] = 0, on_shelf
        env = made(GENERAL, network=network, actions="cover")
        story = remembering(env)
        env.reset(seed=0)
        env.step(np.array([4, 0]))  # up to what two periods of 2 take, without safety
        assert story.told[-1][ORDERED].tolist() == [bought, 0]


# Rewards


def test_an_env_over_a_network_written_by_hand_books_what_is_worked_out_by_hand() -> None:
    env = made(GENERAL, network=json.loads(BY_HAND))
    env.reset(seed=0)
    # 4 go from the depot to the shop at once, 2 are sold: 1 and 5 are left. 6 cost 4 each, and the order 5.
    _, reward, over, _, info = env.step(np.array([6, 4]))
    assert info["reward_terms"] == {
        "sales": 20, "purchases": -24, "ordering": -5, "holding": -6, "shortage": 0, "salvage": 0,
    }  # fmt: skip
    assert reward == -15
    assert not over
    # 7 in the depot, 5 in the shop; 2 are sold, 3 are left there for 2 each.
    _, reward, over, _, info = env.step(np.array([0, 0]))
    assert info["reward_terms"] == {
        "sales": 20, "purchases": 0, "ordering": 0, "holding": -10, "shortage": 0, "salvage": 6,
    }  # fmt: skip
    assert over


@pytest.mark.parametrize("env_id", CHAINS)
def test_who_orders_nothing_pays_nothing_for_it(env_id: str) -> None:
    env = made(env_id, actions="units")
    env.reset(seed=4)
    purchases = ordering = 0
    over = False
    while not over:
        _, _, over, _, info = env.step(0 * env.action_space.sample())
        purchases += info["reward_terms"]["purchases"]
        ordering += info["reward_terms"]["ordering"]
    assert ordering == purchases == 0


def test_a_rows_credit_is_what_its_sku_earned_at_the_target_and_below() -> None:
    env = made(RETAIL, skus=3, stores=2, periods=8)
    story = remembering(env)
    env.reset(seed=6)
    env.action_space.seed(6)
    over = False
    while not over:
        _, reward, over, _, info = env.step(env.action_space.sample() // 40)
        credit = info["credit"].reshape(3, 3)  # links into the centre and two stores, SKUs
        booked = story.told[-1][BOOKED]
        assert credit.sum(axis=1).tolist() == [booked.sum(), booked[1], booked[2]]
        assert credit[0].sum() == reward


# Families


def _months(family: str, seed: int, orders: np.ndarray | None = None) -> tuple[Any, Any, list[Any]]:
    """An episode with the same orders every day; env, story, infos."""
    env = made(RETAIL, skus=2, stores=1, periods=60)
    story = remembering(env)
    env.reset(seed=seed, options={"family": family})
    given = np.array([12, 12, 0, 0]) if orders is None else orders
    return env, story, [env.step(given)[4]["reward_terms"] for _ in range(60)]


def test_an_outage_ships_nothing_for_nine_days() -> None:
    *_, usual = _months("normal", 7)
    env, _, struck = _months("supplier-outage", 7)
    closed = [day for day, terms in enumerate(struck) if terms["purchases"] == 0]
    assert all(terms["purchases"] < 0 for terms in usual)
    assert len(closed) == 9
    assert closed == list(range(closed[0], closed[0] + 9))
    assert 15 <= closed[0] <= 30  # in the second quarter
    setup, key = env.backend.setup, np.uint64(state_of(env).key)
    outage = [one.name for one in FAMILIES].index("supplier-outage")
    assert [day for day in range(60) if scenario.is_closed(setup, key, outage, day, 0)] == closed


def test_a_price_rise_raises_purchases_by_its_share_from_a_day_on() -> None:
    *_, usual = _months("normal", 8)
    *_, dear = _months("price-rise", 8)
    ratios = [b["purchases"] / a["purchases"] for a, b in zip(usual, dear, strict=True)]
    first = next(day for day, ratio in enumerate(ratios) if ratio != 1.0)
    assert 15 <= first <= 30
    np.testing.assert_allclose(ratios[first:], 1.15, atol=0.002)  # a unit's price is rounded to cents
    for name in ("sales", "holding", "shortage"):
        assert [one[name] for one in usual] == [one[name] for one in dear]


def test_late_suppliers_deliver_later_and_all() -> None:
    _, usual, _ = _months("normal", 9)
    _, late, _ = _months("supplier-late", 9)
    arrived = [np.cumsum([told[ARRIVED, 0] for told in story.told]) for story in (usual, late)]
    assert (arrived[1] <= arrived[0]).all()
    assert (arrived[1] < arrived[0]).any()
    assert (arrived[1][6:] >= arrived[0][:-6] - 1e-9).all()  # at most six days later


@pytest.mark.parametrize(("family", "most"), [("peak", 14), ("promotion", 60)])
def test_a_busy_family_asks_for_more_and_never_for_less(family: str, most: int) -> None:
    setup = setup_of(retail("train", 2, 1, 60))
    normal, busy = 0, [one.name for one in FAMILIES].index(family)
    days_with_more = 0
    for key in np.arange(1, 21, dtype=np.uint64):
        gap = np.array(
            [
                [scenario.demand_of(setup, key, f, t, 1, k) for t in range(60) for k in range(2)]
                for f in (normal, busy)
            ]
        )
        assert (gap[1] >= gap[0]).all()
        days = (gap[1] > gap[0]).reshape(60, 2).any(axis=1).sum()
        assert days <= most
        days_with_more += days
    assert days_with_more > 20


def test_a_shift_moves_skus_up_and_down_for_good() -> None:
    setup = setup_of(retail("train", 12, 1, 60))
    shift = [one.name for one in FAMILIES].index("shift")
    for key in np.arange(1, 6, dtype=np.uint64):
        begins = scenario.changes_at(setup, key)
        moved = np.array(
            [
                [
                    scenario.hidden_steps(setup, key, shift, t, k)
                    - scenario.hidden_steps(setup, key, 0, t, k)
                    for k in range(12)
                ]
                for t in range(60)
            ]
        )
        assert not moved[:begins].any()
        assert (np.abs(moved[begins:]) == 9).all()
        assert (moved[begins:] == moved[-1]).all()
        assert {-9, 9} == set(moved[-1].tolist())


# Estimates


def test_the_estimated_demand_is_smoothed_over_sixteen_periods() -> None:
    """By hand where all was served; a shop that runs out counts what it sold, or what it expected."""
    env = made(LOST_SALES, mean=5.0, lead_time=0, periods=40)
    env.reset(seed=5)
    plenty = scarce = 0
    for period in range(40):
        before = state_of(env)
        env.step(10 if period < 8 else 0)
        after = state_of(env)
        demand, unmet = after.demanded - before.demanded, after.missed - before.missed
        expected = int(before.level[0, 0]) // 256
        seen = demand if unmet == 0 else max(demand - unmet, min(expected, demand))
        assert after.asked[0, 0] == seen
        assert after.level[0, 0] == before.level[0, 0] + (seen * 256 - before.level[0, 0]) // 16
        plenty, scarce = plenty + (unmet == 0), scarce + (unmet > 0)
    assert plenty > 5
    assert scarce > 5


# Any network


def test_a_network_as_plain_data_is_the_network() -> None:
    network = made("workgym/SupplyChain.beer-game-v0").network
    plain = json.loads(json.dumps(network.to_dict()))
    one, other = made(GENERAL, network=network), made(GENERAL, network=plain)
    assert one.network == other.network
    assert conformance.trajectory(one, 3, 40) == conformance.trajectory(other, 3, 40)


def test_an_unknown_parameter_is_told_with_the_nearest_known() -> None:
    with pytest.raises(BadInput, match="did you mean 'lead_time'"):
        made(LOST_SALES, lead_tme=3)
    with pytest.raises(BadInput, match="did you mean 'cover'"):
        made(LOST_SALES, actions="covers")
    broken = json.loads(BY_HAND)
    broken["nodes"][0]["openning"] = broken["nodes"][0].pop("opening")
    with pytest.raises(BadInput, match="did you mean 'opening'"):
        made(GENERAL, network=broken)


SMALL = st.integers(0, 6)


@st.composite
def networks(draw: st.DrawFn, loss: bool) -> Network:
    """Up to four nodes, each supplied from outside or by an earlier one; a unit costs 1 and sells for 1."""
    count = draw(st.integers(1, 4))
    nodes, links = [], []
    for n in range(count):
        sells = n == count - 1 or draw(st.booleans())
        law = Distribution("uniform", (0, draw(st.integers(0, 9)))) if sells else None
        waits = draw(st.sampled_from((0, 500, 1000)))
        nodes.append(Node(f"node {n}", law, price=1, waits_pm=waits, opening=draw(SMALL)))
        for source in sorted(draw(st.sets(st.integers(-1, n - 1), min_size=1, max_size=2))):
            links.append(draw(link_to(n, source, loss)))
    return Network("random", tuple(nodes), tuple(links), periods=9, receives_first=draw(st.booleans()))


@st.composite
def link_to(draw: st.DrawFn, n: int, source: int, loss: bool) -> Link:
    leads = draw(st.sets(st.integers(0, 4), min_size=1, max_size=2))
    shares = (1000,) if len(leads) == 1 else (300, 700)
    return Link(
        SUPPLIER if source < 0 else f"node {source}",
        f"node {n}",
        tuple(zip(sorted(leads), shares, strict=True)),
        crosses=draw(st.booleans()),
        instalments_pm=draw(st.sampled_from(((1000,), (600, 400), (0, 333, 667)))),
        loss_pm=draw(st.sampled_from((0, 50, 400))) if loss else 0,
        order_delay=draw(st.integers(0, 2)),
        keeps_orders=draw(st.booleans()),
        most=9,
        pack=draw(st.sampled_from((1, 4))),
        capacity=draw(st.sampled_from((0, 5))),
        cost=1 if source < 0 else 0,
        opening=draw(SMALL),
    )


@pytest.mark.parametrize("loss", [False, True])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_no_unit_comes_from_nowhere_or_vanishes(loss: bool, data: st.DataObject, seed: int) -> None:
    """Opening and bought = on hand, on the way, sold and lost on the way."""
    network = data.draw(networks(loss))
    env = made(GENERAL, network=network)
    setup, rng = env.backend.setup, np.random.default_rng(seed)
    env.reset(seed=seed)
    opening = state_of(env)
    before = int(opening.on_hand.sum() + opening.way.sum())
    bought = sold = 0
    for _ in range(9):
        order = rng.integers(0, setup.most.ravel() + 1)
        *_, info = env.step(order if env.action_space.shape else int(order[0]))
        bought -= info["reward_terms"]["purchases"]
        sold += info["reward_terms"]["sales"]
        now = state_of(env)
        here = int(now.on_hand.sum() + now.way.sum())
        lost = before + bought - here - sold
        assert lost >= 0
        if not loss:
            assert lost == 0
        assert now.demanded - now.missed <= sold + int(now.backlog.sum()) + now.missed
    assert (setup.source == EXTERNAL).any()
