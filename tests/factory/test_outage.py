"""The registry's server dies and comes back: who drives a run waits for it, and the run is the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

import pytest
from sqlalchemy.exc import OperationalError

from benchmarks.plants import PrivatePostgres
from tests.conftest import NO_POSTGRES
from workgym.factory import drivers
from workgym.factory.chaos_plant import TINY
from workgym.factory.engines import LocalEngine
from workgym.factory.pipeline import read_pipeline
from workgym.factory.plan import plan
from workgym.factory.registry import Registry, open_registry
from workgym.factory.run import run
from workgym.factory.states import RunStatus
from workgym.factory.train import CHUNK, Progress

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

OPENED = {"env_id": "workgym/Orders-v0", "env_version": "1", "code_version": "1"}
AWAY_S = 2.0


@pytest.fixture
def server() -> Iterator[PrivatePostgres]:
    if not os.environ.get("WORKGYM_TEST_POSTGRES"):
        pytest.skip(NO_POSTGRES)
    with PrivatePostgres() as started:
        yield started


class Outage:
    """Kills a server, which comes back a little later; a context that waits until it did."""

    def __init__(self, server: PrivatePostgres) -> None:
        self._server = server
        self._pool = ThreadPoolExecutor(1)
        self._back: list[Future[None]] = []

    def __enter__(self) -> Outage:
        return self

    def __exit__(self, *_: object) -> None:
        for back in self._back:
            back.result(120)
        self._pool.shutdown()

    def strike(self) -> None:
        self._server.kill()
        self._back.append(self._pool.submit(self._recover))

    def _recover(self) -> None:
        sleep(AWAY_S)
        self._server.start()


class Saboteur:
    """Has the server killed when so many chunks are done."""

    def __init__(self, outage: Outage, after: set[int]) -> None:
        self._outage = outage
        self._after = after

    def stage(self, text: str) -> None:
        """Nothing to see."""

    def training(self, progress: list[Progress]) -> None:
        due = {n for n in self._after if n <= sum(len(one.curve) for one in progress)}
        if due:
            self._after -= due
            self._outage.strike()


def states(registry: Registry, pipeline_path: Path) -> list[list[str | None]]:
    jobs = plan(read_pipeline(pipeline_path))
    return [[one.artifact for one in registry.committed(CHUNK, job.digest)] for job in jobs]


def test_a_run_outlives_a_server_that_is_killed_and_comes_back(
    server: PrivatePostgres, tmp_path: Path
) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.replace("61_440", "24_576"))
    kept = []
    with Outage(server) as outage:
        for home, after in (("calm", set[int]()), ("stormy", {1, 5})):
            url = server.url if after else None
            with open_registry(tmp_path / home, url=url) as registry, closing(LocalEngine()) as engine:
                done = run(read_pipeline(path), registry, engine, Saboteur(outage, after))
                assert done.run.status is RunStatus.FINISHED
                assert not after
                kept.append(states(registry, path))
    calm, stormy = kept
    assert calm == stormy
    assert [len(chunks) for chunks in calm] == [4, 4]


def test_who_drives_nothing_is_told_at_once(server: PrivatePostgres, tmp_path: Path) -> None:
    with open_registry(tmp_path, url=server.url) as registry:
        server.kill()
        with pytest.raises(OperationalError):
            registry.runs()
        server.start()
        assert registry.runs() == ()


def test_who_drives_a_run_gives_up_after_a_lease(
    server: PrivatePostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "LEASE_S", 0.5)
    with open_registry(tmp_path, url=server.url) as registry:
        record = registry.open_run("orders", {}, **OPENED)
        with drivers.Pulse(registry, record.id):
            server.kill()
            began = monotonic()
            with pytest.raises(OperationalError):
                registry.heartbeat(record.id)
            assert monotonic() - began > drivers.LEASE_S
            server.start()
            registry.heartbeat(record.id)
