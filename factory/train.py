"""Trainings as Ray tasks, each a chain of pure chunks that survives any kill.

A training keeps its state under its content digest: `chunk-<k>.safetensors` is the state after k
chunks. Chunks are pure functions, so whoever continues (a retried task, tomorrow's run) ends with
the same weights as an undisturbed training.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from workgym.factory.plan import Job
from workgym.services.kernel import InfrastructureFault

Engine = Literal["ray", "local"]
ATTEMPTS = 4  # of one training before the run gives up: machines die, code that always dies must not loop
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        job: the training.
        chunks: finished chunks.
        of: all chunks.
        attempts: how many times a process took it up.
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
        reused: whether an earlier run had trained it already.
    """

    job: Job
    files: dict[str, bytes]
    progress: Progress
    reused: bool


class TrainingFolder:
    """Where one training keeps its chunks; every write is complete or absent."""

    def __init__(self, root: Path, job: Job) -> None:
        self.path = root / "training" / job.digest[:32]
        self.job = job

    def open(self) -> None:
        """Create the folder and note that a process took the training up."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "attempts").open("a") as file:
            file.write(f"{os.getpid()}\n")

    def last(self) -> int:
        """How many chunks are done."""
        done = [int(path.stem.split("-")[1]) for path in self.path.glob("chunk-*.safetensors")]
        return max(done, default=0)

    def read(self, k: int) -> bytes:
        """State after k chunks."""
        return (self.path / f"chunk-{k}.safetensors").read_bytes()

    def write(self, k: int, state: bytes, report: dict[str, Any]) -> None:
        """Keep the state after k chunks and drop the one before."""
        self._replace(f"report-{k}.json", json.dumps(report).encode())
        self._replace(f"chunk-{k}.safetensors", state)
        (self.path / f"chunk-{k - 1}.safetensors").unlink(missing_ok=True)

    def _replace(self, name: str, data: bytes) -> None:
        temporary = self.path / f".{name}.{os.getpid()}"
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / name)

    def pids(self) -> list[int]:
        """Processes that took the training up, oldest first."""
        path = self.path / "attempts"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def progress(self) -> Progress:
        """How far the training is."""
        done = self.last()
        reports = [self.path / f"report-{k}.json" for k in range(1, done + 1)]
        curve = tuple(json.loads(path.read_text()) for path in reports)
        return Progress(self.job, done, self.job.recipe.chunks, len(self.pids()), curve)


def work(root: Path, job: Job) -> None:
    """Train until the last chunk is kept; continues where an earlier attempt stopped."""
    from workgym.agents.training import initial_state, train_chunk  # torch is heavy: only where it trains

    folder = TrainingFolder(root, job)
    folder.open()
    k = folder.last()
    state = folder.read(k) if k else initial_state(job.recipe)
    while k < job.recipe.chunks:
        state, report = train_chunk(job.recipe, k, state)
        k += 1
        folder.write(k, state, asdict(report))


def train(
    root: Path, jobs: list[Job], engine: Engine, watch: Callable[[list[Progress]], None]
) -> list[Trained]:
    """Train every job, side by side; `watch` is told of progress a few times a second.

    Raises:
        InfrastructureFault: a training's process died `ATTEMPTS` times; its chunks are kept.
    """
    folders = [TrainingFolder(root, job) for job in jobs]
    reused = [folder.last() == folder.job.recipe.chunks for folder in folders]
    missing = [folder.job for folder, done in zip(folders, reused, strict=True) if not done]
    if missing:
        steps = _with_ray(root, missing) if engine == "ray" else _here(root, missing)
        for _ in steps:
            watch([folder.progress() for folder in folders])
    watch([folder.progress() for folder in folders])
    return [_finished(folder, done) for folder, done in zip(folders, reused, strict=True)]


def _finished(folder: TrainingFolder, reused: bool) -> Trained:
    from workgym.agents.training import policy_from

    progress = folder.progress()
    files = policy_from(folder.job.recipe, folder.read(progress.chunks), folder.job.name)
    return Trained(folder.job, files, progress, reused)


def _here(root: Path, jobs: list[Job]) -> Iterator[None]:
    for job in jobs:
        work(root, job)
        yield


def _with_ray(root: Path, jobs: list[Job]) -> Iterator[None]:
    """Ray tasks, one CPU each; yields while they run."""
    import ray

    started = _start_ray(root)
    try:
        task = ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1, retry_exceptions=False)(work)
        names = {task.options(name=job.name).remote(root, job): job.name for job in jobs}
        waiting = list(names)
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=POLL_SECONDS)
            for reference in done:
                _collect(ray, reference, names[reference])
            yield
    finally:
        if started:
            ray.shutdown()


def _collect(ray: Any, reference: Any, name: str) -> None:
    try:
        ray.get(reference)
    except ray.exceptions.WorkerCrashedError as error:
        raise InfrastructureFault(
            f"training {name} lost its process {ATTEMPTS} times; its finished chunks are kept, "
            "run the same pipeline again to continue",
            committed="no",
        ) from error


def _start_ray(root: Path) -> bool:
    """Join the cluster of RAY_ADDRESS, else start Ray here; whether we did, not a caller."""
    import ray

    if ray.is_initialized():
        return False
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Whoever started a cluster has said what it has.
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 150_000_000}
    settings = {} if os.environ.get("RAY_ADDRESS") else own
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **settings)
    return True
