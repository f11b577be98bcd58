"""The learner: the student plays, the teacher says what it would have done, Adam brings them together.

As in `workgym.agents.training`, a chunk draws every random number from (recipe, k) and passes on nothing
but its state, which carries the teacher's weights along.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from workgym.agents import ppo
from workgym.agents.distil.recipe import DistilRecipe, DistilReport
from workgym.agents.mlp import Layer, MlpPolicy, folded
from workgym.agents.policy import Bools, Floats, load_policy, view_of
from workgym.agents.sb3 import LanesVecEnv
from workgym.agents.states import State, read_state, state_at, state_bytes
from workgym.agents.training import alone, chunk_seed
from workgym.services.kernel import BadInput

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class Student:
    """A small network for standardised features, and the optimiser that teaches it.

    Args:
        recipe: of the training.
        mean: (features,) of the features.
        scale: (features,) one over their deviations.
        sizes: width of the inputs and of each layer.
    """

    def __init__(self, recipe: DistilRecipe, mean: Floats, scale: Floats, sizes: list[int]) -> None:
        self.recipe, self.mean, self.scale = recipe, mean, scale
        bend = torch.nn.ReLU if recipe.activation == "relu" else torch.nn.Tanh
        parts: list[torch.nn.Module] = []
        for a, b in pairwise(sizes):
            parts += [torch.nn.Linear(a, b), bend()]
        self.net = torch.nn.Sequential(*parts[:-1])
        self.adam = torch.optim.Adam(self.net.parameters(), lr=recipe.learning_rate)

    def policy(self, version: str, name: str) -> MlpPolicy:
        """The student as it decides now."""
        linear = [part for part in self.net if isinstance(part, torch.nn.Linear)]
        layers = [Layer(part.weight.detach().numpy().T, part.bias.detach().numpy()) for part in linear]
        made = folded(layers, self.mean, self.scale)
        view = view_of(self.recipe.env_kwargs)
        return MlpPolicy(name, self.recipe.env_id, version, made, self.recipe.activation, view)

    def tensors(self) -> State:
        """Weights and moments as a state holds them."""
        parts: State = {"features/mean": self.mean, "features/scale": self.scale}
        for name, parameter in self.net.named_parameters():
            parts[f"student/{name}"] = parameter.detach().numpy()
            for part, value in self.adam.state.get(parameter, {}).items():
                parts[f"adam/{name}/{part}"] = value.numpy()
        return parts

    def load(self, tensors: State) -> None:
        """Take weights and moments from a state."""
        for name, parameter in self.net.named_parameters():
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(tensors[f"student/{name}"].copy()))
            if f"adam/{name}/step" in tensors:
                self.adam.state[parameter] = {
                    part: torch.from_numpy(tensors[f"adam/{name}/{part}"].copy()) for part in _MOMENTS
                }


class Lesson(NamedTuple):
    """Decisions, and what the teacher thinks of them."""

    obs: Floats  # (n, features)
    mask: Bools  # (n, actions)
    log_p: torch.Tensor  # (n, actions) the teacher's log-probabilities
    agreement: float  # how often the student chose as the teacher would


def initial_state(recipe: DistilRecipe, files: Mapping[str, bytes]) -> bytes:
    """A student that knows nothing, and its teacher.

    Raises:
        BadInput: the files hold another kind of policy, or one of another env.
    """
    teacher = load_policy(files)
    if not isinstance(teacher, MlpPolicy):
        raise BadInput(f"expected a network of dense layers as teacher, found a {type(teacher).__name__}")
    seed = chunk_seed(recipe, -1)
    lanes = min(recipe.lanes, ppo.SURVEY_LANES)
    with alone(), closing(LanesVecEnv.make(recipe.env_id, lanes, **recipe.env_kwargs)) as env:
        teacher.begin(env.env)
        torch.manual_seed(seed)
        mean, scale = ppo.survey(env, seed)
        student = Student(recipe, mean, scale, [teacher.features, *recipe.net, teacher.actions])
        return _state(recipe, 0, student, teacher)


def train_chunk(recipe: DistilRecipe, k: int, state: bytes) -> tuple[bytes, DistilReport]:
    """Play chunk k from the state after k chunks; the next state and how it went.

    Raises:
        BadInput: the state is damaged, of another recipe, or not the one after k chunks.
    """
    began = time.process_time()
    tensors = state_at(recipe, k, state)
    with alone(), closing(LanesVecEnv.make(recipe.env_id, recipe.lanes, **recipe.env_kwargs)) as env:
        seed = chunk_seed(recipe, k)
        torch.manual_seed(seed)
        env.seed(seed)
        obs: Floats = env.reset()
        teacher, student = _teacher(recipe, tensors, env), _student(recipe, tensors)
        for number in recipe.span(k):
            share = 1.0 if number == 0 else recipe.teacher_share
            obs, lesson = _played(env, obs, teacher, student, share)
            divergence = _taught(student, lesson, number)
        decisions = len(recipe.span(k)) * recipe.n_steps * env.num_envs
        report = DistilReport(
            decisions, time.process_time() - began, env.mean_return(), lesson.agreement, divergence
        )
        return _state(recipe, k + 1, student, teacher), report


def policy_from(recipe: DistilRecipe, state: bytes, name: str = "") -> dict[str, bytes]:
    """The student in a state, as files.

    Raises:
        BadInput: the state is damaged or of another recipe.
    """
    student = _student(recipe, read_state(recipe, state))
    with closing(LanesVecEnv.make(recipe.env_id, 1, **recipe.env_kwargs)) as env:
        version = env.env.task.version
    return student.policy(version, name or f"{recipe.algorithm}-{recipe.digest()[:12]}").save()


def _played(
    env: LanesVecEnv, obs: Floats, teacher: MlpPolicy, student: Student, share: float
) -> tuple[Floats, Lesson]:
    """One round of play: what the lanes show afterwards, and what was met."""
    pupil = student.policy(teacher.env_version, "student")
    teachers = round(share * env.num_envs)
    seen, masks, agreed = [], [], 0
    for _ in range(student.recipe.n_steps):
        mask = env.mask
        wanted, chosen = teacher.act(obs, mask), pupil.act(obs, mask)
        agreed += int((wanted == chosen).sum())
        seen.append(obs)
        masks.append(mask if mask.shape[1] else np.ones((len(obs), teacher.actions), dtype=np.bool_))
        chosen[:teachers] = wanted[:teachers]
        env.step_async(chosen)
        obs = env.step_wait()[0]
    rows, legal = np.concatenate(seen), np.concatenate(masks)
    logits = torch.from_numpy(teacher.logits(rows)) / student.recipe.temperature
    log_p = torch.log_softmax(logits.masked_fill(torch.from_numpy(~legal), ppo.NEVER), 1)
    return obs, Lesson(rows, legal, log_p, agreed / len(rows))


def _taught(student: Student, lesson: Lesson, number: int) -> float:
    """Learn from a lesson; the mean divergence over the last pass."""
    recipe = student.recipe
    for group in student.adam.param_groups:
        group["lr"] = recipe.learning_rate * (1 - (1 - recipe.final_rate) * number / recipe.rounds)
    inputs = torch.from_numpy((lesson.obs - student.mean) * student.scale)
    illegal = torch.from_numpy(~lesson.mask)
    apart: list[float] = []
    for _ in range(recipe.epochs):
        apart = []
        for rows in torch.split(torch.randperm(len(inputs)), recipe.minibatch):
            log_p = torch.log_softmax(student.net(inputs[rows]).masked_fill(illegal[rows], ppo.NEVER), 1)
            wanted = lesson.log_p[rows]
            loss = (wanted.exp() * (wanted - log_p)).sum(1).mean()
            student.adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types there
            student.adam.step()
            apart.append(float(loss.detach()))
    return float(np.mean(apart))


def _state(recipe: DistilRecipe, k: int, student: Student, teacher: MlpPolicy) -> bytes:
    tensors = student.tensors()
    for i, layer in enumerate(teacher.layers):
        tensors |= {f"teacher/{i}.weight": layer.weight, f"teacher/{i}.bias": layer.bias}
    tensors["teacher/tanh"] = np.array([teacher.activation == "tanh"])
    return state_bytes(recipe, k, tensors)


def _teacher(recipe: DistilRecipe, tensors: State, env: LanesVecEnv) -> MlpPolicy:
    n = sum(name.startswith("teacher/") and name.endswith(".bias") for name in tensors)
    layers = [Layer(tensors[f"teacher/{i}.weight"], tensors[f"teacher/{i}.bias"]) for i in range(n)]
    activation = "tanh" if tensors["teacher/tanh"][0] else "relu"
    task = env.env.task
    return MlpPolicy("teacher", task.env_id, task.version, layers, activation, view_of(recipe.env_kwargs))


def _student(recipe: DistilRecipe, tensors: State) -> Student:
    mean, scale = tensors["features/mean"], tensors["features/scale"]
    actions = len(tensors[f"student/{2 * len(recipe.net)}.bias"])
    student = Student(recipe, mean, scale, [len(mean), *recipe.net, actions])
    student.load(tensors)
    return student
