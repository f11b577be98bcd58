"""A task said with tools is the same task, and what cannot be done changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from jsonschema import Draft202012Validator

import workgym.envs
from workgym.envs.contract import sample_legal
from workgym.envs.tools import OVER, Observation, ToolEnv, keys_of
from workgym.services.kernel import BadInput

ORDERS, BEER, LOST = (
    "workgym/Orders-v0",
    "workgym/SupplyChain.beer-game-v0",
    "workgym/SupplyChain.lost-sales-v0",
)
ENCODED: tuple[dict[str, Any], ...] = (
    {"actions": "box"},
    {"actions": "cover", "observation": "rows"},
    {"actions": "units", "observation": "rows"},
    {"actions": "box", "observation": "rows"},
)
KINDS = [
    *((env_id, {}) for env_id in workgym.envs.ENV_IDS),
    *(("workgym/SupplyChain.one-warehouse-v0", encoding) for encoding in ENCODED),
]
BACKENDS = ("twin", "embedded")
STEPS = 30
PROVIDERS_TAKE = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")


def made(env_id: str, backend: str = "twin", **arguments: Any) -> Any:
    return gym.make(env_id, backend=backend, **arguments).unwrapped


@pytest.fixture(params=[ORDERS, BEER, LOST])
def tools(request: pytest.FixtureRequest) -> Iterator[ToolEnv]:
    env = ToolEnv(made(request.param))
    env.reset(seed=4)
    yield env
    env.close()


def decision(env: Any, rng: np.random.Generator) -> Any:
    """A legal action, or now and then one that is refused."""
    if isinstance(env.action_space, gym.spaces.Discrete) and rng.random() < 0.2:
        return rng.integers(env.action_space.n)
    return sample_legal(env.action_space, env.mask[None], rng)[0]


def said(tools: ToolEnv, action: Any) -> dict[str, Any]:
    """The arguments that mean an action."""
    if tools.task.action_names:
        return {"action": tools.task.action_names[action]}
    keys = list(tools.tools()[0].input_schema["properties"])
    units = tools.task.understood(action[None], 1)[0] if tools.task.decode else np.atleast_1d(action)
    return {key: int(asked) for key, asked in zip(keys, units, strict=True)}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize(("env_id", "arguments"), KINDS)
def test_the_same_decisions_are_the_same_episode(
    env_id: str, arguments: dict[str, Any], seed: int, backend: str
) -> None:
    env, tools = made(env_id, **arguments), ToolEnv(made(env_id, backend, **arguments))
    obs, _ = env.reset(seed=seed)
    seen, rng = tools.reset(seed), np.random.default_rng(seed)
    (tool,) = tools.tools()
    for _ in range(STEPS):
        assert seen.structured["features"] == obs.tolist()
        assert tools.state_hash() == env.state_hash()
        action = decision(env, rng)
        obs, reward, terminated, _, info = env.step(action)
        seen = tools.call(tool.name, said(tools, action))
        assert (seen.reward, seen.terminated, seen.refused) == (reward, terminated, info.get("refused"))
        assert seen.terms == info["reward_terms"]
        assert sum(seen.terms.values()) == seen.reward
        assert seen.structured["constraint_cost"] == info["constraint_cost"]
    tools.close()


@pytest.mark.parametrize(("env_id", "arguments"), KINDS)
def test_schemas_are_json_schemas_whose_keys_every_provider_takes(
    env_id: str, arguments: dict[str, Any]
) -> None:
    tools = ToolEnv(made(env_id, **arguments))
    for tool in tools.tools():
        Draft202012Validator.check_schema(tool.input_schema)
        assert all(PROVIDERS_TAKE.match(key) for key in [tool.name, *tool.input_schema["properties"]])
        assert tool.description


@pytest.mark.parametrize(("env_id", "arguments"), KINDS)
def test_decisions_and_features_have_names_of_their_own(env_id: str, arguments: dict[str, Any]) -> None:
    task = made(env_id, **arguments).task
    names = task.action_names or task.decision_names
    count = task.action_space.n if task.action_names else max(1, *task.action_shape, 1)
    assert len(set(names)) == len(names) == count
    assert len(set(task.feature_names)) == len(task.feature_names) == task.observation_space.shape[-1]


@pytest.mark.parametrize(("env_id", "arguments"), KINDS)
def test_whatever_the_schema_allows_is_understood(env_id: str, arguments: dict[str, Any]) -> None:
    tools = ToolEnv(made(env_id, **arguments))
    tools.reset(seed=1)
    (tool,) = tools.tools()
    rng = np.random.default_rng(3)
    for _ in range(10):
        asked = {key: _allowed(schema, rng) for key, schema in tool.input_schema["properties"].items()}
        Draft202012Validator(tool.input_schema).validate(asked)
        refused = tools.call(tool.name, asked).refused
        assert refused is None or refused in tools.task.reasons


def _allowed(schema: dict[str, Any], rng: np.random.Generator) -> Any:
    if "enum" in schema:
        return str(rng.choice(schema["enum"]))
    return int(rng.integers(schema["minimum"], schema["maximum"] + 1))


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown tool": ("decied", {"action": "hold"}, "no tool named 'decied'; did you mean 'decide'?"),
    "unknown action": ("decide", {"action": "holt"}, "no action named 'holt'; did you mean 'hold'?"),
    "no action": ("decide", {}, "expected the argument 'action', found none"),
    "unhashable action": ("decide", {"action": ["hold"]}, "no action named"),
    "unknown argument": ("decide", {"action": "hold", "why": "x"}, "no argument named 'why'"),
    "too much": ("order", {"supplier_to_factory": 61}, "a whole number in 0..60, found 61"),
    "negative": ("order", {"supplier_to_factory": -1}, "a whole number in 0..60, found -1"),
    "a fraction": ("order", {"supplier_to_factory": 1.5}, "found 1.5"),
    "a flag": ("order", {"supplier_to_factory": True}, "found True"),
    "text": ("order", {"supplier_to_factory": "4"}, "found '4'"),
    "infinite": ("order", {"supplier_to_factory": float("inf")}, "found inf"),
    "unknown link": ("order", {"supplier_to_factry": 1}, "did you mean 'supplier_to_factory'?"),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_done_is_refused_and_changes_nothing(wrong: str, backend: str) -> None:
    name, arguments, reason = WRONG[wrong]
    tools = ToolEnv(made(BEER if name == "order" else ORDERS, backend))
    before, hash_before = tools.reset(seed=2), tools.state_hash()
    refused = tools.call(name, arguments)
    assert reason in str(refused.refused)
    assert refused.text.startswith(f"refused: {refused.refused}\n")
    assert (refused.reward, set(refused.terms.values())) == (0.0, {0})
    assert refused.structured == {**before.structured, "refused": refused.refused}
    assert tools.state_hash() == hash_before
    assert tools.observe() == refused
    tools.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_illegal_action_is_refused_by_the_business(backend: str) -> None:
    tools = ToolEnv(made(ORDERS, backend))
    seen = tools.reset(seed=2)
    before = tools.state_hash()
    illegal = next(name for name in tools.task.action_names if name not in seen.structured["legal"])
    assert tools.call("decide", {"action": illegal}).refused in tools.task.reasons
    assert tools.state_hash() == before
    tools.close()


def test_quantities_that_are_not_named_are_not_ordered() -> None:
    short, full = ToolEnv(made(BEER)), ToolEnv(made(BEER))
    short.reset(seed=5)
    full.reset(seed=5)
    keys = list(full.tools()[0].input_schema["properties"])
    for asked in ({}, {keys[2]: 7}, {keys[0]: 3.0}):
        few, all_ = short.call("order", asked), full.call("order", {**dict.fromkeys(keys, 0), **asked})
        assert few == all_
        assert short.state_hash() == full.state_hash()


def test_the_legal_actions_are_those_that_are_not_refused() -> None:
    tools = ToolEnv(made(ORDERS))
    seen = tools.reset(seed=9)
    here = tools.inner.snapshot()
    for name in tools.task.action_names:
        tools.inner.restore(here)
        accepted = tools.call("decide", {"action": name}).refused is None
        assert accepted == (name in seen.structured["legal"]), name


def test_the_page_tells_the_business_the_decision_and_what_is_legal(tools: ToolEnv) -> None:
    text = tools.observe().text
    assert tools.inner.backend.render(0).strip() in text
    assert all(f"  {name}: " in text for name in tools.task.feature_names)
    if tools.task.action_names:
        assert f"legal: {', '.join(tools.observe().structured['legal'])}" in text


def test_the_page_tells_what_the_last_call_earned() -> None:
    tools = ToolEnv(made(LOST))
    tools.reset(seed=4)
    seen = tools.call("order", {"supplier_to_store": 5})
    booked = ", ".join(f"{name} {amount:,}" for name, amount in seen.terms.items() if amount)
    assert seen.text.startswith(f"earned: {booked}; in all {seen.reward:,.0f} cost units\n")
    assert booked


def test_without_pages_only_the_text_is_missing() -> None:
    told, silent = ToolEnv(made(ORDERS)), ToolEnv(made(ORDERS), pages=False)
    told.reset(seed=1)
    silent.reset(seed=1)
    for action in ("hold", "no such thing"):
        seen, bare = told.call("decide", {"action": action}), silent.call("decide", {"action": action})
        assert bare == seen._replace(text="")


@lru_cache(maxsize=1)
def whole_season() -> tuple[Observation, ToolEnv]:
    tools = ToolEnv(made(ORDERS, days=2))
    seen = tools.reset(seed=3)
    while not seen.ended:
        seen = tools.call("decide", {"action": seen.structured["legal"][0]})
    return seen, tools


def test_an_episode_that_is_over_takes_no_more_calls() -> None:
    seen, tools = whole_season()
    assert (seen.terminated, seen.truncated) == (True, False)
    assert OVER in seen.text
    before = tools.state_hash()
    after = tools.call("decide", {"action": "hold"})
    assert (after.refused, after.terminated, after.reward) == (OVER, True, 0.0)
    assert tools.state_hash() == before


def test_a_cut_episode_is_told_apart_from_one_that_ended() -> None:
    tools = ToolEnv(gym.make(ORDERS, max_episode_steps=2))
    tools.reset(seed=3)
    assert not tools.call("decide", {"action": "hold"}).ended
    seen = tools.call("decide", {"action": "hold"})
    assert (seen.terminated, seen.truncated, seen.ended) == (False, True, True)
    assert seen.structured["truncated"]
    assert tools.call("decide", {"action": "hold"}).refused == OVER
    assert not tools.reset(seed=3).ended


def test_a_family_can_be_asked_for() -> None:
    tools = ToolEnv(made(ORDERS))
    tools.reset(seed=3, family="stock-out")
    assert tools.task.families[tools.inner.facts()["family"]] == "stock-out"


def test_there_is_nothing_to_see_before_a_reset() -> None:
    tools = ToolEnv(made(ORDERS))
    with pytest.raises(gym.error.ResetNeeded):
        tools.call("decide", {"action": "hold"})


def test_somebody_elses_env_is_refused() -> None:
    with pytest.raises(BadInput, match="expected a workgym env, found CartPoleEnv"):
        ToolEnv(gym.make("CartPole-v1"))


def test_keys_differ_where_names_do() -> None:
    names = ["SKU 1", "SKU_1", "SKU/1", "Größe", "x" * 100, "x" * 99, "", "?"]
    keys = keys_of(names)
    assert len(set(keys)) == len(names)
    assert all(PROVIDERS_TAKE.match(key) for key in keys)
    assert keys[0] == "SKU_1"
