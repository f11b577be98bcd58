"""The page on pipeline files names everything that a pipeline file may hold."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from workgym.agents.training import LEARNERS
from workgym.factory.pipeline import (
    Pipeline,
    ReleaseSpec,
    SuiteSpec,
    TierSpec,
    TrainingSpec,
    VariantSpec,
)
from workgym.factory.profiles import PROFILES
from workgym.factory.space import Dimension, SearchSpec

PAGE = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text()
PARTS = (Pipeline, SuiteSpec, TrainingSpec, VariantSpec, SearchSpec, Dimension, TierSpec, ReleaseSpec)


@pytest.mark.parametrize("part", PARTS)
def test_every_field_is_on_the_page(part: type[BaseModel]) -> None:
    missing = [name for name in part.model_fields if not re.search(rf"\b{name}\b", PAGE)]
    assert missing == []


@pytest.mark.parametrize("name", [*LEARNERS, *PROFILES])
def test_every_algorithm_and_profile_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_the_example_is_a_pipeline() -> None:
    example = PAGE.split("```toml\n")[1].split("```")[0]
    assert Pipeline.model_validate(tomllib.loads(example)).name == "orders"


def test_the_page_links_to_notes_that_exist() -> None:
    for link in re.findall(r"\]\((design/[a-z-]+\.md)\)", PAGE):
        assert (Path(__file__).parents[2] / "docs" / link).exists(), link
