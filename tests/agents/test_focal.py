"""Claims about positive-congruent updates: they begin as the teacher, and are held to what it handles."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load

from tests.support.chains import chain
from workgym.agents import ppo
from workgym.agents.focal import learner
from workgym.agents.mlp import MlpPolicy, random_policy
from workgym.agents.policy import files_digest, load_policy
from workgym.agents.sb3 import LanesVecEnv
from workgym.agents.seasons import earnings, handled_rows, least, train_seasons
from workgym.agents.states import read_state
from workgym.agents.training import initial_state, make_recipe, needs, policy_from, train_chunk
from workgym.factory.artifacts import ArtifactStore
from workgym.factory.evaluate import evaluate
from workgym.services.kernel import BadInput
from workgym.services.scenario import Scenario, Suite

ENV = "workgym/Orders-v0"
SHORT = {"days": 3, "orders_per_day": 5.0}
TINY = {
    "env_id": ENV,
    "env_kwargs": SHORT,
    "steps": 4096,
    "chunk_steps": 2048,
    "lanes": 64,
    "n_steps": 16,
    "minibatch": 512,
    "epochs": 2,
    "net": [16],
    "learning_rate": 1e-2,
    "final_rate": 1.0,
}
UPDATE = {
    "algorithm": "focal-ppo", "value_rollouts": 1, "focal_seasons": 8, "focal_rows": 2000, "focal_batch": 256,
}  # fmt: skip


@pytest.fixture(scope="module")
def champion():
    one = make_recipe(TINY | {"steps": 20_480, "chunk_steps": 20_480, "learning_rate": 3e-3})
    return policy_from(one, chain(one)[0][-1], "champion")


@pytest.fixture(scope="module")
def update(champion):
    """A recipe that updates the champion, and what it begins from."""

    def made(**fields):
        digest = files_digest(champion)
        return make_recipe(TINY | UPDATE | {"teacher": digest} | fields), {digest: champion}

    return made


@pytest.fixture(scope="module")
def held(update):
    one, inputs = update(focal_weight=1.0)
    return one, inputs, *chain(one, inputs)


def boards(n):
    """Observations and masks that lanes show under random legal play."""
    env = LanesVecEnv.make(ENV, 500, **SHORT)
    env.seed(5)
    seen, rng = [(env.reset(), env.action_masks())], np.random.default_rng(0)
    while sum(len(obs) for obs, _ in seen) < n:
        mask = seen[-1][1]
        obs, *_ = env.step((rng.random(mask.shape) * mask).argmax(1))
        seen.append((obs, env.action_masks()))
    env.close()
    return (np.concatenate(part) for part in zip(*seen, strict=True))


def test_before_the_first_update_the_policy_is_the_champion(update, champion):
    one, inputs = update()
    begun = policy_from(one, initial_state(one, inputs), "champion")
    assert begun == champion
    obs, mask = boards(10_000)
    theirs, ours = load_policy(champion), load_policy(begun)
    np.testing.assert_array_equal(ours.act(obs, mask), theirs.act(obs, mask))


def test_the_network_that_learns_decides_as_the_champion_but_for_near_ties(update, champion):
    import torch

    one, inputs = update()
    tensors = read_state(one, initial_state(one, inputs))
    env = ppo.lanes_of(one)
    model = ppo.build(one, env, lambda _: 0.0, 0, learner.FocalPPO)
    ppo.load_state(model, tensors)
    obs, mask = boards(10_000)
    with torch.no_grad():
        ours = learner.logits_of(model.policy, torch.from_numpy(obs)).numpy()
    theirs = load_policy(champion).logits(obs)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    differ = np.where(mask, ours, -np.inf).argmax(1) != np.where(mask, theirs, -np.inf).argmax(1)
    assert differ.mean() < 1e-3


def test_the_policy_stands_still_while_the_value_network_learns(update, champion):
    one, inputs = update(value_rollouts=2, focal_weight=1.0)
    state, _ = train_chunk(one, 0, initial_state(one, inputs))
    assert one.rollouts == 2
    assert policy_from(one, state, "champion") == champion
    before, after = load(initial_state(one, inputs)), load(state)
    weights = [name for name in before if name.startswith("policy/")]
    moved = [name for name in weights if not np.array_equal(before[name], after[name])]
    assert moved
    assert all("value" in name for name in moved)
    assert policy_from(one, train_chunk(one, 1, state)[0], "champion") != champion


def test_what_the_champion_handles_holds_the_update_back(update, held):
    one, _, _, reports = held
    free, inputs = update(focal_weight=0.0)
    state = chain(free, inputs)[0][-1]
    examples = learner.examples_of(one, load_policy(next(iter(inputs.values()))))
    env = ppo.lanes_of(free)
    model = ppo.build(free, env, lambda _: 0.0, 0, learner.FocalPPO)
    ppo.load_state(model, read_state(free, state))
    assert reports[-1].examples == len(examples.obs) > 500
    assert 0 < reports[-1].focal_kl < 0.5 * float(model.divergence(examples).detach())


def test_a_chunk_needs_nothing_but_its_state(held):
    one, inputs, states, _ = held
    np.random.seed(11)
    assert train_chunk(one, 1, states[1])[0] == states[2]
    assert initial_state(one, inputs) == states[0]
    assert b"pickle" not in states[2]


def test_cutting_a_full_update_into_chunks_changes_nothing(update):
    ends = []
    for chunk_steps in (4096, 1024):
        one, inputs = update(focal_weight=1.0, checkpoint="full", chunk_steps=chunk_steps)
        last = load(chain(one, inputs)[0][-1])
        ends.append({name: part for name, part in last.items() if name not in ("recipe", "chunk")})
    assert all(np.array_equal(ends[0][name], ends[1][name]) for name in ends[0].keys() | ends[1].keys())


def test_examples_are_of_seasons_that_the_gate_would_call_handled(champion):
    policy = load_policy(champion)
    seasons = train_seasons(ENV, SHORT, 8, seed=3)
    profit, _ = earnings(policy, seasons)
    scenarios = tuple(
        Scenario(ENV, "train", family, seed, SHORT)
        for family, seed in zip(seasons.families, seasons.seeds, strict=True)
    )
    card = evaluate(policy, Suite(ENV, "train", scenarios, "content"), SHORT)
    np.testing.assert_array_equal(profit, card.profit)
    np.testing.assert_array_equal(profit >= least(seasons), card.success)
    assert 0 < card.success.mean() < 1


def test_examples_leave_out_the_seasons_that_the_teacher_fails(champion):
    policy = load_policy(champion)
    seasons = train_seasons(ENV, SHORT, 8, seed=3)
    profit, _ = earnings(policy, seasons)
    good = np.flatnonzero(profit >= least(seasons))
    kept = seasons._replace(
        families=tuple(seasons.families[i] for i in good), seeds=tuple(seasons.seeds[i] for i in good)
    )
    rows, whole = (handled_rows(policy, one, 10**6, 0) for one in (seasons, kept))
    assert len(rows.obs) == len(whole.obs)
    np.testing.assert_array_equal(np.sort(rows.obs, axis=0), np.sort(whole.obs, axis=0))
    few = handled_rows(policy, seasons, 100, 0)
    assert few.obs.shape == (100, rows.obs.shape[1])
    assert few.mask.any(axis=1).all()


def test_examples_may_come_from_where_the_teacher_serves_today(update, champion):
    policy, busy = load_policy(champion), {"orders_per_day": 9.0}
    here = learner.examples_of(update(focal_kwargs=busy)[0], policy)
    there = learner.examples_of(update(env_kwargs=SHORT | busy)[0], policy)
    assert here.obs.equal(there.obs)
    assert not here.obs[:500].equal(learner.examples_of(update()[0], policy).obs[:500])


def test_a_lower_temperature_leaves_the_teacher_fewer_doubts(update, champion):
    policy = load_policy(champion)
    doubts = []
    for temperature in (1.0, 0.25):
        log_p = learner.examples_of(update(focal_temperature=temperature)[0], policy).log_p
        doubts.append(-float((log_p.exp() * log_p).sum(1).mean()))
    assert 0 <= doubts[1] < 0.7 * doubts[0]


def test_a_teacher_goes_by_the_name_that_the_factory_gives_its_folder(champion, tmp_path):
    assert ArtifactStore(tmp_path).put_folder(champion) == files_digest(champion)


def test_a_training_says_whom_it_needs_and_takes_nobody_else(update, champion):
    one, inputs = update()
    assert needs(one) == tuple(inputs)
    assert needs(make_recipe(TINY)) == ()
    with pytest.raises(BadInput, match="found no files of it"):
        initial_state(one)
    other = random_policy("other", ENV, "orders-v0.1", (46, 16, 15)).save()
    with pytest.raises(BadInput, match=f"found the policy {files_digest(other)[:12]} in its place"):
        initial_state(one, {one.teacher: other})


STRANGERS = {
    "net": (random_policy("x", ENV, "orders-v0.1", (46, 8, 15)), r"expected net \[8\] with relu"),
    "activation": (random_policy("x", ENV, "orders-v0.1", (46, 16, 15), "tanh"), r"net \[16\] with tanh"),
    "version": (random_policy("x", ENV, "orders-v9", (46, 16, 15)), "train policy 'x' again on this env"),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_a_teacher_of_another_net_or_env_is_refused(update, kind):
    policy, reason = STRANGERS[kind]
    files = policy.save()
    one, _ = update(teacher=files_digest(files))
    with pytest.raises(BadInput, match=reason):
        initial_state(one, {one.teacher: files})


def test_a_teacher_that_handles_nothing_can_not_hold_anybody():
    cancels = random_policy("cancels", ENV, "orders-v0.1", (46, 16, 15))
    bias = cancels.layers[-1].bias.copy()
    bias[14] = 100.0
    files = MlpPolicy(
        "cancels", ENV, "orders-v0.1", [cancels.layers[0], replace(cancels.layers[1], bias=bias)]
    ).save()
    one = make_recipe(TINY | UPDATE | {"teacher": files_digest(files), "focal_weight": 1.0})
    with pytest.raises(BadInput, match="found one that handles none"):
        train_chunk(one, 0, initial_state(one, {one.teacher: files}))


def test_an_update_comes_back_from_json(update):
    one, _ = update(focal_weight=1)
    again = make_recipe(json.loads(json.dumps(one.to_dict())))
    assert again == one
    assert again.digest() == one.digest() != replace(one, focal_weight=2.0).digest()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"teacher": "champion"}, "expected the digest of a saved policy"),
        ({"focal_weight": -1.0}, r"expected a number in 0\.\.1000 as focal_weight"),
        ({"focal_batch": 0}, "as focal_batch"),
        ({"focal_wait": 1.0}, "did you mean 'focal_weight'"),
    ],
)
def test_a_wrong_update_is_refused(update, fields, reason):
    with pytest.raises(BadInput, match=reason):
        update(**fields)
