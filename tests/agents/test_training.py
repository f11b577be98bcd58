"""Claims about training: chunks are pure, so a killed training ends where an undisturbed one does."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tests.support.chains import chain, sha
from workgym.agents.mlp import MlpPolicy
from workgym.agents.presets import PRESETS
from workgym.agents.sb3 import LanesVecEnv
from workgym.agents.states import read_state
from workgym.agents.training import (
    ALGORITHMS,
    Recipe,
    chunk_seed,
    initial_state,
    make_recipe,
    policy_from,
    train_chunk,
)
from workgym.services.kernel import BadInput

ENV = "workgym/Orders-v0"
TINY = {
    "env_id": ENV,
    "env_kwargs": {"days": 3, "orders_per_day": 5.0},
    "steps": 4096,
    "chunk_steps": 2048,
    "lanes": 64,
    "n_steps": 16,
    "minibatch": 512,
    "epochs": 2,
    "net": [16],
}


def recipe(**fields):
    return make_recipe(TINY | fields)


@pytest.fixture(scope="module")
def masked():
    one = recipe()
    return one, *chain(one)


@pytest.fixture(scope="module", params=ALGORITHMS)
def trained(request, masked):
    if request.param == masked[0].algorithm:
        return masked
    one = recipe(algorithm=request.param)
    return one, *chain(one)


# Plays the chunks that are missing, from file to file; `die` kills it in the middle of that chunk.
WORKER = """
import json, os, signal, sys
from pathlib import Path
from workgym.agents import training
from workgym.agents.sb3 import LanesVecEnv
folder, die = Path(sys.argv[1]), int(sys.argv[2])
recipe = training.make_recipe(json.loads((folder / "recipe").read_text()))
k, steps, play = max(int(path.name) for path in folder.glob("[0-9]")), [0], LanesVecEnv.step_wait
def step(lanes):
    steps[0] += 1
    if k == die and steps[0] % 32 == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return play(lanes)
LanesVecEnv.step_wait = step
while k < recipe.chunks:
    state, _ = training.train_chunk(recipe, k, (folder / f"{k}").read_bytes())
    k += 1
    (folder / f"{k}").write_bytes(state)
