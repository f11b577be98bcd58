"""The graph names everything that a version was made of, by its content, and ends in the ledger."""

from __future__ import annotations

import hashlib
import re

import pytest

from tests.support.workspace import CHUNKS
from workgym.agents.training import make_recipe
from workgym.factory.card import card
from workgym.factory.lineage import lineage, require_training
from workgym.services.kernel import NotFound


@pytest.fixture
def database_url(tmp_path):
    """One kind of database will do: nothing here asks it anything of its own."""
    return f"sqlite:///{tmp_path}/registry.db"


@pytest.mark.slow
def test_a_trained_version_goes_back_to_its_pipeline_chunk_by_chunk(tiny_registry) -> None:
    version = tiny_registry.version("orders", 1)
    found = lineage(tiny_registry, "orders", 1)
    by_kind = {kind: [n for n in found.nodes if n.kind == kind] for kind in {n.kind for n in found.nodes}}
    assert by_kind["pipeline"][0].digest == version.lineage["spec_digest"]
    assert by_kind["code"][0].digest == version.lineage["code_version"]
    assert by_kind["recipe"][0].digest == version.lineage["recipe_digest"]
    assert by_kind["artifact"][0].digest == version.artifact_digest
    assert by_kind["ledger"][0].digest == tiny_registry.ledger()[0].hash
    assert len(by_kind["chunk"]) == CHUNKS
    for chunk in by_kind["chunk"]:
        state = tiny_registry.artifacts.get(chunk.digest)
        assert hashlib.sha256(state).hexdigest() == chunk.digest
    assert before(found, "ledger 1") >= {"pipeline", "code", "env", "suite", "recipe", "seed", "chunk 1"}


def before(found, node: str) -> set[str]:
    """Everything that a node comes from."""
    needs = {edge.source for edge in found.edges if edge.target == node}
    return needs.union(*(before(found, one) for one in needs))


def test_nodes_come_after_what_they_need(desk) -> None:
    desk.champions(2)
    desk.rollback()
    found = lineage(desk.registry, "orders", 1)
    place = {node.id: at for at, node in enumerate(found.nodes)}
    assert len(place) == len(found.nodes)
    assert all(place[edge.source] < place[edge.target] for edge in found.edges)
    ledger = [node for node in found.nodes if node.kind == "ledger"]
    assert [node.id for node in ledger] == ["ledger 1", "ledger 2", "ledger 3"]


def test_inputs_that_a_lineage_names_are_nodes(desk, registry) -> None:
    teacher = desk.candidate()
    digest = desk.policy()
    version = registry.register(
        "orders",
        run_id=teacher.run_id,
        artifact_digest=digest,
        scorecard=desk.card(digest),
        required_gates=["gain"],
        lineage={"inputs": {"keeper": teacher.artifact_digest}},
    )
    node = next(node for node in lineage(registry, "orders", version.version).nodes if node.kind == "teacher")
    assert (node.label, node.digest) == ("keeper, orders version 1", teacher.artifact_digest)


@pytest.mark.parametrize("readable", [True, False])
def test_a_teacher_is_an_input_whether_its_recipe_is_still_read_or_not(desk, registry, readable) -> None:
    teacher = desk.candidate()
    recipe = {"env_id": "workgym/Orders-v0", "algorithm": "distil", "teacher": teacher.artifact_digest}
    whole = make_recipe(recipe).to_dict() if readable else {**recipe, "a_field_of_old": 1}
    run = desk.run()
    row = registry.start_training(run.id, "pupil", algorithm="distil", seed=1, recipe=whole)
    digest = desk.policy()
    registry.finish_training(row.id, digest, steps=1, cpu_seconds=1.0)
    pupil = registry.register(
        "orders",
        run_id=run.id,
        artifact_digest=digest,
        scorecard=desk.card(digest),
        required_gates=["gain"],
        training_id=row.id,
    )
    found = lineage(registry, "orders", pupil.version)
    node = next(node for node in found.nodes if node.kind == "teacher")
    assert (node.label, node.digest) == ("teacher, orders version 1", teacher.artifact_digest)
    assert node.id in before(found, "artifact")


def test_what_was_put_together_is_not_trained_again(desk, registry) -> None:
    parts = [desk.candidate().artifact_digest for _ in range(2)]
    digest = desk.policy()
    version = registry.register(
        "orders",
        run_id=desk.run().id,
        artifact_digest=digest,
        scorecard=desk.card(digest),
        required_gates=["gain"],
        lineage={"inputs": parts},
    )
    told = (
        r"put together from input, orders version 1, input, orders version 2; see `factory lineage orders 3`"
    )
    with pytest.raises(NotFound, match=told):
        require_training(registry, version)
    assert [one["artifact"] for one in card(registry, "orders", 3)["made_of"]] == parts


def test_dot_holds_every_node_and_edge_and_survives_quotes(desk) -> None:
    version = desk.blessed()
    desk.registry.promote("orders", 1, expected_generation=0, actor="Ada", reason='so "good"\nindeed')
    found = lineage(desk.registry, "orders", version.version)
    dot = found.to_dot()
    assert dot.count(" -> ") == len(found.edges)
    assert dot.count("shape=box") == len(found.nodes)
    assert r"so \"good\" indeed" in dot
    for line in dot.splitlines()[2:-1]:
        assert re.fullmatch(r'  "[^"]+" (\[label="(\\.|[^"\\])*", shape=box\]|-> "[^"]+");', line), line


def test_an_unknown_version_has_no_lineage(desk) -> None:
    desk.candidate()
    with pytest.raises(NotFound, match="versions 1 to 1"):
        lineage(desk.registry, "orders", 2)
