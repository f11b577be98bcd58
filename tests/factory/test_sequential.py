from collections.abc import Sequence

import numpy as np
import pytest

from workgym.factory.sequential import committed_order
from workgym.factory.statistics import blocks
from workgym.services.scenario import Scenario, Suite, interleave

FAMILIES = ("normal", "outage", "recall")


def suite(names: Sequence[tuple[str, int]], content: str = "c") -> Suite:
    return Suite("env", "gate", tuple(Scenario("env", "gate", *name) for name in names), content)


SUITE = suite(interleave(FAMILIES, 40))


# The committed order


def test_the_committed_order_plays_every_scenario_once() -> None:
    assert sorted(committed_order(SUITE, "r1")) == list(range(120))


def test_the_order_is_committed_to_the_release_and_the_suite() -> None:
    order = committed_order(SUITE, "r1")
    assert committed_order(suite(interleave(FAMILIES, 40)), "r1") == order
    assert committed_order(SUITE, "r2") != order
    assert committed_order(suite(interleave(FAMILIES, 40), "changed"), "r1") != order


@pytest.mark.parametrize("blocks_played", [1, 7, 40])
def test_every_prefix_of_whole_blocks_has_the_suites_mix(blocks_played: int) -> None:
    order = committed_order(SUITE, "r1")[: 3 * blocks_played]
    played = [SUITE.scenarios[at].family for at in order]
    assert played == list(FAMILIES) * blocks_played


def test_scenarios_that_fill_no_block_come_last() -> None:
    uneven = suite([("a", 0), ("a", 1), ("b", 2), ("a", 3)])
    assert sorted(committed_order(uneven, "r1")[:2]) == [0, 2]
    assert committed_order(uneven, "r1")[2:] == [1, 3]


def test_a_block_holds_one_scenario_of_every_family() -> None:
    assert blocks(["a", "b", "b", "a", "b"]).tolist() == [[0, 1], [2, 3]]
    assert blocks([]).shape == (0, 0)


def test_orders_of_many_releases_start_anywhere() -> None:
    first = [committed_order(SUITE, str(at))[0] // 3 for at in range(400)]
    assert np.bincount(first, minlength=40).max() < 30
