"""The learner: RLlib's PPO on the new API stack, its state as plain tensors.

    state = initial_state(recipe)
    for k in range(recipe.chunks):
        state, report = train_chunk(recipe, k, state)
    files = policy_from(recipe, state, "my-policy")

Chunks are pure, as in `workgym.agents.training`. Imported only where something is trained.
"""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.algorithms.ppo.ppo import LEARNER_RESULTS_VF_EXPLAINED_VAR_KEY
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import ENTROPY_KEY
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.sample_batch import MultiAgentBatch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from workgym.agents import ppo
from workgym.agents.mlp import Layer, MlpPolicy, folded
from workgym.agents.policy import view_of
from workgym.agents.rllib_crew import Actors, Crew, Here, faults_told, tensors_of, weights_of
from workgym.agents.rllib_parts import (
    LanesConfig,
    LanesRunner,
    MaskedActorCritic,
    Rollout,
    batch_of,
    moved,
)
from workgym.agents.rllib_recipe import RllibRecipe
from workgym.agents.sb3 import LanesVecEnv
from workgym.agents.states import State, read_state, state_at, state_bytes
from workgym.agents.training import ChunkReport, alone, chunk_seed
from workgym.envs.base import Task


def config_of(recipe: RllibRecipe, k: int) -> LanesConfig:
    """RLlib's settings for chunk k."""
    seen, said = _task_of(recipe).decision
    runners = max(recipe.env_runners, 1)
    config = LanesConfig(PPO)
    config.lanes_seed = chunk_seed(recipe, k)
    config.refusal_cost = recipe.refusal_cost
    config.violation_cost = recipe.violation_cost
    mode = AutoresetMode.SAME_STEP.value
    config.environment(
        recipe.env_id,
        env_config={**recipe.env_kwargs, "autoreset_mode": mode},
        observation_space=seen,
        action_space=said,
    )
    config.env_runners(
        env_runner_cls=LanesRunner,
        num_env_runners=recipe.env_runners,
        num_envs_per_env_runner=recipe.lanes // runners,
        num_cpus_per_env_runner=0,  # a chunk that waits for a CPU which other chunks hold would wait forever
        rollout_fragment_length=recipe.n_steps,
        gym_env_vectorize_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT,
    )
    config.fault_tolerance(restart_failed_env_runners=False)  # whoever runs the chunk runs it again
    spec = {"net": list(recipe.net), "activation": recipe.activation}
    config.rl_module(rl_module_spec=RLModuleSpec(module_class=MaskedActorCritic, model_config=spec))
    config.training(
        train_batch_size_per_learner=recipe.rollout,
        minibatch_size=recipe.minibatch,
        num_epochs=recipe.epochs,
        lr=_rates(recipe, k),
        gamma=recipe.gamma,
        lambda_=recipe.gae_lambda,
        entropy_coeff=recipe.ent_coef,
        clip_param=recipe.clip,
        vf_loss_coeff=recipe.vf_coef,
        vf_clip_param=float("inf"),
        use_kl_loss=False,  # its coefficient would be a state that RLlib does not save
        grad_clip=recipe.max_grad_norm,
    )
    return config


def _rates(recipe: RllibRecipe, k: int) -> list[list[float]]:
    """Adam's learning rate over the decisions of chunk k."""
    fall = recipe.learning_rate * (1.0 - recipe.final_rate) / recipe.chunks
    first = recipe.learning_rate - fall * k
    return [[0, first], [recipe.rollouts * recipe.rollout, first - fall]]


def _task_of(recipe: RllibRecipe) -> Task:
    with closing(LanesVecEnv.make(recipe.env_id, 1, **recipe.env_kwargs)) as env:
        return env.env.task


def crew_of(recipe: RllibRecipe, k: int) -> Crew:
    """A learner with fresh weights, and who plays for it in chunk k."""
    _quiet()
    config = config_of(recipe, k)
    return Actors(config) if recipe.env_runners else Here(config)


def _quiet() -> None:
    """RLlib warns of its own defaults, and of how it calls itself."""
    for name in ("ray.rllib", "ray._common.deprecation"):
        logging.getLogger(name).setLevel(logging.ERROR)


