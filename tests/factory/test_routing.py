"""A candidate that harms a family is never let in whole; where it does good, it serves behind a router."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workgym.agents.mlp import MlpPolicy
from workgym.agents.policy import load_policy
from workgym.agents.routers import ByFamily
from workgym.agents.training import initial_state, make_recipe, policy_from, train_chunk
from workgym.factory.candidates import Candidate
from workgym.factory.entries import ModelVersion
from workgym.factory.evaluate import evaluate
from workgym.factory.judging import card_of, env_version, policy_of, rule_cards, suite_of
from workgym.factory.partial import PartialPlan
from workgym.factory.pipeline import Pipeline
from workgym.factory.plan import code_digest
from workgym.factory.records import Outcome, Verdict
from workgym.factory.registry import Registry, open_registry
from workgym.factory.releasing import Desk, Released
from workgym.factory.routing import require_as_planned, router
from workgym.services.kernel import BadInput, Conflict

pytestmark = pytest.mark.slow

HARMED = "stock-out"
PIPELINE = Pipeline.model_validate(
    {
        "name": "orders",
        "env": "workgym/Orders-v0",
        "suite": {"per_family": 128},
        "variants": [{"name": "planted"}],
        "gates": {"improvement": {}, "no-harm": {"tolerance": 0.02}, "latency": {}},
    }
)


def trained(steps: int) -> dict[str, bytes]:
    recipe = make_recipe(
        {
            "env_id": PIPELINE.env,
            "steps": steps,
            "chunk_steps": steps,
            "lanes": 256,
            "n_steps": 64,
            "violation_cost": 1000,
        }
    )
    state, _ = train_chunk(recipe, 0, initial_state(recipe))
    return policy_from(recipe, state, f"after {steps}")


class Office:
    """A desk whose champion learned little, and a candidate that learned more but forgot one family."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        run = registry.open_run(
            PIPELINE.name,
            PIPELINE.model_dump(mode="json"),
            env_id=PIPELINE.env,
            env_version=env_version(PIPELINE),
            code_version=code_digest(),
        )
        suite = suite_of(PIPELINE)
        self.desk = Desk(PIPELINE, registry, run, suite, rule_cards(PIPELINE, suite), tried=1)
        least, less, much = (load_policy(trained(steps)) for steps in (16_384, 65_536, 524_288))
        assert isinstance(least, MlpPolicy)
        assert isinstance(less, MlpPolicy)
        assert isinstance(much, MlpPolicy)
        self.champion = self.kept("champion", less.save())
        self.let_serve(self.champion.version)
        self.planted = self.kept("planted", ByFamily("planted", least, much, [HARMED]).save())

    def let_serve(self, version: ModelVersion) -> None:
        """As if it had earned it: what is tested comes after."""
        names = (version.artifact_digest, "a rule", version.suite_digest)
        passed = [Verdict(gate, Outcome.PASS, "by hand", {}, *names) for gate in version.required_gates]
        self.registry.record_verdicts(version, passed, generation=0)
        self.registry.promote(
            PIPELINE.name, version.version, expected_generation=0, actor="Ada", reason="by hand"
        )

    def kept(self, name: str, files: dict[str, bytes]) -> Candidate:
        artifact = self.registry.artifacts.put_folder(files)
        card = evaluate(policy_of(self.registry, artifact), self.desk.suite, {})
        latency = {"p50": 1.0, "p99": 2.0}
        card = type(card)(**{**vars(card), "latency_us": latency})
        gates = ["improvement", "no-harm", "latency"]
        version = self.registry.register(
            PIPELINE.name,
            run_id=self.desk.record.id,
            artifact_digest=artifact,
            scorecard=card,
            required_gates=gates,
            lineage={"variant": name},
        )
        return Candidate(name, None, version, card, sum(map(len, files.values())), 1.0)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with open_registry(tmp_path_factory.mktemp("office")) as registry:
        yield Office(registry)


@pytest.fixture(scope="module")
def released(office: Office) -> Released:
    return office.desk.release(PIPELINE.releases[0], [office.planted])


def version_of(office: Office, released: Released) -> ModelVersion:
    assert released.promoted is not None, released.sentence
    return office.registry.version(PIPELINE.name, released.promoted.to_version)


def test_the_candidate_that_harms_a_family_is_held_back_although_it_earns_more(
    office: Office, released: Released
) -> None:
    alone = next(one for one in released.judged if one.candidate.name == "planted")
    verdicts = {verdict.gate: verdict for verdict in alone.verdicts}
    assert alone.measures["profit"] > office.champion.card.profit_per_case()
    assert not verdicts["no-harm"].passed
    assert HARMED in str(verdicts["no-harm"].numbers["harmed"])


def test_a_router_serves_the_families_that_gain_and_keeps_the_champion_in_the_others(
    office: Office, released: Released
) -> None:
    version = version_of(office, released)
    assert HARMED in version.lineage["kept"]
    assert version.lineage["served"]
    card = card_of(office.registry, version, PIPELINE, office.desk.suite)
    harmed = np.array(card.family) == HARMED
    np.testing.assert_array_equal(card.profit[harmed], office.champion.card.profit[harmed])
    served = np.isin(np.array(card.family), version.lineage["served"])
    np.testing.assert_array_equal(card.profit[served], office.planted.card.profit[served])


def test_the_families_were_judged_on_scenarios_that_had_no_say_in_the_choice(
    office: Office, released: Released
) -> None:
    version = version_of(office, released)
    numbers: dict[str, Any] = {one.gate: one.numbers for one in office.registry.verdicts(version)}
    assert numbers["improvement"]["n"] == len(office.desk.suite.scenarios) // 2
    assert "judged on" in version.lineage["purpose"]


def test_a_router_that_plays_otherwise_than_planned_is_refused(office: Office, released: Released) -> None:
    version = version_of(office, released)
    plan = PartialPlan(("normal",), (HARMED,), (), 1, 1, "")
    card = card_of(office.registry, version, PIPELINE, office.desk.suite)
    require = (office.planted.card, office.champion.card, plan)
    wrong = type(card)(**{**vars(card), "profit": card.profit + 1})
    with pytest.raises(Conflict, match="another profit"):
        require_as_planned(wrong, *require)


def test_what_cannot_be_saved_anew_cannot_be_routed(office: Office, tmp_path: Path) -> None:
    files = office.registry.artifacts.get_folder(office.champion.version.artifact_digest)
    plan = PartialPlan(("normal",), (HARMED,), (), 1, 1, "")
    assert set(router("both", files, files, plan)) > {"policy.json"}
    with pytest.raises(BadInput):
        router("both", files, {"policy.json": b"{}"}, plan)
