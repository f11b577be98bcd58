"""The lab: where a gate finds out what two scorecards do not tell.

    lab = Lab("workgym/Orders-v0", {}, Player(candidate, files), Player(champion))
    lab.play(CANDIDATE, split="audit", per_family=64)
    lab.play(CHAMPION, env_kwargs={"stress": {"demand": 1.5}})

Both policies can be let play other scenarios, backends and disturbances, and their files can be read.
What was asked once is not played again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, cast

import gymnasium as gym
import numpy as np

from workgym.agents.baselines import make_baseline
from workgym.agents.policy import Bools, Floats, Ints, Policy, load_policy, played_with
from workgym.envs.base import Env, VectorEnv
from workgym.envs.contract import Task
from workgym.factory.artifacts import canonical_json
from workgym.factory.conduct import Conduct, conduct
from workgym.factory.evaluate import evaluate, gate_suite
from workgym.factory.records import Scorecard
from workgym.services.kernel import BadInput, NotFound, did_you_mean
from workgym.services.scenario import Suite

CANDIDATE, CHAMPION, REFERENCE = "candidate", "champion", "reference"


class Uses(Protocol):
    """Remembers which suites were shown to which policies' gates."""

    def use(self, suite_digest: str, policy: str, purpose: str) -> int:
        """Write down that a suite is shown to a policy's gate; the how-manieth policy it is, from 1.

        Whoever was shown the suite before keeps its number: the same results tell nothing new.
        """


@dataclass
class Remembered:
    """Uses that last as long as this object: for whoever has no registry."""

    seen: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def use(self, suite_digest: str, policy: str, purpose: str) -> int:
        """As `Uses.use`."""
        policies = self.seen.setdefault((suite_digest, purpose), [])
        if policy not in policies:
            policies.append(policy)
        return policies.index(policy) + 1


class Player(NamedTuple):
    """One of the two policies that are compared.

    Attributes:
        policy: who decides.
        files: as it is stored; None for a rule, which is code.
    """

    policy: Policy
    files: Mapping[str, bytes] | None = None


