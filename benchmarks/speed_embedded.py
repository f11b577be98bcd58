"""The embedded backend against the very SQL that it issues, on raw `sqlite3`, side by side in one run.

    python -m benchmarks.speed_embedded [--rounds 9]

A run of decisions is played once to write down every statement with its parameters. Then rounds take
turns: ours plays the run from the same database again, raw executes the written statements and fetches
the rows. Times are CPU seconds of the thread, medians over rounds; both databases must end equal.
"""

from __future__ import annotations

import argparse
import gc
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from workgym.envs import base, orders
from workgym.envs.embedded import EmbeddedBackend
from workgym.services.storage import Statement, Transaction

STEP_GOAL, SET_GOAL = 0.25, 0.70  # share of raw speed
WORLD_GOAL_MS = 5.0  # reset, snapshot, restore of one world
PRAGMAS = ("foreign_keys = ON", "recursive_triggers = ON", "secure_delete = OFF")


class Play(NamedTuple):
    """What the lanes do in one advance."""

    mode: Any
    actions: Any
    episodes: base.Episodes


Script = list[tuple[str, str, Any]]  # what to call, SQL, parameters


class Bench:
    """One number of lanes: the run, the database that it starts from, and the statements it issues."""

    def __init__(self, lanes: int, steps: int) -> None:
        self.lanes, self.steps = lanes, steps
        self.backend = EmbeddedBackend(orders.setup_for("train"), lanes)
        self.play = list(self._drawn())
        self.image = self._connection().serialize()
        self.script = self._recorded()
        self.after = self._tables(self._connection())
        self.raw = _raw_connection()

    def _drawn(self) -> Iterator[Play]:
        """Random legal actions; a lane whose season is over begins the next one."""
        rng, zeros = np.random.default_rng(0), np.zeros(self.lanes, dtype=np.int64)
        episodes = base.Episodes(np.uint64(1), np.arange(self.lanes), zeros, zeros - 1)
        everywhere = np.full(self.lanes, base.BEGIN, dtype=np.int8)
        board = self.backend.advance(everywhere, zeros, episodes)
        start = self._connection().serialize()
        for _ in range(self.steps):
            mode = np.where(board.ended, base.BEGIN, base.ACT).astype(np.int8)
            episodes = episodes._replace(number=episodes.number + (mode == base.BEGIN))
            actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in board.mask])
            yield Play(mode, actions, episodes)
            board = self.backend.advance(mode, actions, episodes)
        self._connection().deserialize(start)

    def _connection(self) -> sqlite3.Connection:
        with self.backend.database.engine.connect() as connection:
            driver: Any = connection.connection.dbapi_connection
        return driver

    def _recorded(self) -> list[Script]:
        """The statements of each advance."""
        scripts: list[Script] = []
        for play in self.play:
            with _recording() as script:
                self.backend.advance(*play)
            scripts.append(script)
        return scripts

    @staticmethod
    def _tables(connection: sqlite3.Connection) -> dict[str, list[Any]]:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        tables = {
            name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3").fetchall() for name in names
        }
        tables["audit"] = [row[:-1] for row in tables["audit"]]  # the last column is the wall clock
        return tables

    def ours(self) -> float:
        """CPU seconds of the run by the backend."""
        self._connection().deserialize(self.image)
        seconds = _timed(self._play)
        assert self._tables(self._connection()) == self.after
        return seconds

    def _play(self) -> None:
        for play in self.play:
            self.backend.advance(*play)

    def bare(self) -> float:
        """CPU seconds of the same statements on sqlite3."""
        self.raw.deserialize(self.image)
        seconds = _timed(self._replay)
        assert self._tables(self.raw) == self.after
        return seconds

    def _replay(self) -> None:
        cursor = self.raw.cursor()
        for script in self.script:
            cursor.execute("BEGIN IMMEDIATE")
            for call, sql, values in script:
                if call == "many":
                    cursor.executemany(sql, values)
                else:
                    cursor.execute(sql, values)
                    if call == "rows":
                        cursor.fetchall()
            self.raw.commit()


def _raw_connection() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return connection


@contextmanager
def _recording() -> Iterator[Script]:
    """Write down what transactions execute."""
    script: Script = []
    honest = {name: getattr(Transaction, name) for name in ("rows", "run", "many")}

    def recorder(name: str) -> Callable[..., Any]:
        def call(tx: Transaction, statement: Statement, *values: Any) -> Any:
            parameters = [tuple(row) for row in values[0]] if name == "many" else values
            if parameters or name != "many":
                script.append((name, statement.text(tx.dialect), parameters))
            return honest[name](tx, statement, *values)

        return call

    for name in honest:
        setattr(Transaction, name, recorder(name))
    try:
        yield script
    finally:
        for name, method in honest.items():
            setattr(Transaction, name, method)


def _timed(run: Callable[[], object]) -> float:
    gc.collect()
    gc.disable()
    start = time.thread_time()
    run()
    seconds = time.thread_time() - start
    gc.enable()
    return seconds


def compare(bench: Bench, rounds: int) -> float:
    """Print both medians; our share of the raw speed."""
    ours, bare = [], []
    for _ in range(rounds):
        ours.append(bench.ours())
        bare.append(bench.bare())
    decisions = bench.lanes * bench.steps
    statements = sum(len(script) for script in bench.script) / bench.steps
    share = statistics.median(bare) / statistics.median(ours)
    spread = sorted(b / o for b, o in zip(bare, ours, strict=True))
    for name, times in (("raw sqlite3", bare), ("embedded", ours)):
        print(
            f"{bench.lanes:>5} worlds  {name:<12} {decisions / statistics.median(times):>9,.0f}/cpu-s"
            f"  {statistics.median(times) / decisions * 1e6:>8.1f} us each"
        )
    print(
        f"{'':>14}{statements:.0f} statements an advance; share of raw {share:.0%}"
        f" [{spread[0]:.0%}..{spread[-1]:.0%}]"
    )
    return share


def worlds(rounds: int) -> dict[str, float]:
    """Milliseconds to reset, snapshot and restore one world in the middle of a season of default size."""
    bench = Bench(1, 70)
    backend, lane = bench.backend, bench.play[0].episodes
    begin = np.full(1, base.BEGIN, dtype=np.int8)
    times: dict[str, list[float]] = {"reset": [], "snapshot": [], "restore": []}
    for _ in range(rounds * 5):
        bench._play()
        data = backend.state_bytes(0)
        times["snapshot"].append(_timed(partial(backend.state_bytes, 0)))
        times["restore"].append(_timed(partial(backend.load_state, 0, data)))
        times["reset"].append(_timed(partial(backend.advance, begin, np.zeros(1, dtype=np.int64), lane)))
    medians = {name: statistics.median(seconds) * 1000 for name, seconds in times.items()}
    for name, ms in medians.items():
        print(f"    1 world   {name:<12} {ms:>9.2f} ms")
    return medians


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print(f"SQLite {sqlite3.sqlite_version} in memory, one transaction an advance; random legal actions")
    step = compare(Bench(1, 400), rounds)
    whole = compare(Bench(256, 16), rounds)
    slow = {name: ms for name, ms in worlds(rounds).items() if ms > WORLD_GOAL_MS}
    if step < STEP_GOAL or whole < SET_GOAL or slow:
        print(
            f"goals missed: {STEP_GOAL:.0%} step by step, {SET_GOAL:.0%} set-wise, {WORLD_GOAL_MS} ms a world"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
