"""Who plays for RLlib's learner: an env runner in this process, or Ray actors sure to hold its weights."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import ray
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.core import (
    COMPONENT_ENV_RUNNER,
    COMPONENT_LEARNER,
    COMPONENT_LEARNER_GROUP,
    COMPONENT_OPTIMIZER,
    COMPONENT_RL_MODULE,
    DEFAULT_MODULE_ID,
)
from ray.rllib.core.learner.learner_group import LearnerGroup

from workgym.agents.rllib_parts import LanesConfig, LanesRunner, MaskedActorCritic, Rollout
from workgym.agents.states import State
from workgym.services.kernel import InfrastructureFault

TESTED_RAY = ("2.60",)  # versions whose semi-public API is known to do what this module asks of it
OBJECT_STORE_BYTES = 150_000_000  # some rollouts of the largest size
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_WEIGHTS = f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"


class Crew(Protocol):
    """A learner and who plays for it."""

    learners: LearnerGroup

    def load(self, tensors: State) -> None:
        """Everyone goes on from this state."""

    def sample(self) -> list[Rollout]:
        """The next rollout of every env runner, in their order."""

    def share(self) -> None:
        """Every env runner plays the learner's weights from now on."""

    def cpu_seconds(self) -> float:
        """Processor time of other processes."""

    def close(self) -> None:
        """Give back what lanes and processes hold."""


class Here:
    """All in this process; needs no Ray."""

    def __init__(self, config: LanesConfig) -> None:
        self.runner = LanesRunner(config=config, worker_index=0)
        self.learners: LearnerGroup = config.build_learner_group(spaces=self.runner.get_spaces())

    def load(self, tensors: State) -> None:
        """Everyone goes on from this state."""
        self.learners.set_state({COMPONENT_LEARNER: _learner_state(self.learners, tensors)})
        self.share()

    def sample(self) -> list[Rollout]:
        """The next rollout."""
        return [self.runner.sample()]

    def share(self) -> None:
        """The env runner plays the learner's weights from now on."""
        self.runner.set_state(self.learners.get_state(_WEIGHTS, inference_only=True)[COMPONENT_LEARNER])

    def cpu_seconds(self) -> float:
        """None: there is no other process."""
        return 0.0

    def close(self) -> None:
        """Give back the lanes."""
        self.runner.stop()


class Actors:
    """The learner in this process, env runners as Ray actors."""

    def __init__(self, config: LanesConfig) -> None:
        start_ray()
        self.algorithm: PPO = config.build_algo()
        self.learners: LearnerGroup = self.algorithm.learner_group

    def load(self, tensors: State) -> None:
        """Everyone goes on from this state.

        Raises:
            InfrastructureFault: an env runner did not get the weights.
        """
        learner = _learner_state(self.learners, tensors)
        self.algorithm.set_state(
            {COMPONENT_ENV_RUNNER: {}, COMPONENT_LEARNER_GROUP: {COMPONENT_LEARNER: learner}}
        )
        self.share()
        check_same_weights(self.algorithm)

    def sample(self) -> list[Rollout]:
        """The next rollout of every env runner, in their order."""
        played = self._ask(lambda runner: (runner.worker_index, runner.sample()))
        return [rollout for _, rollout in sorted(played, key=lambda pair: int(pair[0]))]

    def share(self) -> None:
        """Every env runner plays the learner's weights from now on."""
        deliver_weights(self.algorithm)

    def cpu_seconds(self) -> float:
        """Processor time of the env runners."""
        return float(sum(self._ask(lambda runner: runner.cpu_seconds())))

    def _ask(self, question: Callable[[Any], Any]) -> list[Any]:
        """Every env runner's answer, in whatever order they come."""
        group = self.algorithm.env_runner_group
        answers: list[Any] = group.foreach_env_runner(question, local_env_runner=False)
        return answers

    def close(self) -> None:
        """End the env runners, and remove the empty folder that every algorithm makes."""
        self.algorithm.stop()
        shutil.rmtree(self.algorithm.logdir, ignore_errors=True)


