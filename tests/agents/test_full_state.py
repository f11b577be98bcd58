"""Claims about checkpoints that carry everything: cutting a training into chunks changes nothing."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load

from workgym.agents.recipe import Recipe
from workgym.agents.training import initial_state, make_recipe, train_chunk
from workgym.services.kernel import BadInput

# Rollouts of 5 decisions, so that every border cuts running episodes.
COMMON = {"lanes": 16, "n_steps": 5, "minibatch": 40, "epochs": 2, "net": [8], "steps": 320}
ORDERS = {"env_id": "workgym/Orders-v0", "env_kwargs": {"days": 2, "orders_per_day": 4.0}}
CHAIN = {"env_id": "workgym/SupplyChain.lost-sales-v0", "algorithm": "ppo", "env_kwargs": {"periods": 12}}
MISHAPS = {"lost-acknowledgement": 0.2, "stale-read": 0.2}
DISTURBED = {**ORDERS, "env_kwargs": {**ORDERS["env_kwargs"], "mishaps": MISHAPS}, "refusal_cost": 0.1}
CASES = {"orders": ORDERS, "chain": CHAIN, "disturbed": {**DISTURBED, "algorithm": "ppo"}}

# Plays chunk k of a recipe from one file to the next.
WORKER = """
import json, sys
from pathlib import Path
from workgym.agents import training
folder, k = Path(sys.argv[1]), int(sys.argv[2])
recipe = training.make_recipe(json.loads((folder / "recipe").read_text()))
(folder / f"{k + 1}").write_bytes(training.train_chunk(recipe, k, (folder / f"{k}").read_bytes())[0])
"""


def recipe(case, chunks, checkpoint="full"):
    return make_recipe({**COMMON, **CASES[case], "chunk_steps": 320 // chunks, "checkpoint": checkpoint})


def states(one):
    made = [initial_state(one)]
    for k in range(one.chunks):
        made.append(train_chunk(one, k, made[-1])[0])
    return made


def learned(state):
    """All but the stamp, which names the recipe and the chunk."""
    return {name: value for name, value in load(state).items() if name not in ("recipe", "chunk")}


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("case", CASES)
def test_one_chunk_and_four_end_with_the_same_weights_lanes_and_generators(case):
    whole, parts = recipe(case, 1), recipe(case, 4)
    assert (whole.chunks, parts.chunks) == (1, 4)
    assert equal(learned(states(whole)[-1]), learned(states(parts)[-1]))


def test_a_boundary_does_change_the_weights():
    whole, parts = (learned(states(recipe("orders", n, "boundary"))[-1]) for n in (1, 4))
    assert whole.keys() == parts.keys()
    assert not equal(whole, parts)


def test_two_processes_end_with_the_bytes_of_one(tmp_path):
    one = recipe("orders", 2)
    expected = states(one)
    (tmp_path / "recipe").write_text(json.dumps(one.to_dict()))
    (tmp_path / "0").write_bytes(expected[0])
    for k in range(one.chunks):
        command = [sys.executable, "-c", WORKER, str(tmp_path), str(k)]
        subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    assert [(tmp_path / f"{k}").read_bytes() for k in range(3)] == expected


def test_returns_of_episodes_that_a_border_cut_are_told_whole():
    whole, parts = recipe("orders", 1), recipe("orders", 4)
    _, told = train_chunk(whole, 0, initial_state(whole))
    state, ended, earned = initial_state(parts), 0, 0.0
    for k in range(parts.chunks):
        state, report = train_chunk(parts, k, state)
        ended += report.episodes
        earned += report.mean_return * report.episodes
    assert ended == told.episodes > 16
    assert earned / ended == pytest.approx(told.mean_return)


def test_a_full_state_holds_plain_tensors_alone():
    state = states(recipe("orders", 4))[1]
    assert {"lanes/state", "generators/torch", "generators/numpy", "generators/python"} <= load(state).keys()
    assert b"pickle" not in state


def test_the_mode_is_told_by_the_recipe_and_the_usual_one_is_not():
    plain = Recipe("workgym/Orders-v0")
    assert "checkpoint" not in plain.to_dict()
    full = Recipe("workgym/Orders-v0", checkpoint="full")
    assert make_recipe(full.to_dict()) == full
    assert full.digest() != plain.digest()


def test_lanes_of_another_process_cannot_be_carried():
    with pytest.raises(BadInput, match="leave checkpoint at 'boundary'"):
        Recipe("workgym/Orders-v0", env_kwargs={"backend": "http"}, checkpoint="full")
    with pytest.raises(BadInput, match="did you mean 'full'"):
        Recipe("workgym/Orders-v0", checkpoint="ful")
