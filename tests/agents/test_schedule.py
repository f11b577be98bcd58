"""A training whose recipe changes on its way is a chain of pure chunks like any other."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from safetensors.numpy import load

from workgym.agents.policy import load_policy
from workgym.agents.schedule import Stage, continued, stages_of
from workgym.agents.training import initial_state, make_recipe, policy_from, train_chunk
from workgym.services.kernel import BadInput

ENV = "workgym/Orders-v0"
BASE = {"steps": 6144, "chunk_steps": 2048, "lanes": 32, "n_steps": 32, "minibatch": 512, "net": [8]}
STAGES = [
    {"start": 0, "changes": {"gamma": 0.9}},
    {"start": 2, "changes": {"gamma": 0.97, "learning_rate": 1e-3}},
]


def schedule(**changes: Any) -> Any:
    fields = {"algorithm": "schedule", "env_id": ENV, "seed": 5, "base": BASE, "stages": STAGES}
    return make_recipe(fields | changes)


def trained(recipe: Any) -> list[bytes]:
    states = [initial_state(recipe)]
    for k in range(recipe.chunks):
        states.append(train_chunk(recipe, k, states[-1])[0])
    return states


@pytest.fixture(scope="module")
def states() -> list[bytes]:
    return trained(schedule())


def weights(state: bytes) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in load(state).items() if name.startswith("policy/")}


def test_each_stage_trains_as_its_recipe_would(states: list[bytes]) -> None:
    plain = make_recipe({**BASE, "gamma": 0.9, "env_id": ENV, "seed": 5})
    state = initial_state(plain)
    for k in range(3):
        assert state == states[k]
        state = train_chunk(plain, k, state)[0]
    assert weights(state) != weights(states[3])


def test_a_schedule_replays_to_the_same_bytes_in_another_process(states: list[bytes]) -> None:
    program = (
        "import sys, json, hashlib; from workgym.agents.training import *\n"
        "recipe = make_recipe(json.loads(sys.argv[1])); state = initial_state(recipe)\n"
        "for k in range(recipe.chunks): state, _ = train_chunk(recipe, k, state)\n"
        "sys.stdout.buffer.write(state)"
    )
    command = [sys.executable, "-c", program, json.dumps(schedule().to_dict())]
    assert subprocess.run(command, capture_output=True, check=True).stdout == states[-1]


def test_its_policy_is_that_of_the_last_stage(states: list[bytes]) -> None:
    recipe = schedule()
    files = policy_from(recipe, states[-1], "late")
    assert load_policy(files).name == "late"
    assert files == policy_from(recipe.at(2), states[-1], "late")


def test_a_digest_tells_schedules_apart_and_survives_json() -> None:
    recipe = schedule()
    assert make_recipe(json.loads(json.dumps(recipe.to_dict()))).digest() == recipe.digest()
    later = [STAGES[0], {**STAGES[1], "start": 1}]
    assert len({recipe.digest(), schedule(seed=6).digest(), schedule(stages=later).digest()}) == 3


@pytest.mark.parametrize("wrong", ["recipe", "chunk", "damage"])
def test_a_state_goes_on_under_another_recipe_only_where_it_belongs(states: list[bytes], wrong: str) -> None:
    before, after = schedule().at(1), schedule().at(2)
    moved = continued(states[2], 2, before, after)
    assert weights(moved) == weights(states[2])
    assert load(moved)["recipe"].tobytes().hex() == after.digest()
    state = states[2][:-1] if wrong == "damage" else states[1] if wrong == "chunk" else moved
    with pytest.raises(BadInput, match="expected the state of"):
        continued(state, 2, before, after)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"stages": []}, "start at chunk 0"),
        ({"stages": [{"start": 1, "changes": {}}]}, "start at chunk 0"),
        ({"stages": [STAGES[1], STAGES[0]]}, "start at chunk 0 and grow"),
        ({"stages": [STAGES[0], {"start": 3, "changes": {}}]}, "within 3 chunks"),
        ({"stages": [{"start": 0, "changes": {"net": [4]}}]}, "no field that may change within a training"),
        ({"stages": [{"start": 0, "changes": {"gama": 0.9}}]}, "did you mean 'gamma'"),
        ({"stages": [{"start": 0, "changes": {"gamma": 2.0}}]}, "as gamma"),
        ({"stages": [{"begin": 0}]}, "expected a stage"),
        ({"base": {"algorithm": "schedule"}}, "found a schedule"),
    ],
)
def test_what_is_no_schedule_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        schedule(**changes)


def test_stages_are_what_changed_along_a_lineage() -> None:
    lineage = [(0, {"gamma": 0.9}, "a"), (1, {"gamma": 0.9}, "b"), (2, {"gamma": 0.8}, "c")]
    assert stages_of(lineage) == (Stage(0, {"gamma": 0.9}, ""), Stage(2, {"gamma": 0.8}, "c"))
