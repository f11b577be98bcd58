"""The line, from a pipeline to a champion: train, evaluate, gate, register, promote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

import gymnasium as gym

from workgym.agents.baselines import baselines
from workgym.agents.policy import Policy, load_policy
from workgym.envs.base import Env
from workgym.factory.entries import CurvePoint, HistoryLine, ModelVersion, Run
from workgym.factory.evaluate import evaluate, gate_suite, latency
from workgym.factory.gates import configure, judge, promotable
from workgym.factory.pipeline import Pipeline
from workgym.factory.plan import Job, code_digest, plan
from workgym.factory.records import Outcome, Scorecard, Verdict
from workgym.factory.registry import Registry
from workgym.factory.train import Engine, Progress, Trained, train
from workgym.services.kernel import BadInput
from workgym.services.scenario import Suite

ACTOR = "factory run"


@dataclass(frozen=True)
class Opponent:
    """Whom candidates are compared with: today's champion, or the department's best rule.

    Attributes:
        name: what tables call it.
        card: its results on the suite.
        generation: of the alias when it was read.
        version: the champion, or None while there is none.
    """

    name: str
    card: Scorecard
    generation: int
    version: ModelVersion | None


@dataclass(frozen=True)
class Candidate:
    """A trained variant with what was found out about it."""

    trained: Trained
    version: ModelVersion
    card: Scorecard
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Whether every gate let it through."""
        return promotable(list(self.verdicts))

    def reason(self) -> str:
        """Why it may not serve, or what it proved: the sentence of its worst verdict."""
        order = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)
        worst = min(self.verdicts, key=lambda verdict: order.index(verdict.outcome))
        return f"{worst.gate}: {worst.sentence}"


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        run: its row in the registry.
        rules: scorecards of the department's rules, the best first.
        opponent: whom the candidates had to beat.
        candidates: the best first.
        promoted: the line of history, or None when the champion was kept.
        sentence: the outcome in one sentence.
    """

    run: Run
    rules: tuple[Scorecard, ...]
    opponent: Opponent
    candidates: tuple[Candidate, ...]
    promoted: HistoryLine | None
    sentence: str


class Watcher(Protocol):
    """Is told how a run goes on."""

    def stage(self, text: str) -> None:
        """A new stage begins."""

    def training(self, progress: list[Progress]) -> None:
        """Trainings moved on."""


def run(pipeline: Pipeline, registry: Registry, home: Path, engine: Engine, watcher: Watcher) -> Result:
    """Run a pipeline from end to end.

    Raises:
        BadInput: the pipeline names something that does not exist; nothing was trained.
        InfrastructureFault: a worker died too often; the same command continues.
    """
    jobs = _prepare(pipeline)
    with _recorded(pipeline, registry) as record:
        watcher.stage(f"training {len(jobs)} candidates")
        trainings = _start_trainings(registry, record, jobs)
        trained = train(home, jobs, engine, _curves(registry, trainings, watcher.training))
        watcher.stage(f"evaluating on the {pipeline.suite.split} suite")
        suite = suite_of(pipeline)
        rules = rule_cards(pipeline, suite)
        opponent = opponent_of(pipeline, registry, suite, rules)
        for card in rules:
            registry.record_baseline(record.id, card)
        judge_one = _Judge(pipeline, registry, record, suite, opponent, trainings, len(jobs))
        candidates = sorted(map(judge_one, trained), key=lambda candidate: -candidate.card.profit_per_case())
        return _promote(pipeline, registry, record, rules, opponent, candidates)


def _prepare(pipeline: Pipeline) -> list[Job]:
    """Refuse a wrong pipeline before anything is trained; compile the env once, for all workers."""
    configure(pipeline.gates)
    jobs = plan(pipeline)
    gym.make_vec(pipeline.env, num_envs=1, **pipeline.env_kwargs).reset(seed=0)
    return jobs


def env_version(pipeline: Pipeline) -> str:
    """Version of the env's dynamics, reward and layout."""
    env = cast("Env", gym.make(pipeline.env, **pipeline.env_kwargs).unwrapped)
    env.close()
    return env.task.version


