"""A pipeline file says what is wrong with it, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from workgym.factory.pipeline import read_pipeline
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
        (GOOD + "[[variants]]\nname = 'steady'", "variant names must differ, found steady twice"),
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
