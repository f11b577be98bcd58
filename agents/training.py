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
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from workgym.agents.distil.recipe import DistilRecipe, DistilReport
from workgym.agents.focal.recipe import FocalRecipe
from workgym.agents.pathwise.recipe import PathwiseRecipe, PathwiseReport
from workgym.agents.policy import files_digest
from workgym.agents.recipe import ACTIVATIONS, ALGORITHMS, Recipe
from workgym.agents.rllib_recipe import RllibRecipe
from workgym.agents.schedule import ScheduleRecipe
from workgym.services.kernel import BadInput, did_you_mean

__all__ = [
    "ACTIVATIONS",
    "ALGORITHMS",
    "LEARNERS",
    "AnyRecipe",
    "AnyReport",
    "ChunkReport",
    "Learner",
    "Recipe",
    "alone",
    "chunk_seed",
    "initial_state",
    "make_recipe",
    "needs",
    "policy_from",
    "train_chunk",
]

AnyRecipe = Recipe | PathwiseRecipe | DistilRecipe | ScheduleRecipe


class Learner(NamedTuple):
    """Who trains an algorithm.

    Attributes:
        recipe: class of its recipes.
        module: has its `initial_state`, `train_chunk` and `policy_from`; imported only where it trains.
    """

    recipe: type[AnyRecipe]
    module: str


LEARNERS: dict[str, Learner] = {
    "maskable-ppo": Learner(Recipe, "workgym.agents.ppo"),
    "ppo": Learner(Recipe, "workgym.agents.ppo"),
    "focal-ppo": Learner(FocalRecipe, "workgym.agents.focal.learner"),
    "distil": Learner(DistilRecipe, "workgym.agents.distil.learner"),
    "pathwise": Learner(PathwiseRecipe, "workgym.agents.pathwise.learner"),
    "rllib-ppo": Learner(RllibRecipe, "workgym.agents.rllib"),
    "schedule": Learner(ScheduleRecipe, "workgym.agents.schedule"),
}


def _learner(recipe: AnyRecipe) -> Any:
    return import_module(LEARNERS[recipe.algorithm].module)


def make_recipe(given: Mapping[str, Any]) -> AnyRecipe:
    """A recipe from its fields, as a preset, a TOML table or `to_dict` holds them; `algorithm` tells which.

    Raises:
        BadInput: a field is unknown, missing or outside its range.
    """
    algorithm = given.get("algorithm", ALGORITHMS[0])
    if algorithm not in LEARNERS:
        raise BadInput(did_you_mean("algorithm", str(algorithm), list(LEARNERS)))
    kind = LEARNERS[algorithm].recipe
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


AnyReport = ChunkReport | PathwiseReport | DistilReport


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


def needs(recipe: AnyRecipe) -> tuple[str, ...]:
    """Digests of the saved policies that a training begins from, as `files_digest` names them."""
    if isinstance(recipe, ScheduleRecipe):
        return needs(recipe.at(0))
    return (recipe.teacher,) if isinstance(recipe, FocalRecipe | DistilRecipe) else ()


def initial_state(recipe: AnyRecipe, inputs: Mapping[str, Mapping[str, bytes]] | None = None) -> bytes:
    """The state before the first chunk.

    Args:
        recipe: what is trained.
        inputs: files of the saved policies that the recipe `needs`, by digest.

    Raises:
        BadInput: such a policy is missing, is another one than its digest says, or does not fit.
    """
    given = inputs or {}
    for digest in needs(recipe):
        if (found := files_digest(given.get(digest, {}))) != digest:
            what = f"the policy {found[:12]} in its place" if digest in given else "no files of it"
            raise BadInput(f"expected policy {digest[:12]} to begin from, found {what}")
    state: bytes = _learner(recipe).initial_state(recipe, *(given[digest] for digest in needs(recipe)))
    return state


def train_chunk(recipe: AnyRecipe, k: int, state: bytes) -> tuple[bytes, AnyReport]:
    """Play chunk k from the state after k chunks; the next state and how it went.

    Raises:
        BadInput: the state is damaged, of another recipe, or not the one after k chunks.
    """
    after: tuple[bytes, AnyReport] = _learner(recipe).train_chunk(recipe, k, state)
    return after


def policy_from(recipe: AnyRecipe, state: bytes, name: str = "") -> dict[str, bytes]:
    """The policy in a state, as files that `workgym.agents.policy.load_policy` reads.

    Raises:
        BadInput: the state is damaged or of another recipe.
    """
    files: dict[str, bytes] = _learner(recipe).policy_from(recipe, state, name)
    return files
