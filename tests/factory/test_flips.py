"""Every flipped scenario is found, and its command plays exactly what the scorecards say."""

from __future__ import annotations

import shlex

import gymnasium as gym
import pytest
from rich.console import Console

import workgym.envs  # noqa: F401  # registers the ids
from workgym.agents.baselines import baselines, make_baseline
from workgym.factory.flips import Contender, flips, task_of
from workgym.factory.judging import card_of, pipeline_of, suite_of
from workgym.factory.replay import parting, play, replay
from workgym.factory.show_proof import season_report, side_by_side
from workgym.services.kernel import BadInput, NotFound

pytestmark = pytest.mark.slow

RULE = "cheapest-feasible"


def test_flips_are_the_scenarios_that_one_scorecard_handles_and_the_other_does_not(tiny_registry) -> None:
    version = tiny_registry.version("orders", 1)
    pipeline = pipeline_of(tiny_registry, version)
    ours = card_of(tiny_registry, version, pipeline, suite_of(pipeline))
    found = flips(tiny_registry, "orders", RULE, "1")
    failed = {(f, s) for f, s, won in zip(ours.family, ours.seed, ours.success, strict=True) if not won}
    assert {(one.family, one.seed) for one in found.lost} == failed  # the rule handles all, by definition
    assert found.n == ours.n
    assert found.lost
    assert not found.won
    costs = [one.a_profit - one.b_profit for one in found.lost]
    assert costs == sorted(costs, reverse=True)


def test_the_other_way_round_is_the_mirror_image(tiny_registry) -> None:
    here, there = (flips(tiny_registry, "orders", *pair) for pair in (("1", "2"), ("2", "1")))
    assert {(one.family, one.seed) for one in here.lost} == {(one.family, one.seed) for one in there.won}
    assert not flips(tiny_registry, "orders", "1", "champion").lost  # the same policy


def test_a_family_can_be_looked_at_alone(tiny_registry) -> None:
    found = flips(tiny_registry, "orders", RULE, "1", "normal")
    assert found.n == 2
    assert {one.family for one in found.lost} <= {"normal"}


def test_a_replay_earns_what_the_scorecard_says(tiny_registry) -> None:
    one = flips(tiny_registry, "orders", RULE, "1").lost[0]
    seasons = [replay(tiny_registry, "orders", who, one.family, one.seed) for who in (RULE, "1")]
    assert [season.profit for season in seasons] == [one.a_profit, one.b_profit]
    for season in seasons:
        assert sum(season.terms().values()) == sum(season.by_day().values()) == season.profit
        assert season.facts["day"] == 10
    assert parting(*seasons) is not None
    assert parting(seasons[0], seasons[0]) is None


def test_the_command_of_a_flip_works(tiny_registry, tiny_workspace, factory) -> None:
    one = flips(tiny_registry, "orders", RULE, "champion").lost[0]
    program, *arguments = shlex.split(one.replay)
    assert program == "factory"
    told = factory(*arguments, "--json", home=tiny_workspace).json
    assert told["season"]["profit"] == one.a_profit
    assert told["against"]["profit"] == one.b_profit
    assert told["season"]["decisions"][0]["seen"]["priority customer"] in (0.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (("order", "1", "2"), NotFound, "did you mean 'orders'"),
        (("orders", "1", "9"), NotFound, "versions 1 to 2"),
        (("orders", "1", "cheapest"), NotFound, f"did you mean '{RULE}'"),
        (("orders", "1", "2", "nromal"), BadInput, "did you mean 'normal'"),
    ],
)
def test_whom_nobody_knows_is_named(tiny_registry, arguments, error, sentence) -> None:
    with pytest.raises(error, match=sentence):
        flips(tiny_registry, *arguments)


@pytest.mark.parametrize("env_id", [one for one in gym.registry if one.startswith("workgym/")])
def test_a_season_of_every_env_can_be_replayed_and_shown(env_id: str) -> None:
    rule = next(iter(baselines(env_id, "noop")))
    task = task_of(env_id, {})
    player = Contender(rule, make_baseline(env_id, rule), None)
    season = play(player, env_id, {}, "gate", task.families[0], 0)
    assert sum(season.terms().values()) == season.profit
    assert len(season.decisions[0].seen) == task.observation_space.shape[-1]
    console = Console(width=200)
    with console.capture() as shown:
        console.print(season_report(season))
        console.print(side_by_side(season, season))
    assert f"in {len(season.decisions)} decisions" in shown.get()
    assert "They took the same decisions." in shown.get()
