"""What RLlib trains with: a masked RLModule, an env runner that returns columns, batches of them.

RLlib's own env runner makes a Python object of every lane's episode and a list of its every step: however
fast the env, 23 thousand steps a second. This one plays all lanes of a native vector env at once and returns
arrays; the module, the loss, the learner, the actors and how weights reach them are RLlib's.
"""

from __future__ import annotations

import itertools
import time
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from workgym.agents.ppo import NEVER, MaskedCategorical
from workgym.agents.sb3 import LanesVecEnv
from workgym.envs.base import VectorEnv

MASK = "action_mask"  # a column of RLlib's batches: (N, actions), or (N, 0) where every action is legal
_ACTIVATIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}

Array = NDArray[Any]


class Categorical(TorchCategorical):  # type: ignore[misc]  # mypy skips RLlib
    """RLlib's distribution with one log-softmax, when it is asked for, where torch's takes three passes."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits
        self._masked = MaskedCategorical(logits.shape[1]).proba_distribution(logits)

    def logp(self, value: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """(N,) log-probabilities of actions (N,)."""
        return self._masked.log_prob(value)

    def entropy(self) -> torch.Tensor:
        """(N,) nats."""
        return self._masked.entropy()


class MaskedActorCritic(TorchRLModule, InferenceOnlyAPI, ValueFunctionAPI):  # type: ignore[misc]  # mypy skips RLlib
    """Two networks over standardised features; an illegal action's logit is `NEVER`."""

    mean: torch.Tensor  # (features,)
    scale: torch.Tensor  # (features,)

    def setup(self) -> None:
        """Build the networks; `model_config` has `net` and `activation`."""
        self.action_dist_cls = Categorical
        features, actions = self.observation_space.shape[0], int(self.action_space.n)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        hidden, activation = self.model_config["net"], _ACTIVATIONS[self.model_config["activation"]]
        self.pi = _network([features, *hidden, actions], activation, last_gain=0.01)
        self.vf = _network([features, *hidden, 1], activation, last_gain=1.0)

    def get_non_inference_attributes(self) -> list[str]:
        """What env runners do without."""
        return ["vf"]

    def _forward(self, batch: dict[str, torch.Tensor], **kwargs: Any) -> dict[str, torch.Tensor]:
        logits, mask = self.pi(self._standardised(batch)), batch[MASK]
        return {Columns.ACTION_DIST_INPUTS: logits.masked_fill(~mask, NEVER) if mask.shape[1] else logits}

    def compute_values(self, batch: dict[str, torch.Tensor], embeddings: Any = None) -> torch.Tensor:
        """(N,) what the episodes will still earn, discounted, in the learner's unit."""
        values: torch.Tensor = self.vf(self._standardised(batch)).squeeze(-1)
        return values

    def _standardised(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return (batch[Columns.OBS] - self.mean) * self.scale


def _network(sizes: list[int], activation: type[torch.nn.Module], last_gain: float) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        linear = torch.nn.Linear(n_in, n_out)
        torch.nn.init.orthogonal_(linear.weight, last_gain if i == len(sizes) - 2 else 2**0.5)
        torch.nn.init.zeros_(linear.bias)
        layers += [linear, activation()]
    return torch.nn.Sequential(*layers[:-1])


class Steps(NamedTuple):
    """T steps of N lanes."""

    obs: Array  # (T, N, features)
    mask: Array  # (T, N, actions) or (T, N, 0)
    actions: Array  # (T, N)
    logits: Array  # (T, N, actions)
    logp: Array  # (T, N) log-probability of each action
    rewards: Array  # (T, N) in the learner's unit
    ended: Array  # (T, N) whether the episode ended with that step


class Rollout(NamedTuple):
    """What one env runner played, and how its lanes have fared so far."""

    steps: Steps
    last: Array  # (N, features) what comes next
    cut: Array  # (K,) steps, as t * N + lane, whose episode the time limit ended
    cut_obs: Array  # (K, features) what those episodes would have seen next
    episodes: int  # that ended since the runner was made
    earned: float  # by those, in the task's unit
    running: float  # by an episode on average; while none has ended, by the running ones


class LanesConfig(PPOConfig):  # type: ignore[misc]  # mypy skips RLlib
    """PPO's settings, and what a `LanesRunner` has to know beside them.

    Attributes:
        lanes_seed: of the first lane of all. RLlib's own `seed` would give neighbouring env runners all
            but one of their lanes in common.
        refusal_cost: see `LanesVecEnv`.
        violation_cost: see `LanesVecEnv`.
    """

    def __init__(self, algo_class: type[PPO] | None = None) -> None:
        super().__init__(algo_class)
        self.lanes_seed = 0
        self.refusal_cost = 0.0
        self.violation_cost = 0


class LanesRunner(SingleAgentEnvRunner):  # type: ignore[misc]  # mypy skips RLlib
    """RLlib's env runner, playing all lanes at once; `sample` returns a `Rollout`."""

    def __init__(self, *, config: LanesConfig, **kwargs: Any) -> None:
        torch.set_num_threads(1)
        self._began = time.process_time()
        self.lanes: LanesVecEnv | None = None
        super().__init__(config=config, **kwargs)
        before = max(self.worker_index - 1, 0) * config.num_envs_per_env_runner  # lanes of other runners
        self._first_seed = config.lanes_seed + before
        self._chance = torch.Generator().manual_seed(self._first_seed)
        self._obs: Array | None = None

    def make_env(self) -> None:
        """Make the lanes as RLlib makes them, and give their rewards the learner's unit."""
        super().make_env()
        made: VectorEnv = self.env.unwrapped
        self.lanes = LanesVecEnv(made, self.config.refusal_cost, self.config.violation_cost)

    def get_spaces(self) -> dict[str, tuple[gym.Space[Any], gym.Space[Any]]]:
        """What one decision sees and says."""
        given = {DEFAULT_MODULE_ID: (self.config.observation_space, self.config.action_space)}
        return {**(super().get_spaces() or {}), **given}

    def sample(self, **kwargs: Any) -> Rollout:
        """Play `rollout_fragment_length` steps in every lane; goes on where the last call stopped."""
        lanes = self.lanes
        assert lanes is not None
        if self._obs is None:
            lanes.seed(self._first_seed)
            self._obs = lanes.reset()
        obs, played = self._obs, []
        cut: list[int] = []
        cut_obs: list[Array] = []
        for step in range(self.config.rollout_fragment_length):
            mask = lanes.mask
            actions, logits, logp = self._choose(obs, mask)
            lanes.step_async(actions)
            after, rewards, ended, told = lanes.step_wait()
            played.append(Steps(obs, mask, actions, logits, logp, rewards, ended))
            for lane in np.flatnonzero(ended).tolist():
                if told[lane]["TimeLimit.truncated"]:
                    cut.append(step * lanes.num_envs + lane)
                    cut_obs.append(told[lane]["terminal_observation"])
            obs = after
        self._obs = obs
        return Rollout(
            Steps(*(np.stack(column) for column in zip(*played, strict=True))),
            last=obs,
            cut=np.array(cut, dtype=np.int64),
            cut_obs=np.array(cut_obs, dtype=np.float32).reshape(-1, obs.shape[1]),
            episodes=lanes.finished,
            earned=lanes.earned,
            running=lanes.mean_return(),
        )

    def _choose(self, obs: Array, mask: Array) -> tuple[Array, Array, Array]:
        """Actions (N,), logits (N, actions) and log-probabilities (N,): a race of exponential clocks."""
        seen = {Columns.OBS: torch.from_numpy(obs), MASK: torch.from_numpy(mask)}
        logits = self.module.forward_exploration(seen)[Columns.ACTION_DIST_INPUTS]
        log_p = torch.log_softmax(logits, dim=1)
        p = log_p.exp()
        actions = (p / torch.empty_like(p).exponential_(generator=self._chance)).argmax(1)
        return actions.numpy(), logits.numpy(), log_p.gather(1, actions[:, None]).squeeze(1).numpy()

    def cpu_seconds(self) -> float:
        """Processor time of this process since the runner was made."""
        return time.process_time() - self._began

    def stop(self) -> None:
        """Give back what the lanes hold."""
        if self.lanes is not None:
            self.lanes.close()


def values_of(learners: LearnerGroup, obs: Array) -> Array:
    """(N,) the value network's view of observations (N, features)."""
    batch = {Columns.OBS: torch.from_numpy(np.array(obs))}  # what actors sent cannot be written to

    def ask(learner: Any) -> Array:
        with torch.no_grad():
            values: Array = learner.module[DEFAULT_MODULE_ID].unwrapped().compute_values(batch).numpy()
        return values

    (answer,) = learners.foreach_learner(ask)
    found: Array = answer.get()
    return found


def _rows(rollouts: list[Rollout], field: str) -> Array:
    """(T * N, ...) one column of all rollouts."""
    parts = [getattr(rollout.steps, field) for rollout in rollouts]
    return np.concatenate([part.reshape(part.shape[0] * part.shape[1], *part.shape[2:]) for part in parts])


def advantages(
    learners: LearnerGroup, rollout: Rollout, gamma: float, gae_lambda: float
) -> tuple[Array, Array]:
    """(T, N) by how much each action did better than expected, and the (T, N) returns to learn values from.

    An episode that the time limit cut goes on to earn what the value network expects.
    Source: Schulman et al. (2016), "High-dimensional continuous control using generalized advantage
    estimation".
    """
    played = rollout.steps
    steps, lanes, features = played.obs.shape
    values = values_of(learners, played.obs.reshape(-1, features)).reshape(steps, lanes)
    rewards = played.rewards.copy()
    if len(rollout.cut):
        rewards.reshape(-1)[rollout.cut] += gamma * values_of(learners, rollout.cut_obs)
    goes_on = 1.0 - played.ended.astype(np.float32)
    ahead, better = values_of(learners, rollout.last), np.zeros(lanes, dtype=np.float32)
    found = np.empty_like(rewards)
    for step in range(steps - 1, -1, -1):
        surprise = rewards[step] + gamma * goes_on[step] * ahead - values[step]
        better = surprise + gamma * gae_lambda * goes_on[step] * better
        found[step], ahead = better, values[step]
    return found, found + values


def batch_of(
    learners: LearnerGroup, rollouts: list[Rollout], gamma: float, gae_lambda: float
) -> MultiAgentBatch:
    """What RLlib's PPO learner learns from, in random order: its own epochs shuffle from the second on."""
    parts = [advantages(learners, rollout, gamma, gae_lambda) for rollout in rollouts]
    better = np.concatenate([part[0].ravel() for part in parts])
    columns = {
        Columns.OBS: _rows(rollouts, "obs"),
        MASK: _rows(rollouts, "mask"),
        Columns.ACTIONS: _rows(rollouts, "actions"),
        Columns.ACTION_DIST_INPUTS: _rows(rollouts, "logits"),
        Columns.ACTION_LOGP: _rows(rollouts, "logp"),
        Postprocessing.ADVANTAGES: (better - better.mean()) / max(1e-4, better.std()),
        Postprocessing.VALUE_TARGETS: np.concatenate([part[1].ravel() for part in parts]),
    }
    order = np.random.permutation(len(better))
    batch = SampleBatch({name: torch.from_numpy(column[order]) for name, column in columns.items()})
    return MultiAgentBatch({DEFAULT_MODULE_ID: batch}, env_steps=len(better))


def moved(learners: LearnerGroup, batch: MultiAgentBatch, rows: int) -> float:
    """Nats between the policy that played and the one that learned from it, over some rows.

    Source: Schulman (2020), "Approximating KL divergence", the third estimator.
    """
    some = {name: column[:rows] for name, column in batch[DEFAULT_MODULE_ID].items()}

    def ask(learner: Any) -> float:
        module = learner.module[DEFAULT_MODULE_ID].unwrapped()
        logits = module.forward_inference(some)[Columns.ACTION_DIST_INPUTS]
        ratio = Categorical(logits).logp(some[Columns.ACTIONS]) - some[Columns.ACTION_LOGP]
        return float((ratio.exp() - 1.0 - ratio).mean())

    (answer,) = learners.foreach_learner(ask)
    return float(answer.get())
