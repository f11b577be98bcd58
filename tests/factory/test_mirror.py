"""A mirror hears every change in order and at least once, and what happens to it stops nobody."""

from __future__ import annotations

import threading
import time

import pytest

from workgym.factory.mirror import ALIAS_MOVED, announce, followed, forget, status, sync


class Listener:
    """Remembers what it heard; fails while it is told to."""

    name = "listener"

    def __init__(self, fails_at=None, error=None):
        self.heard = []
        self.fails_at = fails_at
        self.error = error or OSError("the line is dead")

    def hear(self, line):
        if line.seq == self.fails_at:
            raise self.error
        self.heard.append(line)


@pytest.fixture
def database(registry):
    return registry.database


@pytest.fixture
def write(database):
    """A function that makes so many lines."""

    def lines(count):
        with database.write() as session:
            for number in range(count):
                announce(session, "alias.moved", {"model": "orders", "n": number}, "2026-01-01T00:00:00")

    return lines


def numbers(listener):
    return [line.seq for line in listener.heard]


def test_every_line_is_heard_once_and_in_order(database, write):
    write(3)
    listener = Listener()
    assert status(database, "listener").behind == 3
    report = sync(database, listener)
    assert (report.done, report.behind, report.since, report.error) == (3, 0, None, "")
    assert numbers(listener) == [1, 2, 3]
    assert sync(database, listener).done == 0


def test_a_registry_announces_what_happens_to_a_model(desk):
    version = desk.blessed()
    desk.promote(version)
    listener = Listener()
    sync(desk.registry.database, listener)
    topics = [line.topic for line in listener.heard]
    assert topics[0] == "version.registered"
    assert topics[-1] == ALIAS_MOVED
    assert all(line.payload["version"] == version.version for line in listener.heard)
    assert listener.heard[-1].payload["alias"] == "champion"


def test_an_undone_change_is_not_heard(database, write):
    def change():
        with database.write() as session:
            announce(session, "alias.moved", {"model": "orders"}, "2026-01-01T00:00:00")
            raise RuntimeError("undone")

    with pytest.raises(RuntimeError, match="undone"):
        change()
    assert status(database, "listener").behind == 0


def test_a_failing_mirror_is_reported_and_goes_on_where_it_failed(database, write):
    write(3)
    listener = Listener(fails_at=2)
    for attempt in (1, 2):
        report = sync(database, listener)
        assert (report.behind, report.failures, report.error) == (2, attempt, "the line is dead")
    assert report.sentence == "mirror listener is 2 lines behind: the line is dead"
    listener.fails_at = None
    assert sync(database, listener).done == 2
    assert numbers(listener) == [1, 2, 3]
    assert status(database, "listener").failures == 0


def test_a_line_is_heard_again_when_the_process_dies_before_it_is_remembered(database, write):
    write(2)
    killed = Listener(fails_at=2, error=SystemExit())
    with pytest.raises(SystemExit):
        sync(database, killed)
    after = Listener()
    sync(database, after)
    assert numbers(killed) + numbers(after) == [1, 2]


def test_two_mirrors_do_not_hinder_each_other(database, write):
    write(2)
    one, other = Listener(fails_at=1), Listener()
    other.name = "other"
    sync(database, one)
    assert sync(database, other).behind == 0
    assert status(database, "listener").behind == 2


def test_only_one_process_tells_a_mirror_at_a_time(desk, write):
    write(2)
    inside = []

    class Curious(Listener):
        def hear(self, line):
            with desk.reopen() as another:
                inside.append(sync(another.database, Listener()))

    assert sync(desk.registry.database, Curious()).done == 2
    assert [(report.done, report.error) for report in inside] == [
        (0, "another process is telling it right now")
    ] * 2
    assert sync(desk.registry.database, Listener()).error == ""


def test_lines_that_are_written_meanwhile_are_heard_too(database, write):
    write(1)

    class Busy(Listener):
        def hear(self, line):
            super().hear(line)
            if line.seq == 1:
                write(1)

    assert sync(database, Busy()).done == 2


def test_an_attempt_ends_when_its_time_is_over(database, write):
    write(3)
    report = sync(database, Listener(), patience_s=0.0)
    assert (report.done, report.behind) == (1, 2)
    assert "stopped after" in report.error


def test_a_mirror_that_lost_everything_hears_everything_again(database, write):
    write(2)
    listener = Listener()
    sync(database, listener)
    forget(database, "listener")
    sync(database, listener)
    assert numbers(listener) == [1, 2, 1, 2]


def test_what_a_block_writes_is_heard_when_it_ends(database, write):
    listener, said = Listener(), []
    with followed(database, listener, said.append):
        write(2)
    assert numbers(listener) == [1, 2]
    assert said == []


def test_a_block_that_writes_nothing_does_not_disturb_a_mirror_that_is_behind(database, write):
    write(1)
    listener = Listener()
    with followed(database, listener, print):
        status(database, "listener")
    assert numbers(listener) == []


def test_a_mirror_that_hangs_is_waited_for_no_longer_than_asked(database, write):
    ended, said = threading.Event(), []

    class Hanging(Listener):
        def hear(self, line):
            ended.wait(20)

    began = time.monotonic()
    with followed(database, Hanging(), said.append, patience_s=0.2):
        write(1)
    assert time.monotonic() - began < 5
    assert said == [
        "mirror listener is 1 line behind: no answer within 0.2 seconds; `factory mirror sync` goes on"
    ]
    ended.set()
    for thread in threading.enumerate():
        if thread.name == "mirror":
            thread.join()
    assert status(database, "listener").behind == 0
