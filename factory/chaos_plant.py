"""A pipeline so small that it is run many times, and whom its candidates are to beat."""

from __future__ import annotations

from pathlib import Path

from workgym.factory.evaluate import evaluate
from workgym.factory.judging import env_version, policy_of, suite_of
from workgym.factory.pipeline import Pipeline
from workgym.factory.plan import code_digest, plan
from workgym.factory.records import Outcome, Verdict
from workgym.factory.registry import open_registry

TINY = """
name = "chaos"
env = "workgym/Orders-v0"
[suite]
per_family = 8
[training]
seeds = [1, 2]
[training.recipe]
steps = 61_440
chunk_steps = 6144
lanes = 64
n_steps = 32
minibatch = 512
[[variants]]
name = "plain"
[gates.improvement]
"""


def plant(home: Path, pipeline: Pipeline) -> None:
    """Let an untrained policy serve in a scratch workspace, so that tiny trainings earn the promotion."""
    from workgym.agents.training import initial_state, policy_from

    job = plan(pipeline)[0]
    files = policy_from(job.recipe, initial_state(job.recipe), "untrained")
    suite = suite_of(pipeline)
    with open_registry(home) as registry:
        run = registry.start_run(
            pipeline.name,
            {"planted": "an untrained policy"},
            env_id=pipeline.env,
            env_version=env_version(pipeline),
            code_version=code_digest(),
        )
        digest = registry.artifacts.put_folder(files)
        card = evaluate(policy_of(registry, digest), suite, pipeline.env_kwargs)
        version = registry.register(
            pipeline.name,
            run_id=run.id,
            artifact_digest=digest,
            scorecard=card,
            required_gates=["improvement"],
            lineage={"variant": "untrained"},
        )
        said = Verdict(
            "improvement", Outcome.PASS, "planted by factory chaos", {}, digest, "nobody", suite.digest
        )
        registry.record_verdicts(version, [said], generation=0)
        registry.promote(
            pipeline.name, version.version, expected_generation=0, actor="factory chaos", reason="planted"
        )
        registry.finish_run(run.id, "planted")
