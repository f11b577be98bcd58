"""The contract holds for many choices a step, masked or not, for quantities, and for rows of decisions.

The subject is `tests/support/counters.py`, in all its shapes.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st

from workgym.envs import conformance
from workgym.envs.contract import sample_legal
from workgym.services.kernel import BadInput

SUPPORT = str(Path(__file__).parent.parent / "support")
sys.path.insert(0, SUPPORT)
import counters  # noqa: E402  # fresh processes and pickles find it by this name, too

CHOICES = ("rows", "masked", "flat")
NUMBERS = ("numbers", "number-rows")
ROWED = ("rows", "masked", "number-rows")
LANES = 4


def env_id(shape: str) -> str:
    return f"counters:test/Counters-{shape}-v0"


def single(shape: str, **kwargs: Any) -> Any:
    return gym.make(env_id(shape), **kwargs).unwrapped


def vector(shape: str, lanes: int = LANES, **kwargs: Any) -> Any:
    return gym.make_vec(env_id(shape), num_envs=lanes, **kwargs)


@pytest.fixture(autouse=True)
def found_by_fresh_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (SUPPORT, os.environ.get("PYTHONPATH")))))


@pytest.mark.parametrize("shape", counters.SHAPES)
def test_every_law_holds(shape: str) -> None:
    findings = conformance.check(env_id(shape), steps=60)
    assert len(findings) == len(conformance.LAWS) - 1  # all but the law of order, which needs players
    assert not [finding for finding in findings if not finding.passed or not finding.cases]


MASKS = "masks are sound and complete; a refused action changes nothing and says why"
LANES_LAW = "lane i with seed s is the single env with seed s + i, in every autoreset mode"


def refuse_the_highest(board: Any, actions: Any) -> Any:
    return board._replace(refusal=(actions == counters.MOST).all(axis=1).astype(np.int64))


def allow_all(board: Any, actions: Any) -> Any:
    return board._replace(mask=np.ones_like(board.mask))


def credit_by_lane(board: Any, actions: Any) -> Any:
    return board._replace(credit=board.credit + np.arange(len(actions))[:, None])


@pytest.mark.parametrize(
    ("shape", "claim", "bug"),
    [
        ("rows", MASKS, refuse_the_highest),
        ("numbers", MASKS, refuse_the_highest),
        ("masked", MASKS, allow_all),
        ("rows", LANES_LAW, credit_by_lane),
    ],
)
def test_a_planted_bug_is_caught(shape: str, claim: str, bug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = counters.Shelves.advance
    monkeypatch.setattr(
        counters.Shelves,
        "advance",
        lambda self, mode, actions, episodes: bug(honest(self, mode, actions, episodes), actions),
    )
    (finding,) = conformance.check(env_id(shape), steps=60, only=(claim,))
    assert not finding.passed


def test_an_env_whose_module_names_no_backends_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(counters, "BACKENDS")
    with pytest.raises(BadInput, match="expected BACKENDS in counters"):
        conformance.check(env_id("rows"))


@pytest.mark.parametrize("shape", counters.SHAPES)
def test_backends_receive_whole_numbers_of_all_decisions(shape: str) -> None:
    env, lanes = single(shape), vector(shape)
    env.reset(seed=0)
    lanes.reset(seed=0)
    env.step(env.action_space.sample())
    lanes.step(lanes.action_space.sample())
    for holder, n in ((env, 1), (lanes, LANES)):
        for taken in holder.backend.taken:
            assert taken.shape == (n, counters.ROWS)
            assert taken.dtype == np.int64


@pytest.mark.parametrize("shape", NUMBERS)
def test_numbers_are_decoded_and_counted_as_the_nearest_bound_outside_the_box(shape: str) -> None:
    env = single(shape)
    env.reset(seed=0)
    env.step(np.array([-1.0, 0.0, 1.0], dtype=np.float32))
    env.step(np.array([-9.0, 0.1, 7.0]))
    assert [taken.tolist() for taken in env.backend.taken[1:]] == [[[0, 1, 2]], [[0, 1, 2]]]


@pytest.mark.parametrize("shape", NUMBERS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused(shape: str, value: float) -> None:
    env, lanes = single(shape), vector(shape)
    env.reset(seed=0)
    lanes.reset(seed=0)
    with pytest.raises(BadInput, match="expected actions that are finite, found NaN or infinity"):
        env.step(np.array([0.0, value, 0.0]))
    actions = np.zeros((LANES, counters.ROWS), dtype=np.float32)
    actions[2, 1] = value
    before = lanes.state_hash(0)
    with pytest.raises(BadInput, match="finite"):
        lanes.step(actions)
    assert lanes.state_hash(0) == before


@pytest.mark.parametrize("shape", counters.SHAPES)
def test_actions_of_another_shape_are_refused(shape: str) -> None:
    env, lanes = single(shape), vector(shape)
    env.reset(seed=0)
    lanes.reset(seed=0)
    with pytest.raises(BadInput, match=r"expected actions of shape \(1, 3\), found \(1, 2\)"):
        env.step(np.zeros(2, dtype=np.int64))
    with pytest.raises(BadInput, match=r"expected actions of shape \(4, 3\), found \(4,\)"):
        lanes.step(np.zeros(LANES, dtype=np.int64))


@pytest.mark.parametrize("shape", CHOICES)
def test_fractions_are_no_choices(shape: str) -> None:
    env = single(shape)
    env.reset(seed=0)
    with pytest.raises(BadInput, match=r"expected actions of MultiDiscrete.*found an array of float64"):
        env.step(np.array([0.5, 1.0, 1.0]))


@pytest.mark.parametrize("shape", counters.SHAPES)
def test_masks_are_told_only_by_tasks_that_have_them(shape: str) -> None:
    env, lanes = single(shape), vector(shape)
    told = [env.reset(seed=0)[1], lanes.reset(seed=0)[1]]
    told += [env.step(choose(env))[-1], lanes.step(choose_all(lanes))[-1]]
    columns = 9 if shape == "masked" else 0
    for info in told:
        assert ("action_mask" in info) == (shape == "masked")
        assert ("credit" in info) == (shape in ROWED)
    assert env.mask.shape == (columns,)
    assert lanes.mask.shape == (LANES, columns)


def choose(env: Any) -> Any:
    return conformance.choose(env, np.random.default_rng(0))


def choose_all(lanes: Any) -> Any:
    return conformance.choose_all(lanes, np.random.default_rng(0))


@pytest.mark.parametrize("shape", ["rows", "flat"])
def test_without_masks_every_choice_is_shown_as_legal(shape: str) -> None:
    env, lanes = single(shape), vector(shape)
    env.reset(seed=0)
    assert env.action_masks().tolist() == [True] * 9
    assert lanes.action_masks().shape == (LANES, 9)
    assert lanes.action_masks().all()


@pytest.mark.parametrize("shape", NUMBERS)
def test_numbers_have_no_masks(shape: str) -> None:
    env, lanes = single(shape), vector(shape)
    env.reset(seed=0)
    for holder in (env, lanes):
        with pytest.raises(BadInput, match="a Box needs no action masks"):
            holder.action_masks()


def test_credit_is_of_the_step_that_earned_it_in_every_autoreset_mode() -> None:
    for mode in AutoresetMode:
        lanes = vector("rows", autoreset_mode=mode)
        lanes.reset(seed=1)
        for step in range(1, 4 * counters.DAYS):
            _, reward, ended, _, info = lanes.step(choose_all(lanes))
            before = info.get("final_info", info)
            np.testing.assert_array_equal(before["credit"].sum(axis=1), reward)
            if mode is AutoresetMode.SAME_STEP and ended.any():
                assert not info["credit"][ended].any(), f"a new episode has earned at step {step}"
            if mode is AutoresetMode.DISABLED and ended.any():
                lanes.reset(options={"reset_mask": ended})


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(1, 6))
def test_a_sampled_action_is_legal(seed: int, choices: list[int], n: int) -> None:
    rng = np.random.default_rng(seed)
    space = gym.spaces.MultiDiscrete(choices)
    parts = [rng.random((n, k)) < 0.5 for k in choices]
    for part in parts:
        part[np.arange(n), rng.integers(part.shape[1], size=n)] = True
    actions = sample_legal(space, np.concatenate(parts, axis=1), rng)
    assert actions.shape == (n, len(choices))
    for decision, part in enumerate(parts):
        assert part[np.arange(n), actions[:, decision]].all()


def test_samples_without_masks_reach_every_corner_of_the_space() -> None:
    rng, free = np.random.default_rng(0), np.ones((200, 0), dtype=np.bool_)
    assert set(sample_legal(gym.spaces.Discrete(3), free, rng).tolist()) == {0, 1, 2}
    pairs = sample_legal(gym.spaces.MultiDiscrete([2, 3]), free, rng)
    assert {tuple(pair) for pair in pairs.tolist()} == {(a, b) for a in range(2) for b in range(3)}
    box = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    numbers = sample_legal(box, free, rng)
    assert all(row in box for row in numbers)
    assert numbers.min() < -0.9 < 0.9 < numbers.max()


def test_a_picture_is_drawn_where_the_task_has_one() -> None:
    env = single("rows", render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (4, 6, 3)
    assert single("rows", render_mode="ansi").render() == "[0 0 0 0]"
    assert single("rows").render() is None
    with pytest.raises(BadInput, match="expected render_mode None or 'ansi' or 'rgb_array', found 'human'"):
        counters.Counters("rows", render_mode="human")


def test_an_env_that_draws_nothing_says_so() -> None:
    with pytest.raises(BadInput, match="expected an env that draws pictures, found Env"):
        conformance.Env(counters.task("rows"), counters.Shelves("rows", 1), render_mode="rgb_array").render()


MISFITS: dict[str, tuple[str, dict[str, Any], str]] = {
    "numbers without a decode": ("numbers", {"decode": None}, "expected a decode"),
    "choices with a decode": ("flat", {"decode": counters.decode}, "expected a decode with a Box alone"),
    "another box": ("numbers", {"action_space": gym.spaces.Box(0, 1, (3,), np.float32)}, "in -1..1"),
    "a matrix": ("flat", {"action_space": gym.spaces.MultiDiscrete([[2, 2]])}, "of one axis"),
    "rows that do not see": ("flat", {"rows": 3}, r"expected observations \(3, features\)"),
    "rows that do not act": ("rows", {"rows": 2}, "expected observations"),
    "unequal rows": ("rows", {"action_space": gym.spaces.MultiDiscrete([2, 2, 3])}, "as many choices"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_task_whose_parts_do_not_fit_is_refused(name: str) -> None:
    shape, change, found = MISFITS[name]
    with pytest.raises(BadInput, match=found):
        replace(counters.task(shape), **change)


@pytest.mark.parametrize("shape", counters.SHAPES)
def test_one_decision_sees_a_row_where_there_are_rows(shape: str) -> None:
    seen, said = counters.task(shape).decision
    assert seen.shape == ((2,) if shape in ROWED else (6,))
    assert (
        said
        == {
            "rows": gym.spaces.Discrete(3),
            "masked": gym.spaces.Discrete(3),
            "flat": gym.spaces.MultiDiscrete([3, 3, 3]),
            "numbers": gym.spaces.Box(-1.0, 1.0, (3,), np.float32),
            "number-rows": gym.spaces.Box(-1.0, 1.0, (1,), np.float32),
        }[shape]
    )
