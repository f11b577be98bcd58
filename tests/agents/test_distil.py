"""Claims about students: they learn what their teacher would do, in chunks that are functions."""

import json

import numpy as np
import pytest

from workgym.agents.mlp import MlpPolicy, random_policy
from workgym.agents.policy import files_digest, load_policy
from workgym.agents.training import initial_state, make_recipe, needs, policy_from, train_chunk
from workgym.services.kernel import BadInput

ENV = "workgym/Orders-v0"
SHORT = {"days": 3, "orders_per_day": 5.0}
TEACHER = random_policy("teacher", ENV, "orders-v0.1", (46, 32, 15), seed=4).save()
TINY = {
    "env_id": ENV,
    "algorithm": "distil",
    "env_kwargs": SHORT,
    "teacher": files_digest(TEACHER),
    "rounds": 12,
    "chunk_rounds": 6,
    "lanes": 64,
    "n_steps": 16,
    "minibatch": 128,
    "net": [8],
}
INPUTS = {files_digest(TEACHER): TEACHER}


@pytest.fixture(scope="module")
def taught():
    one = make_recipe(TINY)
    states, reports = [initial_state(one, INPUTS)], []
    for k in range(one.chunks):
        state, report = train_chunk(one, k, states[-1])
        states.append(state)
        reports.append(report)
    return one, states, reports


def test_a_student_comes_to_decide_as_its_teacher(taught):
    one, _, reports = taught
    assert one.chunks == 2
    assert reports[1].agreement > max(0.75, reports[0].agreement)
    assert reports[1].divergence < reports[0].divergence
    assert [report.steps for report in reports] == [6 * 16 * 64] * 2
    json.dumps(reports[1].__dict__, allow_nan=False)


def test_the_student_is_small_and_of_the_same_env(taught):
    one, states, _ = taught
    student, teacher = load_policy(policy_from(one, states[-1], "edge")), load_policy(TEACHER)
    assert isinstance(student, MlpPolicy)
    assert student.name == "edge"
    assert (student.env_id, student.env_version) == (teacher.env_id, teacher.env_version)
    assert [len(layer.bias) for layer in student.layers] == [8, 15]
    assert student.multiplications == 46 * 8 + 8 * 15 < teacher.multiplications


def test_a_chunk_needs_nothing_but_its_state(taught):
    import torch

    one, states, _ = taught
    np.random.seed(3)
    torch.manual_seed(3)
    assert train_chunk(one, 1, states[1])[0] == states[2]
    assert initial_state(one, INPUTS) == states[0]
    assert b"pickle" not in states[2]


def test_a_student_needs_its_teacher_and_no_other(taught):
    one, states, _ = taught
    assert needs(one) == (one.teacher,)
    with pytest.raises(BadInput, match="found no files of it"):
        initial_state(one)
    with pytest.raises(BadInput, match="found the one after 0"):
        train_chunk(one, 1, states[0])
    with pytest.raises(BadInput, match="begin with initial_state"):
        train_chunk(make_recipe(TINY | {"seed": 1}), 0, states[0])
    with pytest.raises(BadInput, match="found damage"):
        policy_from(one, states[1][:-9])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"teacher": ""}, "expected the digest of a saved policy"),
        ({"temperature": 0.0}, "as temperature"),
        ({"net": []}, "expected hidden layers"),
        ({"activation": "rely"}, "did you mean 'relu'"),
        ({"algorithm": "distill"}, "did you mean 'distil'"),
        ({"teacher_chare": 0.5}, "did you mean 'teacher_share'"),
    ],
)
def test_a_wrong_recipe_is_refused(fields, reason):
    with pytest.raises(BadInput, match=reason):
        make_recipe(TINY | fields)
