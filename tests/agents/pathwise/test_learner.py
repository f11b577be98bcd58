"""Claims about learning through the simulator: chunks are pure, and what is learned is worth it."""

import json

import gymnasium as gym
import numpy as np
import pytest
import torch

from tests.support.chains import chain, sha
from workgym.agents.pathwise import learner
from workgym.agents.pathwise.learner import Net, problem_of, scattered, train_for_cost
from workgym.agents.pathwise.policy import QuantityPolicy
from workgym.agents.pathwise.recipe import PathwiseRecipe
from workgym.agents.policy import load_policy
from workgym.agents.presets import PRESETS
from workgym.agents.states import read_state
from workgym.agents.training import initial_state, make_recipe, policy_from, train_chunk
from workgym.envs.supply_chain.view import sheet_of
from workgym.services.kernel import BadInput

ENV = "workgym/SupplyChain.lost-sales-v0"
RETAIL = "workgym/SupplyChain.retail-v0"
TINY = {
    "env_id": ENV,
    "algorithm": "pathwise",
    "env_kwargs": {"lead_time": 2},
    "updates": 5,
    "chunk_updates": 3,
    "lanes": 8,
    "window": 10,
    "tail": 3,
    "warm_up": 4,
    "net": [6],
}
ROWS = TINY | {
    "env_id": RETAIL,
    "env_kwargs": {"skus": 3, "stores": 2, "periods": 12, "observation": "rows"},
    "window": 0,
    "rounding": "whole",
}


@pytest.mark.parametrize("fields", [TINY, ROWS])
def test_a_chunk_depends_on_its_state_alone(fields):
    recipe = make_recipe(fields)
    states, reports = chain(recipe)
    assert len(states) == 3
    torch.manual_seed(5)
    np.random.seed(5)
    again, report = train_chunk(make_recipe(json.loads(json.dumps(recipe.to_dict()))), 1, states[1])
    assert sha(again) == sha(states[2])
    assert (report.mean_return, report.gradient) == (reports[1].mean_return, reports[1].gradient)
    assert len({sha(state) for state in states}) == 3
    assert sum(one.steps for one in reports) > 0


def test_another_seed_trains_another_policy():
    first, other = (make_recipe(TINY | {"seed": seed}) for seed in (0, 1))
    assert first.digest() != other.digest()
    assert policy_from(first, initial_state(first)) != policy_from(other, initial_state(other))


def test_states_of_other_recipes_or_chunks_are_refused():
    recipe = make_recipe(TINY)
    state = initial_state(recipe)
    with pytest.raises(BadInput, match="found one of"):
        train_chunk(make_recipe(TINY | {"seed": 9}), 0, state)
    with pytest.raises(BadInput, match="found the one after 0"):
        train_chunk(recipe, 1, state)
    with pytest.raises(BadInput, match="damage"):
        policy_from(recipe, state[:-9])


@pytest.mark.parametrize("fields", [TINY, ROWS])
def test_the_saved_policy_orders_what_the_network_does(fields):
    recipe = make_recipe(fields)
    state = chain(recipe)[0][-1]
    policy = load_policy(policy_from(recipe, state, "mine"))
    assert isinstance(policy, QuantityPolicy)
    assert policy.name == "mine"
    problem = problem_of(recipe)
    rng = np.random.default_rng(0)
    told = problem.draw(rng, 16, 1)
    stock = scattered(problem, rng, problem.simulator.opened(16), 1.0)
    seen = problem.eye.look(stock, told, 0)
    tensors = read_state(recipe, state)
    net: Net = learner._net_of(recipe, tensors)
    features = np.arange(problem.eye.features)
    orders = net.seeing(features, np.ones(len(features))).orders(problem, seen).reshape(16, -1).numpy()
    obs = seen.numpy().reshape(16, *problem.task.observation_space.shape)
    wholes = policy.quantities(obs, problem.setup.most.ravel())
    near = np.clip(orders, 0, problem.setup.most.ravel())
    assert np.abs(wholes - near).max() < 0.501
    assert (wholes > 0).any()


@pytest.mark.parametrize("fields", [TINY, ROWS])
def test_a_trained_policy_plays_the_env_and_is_never_refused(fields):
    recipe = make_recipe(fields)
    policy = load_policy(policy_from(recipe, initial_state(recipe)))
    env = gym.make_vec(recipe.env_id, num_envs=4, split="gate", **{**recipe.env_kwargs, **policy.view})
    policy.begin(env)
    obs, _ = env.reset(seed=1)
    for _ in range(8):
        obs, _, _, _, info = env.step(policy.act(obs, env.mask))
        assert "refused" not in info


def test_a_policy_starts_as_one_that_orders_up_to_a_level():
    recipe = PathwiseRecipe("workgym/SupplyChain.serial-v0", window=20)
    problem = problem_of(recipe)
    rng, most = np.random.default_rng(0), problem.setup.most.ravel()
    policy = load_policy(policy_from(recipe, initial_state(recipe)))
    told = problem.draw(rng, 64, 1)
    stock = scattered(problem, rng, problem.simulator.opened(64), 1.0)
    obs = problem.eye.look(stock, told, 0)
    position = obs.double().numpy() @ problem.eye.position()
    orders = policy.quantities(obs.numpy(), most)
    level = sheet_of(problem.setup).protection * problem.units.numpy() * learner.FIRST_LEVEL
    up_to = np.clip(level - position, 0, most)
    for d in range(len(most)):
        assert np.corrcoef(up_to[:, d], orders[:, d])[0, 1] > 0.95


def test_fields_that_make_no_sense_are_refused():
    for fields, words in (
        ({"learning_rat": 1}, "did you mean 'learning_rate'"),
        ({"rounding": "hole"}, "did you mean 'whole'"),
        ({"tail": 10}, "tail within the window"),
        ({"lanes": 0}, "as lanes"),
        ({"lanes": 1.5}, "a whole number"),
        ({"net": []}, "hidden layers"),
    ):
        with pytest.raises(BadInput, match=words):
            make_recipe(TINY | fields)
    with pytest.raises(BadInput, match="did you mean 'pathwise'"):
        make_recipe({"env_id": ENV, "algorithm": "pathwize"})
    with pytest.raises(BadInput, match="expected a supply chain"):
        initial_state(make_recipe(TINY | {"env_id": "workgym/Orders-v0", "env_kwargs": {}}))
    with pytest.raises(BadInput, match="split 'train'"):
        initial_state(make_recipe(TINY | {"env_kwargs": {"split": "audit"}}))


@pytest.mark.parametrize("name", [name for name in PRESETS if PRESETS[name].get("algorithm") == "pathwise"])
def test_presets_are_recipes(name):
    assert isinstance(make_recipe({"env_id": ENV, **PRESETS[name]}), PathwiseRecipe)


def test_a_short_training_beats_the_best_base_stock_policy():
    fields = PRESETS["pathwise"] | {"updates": 200, "chunk_updates": 200, "lanes": 128}
    policy, seconds = train_for_cost(ENV, env_kwargs={"lead_time": 4, "penalty": 4}, **fields)
    assert seconds > 0
    env = gym.make_vec(ENV, num_envs=256, split="audit", lead_time=4, penalty=4, periods=600, **policy.view)
    policy.begin(env)
    obs, _ = env.reset(seed=0)
    money = []
    for _ in range(599):
        obs, reward, *_ = env.step(policy.act(obs, env.mask))
        money.append(-reward.mean())
    assert np.mean(money[100:]) < 5.0  # the best base-stock level costs 5.198, the optimum 4.7285
