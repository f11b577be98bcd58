"""A pipeline file says what is wrong with it, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from workgym.agents.policy import files_digest
from workgym.factory.pipeline import Pipeline, read_pipeline
from workgym.factory.plan import plan, teachers_of
from workgym.services.kernel import BadInput, NotFound

GOOD = """
name = "orders"
env = "workgym/Orders-v0"
[[variants]]
name = "steady"
[gates.improvement]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pipeline.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("pipelines/*.toml")), ids=lambda path: path.name
)
def test_every_shipped_pipeline_is_one(path: Path) -> None:
    assert read_pipeline(path).variants


def test_equal_pipelines_have_equal_digests(tmp_path: Path) -> None:
    one = read_pipeline(written(tmp_path, GOOD))
    commented = read_pipeline(written(tmp_path, "# a remark\n" + GOOD))
    other = read_pipeline(written(tmp_path, GOOD.replace("steady", "swift")))
    assert one.digest() == commented.digest() != other.digest()


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ("nmae = 1\n" + GOOD, "no field named 'nmae'; did you mean 'name'"),
        (
            GOOD.replace("[[variants]]", "[[variants]]\nprest = 'a'"),
            "no field named 'prest'; did you mean 'preset'",
        ),
        (GOOD + "[suite]\nper_famly = 3", "no field named 'per_famly'; did you mean 'per_family'"),
        (GOOD + "[suite]\nper_family = 0", "suite.per_family: .* greater than or equal to 1"),
        (GOOD + "[suite]\nsplit = 'train'", "suite.split: .*'gate' or 'audit'"),
        (
            GOOD + "[[variants]]\nname = 'steady'",
            "names of variants and tiers must differ, found steady twice",
        ),
        (GOOD.replace("[gates.improvement]", ""), "gates: Field required"),
        ("name = ", "expected TOML"),
    ],
)
def test_a_mistake_is_named_with_its_way_out(tmp_path: Path, mistake: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        read_pipeline(written(tmp_path, mistake))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no pipeline file at .*nothing\.toml"):
        read_pipeline(tmp_path / "nothing.toml")


# Who learns from whom

TAUGHT = {
    "name": "orders",
    "env": "workgym/Orders-v0",
    "training": {"seeds": [0, 1]},
    "variants": [
        {"name": "large"},
        {"name": "edge", "teacher": "variant:large", "recipe": {"algorithm": "distil", "net": [8]}},
        {"name": "update", "teacher": "champion", "recipe": {"algorithm": "focal-ppo"}},
    ],
    "gates": {"improvement": {}},
}
POLICY = {"policy.json": b'{"hidden": [32], "activation": "tanh"}', "policy.safetensors": b"weights"}


def test_who_learns_from_somebody_is_planned_once_that_policy_is_there() -> None:
    pipeline = Pipeline.model_validate(TAUGHT)
    assert [job.name for job in plan(pipeline)] == ["large/0", "large/1"]
    assert teachers_of(pipeline) == ["variant:large/0", "variant:large/1", "champion"]
    known = {"champion": POLICY, "variant:large/1": POLICY}
    jobs = {job.name: job for job in plan(pipeline, known)}
    assert list(jobs) == ["large/0", "large/1", "edge/1", "update/0", "update/1"]
    assert jobs["edge/1"].recipe.teacher == files_digest(POLICY)


def test_an_update_has_the_net_of_whom_it_updates_and_a_student_its_own() -> None:
    jobs = plan(Pipeline.model_validate(TAUGHT), {"champion": POLICY, "variant:large/0": POLICY})
    recipes = {job.variant: job.recipe for job in jobs}
    assert (recipes["update"].net, recipes["update"].activation) == ((32,), "tanh")
    assert (recipes["edge"].net, recipes["edge"].activation) == ((8,), "relu")


@pytest.mark.parametrize(
    ("teachers", "wanted"),
    [
        ({"a": "variant:c"}, "no teacher of variant 'a' named 'c'"),
        ({"a": "variant:a"}, "circle: a <- a"),
        ({"a": "variant:b", "b": "variant:a"}, "circle: a <- b <- a"),
        ({"a": "Champion!"}, "should match pattern"),
    ],
)
def test_teachers_that_cannot_be_are_refused(teachers: dict[str, str], wanted: str) -> None:
    variants = [{"name": name, "teacher": teachers.get(name)} for name in ("a", "b")]
    with pytest.raises(ValueError, match=wanted):
        Pipeline.model_validate({**TAUGHT, "variants": variants})


# What is promoted, and for what


def test_promotion_is_short_for_one_release() -> None:
    short = Pipeline.model_validate({**TAUGHT, "promotion": {"alias": "edge"}})
    assert short == Pipeline.model_validate({**TAUGHT, "releases": [{"alias": "edge"}]})
    with pytest.raises(ValueError, match="found both"):
        Pipeline.model_validate({**TAUGHT, "promotion": {}, "releases": [{}]})


def test_a_release_changes_options_of_the_gates_that_there_are() -> None:
    release = {"alias": "edge", "profile": "small", "gates": {"improvement": {"margin": -5.0}}}
    pipeline = Pipeline.model_validate({**TAUGHT, "releases": [{}, release]})
    assert [pipeline.gates_of(one) for one in pipeline.releases] == [
        {"improvement": {}},
        {"improvement": {"margin": -5.0}},
    ]
    with pytest.raises(ValueError, match="did you mean 'improvement'"):
        Pipeline.model_validate({**TAUGHT, "releases": [{"gates": {"improvment": {}}}]})


@pytest.mark.parametrize("wrong", [{"small": "larg"}, {"name": "large"}, {"share": 1.0}])
def test_tiers_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    tier = {"name": "tiered", "small": "edge", "large": "large", **wrong}
    with pytest.raises(ValueError, match=r"did you mean 'large'|must differ|less than 1"):
        Pipeline.model_validate({**TAUGHT, "tiers": [tier]})


def test_two_releases_of_one_alias_are_refused() -> None:
    with pytest.raises(ValueError, match="aliases of releases must differ, found champion twice"):
        Pipeline.model_validate({**TAUGHT, "releases": [{}, {"profile": "small"}]})
