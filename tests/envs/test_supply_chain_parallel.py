"""The game of nodes: PettingZoo's own checks, rewards that add up, and eyes on one's own shelves only."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import workgym.envs
from workgym.services.kernel import BadInput

pettingzoo_test = pytest.importorskip("pettingzoo.test", reason="found no PettingZoo")
from workgym.envs.supply_chain.parallel import SupplyChainParallelEnv, parallel_env  # noqa: E402  needs PettingZoo

IDS = [env_id for env_id in workgym.envs.ENV_IDS if "SupplyChain" in env_id]
BEER = "workgym/SupplyChain.beer-game-v0"
SMALL: dict[str, dict[str, Any]] = {
    "workgym/SupplyChain.retail-v0": {"skus": 3, "stores": 2, "periods": 12},
    "workgym/SupplyChain-v0": {
        "network": json.loads(
            json.dumps(gym.make("workgym/SupplyChain.or-gym-v0", periods=9).unwrapped.network.to_dict())
        )
    },
}


def game_of(env_id: str, **more: Any) -> SupplyChainParallelEnv:
    return parallel_env(env_id, **{**SMALL.get(env_id, {"periods": 12}), **more})


def sampled(game: SupplyChainParallelEnv, rng: np.random.Generator) -> dict[str, Any]:
    """An action of each node."""
    actions = {}
    for name in game.agents:
        space = game.action_space(name)
        space.seed(int(rng.integers(2**31)))
        actions[name] = space.sample()
    return actions


@pytest.mark.parametrize("information", ["local", "full"])
@pytest.mark.parametrize("env_id", IDS)
def test_pettingzoo_finds_nothing_wrong(env_id: str, information: str) -> None:
    pettingzoo_test.parallel_api_test(game_of(env_id, information=information), num_cycles=30)


@pytest.mark.parametrize("env_id", [BEER, "workgym/SupplyChain.retail-v0"])
def test_a_seed_is_an_episode(env_id: str) -> None:
    pettingzoo_test.parallel_seed_test(lambda: game_of(env_id), num_cycles=12)


@pytest.mark.parametrize("backend", ["twin", "embedded"])
@pytest.mark.parametrize("actions", ["units", "box", "cover"])
@pytest.mark.parametrize("env_id", [BEER, "workgym/SupplyChain.retail-v0", "workgym/SupplyChain.or-gym-v0"])
def test_rewards_of_the_nodes_add_up_to_the_reward_of_the_whole(
    env_id: str, actions: str, backend: str
) -> None:
    game = game_of(env_id, actions=actions, backend=backend)
    twin = game_of(env_id, actions=actions).env
    rng = np.random.default_rng(5)
    game.reset(seed=8)
    twin.reset(seed=8)
    earned = False
    while game.agents:
        orders = sampled(game, rng)
        whole = game._together(orders)
        _, rewards, _, _, infos = game.step(orders)
        _, reward, _, _, info = twin.step(whole)
        assert sum(rewards.values()) == reward
        assert game.env.state_hash() == twin.state_hash()
        missed_by_customers = sum(infos[game.possible_agents[s]]["missed"] for s in game.env.network.stores)
        assert missed_by_customers >= info["constraint_cost"]
        earned = earned or reward != 0
    assert earned


def test_a_node_is_charged_for_its_own_stock_alone() -> None:
    game = game_of(BEER)
    game.reset(seed=0)
    _, rewards, _, _, _ = game.step(dict.fromkeys(game.agents, 0))
    # 12 cases and the 4 that arrive, less the 4 that the next stage or customers take; 0.50 each
    on_hand = game.story.told[-1][0]
    assert rewards == {name: -5.0 * on_hand[s] for s, name in enumerate(game.possible_agents)}
    assert on_hand.tolist() == [12, 12, 12, 12]


def test_orders_go_to_the_links_into_the_node() -> None:
    game = game_of("workgym/SupplyChain.or-gym-v0")  # stages with different largest orders, upstream last
    game.reset(seed=0)
    assert [int(game.action_space(name).n) for name in game.agents] == [101, 91, 81]
    game.step({"stage 1": 7, "stage 2": 8, "stage 3": 9})
    assert game.story.told[-1][2].tolist() == [7, 8, 9]


def test_a_node_sees_nothing_of_the_shelves_of_others() -> None:
    """Two episodes that differ at the retailer alone look the same to the factory."""
    game = game_of(BEER)
    quiet, _ = _played(game, 0)
    busy, rewards = _played(game, 40)
    assert (quiet["factory"] == busy["factory"]).all()
    assert (quiet["retailer"] != busy["retailer"]).any()
    full, _ = _played(game_of(BEER, information="full"), 40)
    other, _ = _played(game_of(BEER, information="full"), 0)
    assert (full["factory"] != other["factory"]).any()
    assert rewards["factory"] < 0


def _played(game: SupplyChainParallelEnv, orders: int) -> tuple[dict[str, Any], dict[str, Any]]:
    game.reset(seed=0)
    seen, rewards, *_ = game.step({**dict.fromkeys(game.agents, 4), "retailer": orders})
    return seen, rewards


def test_a_local_view_is_laid_out_as_documented() -> None:
    game = game_of(BEER)
    game.reset(seed=0)
    for _ in range(3):
        seen, *_ = game.step({**dict.fromkeys(game.agents, 4), "retailer": 30})
    game_sheet, lanes, reached = game._sheet, game.story.lanes, game.story.reached
    wholesaler = seen["wholesaler"]
    node, link = game_sheet.node_scale[2, 0], game_sheet.link_scale[:, 0]
    assert reached[3, 0] == 30  # the retailer's order of two weeks ago
    expected = [
        lanes.on_hand[0, 2, 0] * node,
        0.0,
        0.0,
        0.0,
        lanes.owed[0, 3, 0] * link[3],
        30 * link[3],
        (lanes.owed[0, 2, 0] + lanes.mail[0, 2, 0].sum()) * link[2],
        *(lanes.way[0, 2, 0] * link[2]),
        0.0,
        3 / 12,
    ]
    np.testing.assert_allclose(wholesaler, np.clip(expected, -8, 8), rtol=1e-6)


def test_what_is_no_order_of_the_node_is_told() -> None:
    game = game_of(BEER)
    game.reset(seed=0)
    with pytest.raises(BadInput, match="expected orders of factory"):
        game.step({"factory": 3})
    with pytest.raises(BadInput, match="by retailer, found 61"):
        game.step({**dict.fromkeys(game.agents, 0), "retailer": 61})
    with pytest.raises(BadInput, match="did you mean 'local'"):
        game_of(BEER, information="locall")
    with pytest.raises(BadInput, match="expected a supply chain"):
        parallel_env("workgym/Orders-v0")


def test_without_pettingzoo_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    monkeypatch.delitem(sys.modules, "workgym.envs.supply_chain.parallel")
    with pytest.raises(BadInput, match=r"pip install 'workgym\[pettingzoo\]'"):
        importlib.import_module("workgym.envs.supply_chain.parallel")


def test_pictures_pass_through() -> None:
    pytest.importorskip("matplotlib", reason="found no Matplotlib")
    game = game_of(BEER, render_mode="rgb_array")
    game.reset(seed=0)
    assert game.render().shape[2] == 3
