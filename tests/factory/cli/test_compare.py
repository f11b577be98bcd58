"""`factory compare` and `factory export`: what they say, and what they say to wrong arguments."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.factory.conftest import scorecard
from workgym.factory.cli import app
from workgym.factory.cli.base import exit_code
from workgym.services.kernel import WorkgymError


@pytest.fixture
def database_url(tmp_path):
    return f"sqlite:///{tmp_path}/registry.db"


@pytest.fixture
def factory(tmp_path):
    """A function that runs a command in the workspace; our errors stay as they are raised."""

    def run(*arguments):
        return CliRunner().invoke(app, [*arguments, "--home", str(tmp_path)])

    return run


@pytest.fixture
def two(desk):
    """Version 1 serves; version 2 earns 30 cents more in two of three scenarios."""
    desk.promote(desk.blessed())
    digest = desk.policy()
    desk.registry.register(
        "orders",
        run_id=desk.run().id,
        artifact_digest=digest,
        scorecard=scorecard(digest, profit=(130, 230, 300)),
        required_gates=["beats-champion"],
        lineage={"variant": "small"},
    )
    return desk


def test_two_versions_are_paired_scenario_by_scenario(two, factory):
    told = json.loads(factory("compare", "orders", "champion", "2", "--json").stdout)
    assert told["n"] == 3
    assert told["gain"]["value"] == pytest.approx(2.0)  # 60 cents over 30 orders
    assert told["gain"]["low"] < 2.0 < told["gain"]["high"]
    assert told["families"]["normal"]["value"] == pytest.approx(2.0)
    assert told["improvement"] == pytest.approx(2.5 / 3)
    assert (told["flips"]["lost"], told["flips"]["won"]) == ([], 0)
    assert told["first"]["version"] == 1
    assert told["trained"]["improvement"] is None


def test_a_comparison_is_a_table_for_people(two, factory):
    done = factory("compare", "orders", "1", "2")
    assert done.exit_code == 0
    assert "version 2 against version 1, n=3 paired scenarios" in done.stdout
    assert "Flips: 0 of 3 lost" in done.stdout
    assert "Nothing is said of" in done.stdout


def test_exported_scores_are_matrices_of_seeds_and_scenarios(two, factory, tmp_path):
    told = json.loads(factory("export", "scores", "orders", "--to", str(tmp_path / "s.npz"), "--json").stdout)
    assert told["shapes"] == {"version/normal": [1, 3], "small/normal": [1, 3]}
    assert told["versions"] == {"version": [1], "small": [2]}
    with np.load(tmp_path / "s.npz", allow_pickle=False) as archive:
        assert archive["small/normal"].tolist() == [[13.0, 23.0, 30.0]]
        assert archive["seeds:normal"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["compare", "ordres", "1", "2"], 2, "did you mean 'orders'"),
        (["compare", "orders", "1", "7"], 2, "there are versions 1 to 2"),
        (["compare", "orders", "champoin", "2"], 2, "did you mean 'champion'"),
        (["export", "scores", "ordres"], 2, "did you mean 'orders'"),
        (["export", "scores", "orders", "--to", "no/folder/s.npz"], 2, "No such file or directory"),
    ],
)
def test_wrong_arguments_are_told_with_the_way_out(two, factory, arguments, code, sentence):
    error = factory(*arguments).exception
    assert isinstance(error, WorkgymError)
    assert exit_code(error) == code
    assert sentence in str(error)


def test_versions_without_a_common_suite_need_a_pipeline_to_play_one(two, factory, tmp_path):
    digest = two.policy()
    two.registry.register(
        "orders",
        run_id=two.run().id,
        artifact_digest=digest,
        scorecard=scorecard(digest, suite="6" * 64),
        required_gates=["beats-champion"],
    )
    error = factory("compare", "orders", "1", "3").exception
    assert exit_code(error) == 2
    assert "was registered by hand, expected a pipeline behind it" in str(error)
    told = json.loads(factory("export", "scores", "orders", "--to", str(tmp_path / "s.npz"), "--json").stdout)
    assert (told["versions"], told["left_out"]) == ({"version": [3]}, [2, 1])


@pytest.mark.parametrize("arguments", [["compare", "orders", "1"], ["export", "scores"], ["export", "score"]])
def test_missing_arguments_are_a_usage_error(factory, arguments):
    assert factory(*arguments).exit_code == 2
