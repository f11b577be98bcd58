"""The learner: Stable-Baselines3's PPO over lanes, its state as plain tensors.

Imported only where something is trained: torch takes seconds to load.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.distributions import MaskableCategoricalDistribution
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from workgym.agents import moment
from workgym.agents.mlp import Layer, MlpPolicy, folded
from workgym.agents.policy import view_of
from workgym.agents.recipe import Recipe
from workgym.agents.sb3 import LanesVecEnv
from workgym.agents.states import State, read_state, state_at, state_bytes
from workgym.agents.training import ChunkReport, alone, chunk_seed
from workgym.envs.contract import sample_legal

SURVEY_LANES = 64
SURVEY_STEPS = 512  # of random play, to learn how far each feature swings
SURVEY_EVERY = 4
NARROWEST = 0.05  # a feature that swings less than this is scaled as if it swung so much
NEVER = -1e8  # logit of an illegal action
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_ACTIVATIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}


class Standardise(BaseFeaturesExtractor):
    """Brings every feature to mean 0 and deviation 1, as random play measured them once.

    Costs of a few percent of their range decide between two options; unscaled, most of the training
    goes into growing the weights that can tell them apart.
    """

    mean: torch.Tensor  # (features,)
    scale: torch.Tensor  # (features,)

    def __init__(self, observation_space: spaces.Box) -> None:
        features = int(observation_space.shape[0])
        super().__init__(observation_space, features)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """(N, features) standardised observations."""
        return (obs - self.mean) * self.scale


class MaskedCategorical(MaskableCategoricalDistribution):
    """sb3-contrib's masked distribution with one log-softmax where it takes two and a softmax."""

    _logits: torch.Tensor  # (N, actions)
    _log_p: torch.Tensor | None  # their log-softmax, once it was asked for

    def proba_distribution(self, action_logits: torch.Tensor) -> MaskedCategorical:
        """Take logits (N, actions); nothing is masked yet."""
        self._logits, self._log_p = action_logits, None
        return self

    def apply_masking(self, masks: Any) -> None:
        """Rule out what masks (N, actions) say is illegal."""
        legal = torch.as_tensor(masks, dtype=torch.bool).reshape(self._logits.shape)
        self._logits, self._log_p = self._logits.masked_fill(~legal, NEVER), None

    def _log_probs(self) -> torch.Tensor:
        if self._log_p is None:
            self._log_p = torch.log_softmax(self._logits, dim=1)
        return self._log_p

    def log_prob(self, actions: torch.Tensor) -> torch.Tensor:
        """(N,) log-probabilities of actions (N,)."""
        return self._log_probs().gather(1, actions.long().view(-1, 1)).squeeze(1)

    def entropy(self) -> torch.Tensor:
        """(N,) nats; an illegal action adds nothing, its probability is exactly 0."""
        log_p = self._log_probs()
        return -(log_p.exp() * log_p).sum(1)

    def sample(self) -> torch.Tensor:
        """(N,) one action each: the first of exponential clocks that run at the probabilities."""
        p = self._log_probs().exp()
        return (p / torch.empty_like(p).exponential_()).argmax(1)

    def mode(self) -> torch.Tensor:
        """(N,) the likeliest actions."""
        return self._logits.argmax(1)


class MaskedPolicy(MaskableActorCriticPolicy):
    """sb3-contrib's masked policy on `MaskedCategorical`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.action_dist = MaskedCategorical(int(cast("spaces.Discrete[Any]", self.action_space).n))


def build(
    recipe: Recipe,
    env: LanesVecEnv,
    rate: Callable[[float], float],
    seed: int,
    masked: type[MaskablePPO] = MaskablePPO,
) -> Any:
    """An SB3 model with fresh weights; seeds the lanes and every global generator.

    `masked` is the class of the model where actions are masked.
    """
    learner: Any = PPO if recipe.algorithm == "ppo" else masked
    policy = ActorCriticPolicy if recipe.algorithm == "ppo" else MaskedPolicy
    model = learner(
        policy,
        env,
        learning_rate=rate,
        n_steps=recipe.n_steps,
        batch_size=recipe.minibatch * env.rows,
        n_epochs=recipe.epochs,
        gamma=recipe.gamma,
        gae_lambda=recipe.gae_lambda,
        clip_range=recipe.clip,
        ent_coef=recipe.ent_coef,
        vf_coef=recipe.vf_coef,
        max_grad_norm=recipe.max_grad_norm,
        policy_kwargs={
            "net_arch": {"pi": list(recipe.net), "vf": list(recipe.net)},
            "activation_fn": _ACTIVATIONS[recipe.activation],
            "features_extractor_class": Standardise,
        },
        seed=seed,
        device="cpu",
    )
    model.set_logger(Logger(None, []))  # SB3's own makes a folder for every model
    return model


def survey(env: LanesVecEnv, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and scale of every feature under random legal play."""
    rng = np.random.default_rng(seed)
    env.seed(seed)
    seen: list[Any] = [env.reset()]
    for step in range(SURVEY_STEPS):
        obs, *_ = env.step(sample_legal(env.action_space, env.mask, rng))
        if step % SURVEY_EVERY == 0:
            seen.append(obs)
    rows = np.concatenate(seen).astype(np.float64)
    mean, scale = rows.mean(axis=0), 1.0 / np.maximum(rows.std(axis=0), NARROWEST)
    return mean.astype(np.float32), scale.astype(np.float32)


def set_features(model: Any, mean: NDArray[np.float32], scale: NDArray[np.float32]) -> None:
    """Make the model standardise its observations so."""
    extractor = model.policy.features_extractor
    extractor.mean.copy_(torch.from_numpy(mean))
    extractor.scale.copy_(torch.from_numpy(scale))


