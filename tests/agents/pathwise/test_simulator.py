"""Claims about the torch twin: in whole units it plays the twin's numbers, in fractions it can be derived."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from workgym.agents.pathwise.happenings import happenings
from workgym.agents.pathwise.sight import Flat, Rows
from workgym.agents.pathwise.simulator import Simulator, facts_of, ledger
from workgym.envs.supply_chain.env import ENV_ID, Parts, SupplyChainVectorEnv, Wish, lanes_of
from workgym.services.scenario import episode_key, split_salt
from workgym.services.supply_chain import presets
from workgym.services.supply_chain.retail import retail
from workgym.services.supply_chain.scenario import setup_of
from workgym.services.supply_chain.spec import SUPPLIER, Distribution, Link, Network, Node
from workgym.services.supply_chain.state import State

LANES, SEED = 3, 11


def troubled(receives_first):
    """Two suppliers' troubles, instalments, losses, packs, delays, capacity, customers who half wait."""
    small = retail(skus=3, stores=2, periods=40)
    links = [
        replace(
            link,
            loss_pm=120,
            crosses=n == 1,
            order_delay=n % 3,
            instalments_pm=(500, 300, 200),
            lead_time=((1, 400), (4, 600)),
            unshipped=2,
            transit=1,
            pack=4,
            keeps_orders=n == 1,
            capacity=40,
        )
        for n, link in enumerate(small.links)
    ]
    nodes = [replace(node, waits_pm=300, waiting=5, lost=7) for node in small.nodes]
    return replace(
        small, name="troubled", links=tuple(links), nodes=tuple(nodes), receives_first=receives_first
    )


NETWORKS = {
    "lost-sales": presets.lost_sales(periods=40),
    "dual-sourcing": presets.dual_sourcing(periods=40),
    "serial": presets.serial(periods=40),
    "one-warehouse": presets.one_warehouse(periods=40),
    "one-warehouse, partly lost": presets.one_warehouse(waits_pm=300, periods=40),
    "beer-game": presets.beer_game(),
    "or-gym": presets.or_gym(),
    "or-gym, lost": presets.or_gym(lost=True),
    "retail": retail(skus=4, stores=2, periods=40),
    "troubled": troubled(receives_first=True),
    "troubled, late": troubled(receives_first=False),
}


def whole(slots, shape):
    """(B, A, K, periods) units; None is none."""
    return torch.stack([torch.zeros(shape) if units is None else units for units in slots], dim=-1)


def check_state(stock, env, shape):
    states = [State.from_bytes(env.backend.state_bytes(lane)) for lane in range(LANES)]
    links = (LANES, *shape)
    mine = {name: getattr(stock, name) for name in ("on_hand", "backlog", "asked", "level")}
    mine |= {"owed": whole((stock.owed,), links)[..., 0]}
    mine |= {"mail": whole(stock.mail, links), "way": whole(stock.way, links)}
    for name, found in mine.items():
        expected = np.stack([getattr(state, name) for state in states])
        np.testing.assert_array_equal(found.numpy(), expected, err_msg=name)


def both(network, observation="flat"):
    """The twin's env, and the simulator with the same episodes written out."""
    env = SupplyChainVectorEnv(LANES, network=network, actions="box", observation=observation)
    obs, _ = env.reset(seed=SEED)
    setup, salt = env.backend.setup, split_salt(env.task.env_id, "train")
    keys = np.array([episode_key(salt, SEED + lane, 0) for lane in range(LANES)], dtype=np.uint64)
    eye = (Rows if observation == "rows" else Flat)(setup, torch.float64)
    told = happenings(setup, keys, np.full(LANES, -1), setup.periods, eye.ahead)
    return env, obs, Simulator(setup, torch.float64, exact=True), eye, told


