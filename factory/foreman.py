"""Takes tasks, has an engine do them, and commits what comes back: bytes first, then one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from workgym.factory import crash
from workgym.factory.engines import Call, Engine, Finished, Resources
from workgym.factory.work import Broken, Busy, Committed, Done, Key, Late, Lease, WorkBook
from workgym.services.kernel import InfrastructureFault, WorkgymError

POLL_S = 0.25
ASK_AGAIN_S = 1.0  # while another run holds a task


@dataclass
class Work:
    """A task that somebody wants done.

    Attributes:
        key: what it is about.
        call: makes the call when its turn comes; the result is a pure function of the key.
        resources: what it needs of a machine.
        urgency: the largest goes first.
        weight: share of a slot that it keeps busy for long; light ones are handed out by the dozen.
        ready_at: not to be asked for before, in seconds since the epoch.
    """

    key: Key
    call: Callable[[], Call]
    resources: Resources = field(default_factory=Resources)
    urgency: float = 0.0
    weight: float = 1.0
    ready_at: float = field(default=0.0, compare=False)


class Foreman:
    """Has tasks done side by side, each once, whoever else works on them.

    Args:
        registry: leases, and takes results.
        run_id: on whose behalf.
        engine: does the calls.
    """

    def __init__(self, registry: WorkBook, run_id: int, engine: Engine) -> None:
        self.registry = registry
        self.run_id = run_id
        self.engine = engine
        self._waiting: list[Work] = []
        self._running: dict[int, tuple[Work, Lease]] = {}

    @property
    def idle(self) -> bool:
        """Whether nothing is asked of it."""
        return not self._waiting and not self._running

    def put(self, *work: Work) -> None:
        """Ask for tasks; `collect` brings their results."""
        self._waiting.extend(work)

    def drop(self, group: str) -> None:
        """Want a group no more: what waits is forgotten, what runs is stopped and given back."""
        self._waiting = [work for work in self._waiting if work.key.group != group]
        for ticket, (work, lease) in list(self._running.items()):
            if work.key.group == group:
                self.engine.cancel(ticket)
                del self._running[ticket]
                self.registry.give_back(self.run_id, lease, "nobody wants it any more")

    def collect(self, timeout: float = POLL_S) -> list[tuple[Work, Committed]]:
        """Tasks that were committed, by us or by others, at the latest after so many seconds.

        Raises:
            Fenced: the run is no longer ours.
            InfrastructureFault: a task was lost too often; everything committed is kept.
            WorkgymError: a task's own refusal, which another try would repeat.
        """
        known = self._lease()
        at_work = [work for work, _ in self._running.values()]
        self.engine.expect([work.resources for work in (*at_work, *self._waiting)])
        if known:
            timeout = 0.0
        elif not self._running and self._waiting:
            timeout = min(timeout, max(min(work.ready_at for work in self._waiting) - time.time(), 0.01))
        finished = self.engine.wait(timeout) if self._running or not known else []
        return known + self._commit(finished)

    def _lease(self) -> list[tuple[Work, Committed]]:
        """Ask for what the engine has room for; gives back what is done already."""
        now = time.time()
        slots = self.engine.slots
        queue = slots if slots > 1 else 0  # nobody waits for a chunk's commit, and others may do the rest
        room = slots + queue - sum(work.weight for work, _ in self._running.values())
        ready = _that_fit(sorted((one for one in self._waiting if one.ready_at <= now), key=_order), room)
        if not ready:
            return []
        answers = self.registry.lease(self.run_id, [work.key for work in ready])
        crash.here("task:leased")
        taken = {id(work) for work in ready}
        self._waiting = [work for work in self._waiting if id(work) not in taken]
        known = []
        for work, answer in zip(ready, answers, strict=True):
            match answer:
                case Committed():
                    known.append((work, answer))
                case Lease():
                    self._running[self.engine.submit(work.call())] = (work, answer)
                case Busy():
                    work.ready_at = min(answer.until, now + ASK_AGAIN_S)
                    self._waiting.append(work)
                case Broken():
                    raise InfrastructureFault(_given_up(self.run_id, answer), committed="no")
        return known

    def _commit(self, finished: list[Finished]) -> list[tuple[Work, Committed]]:
        """Store the bytes, then commit; what was lost goes back into the queue."""
        done: list[Done] = []
        works: list[Work] = []
        for one in finished:
            work, lease = self._running.pop(one.ticket)
            if one.output is None:
                self._lost(work, lease, one)
                continue
            made = one.output
            artifact = None if made.artifact is None else self.registry.artifacts.put_bytes(made.artifact)
            works.append(work)
            done.append(Done(lease, artifact, made.result, made.cpu_seconds, made.wall_seconds, made.worker))
        if not done:
            return []
        crash.here("task:artifact-written")
        answers = self.registry.commit(self.run_id, done)
        crash.here("task:committed")
        kept = []
        for work, answer in zip(works, answers, strict=True):
            if isinstance(answer, Late):
                self._waiting.append(work)  # whoever has it now commits it
            else:
                kept.append((work, answer))
        return kept

    def _lost(self, work: Work, lease: Lease, one: Finished) -> None:
        error = one.error
        final = isinstance(error, WorkgymError) and not isinstance(error, InfrastructureFault)
        why = one.lost or f"{type(error).__name__}: {error}"
        row = self.registry.lose(self.run_id, lease, why, final=final)
        if final and error is not None:
            raise error
        work.ready_at = row.retry_at
        self._waiting.append(work)


def _that_fit(works: list[Work], room: float) -> list[Work]:
    """The first ones that find room."""
    loads = accumulate(work.weight for work in works)
    return [work for work, load in zip(works, loads, strict=True) if load <= room]


def _order(work: Work) -> Any:
    return -work.urgency


def _given_up(run_id: int, broken: Broken) -> str:
    return (
        f"{broken.key.kind} {broken.key.seq} of {broken.key.group[:12]} failed too often, at last: "
        f"{broken.message}; see `factory logs {run_id}`, then open it again with `factory retry {run_id}`"
    )
