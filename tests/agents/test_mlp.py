"""Claims about trained policies as files, and about their decisions."""

import json
from dataclasses import replace
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workgym.envs
from workgym.agents.mlp import ACTIVATIONS, HEADER, WEIGHTS, Layer, MlpPolicy, random_policy
from workgym.agents.onnx import to_onnx
from workgym.services.kernel import BadInput

SIZES = (46, 64, 64, 15)


def policy(sizes=SIZES, activation="relu", seed=0):
    return random_policy("test", "workgym/Orders-v0", "v", sizes, activation, seed)


def boards(n, sizes=SIZES, seed=0):
    """Observations and masks; every row has a legal action."""
    rng = np.random.default_rng(seed)
    obs = rng.uniform(-1.0, 1.0, (n, sizes[0])).astype(np.float32)
    mask = rng.random((n, sizes[-1])) < 0.4
    mask[np.arange(n), rng.integers(sizes[-1], size=n)] = True
    return obs, mask


def by_numpy(p, obs):
    """The network in float64, by matrix products."""
    here = obs.astype(np.float64)
    for i, layer in enumerate(p.layers):
        here = here @ layer.weight.astype(np.float64) + layer.bias
        if i < len(p.layers) - 1:
            here = np.tanh(here) if p.activation == "tanh" else np.maximum(here, 0.0)
    return here


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [SIZES, (46, 15), (3, 7, 2), (5, 130, 9, 33, 4)])
def test_the_compiled_network_is_the_network(sizes, activation):
    p = policy(sizes, activation)
    obs, mask = boards(200, sizes)
    expected = by_numpy(p, obs)
    np.testing.assert_allclose(p.logits(obs), expected, atol=1e-5)
    np.testing.assert_array_equal(p.act(obs, mask), np.where(mask, expected, -np.inf).argmax(1))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(0, 2**31),
    st.sampled_from(ACTIVATIONS),
    st.lists(st.integers(1, 40), min_size=2, max_size=5),
)
def test_an_action_does_not_depend_on_the_batch_it_came_in(n, seed, activation, sizes):
    p = policy(sizes, activation, seed)
    obs, mask = boards(n, sizes, seed)
    whole = p.act(obs, mask)
    logits = p.logits(obs)
    for i in range(n):
        assert p.act(obs[i : i + 1], mask[i : i + 1])[0] == whole[i]
        assert (p.logits(obs[i : i + 1])[0] == logits[i]).all()  # to the last bit
    half = slice(n // 2, n)
    np.testing.assert_array_equal(p.act(obs[half], mask[half]), whole[half])


def test_ties_go_to_the_lowest_legal_index():
    zeros = Layer(np.zeros((4, 5), dtype=np.float32), np.zeros(5, dtype=np.float32))
    p = MlpPolicy("flat", "e", "v", [zeros])
    mask = np.array([[False, False, True, False, True]])
    assert p.act(np.ones((1, 4), dtype=np.float32), mask) == [2]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_observation_that_is_not_finite_is_refused(activation, value):
    p = policy(activation=activation)
    obs, mask = boards(3)
    obs[1] = value
    with pytest.raises(BadInput, match="row 1"):
        p.act(obs, mask)


def test_one_nan_is_enough_to_be_refused():
    obs, mask = boards(3)
    obs[2, 5] = np.nan
    with pytest.raises(BadInput, match="row 2"):
        policy().act(obs, mask)


def test_a_row_without_a_legal_action_is_refused():
    obs, mask = boards(2)
    mask[0] = False
    with pytest.raises(BadInput, match="row 0 has no legal action"):
        policy().act(obs, mask)


@pytest.mark.parametrize(("features", "actions"), [(45, 15), (46, 14)])
def test_arrays_of_another_shape_are_refused(features, actions):
    with pytest.raises(BadInput, match=r"expected observations \(N, 46\)"):
        policy().act(np.zeros((1, features), dtype=np.float32), np.ones((1, actions), dtype=bool))


def test_arrays_of_any_layout_decide_alike():
    obs, mask = boards(20)
    p = policy()
    odd = np.asfortranarray(obs.astype(np.float64))
    np.testing.assert_array_equal(p.act(odd, np.asfortranarray(mask)), p.act(obs, mask))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [SIZES, (46, 15)])
def test_a_saved_policy_comes_back_the_same(sizes, activation):
    p = policy(sizes, activation)
    again = MlpPolicy.load(p.save())
    obs, mask = boards(50, sizes)
    np.testing.assert_array_equal(again.act(obs, mask), p.act(obs, mask))
    assert again.save() == p.save()
    assert again.digest() == p.digest()
    assert (again.name, again.env_id, again.env_version) == (p.name, p.env_id, p.env_version)


def test_the_digest_is_of_the_content_and_not_of_the_name():
    p = policy()
    digest = p.digest()
    p.name = "another"
    assert p.digest() == digest
    assert policy(seed=1).digest() != digest
    assert policy(activation="tanh").digest() != digest


