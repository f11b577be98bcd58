"""A deployed service under load, side by side in one run: requests, many worlds a request, resets.

    python -m benchmarks.speed_live [--rounds 5] [--postgres URL] [--openenv PYTHON] [--docker]

The server is a process of its own; client and server share this machine. Rates are wall-clock medians over
rounds that take turns; beside them stands what a CPU second of the server alone gives. With `--openenv`, an
interpreter that has OpenEnv, its WebSocket stepping of a toy inventory is one of the runners.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import psutil
from sqlalchemy import make_url

import workgym.envs  # noqa: F401  # registers the ids
from workgym.envs import conformance

LANES = 256
HALF, SETS_SQLITE, SETS_POSTGRES, OPENENV = 0.5, 40, 20, 5
RESET_MS = {"sqlite": 5, "postgres": 50}
ENVS = {"orders": "workgym/Orders-v0", "supply_chain": "workgym/SupplyChain.lost-sales-v0"}


class Rate(NamedTuple):
    """Things a second, and a second of the server's CPU."""

    wall: float
    server: float


class Server:
    """A server process."""

    def __init__(self, name: str, database: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "benchmarks.live_server", name, database, str(self.port)]
        self.process = subprocess.Popen(command)
        self.cpu = psutil.Process(self.process.pid)
        self.base_url = f"http://127.0.0.1:{self.port}"
        wait_for(self.port)

    def request(self, line: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> Any:
        headers = {"X-Actor": "bench", "Content-Type": "application/json"}
        line.request(method, path, None if body is None else json.dumps(body), headers)
        answer = line.getresponse()
        read = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {read[:200]!r}")
        return json.loads(read) if read else None

    def seconds(self) -> float:
        times = self.cpu.cpu_times()
        return float(times.user + times.system)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_for(port: int) -> None:
    until = time.monotonic() + 120
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if time.monotonic() > until:
            raise RuntimeError(f"nothing listens on port {port}")
        time.sleep(0.05)


@contextmanager
def running(name: str, database: str) -> Iterator[Server]:
    server = Server(name, database)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(20)


def timed(server: Server, n: int, run: Callable[[], None]) -> Rate:
    cpu, began = server.seconds(), time.perf_counter()
    run()
    wall, spent = time.perf_counter() - began, server.seconds() - cpu
    return Rate(n / wall, n / max(spent, 1e-2))


class Desk:
    """One HTTP decision: a clerk lets an order wait until tomorrow."""

    name = "one decision a request: POST .../hold"

    def __init__(self, server: Server) -> None:
        self.server = server
        self.line = http.client.HTTPConnection("127.0.0.1", server.port)
        self._paths = self._waiting()

    def _waiting(self) -> Iterator[tuple[str, str]]:
        world = 0
        while True:
            world += 1
            name = f"bench {time.time_ns()}"
            made = self.server.request(self.line, "POST", "/worlds", {"name": name, "seed": world})
            home = f"/worlds/{made['id']}"
            self.server.request(self.line, "POST", f"{home}/start-season")
            for order in self.server.request(self.line, "GET", f"{home}/queue"):
                yield f"{home}/orders/{order['number']}/hold", "hold"

    def run(self, n: int) -> Rate:
        paths = [next(self._paths)[0] for _ in range(n)]

        def decide() -> None:
            for path in paths:
                self.server.request(self.line, "POST", path, {})

        return timed(self.server, n, decide)


class Empty:
    """The same server, doing nothing."""

    name = "an empty handler"

    def __init__(self, server: Server) -> None:
        self.server = server
        self.line = http.client.HTTPConnection("127.0.0.1", server.port)

    def run(self, n: int) -> Rate:
        def ask() -> None:
            for _ in range(n):
                self.server.request(self.line, "POST", "/empty", {})

        return timed(self.server, n, ask)


class Lanes:
    """Random legal steps in leased worlds."""

    def __init__(self, server: Server, env_id: str, lanes: int) -> None:
        self.server, self.lanes = server, lanes
        self.name = f"{env_id}, {lanes} world{'s' if lanes > 1 else ''} a request"
        self.env = gym.make_vec(env_id, num_envs=lanes, backend="http", base_url=server.base_url)
        self.env.reset(seed=0)
        self._rng = np.random.default_rng(0)
        self.run(3 * lanes)

    def run(self, n: int) -> Rate:
        def step() -> None:
            for _ in range(max(n // self.lanes, 1)):
                self.env.step(conformance.choose_all(self.env, self._rng))  # type: ignore[arg-type]  # our vector env

        return timed(self.server, max(n // self.lanes, 1) * self.lanes, step)

    def reset_ms(self) -> float:
        began = time.perf_counter()
        self.env.reset(seed=1)
        return (time.perf_counter() - began) * 1e3


class OpenEnv:
    """OpenEnv's own server and client, over its WebSocket."""

    name = "OpenEnv, toy inventory over WebSocket"

    def __init__(self, python: str) -> None:
        self.python, self.port = python, free_port()
        script = str(Path(__file__).with_name("openenv_toy.py"))
        self._command = [python, script]
        environ = {**os.environ, "PYTHONPATH": ""}
        self.process = subprocess.Popen([*self._command, "serve", str(self.port)], env=environ)
        wait_for(self.port)

    def run(self, n: int) -> Rate:
        told = subprocess.run(
            [*self._command, "play", f"http://127.0.0.1:{self.port}", str(n)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return Rate(float(told.stdout), float("nan"))


def measure(runners: Sequence[tuple[Any, int]], rounds: int) -> dict[str, Rate]:
    """Medians over rounds in which all take turns."""
    found: dict[str, list[Rate]] = {runner.name: [] for runner, _ in runners}
    for _ in range(rounds):
        for runner, n in runners:
            found[runner.name].append(runner.run(n))
    return {
        name: Rate(statistics.median(r.wall for r in rates), statistics.median(r.server for r in rates))
        for name, rates in found.items()
    }


def compare(kind: str, service: str, database: str, options: argparse.Namespace) -> None:
    """One service on one database."""
    with running(service, database) as server:
        one, many = Lanes(server, ENVS[service], 1), Lanes(server, ENVS[service], LANES)
        runners: list[tuple[Any, int]] = [(Empty(server), 300), (one, 150), (many, 10 * LANES)]
        if service == "orders":
            runners.append((Desk(server), 150))
        toy = OpenEnv(options.openenv) if options.openenv else None
        if toy:
            runners.append((toy, 600))
        rates = measure(runners, options.rounds)
        resets = [statistics.median(lanes.reset_ms() for _ in range(9)) for lanes in (one, many)]
        for lanes in (one, many):
            lanes.env.close()
        if toy:
            toy.process.terminate()
    print(f"\n{service} on {kind}")
    for name, rate in rates.items():
        print(f"  {name:58} {rate.wall:10,.0f} /s   {rate.server:10,.0f} a CPU second of the server")
    single, batched = rates[one.name], rates[many.name]
    goal = SETS_SQLITE if kind == "sqlite" else SETS_POSTGRES
    print(f"  {LANES} worlds a request : one   {batched.wall / single.wall:6.1f} times (goal {goal})")
    if service == "orders":
        share = rates[Desk.name].server / rates[Empty.name].server
        print(f"  one decision : empty handler  {share:6.0%} by CPU (goal {HALF:.0%})")
    if options.openenv:
        ahead = batched.wall / rates[OpenEnv.name].wall
        print(f"  {LANES} worlds : OpenEnv   {ahead:6.1f} times (goal {OPENENV})")
    print(f"  reset {resets[0]:.1f} ms for one world, {resets[1] / LANES:.2f} ms a world for {LANES} "
          f"(goal {RESET_MS[kind]} ms)")  # fmt: skip


def cold_start() -> None:
    """Seconds from no container to the first step, and to the end of a second env's first step."""
    for service, env_id in ENVS.items():
        for what in ("started", "joined"):
            began = time.perf_counter()
            env = gym.make(env_id, backend="docker")
            env.reset(seed=0)
            env.step(env.action_space.sample())
            print(f"  {service}: container {what}, first step after {time.perf_counter() - began:.1f} s")
            if what == "started":
                first = env
        env.close()
        first.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--postgres", help="SQLAlchemy URL of a server with empty databases bench_orders, bench_supply_chain"
    )
    parser.add_argument("--openenv", help="an interpreter that has OpenEnv")
    parser.add_argument("--docker", action="store_true", help="time a container's cold start as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for service in ENVS:
            compare("sqlite", service, f"sqlite:///{folder}/{service}.db", options)
    if options.postgres:
        for service in ENVS:
            database = make_url(options.postgres).set(database=f"bench_{service}")
            compare("postgres", service, database.render_as_string(hide_password=False), options)
    if options.docker:
        cold_start()


if __name__ == "__main__":
    main()
