"""The learner of positive-congruent updates; a chunk is a pure function, as in `workgym.agents.training`.

The state carries the teacher's weights, so a chunk needs nothing but (recipe, k, state): it plays the
teacher's seasons again and finds the same decisions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3.common.utils import explained_variance

from workgym.agents import ppo
from workgym.agents.focal.recipe import FocalRecipe
from workgym.agents.mlp import Layer, MlpPolicy
from workgym.agents.policy import load_policy, view_of
from workgym.agents.seasons import handled_rows, train_seasons
from workgym.agents.states import State, state_at
from workgym.agents.training import ChunkReport, alone, chunk_seed
from workgym.services.kernel import BadInput

EXAMPLES = -2  # names the seed of the seasons that are looked through; chunks are counted from 0
_TEACHER = "teacher/"

policy_from = ppo.policy_from


@dataclass(frozen=True)
class FocalReport(ChunkReport):
    """How one chunk went.

    Attributes:
        focal_kl: nats from the teacher, over decisions in seasons that it handles, at the last update.
        examples: how many such decisions there are.
    """

    focal_kl: float = 0.0
    examples: int = 0


@dataclass(frozen=True)
class Examples:
    """What the teacher decides in seasons that it handles."""

    obs: torch.Tensor  # (n, features)
    mask: torch.Tensor  # (n, actions)
    log_p: torch.Tensor  # (n, actions) the teacher's log-probabilities

    def drawn(self, n: int) -> Examples:
        """So many of them, from the global generator that SB3 shuffles rollouts by."""
        rows = torch.from_numpy(np.random.randint(len(self.obs), size=n))
        return Examples(self.obs[rows], self.mask[rows], self.log_p[rows])


class FocalPPO(MaskablePPO):
    """Masked PPO with one more loss.

    Attributes:
        examples: what the policy is held to, or None for plain fine-tuning.
        weight: how much.
        batch: examples in each gradient step.
        still: updates for which the value network alone learns.
        focal_kl: nats from the teacher at the last gradient step.
    """

    examples: Examples | None = None
    weight = 0.0
    batch = 1
    still = 0
    focal_kl = 0.0

    def train(self) -> None:
        """Learn from the rollout that was collected."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        told: list[tuple[float, float]] = []
        for _ in range(self.n_epochs):
            told = []
            for rows in self.rollout_buffer.get(self.batch_size):
                loss, entropy, moved = self._loss(rows)
                self.policy.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch has no types there
                torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
                self.policy.optimizer.step()
                told.append((entropy, moved))
        self.still = max(self.still - 1, 0)
        entropy, moved = np.mean(told, axis=0).tolist()
        self.logger.record("train/entropy_loss", -entropy)
        self.logger.record("train/approx_kl", moved)
        known = explained_variance(self.rollout_buffer.values.ravel(), self.rollout_buffer.returns.ravel())
        self.logger.record("train/explained_variance", known)

    def _loss(self, rows: Any) -> tuple[torch.Tensor, float, float]:
        """The loss of one minibatch, the policy's entropy there, and how far it has moved since."""
        values, log_p, entropy = cast(
            "tuple[torch.Tensor, torch.Tensor, torch.Tensor]",
            self.policy.evaluate_actions(
                rows.observations, rows.actions.long().flatten(), action_masks=rows.action_masks
            ),
        )
        loss = self.vf_coef * torch.nn.functional.mse_loss(rows.returns, values.flatten())
        change = log_p - rows.old_log_prob
        if not self.still:
            gain = (rows.advantages - rows.advantages.mean()) / (rows.advantages.std() + 1e-8)
            ratio, clip = change.exp(), self.clip_range(1.0)  # type: ignore[operator]  # a schedule by now
            kept = torch.minimum(gain * ratio, gain * ratio.clamp(1 - clip, 1 + clip)).mean()
            loss = loss - kept - self.ent_coef * entropy.mean()
            if self.examples is not None:
                focal = self.divergence(self.examples.drawn(self.batch))
                loss, self.focal_kl = loss + self.weight * focal, float(focal.detach())
        moved = (change.exp() - 1 - change).mean()
        return loss, float(entropy.detach().mean()), float(moved.detach())

    def divergence(self, examples: Examples) -> torch.Tensor:
        """Mean KL(teacher || policy) over the examples, in nats."""
        log_p = torch.log_softmax(
            logits_of(self.policy, examples.obs).masked_fill(~examples.mask, ppo.NEVER), 1
        )
        return (examples.log_p.exp() * (examples.log_p - log_p)).sum(1).mean()


def logits_of(policy: Any, obs: torch.Tensor) -> torch.Tensor:
    """(N, actions) logits of an SB3 policy, nothing masked."""
    logits: torch.Tensor = policy.action_net(
        policy.mlp_extractor.forward_actor(policy.extract_features(obs, policy.pi_features_extractor))
    )
    return logits


