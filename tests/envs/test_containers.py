"""Containers for envs: started once, shared, and gone with their last user, however that one ends."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.support.images import PREFIX
from workgym.envs import containers
from workgym.envs.containers import Container, serving, sweep
from workgym.services.kernel import BadInput, InfrastructureFault, NotFound

USER = """
import sys, time
from workgym.envs.containers import serving
container = serving("orders", image=sys.argv[1])
print(container.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test of another process shares, sweeps or keeps alive what is started here."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def container(orders_image: str) -> Iterator[Container]:
    with serving("orders", image=orders_image) as running:
        yield running


def names() -> set[str]:
    """Of all containers that this test has started."""
    engine = docker.from_env()
    try:
        found = engine.containers.list(all=True, filters={"label": containers.SESSION}, ignore_removed=True)
        return {one.name for one in found if containers._mine(one)}
    finally:
        engine.close()


def asked(container: Container, path: str, token: str | None) -> tuple[int, object]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(container.base_url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, None


def another_user(image: str) -> subprocess.Popen[str]:
    """A process that uses a container until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", USER, image], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.docker
def test_a_container_answers_whoever_has_its_token(container):
    assert asked(container, "/worlds", container.token) == (200, [])
    assert asked(container, "/worlds", None)[0] == 401


@pytest.mark.docker
def test_a_container_can_be_reached_from_this_machine_alone(container):
    engine = docker.from_env()
    published = engine.containers.get(container.name).ports["8000/tcp"]
    engine.close()
    assert {one["HostIp"] for one in published} == {"127.0.0.1"}


@pytest.mark.docker
def test_equal_recipes_share_a_container_until_the_last_user_leaves(container, orders_image):
    with serving("orders", image=orders_image) as second:
        assert (second.name, second.base_url, second.token) == (
            container.name,
            container.base_url,
            container.token,
        )
    assert container.name in names()
    container.close()
    container.close()
    assert container.name not in names()


@pytest.mark.docker
def test_another_recipe_gets_a_container_of_its_own(container, orders_image):
    with serving("orders", image=orders_image, memory="900m") as other:
        assert other.name != container.name
    assert names() == {container.name}


@pytest.mark.docker
def test_a_container_used_by_another_process_is_neither_swept_nor_stopped(container, orders_image):
    with another_user(orders_image) as process:
        assert process.stdout.readline().strip() == container.name
        container.close()
        assert sweep() == []
        assert container.name in names()
        process.stdin.close()
        assert process.wait(60) == 0
    assert container.name not in names()


@pytest.mark.docker
def test_a_killed_client_leaves_nothing_after_a_sweep(orders_image):
    with another_user(orders_image) as process:
        name = process.stdout.readline().strip()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert name in names()
    assert sweep() == [name]
    assert name not in names()
    assert not [path for path in containers._home().iterdir() if path.is_dir()]


def _end() -> None:
    sys.exit(0)


@pytest.mark.docker
def test_a_forked_child_that_ends_takes_nothing_from_its_parent(container):
    child = multiprocessing.get_context("fork").Process(target=_end)
    child.start()
    child.join(60)
    assert sweep() == []
    assert asked(container, "/worlds", container.token)[0] == 200


@pytest.mark.docker
def test_a_container_of_another_machine_is_swept_when_its_time_is_over(orders_image, monkeypatch):
    here = containers.socket.gethostname
    monkeypatch.setattr(containers, "LIFETIME_S", 600)
    monkeypatch.setattr(containers.socket, "gethostname", lambda: "elsewhere")
    running = serving("orders", image=orders_image)
    monkeypatch.setattr(containers.socket, "gethostname", here)
    assert sweep() == []
    later = time.time() + 601  # too early for what others have started
    monkeypatch.setattr(containers.time, "time", lambda: later)
    assert sweep() == [running.name]
    running.close()


@pytest.mark.docker
def test_a_container_that_fails_says_why_and_is_removed(orders_image):
    with pytest.raises(InfrastructureFault, match="expected WORKGYM_GYM to be on or off, found 'perhaps'"):
        serving("orders", image=orders_image, settings={"WORKGYM_GYM": "perhaps"})
    assert names() == set()


@pytest.mark.docker
def test_a_container_that_is_late_is_given_up_and_removed(orders_image):
    with pytest.raises(InfrastructureFault, match=r"not healthy within 0\.2 seconds"):
        serving("orders", image=orders_image, deadline_s=0.2)
    assert names() == set()


@pytest.mark.docker
def test_a_missing_image_is_told_with_the_command_that_builds_it(orders_image):
    with pytest.raises(BadInput, match=r"docker build .* --build-arg SERVICE=supply_chain -t \S+/none \."):
        serving("supply_chain", image=f"{PREFIX}/none")


def test_an_unknown_service_is_refused():
    with pytest.raises(NotFound, match="did you mean 'orders'"):
        serving("order")


def test_without_an_engine_the_way_out_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(BadInput, match=r"found none .*backend 'embedded'"):
        serving("orders")


def test_a_lock_of_a_dead_process_counts_for_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(containers, "_home", lambda: tmp_path)
    seat = containers._Seat.taken("session")
    (seat.folder / "left-by-a-dead-one").touch()
    assert containers._used(seat.folder)
    assert os.listdir(seat.folder) == [seat.path.name]
    seat.left()
    assert not seat.folder.exists()
