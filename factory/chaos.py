"""Kills workers and schedulers of a run at every commit boundary, and compares it with an undisturbed one.

Schedulers are killed at the places of `workgym.factory.crash`, on the local engine, which starts fast;
workers in the middle of a chunk, on Ray, whose scheduler is killed from outside in the end.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from workgym.factory.chaos_plant import TINY, plant
from workgym.factory.crash import PLACES
from workgym.factory.pipeline import Pipeline, read_pipeline
from workgym.factory.registry import Registry, open_registry
from workgym.services.kernel import InfrastructureFault

POLL_S = 0.05
PATIENCE_S = 900.0  # for one scheduler
SAME_CHUNK = 2  # kills of one chunk's workers at most: four tries and the factory gives it up
EARLY = ("task:leased", "task:artifact-written", "task:committed")
_ELSEWHERE = ("WORKGYM_DATABASE", "WORKGYM_ARTIFACTS")  # a scratch workspace is all in its folder
_COMMAND = "from workgym.factory.cli import main; main()"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Kill:
    """One SIGKILL.

    Attributes:
        who: scheduler or worker.
        where: a place of `crash.PLACES`, or what the process did.
        engine: local or ray.
    """

    who: str
    where: str
    engine: str


@dataclass
class Report:
    """What was killed and what came of it.

    Attributes:
        wanted: kills that were asked for.
        kills: those that happened.
        weights: SHA-256 of each training's last state: undisturbed, and after the kills.
        chunks: how many chunks were compared.
        findings: what differs; empty when the kills changed nothing.
    """

    wanted: int
    kills: list[Kill] = field(default_factory=list)
    weights: dict[str, tuple[str, str]] = field(default_factory=dict)
    chunks: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def identical(self) -> bool:
        """Whether every kill happened and changed nothing."""
        return not self.findings and len(self.kills) == self.wanted

    def counts(self) -> dict[tuple[str, str, str], int]:
        """How often who was killed where on which engine."""
        return dict(Counter((kill.where, kill.who, kill.engine) for kill in self.kills))


def chaos(folder: Path, kills: int, pipeline: Path | None, say: Say) -> Report:
    """Run a pipeline twice, once under kills, and compare.

    Args:
        folder: empty; the two workspaces are made in it.
        kills: half of them of schedulers, the other half of workers.
        pipeline: what is run; by default a tiny one that promotes.
        say: is told what happens.
    """
    for name in _ELSEWHERE:
        os.environ.pop(name, None)
    path = pipeline or folder / "tiny.toml"
    calm, wild = folder / "undisturbed", folder / "disturbed"
    if pipeline is None:
        path.write_text(TINY)
        plant(calm, read_pipeline(path))
        shutil.copytree(calm, wild)
    say("an undisturbed run")
    _finish(_Scheduler(path, calm, "local"))
    report = Report(kills)
    _disturb(path, calm, wild, report, say)
    say("the last scheduler finishes")
    _finish(_Scheduler(path, wild, "local"))
    compare(calm, wild, read_pipeline(path), report)
    return report


def _disturb(path: Path, calm: Path, wild: Path, report: Report, say: Say) -> None:
    """Kill schedulers while there is little done, then workers, then schedulers while the end is near."""
    schedulers = report.wanted // 2
    places = list(islice(cycle(_reached(calm)), schedulers))
    if report.wanted > schedulers and len(places) > len(PLACES):
        places.pop()  # one dies with Ray, from outside
    early = [place for place in places if place in EARLY]
    for turn, place in enumerate(early):
        _kill_at(path, wild, f"{place}/{1 + turn % 2}", report, say)
    if report.wanted > schedulers:
        outside = len(places) < schedulers
        _kill_workers(path, wild, report.wanted - schedulers, outside, report, say)
    for place in (place for place in places if place not in EARLY):
        _kill_at(path, wild, place, report, say)


def _reached(calm: Path) -> list[str]:
    """The places that the pipeline comes by: not every run promotes."""
    with open_registry(calm) as registry:
        run = registry.runs()[0]
        promotes = any(line.run_id == run.id for line in registry.history(run.pipeline))
    return [place for place in PLACES if promotes or place != "alias:promoted"]


class _Scheduler:
    """`factory run` in a process of its own."""

    def __init__(self, path: Path, home: Path, engine: str, crash: str = "") -> None:
        self.engine = engine
        environ = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
        environ["WORKGYM_CRASH"] = crash
        command = [sys.executable, "-c", _COMMAND, "run", str(path), "--home", str(home)]
        self._log = (home.parent / f"{home.name}.log").open("ab")
        self.process = subprocess.Popen(
            [*command, "--engine", engine, "--json"], env=environ, stdout=self._log, stderr=self._log
        )

    def ended(self, patience: float = PATIENCE_S) -> int:
        """How it ended."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise InfrastructureFault(
                f"a scheduler did not end within {patience:.0f} s; its log is {self._log.name}"
            ) from None
        finally:
            self._log.close()

    def workers(self) -> Iterator[tuple[Any, str]]:
        """Ray's workers that are in the middle of a chunk, and which chunk."""
        for process in _children(self.process.pid):
            if chunk := _chunk_of(process):
                yield process, chunk


def _children(pid: int) -> list[Any]:
    try:
        return psutil.Process(pid).children(recursive=True)  # type: ignore[no-any-return]  # it ships no types
    except psutil.NoSuchProcess:
        return []


def _chunk_of(process: Any) -> str:
    """The chunk that a process of Ray is in the middle of, '' for none."""
    try:
        title = " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""
    return title.removeprefix("ray::") if title.startswith("ray::") and " chunk " in title else ""


