"""What scheduling costs: overhead of a chunk, shards dispatched a second, two workers against one.

    python -m benchmarks.speed_scheduler

All three are ratios of two things measured in the same run, on Ray, with a registry on SQLite.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from workgym.factory.engines import Answer, Call, Engine, Resources, make_engine, perform
from workgym.factory.foreman import Foreman, Work
from workgym.factory.registry import open_registry
from workgym.factory.work import Key

MINUTE = 60.0  # seconds a chunk is meant to last
STATE = 300_000  # bytes, of a network of two layers with 64 units and its moments, generously


def spin(seconds: float, state: bytes) -> Answer:
    """Use so much processor time; the next state follows from the one before."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return hashlib.sha256(state).digest() * (len(state) // 32), {"report": {}}


def nothing(seq: int) -> Answer:
    """An evaluation shard that is over at once."""
    return None, {"rows": [seq]}


@contextmanager
def floor(engine: Engine, home: Path, name: str) -> Iterator[Foreman]:
    """A foreman with a run of his own."""
    with open_registry(home) as registry:
        run = registry.open_run(name, {}, env_id="none", env_version="1", code_version="1")
        yield Foreman(registry, run.id, engine)


def chain(foreman: Foreman, chunks: int, seconds: float) -> float:
    """Wall seconds of a training of so many chunks."""
    began, state = time.perf_counter(), bytes(STATE)
    for k in range(chunks):
        call = partial(Call, f"chunk {k}", spin, (seconds, state))
        foreman.put(Work(Key("chunk", f"{chunks} of {seconds}", k), call))
        while not foreman.idle:
            for _, done in foreman.collect():
                state = foreman.registry.artifacts.get(done.artifact or "")
    return time.perf_counter() - began


def bare(chunks: int, seconds: float) -> float:
    """Wall seconds of the same chain in a plain loop."""
    began, state = time.perf_counter(), bytes(STATE)
    for _ in range(chunks):
        state = perform(spin, (seconds, state)).artifact or b""
    return time.perf_counter() - began


def overhead(engine: Engine, home: Path, chunks: int, seconds: float) -> None:
    """How much longer a chain of chunks takes with us than in a loop."""
    with floor(engine, home, "overhead") as foreman:
        chain(foreman, 1, 0.01)  # workers are warm in both
        plain, ours = bare(chunks, seconds), chain(foreman, chunks, seconds)
    a_chunk = max(ours - plain, 0.0) / chunks
    print(f"{chunks} chunks of {seconds:.1f} s: {plain:.2f} s in a loop, {ours:.2f} s scheduled")
    print(f"overhead: {1000 * a_chunk:.0f} ms a chunk, {a_chunk / MINUTE:.2%} of a minute")


def dispatch(engine: Engine, home: Path, shards: int) -> None:
    """How many queued shards are leased, sent, done and committed in a second."""
    with floor(engine, home, "dispatch") as foreman:
        keys = [Key("shard", "benchmark", seq) for seq in range(shards)]
        foreman.put(*(Work(key, _shard(key.seq), Resources(), weight=1 / 16) for key in keys))
        began = time.perf_counter()
        while not foreman.idle:
            foreman.collect()
        taken = time.perf_counter() - began
    print(f"{shards} shards in {taken:.2f} s: {shards / taken:.0f} a second, leased, done and committed")


def _shard(seq: int) -> Callable[[], Call]:
    return partial(Call, f"shard {seq}", nothing, (seq,))


def two_workers(engine: Engine, home: Path, tasks: int, seconds: float) -> None:
    """How much faster two cores do what one does."""
    taken = {}
    with floor(engine, home, "workers") as foreman:
        for cores in (2, 1):
            needs = Resources(cpus=2 / cores)  # a task that asks for both cores runs alone
            for seq in range(tasks):
                call = partial(Call, f"task {seq}", spin, (seconds, b""), needs)
                foreman.put(Work(Key("chunk", f"{cores} workers", seq), call, needs))
            began = time.perf_counter()
            while not foreman.idle:
                foreman.collect()
            taken[cores] = time.perf_counter() - began
    print(f"{tasks} tasks of {seconds:.1f} s: {taken[1]:.1f} s with one worker, {taken[2]:.1f} s with two")
    print(f"two workers: {taken[1] / taken[2]:.2f} times one")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0, help="processor time of a chunk or a task")
    parser.add_argument("--shards", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wg-") as folder:
        home = Path(folder)
        engine = make_engine("ray", home)
        try:
            overhead(engine, home, given.chunks, given.seconds)
            dispatch(engine, home, given.shards)
            two_workers(engine, home, 2 * given.chunks, given.seconds)
        finally:
            engine.close()


if __name__ == "__main__":
    main()