def some_orders(rng, decisions):
    """Box actions: mostly small orders, sometimes none, sometimes the largest."""
    shares = rng.random((LANES, decisions)) ** 4 * rng.choice([0.0, 0.3, 1.0], size=(LANES, decisions))
    return (2.0 * shares - 1.0).astype(np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_whole_orders_play_as_in_the_twin(name):
    env, _, simulator, _, told = both(NETWORKS[name])
    rng, shape = np.random.default_rng(SEED), env.backend.setup.most.shape
    stock, facts = simulator.opened(LANES), facts_of(told, torch.float64)
    for t in range(NETWORKS[name].periods):
        check_state(stock, env, shape)
        action = some_orders(rng, env.backend.setup.most.size)
        orders = torch.from_numpy(env.task.decode(action)).double().view(LANES, *shape)
        stock, books = simulator.play(stock, orders, facts, t, told)
        _, _, _, _, info = env.step(action)
        terms = np.stack([info["reward_terms"][term] for term in env.task.terms], axis=1)
        np.testing.assert_array_equal(ledger(books, LANES, torch.float64).numpy(), terms)


@pytest.mark.parametrize("observation", ["flat", "rows"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_policy_sees_what_the_env_shows(name, observation):
    env, obs, simulator, eye, told = both(NETWORKS[name], observation)
    rng, shape = np.random.default_rng(SEED), env.backend.setup.most.shape
    stock, facts = simulator.opened(LANES), facts_of(told, torch.float64)
    for t in range(NETWORKS[name].periods):
        seen = eye.look(stock, told, t).numpy().reshape(obs.shape)
        np.testing.assert_allclose(seen, obs, atol=1e-5)
        action = some_orders(rng, env.backend.setup.most.size)
        orders = torch.from_numpy(env.task.decode(action)).double().view(LANES, *shape)
        stock, _ = simulator.play(stock, orders, facts, t, told)
        obs, *_ = env.step(action)


def test_a_policy_sees_the_outlook_that_the_env_shows():
    network, rng = retail(skus=3, stores=2, periods=30), np.random.default_rng(SEED)
    outlook = np.sort(rng.integers(0, 30_000, (50, 3, 3, 3), dtype=np.int32), axis=-1)
    outlook[rng.random((50, 3, 3)) < 0.2] = -1  # nothing was told
    setup = setup_of(network, rng.integers(0, 9, (50, 3, 3), dtype=np.int32), None, outlook)
    parts = Parts(ENV_ID, network, setup, lambda _: parts)
    env = lanes_of(parts, LANES, Wish(actions="box", observation="rows"))
    obs, _ = env.reset(seed=SEED)
    keys = np.array([episode_key(split_salt(ENV_ID, "train"), SEED + n, 0) for n in range(LANES)], np.uint64)
    eye, simulator = Rows(setup, torch.float64), Simulator(setup, torch.float64, exact=True)
    told = happenings(setup, keys, np.full(LANES, -1), setup.periods, eye.ahead)
    assert len(set(told.begins.tolist())) > 1
    stock, facts = simulator.opened(LANES), facts_of(told, torch.float64)
    for t in range(network.periods):
        seen = eye.look(stock, told, t).numpy().reshape(obs.shape)
        np.testing.assert_allclose(seen, obs, atol=1e-5)
        action = some_orders(rng, setup.most.size)
        orders = torch.from_numpy(env.task.decode(action)).double().view(LANES, *setup.most.shape)
        stock, _ = simulator.play(stock, orders, facts, t, told)
        obs, *_ = env.step(action)


@pytest.mark.parametrize("name", ["lost-sales", "dual-sourcing", "one-warehouse, partly lost", "troubled"])
def test_the_gradient_is_the_slope_of_the_money(name):
    env, *_ = both(NETWORKS[name])
    setup, rng = env.backend.setup, np.random.default_rng(SEED)
    simulator = Simulator(setup, torch.float64)
    keys = np.arange(LANES, dtype=np.uint64) + np.uint64(SEED)
    told = happenings(setup, keys, np.full(LANES, -1), 12)
    facts = facts_of(told, torch.float64)
    usual = np.maximum((setup.reach @ setup.usual)[setup.target] / 256.0, 0.5)
    orders = torch.from_numpy(usual * rng.uniform(0.3, 1.7, (12, LANES, *setup.most.shape)))

    def money(given):
        stock, total = simulator.opened(LANES), torch.zeros((), dtype=torch.float64)
        for t in range(12):
            stock, books = simulator.play(stock, given[t], facts, t, told)
            total = total + sum(earned.sum() for _, earned in books)
        return total

    orders.requires_grad_(True)
    (slope,) = torch.autograd.grad(money(orders), orders)
    along = torch.from_numpy(rng.normal(size=orders.shape))
    with torch.no_grad():
        step = 1e-6
        difference = (money(orders + step * along) - money(orders - step * along)) / (2 * step)
    assert float((slope * along).sum()) == pytest.approx(float(difference), rel=1e-4)


def test_an_order_costs_more_the_larger_it_is_and_never_more_than_its_fixed_cost():
    shop = Node("shop", Distribution("constant", (1,)))
    network = Network("n", (shop,), (Link(SUPPLIER, "shop", order_cost=90),), periods=5)
    setup = SupplyChainVectorEnv(1, network=network).backend.setup
    simulator = Simulator(setup, torch.float64, order_width=3.0)
    told = happenings(setup, np.array([1], np.uint64), np.array([0]), 1)

    def cost(units):
        orders = torch.full((1, 1, 1), units, dtype=torch.float64)
        _, books = simulator.play(simulator.opened(1), orders, facts_of(told, torch.float64), 0, told)
        return -float(ledger(books, 1, torch.float64)[0, 2])

    costs = [cost(units) for units in (0.0, 1.0, 3.0, 10.0, 60.0)]
    assert costs[0] == 0
    assert costs == sorted(costs)
    assert costs[-1] == pytest.approx(90)
