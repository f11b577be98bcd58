"""Kills in the middle of sessions: nothing acknowledged is lost, no reward is made up, every drop is told."""

from __future__ import annotations

import os

import pytest

from benchmarks.chaos import Report, Storm, weather
from benchmarks.plants import Containers, Plant, Processes
from tests.conftest import NO_POSTGRES

PATIENT, HASTY = 300.0, 6.0  # seconds
LONG = 2 * HASTY + 1  # seconds, of which the database is away for a half at least
LATE = 28  # a seed that kills when some sessions are over


def told(plant: Plant, storm: Storm) -> Report:
    with plant:
        report = weather(plant, storm)
    print(report)
    assert report.fabricated == 0
    assert report.lost == 0
    assert report.untold == 0
    assert report.whole
    assert report.honest
    assert report.actions == storm.clerks * storm.actions
    assert report.retries > 0
    return report


@pytest.fixture
def processes() -> Processes:
    if not os.environ.get("WORKGYM_TEST_POSTGRES"):
        pytest.skip(NO_POSTGRES)
    return Processes()


@pytest.mark.slow
@pytest.mark.postgres
def test_killed_processes_come_back_to_where_they_were(processes: Processes) -> None:
    report = told(processes, Storm(sessions=12, actions=40, kills=2, deadline_s=PATIENT))
    assert report.kills == {"database": 1, "service": 1}
    assert (report.finished, report.dropped) == (12, 0)


@pytest.mark.slow
@pytest.mark.postgres
def test_impatient_sessions_are_dropped_and_have_no_reward(processes: Processes) -> None:
    report = told(
        processes, Storm(sessions=12, actions=40, kills=2, deadline_s=HASTY, away_s=LONG, seed=LATE)
    )
    assert report.kills["database"] == 1
    assert report.dropped > 0
    assert report.finished + report.dropped == 12


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.parametrize("deadline_s", [PATIENT, HASTY])
def test_killed_containers_lose_nothing_and_make_nothing_up(orders_image: str, deadline_s: float) -> None:
    patient = deadline_s == PATIENT
    hasty = Storm(kills=2, deadline_s=HASTY, away_s=LONG, seed=LATE)
    storm = Storm(kills=4, deadline_s=PATIENT) if patient else hasty
    report = told(Containers(orders_image), storm)
    assert report.finished + report.dropped == report.sessions == 64
    if patient:
        assert report.kills == {"database": 2, "service": 2}
        assert report.dropped == 0
    else:
        assert report.dropped > 0
