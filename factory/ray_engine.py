"""Calls as Ray tasks, on this machine or on a cluster.

A task's arguments and output travel through Ray's object store, so workers need neither our database
nor a shared disk. `max_retries=0`: a lost worker is a lost attempt, and our database says what then.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from workgym.factory.engines import Call, Finished, Resources, perform

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_STORE_BYTES = 150_000_000
_LONGEST_TEMP = 40  # characters: Ray's sockets below it must fit into 107
_COUNT_S = 2.0  # between two counts of the cluster's cores
_SAME_START_S = 2.0
_LINGER_S = 0.02  # for more calls that end, where there are many: they are committed together
_MOST_BUNDLES = 1000  # that a cluster is asked to hold at once


class RayEngine:
    """Ray tasks; Ray is joined or started at the first call.

    Args:
        home: the workspace; remembers which processes Ray started here.
        address: of a cluster; without it RAY_ADDRESS, else Ray is started here.
    """

    def __init__(self, home: Path, address: str | None = None) -> None:
        self._home = home
        self._address = address or os.environ.get("RAY_ADDRESS") or None
        self._references: dict[Any, int] = {}
        self._tickets = 0
        self._started = False
        self._remote: Any = None
        self._slots = 1
        self._counted = 0.0
        self._expected: list[dict[str, float]] = []

    @property
    def slots(self) -> int:
        """The cluster's cores, at least one."""
        if self._remote is None:
            return max(len(os.sched_getaffinity(0)), 1)
        if time.monotonic() - self._counted > _COUNT_S:
            import ray

            cores = ray.cluster_resources().get("CPU", 0)  # type: ignore[no-untyped-call]  # Ray types it not
            self._slots = max(int(cores), 1)
            self._counted = time.monotonic()
            self._note()
        return self._slots

    def submit(self, call: Call) -> int:
        """Take a call; joins or starts Ray when it is the first."""
        self.begin()
        self._tickets += 1
        needs = call.resources
        task = self._remote.options(
            name=call.name,
            num_cpus=needs.cpus,
            memory=needs.memory_mb * 2**20 or None,
            resources=dict(needs.custom) or None,
        )
        self._references[task.remote(call.function, call.args)] = self._tickets
        return self._tickets

    def wait(self, timeout: float) -> list[Finished]:
        """Calls that came to an end; returns with the first, and with all that ended beside it."""
        if not self._references:
            time.sleep(timeout)
            return []
        import ray

        known = list(self._references)
        first, _ = ray.wait(known, num_returns=1, timeout=timeout)
        if not first:
            return []
        linger = _LINGER_S if len(known) > 2 * self._slots else 0.0
        ended, _ = ray.wait(known, num_returns=len(known), timeout=linger)
        return [_finished(self._references.pop(one), one) for one in {*first, *ended}]

    def cancel(self, ticket: int) -> None:
        """Kill a call's worker."""
        import ray

        for reference in [one for one, own in self._references.items() if own == ticket]:
            del self._references[reference]
            ray.cancel(reference, force=True)

    def expect(self, wanted: Sequence[Resources]) -> None:
        """Ask the cluster's autoscaler for room; one that was started here cannot grow."""
        bundles = [needs.bundle() for needs in wanted[:_MOST_BUNDLES]]
        if self._address is None or self._remote is None or bundles == self._expected:
            return
        from ray.autoscaler import sdk

        sdk.request_resources(bundles=bundles)
        self._expected = bundles

    def close(self) -> None:
        """Stop asking for room, stop what still runs, and stop Ray where it was started here."""
        if self._remote is None:
            return
        import ray

        for ticket in list(self._references.values()):
            self.cancel(ticket)
        self.expect([])
        if self._started:
            ray.shutdown()
            self._book.unlink(missing_ok=True)
        self._remote = None

    @property
    def _book(self) -> Path:
        return self._home / "ray-processes" / f"{os.getpid()}.json"

    def begin(self) -> None:
        """Join or start Ray, where that was not done yet."""
        if self._remote is not None:
            return
        import ray

        if not ray.is_initialized():
            reap(self._home)
            self._init(ray)
            self._started = True
        self._remote = ray.remote(max_retries=0, retry_exceptions=False)(perform)
        self._note()

    def _init(self, ray: Any) -> None:
        for name in _THREADS:
            os.environ.setdefault(name, "1")
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        settings: dict[str, Any] = {"address": self._address}
        if self._address is None:  # whoever started a cluster has said what it has
            settings = {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
            temporary = self._home / "ray"
            if len(str(temporary)) <= _LONGEST_TEMP:
                settings["_temp_dir"] = str(temporary)
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **settings)

    def _note(self) -> None:
        """Write down which processes are Ray's here, for whoever comes after a kill."""
        if not self._started or self._address is not None:
            return
        me = psutil.Process()
        known = [[one.pid, one.create_time()] for one in _alive(me.children(recursive=True))]
        self._book.parent.mkdir(parents=True, exist_ok=True)
        draft = self._book.with_suffix(".draft")
        draft.write_text(json.dumps({"driver": [me.pid, me.create_time()], "children": known}))
        draft.replace(self._book)


def _finished(ticket: int, reference: Any) -> Finished:
    import ray

    try:
        return Finished(ticket, output=ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        return Finished(ticket, error=cause if isinstance(cause, Exception) else error)
    except ray.exceptions.RayError as error:
        return Finished(ticket, lost=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def reap(home: Path) -> int:
    """End what killed schedulers of this workspace left running; how many processes.

    Only processes that such a scheduler wrote down, told apart from later ones with the same number
    by when they started.
    """
    ended = 0
    for book in (home / "ray-processes").glob("*.json"):
        with suppress(OSError, ValueError):
            noted = json.loads(book.read_text())
            if _same(noted["driver"]) is None:
                for process in filter(None, map(_same, noted["children"])):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
                        ended += 1
                book.unlink(missing_ok=True)
    return ended


def _same(noted: list[Any]) -> Any:
    """The process that was noted, or None when it is gone."""
    pid, started = noted
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _SAME_START_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _alive(processes: list[Any]) -> list[Any]:
    return [one for one in processes if one.is_running()]
