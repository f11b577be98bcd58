"""Claims about routers: who decides, and that a folder brings both policies back."""

import json

import gymnasium as gym
import numpy as np
import pytest

from workgym.agents.mlp import HEADER, random_policy
from workgym.agents.policy import load_policy
from workgym.agents.routers import ByFamily, Escalating, escalated, escalating, margins
from workgym.agents.seasons import earnings, train_seasons
from workgym.services.kernel import BadInput

ENV = "workgym/Orders-v0"
SHORT = {"days": 3, "orders_per_day": 5.0}
VERSION = "orders-v0.1"
SMALL = random_policy("small", ENV, VERSION, (46, 8, 15), seed=1)
LARGE = random_policy("large", ENV, VERSION, (46, 32, 15), seed=2)
ROUTERS = {
    "escalating": Escalating("edge", SMALL, LARGE, 0.1),
    "by-family": ByFamily("partial", SMALL, LARGE, ("stock-out", "promotion")),
}


def lanes(n=12, backend="twin", mode="SameStep"):
    env = gym.make_vec(
        ENV, n, vectorization_mode="vector_entry_point", autoreset_mode=mode, backend=backend, **SHORT
    )
    obs, _ = env.reset(seed=1)
    return env, obs


def boards(n=4000):
    env, obs = lanes(100)
    rng, seen = np.random.default_rng(0), []
    while sum(len(part) for part, _ in seen) < n:
        seen.append((obs, env.mask))
        obs, *_ = env.step((rng.random(env.mask.shape) * env.mask).argmax(1))
    env.close()
    return (np.concatenate(part) for part in zip(*seen, strict=True))


@pytest.mark.parametrize("kind", ROUTERS)
def test_a_folder_brings_the_router_back(kind):
    router = ROUTERS[kind]
    files = router.save()
    again = load_policy(files)
    assert type(again) is type(router)
    assert again.save() == files
    assert {name.split("/")[0] for name in files} - {HEADER} == set(router_parts(router))
    assert not any(b"pickle" in content for content in files.values())
    env, obs = lanes()
    router.begin(env)
    again.begin(env)
    np.testing.assert_array_equal(again.act(obs, env.mask), router.act(obs, env.mask))
    env.close()


def router_parts(router):
    return ("small", "large") if isinstance(router, Escalating) else ("kept", "other")


def test_the_large_policy_decides_where_the_small_one_is_unsure_and_only_there():
    obs, mask = boards()
    router = ROUTERS["escalating"]
    unsure = margins(SMALL.logits(obs), mask) < router.threshold
    assert 0.05 < unsure.mean() < 0.95
    expected = np.where(unsure, LARGE.act(obs, mask), SMALL.act(obs, mask))
    np.testing.assert_array_equal(router.act(obs, mask), expected)
    one_legal = mask.sum(axis=1) == 1
    assert not unsure[one_legal].any()


@pytest.mark.parametrize(("threshold", "who"), [(0.0, SMALL), (1e9, LARGE)])
def test_a_router_at_either_end_is_one_policy(threshold, who):
    obs, mask = boards(500)
    np.testing.assert_array_equal(
        Escalating("edge", SMALL, LARGE, threshold).act(obs, mask), who.act(obs, mask)
    )


def test_a_decision_depends_on_no_other_row():
    obs, mask = boards(500)
    router = ROUTERS["escalating"]
    alone = [int(router.act(obs[i : i + 1], mask[i : i + 1])[0]) for i in range(0, 500, 7)]
    assert alone == router.act(obs, mask)[::7].tolist()


def test_rows_and_free_choices_are_routed_too():
    obs = np.random.default_rng(0).uniform(-1, 1, (20, 3, 46)).astype(np.float32)
    router, free = ROUTERS["escalating"], np.ones((20, 0), dtype=np.bool_)
    flat = router.act(obs.reshape(60, 46), np.ones((60, 0), dtype=np.bool_))
    np.testing.assert_array_equal(router.act(obs, free), flat.reshape(20, 3))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_the_threshold_keeps_to_the_share_that_may_be_asked(share):
    seasons = train_seasons(ENV, SHORT, 4, seed=0)
    router = escalating("edge", SMALL, LARGE, seasons, share)
    assert escalated(router, seasons) <= share
    assert escalated(router, seasons) >= 0.7 * share, "and asks about as often as it may"
    assert abs(escalated(router, train_seasons(ENV, SHORT, 8, seed=99)) - share) < 0.1


