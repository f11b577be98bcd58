"""Claims about the bound: nobody exceeds it, and on small problems the best of all plans meets it."""

from itertools import product

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from workgym.agents.baselines import baselines, inventory, make_baseline
from workgym.agents.baselines.foresight_lp import optimal_average, regret, upper_bound
from workgym.envs.supply_chain.env import Parts, Wish, lanes_of
from workgym.services.kernel import BadInput
from workgym.services.supply_chain import presets
from workgym.services.supply_chain.scenario import setup_of
from workgym.services.supply_chain.spec import SUPPLIER, Distribution, Family, Link, Network, Node
from workgym.services.supply_chain.state import State

RETAIL = "workgym/SupplyChain.retail-v0"
CASES = [
    (inventory.LOST_SALES, {}),
    (inventory.DUAL_SOURCING, {}),
    (inventory.SERIAL, {}),
    *((inventory.ONE_WAREHOUSE, {"waits_pm": waits}) for waits in (0, 800, 1000)),
    (inventory.BEER_GAME, {}),
    *((inventory.OR_GYM, {"lost": lost}) for lost in (False, True)),
    *(
        (RETAIL, {"skus": 3, "stores": 2, "family": family})
        for family in ("promotion", "supplier-late", "supplier-outage", "price-rise")
    ),
]


def bounds(env, lanes, discount=1.0):
    """Of the episodes that have just begun."""
    worlds = [State.from_bytes(env.backend.state_bytes(lane)) for lane in range(lanes)]
    return np.array([upper_bound(env.parts.setup, now.key, now.family, discount) for now in worlds])


@pytest.mark.parametrize(("env_id", "arguments"), CASES)
def test_no_baseline_exceeds_the_bound_of_its_episode(env_id, arguments):
    env = gym.make_vec(env_id, num_envs=3, autoreset_mode=AutoresetMode.DISABLED, split="gate", **arguments)
    env.reset(seed=0)
    most = bounds(env, 3)
    for name in baselines(env_id):
        money = inventory.episode_money(env, make_baseline(env_id, name))
        assert (money <= most + 1e-6 * np.abs(most)).all(), name


def vector(network, lanes):
    setup = setup_of(network)
    parts = Parts("workgym/SupplyChain-v0", network, setup, lambda split: parts)
    return lanes_of(parts, lanes, Wish())


def played(network, plans):
    """Money of every plan (N, T, D) on the same episode, and its bound."""
    env = vector(network, len(plans))
    env.reset(seed=[0] * len(plans))
    most = bounds(env, 1)[0]
    total = sum(env.step(plans[:, period])[1] for period in range(network.periods))
    return total, most


TINY = {
    "lost sales": presets.lost_sales(1, 4, mean=1.5, most=3, periods=4),
    "backlog": presets.dual_sourcing(1, most=3, periods=2),
    "a chain": Network(
        "chain",
        (
            Node("centre", holding=1, opening=2),
            Node("shop", Distribution("poisson", (1.5,)), price=9, holding=2, lost=3, salvage=2, opening=1),
        ),
        (Link(SUPPLIER, "centre", 1, most=3, cost=4, transit=1), Link("centre", "shop", 0, most=3)),
        periods=3,
    ),
    "goods come after the decision": Network(
        "late",
        (
            Node(
                "shop",
                Distribution("uniform", (0, 4)),
                price=9,
                holding=2,
                waiting=3,
                waits_pm=1000,
                opening=1,
            ),
        ),
        (Link(SUPPLIER, "shop", 1, most=3, cost=4, capacity=2, keeps_orders=True, unshipped=1, opening=1),),
        periods=5,
        receives_first=False,
    ),
}


@pytest.mark.parametrize("name", TINY)
def test_the_best_of_all_plans_earns_the_bound(name):
    network = TINY[name]
    decisions = [range(4)] * (network.periods * len(network.links))
    plans = np.array(list(product(*decisions)), dtype=np.int64)
    shape = (len(plans), network.periods, len(network.links))
    money, most = played(
        network, plans.reshape(shape) if len(network.links) > 1 else plans.reshape(shape)[..., 0]
    )
    assert money.max() == pytest.approx(most, abs=1e-6)


