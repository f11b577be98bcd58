"""Every task is committed once, by whoever holds its newest lease, whatever dies in between."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from workgym.factory import drivers, runs
from workgym.factory.artifacts import ArtifactStore
from workgym.factory.drivers import LEASE_S
from workgym.factory.registry import Registry, open_registry
from workgym.factory.runs import Fenced
from workgym.factory.states import RunStatus
from workgym.factory.work import ATTEMPTS, BACKOFF_S, Broken, Busy, Committed, Done, Key, Late, Lease
from workgym.services.kernel import Conflict

KEY = Key("chunk", "a" * 64, 0)
SPEC = {"name": "tiny"}
VERSIONS = {"env_id": "workgym/Orders-v0", "env_version": "1", "code_version": "2"}


class Standing:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Floor:
    """Schedulers on one registry, each with connections of its own, as on several machines."""

    url: str
    artifacts: ArtifactStore
    clock: Standing = field(default_factory=Standing)
    opened: list[Registry] = field(default_factory=list)

    def scheduler(self) -> Registry:
        self.opened.append(Registry(self.url, self.artifacts, self.clock))
        return self.opened[-1]

    def begun(self, name: str = "tiny") -> tuple[Registry, int]:
        registry = self.scheduler()
        return registry, registry.open_run(name, SPEC, **VERSIONS).id


@pytest.fixture
def floor(database_url: str, artifacts: ArtifactStore) -> Any:
    floor = Floor(database_url, artifacts)
    yield floor
    for registry in floor.opened:
        registry.close()


def leased(registry: Registry, run_id: int, key: Key = KEY) -> Lease:
    (answer,) = registry.lease(run_id, [key])
    assert isinstance(answer, Lease)
    return answer


def done(lease: Lease, artifact: str = "f" * 64) -> Done:
    return Done(lease, artifact, {"steps": 1}, 1.5, 2.5, "here:1")


def outcomes(registry: Registry, run_id: int) -> list[str]:
    return [attempt.outcome for attempt in registry.attempts(run_id)]


def test_a_committed_task_is_known_to_every_run(floor: Floor) -> None:
    one, first = floor.begun("one")
    other, second = floor.begun("other")
    (committed,) = one.commit(first, [done(leased(one, first))])
    assert committed == Committed(KEY, "f" * 64, {"steps": 1}, 1.5, 2.5)
    assert other.lease(second, [KEY]) == [committed]
    assert other.committed("chunk", KEY.group) == (committed,)
    assert outcomes(one, first) == ["committed"]
    assert outcomes(other, second) == []


def test_two_runs_never_hold_a_task_at_once(floor: Floor) -> None:
    one, first = floor.begun("one")
    other, second = floor.begun("other")
    lease = leased(one, first)
    (busy,) = other.lease(second, [KEY])
    assert isinstance(busy, Busy)
    assert busy.until == floor.clock().timestamp() + LEASE_S
    assert lease.token == 1


def test_a_lease_that_ran_out_is_given_to_another_and_the_first_result_comes_late(floor: Floor) -> None:
    one, first = floor.begun("one")
    other, second = floor.begun("other")
    stale = leased(one, first)
    floor.clock.tick(LEASE_S)
    fresh = leased(other, second)
    assert fresh.token > stale.token
    (late,) = one.commit(first, [done(stale, "0" * 64)])
    assert isinstance(late, Late)
    assert outcomes(one, first) == ["late"]
    (committed,) = other.commit(second, [done(fresh)])
    assert isinstance(committed, Committed)
    assert one.committed("chunk", KEY.group) == (committed,)


def test_a_late_result_that_differs_is_told(floor: Floor) -> None:
    one, first = floor.begun("one")
    other, second = floor.begun("other")
    stale = leased(one, first)
    floor.clock.tick(LEASE_S)
    other.commit(second, [done(leased(other, second))])
    one.commit(first, [done(stale, "0" * 64)])
    assert f"it gave {'0' * 64}, not {'f' * 64}" in one.attempts(first)[0].message


def test_a_heartbeat_keeps_the_run_and_its_tasks(floor: Floor) -> None:
    one, first = floor.begun("one")
    other, second = floor.begun("other")
    lease = leased(one, first)
    for _ in range(4):
        floor.clock.tick(LEASE_S / 2)
        one.heartbeat(first)
        assert isinstance(other.lease(second, [KEY])[0], Busy)
    assert isinstance(one.commit(first, [done(lease)])[0], Committed)


@pytest.mark.parametrize("final", [False, True])
def test_a_lost_task_waits_longer_each_time_and_is_given_up_in_the_end(floor: Floor, final: bool) -> None:
    registry, run = floor.begun()
    for attempt in range(1, ATTEMPTS + 1):
        lease = leased(registry, run)
        assert lease.attempt == attempt
        task = registry.lose(run, lease, "SIGKILL", final=final)
        if final:
            break
        assert task.retry_at == floor.clock().timestamp() + BACKOFF_S * 2 ** (attempt - 1)
        if attempt < ATTEMPTS:
            assert isinstance(registry.lease(run, [KEY])[0], Busy)
        floor.clock.tick(BACKOFF_S * 2**attempt)
    assert registry.lease(run, [KEY]) == [Broken(KEY, "SIGKILL")]


def test_retry_opens_what_failed(floor: Floor) -> None:
    registry, run = floor.begun()
    registry.lose(run, leased(registry, run), "BadInput", final=True)
    registry.fail_run(run, "a task failed")
    assert registry.reopen_run(run) == 1
    assert registry.drive(run).status is RunStatus.RUNNING
    assert leased(registry, run).attempt == 1


def test_a_stale_loss_changes_nothing(floor: Floor) -> None:
    one, first = floor.begun("one")
    other, second = floor.begun("other")
    stale = leased(one, first)
    floor.clock.tick(LEASE_S)
    fresh = leased(other, second)
    one.lose(first, stale, "too late")
    assert isinstance(other.commit(second, [done(fresh)])[0], Committed)


# Drivers


def test_a_run_that_lives_is_driven_by_one(floor: Floor) -> None:
    one, run = floor.begun()
    with pytest.raises(Conflict, match=f"run {run} is driven by .*, epoch 1, and its process lives"):
        floor.scheduler().open_run("tiny", SPEC, **VERSIONS)
    with pytest.raises(Conflict, match="factory cancel"):
        floor.scheduler().drive(run)
    assert [known.id for known in one.runs()] == [run]


def test_the_same_pipeline_goes_on_with_its_unfinished_run(floor: Floor) -> None:
    one, run = floor.begun()
    one.abandon_run(run, "interrupted")
    other = floor.scheduler()
    assert other.open_run("tiny", SPEC, **VERSIONS).id == run
    other.finish_run(run)
    assert one.open_run("tiny", SPEC, **VERSIONS).id == run + 1
    assert one.open_run("tiny", SPEC, **{**VERSIONS, "code_version": "3"}).id == run + 2


def test_a_process_that_is_gone_loses_its_run_and_its_tasks_at_once(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, run = floor.begun()
    stale = leased(one, run)
    monkeypatch.setattr(drivers, "process_is_gone", lambda _: True)
    other = floor.scheduler()
    other.drive(run)
    driver = other.driver(run)
    assert driver is not None
    assert driver.epoch == 2
    assert outcomes(other, run) == ["lost"]
    assert leased(other, run).attempt == 1
    with pytest.raises(Fenced, match="taken over by"):
        one.commit(run, [done(stale)])
    assert outcomes(other, run) == ["late", "running"]


def test_another_hosts_silence_is_believed_when_its_lease_ends(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, run = floor.begun()
    monkeypatch.setattr(runs.socket, "gethostname", lambda: "elsewhere")
    other = floor.scheduler()
    with pytest.raises(Conflict, match="its last word is fresh"):
        other.drive(run)
    floor.clock.tick(LEASE_S)
    assert other.drive(run).host == "elsewhere"
    with pytest.raises(Fenced):
        one.heartbeat(run)


@pytest.mark.parametrize("verb", ["heartbeat", "finish_run", "require_driving", "lease", "start_training"])
def test_whatever_a_scheduler_says_is_refused_once_its_run_is_cancelled(floor: Floor, verb: str) -> None:
    registry, run = floor.begun()
    floor.scheduler().cancel_run(run, "ann", "the wrong data")
    arguments: dict[str, tuple[Any, ...]] = {"lease": ([KEY],), "start_training": ("small",)}
    more = {"algorithm": "ppo", "seed": 1, "recipe": {}} if verb == "start_training" else {}
    with pytest.raises(Fenced, match="cancelled by ann: the wrong data"):
        getattr(registry, verb)(run, *arguments.get(verb, ()), **more)


def test_a_fenced_scheduler_registers_judges_and_promotes_nothing(floor: Floor, card: Any) -> None:
    registry, run = floor.begun()
    digest = registry.artifacts.put_folder({"policy.json": b"{}"})
    given: Any = {
        "run_id": run,
        "artifact_digest": digest,
        "scorecard": card(digest),
        "required_gates": ["g"],
    }
    version = registry.register("tiny", **given)
    floor.scheduler().cancel_run(run, "ann", "enough")
    with pytest.raises(Fenced):
        registry.register("tiny", **given)
    with pytest.raises(Fenced):
        registry.record_verdicts(version, [], generation=0)
    with pytest.raises(Fenced):
        registry.promote("tiny", 1, expected_generation=0, actor="a", reason="b", run_id=run)
    assert registry.history("tiny") == ()


def test_a_cancelled_run_can_be_resumed(floor: Floor) -> None:
    registry, run = floor.begun()
    lease = leased(registry, run)
    other = floor.scheduler()
    other.cancel_run(run, "ann", "lunch")
    assert other.drive(run).status is RunStatus.RUNNING
    assert leased(other, run).token == lease.token + 1


# All of it at once, against a simple model

KEYS = [Key("chunk", "b" * 64, seq) for seq in range(2)]
SCHEDULERS, RUNS = 3, (1, 2)


@lru_cache(maxsize=1)
def empty_database() -> bytes:
    """A migrated registry; migrating one for each example would take most of the time."""
    with TemporaryDirectory() as folder:
        Registry(f"sqlite:///{folder}/empty.db", ArtifactStore(folder)).close()
        return Path(folder, "empty.db").read_bytes()


@dataclass
class ModelRun:
    holder: int
    epoch: int = 1
    until: float = 0.0
    running: bool = True


@dataclass
class ModelTask:
    status: str = "waiting"
    token: int = 0
    bad: int = 0
    until: float = 0.0
    holder: tuple[int, int] = (0, 0)  # run and epoch


@dataclass(frozen=True)
class Held:
    scheduler: int
    run: int
    epoch: int
    key: int
    lease: Lease


class Kills(RuleBasedStateMachine):
    """Schedulers that take runs from each other, leases that run out, commits that come late."""

    held = Bundle("held")

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        file = Path(self.folder.name, "registry.db")
        file.write_bytes(empty_database())
        self.clock = Standing()
        store = ArtifactStore(self.folder.name)
        self.schedulers = [Registry(f"sqlite:///{file}", store, self.clock) for _ in range(SCHEDULERS)]
        self.runs = {
            run: ModelRun(0, until=self.now + LEASE_S)
            for run in RUNS
            if self.schedulers[0].open_run(f"run-{run}", SPEC, **VERSIONS).id == run
        }
        self.tasks = [ModelTask() for _ in KEYS]
        self.epochs = {(0, run): 1 for run in RUNS}

    def teardown(self) -> None:
        for scheduler in getattr(self, "schedulers", []):
            scheduler.close()
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @property
    def now(self) -> float:
        return self.clock.now.timestamp()

    def driving(self, scheduler: int, run: int) -> bool:
        return self.runs[run].running and self.epochs.get((scheduler, run)) == self.runs[run].epoch

    def release(self, run: int) -> None:
        for task in self.tasks:
            if task.status == "leased" and task.holder[0] == run:
                task.status, task.until = "waiting", self.now

    @rule(seconds=st.sampled_from([0.4, 5.0, LEASE_S]))
    def time_passes(self, seconds: float) -> None:
        self.clock.tick(seconds)

    @rule(scheduler=st.integers(0, SCHEDULERS - 1), run=st.sampled_from(RUNS))
    def drives(self, scheduler: int, run: int) -> None:
        known = self.runs[run]
        if known.running and known.until > self.now:
            with pytest.raises(Conflict):
                self.schedulers[scheduler].drive(run)
            return
        self.schedulers[scheduler].drive(run)
        self.runs[run] = ModelRun(scheduler, known.epoch + 1, self.now + LEASE_S)
        self.epochs[scheduler, run] = known.epoch + 1
        self.release(run)

    @rule(run=st.sampled_from(RUNS))
    def is_cancelled(self, run: int) -> None:
        if not self.runs[run].running:
            with pytest.raises(Conflict):
                self.schedulers[0].cancel_run(run, "ann", "lunch")
            return
        self.schedulers[0].cancel_run(run, "ann", "lunch")
        self.runs[run].running = False
        self.release(run)

    @rule(scheduler=st.integers(0, SCHEDULERS - 1), run=st.sampled_from(RUNS))
    def beats(self, scheduler: int, run: int) -> None:
        if (scheduler, run) not in self.epochs:
            return
        if not self.driving(scheduler, run):
            with pytest.raises(Fenced):
                self.schedulers[scheduler].heartbeat(run)
            return
        self.schedulers[scheduler].heartbeat(run)
        self.runs[run].until = self.now + LEASE_S
        for task in self.tasks:
            if task.status == "leased" and task.holder == (run, self.runs[run].epoch):
                task.until = self.now + LEASE_S

    @rule(
        target=held,
        scheduler=st.integers(0, SCHEDULERS - 1),
        run=st.sampled_from(RUNS),
        key=st.integers(0, len(KEYS) - 1),
    )
    def leases(self, scheduler: int, run: int, key: int) -> Any:
        if (scheduler, run) not in self.epochs:
            return multiple()
        if not self.driving(scheduler, run):
            with pytest.raises(Fenced):
                self.schedulers[scheduler].lease(run, [KEYS[key]])
            return multiple()
        (answer,) = self.schedulers[scheduler].lease(run, [KEYS[key]])
        task = self.tasks[key]
        if task.status == "committed":
            assert isinstance(answer, Committed)
        elif task.status == "failed":
            assert isinstance(answer, Broken)
        elif task.until > self.now:
            assert isinstance(answer, Busy)
        else:
            assert isinstance(answer, Lease)
            assert (answer.token, answer.attempt) == (task.token + 1, task.bad + 1)
            self.tasks[key] = ModelTask(
                "leased", task.token + 1, task.bad, self.now + LEASE_S, (run, self.runs[run].epoch)
            )
            return Held(scheduler, run, self.runs[run].epoch, key, answer)
        return multiple()

    @rule(one=held)
    def commits(self, one: Held) -> None:
        scheduler, task = self.schedulers[one.scheduler], self.tasks[one.key]
        artifact = f"{one.lease.token:064x}"
        if not self.driving(one.scheduler, one.run):
            with pytest.raises(Fenced):
                scheduler.commit(one.run, [done(one.lease, artifact)])
            return
        (answer,) = scheduler.commit(one.run, [done(one.lease, artifact)])
        if task.status in ("leased", "committed") and task.token == one.lease.token:
            assert isinstance(answer, Committed)
            task.status = "committed"
        else:
            assert isinstance(answer, Late)

    @rule(one=held)
    def loses(self, one: Held) -> None:
        scheduler, task = self.schedulers[one.scheduler], self.tasks[one.key]
        if not self.driving(one.scheduler, one.run):
            with pytest.raises(Fenced):
                scheduler.lose(one.run, one.lease, "SIGKILL")
            return
        scheduler.lose(one.run, one.lease, "SIGKILL")
        if task.status == "leased" and task.token == one.lease.token:
            task.bad += 1
            task.status = "failed" if task.bad >= ATTEMPTS else "waiting"
            task.until = self.now + BACKOFF_S * 2 ** (task.bad - 1)

    @invariant()
    def the_registry_agrees(self) -> None:
        if not hasattr(self, "tasks"):
            return
        found = {}
        tries = [attempt for run in RUNS for attempt in self.schedulers[0].attempts(run)]
        for run in RUNS:
            found |= {task.seq: task for task in self.schedulers[0].tasks(run)}
        for key, task in enumerate(self.tasks):
            own = [attempt.outcome for attempt in tries if attempt.key == KEYS[key]]
            assert len(own) == task.token
            assert own.count("committed") == (task.status == "committed")
            assert own.count("running") == (task.status == "leased")
            if task.token:
                assert (found[key].status, found[key].token) == (task.status, task.token)


Kills.TestCase.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
test_no_order_of_kills_commits_a_task_twice = Kills.TestCase


# Elsewhere: rows and bytes where many machines reach them


def test_a_workspace_may_keep_its_rows_and_bytes_elsewhere(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKGYM_DATABASE", database_url)
    monkeypatch.setenv("WORKGYM_ARTIFACTS", f"memory://{tmp_path.name}")
    with open_registry(tmp_path / "here") as one:
        run = one.open_run("tiny", SPEC, **VERSIONS).id
        digest = one.artifacts.put_bytes(b"state")
        one.commit(run, [done(leased(one, run), digest)])
    with open_registry(tmp_path / "there") as other:
        assert [known.artifact for known in other.committed("chunk", KEY.group)] == [digest]
        assert other.artifacts.get(digest) == b"state"
    assert list((tmp_path / "here").iterdir()) == []