def header(change):
    files = policy().save()
    return files | {HEADER: json.dumps(json.loads(files[HEADER]) | change).encode()}


def weights(layers):
    return policy().save() | {WEIGHTS: MlpPolicy("x", "e", "v", layers).save()[WEIGHTS]}


def without(name):
    return {key: data for key, data in policy().save().items() if key != name}


BROKEN = {
    "no weights": (lambda: without(WEIGHTS), "found no policy.safetensors"),
    "no header": (lambda: without(HEADER), "found no policy.json"),
    "no JSON": (lambda: policy().save() | {HEADER: b"{"}, "expected JSON"),
    "bytes": (lambda: policy().save() | {HEADER: b"\xff\xfe"}, "expected JSON"),
    "a list": (lambda: policy().save() | {HEADER: b"[]"}, "expected a policy of format 1, found 'list'"),
    "format": (lambda: header({"format": 2}), "expected a policy of format 1, found 2"),
    "field": (lambda: header({"pickle": "x"}), "expected the fields"),
    "kind": (lambda: header({"features": "46"}), "expected int as features"),
    "hidden": (lambda: header({"hidden": [64]}), "expected the tensors"),
    "features": (lambda: header({"features": 45}), "expected the layers that"),
    "activation": (lambda: header({"activation": "tan"}), "did you mean 'tanh'"),
    "damage": (lambda: policy().save() | {WEIGHTS: b"\x80\x04\x95"}, "expected safetensors"),
    "cut": (lambda: policy().save() | {WEIGHTS: policy().save()[WEIGHTS][:-8]}, "expected safetensors"),
    "other layers": (lambda: weights(policy((46, 15)).layers), "expected the tensors"),
    "other widths": (lambda: weights(policy((46, 32, 64, 15)).layers), "expected the layers that"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_policy_is_refused_with_a_reason(kind):
    files, reason = BROKEN[kind]
    with pytest.raises(BadInput, match=reason):
        MlpPolicy.load(files())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value):
    layers = list(policy().layers)
    bias = layers[1].bias.copy()
    bias[3] = value
    layers[1] = replace(layers[1], bias=bias)
    with pytest.raises(BadInput, match="NaN or infinity in layer 1"):
        MlpPolicy("x", "e", "v", layers)


def test_layers_that_do_not_fit_are_refused():
    first, *_, last = policy().layers
    with pytest.raises(BadInput, match="found none"):
        MlpPolicy("x", "e", "v", [])
    with pytest.raises(BadInput, match=r"expected a weight of shape \(64, outputs\)"):
        MlpPolicy("x", "e", "v", [first, Layer(last.weight[1:], last.bias)])
    with pytest.raises(BadInput, match="expected float32"):
        MlpPolicy("x", "e", "v", [Layer(first.weight.astype(np.float64), first.bias)])


@pytest.fixture
def env():
    lanes = gym.make_vec(workgym.envs.ENV_IDS[0], 2, vectorization_mode="vector_entry_point")
    yield lanes
    lanes.close()


def fitting(task):
    return random_policy(
        "x", task.env_id, task.version, (task.observation_space.shape[0], int(task.action_space.n))
    )


def test_a_policy_meets_its_env(env):
    fitting(env.task).begin(env)


@pytest.mark.parametrize(("field", "value"), [("env_id", "workgym/Other-v0"), ("version", "another")])
def test_a_policy_of_another_env_is_refused(env, field, value):
    other = fitting(replace(env.task, **{field: value}))
    with pytest.raises(BadInput, match="train policy 'x' again"):
        other.begin(env)


def test_a_policy_for_another_number_of_features_is_refused(env):
    task = env.task
    narrow = random_policy("x", task.env_id, task.version, (5, int(task.action_space.n)))
    with pytest.raises(BadInput, match="expected 5 features"):
        narrow.begin(SimpleNamespace(task=task))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [SIZES, (46, 15), (7, 200, 100, 3)])
def test_onnx_decides_as_the_policy_does(sizes, activation):
    runtime = pytest.importorskip("onnxruntime")
    p = policy(sizes, activation)
    obs, mask = boards(300, sizes)
    session = runtime.InferenceSession(to_onnx(p.save()))
    action, logits = session.run(["action", "logits"], {"obs": obs, "mask": mask})
    np.testing.assert_allclose(logits, p.logits(obs), atol=1e-5)
    np.testing.assert_array_equal(action, p.act(obs, mask))
    assert session.get_modelmeta().custom_metadata_map["digest"] == p.digest()


def test_onnx_is_a_function_of_the_files():
    pytest.importorskip("onnx")
    files = policy().save()
    assert to_onnx(files) == to_onnx(files)


def test_onnx_refuses_what_is_no_policy():
    with pytest.raises(BadInput, match=r"policy\.json"):
        to_onnx({})
