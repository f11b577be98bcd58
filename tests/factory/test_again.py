"""A version that a person lets serve is recorded as one that a run lets serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factory.conftest import scorecard
from workgym.factory.again import promote_by_hand
from workgym.factory.entries import HistoryLine, ModelVersion
from workgym.factory.judging import env_version, suite_of
from workgym.factory.pipeline import Pipeline
from workgym.factory.plan import code_digest
from workgym.factory.records import Outcome, Verdict
from workgym.factory.registry import Registry, open_registry
from workgym.services.kernel import Refused

PIPELINE = Pipeline.model_validate(
    {
        "name": "orders",
        "env": "workgym/Orders-v0",
        "suite": {"per_family": 2},
        "variants": [{"name": "plain"}],
        "gates": {"improvement": {}},
        "releases": [{}, {"alias": "edge", "profile": "small"}],
    }
)
SMALL, LARGE = {"profit": 10.0, "bytes": 100.0}, {"profit": 12.0, "bytes": 900.0}


class Bench:
    """The versions of one run, judged and measured for aliases."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.run = registry.open_run(
            PIPELINE.name,
            PIPELINE.model_dump(mode="json"),
            env_id=PIPELINE.env,
            env_version=env_version(PIPELINE),
            code_version=code_digest(),
        )

    def kept(self, alias: str, measures: dict[str, float], outcome: Outcome = Outcome.PASS) -> ModelVersion:
        """Registered, and judged for an alias."""
        digest = self.registry.artifacts.put_folder({"policy.json": repr(measures).encode()})
        version = self.registry.register(
            PIPELINE.name,
            run_id=self.run.id,
            artifact_digest=digest,
            scorecard=scorecard(digest),
            required_gates=["improvement"],
        )
        return self.judge(version, alias, measures, outcome)

    def judge(
        self, version: ModelVersion, alias: str, measures: dict[str, float], outcome: Outcome
    ) -> ModelVersion:
        digest = version.artifact_digest
        said = [Verdict("improvement", outcome, "told", {}, digest, "a rule", suite_of(PIPELINE).digest)]
        version = self.registry.record_verdicts(
            version, said, generation=0, alias=alias, env_version=env_version(PIPELINE)
        )
        self.registry.record_measures(version, alias, measures)
        return version

    def promote(self, version: ModelVersion, alias: str) -> HistoryLine:
        return promote_by_hand(
            self.registry, PIPELINE.name, version.version, alias, actor="Ada", reason="it is small"
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_registry(tmp_path) as registry:
        yield Bench(registry)


def test_what_a_person_gives_up_is_recorded_against_the_others_that_passed(bench: Bench) -> None:
    large, small = (bench.kept("edge", measures) for measures in (LARGE, SMALL))
    bench.kept("edge", {"profit": 99.0, "bytes": 1.0}, Outcome.FAIL)
    line = bench.promote(small, "edge")
    assert line.profile == "small"
    assert line.given_up == {"profit": {"chosen": 10.0, "best": 12.0, "version": large.version}}
    assert bench.registry.history(PIPELINE.name)[-1] == line


def test_who_passed_for_another_release_alone_is_not_what_was_given_up(bench: Bench) -> None:
    large, small = (bench.kept("edge", measures) for measures in (LARGE, SMALL))
    for version in (large, small):
        bench.judge(version, "champion", LARGE if version == large else SMALL, Outcome.FAIL)
    bench.judge(large, "edge", LARGE, Outcome.FAIL)
    bench.judge(large, "champion", LARGE, Outcome.PASS)
    line = bench.promote(small, "edge")
    assert (line.profile, line.given_up) == ("small", {})


def test_a_version_that_nobody_measured_for_the_release_has_its_profile_alone(bench: Bench) -> None:
    line = bench.promote(bench.kept("edge", {"profit": 10.0}), "edge")
    assert (line.profile, line.given_up) == ("small", None)


def test_an_alias_that_is_no_release_of_the_pipeline_has_no_profile(bench: Bench) -> None:
    line = bench.promote(bench.kept("trial", SMALL), "trial")
    assert (line.profile, line.given_up) == (None, None)


def test_who_did_not_pass_does_not_serve(bench: Bench) -> None:
    with pytest.raises(Refused, match="did not pass gate"):
        bench.promote(bench.kept("edge", SMALL, Outcome.FAIL), "edge")
