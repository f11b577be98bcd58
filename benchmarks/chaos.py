"""Kills a service and its database in the middle of many sessions, and counts what became of them.

    python -m benchmarks.chaos [--engine docker] [--sessions 64] [--kills 6] [--deadline 90] [--seed 0]

Each session plays one season of the order desk at the server, with seeded random legal decisions, while
clerks announce deliveries and hold orders over REST, each with an idempotency key and as often as it takes.
A session one of whose calls has no answer within `--deadline` seconds is dropped: it has no reward. All
others must have been what the twin was with the same decisions, and every action of a clerk must be in the
audit log once.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from threading import Event, Lock
from typing import Any, Literal

import gymnasium as gym
import httpx
import numpy as np

import workgym.envs  # noqa: F401  # registers the ids
from benchmarks.plants import Containers, Plant, Processes, await_health
from workgym.envs.conformance import choose
from workgym.services.kernel import InfrastructureFault

ENV, ARGUMENTS = "workgym/Orders-v0", {"days": 2, "orders_per_day": 6.0}
PATIENCE_S = 180.0  # of a clerk, and of whoever opens a session
_PAUSE_S = 0.1


@dataclass(frozen=True)
class Storm:
    """What is played, and how it is disturbed.

    Attributes:
        sessions: at the same time.
        clerks: who act over REST meanwhile.
        actions: of each clerk.
        kills: database and service in turns, at moments that the seed draws.
        deadline_s: after which a session gives a call up.
        away_s: how long at most, and half of it at least, what was killed stays dead.
        seed: of decisions and moments.
    """

    sessions: int = 64
    clerks: int = 4
    actions: int = 60
    kills: int = 6
    deadline_s: float = 90.0
    away_s: float = 1.0
    seed: int = 0


@dataclass
class Report:
    """What a storm left.

    Attributes:
        sessions: that began.
        finished: that were played to their end.
        dropped: that were given up.
        decisions: that were answered.
        actions: of clerks that were acknowledged.
        kills: by what was killed.
        retries: attempts beyond the first, of sessions and clerks.
        seconds: from the first decision to the last.
        fabricated: sessions with a reward, an observation or an end that the twin does not have.
        lost: actions that were acknowledged and are not in the audit log exactly once.
        untold: answers that failed without saying whether anything was committed.
        whole: the audit logs are as they were written.
    """

    sessions: int
    finished: int = 0
    dropped: int = 0
    decisions: int = 0
    actions: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    seconds: float = 0.0
    fabricated: int = 0
    lost: int = 0
    untold: int = 0
    whole: bool = False

    @property
    def honest(self) -> bool:
        """Nothing was lost and nothing was made up."""
        counted = self.finished + self.dropped == self.sessions
        return counted and self.whole and not (self.fabricated or self.lost or self.untold)

    def __str__(self) -> str:
        told = asdict(self) | {"kills": dict(self.kills), "seconds": round(self.seconds, 1)}
        return "\n".join(f"{name:12} {value}" for name, value in told.items())


@dataclass(frozen=True)
class Step:
    """What one decision brought."""

    seen: bytes
    reward: float
    ended: bool
    cut: bool


@dataclass(frozen=True)
class Played:
    """What one session saw.

    Attributes:
        steps: in their order, the reset first.
        state: hash of the final state; none for a session that was dropped.
        attempts: requests that it made.
        calls: requests that it needed.
    """

    steps: list[Step]
    state: str | None
    attempts: int = 0
    calls: int = 0


class Progress:
    """How many decisions have been taken, so that kills come in the middle."""

    def __init__(self) -> None:
        self.done = 0
        self.over = Event()
        self._lock = Lock()

    def one(self) -> None:
        with self._lock:
            self.done += 1

    def wait_for(self, decisions: float) -> bool:
        """Whether so many were taken before all was over."""
        while self.done < decisions:
            if self.over.wait(0.01):
                return False
        return True


def play(env: Any, seed: int, progress: Progress | None = None) -> Played:
    """One season by seeded random legal decisions, as far as the server answers."""
    rng, steps, line = np.random.default_rng(seed), [], _line_of(env)
    try:
        seen, _ = env.reset(seed=seed)
        steps.append(Step(seen.tobytes(), 0.0, False, False))
        while not (steps[-1].ended or steps[-1].cut):
            seen, reward, ended, cut, _ = env.step(choose(env, rng))
            steps.append(Step(seen.tobytes(), float(reward), bool(ended), bool(cut)))
            if progress is not None:
                progress.one()
        state = env.state_hash()
    except InfrastructureFault:
        state = None
    return Played(steps, state, line.attempts if line else 0, len(steps) + 2)  # the lease, the final state


def _line_of(env: Any) -> Any:
    rooms = getattr(env.backend, "_rooms", None)
    return rooms[0].line if rooms else None


@dataclass
class Clerk:
    """Somebody who acts over REST and asks again until an answer comes.

    Attributes:
        home: path of their world.
        done: actions that were acknowledged, as the audit log tells them.
        attempts: requests that were made.
        untold: failures that did not say whether anything was committed.
    """

    client: httpx.Client
    home: str
    name: str
    done: Counter[tuple[str, ...]] = field(default_factory=Counter)
    attempts: int = 0
    untold: int = 0

    @classmethod
    def hired(cls, plant: Plant, number: int) -> Clerk:
        """With a business of their own."""
        headers = {"Authorization": f"Bearer {plant.token}"}
        client = httpx.Client(base_url=plant.base_url, headers=headers, timeout=10.0)
        made = client.post("/worlds", json={"name": f"business {number}", "seed": number}).raise_for_status()
        home = f"/worlds/{made.json()['id']}"
        client.post(f"{home}/start-season").raise_for_status()
        return cls(client, home, f"clerk {number}")

    def work(self, actions: int, progress: Progress) -> None:
        """Announce deliveries, each of another size, and hold orders, each once."""
        waiting = [order["number"] for order in self._read("/queue?limit=100")]
        shelf = self._read("/stock?limit=1")[0]
        for number in range(actions):
            if number % 2 and waiting:
                order = waiting.pop()
                self._act(number, f"/orders/{order}/hold", {}, ("hold", f"order/{order}"))
            else:
                wanted = {"centre": shelf["centre"], "sku": shelf["sku"], "units": number + 1, "eta": 1}
                self._act(number, "/deliveries", wanted, ("announce", str(number + 1)))
            progress.over.wait(_PAUSE_S)

    def _read(self, path: str) -> Any:
        return self.client.get(f"{self.home}{path}").raise_for_status().json()

    def _act(self, number: int, path: str, body: Any, told: tuple[str, ...]) -> None:
        until = time.monotonic() + PATIENCE_S
        key = {"Idempotency-Key": f"{self.name}, {number}"}
        while time.monotonic() < until:
            self.attempts += 1
            try:
                answer = self.client.post(f"{self.home}{path}", json=body, headers=key)
            except httpx.TransportError:
                time.sleep(_PAUSE_S)
                continue
            if answer.is_success:
                self.done[told] += 1
                return
            problem = answer.json()
            assert answer.status_code >= 500, f"a clerk was refused: {problem}"
            self.untold += answer.status_code != 503 or problem.get("committed") is None
            time.sleep(_PAUSE_S)
        raise AssertionError(f"{self.name} waited {PATIENCE_S:g} s in vain")

    def lost(self) -> int:
        """Acknowledged actions that the audit log does not tell exactly once, and what it tells besides."""
        told: Counter[tuple[str, ...]] = Counter()
        for line in self._read("/audit?limit=1000"):
            if line["verb"] == "announce":
                told["announce", str(line["payload"]["units"])] += 1
            elif line["verb"] == "hold":
                told["hold", line["subject"]] += 1
        return sum(abs(told[one] - self.done[one]) for one in told | self.done)


def disturb(plant: Plant, storm: Storm, decisions: int, progress: Progress) -> Counter[str]:
    """Kill the database and the service in turns; what was killed how often."""
    rng, kills = np.random.default_rng(storm.seed), Counter[str]()
    for number, at in enumerate(np.sort(rng.uniform(0.05, 0.85, storm.kills))):
        if not progress.wait_for(at * decisions):
            break
        what: Literal["database", "service"] = "database" if number % 2 == 0 else "service"
        getattr(plant, f"kill_{what}")()
        time.sleep(storm.away_s * rng.uniform(0.5, 1.0))
        getattr(plant, f"start_{what}")()
        kills[what] += 1
    return kills


def weather(plant: Plant, storm: Storm) -> Report:
    """Let everybody play and work through a storm, and compare with the twin."""
    twins = [_twin(seed) for seed in range(storm.sessions)]
    transport = {"token": plant.token, "deadline_s": storm.deadline_s, "attempt_s": min(10, storm.deadline_s)}
    where = {"backend": "http", "base_url": plant.base_url, "transport": transport}
    with ThreadPoolExecutor(storm.sessions + storm.clerks + 1) as pool:
        envs = list(pool.map(lambda _: gym.make(ENV, **ARGUMENTS, **where).unwrapped, range(storm.sessions)))
        clerks = [Clerk.hired(plant, number) for number in range(storm.clerks)]
        began, progress = time.monotonic(), Progress()
        working = [pool.submit(clerk.work, storm.actions, progress) for clerk in clerks]
        playing = [pool.submit(play, env, seed, progress) for seed, env in enumerate(envs)]
        decisions = sum(len(twin.steps) - 1 for twin in twins)
        killing = pool.submit(disturb, plant, storm, decisions, progress)
        played = [one.result() for one in playing]
        seconds = time.monotonic() - began
        progress.over.set()
        kills = killing.result()
        for one in working:
            one.result()
        await_health(plant)
        list(pool.map(lambda env: env.close(), envs))
    return _told(plant, twins, played, clerks, Report(storm.sessions, kills=kills, seconds=seconds))


def _twin(seed: int) -> Played:
    env = gym.make(ENV, **ARGUMENTS).unwrapped
    played = play(env, seed)
    env.close()
    return played


def _told(
    plant: Plant, twins: Sequence[Played], played: Sequence[Played], clerks: Sequence[Clerk], report: Report
) -> Report:
    for twin, one in zip(twins, played, strict=True):
        report.finished += one.state is not None
        report.dropped += one.state is None
        report.decisions += max(len(one.steps) - 1, 0)
        report.retries += max(one.attempts - one.calls, 0)
        same = one.steps == twin.steps[: len(one.steps)] and one.state in (None, twin.state)
        report.fabricated += not same or (one.state is not None and len(one.steps) != len(twin.steps))
    for clerk in clerks:
        report.actions += clerk.done.total()
        report.retries += clerk.attempts - clerk.done.total()
        report.lost += clerk.lost()
        report.untold += clerk.untold
        clerk.client.close()
    report.whole = plant.verify()
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one storm; 1 when something was lost or made up."""
    usual = Storm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--engine", choices=("processes", "docker"), default="processes")
    parser.add_argument("--image", default="workgym/orders", help="of the service, with --engine docker")
    for name, kind in (("sessions", int), ("kills", int), ("seed", int), ("deadline", float)):
        usually = usual.deadline_s if name == "deadline" else getattr(usual, name)
        parser.add_argument(f"--{name}", type=kind, default=usually)
    said = parser.parse_args(arguments)
    plant: Plant = Processes() if said.engine == "processes" else Containers(said.image)
    storm = Storm(said.sessions, kills=said.kills, deadline_s=said.deadline, seed=said.seed)
    with plant:
        report = weather(plant, storm)
    print(report)
    return 0 if report.honest else 1


if __name__ == "__main__":
    sys.exit(main())