def _killed_in(worker: Any, chunk: str) -> bool:
    """Kill a worker unless it has handed the chunk in since it was seen."""
    try:
        worker.suspend()
        if _chunk_of(worker) == chunk:
            worker.kill()
            return True
        worker.resume()
    except psutil.NoSuchProcess:
        pass
    return False


def _finish(scheduler: _Scheduler) -> None:
    if (code := scheduler.ended()) != 0:
        raise InfrastructureFault(f"a scheduler ended with {code}; its log is {scheduler._log.name}")


def _kill_at(path: Path, home: Path, place: str, report: Report, say: Say) -> None:
    """Start a scheduler that kills itself at a place."""
    name = place.partition("/")[0]
    code = _Scheduler(path, home, "local", place).ended()
    if code == -signal.SIGKILL:
        report.kills.append(Kill("scheduler", name, "local"))
        say(f"kill {len(report.kills)} of {report.wanted}: a scheduler at {name}")
    else:
        report.findings.append(f"no scheduler came by {name}: it ended with {code}")


def _kill_workers(path: Path, home: Path, count: int, outside: bool, report: Report, say: Say) -> None:
    """Kill workers in the middle of their chunks, then, if wanted, the scheduler."""
    scheduler = _Scheduler(path, home, "ray")
    done: Counter[str] = Counter()
    dead: set[int] = set()
    while sum(done.values()) < count and scheduler.process.poll() is None:
        for worker, chunk in scheduler.workers():
            wanted = done[chunk] < SAME_CHUNK and sum(done.values()) < count
            if wanted and worker.pid not in dead and _killed_in(worker, chunk):
                dead.add(worker.pid)
                done[chunk] += 1
                report.kills.append(Kill("worker", "in the middle of a chunk", "ray"))
                say(f"kill {len(report.kills)} of {report.wanted}: the worker of {chunk}")
        time.sleep(POLL_S)
    if sum(done.values()) < count:
        missing = count - sum(done.values())
        report.findings.append(f"the pipeline was over before {missing} more workers could be killed")
    if outside:
        while scheduler.process.poll() is None and not any(scheduler.workers()):
            time.sleep(POLL_S)
    if scheduler.process.poll() is None:
        scheduler.process.send_signal(signal.SIGKILL if outside else signal.SIGTERM)
        if outside:
            report.kills.append(Kill("scheduler", "in the middle of a chunk", "ray"))
            say(f"kill {len(report.kills)} of {report.wanted}: the scheduler of Ray")
    scheduler.ended()


def compare(calm: Path, wild: Path, pipeline: Pipeline, report: Report) -> None:
    """Write into the report whatever differs between the two workspaces."""
    with open_registry(calm) as one, open_registry(wild) as other:
        before, after = _chunks(one), _chunks(other)
        report.chunks = len(before)
        for key in sorted(before.keys() | after.keys()):
            if before.get(key) != after.get(key):
                report.findings.append(f"chunk {key[1]} of {key[0][:12]} differs")
        _compare_versions(one, other, pipeline, report)
        _compare_moves(one, other, pipeline, report)
        twice = [name for name, count in _commits(other).items() if count > 1]
        report.findings += [f"{name} was committed twice" for name in twice]


def _chunks(registry: Registry) -> dict[tuple[str, int], str | None]:
    tasks = [task for run in registry.runs() for task in registry.tasks(run.id)]
    return {(one.grp, one.seq): one.artifact for one in tasks if one.kind == "chunk"}


def _commits(registry: Registry) -> dict[str, int]:
    tries = [one for run in registry.runs() for one in registry.attempts(run.id)]
    return Counter(
        f"{one.key.kind} {one.key.seq} of {one.key.group[:12]}" for one in tries if one.outcome == "committed"
    )


def _compare_versions(one: Registry, other: Registry, pipeline: Pipeline, report: Report) -> None:
    """Trainings end with the same weights, policies are the same bytes with the same scorecards."""
    before, after = _versions(one, pipeline.name), _versions(other, pipeline.name)
    missing = _Version("none", "", "")
    for name in sorted(before.keys() | after.keys()):
        mine, its = before.get(name, missing), after.get(name, missing)
        report.weights[name] = (mine.weights, its.weights)
        for what, value in mine._asdict().items():
            if value != its._asdict()[what]:
                report.findings.append(f"the {what} of {name} differ")


class _Version(NamedTuple):
    """Digests of a training's last state, of its policy, and of the policy's results."""

    weights: str
    files: str
    results: str


def _versions(registry: Registry, model: str) -> dict[str, _Version]:
    """What the newest run made, by the training's name."""
    run = registry.runs()[0]
    return {
        f"{version.lineage['variant']}/{version.lineage['seeds'][0]}": _Version(
            registry.committed("chunk", version.lineage["training"])[-1].artifact or "",
            version.artifact_digest,
            registry.scorecard(version.scorecard_digest).digest(),
        )
        for version in registry.list_versions(model)
        if version.run_id == run.id and "training" in version.lineage
    }


def _compare_moves(one: Registry, other: Registry, pipeline: Pipeline, report: Report) -> None:
    """Every alias moved as often, and to the same policy."""
    mine, its = _moves(one, pipeline.name), _moves(other, pipeline.name)
    if mine != its:
        report.findings.append(f"the history differs: {json.dumps(mine)} undisturbed, {json.dumps(its)} here")


def _moves(registry: Registry, model: str) -> list[list[str]]:
    return [
        [line.alias, line.kind, registry.version(model, line.to_version).artifact_digest[:12]]
        for line in registry.history(model)
    ]
