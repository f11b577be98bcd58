"""The commands on trade-offs answer from what was measured, and name what is wrong in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["pareto", "order"], "did you mean 'orders'"),
        (["pareto", "orders", "--alias", "chmapion"], "did you mean 'champion'"),
        (["pareto", "orders", "--profile", "smal"], "did you mean 'small'"),
        (["pareto", "orders", "--profile", "specialist:norml"], "did you mean 'normal'"),
        (["tiers", "order"], "did you mean 'orders'"),
        (["tiers", "orders", "--alias", "edge"], "no alias of orders named 'edge'"),
        (["gate", "orders", "1", "--alias", "egde"], "no alias named 'egde'"),
    ],
)
def test_wrong_arguments_are_told_with_a_way_out(
    factory: Any, tiny_workspace: Path, arguments: list[str], sentence: str
) -> None:
    done = factory(*arguments, home=tiny_workspace)
    assert done.code == 2
    assert sentence in " ".join(done.err.split())


def test_the_front_names_who_beats_whom(factory: Any, tiny_workspace: Path) -> None:
    told = json.loads(factory("pareto", "orders", "--all", "--json", home=tiny_workspace).out)
    assert {"profit", "worst_family", "bytes"} <= set(told["over"])
    by_version = {one["version"]: one for one in told["standings"]}
    assert any(one["on_front"] for one in by_version.values())
    for one in by_version.values():
        assert one["on_front"] == (one["dominated_by"] == [])
    text = factory("pareto", "orders", "--all", "--profile", "small", home=tiny_workspace).out
    assert "small would pick version" in text


def test_tiers_tell_who_serves(factory: Any, tiny_workspace: Path) -> None:
    (serving,) = json.loads(factory("tiers", "orders", "--json", home=tiny_workspace).out)
    assert (serving["alias"], serving["version"], serving["flips"]) == ("champion", 1, {"champion": 0.0})