def initial_state(recipe: RllibRecipe) -> bytes:
    """The state before the first chunk: random weights, features measured by random play."""
    _quiet()
    seed = chunk_seed(recipe, -1)
    with alone(), closing(ppo.survey_lanes(recipe)) as env:
        seen, said = env.env.task.decision
        torch.manual_seed(seed)
        config = {"net": list(recipe.net), "activation": recipe.activation}
        module = MaskedActorCritic(observation_space=seen, action_space=said, model_config=config)
        mean, scale = ppo.survey(env, seed)
        module.mean.copy_(torch.from_numpy(mean))
        module.scale.copy_(torch.from_numpy(scale))
        return state_bytes(recipe, 0, weights_of(module))


def train_chunk(recipe: RllibRecipe, k: int, state: bytes) -> tuple[bytes, ChunkReport]:
    """Play chunk k from the state after k chunks; the next state and how it went.

    Raises:
        BadInput: the state is damaged, of another recipe, or not the one after k chunks.
        InfrastructureFault: an env runner died, or did not get the weights.
    """
    began = time.process_time()
    tensors = state_at(recipe, k, state)
    with alone(), faults_told(), closing(crew_of(recipe, k)) as crew:
        crew.load(tensors)
        np.random.seed(chunk_seed(recipe, k))  # RLlib shuffles with NumPy's global generator
        report = _learn(recipe, crew)
        spent = time.process_time() - began + crew.cpu_seconds()
        return state_bytes(recipe, k + 1, tensors_of(crew.learners)), replace(report, cpu_seconds=spent)


def _learn(recipe: RllibRecipe, crew: Crew) -> ChunkReport:
    """Learn from the rollouts of a chunk."""
    for update in range(1, recipe.rollouts + 1):
        rollouts = crew.sample()
        batch = batch_of(crew.learners, rollouts, recipe.gamma, recipe.gae_lambda)
        (told,) = crew.learners.update(
            batch=batch,
            timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: update * recipe.rollout},
            num_epochs=recipe.epochs,
            minibatch_size=recipe.minibatch * batch.env_steps() // recipe.rollout,
            shuffle_batch_per_epoch=True,
        )
        crew.share()
    return _report(recipe, crew, rollouts, batch, told[DEFAULT_MODULE_ID])


def _report(
    recipe: RllibRecipe, crew: Crew, rollouts: list[Rollout], batch: MultiAgentBatch, told: dict[str, Any]
) -> ChunkReport:
    episodes = sum(rollout.episodes for rollout in rollouts)
    earned = sum(rollout.earned for rollout in rollouts)
    running = float(np.mean([rollout.running for rollout in rollouts]))
    return ChunkReport(
        steps=recipe.rollouts * batch.env_steps(),
        cpu_seconds=0.0,
        mean_return=earned / episodes if episodes else running,
        episodes=episodes,
        entropy=float(told[ENTROPY_KEY].peek()),
        approx_kl=moved(crew.learners, batch, recipe.minibatch),
        explained_variance=float(told[LEARNER_RESULTS_VF_EXPLAINED_VAR_KEY].peek()),
    )


def policy_from(recipe: RllibRecipe, state: bytes, name: str = "") -> dict[str, bytes]:
    """The policy in a state, as files that `workgym.agents.policy.load_policy` reads.

    Raises:
        BadInput: the state is damaged or of another recipe.
    """
    layers = layers_of(read_state(recipe, state))
    name = name or f"{recipe.algorithm}-{recipe.digest()[:12]}"
    view, version = view_of(recipe.env_kwargs), _task_of(recipe).version
    return MlpPolicy(name, recipe.env_id, version, layers, recipe.activation, view).save()


def layers_of(tensors: State) -> list[Layer]:
    """The policy network, with the standardisation folded into its first layer."""
    order = sorted(
        int(name.split(".")[1]) for name in tensors if name.startswith("module/pi.") and "weight" in name
    )
    layers = [
        Layer(np.ascontiguousarray(tensors[f"module/pi.{i}.weight"].T), tensors[f"module/pi.{i}.bias"])
        for i in order
    ]
    return folded(layers, tensors["module/mean"], tensors["module/scale"])
