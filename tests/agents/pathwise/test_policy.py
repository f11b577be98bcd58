"""Claims about quantity policies: whole, legal, the same on every machine, whole again after a save."""

import json

import gymnasium as gym
import numpy as np
import pytest

import workgym.envs  # noqa: F401  # registers the ids
from workgym.agents.mlp import random_policy
from workgym.agents.pathwise.policy import HEADER, WEIGHTS, Network, QuantityPolicy, _exp
from workgym.agents.policy import load_policy
from workgym.services.kernel import BadInput

ENV = "workgym/SupplyChain.lost-sales-v0"
VERSION = gym.make(ENV).unwrapped.task.version


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def network(features, outputs, seed=0):
    rng = np.random.default_rng(seed)
    layers = ((normal(rng, features, 7), normal(rng, 7)), (normal(rng, 7, outputs), normal(rng, outputs)))
    return Network(layers, normal(rng, features, outputs))


def flat(seed=0, features=11, decisions=1, **kwargs):
    units = np.full(decisions, 5.0, np.float32)
    return QuantityPolicy("p", ENV, VERSION, "flat", network(features, decisions, seed), units, **kwargs)


def rows(seed=0):
    return QuantityPolicy("p", "e", "v", "rows", network(32, 2, seed))


def test_the_exponential_is_that_of_the_library():
    for x in np.concatenate([np.linspace(-80, 80, 1601), [0.0, 1e-9, -1e-9]]):
        assert _exp(x) == pytest.approx(np.exp(x), rel=1e-7)


def test_orders_are_whole_and_within_what_the_link_takes():
    obs = normal(np.random.default_rng(1), 500, 32)[:, None].repeat(3, axis=1) * 3
    most = np.array([0, 4, 100])
    orders = rows().quantities(obs, most)
    assert orders.dtype == np.int64
    assert (orders >= 0).all()
    assert (orders <= most).all()
    assert (orders[:, 2] > 4).any()


@pytest.mark.parametrize("made", [flat, rows])
def test_a_row_is_decided_alone(made):
    policy = made()
    shape = (64, 11) if policy.mode == "flat" else (64, 2, 32)
    obs, most = normal(np.random.default_rng(2), *shape), np.full(shape[1] if len(shape) == 3 else 1, 40)
    together = policy.quantities(obs, most)
    alone = np.concatenate([policy.quantities(one[None], most) for one in obs])
    assert (together == alone).all()


@pytest.mark.parametrize("made", [flat, rows])
def test_a_saved_policy_is_the_same_policy(made):
    policy = made()
    files = policy.save()
    again = load_policy(files)
    assert isinstance(again, QuantityPolicy)
    assert again.save() == files
    assert again.digest() == policy.digest() != made(seed=1).digest()


def test_files_without_a_kind_are_those_of_an_mlp():
    files = random_policy("m", "e", "v", [3, 2]).save()
    assert "kind" not in json.loads(files["policy.json"])
    assert type(load_policy(files)).__name__ == "MlpPolicy"


def with_header(**fields):
    files = flat().save()
    header = json.loads(files[HEADER]) | fields
    return files | {HEADER: json.dumps({k: v for k, v in header.items() if v is not None}).encode()}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (with_header(kind="quantity"), "did you mean 'quantities'"),
        (with_header(kind=7), "no kind of policy"),
        (with_header(format=9), "cannot read"),
        (with_header(mode=None), "expected the fields"),
        (with_header(decisions="1"), "expected int as decisions"),
        (with_header(features=12), "expected the network"),
        (with_header(mode="rowss"), "did you mean 'rows'"),
        (with_header(hidden=[7, 7]), "expected the tensors"),
        ({HEADER: b"{"}, "found no policy.safetensors"),
        ({HEADER: flat().save()[HEADER]}, "found no policy.safetensors"),
        (flat().save() | {WEIGHTS: flat().save()[WEIGHTS][:-8]}, "found damage"),
        ({}, "found no policy.json"),
    ],
)
def test_damage_is_refused(files, words):
    with pytest.raises(BadInput, match=words):
        load_policy(files)


def test_networks_that_do_not_fit_are_refused():
    units = np.ones(1, np.float32)
    with pytest.raises(BadInput, match="outputs"):
        QuantityPolicy("p", "e", "v", "flat", network(3, 2), units)
    with pytest.raises(BadInput, match="outputs"):
        QuantityPolicy("p", "e", "v", "rows", network(3, 1))
    with pytest.raises(BadInput, match="outputs"):
        QuantityPolicy("p", "e", "v", "rows", network(3, 2), units)
    broken = network(3, 1)
    with pytest.raises(BadInput, match="finite"):
        QuantityPolicy("p", "e", "v", "flat", broken._replace(skip=broken.skip * np.float32("nan")), units)
    (first, last), skip = broken.layers, broken.skip
    with pytest.raises(BadInput, match="layer 1"):
        QuantityPolicy("p", "e", "v", "flat", Network((first, (last[0][1:], last[1])), skip), units)


@pytest.mark.parametrize("actions", ["units", "box"])
def test_both_encodings_order_the_same(actions):
    env = gym.make_vec(ENV, num_envs=8, actions=actions)
    policy = flat(features=env.single_observation_space.shape[0])
    policy.begin(env)
    obs, _ = env.reset(seed=3)
    wanted = policy.quantities(obs, np.array([40]))[:, 0]
    asked = env.task.understood(policy.act(obs, env.mask), 8).reshape(8)
    assert (asked == wanted).all()


def test_another_env_is_refused():
    env = gym.make_vec(ENV, num_envs=1)
    with pytest.raises(BadInput, match="train policy"):
        QuantityPolicy("p", "other", VERSION, "flat", network(11, 1), np.ones(1, np.float32)).begin(env)
    with pytest.raises(BadInput, match="expected observations"):
        flat(features=4).begin(env)
    with pytest.raises(BadInput, match="expected 2 decisions"):
        flat(features=env.single_observation_space.shape[0], decisions=2).begin(env)
    with pytest.raises(BadInput, match=r"begin\(env\)"):
        flat().act(np.zeros((1, 11), np.float32), np.ones((1, 0), np.bool_))


def test_numbers_that_are_not_finite_are_refused():
    obs = np.zeros((2, 11), np.float32)
    obs[1, 4] = np.nan
    with pytest.raises(BadInput, match="row 1"):
        flat().quantities(obs, np.array([40]))
    with pytest.raises(BadInput, match="expected observations"):
        flat().quantities(obs[:, :5], np.array([40]))
