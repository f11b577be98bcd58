"""What a run keeps and may release: trained policies, and routers over them, evaluated and registered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from workgym.factory import crash
from workgym.factory.early import Early
from workgym.factory.entries import ModelVersion, Run
from workgym.factory.evaluate import evaluate, latency
from workgym.factory.judging import opponent_of, policy_of, required_gates
from workgym.factory.pipeline import Pipeline
from workgym.factory.records import Scorecard
from workgym.factory.registry import Registry
from workgym.factory.shards import Evaluation
from workgym.factory.tiers import Pair, assemble
from workgym.factory.train import Trained
from workgym.services.scenario import Suite


@dataclass(frozen=True)
class Candidate:
    """What was kept and may be released: a trained variant, or a router over policies.

    Attributes:
        name: what tables call it.
        trained: how it was made; None for a router.
        version: its row in the registry.
        card: its results on the suite.
        bytes: size of its files.
        cpu_seconds: processor time of its training.
    """

    name: str
    trained: Trained | None
    version: ModelVersion
    card: Scorecard
    bytes: int
    cpu_seconds: float


@dataclass(frozen=True)
class Intake:
    """What evaluating and registering need.

    Attributes:
        suite: what is played.
        rules: scorecards of the department's rules, the best first.
        tried: how many candidates there will be, routers included; gates divide their errors by it.
        evaluation: plays the suite in shards where that is worth it, and stops where no release is left.
    """

    pipeline: Pipeline
    registry: Registry
    record: Run
    suite: Suite
    rules: tuple[Scorecard, ...]
    tried: int
    evaluation: Evaluation | None = None

    def keep(self, trained: Trained, training: int, steps: int, cpu_seconds: float) -> Candidate:
        """Evaluate a trained policy and register it."""
        artifact = self.registry.artifacts.put_folder(trained.files)
        self.registry.finish_training(training, artifact, steps=steps, cpu_seconds=cpu_seconds)
        crash.here("training:finished")
        job = trained.job
        lineage = {"variant": job.variant, "purpose": job.purpose, "training": job.digest}
        return self._registered(job.name, artifact, trained.files, lineage, cpu_seconds, trained, training)

    def assembled(self, pairs: Sequence[Pair], candidates: Sequence[Candidate]) -> list[Candidate]:
        """The pipeline's routers over trained variants."""
        known = {candidate.name: candidate for candidate in candidates}
        return [self._assemble(pair, known[pair.small], known[pair.large]) for pair in pairs]

    def _assemble(self, pair: Pair, small: Candidate, large: Candidate) -> Candidate:
        parts = small.version.artifact_digest, large.version.artifact_digest
        files = assemble(self.pipeline, pair, *map(self.registry.artifacts.get_folder, parts))
        purpose = (
            f"{small.name} decides, and asks {large.name} in at most {pair.tier.share:.0%} of the decisions."
        )
        lineage = {"variant": pair.tier.name, "purpose": purpose, "inputs": list(parts)}
        return self._combined(pair.name, files, lineage, small.cpu_seconds + large.cpu_seconds)

    def _combined(
        self, name: str, files: dict[str, bytes], lineage: dict[str, Any], cpu_seconds: float
    ) -> Candidate:
        """Keep, evaluate and register a policy that was put together from others."""
        artifact = self.registry.artifacts.put_folder(files)
        return self._registered(name, artifact, files, lineage, cpu_seconds)

    def _registered(
        self,
        name: str,
        artifact: str,
        files: dict[str, bytes],
        lineage: dict[str, Any],
        cpu_seconds: float,
        trained: Trained | None = None,
        training: int | None = None,
    ) -> Candidate:
        """Evaluate and register a kept policy."""
        card = self._evaluate(artifact)
        version = self.registry.register(
            self.pipeline.name,
            run_id=self.record.id,
            artifact_digest=artifact,
            scorecard=card,
            required_gates=required_gates(self.pipeline, self._first()),
            training_id=training,
            lineage=lineage,
        )
        crash.here("version:registered")
        return Candidate(name, trained, version, card, sum(map(len, files.values())), cpu_seconds)

    def _first(self) -> bool:
        """Whether somebody would be the first to serve as what a release is."""
        aliases = [release.alias for release in self.pipeline.releases]
        return any(self.registry.generation(self.pipeline.name, alias) == 0 for alias in aliases)

    def _evaluate(self, artifact: str) -> Scorecard:
        policy = policy_of(self.registry, artifact)
        if self.evaluation is not None and self.evaluation.is_worth_it:
            card = self.evaluation.play(artifact, self._early().stop)
        else:
            card = evaluate(policy, self.suite, self.pipeline.env_kwargs)
        return replace(card, latency_us=latency(policy, self.pipeline.env, self.pipeline.env_kwargs))

    def _early(self) -> Early:
        aliases = [release.alias for release in self.pipeline.releases]
        known = self.pipeline, self.registry, self.suite, self.rules
        opponents = [opponent_of(*known, alias) for alias in aliases]
        return Early(self.pipeline, opponents, len(self.suite.scenarios), self.tried)
