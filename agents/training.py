"""Training as a chain of pure chunks: killed anywhere, it continues to the same weights.

    state = initial_state(recipe)
    for k in range(recipe.chunks):
        state, report = train_chunk(recipe, k, state)
    files = policy_from(recipe, state, "my-policy")

A chunk draws every random number from (recipe, k) and begins new episodes in all lanes, so nothing
but the state passes from one to the next, and any process may play any chunk. Equal input gives
equal bytes on processors of one kind: torch picks its kernels by what the processor can do.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from workgym.agents.pathwise.recipe import ALGORITHM as PATHWISE
from workgym.agents.pathwise.recipe import PathwiseRecipe, PathwiseReport
from workgym.services.kernel import BadInput, did_you_mean

ALGORITHMS = ("maskable-ppo", "ppo")
ACTIVATIONS = ("relu", "tanh")

# Inclusive range of every number; what lies outside has no meaning, or stops learning altogether.
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**31 - 1),
    "steps": (1, 10**12),
    "chunk_steps": (1, 10**10),
    "lanes": (1, 65536),
    "n_steps": (2, 65536),
    "minibatch": (2, 10**7),
    "epochs": (1, 100),
    "learning_rate": (1e-8, 1.0),
    "final_rate": (0.0, 1.0),
    "gamma": (0.0, 1.0),
    "gae_lambda": (0.0, 1.0),
    "ent_coef": (0.0, 1.0),
    "clip": (1e-3, 1.0),
    "vf_coef": (0.0, 10.0),
    "max_grad_norm": (1e-6, 1e6),
    "refusal_cost": (0.0, 100.0),
    "violation_cost": (0, 10**6),
}


@dataclass(frozen=True)
class Recipe:
    """Everything that a training depends on, but the code.

    Usual ranges are those of Andrychowicz et al. (2021), "What matters in on-policy reinforcement
    learning?", and of Huang et al. (2022), "The 37 implementation details of PPO"; where the default
    differs, `benchmarks/README.md` has the measurement.

    Attributes:
        env_id: Gymnasium id of a task with a native vector env.
        algorithm: `maskable-ppo` samples legal actions only (Huang and Ontañón 2022, "A closer look
            at invalid action masking"). `ppo` samples any, an illegal one is refused at
            `refusal_cost`; it is there to be compared with. Both act masked once they are trained.
        env_kwargs: how the env is made.
        seed: names this training; another one shows how much of a result is luck.
        steps: steps to learn from, over all lanes. Profit rises with their logarithm. A step is one
            decision, or as many as the task has rows.
        chunk_steps: decisions between two checkpoints, rounded up to whole rollouts. Shorter ones
            lose less to a kill; each begins new episodes, so it should hold several of them a lane.
        lanes: worlds that are played side by side. More make a step cheaper until about 1,024; fewer
            see longer stretches of each episode in a rollout. 64 to 2,048.
        n_steps: decisions a lane before each update. Longer ones follow rewards further and update
            less often. Times `lanes`, 8,192 to 65,536.
        minibatch: steps in one gradient step; divides `lanes * n_steps`. Small ones learn more from a
            rollout and cost more a row: 64 is five times dearer than 4,096. 2,048 to 8,192.
        epochs: passes over each rollout. More squeeze it further and drift from the policy that
            played it; watch `approx_kl`. 2 to 10.
        learning_rate: Adam's. Too large shows as a jumping `approx_kl`, too small as a straight
            slow curve. 3e-4 to 3e-3.
        final_rate: share of the learning rate that is left at the end of a linear descent. 0 settles
            the policy; 1 keeps it constant, for trainings that will be continued.
        gamma: how much the next decision's reward counts; 1 / (1 - gamma) decisions is how far the
            policy looks ahead. Small ones learn faster from less. 0.9 to 0.999.
        gae_lambda: 1 trusts the rewards that followed, 0 the value network. 0.8 to 0.98.
        ent_coef: reward for keeping options open. Too large keeps it undecided, too small lets it
            settle on the first rule that works. 0 to 0.02.
        clip: how far one update may move an action's probability. 0.1 to 0.3.
        vf_coef: weight of the value network's loss; without shared layers it hardly matters. 0.25 to 1.
        max_grad_norm: longer gradients are shortened to this. 0.5 to 10.
        net: hidden layers of the policy and of the value network. Wider ones decide finer and cost
            time here and latency there. (32,) to (256, 256).
        activation: `relu` or `tanh`. tanh costs a third of the training's speed.
        refusal_cost: what a refused action costs `ppo`, in the learner's unit. 0.01 to 1.
        violation_cost: cents that a violated constraint costs the learner on top of the reward. 0 learns
            profit alone; more keeps more promises for less profit. 0 to 2,000.
    """

    env_id: str
    algorithm: str = "maskable-ppo"
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    steps: int = 1_600_000
    chunk_steps: int = 400_000
    lanes: int = 512
    n_steps: int = 64
    minibatch: int = 4096
    epochs: int = 3
    learning_rate: float = 3e-3
    final_rate: float = 0.0
    gamma: float = 0.95
    gae_lambda: float = 0.9
    ent_coef: float = 0.003
    clip: float = 0.2
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    net: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    refusal_cost: float = 0.1
    violation_cost: int = 0

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise BadInput(did_you_mean("algorithm", self.algorithm, list(ALGORITHMS)))
        if self.activation not in ACTIVATIONS:
            raise BadInput(did_you_mean("activation", self.activation, list(ACTIVATIONS)))
        for name, (low, high) in _RANGES.items():
            _check_number(
                name, getattr(self, name), low, high, type(Recipe.__dataclass_fields__[name].default)
            )
        if not self.net or not all(isinstance(n, int) and 1 <= n <= 4096 for n in self.net):
            raise BadInput(f"expected hidden layers of 1 to 4096 units as net, found {self.net}")
        if self.rollout % self.minibatch:
            raise BadInput(
                f"expected a minibatch that divides lanes * n_steps = {self.rollout}, found {self.minibatch}"
            )

    @property
    def rollout(self) -> int:
        """Decisions between two updates."""
        return self.lanes * self.n_steps

    @property
    def rollouts(self) -> int:
        """Updates in one chunk."""
        return -(-min(self.chunk_steps, self.steps) // self.rollout)

    @property
    def chunks(self) -> int:
        """Chunks of the whole training."""
        return -(-self.steps // (self.rollouts * self.rollout))

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON knows them; `make_recipe` reads them."""
        return asdict(self) | {"env_kwargs": dict(self.env_kwargs), "net": list(self.net)}

    def digest(self) -> str:
        """Content hash; equal recipes train equal policies."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def _check_number(name: str, value: Any, low: float, high: float, kind: type) -> None:
    right = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
    if not right or not low <= value <= high:
        what = "a whole number" if kind is int else "a number"
        raise BadInput(f"expected {what} in {low:g}..{high:g} as {name}, found {value!r}")


def make_recipe(given: Mapping[str, Any]) -> AnyRecipe:
    """A recipe from its fields, as a preset, a TOML table or `to_dict` holds them; `algorithm` tells which.

    Raises:
        BadInput: a field is unknown, missing or outside its range.
    """
    algorithm = given.get("algorithm", ALGORITHMS[0])
    if algorithm not in (*ALGORITHMS, PATHWISE):
        raise BadInput(did_you_mean("algorithm", str(algorithm), [*ALGORITHMS, PATHWISE]))
    kind: type[AnyRecipe] = PathwiseRecipe if algorithm == PATHWISE else Recipe
    known = [one.name for one in fields(kind)]
    for name in given:
        if name not in known:
            raise BadInput(did_you_mean("field of a recipe", name, known))
    if "env_id" not in given:
        raise BadInput("expected an env_id in a recipe, found none")
    whole = dict(given)
    if "net" in whole:
        if not isinstance(whole["net"], (list, tuple)):
            raise BadInput(f"expected a list of hidden layers as net, found {whole['net']!r}")
        whole["net"] = tuple(whole["net"])
    for one in fields(kind):  # 0 and 0.0 are one recipe, so they must be one digest
        if isinstance(one.default, float) and type(whole.get(one.name)) is int:
            whole[one.name] = float(whole[one.name])
    return kind(**whole)


AnyRecipe = Recipe | PathwiseRecipe


@dataclass(frozen=True)
class ChunkReport:
    """How one chunk went.

    Attributes:
        steps: decisions it learned from; in a task of many rows, that many a step.
        cpu_seconds: processor time of this process.
        mean_return: cents an episode, over those that ended in the chunk; while none has, what the
            running ones have earned so far.
        episodes: how many ended.
        entropy: nats of the policy at the last update; falls as it makes up its mind.
        approx_kl: nats that the last update moved the policy; above 0.05 the updates are too large.
        explained_variance: of the returns, by the value network; near 1 is good, below 0 useless.
    """

    steps: int
    cpu_seconds: float
    mean_return: float
    episodes: int
    entropy: float
    approx_kl: float
    explained_variance: float


def chunk_seed(recipe: AnyRecipe, k: int) -> int:
    """The seed of chunk k; -1 is the initial state's."""
    digest = hashlib.sha256(f"{recipe.env_id}/{recipe.seed}/{k}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


@contextmanager
def alone() -> Iterator[None]:
    """One thread, and the process's own random generators as they were afterwards.

    More threads sum in another order, and are slower than one on networks of this size.
    """
    import torch

    torch.set_num_threads(1)
    before = random.getstate(), np.random.get_state()  # SB3 draws from the global ones
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def initial_state(recipe: AnyRecipe) -> bytes:
    """The state before the first chunk: random weights, features measured by random play."""
    if isinstance(recipe, PathwiseRecipe):
        from workgym.agents.pathwise import learner

        return learner.initial_state(recipe)
    from workgym.agents import ppo
    from workgym.agents.sb3 import LanesVecEnv

    seed = chunk_seed(recipe, -1)
    with alone():
        env = LanesVecEnv.make(recipe.env_id, min(recipe.lanes, ppo.SURVEY_LANES), **recipe.env_kwargs)
        try:
            model = ppo.build(recipe, env, lambda _: recipe.learning_rate, seed)
            ppo.set_features(model, *ppo.survey(env, seed))
            return ppo.state_of(recipe, 0, model)
        finally:
            env.close()


def train_chunk(
    recipe: AnyRecipe, k: int, state: bytes
) -> tuple[bytes, ChunkReport] | tuple[bytes, PathwiseReport]:
    """Play chunk k from the state after k chunks; the next state and how it went.

    Raises:
        BadInput: the state is damaged, of another recipe, or not the one after k chunks.
    """
    if isinstance(recipe, PathwiseRecipe):
        from workgym.agents.pathwise import learner

        return learner.train_chunk(recipe, k, state)
    from workgym.agents import ppo
    from workgym.agents.sb3 import LanesVecEnv

    began = time.process_time()
    tensors = ppo.read_state(recipe, state)
    if (found := int(tensors["chunk"][0])) != k or k >= recipe.chunks:
        raise BadInput(f"expected the state after {k} of {recipe.chunks} chunks, found the one after {found}")
    with alone():
        env = LanesVecEnv.make(
            recipe.env_id, recipe.lanes, recipe.refusal_cost, recipe.violation_cost, **recipe.env_kwargs
        )
        try:
            model = ppo.build(recipe, env, _rate(recipe, k), chunk_seed(recipe, k))
            ppo.load_state(model, tensors)
            model.learn(recipe.rollouts * recipe.rollout * env.rows, log_interval=None)
            after = ppo.state_of(recipe, k + 1, model)
            return after, _report(model, env, time.process_time() - began)
        finally:
            env.close()


def _rate(recipe: Recipe, k: int) -> Any:
    """SB3's schedule for chunk k: from the share of the chunk that is left to a learning rate."""

    def rate(left: float) -> float:
        done = (k + 1.0 - left) / recipe.chunks
        return recipe.learning_rate * (1.0 - (1.0 - recipe.final_rate) * done)

    return rate


def _report(model: Any, env: Any, cpu_seconds: float) -> ChunkReport:
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


def policy_from(recipe: AnyRecipe, state: bytes, name: str = "") -> dict[str, bytes]:
    """The policy in a state, as files that `workgym.agents.policy.load_policy` reads.

    Raises:
        BadInput: the state is damaged or of another recipe.
    """
    if isinstance(recipe, PathwiseRecipe):
        from workgym.agents.pathwise import learner

        return learner.policy_from(recipe, state, name)
    from workgym.agents import ppo
    from workgym.agents.mlp import MlpPolicy
    from workgym.agents.policy import view_of
    from workgym.agents.sb3 import LanesVecEnv

    layers = ppo.layers_of(ppo.read_state(recipe, state))
    env = LanesVecEnv.make(recipe.env_id, 1, **recipe.env_kwargs)
    try:
        version = env.env.task.version
    finally:
        env.close()
    name = name or f"{recipe.algorithm}-{recipe.digest()[:12]}"
    view = view_of(recipe.env_kwargs)
    return MlpPolicy(name, recipe.env_id, version, layers, recipe.activation, view).save()
