"""Trainings side by side, each a chain of pure chunks that survives any kill.

A chunk is a task under the key ("chunk", digest of the training, k), whose artifact is the state after
k + 1 chunks. Whoever continues, after a kill or tomorrow, finds what is committed and ends with the
same weights as an undisturbed training.

    trainings = Trainings(registry, foreman)
    trainings.want(job, 3)             # the first three chunks
    while trainings.busy:
        moved = trainings.collect()
    files = trainings.policy(job)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from workgym.factory.engines import Answer, Call, Resources
from workgym.factory.foreman import POLL_S, Foreman, Work
from workgym.factory.plan import Job
from workgym.factory.work import Committed, Key, WorkBook
from workgym.services.kernel import BadInput

CHUNK = "chunk"


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        job: the training.
        chunks: finished chunks.
        of: all chunks.
        attempts: tries at its chunks that were lost or failed, and one more.
        curve: one entry a chunk, the fields of `agents.training.ChunkReport` or of another learner's.
    """

    job: Job
    chunks: int
    of: int
    attempts: int
    curve: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        job: the training.
        files: the policy, name to bytes, as `agents.policy` loads it.
        progress: how it went.
        reused: whether all of it was trained already.
    """

    job: Job
    files: dict[str, bytes]
    progress: Progress
    reused: bool


def play_chunk(
    recipe: Any, k: int, state: bytes | None, inputs: Mapping[str, Mapping[str, bytes]] | None = None
) -> Answer:
    """The state after k + 1 chunks and the report of chunk k; without a state, from the beginning."""
    from workgym.agents.training import initial_state, train_chunk  # torch is heavy: only where it trains

    after, report = train_chunk(recipe, k, initial_state(recipe, inputs) if state is None else state)
    return after, {"report": asdict(report)}


@dataclass
class _Line:
    """One training on its way.

    Attributes:
        states: artifact of the state after each chunk.
        wanted: chunks that somebody wants.
        under_way: whether its next chunk is asked for.
    """

    job: Job
    states: list[str] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)
    found: int = 0
    wanted: int = 0
    under_way: bool = False

    def take(self, done: Committed) -> None:
        if done.artifact is None:
            raise BadInput(f"chunk {done.key.seq} of {self.job.name} was committed without a state")
        self.states.append(done.artifact)
        self.curve.append(done.result["report"])


class Trainings:
    """Trains jobs up to the chunks that are wanted, at most one chunk of each at a time.

    Args:
        registry: holds the chunks and their states.
        foreman: has them done.
        resources: what a chunk needs of a machine.
    """

    def __init__(self, registry: WorkBook, foreman: Foreman, resources: Resources | None = None) -> None:
        self._registry = registry
        self._foreman = foreman
        self._resources = resources or Resources()
        self._lines: dict[str, _Line] = {}

    @property
    def busy(self) -> bool:
        """Whether a wanted chunk is missing."""
        return any(line.under_way for line in self._lines.values())

    def want(self, job: Job, chunks: int | None = None) -> Progress:
        """Ask for a training's first chunks, by default for all; never fewer than before."""
        line = self._lines.get(job.digest) or self._open(job)
        line.wanted = max(line.wanted, min(chunks or job.recipe.chunks, job.recipe.chunks))
        self._go_on(line)
        return self.progress(job)

    def stop(self, job: Job) -> None:
        """Want no more of a training than is done."""
        line = self._lines[job.digest]
        line.wanted = len(line.states)
        if line.under_way:
            self._foreman.drop(job.digest)
            line.under_way = False

    def collect(self, timeout: float = POLL_S) -> list[Progress]:
        """Trainings that moved on, at the latest after so many seconds.

        Raises:
            Fenced: the run is no longer ours.
            InfrastructureFault: a chunk was lost too often; its training keeps the earlier ones.
        """
        moved = []
        for work, done in self._foreman.collect(timeout):
            line = self._lines[work.key.group]
            line.take(done)
            line.under_way = False
            self._go_on(line)
            moved.append(self.progress(line.job))
        return moved

    def progress(self, job: Job) -> Progress:
        """How far a training is."""
        line = self._lines[job.digest]
        attempts = 1 + self._registry.tries(CHUNK, job.digest)
        return Progress(job, len(line.states), job.recipe.chunks, attempts, tuple(line.curve))

    def state(self, job: Job, chunks: int | None = None) -> bytes:
        """The state after so many chunks, by default after the last that is done."""
        line = self._lines[job.digest]
        return self._registry.artifacts.get(line.states[(chunks or len(line.states)) - 1])

    def policy(self, job: Job, chunks: int | None = None) -> dict[str, bytes]:
        """The policy after so many chunks, by default after the last that is done."""
        from workgym.agents.training import policy_from

        return policy_from(job.recipe, self.state(job, chunks), job.name)

    def trained(self, job: Job) -> Trained:
        """A training whose wanted chunks are done."""
        line = self._lines[job.digest]
        return Trained(job, self.policy(job), self.progress(job), line.found == len(line.states))

    def _open(self, job: Job) -> _Line:
        line = _Line(job)
        for k, done in enumerate(self._registry.committed(CHUNK, job.digest)):
            if done.key.seq != k:
                break
            line.take(done)
        line.found = len(line.states)
        self._lines[job.digest] = line
        return line

    def _go_on(self, line: _Line) -> None:
        """Ask for the next chunk that is wanted; whoever has most before him goes first."""
        k = len(line.states)
        if line.under_way or k >= line.wanted:
            return
        line.under_way = True
        key = Key(CHUNK, line.job.digest, k)
        left = float(line.wanted - k)
        self._foreman.put(Work(key, partial(self._call, line, k), self._resources, urgency=left))

    def _call(self, line: _Line, k: int) -> Call:
        from workgym.agents.training import needs

        artifacts, recipe = self._registry.artifacts, line.job.recipe
        state = artifacts.get(line.states[k - 1]) if k else None
        inputs = None if k else {digest: artifacts.get_folder(digest) for digest in needs(recipe)}
        name = f"{line.job.name} chunk {k + 1} of {recipe.chunks}"
        return Call(name, play_chunk, (recipe, k, state, inputs), self._resources)


def train(
    trainings: Trainings, jobs: Sequence[Job], watch: Callable[[list[Progress]], None]
) -> list[Trained]:
    """Train every job to its end, side by side; `watch` is told of each step.

    Raises:
        InfrastructureFault: a chunk was lost too often; what is committed stays.
    """
    watch([trainings.want(job) for job in jobs])
    while trainings.busy:
        if trainings.collect():
            watch([trainings.progress(job) for job in jobs])
    return [trainings.trained(job) for job in jobs]