@pytest.mark.parametrize("backend", ["twin", "embedded"])
@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_a_family_keeps_its_policy_through_every_reset_of_a_lane(backend, mode):
    env, obs = lanes(8, backend, mode)
    router = ByFamily("partial", SMALL, LARGE, ("normal", "stock-out"))
    router.begin(env)
    kept = [env.task.families.index(name) for name in ("normal", "stock-out")]
    seen = set()
    for _ in range(60):
        here = np.isin([env.facts(lane)["family"] for lane in range(8)], kept)
        seen |= set(here.tolist())
        expected = np.where(here, SMALL.act(obs, env.mask), LARGE.act(obs, env.mask))
        np.testing.assert_array_equal(router.act(obs, env.mask), expected)
        obs, *_ = env.step(expected)
    assert seen == {True, False}
    env.close()


def test_each_family_earns_what_its_policy_earns():
    seasons = train_seasons(ENV, SHORT, 4, seed=0)
    ours, small, large = (earnings(one, seasons)[0] for one in (ROUTERS["by-family"], SMALL, LARGE))
    kept = np.isin(seasons.families, ROUTERS["by-family"].families)
    np.testing.assert_array_equal(ours, np.where(kept, small, large))
    assert (small != large).any()


def test_a_family_is_asked_once_an_episode():
    env, obs = lanes(8, mode="Disabled")
    asked, facts = [], env.facts
    env.facts = lambda lane: asked.append(lane) or facts(lane)
    router = ROUTERS["by-family"]
    router.begin(env)
    for _ in range(5):
        router.act(obs, env.mask)
    router.act(obs[:1], env.mask[:1])
    assert asked == list(range(8))
    env.reset(seed=40)
    router.act(obs, env.mask)
    assert asked == list(range(8)) * 2
    env.close()


def test_a_router_by_family_meets_its_env_first():
    router = load_policy(ROUTERS["by-family"].save())
    obs, mask = boards(100)
    with pytest.raises(BadInput, match=r"begin\(env\) before the first decision"):
        router.act(obs, mask)
    env, _ = lanes(4)
    router.begin(env)
    with pytest.raises(BadInput, match="at most the env's 4 lanes"):
        router.act(obs, mask)
    stranger = ByFamily("x", SMALL, LARGE, ("stock-oat",))
    with pytest.raises(BadInput, match="did you mean 'stock-out'"):
        stranger.begin(env)
    env.close()


def test_policies_that_do_not_belong_together_are_refused():
    other = random_policy("other", ENV, "orders-v9", (46, 8, 15))
    with pytest.raises(BadInput, match="for one env in one view"):
        Escalating("x", SMALL, other, 0.1)
    with pytest.raises(BadInput, match="for one env in one view"):
        ByFamily("x", SMALL, other, ("normal",))
    with pytest.raises(BadInput, match="at least one family"):
        ByFamily("x", SMALL, LARGE, ())
    with pytest.raises(BadInput, match="threshold of 0 or more"):
        Escalating("x", SMALL, LARGE, float("nan"))
    with pytest.raises(BadInput, match="networks of dense layers"):
        Escalating("x", SMALL, ROUTERS["by-family"], 0.1)
    with pytest.raises(BadInput, match="share of decisions"):
        escalating("x", SMALL, LARGE, train_seasons(ENV, SHORT, 1, seed=0), 1.5)


DAMAGE = {
    "json": ({HEADER: b"{"}, "found no policy.safetensors"),
    "threshold": ({"threshold": "0.1"}, "expected float as threshold"),
    "field": ({"extra": 1}, "expected the fields"),
    "format": ({"format": 9}, "of format 1"),
    "part": ("small/", "expected a policy in small/"),
    "weights": ("large/policy.safetensors", "found no policy.safetensors"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_router_is_refused(kind):
    change, reason = DAMAGE[kind]
    files = ROUTERS["escalating"].save()
    if isinstance(change, str):
        files = {name: content for name, content in files.items() if not name.startswith(change)}
    elif HEADER in change:
        files |= change
    else:
        files[HEADER] = json.dumps(json.loads(files[HEADER]) | change).encode()
    with pytest.raises(BadInput, match=reason):
        load_policy(files)