def state_of(recipe: Recipe, k: int, model: Any, beside: State | None = None) -> bytes:
    """The model after k chunks: weights, how observations are standardised, Adam's moments.

    With checkpoint `full`, after the first chunk, lanes and generators too; `beside` is kept as it is.
    """
    policy, tensors = model.policy, dict(beside or {})
    if recipe.checkpoint == "full" and k:
        tensors |= moment.taken(model)
    for name, value in policy.state_dict().items():
        tensors[f"policy/{name}"] = value.numpy()
    for name, parameter in policy.named_parameters():
        for part, value in policy.optimizer.state.get(parameter, {}).items():
            tensors[f"adam/{name}/{part}"] = value.numpy()
    return state_bytes(recipe, k, tensors)


def load_state(model: Any, tensors: State) -> None:
    """Put weights and moments into a model."""
    policy = model.policy
    weights = {
        name.removeprefix("policy/"): torch.from_numpy(value.copy())
        for name, value in tensors.items()
        if name.startswith("policy/")
    }
    policy.load_state_dict(weights)
    for name, parameter in policy.named_parameters():
        if f"adam/{name}/step" in tensors:
            policy.optimizer.state[parameter] = {
                moment: torch.from_numpy(tensors[f"adam/{name}/{moment}"].copy()) for moment in _MOMENTS
            }


def layers_of(tensors: State) -> list[Layer]:
    """The policy network, with the standardisation folded into its first layer."""
    names = [name for name in tensors if name.startswith("policy/mlp_extractor.policy_net.")]
    order = sorted({int(name.split(".")[-2]) for name in names})
    parts = [*(f"policy/mlp_extractor.policy_net.{i}" for i in order), "policy/action_net"]
    layers = [Layer(tensors[f"{part}.weight"].T, tensors[f"{part}.bias"]) for part in parts]
    standard = (tensors[f"policy/features_extractor.{part}"] for part in ("mean", "scale"))
    return folded(layers, *standard)


def initial_state(recipe: Recipe) -> bytes:
    """The state before the first chunk: random weights, features measured by random play."""
    seed = chunk_seed(recipe, -1)
    with alone(), closing(survey_lanes(recipe)) as env:
        model = build(recipe, env, lambda _: recipe.learning_rate, seed)
        set_features(model, *survey(env, seed))
        return state_of(recipe, 0, model)


def survey_lanes(recipe: Recipe) -> LanesVecEnv:
    """Lanes to measure features on."""
    return LanesVecEnv.make(recipe.env_id, min(recipe.lanes, SURVEY_LANES), **recipe.env_kwargs)


def train_chunk(recipe: Recipe, k: int, state: bytes) -> tuple[bytes, ChunkReport]:
    """Play chunk k from the state after k chunks; the next state and how it went.

    Raises:
        BadInput: the state is damaged, of another recipe, or not the one after k chunks.
    """
    began = time.process_time()
    tensors = state_at(recipe, k, state)
    with alone(), closing(lanes_of(recipe)) as env:
        model = build(recipe, env, rate(recipe, k), chunk_seed(recipe, k))
        load_state(model, tensors)
        learn(recipe, k, model, tensors)
        return state_of(recipe, k + 1, model), report(model, env, time.process_time() - began)


def lanes_of(recipe: Recipe) -> LanesVecEnv:
    """Lanes to learn from."""
    return LanesVecEnv.make(
        recipe.env_id, recipe.lanes, recipe.refusal_cost, recipe.violation_cost, **recipe.env_kwargs
    )


def learn(recipe: Recipe, k: int, model: Any, tensors: State) -> None:
    """Let the model learn from the rollouts of chunk k; goes on where a full state stopped."""
    goes_on = recipe.checkpoint == "full" and k > 0
    if goes_on:
        moment.restore(model, tensors)
    steps = recipe.rollouts * recipe.rollout * model.env.rows
    model.learn(steps, log_interval=None, reset_num_timesteps=not goes_on)


def rate(recipe: Recipe, k: int) -> Callable[[float], float]:
    """SB3's schedule for chunk k: from the share of the chunk that is left to a learning rate.

    It counts whole rollouts, so it does not depend on how they are cut into chunks.
    """

    def now(left: float) -> float:
        done = k * recipe.rollouts + round((1.0 - left) * recipe.rollouts)
        return recipe.learning_rate * (
            1.0 - (1.0 - recipe.final_rate) * done / (recipe.chunks * recipe.rollouts)
        )

    return now


def report(model: Any, env: LanesVecEnv, cpu_seconds: float) -> ChunkReport:
    """How a chunk went that the model has just learned."""
    told = model.logger.name_to_value
    return ChunkReport(
        steps=int(model.num_timesteps),
        cpu_seconds=cpu_seconds,
        mean_return=env.mean_return(),
        episodes=env.finished,
        entropy=-float(told["train/entropy_loss"]),
        approx_kl=float(told["train/approx_kl"]),
        explained_variance=float(told["train/explained_variance"]),
    )


def policy_from(recipe: Recipe, state: bytes, name: str = "") -> dict[str, bytes]:
    """The policy in a state, as files that `workgym.agents.policy.load_policy` reads.

    Raises:
        BadInput: the state is damaged or of another recipe.
    """
    layers = layers_of(read_state(recipe, state))
    with closing(LanesVecEnv.make(recipe.env_id, 1, **recipe.env_kwargs)) as env:
        version = env.env.task.version
    name = name or f"{recipe.algorithm}-{recipe.digest()[:12]}"
    view = view_of(recipe.env_kwargs)
    return MlpPolicy(name, recipe.env_id, version, layers, recipe.activation, view).save()