@st.composite
def networks(draw):
    """A centre and two shops: losses, instalments, overtaking, packs, order costs, late suppliers."""
    store = {
        "price": 30, "lost": draw(st.integers(0, 9)), "waiting": draw(st.integers(0, 5)), "holding": 2,
        "waits_pm": draw(st.sampled_from([0, 400, 1000])), "salvage": draw(st.integers(0, 4)), "opening": 3,
    }  # fmt: skip
    laws = [Distribution("poisson", (2.0,), moves=draw(st.booleans())), Distribution("uniform", (0, 5))]
    leads = st.sampled_from([0, 1, 3, ((1, 500), (4, 500))])
    first = Link(
        SUPPLIER, "centre", draw(leads), crosses=draw(st.booleans()), loss_pm=draw(st.sampled_from([0, 250])),
        instalments_pm=draw(st.sampled_from([(1000,), (500, 500), (300, 0, 700)])),
        order_delay=draw(st.integers(0, 2)), keeps_orders=draw(st.booleans()), most=9, cost=5, order_cost=7,
        capacity=draw(st.sampled_from([0, 5])), transit=1, unshipped=1, opening=draw(st.integers(0, 3)),
    )  # fmt: skip
    links = [
        Link("centre", name, draw(leads), keeps_orders=draw(st.booleans()), crosses=False, most=9, pack=pack)
        for name, pack in (("north", 1), ("south", 3))
    ]
    nodes = (
        Node("centre", holding=1, salvage=1, opening=4),
        *(Node(name, law, **store) for name, law in zip(("north", "south"), laws, strict=True)),
    )
    family = draw(
        st.sampled_from([Family("normal"), Family("late", late_days=2), Family("out", outage_days=3)])
    )
    return Network(
        "any", nodes, (first, *links), periods=12, families=(family,), receives_first=draw(st.booleans())
    )


@given(network=networks(), seed=st.integers(0, 2**31 - 1), share=st.sampled_from([0.2, 0.5, 1.0]))
@settings(max_examples=40, deadline=None)
def test_nobody_exceeds_the_bound_of_any_network(network, seed, share):
    plans = np.random.default_rng(seed).integers(0, int(9 * share) + 1, (64, network.periods, 3))
    money, most = played(network, plans)
    assert money.max() <= most + 1e-6 * abs(most)


def test_a_discount_weighs_later_money_less():
    env = vector(presets.or_gym(), 1)
    env.reset(seed=0)
    assert bounds(env, 1, 0.97)[0] < bounds(env, 1)[0]


def test_a_cost_below_zero_is_refused():
    network = Network(
        "odd", (Node("shop", Distribution("constant", (1,)), holding=-1),), (Link(SUPPLIER, "shop"),)
    )
    with pytest.raises(BadInput, match="holding of 0 or more"):
        upper_bound(setup_of(network), 1)


# Regret


@pytest.mark.parametrize(
    ("env_id", "name", "bound"),
    [
        (inventory.LOST_SALES, "best-base-stock", "optimal average"),
        (inventory.OR_GYM, "echelon-base-stock", "perfect information"),
    ],
)
def test_a_policy_regrets_something_and_the_noop_more(env_id, name, bound):
    ours = regret(env_id, make_baseline(env_id, name), range(40), split="gate")
    idle = regret(env_id, make_baseline(env_id, "noop"), range(40), split="gate")
    assert ours.bound == idle.bound == bound
    assert 0 < ours.mean < idle.mean
    assert ours.error < ours.mean


def test_the_optimum_of_a_problem_that_is_too_large_is_not_known():
    assert optimal_average(inventory.LOST_SALES, presets.lost_sales(lead_time=20)) is None
    assert optimal_average(inventory.BEER_GAME, presets.beer_game()) is None


def test_the_optimum_regrets_nothing_in_the_long_run():
    found = regret(
        inventory.LOST_SALES, make_baseline(inventory.LOST_SALES, "optimal"), range(500), periods=300
    )
    assert abs(found.mean) < 4 * found.error