def initial_state(recipe: FocalRecipe, files: Mapping[str, bytes]) -> bytes:
    """The teacher as the first policy, beside a fresh value network.

    Raises:
        BadInput: the files hold another kind of policy, one of another env or of another network.
    """
    teacher = teacher_of(recipe, load_policy(files))
    seed = chunk_seed(recipe, -1)
    with alone(), closing(ppo.survey_lanes(recipe)) as env:
        teacher.begin(env.env)
        model = ppo.build(recipe, env, lambda _: recipe.learning_rate, seed, FocalPPO)
        _, scale = ppo.survey(env, seed)
        warm_start(model, teacher, scale)
        return ppo.state_of(recipe, 0, model, _carried(teacher))


def teacher_of(recipe: FocalRecipe, teacher: object) -> MlpPolicy:
    """The teacher, if an update of it can be learned so."""
    if not isinstance(teacher, MlpPolicy):
        raise BadInput(f"expected a network of dense layers to update, found a {type(teacher).__name__}")
    hidden = tuple(len(layer.bias) for layer in teacher.layers[:-1])
    if (hidden, teacher.activation) != (recipe.net, recipe.activation):
        raise BadInput(
            f"expected net {list(hidden)} with {teacher.activation}, as the teacher has them, found "
            f"{list(recipe.net)} with {recipe.activation}; name the teacher's in the recipe"
        )
    return teacher


def warm_start(model: Any, teacher: MlpPolicy, scale: Any) -> None:
    """Make the model's policy the teacher, to the last bit of every weight.

    Features are scaled by powers of two and not shifted: what the first layer's weights are divided by,
    saving multiplies them with again, and neither rounds.
    """
    steps = np.exp2(np.round(np.log2(scale))).astype(np.float32)
    ppo.set_features(model, np.zeros_like(steps), steps)
    first, *rest = teacher.layers
    scaled = [Layer(first.weight / steps[:, None], first.bias), *rest]
    hidden = [part for part in model.policy.mlp_extractor.policy_net if hasattr(part, "weight")]
    with torch.no_grad():
        for part, layer in zip([*hidden, model.policy.action_net], scaled, strict=True):
            part.weight.copy_(torch.from_numpy(layer.weight.T.copy()))
            part.bias.copy_(torch.from_numpy(layer.bias))


def train_chunk(recipe: FocalRecipe, k: int, state: bytes) -> tuple[bytes, FocalReport]:
    """Play chunk k from the state after k chunks; the next state and how it went.

    Raises:
        BadInput: the state is damaged, of another recipe, or not the one after k chunks; or the teacher
            handles no season of the train split.
    """
    began = time.process_time()
    tensors = state_at(recipe, k, state)
    with alone(), closing(ppo.lanes_of(recipe)) as env:
        teacher = _carried_teacher(recipe, tensors, env.env.task.version)
        examples = examples_of(recipe, teacher) if recipe.focal_weight else None
        model = ppo.build(recipe, env, ppo.rate(recipe, k), chunk_seed(recipe, k), FocalPPO)
        ppo.load_state(model, tensors)
        model.examples, model.weight, model.batch = examples, recipe.focal_weight, recipe.focal_batch
        model.still = max(recipe.value_rollouts - k * recipe.rollouts, 0)
        ppo.learn(recipe, k, model, tensors)
        told = ppo.report(model, env, time.process_time() - began)
        known = 0 if examples is None else len(examples.obs)
        after = ppo.state_of(recipe, k + 1, model, _carried(teacher))
        return after, FocalReport(**vars(told), focal_kl=model.focal_kl, examples=known)


def examples_of(recipe: FocalRecipe, teacher: MlpPolicy) -> Examples:
    """What the teacher decides in seasons of the train split that it handles; the same for every chunk.

    Raises:
        BadInput: it handles none of those that are looked through.
    """
    seed = chunk_seed(recipe, EXAMPLES)
    kwargs = {**recipe.env_kwargs, **recipe.focal_kwargs}
    seasons = train_seasons(recipe.env_id, kwargs, recipe.focal_seasons, seed)
    rows = handled_rows(teacher, seasons, recipe.focal_rows, seed)
    if not len(rows.obs):
        raise BadInput(
            f"expected a teacher that handles some of {len(seasons.seeds)} seasons, found one that handles "
            "none; with focal_weight 0 there is nothing to be held to"
        )
    mask = torch.from_numpy(rows.mask)
    legal = mask if mask.shape[1] else torch.ones((len(mask), teacher.actions), dtype=torch.bool)
    logits = torch.from_numpy(teacher.logits(rows.obs)).masked_fill(~legal, ppo.NEVER)
    log_p = torch.log_softmax(logits / recipe.focal_temperature, 1)
    return Examples(torch.from_numpy(rows.obs), legal, log_p)


def _carried(teacher: MlpPolicy) -> State:
    """The teacher's weights as a state holds them."""
    parts: State = {}
    for i, layer in enumerate(teacher.layers):
        parts |= {f"{_TEACHER}{i}.weight": layer.weight, f"{_TEACHER}{i}.bias": layer.bias}
    return parts


def _carried_teacher(recipe: FocalRecipe, tensors: State, version: str) -> MlpPolicy:
    layers = [
        Layer(tensors[f"{_TEACHER}{i}.weight"], tensors[f"{_TEACHER}{i}.bias"])
        for i in range(len(recipe.net) + 1)
    ]
    return MlpPolicy("teacher", recipe.env_id, version, layers, recipe.activation, view_of(recipe.env_kwargs))
