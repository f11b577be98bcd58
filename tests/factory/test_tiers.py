"""A small policy asks a large one when unsure; those that serve are compared scenario by scenario."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from workgym.agents.policy import load_policy
from workgym.agents.routers import Escalating, escalated
from workgym.agents.seasons import train_seasons
from workgym.factory.engines import LocalEngine
from workgym.factory.pipeline import Pipeline
from workgym.factory.registry import Registry, open_registry
from workgym.factory.run import Result, run
from workgym.factory.tiers import Pair, assemble, pairs, tiers
from workgym.services.kernel import BadInput, NotFound

pytestmark = pytest.mark.slow

PIPELINE = Pipeline.model_validate(
    {
        "name": "orders",
        "env": "workgym/Orders-v0",
        "suite": {"per_family": 48},
        "variants": [
            {"name": "large", "recipe": {"steps": 524_288, "chunk_steps": 524_288, "violation_cost": 1000}},
            {
                "name": "edge",
                "teacher": "variant:large",
                "recipe": {"algorithm": "distil", "net": [8], "rounds": 12, "chunk_rounds": 12},
            },
        ],
        "tiers": [{"name": "tiered", "small": "edge", "large": "large", "share": 0.1}],
        "gates": {"improvement": {"margin": -60.0}, "no-harm": {"tolerance": 0.5}},
        "releases": [{}, {"alias": "edge", "profile": "small"}],
    }
)


class Nobody:
    """Watches nothing."""

    def stage(self, text: str) -> None: ...

    def training(self, progress: object) -> None: ...


def test_a_router_is_made_for_every_seed_that_both_of_its_variants_have() -> None:
    tier = PIPELINE.tiers[0]
    names = ["edge/0", "edge/1", "edge/2", "large/1", "large/2", "large/3", "other/1"]
    assert pairs(PIPELINE, names) == [Pair(tier, seed, f"edge/{seed}", f"large/{seed}") for seed in (1, 2)]
    assert pairs(PIPELINE, names)[0].name == "tiered/1"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with open_registry(tmp_path_factory.mktemp("tiers")) as opened:
        yield opened


@pytest.fixture(scope="module")
def result(registry: Registry) -> Result:
    return run(PIPELINE, registry, LocalEngine(), Nobody())


def files_of(registry: Registry, result: Result, name: str) -> dict[str, bytes]:
    judged = next(one for one in result.releases[0].judged if one.candidate.name == name)
    return registry.artifacts.get_folder(judged.candidate.version.artifact_digest)


def test_a_run_teaches_a_student_and_puts_it_before_its_teacher(registry: Registry, result: Result) -> None:
    names = {one.candidate.name for one in result.releases[0].judged}
    assert names == {"large/0", "edge/0", "tiered/0"}
    router = load_policy(files_of(registry, result, "tiered/0"))
    assert isinstance(router, Escalating)
    seasons = train_seasons(PIPELINE.env, {}, 4, seed=5)
    assert 0 < escalated(router, seasons) < 0.2


def test_the_small_release_takes_the_student_and_says_what_it_gave_up(result: Result) -> None:
    edge = result.releases[1]
    assert edge.promoted is not None, edge.sentence
    small = next(one for one in edge.judged if one.candidate.name == "edge/0")
    assert edge.promoted.to_version == small.candidate.version.version
    assert small.measures["bytes"] * 4 < max(one.measures["bytes"] for one in edge.judged)
    assert edge.promoted.profile == "small"
    assert "profit" in edge.promoted.given_up


def test_who_serves_is_compared_with_who_serves_beside(registry: Registry, result: Result) -> None:
    found = {one.alias: one for one in tiers(registry, "orders")}
    assert set(found) == {"champion", "edge"}
    assert all(found[alias].flips[alias] == 0 for alias in found)
    cards = {one.candidate.version.version: one.candidate.card for one in result.releases[0].judged}
    champion, edge = (cards[found[alias].version] for alias in ("champion", "edge"))
    lost = (champion.success & ~edge.success).mean()
    assert found["champion"].flips["edge"] == pytest.approx(lost)
    assert [one.alias for one in tiers(registry, "orders", ["edge"])] == ["edge"]
    with pytest.raises(NotFound, match="did you mean 'edge'"):
        tiers(registry, "orders", ["egde"])


def test_a_router_over_what_is_no_network_is_refused(registry: Registry, result: Result) -> None:
    (pair,) = pairs(PIPELINE, ["edge/0", "large/0"])
    router = files_of(registry, result, "tiered/0")
    with pytest.raises(BadInput, match="dense layers as 'large', found Escalating"):
        assemble(PIPELINE, pair, files_of(registry, result, "edge/0"), router)