"""


def play(folder, die=-1):
    command = [sys.executable, "-c", WORKER, str(folder), str(die)]
    return subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False).returncode


def test_a_training_that_was_killed_ends_with_the_same_bytes(masked, tmp_path):
    one, states, _ = masked
    (tmp_path / "recipe").write_text(json.dumps(one.to_dict()))
    (tmp_path / "0").write_bytes(states[0])
    assert play(tmp_path, die=1) == -signal.SIGKILL
    assert (tmp_path / "1").exists()
    assert not (tmp_path / "2").exists()
    assert play(tmp_path) == 0
    assert [sha((tmp_path / str(k)).read_bytes()) for k in range(3)] == [sha(state) for state in states]


def test_a_chunk_is_a_function_whatever_ran_before(trained):
    one, states, _ = trained
    np.random.seed(123)
    assert sha(train_chunk(one, 1, states[1])[0]) == sha(states[2])
    assert sha(initial_state(one)) == sha(states[0])


def test_a_chunk_leaves_the_callers_randomness_alone(trained):
    import torch

    one, states, _ = trained
    np.random.seed(7)
    torch.manual_seed(7)
    expected = np.random.random(), float(torch.rand(()))
    np.random.seed(7)
    torch.manual_seed(7)
    train_chunk(one, 0, states[0])
    assert (np.random.random(), float(torch.rand(()))) == expected


def test_every_chunk_learns_something_and_says_how_it_went(trained):
    one, states, reports = trained
    assert len({sha(state) for state in states}) == one.chunks + 1
    for report in reports:
        assert report.steps == one.rollouts * one.rollout == 2048
        assert report.episodes > 0 or one.algorithm == "ppo"  # unmasked, it wastes its first decisions
        assert report.cpu_seconds > 0
        assert 0 < report.entropy <= np.log(15) + 1e-6
        assert np.isfinite([report.mean_return, report.approx_kl, report.explained_variance]).all()
        json.dumps(report.__dict__, allow_nan=False)


def test_the_policy_is_the_one_that_was_trained(trained):
    import torch

    from workgym.agents import ppo

    one, states, _ = trained
    policy = MlpPolicy.load(policy_from(one, states[-1], "mine"))
    assert policy.name == "mine"
    env = LanesVecEnv.make(ENV, 64, **one.env_kwargs)
    policy.begin(env.env)
    model = ppo.build(one, env, lambda _: 0.0, 0)
    ppo.load_state(model, read_state(one, states[-1]))
    env.seed(1)
    obs = env.reset()
    with torch.no_grad():
        latent = model.policy.mlp_extractor.forward_actor(model.policy.extract_features(torch.as_tensor(obs)))
        expected = model.policy.action_net(latent).numpy()
    np.testing.assert_allclose(policy.logits(obs), expected, atol=1e-4)
    mask = env.action_masks()
    assert mask[np.arange(64), policy.act(obs, mask)].all()


def test_a_state_is_read_without_unpickling(trained):
    from safetensors.numpy import load

    _, states, _ = trained
    tensors = load(states[-1])
    moments = {name for name in tensors if name.startswith("adam/")}
    weights = {name for name in tensors if name.startswith("policy/") and "features_extractor" not in name}
    assert len(moments) == 3 * len(weights)
    assert b"pickle" not in states[-1]


def test_seeds_make_different_trainings(trained):
    one, states, _ = trained
    other = replace(one, seed=1)
    assert other.digest() != one.digest()
    assert sha(initial_state(other)) != sha(states[0])
    assert len({chunk_seed(each, k) for each in (one, other) for k in range(-1, 50)}) == 102


def test_a_state_is_played_only_by_its_recipe_and_in_its_turn(trained):
    one, states, _ = trained
    with pytest.raises(BadInput, match="begin with initial_state"):
        train_chunk(replace(one, gamma=0.5), 0, states[0])
    with pytest.raises(BadInput, match="found the one after 0"):
        train_chunk(one, 1, states[0])
    with pytest.raises(BadInput, match="of 2 chunks"):
        train_chunk(one, 2, states[2])
    with pytest.raises(BadInput, match="found damage"):
        train_chunk(one, 0, states[0][:-20])
    with pytest.raises(BadInput, match="found damage"):
        policy_from(one, b"")


def test_masked_training_takes_legal_actions_only(monkeypatch):
    taken = []
    step = LanesVecEnv.step_async

    def watched(self, actions):
        taken.append(self.action_masks()[np.arange(self.num_envs), actions].all())
        step(self, actions)

    one = recipe(steps=1024, chunk_steps=1024)
    state = initial_state(one)
    monkeypatch.setattr(LanesVecEnv, "step_async", watched)
    train_chunk(one, 0, state)
    assert taken
    assert all(taken)


def test_the_masked_distribution_is_that_of_sb3_contrib():
    import torch
    from sb3_contrib.common.maskable.distributions import MaskableCategorical

    from workgym.agents.ppo import MaskedCategorical

    rng = np.random.default_rng(0)
    logits = torch.as_tensor(rng.normal(size=(500, 15)) * 5, dtype=torch.float32)
    masks = rng.random((500, 15)) < 0.3
    masks[:, 13] = True
    theirs = MaskableCategorical(logits=logits, masks=masks)
    ours = MaskedCategorical(15).proba_distribution(logits)
    ours.apply_masking(masks)
    actions = ours.sample()
    assert masks[np.arange(500), actions.numpy()].all()
    torch.testing.assert_close(ours.log_prob(actions), theirs.log_prob(actions))
    torch.testing.assert_close(ours.entropy(), theirs.entropy(), atol=1e-5, rtol=1e-5)
    assert (ours.mode() == theirs.probs.argmax(1)).all()
    draws = np.bincount(np.concatenate([ours.sample()[:1].numpy() for _ in range(4000)]), minlength=15)
    np.testing.assert_allclose(draws / 4000, theirs.probs[0].numpy(), atol=0.04)


def test_the_learning_rate_descends_across_chunks():
    from workgym.agents.ppo import rate

    one = recipe(learning_rate=1e-2, final_rate=0.2)
    rates = [rate(one, k)(left) for k in range(one.chunks) for left in (1.0, 0.5)] + [rate(one, 1)(0.0)]
    np.testing.assert_allclose(rates, 1e-2 * np.array([1.0, 0.8, 0.6, 0.4, 0.2]))


def test_chunks_hold_whole_rollouts_and_cover_the_steps():
    one = recipe(steps=10_000, chunk_steps=2500)
    assert (one.rollout, one.rollouts, one.chunks) == (1024, 3, 4)
    assert recipe(steps=1, chunk_steps=10**9).chunks == 1


def test_a_recipe_comes_back_from_json():
    one = recipe(seed=4, learning_rate=1, gamma=1)
    again = make_recipe(json.loads(json.dumps(one.to_dict())))
    assert again == one
    assert again.digest() == one.digest() == recipe(seed=4, learning_rate=1.0, gamma=1.0).digest()
    assert make_recipe({"env_id": ENV}) == Recipe(ENV)


WRONG = {
    "gama": ({"gama": 0.9}, "did you mean 'gamma'"),
    "algorithm": ({"algorithm": "maskable_ppo"}, "did you mean 'maskable-ppo'"),
    "activation": ({"activation": "rely"}, "did you mean 'relu'"),
    "range": ({"gamma": 1.5}, r"expected a number in 0\.\.1 as gamma, found 1.5"),
    "kind": ({"lanes": 3.5}, "expected a whole number in 1..65536 as lanes, found 3.5"),
    "bool": ({"epochs": True}, "expected a whole number"),
    "nan": ({"learning_rate": float("nan")}, "expected a number"),
    "minibatch": ({"minibatch": 500}, r"divides lanes \* n_steps = 1024, found 500"),
    "net": ({"net": []}, "expected hidden layers"),
    "net of text": ({"net": "64"}, "expected a list of hidden layers"),
    "net of floats": ({"net": [64.0]}, "expected hidden layers"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_recipe_is_refused_with_the_way_out(kind):
    fields, reason = WRONG[kind]
    with pytest.raises(BadInput, match=reason):
        recipe(**fields)


def test_a_recipe_needs_an_env():
    with pytest.raises(BadInput, match="expected an env_id"):
        make_recipe({})


@pytest.mark.parametrize("name", [name for name in PRESETS if "algorithm" not in PRESETS[name]])
def test_every_preset_is_a_recipe_whose_chunks_hold_whole_episodes(name):
    one = make_recipe({"env_id": ENV, **PRESETS[name]})
    assert one.steps <= 4_000_000
    assert one.chunk_steps / one.lanes >= 500, "a chunk should hold several episodes of each lane"


def whose(fields):
    """A teacher, where a preset needs one."""
    return {"teacher": "0" * 64} if fields.get("algorithm") in ("focal-ppo", "distil") else {}


def test_presets_are_trade_offs_not_copies():
    digests = {
        make_recipe({"env_id": ENV, **whose(fields), **fields}).digest() for fields in PRESETS.values()
    }
    assert len(digests) == len(PRESETS) >= 4


def test_planning_a_training_loads_no_torch():
    code = "import sys, workgym.agents.training, workgym.agents.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