@contextmanager
def faults_told() -> Iterator[None]:
    """An actor that dies is a fault of the infrastructure.

    Raises:
        InfrastructureFault: an env runner died.
    """
    try:
        yield
    except ray.exceptions.RayActorError as error:
        raise InfrastructureFault("an env runner died; run the chunk again", committed="no") from error


def deliver_weights(algorithm: PPO) -> None:
    """Send the learner's weights to every env runner, once whatever was sent before has arrived.

    RLlib sends them without waiting, and drops a call to an actor that has not answered those before it
    (`FaultTolerantActorManager.foreach_actor_async`). A restore makes three such calls, and the weights are
    in the last: an env runner may keep those that it began with, and nobody is told.
    """
    algorithm.env_runner_group.sync_weights(
        from_worker_or_learner_group=algorithm.learner_group, timeout_seconds=None, inference_only=True
    )


def check_same_weights(algorithm: PPO) -> None:
    """Refuse env runners that would play other weights than the learner's.

    Raises:
        InfrastructureFault: one would.
    """
    state = algorithm.learner_group.get_state(_WEIGHTS, inference_only=True)[COMPONENT_LEARNER]
    wanted = state[COMPONENT_RL_MODULE][DEFAULT_MODULE_ID]
    for held in env_runner_weights(algorithm):
        if not all(np.array_equal(held[name], wanted[name], equal_nan=True) for name in wanted):
            raise InfrastructureFault(
                "an env runner plays other weights than the learner's; run the chunk again", committed="no"
            )


def env_runner_weights(algorithm: PPO) -> list[State]:
    """The policy weights that each env runner plays now."""
    held: list[State] = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: runner.module.get_state(), local_env_runner=False
    )
    return held


def start_ray() -> None:
    """Start Ray in this process, quietly and for it alone, unless it runs already."""
    if ray.is_initialized():
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(
        address="local",
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def tensors_of(learners: LearnerGroup) -> State:
    """What the learner holds: weights, how observations are standardised, Adam's moments."""
    module = _module(learners)
    names = _parameters(module)
    (optimizer,) = _optimizers(learners).values()
    moments = {
        f"adam/{names[i]}/{moment}": np.asarray(value)
        for i, told in optimizer["state"]["state"].items()
        for moment, value in told.items()
    }
    return weights_of(module) | moments


def weights_of(module: MaskedActorCritic) -> State:
    """The weights of a module, by the names that a state gives them."""
    return {f"module/{name}": value.numpy() for name, value in module.state_dict().items()}


def _learner_state(learners: LearnerGroup, tensors: State) -> dict[str, Any]:
    """A state as RLlib's learner takes it."""
    weights = {
        name.removeprefix("module/"): value for name, value in tensors.items() if name.startswith("module/")
    }
    state = {COMPONENT_RL_MODULE: {DEFAULT_MODULE_ID: weights}}
    if not any(name.startswith("adam/") for name in tensors):
        return state
    optimizers = _optimizers(learners)
    (optimizer,) = optimizers.values()
    optimizer["state"]["state"] = {
        i: {moment: tensors[f"adam/{name}/{moment}"] for moment in _MOMENTS}
        for i, name in enumerate(_parameters(_module(learners)))
    }
    return state | {COMPONENT_OPTIMIZER: optimizers}


def _optimizers(learners: LearnerGroup) -> dict[str, Any]:
    state = learners.get_state(f"{COMPONENT_LEARNER}/{COMPONENT_OPTIMIZER}")[COMPONENT_LEARNER]
    optimizers: dict[str, Any] = state[COMPONENT_OPTIMIZER]
    return optimizers


def _module(learners: LearnerGroup) -> MaskedActorCritic:
    (answer,) = learners.foreach_learner(lambda learner: learner.module[DEFAULT_MODULE_ID].unwrapped())
    module: MaskedActorCritic = answer.get()
    return module


def _parameters(module: MaskedActorCritic) -> list[str]:
    """Names in the order in which the optimiser numbers them."""
    return [name for name, _ in module.named_parameters()]