@contextmanager
def _recorded(pipeline: Pipeline, registry: Registry) -> Iterator[Run]:
    """A row for the run, closed whatever happens."""
    record = registry.start_run(
        pipeline.name,
        pipeline.model_dump(mode="json"),
        env_id=pipeline.env,
        env_version=env_version(pipeline),
        code_version=code_digest(),
    )
    try:
        yield record
    except BaseException as error:
        registry.fail_run(
            record.id, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        )
        raise


def _start_trainings(registry: Registry, record: Run, jobs: list[Job]) -> dict[str, int]:
    """A row for each training; their ids by the job's name."""
    ids = {}
    for job in jobs:
        recipe = job.recipe
        row = registry.start_training(
            record.id, job.variant, algorithm=recipe.algorithm, seed=recipe.seed, recipe=recipe.to_dict()
        )
        ids[job.name] = row.id
    return ids


def _curves(
    registry: Registry, trainings: dict[str, int], watch: Callable[[list[Progress]], None]
) -> Callable[[list[Progress]], None]:
    """A watcher of trainings that also keeps their learning curves."""
    kept = dict.fromkeys(trainings, 0)

    def keep(progress: list[Progress]) -> None:
        for one in progress:
            name = one.job.name
            points = curve_points(one)
            if len(points) > kept[name]:
                registry.append_curve(trainings[name], points[kept[name] :])
                kept[name] = len(points)
        watch(progress)

    return keep


def curve_points(progress: Progress) -> list[CurvePoint]:
    """A training's learning curve: mean episode profit after so many steps and CPU seconds."""
    points: list[CurvePoint] = []
    steps, seconds = 0, 0.0
    for chunk in progress.curve:
        steps, seconds = steps + int(chunk["steps"]), seconds + float(chunk["cpu_seconds"])
        points.append(CurvePoint(steps, float(chunk["mean_return"]), seconds))
    return points


def suite_of(pipeline: Pipeline) -> Suite:
    """The frozen scenarios that candidates are judged on."""
    return gate_suite(pipeline.env, pipeline.env_kwargs, pipeline.suite.split, pipeline.suite.per_family)


def rule_cards(pipeline: Pipeline, suite: Suite) -> tuple[Scorecard, ...]:
    """What the department's rules earn on the suite, the best first."""
    rules = baselines(pipeline.env, role="rule")
    cards = [evaluate(make(), suite, pipeline.env_kwargs) for make in rules.values()]
    return tuple(sorted(cards, key=lambda card: -card.profit_per_case()))


def opponent_of(
    pipeline: Pipeline, registry: Registry, suite: Suite, rules: tuple[Scorecard, ...]
) -> Opponent:
    """Today's champion, or the best rule while there is none."""
    alias = pipeline.promotion.alias
    generation = registry.generation(pipeline.name, alias)
    champion = registry.champion(pipeline.name, alias)
    if champion is None:
        return Opponent(rules[0].policy, rules[0], generation, None)
    name = f"{alias} v{champion.version}"
    card = replace(card_of(registry, champion, pipeline, suite), policy=name)
    return Opponent(name, card, generation, champion)


def card_of(registry: Registry, version: ModelVersion, pipeline: Pipeline, suite: Suite) -> Scorecard:
    """A kept version's results on the suite: the recorded ones where they are about this suite."""
    recorded = registry.scorecard(version.scorecard_digest)
    if recorded.suite == suite.digest:
        return recorded
    return evaluate(policy_of(registry, version.artifact_digest), suite, pipeline.env_kwargs)


def policy_of(registry: Registry, artifact: str) -> Policy:
    """Load a policy under its digest.

    Raises:
        Tampered: the bytes are not those that were registered.
    """
    policy = load_policy(registry.artifacts.get_folder(artifact))
    policy.name = artifact
    return policy


