"""A run writes down what it tries, and a run that was killed is recognised."""

import os
import signal

import psutil
import pytest

from workgym.factory import runs
from workgym.factory.entries import CurvePoint
from workgym.factory.states import (
    _FOLLOWS,
    RunStatus,
    TrainingStatus,
    VersionStatus,
    may_follow,
    moved,
)
from workgym.services.kernel import BadInput, Conflict, NotFound


def curve(*steps):
    return [CurvePoint(step, step / 10, step / 1000) for step in steps]


def in_a_child(act):
    """Run `act` in a process of its own and give back how it ended."""
    if (child := os.fork()) == 0:
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def test_a_run_is_written_down_when_it_starts(desk, registry):
    run = desk.run()
    assert registry.run(run.id) == run
    assert (run.status, run.pid, run.started_at) == (
        RunStatus.RUNNING,
        os.getpid(),
        "2026-01-01T00:00:01.000000+00:00",
    )
    assert run.spec == {"env": "workgym/Orders-v0", "seeds": [1, 2]}


def test_equal_specs_have_equal_digests(desk):
    assert desk.run().spec_digest == desk.run().spec_digest


@pytest.mark.parametrize("verb", ["finish_run", "fail_run"])
def test_a_run_ends_once(desk, registry, verb):
    run = getattr(registry, verb)(desk.run().id, "as told")
    assert (run.message, run.finished_at is None) == ("as told", False)
    for again in (registry.finish_run, registry.fail_run, lambda id, _: registry.resume_run(id)):
        with pytest.raises(Conflict, match=f"run {run.id} is {run.status} and cannot become"):
            again(run.id, "again")
    assert registry.run(run.id) == run


def test_an_unknown_run_is_not_found(registry):
    with pytest.raises(NotFound, match="no run 7"):
        registry.finish_run(7)


def test_runs_are_listed_newest_first(desk, registry):
    started = [desk.run().id for _ in range(3)]
    assert [run.id for run in registry.runs()] == started[::-1]


# A killed run


def killed_run(desk):
    """A run whose process ended by SIGKILL in the middle of a training."""

    def act():
        with desk.reopen() as registry:
            desk.registry = registry
            desk.training(desk.run())
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(act) == signal.SIGKILL
    return desk.registry.runs()[0]


def test_a_killed_run_is_shown_as_abandoned_at_once_and_marked_at_the_next_opening(desk, registry):
    run = killed_run(desk)
    assert (run.status, run.finished_at) == (RunStatus.ABANDONED, None)
    with desk.reopen() as reopened:
        marked = reopened.run(run.id)
    assert (marked.status, marked.message) == (
        RunStatus.ABANDONED,
        f"process {run.pid} ended without a word",
    )
    assert marked.finished_at is not None
    assert [training.status for training in registry.trainings(run.id)] == [TrainingStatus.ABANDONED]


def test_an_abandoned_run_can_be_resumed_by_another_process(desk, registry):
    run = killed_run(desk)
    assert [dead.id for dead in registry.reap_abandoned()] == [run.id]
    resumed = registry.resume_run(run.id)
    assert (resumed.status, resumed.pid, resumed.message) == (RunStatus.RUNNING, os.getpid(), "")
    training = desk.training(resumed)
    assert (training.status, training.attempts) == (TrainingStatus.RUNNING, 2)
    assert registry.finish_run(run.id).status is RunStatus.FINISHED


def test_a_run_that_lives_is_never_abandoned(desk, registry):
    run = desk.run()
    with desk.reopen() as reopened:
        assert not reopened.reap_abandoned()
    assert registry.run(run.id) == run


def test_a_process_that_took_over_the_number_is_not_the_run(desk, registry, monkeypatch):
    run = desk.run()
    created = psutil.Process().create_time()
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: created + 60)
    assert registry.run(run.id).status is RunStatus.ABANDONED


def test_runs_of_another_host_are_left_alone(desk, registry, monkeypatch):
    killed_run(desk)
    monkeypatch.setattr(runs.socket, "gethostname", lambda: "elsewhere")
    assert not registry.reap_abandoned()
    assert registry.runs()[0].status is RunStatus.RUNNING


def test_a_run_that_ends_leaves_no_training_running(desk, registry):
    run = desk.run()
    desk.training(run)
    registry.fail_run(run.id, "out of memory")
    assert [training.status for training in registry.trainings(run.id)] == [TrainingStatus.ABANDONED]


# Trainings and their curves


def test_a_training_ends_with_its_policy(desk, registry):
    run, policy = desk.run(), desk.policy()
    training = registry.finish_training(desk.training(run).id, policy, steps=5000, cpu_seconds=1.5)
    assert registry.trainings(run.id) == (training,)
    assert (training.status, training.policy_digest, training.steps, training.cpu_seconds) == (
        TrainingStatus.FINISHED,
        policy,
        5000,
        1.5,
    )


