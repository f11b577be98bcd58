"""Train a version again from what was recorded of it, and compare chunk by chunk.

Nothing is read from today's pipeline file and nothing is written into the registry: the recipe is the one
that the training was started with, its teachers are the stored bytes, and each state is compared by its hash
with the chunk that was committed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from workgym.agents.policy import files_digest
from workgym.factory.entries import ModelVersion
from workgym.factory.lineage import chunks_of, require_training
from workgym.factory.plan import code_digest
from workgym.factory.registry import Registry
from workgym.services.kernel import NotFound


@dataclass(frozen=True)
class Reproduced:
    """What training again came to.

    Attributes:
        chunks: how many were trained again.
        compared: how many of them had a committed state to be compared with.
        diverged: the first chunk whose state differs, counted from 1, or None.
        expected: digest of that chunk's state, or of the policy where every chunk agrees.
        found: the same, of what was trained now.
        same_code: whether the code and the libraries that train are those of then.
        code_then: their digest then.
        code_now: their digest now.
    """

    model: str
    version: int
    chunks: int
    compared: int
    diverged: int | None
    expected: str
    found: str
    same_code: bool
    code_then: str
    code_now: str

    @property
    def identical(self) -> bool:
        """Whether the same bytes came out."""
        return self.diverged is None and self.expected == self.found

    def sentence(self) -> str:
        """The outcome."""
        what = f"{self.model} version {self.version}"
        code = "the same code" if self.same_code else "other code than then"
        if self.identical:
            return f"{what} came out bit for bit, from {self.compared} equal chunks and {code}"
        if self.diverged is None:
            return f"{what}: {self.compared} chunks are equal, the policy differs, from {code}"
        return f"{what} diverges at chunk {self.diverged} of {self.chunks}, from {code}"


def reproduce(
    registry: Registry,
    model: str,
    number: int | None = None,
    watch: Callable[[int, int], None] = lambda chunk, of: None,
) -> Reproduced:
    """Train a version again.

    Args:
        registry: where it is recorded.
        model: its name.
        number: which version; by default the champion.
        watch: told of each chunk that is done, and how many there are.

    Raises:
        NotFound: there is no such version, or it was not trained here.
    """
    from workgym.agents.training import make_recipe, needs, policy_from  # torch is heavy
    from workgym.factory.train import play_chunk

    version = champion_or(registry, model, number)
    training = require_training(registry, version)
    recipe = make_recipe(training.recipe)
    committed = chunks_of(registry, version)
    inputs = {digest: registry.artifacts.get_folder(digest) for digest in needs(recipe)}
    then = registry.run(version.run_id).code_version
    state: bytes | None = None
    compared = 0
    last = max(len(committed), 1) if _stopped_early(len(committed), recipe.chunks) else recipe.chunks
    for k in range(last):
        state, _ = play_chunk(recipe, k, state, None if k else inputs)
        assert state is not None  # a chunk always has a state
        watch(k + 1, last)
        found = hashlib.sha256(state).hexdigest()
        if k < len(committed):
            compared += 1
            expected = str(committed[k].artifact)
            if expected != found:
                return _result(version, last, compared, k + 1, expected, found, then)
    assert state is not None  # every recipe has a chunk
    files = policy_from(recipe, state, f"{training.variant}/{training.seed}")
    return _result(version, last, compared, None, version.artifact_digest, files_digest(files), then)


def _stopped_early(committed: int, chunks: int) -> bool:
    """A search may have registered a training that it let go no further."""
    return 0 < committed < chunks


def _result(
    version: ModelVersion,
    chunks: int,
    compared: int,
    diverged: int | None,
    expected: str,
    found: str,
    then: str,
) -> Reproduced:
    now = code_digest()
    name = (version.name, version.version)
    return Reproduced(*name, chunks, compared, diverged, expected, found, then == now, then, now)


def champion_or(registry: Registry, model: str, number: int | None, alias: str = "champion") -> ModelVersion:
    """A version by its number, or who serves.

    Raises:
        NotFound: there is no such version, or nobody serves.
    """
    if number is not None:
        return registry.version(model, number)
    registry.list_versions(model)  # an unknown model is named as such
    serving = registry.champion(model, alias)
    if serving is None:
        raise NotFound(f"{model} has no {alias} yet; name a version, `factory show {model}` lists them")
    return serving