@dataclass(frozen=True)
class _Judge:
    """Evaluates, registers and judges one trained variant after the other."""

    pipeline: Pipeline
    registry: Registry
    record: Run
    suite: Suite
    opponent: Opponent
    trainings: dict[str, int]
    tried: int

    def __call__(self, trained: Trained) -> Candidate:
        artifact = self.registry.artifacts.put_folder(trained.files)
        training = self.trainings[trained.job.name]
        last = curve_points(trained.progress)[-1]
        self.registry.finish_training(training, artifact, steps=last.steps, cpu_seconds=last.cpu_seconds)
        card = self._evaluate(artifact)
        version = self.registry.register(
            self.pipeline.name,
            run_id=self.record.id,
            artifact_digest=artifact,
            scorecard=card,
            required_gates=required_gates(self.pipeline, self.opponent),
            training_id=training,
            lineage={
                "variant": trained.job.variant,
                "purpose": trained.job.purpose,
                "training": trained.job.digest,
            },
        )
        verdicts = judge_against(self.pipeline, card, self.opponent, self.tried)
        version = self.registry.record_verdicts(
            version, verdicts, generation=self.opponent.generation, alias=self.pipeline.promotion.alias
        )
        return Candidate(trained, version, card, tuple(verdicts))

    def _evaluate(self, artifact: str) -> Scorecard:
        policy = policy_of(self.registry, artifact)
        card = evaluate(policy, self.suite, self.pipeline.env_kwargs)
        return replace(card, latency_us=latency(policy, self.pipeline.env, self.pipeline.env_kwargs))


def required_gates(pipeline: Pipeline, opponent: Opponent) -> list[str]:
    """The gates that a version must pass to serve."""
    named = [name for name in pipeline.gates if name != "bootstrap"]
    return [*named, "bootstrap"] if opponent.version is None else named


def judge_against(pipeline: Pipeline, card: Scorecard, opponent: Opponent, tried: int) -> list[Verdict]:
    """Every gate's verdict on a candidate that is one of `tried`."""
    first = opponent.version is None
    return judge(card, opponent.card, pipeline.gates, candidates=tried, bootstrap=first)


def _promote(
    pipeline: Pipeline,
    registry: Registry,
    record: Run,
    rules: tuple[Scorecard, ...],
    opponent: Opponent,
    candidates: Sequence[Candidate],
) -> Result:
    """Promote the best candidate that passed, or keep the champion and say why."""
    passed = [candidate for candidate in candidates if candidate.passed]
    line = None
    if passed:
        best = passed[0]
        gain = next(verdict for verdict in best.verdicts if verdict.gate in ("improvement", "bootstrap"))
        line = registry.promote(
            pipeline.name,
            best.version.version,
            pipeline.promotion.alias,
            expected_generation=opponent.generation,
            actor=ACTOR,
            reason=f"{best.trained.job.name} {gain.sentence}",
        )
        sentence = f"{best.version} ({best.trained.job.name}) is {pipeline.promotion.alias}: {gain.sentence}"
    else:
        kept = (
            f"{opponent.version} stays"
            if opponent.version
            else f"nothing serves yet, {opponent.name} goes on"
        )
        nearest = candidates[0]
        sentence = f"{kept}: the best of {len(candidates)}, {nearest.trained.job.name}, {nearest.reason()}"
    finished = registry.finish_run(record.id, sentence)
    return Result(finished, rules, opponent, tuple(candidates), line, sentence)


def pipeline_of(registry: Registry, version: ModelVersion) -> Pipeline:
    """The pipeline that a version came from.

    Raises:
        BadInput: it was registered without one.
    """
    spec = registry.run(version.run_id).spec
    if "variants" not in spec:
        raise BadInput(f"{version} was registered by hand, expected a pipeline behind it; run one")
    return Pipeline.model_validate(spec)