def test_a_training_cannot_end_with_a_policy_that_is_not_stored(desk, registry):
    training = desk.training(desk.run())
    with pytest.raises(NotFound, match="no artifact"):
        registry.finish_training(training.id, "0" * 64, steps=1, cpu_seconds=1)
    assert registry.trainings(training.run_id) == (training,)


def test_a_training_that_goes_on_from_a_checkpoint_keeps_the_curve_up_to_there(desk, registry):
    run = desk.run()
    training = desk.training(run)
    registry.append_curve(training.id, curve(100, 200, 300))
    again = registry.start_training(
        run.id, "small", algorithm="MaskablePPO", seed=1, recipe={"layers": [64, 64]}, from_steps=200
    )
    assert (again.id, again.attempts, again.steps) == (training.id, 2, 200)
    registry.append_curve(training.id, curve(250))
    assert [point.steps for point in registry.curve(training.id)] == [100, 200, 250]


def test_a_finished_training_is_not_done_twice(desk, registry):
    run = desk.run()
    done = registry.finish_training(desk.training(run).id, desk.policy(), steps=1, cpu_seconds=1)
    assert desk.training(run) == done


def test_a_failed_training_may_begin_again(desk, registry):
    run = desk.run()
    failed = registry.fail_training(desk.training(run).id, "worker died")
    assert (failed.status, failed.message) == (TrainingStatus.FAILED, "worker died")
    again = desk.training(run)
    assert (again.status, again.attempts, again.message) == (TrainingStatus.RUNNING, 2, "")


def test_a_training_keeps_its_recipe(desk, registry):
    run = desk.run()
    desk.training(run)
    with pytest.raises(Conflict, match="another recipe"):
        registry.start_training(run.id, "small", algorithm="PPO", seed=1, recipe={"layers": [8]})


def test_no_training_starts_in_a_run_that_is_over(desk, registry):
    run = registry.finish_run(desk.run().id)
    with pytest.raises(Conflict, match="expected running"):
        desk.training(run)


def test_curves_grow_by_batches_and_a_repeated_batch_changes_nothing(desk, registry):
    training = desk.training(desk.run())
    for batch in (curve(100, 200), curve(300), curve(200, 300), curve(400, 400), []):
        registry.append_curve(training.id, batch)
    assert list(registry.curve(training.id)) == curve(100, 200, 300, 400)
    shown = registry.trainings(training.run_id)[0]
    assert (shown.steps, shown.cpu_seconds) == (400, 0.4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_curve_holds_finite_numbers(desk, registry, value):
    training = desk.training(desk.run())
    with pytest.raises(BadInput, match="finite"):
        registry.append_curve(training.id, [CurvePoint(1, 1.0, 0.1), CurvePoint(2, value, 0.2)])
    assert not registry.curve(training.id)


def test_a_late_point_of_a_finished_training_is_refused(desk, registry):
    training = desk.training(desk.run())
    registry.finish_training(training.id, desk.policy(), steps=1, cpu_seconds=1)
    with pytest.raises(Conflict, match="finished"):
        registry.append_curve(training.id, curve(1))


# Baselines


def test_baselines_are_listed_best_first_with_their_scorecards(desk, registry, card):
    run = desk.run()
    for name, profit in {"noop": (0, 0), "nearest": (100, 300), "cheapest": (200, 400)}.items():
        registry.record_baseline(run.id, card(name, profit=profit))
    best = registry.baselines(run.id)[0]
    assert [line.name for line in registry.baselines(run.id)] == ["cheapest", "nearest", "noop"]
    assert (best.profit_per_case, best.scenarios) == (30.0, 2)
    assert registry.scorecard(best.scorecard_digest).digest() == card("cheapest", profit=(200, 400)).digest()


def test_a_baseline_is_recorded_once_and_keeps_its_results(desk, registry, card):
    run = desk.run()
    first = registry.record_baseline(run.id, card("nearest"))
    assert registry.record_baseline(run.id, card("nearest")) == first
    with pytest.raises(Conflict, match="other results"):
        registry.record_baseline(run.id, card("nearest", profit=(1, 2)))


def test_a_baseline_without_scenarios_is_refused(desk, registry, card):
    with pytest.raises(BadInput, match="no scenario"):
        registry.record_baseline(desk.run().id, card("nearest", profit=()))


# The transition table


@pytest.mark.parametrize("kind", [RunStatus, TrainingStatus, VersionStatus])
def test_the_table_knows_every_status_and_no_other(kind):
    assert set(_FOLLOWS[kind]) == {str(status) for status in kind}
    assert all(then in _FOLLOWS[kind] for ways in _FOLLOWS[kind].values() for then in ways)


@pytest.mark.parametrize(
    ("now", "then"),
    [(now, then) for kind in (RunStatus, TrainingStatus, VersionStatus) for now in kind for then in kind],
)
def test_a_step_is_in_the_table_or_refused(now, then):
    if may_follow(now, then):
        assert moved("it", now, then) is then
    else:
        with pytest.raises(Conflict, match=f"it is {now} and cannot become {then}"):
            moved("it", now, then)