class Lab:
    """A candidate, the champion, and the env that both can be tried in.

    Args:
        env_id: Gymnasium id.
        env_kwargs: how the pipeline makes it.
        candidate: who wants in.
        champion: who serves today, or the department's best rule.
        split: of the pipeline's suite.
        uses: who remembers what was revealed.
    """

    def __init__(
        self,
        env_id: str,
        env_kwargs: Mapping[str, Any],
        candidate: Player,
        champion: Player,
        split: str = "gate",
        uses: Uses | None = None,
    ) -> None:
        self.env_id = env_id
        self.env_kwargs = dict(env_kwargs)
        self.split = split
        self.uses: Uses = Remembered() if uses is None else uses
        self._players = {CANDIDATE: candidate, CHAMPION: champion}
        self._answers: dict[tuple[str, ...], Any] = {}

    def policy(self, who: str) -> Policy:
        """A policy by what it is here: `candidate`, `champion`, `reference`, or the name of a baseline."""
        if who in self._players:
            return self._players[who].policy
        return make_baseline(self.env_id, self.task().reference if who == REFERENCE else who)

    def files(self, who: str) -> Mapping[str, bytes]:
        """What a policy is stored as.

        Raises:
            NotFound: it is a rule, which has no files.
        """
        files = self._players[who].files if who in self._players else None
        if files is None:
            raise NotFound(f"the {who}, {self.policy(who).name}, is a rule: code that has no files")
        return files

    def load(self, who: str) -> Policy:
        """The policy read from its files anew, as a server reads it."""
        return load_policy(self.files(who))

    def task(self, view: Mapping[str, Any] | None = None) -> Task:
        """What is asked of whoever plays, seen as in a policy's view."""
        made = gym.make(self.env_id, disable_env_checker=True, **{**self.env_kwargs, **(view or {})})
        env = cast("Env", made.unwrapped)
        env.close()
        return env.task

    def suite(
        self,
        split: str | None = None,
        per_family: int = 16,
        block: int = 0,
        env_kwargs: Mapping[str, Any] | None = None,
    ) -> Suite:
        """A frozen list of scenarios, by default of the pipeline's own split."""
        return gate_suite(self.env_id, self._made(env_kwargs), split or self.split, per_family, block)

    def play(
        self,
        who: str,
        *,
        split: str | None = None,
        per_family: int = 16,
        block: int = 0,
        backend: str = "twin",
        env_kwargs: Mapping[str, Any] | None = None,
        reads: Mapping[str, float] | None = None,
    ) -> Scorecard:
        """What a policy earns, scenario by scenario.

        Args:
            who: as in `policy`.
            split: `train`, `gate` or `audit`; by default the pipeline's.
            per_family: scenarios of each family.
            block: of the split's seeds.
            backend: how the env reaches its service.
            env_kwargs: on top of the pipeline's: `stress`, `mishaps`, whatever the env knows.
            reads: features that the policy reads as a constant, by name.

        Raises:
            BadInput: the env refuses the arguments, the policy does not fit what they make, or there is no
                such feature.
        """
        given = canonical_json([dict(env_kwargs or {}), dict(reads or {})])
        asked = ("play", who, split or self.split, str(per_family), str(block), backend, given)
        if asked not in self._answers:
            suite = self.suite(split, per_family, block, env_kwargs)
            policy = self.policy(who)
            player = Misled(policy, reads) if reads else policy
            self._answers[asked] = evaluate(player, suite, self._made(env_kwargs), backend)
        return cast("Scorecard", self._answers[asked])

    def watch(
        self, who: str, *, per_family: int = 16, beside: tuple[str, ...] = (), patience: int | None = None
    ) -> Conduct:
        """How a policy goes about it, on the pipeline's own split; see `workgym.factory.conduct`.

        Args:
            who: as in `policy`.
            per_family: scenarios of each family.
            beside: who else says at every decision what it would do.
            patience: steps after which who has not come to an end is relieved; by default the env's limit.
        """
        asked = ("watch", who, str(per_family), *beside, str(patience))
        if asked not in self._answers:
            others = {name: self.policy(name) for name in beside}
            suite = self.suite(per_family=per_family)
            self._answers[asked] = conduct(self.policy(who), suite, self.env_kwargs, others, patience)
        return cast("Conduct", self._answers[asked])

    def sights(self, who: str, decisions: int) -> tuple[Floats, Bools]:
        """Observations and masks that a policy met on its way through the pipeline's split.

        Args:
            who: as in `policy`.
            decisions: how many at least; a row counts as one.
        """
        policy = self.policy(who)
        lanes = 32
        env = self.lanes(policy, lanes)
        policy.begin(env)
        obs, _ = env.reset(seed=0)
        rows = max(env.task.rows, 1)
        seen, masks, met = [obs], [env.mask], lanes * rows
        while met < decisions:
            obs, *_ = env.step(policy.act(obs, env.mask))
            seen.append(obs)
            masks.append(env.mask)
            met += lanes * rows
        env.close()
        enough = -(-decisions // rows)
        return np.concatenate(seen)[:enough], np.concatenate(masks)[:enough]

    def lanes(self, policy: Policy, n: int, env_kwargs: Mapping[str, Any] | None = None) -> VectorEnv:
        """N lanes of the pipeline's env, seen as the policy sees it."""
        given = played_with(policy, self._made(env_kwargs))
        return cast("VectorEnv", gym.make_vec(self.env_id, num_envs=n, split=self.split, **given))

    def _made(self, env_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
        return {**self.env_kwargs, **(env_kwargs or {})}


class Misled:
    """A policy that reads some features as a constant, whatever is true.

    Args:
        policy: who decides.
        reads: value by the feature's name.
    """

    def __init__(self, policy: Policy, reads: Mapping[str, float]) -> None:
        self.policy = policy
        self.name = policy.name
        self.view = dict(getattr(policy, "view", {}))
        self._reads = dict(reads)
        self._columns: list[int] = []

    def begin(self, env: VectorEnv) -> None:
        """Meet the env.

        Raises:
            BadInput: it shows no such feature.
        """
        known = list(env.task.feature_names)
        for name in self._reads:
            if name not in known:
                raise BadInput(did_you_mean(f"feature of {env.task.env_id}", name, known))
        self._columns = [known.index(name) for name in self._reads]
        self.policy.begin(env)

    def act(self, obs: Floats, mask: Bools) -> Ints:
        """What the policy does about what it reads."""
        read = obs.copy()
        read[..., self._columns] = list(self._reads.values())
        return self.policy.act(read, mask)
