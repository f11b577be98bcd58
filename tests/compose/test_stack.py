"""The whole stack on a real engine: it comes up, works on PostgreSQL, and leaves nothing when it goes."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import workgym.envs  # noqa: F401  # registers the ids
from tests.support.images import NO_ENGINE, PREFIX, READY, ROOT, no_engine, run
from workgym.agents.baselines.players import players
from workgym.envs.conformance import _digest, choose_all

SERVICES = {"orders": "ORDERS", "supply-chain": "SUPPLY_CHAIN"}
VARIABLE = re.compile(r"\$\{(\w+)")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass(frozen=True)
class Stack:
    """A stack beside whatever else runs here."""

    secrets: Path
    name: str = PREFIX
    ports: dict[str, int] = field(
        default_factory=lambda: {name: free_port() for name in (*SERVICES.values(), "DASHBOARD")}
    )

    @property
    def environment(self) -> dict[str, str]:
        ports = {f"WORKGYM_{name}_PORT": str(port) for name, port in self.ports.items()}
        own = {"COMPOSE_PROJECT_NAME": self.name, "WORKGYM_ENV_FILE": str(self.secrets)}
        return {**ports, **own, "WORKGYM_IMAGES": READY or PREFIX}

    def does(self, *arguments: str) -> str:
        return run("compose/stack", *arguments, **self.environment).stdout

    def goes_up(self) -> str:
        return self.does("up", *(["--no-build"] if READY else []))

    def container(self, service: str) -> str:
        label = f"label=com.docker.compose.service={service}"
        return run("docker", "ps", "-q", "--filter", label, "--filter", self._ours).stdout.strip()

    def left(self, kind: str) -> list[str]:
        return run(
            "docker", kind, "ls", "-q", *(["-a"] if kind == "container" else []), "--filter", self._ours
        ).stdout.split()

    @property
    def _ours(self) -> str:
        return f"label=com.docker.compose.project={self.name}"

    def token(self) -> str:
        return re.search(r"^WORKGYM_ADMIN_TOKEN=(\S+)$", self.secrets.read_text(), re.MULTILINE)[1]

    def reached(self, port: str) -> dict[str, Any]:
        """How an env reaches one of the services."""
        transport = {"token": self.token(), "deadline_s": 120.0}
        return {"base_url": f"http://127.0.0.1:{self.ports[port]}", "transport": transport}

    def asked(self, port: str, path: str, token: str | None = None) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[port]}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, ""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if no_engine():
        pytest.skip(NO_ENGINE)
    stack = Stack(tmp_path_factory.mktemp("stack") / ".env")
    try:
        told = stack.goes_up()
        assert f"http://127.0.0.1:{stack.ports['ORDERS']}/docs" in told
        yield stack
    finally:
        stack.does("down", "--volumes")
        if not READY:
            images = [f"{PREFIX}/{name}" for name in (*SERVICES, "factory")]
            run("docker", "image", "rm", "--force", *images, check=False)


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize(("service", "port"), SERVICES.items())
def test_a_service_of_the_stack_works_on_postgresql(stack, service, port):
    assert stack.asked(port, "/worlds", stack.token()) == (200, "[]")
    assert stack.asked(port, "/worlds")[0] == 401
    tables = run(
        *("docker", "exec", stack.container("postgres"), "sh", "-c"),
        'PGPASSWORD=$POSTGRES_PASSWORD psql -h 127.0.0.1 -U workgym -tAc "SELECT tablename FROM pg_tables" '
        + service.replace("-", "_"),
    ).stdout.split()
    assert {"worlds", "leases"} <= set(tables)


@pytest.mark.docker
@pytest.mark.slow
def test_the_dashboard_of_the_stack_answers(stack):
    assert stack.asked("DASHBOARD", "/")[0] == 200


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("service", [*SERVICES, "ray-head", "ray-worker", "dashboard"])
def test_no_container_of_ours_has_rights_that_it_does_not_need(stack, service):
    found = json.loads(run("docker", "inspect", stack.container(service)).stdout)[0]
    assert found["Config"]["User"] == "workgym"
    assert found["HostConfig"]["ReadonlyRootfs"]
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert found["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true"]
    published = [one for ports in found["NetworkSettings"]["Ports"].values() for one in ports or []]
    assert {one["HostIp"] for one in published} <= {"127.0.0.1"}


@pytest.mark.docker
@pytest.mark.slow
def test_up_again_keeps_secrets_and_containers(stack):
    before = stack.secrets.read_text(), stack.left("container")
    stack.goes_up()
    assert (stack.secrets.read_text(), stack.left("container")) == before
    assert stack.secrets.stat().st_mode & 0o077 == 0


PLAYED = {"workgym/Orders-v0": "ORDERS", "workgym/SupplyChain.lost-sales-v0": "SUPPLY_CHAIN"}
LANES, STEPS = 100, 100  # ten thousand


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("env_id", PLAYED)
def test_twin_and_container_on_postgresql_agree_over_ten_thousand_steps(stack, env_id):
    remote = {"backend": "http", **stack.reached(PLAYED[env_id])}
    there, here = gym.make_vec(env_id, LANES, **remote), gym.make_vec(env_id, LANES)
    adversaries = players(env_id).adversaries
    rng = np.random.default_rng(10_000)
    try:
        assert _digest(*there.reset(seed=1)) == _digest(*here.reset(seed=1))
        for policy in adversaries:
            policy.begin(here)
        obs, mismatches = here.reset(seed=2)[0], 0
        there.reset(seed=2)
        for step in range(STEPS):
            if step < STEPS // 2:
                actions = choose_all(here, rng)
            elif step < STEPS * 3 // 4:
                actions = here.action_space.sample()  # legal or not
            else:
                actions = adversaries[step % len(adversaries)].act(obs, here.mask)
            ours, theirs = here.step(actions), there.step(actions)
            mismatches += _digest(*ours) != _digest(*theirs)
            lane = int(rng.integers(LANES))
            mismatches += here.state_hash(lane) != there.state_hash(lane)
            obs = ours[0]
        assert mismatches == 0
        assert all(here.state_hash(lane) == there.state_hash(lane) for lane in range(LANES))
    finally:
        there.close()


PIPELINE = """
name = "tiny"
env = "workgym/Orders-v0"
[env_kwargs]
backend = "{backend}"
days = 2
orders_per_day = 6.0
[suite]
per_family = 2
[training]
recipe = {{ steps = 1024, chunk_steps = 512, lanes = 8, n_steps = 64, minibatch = 256, net = [16] }}
[[variants]]
name = "small"
[gates.improvement]
"""


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["http", "docker"])
def test_a_pipeline_trains_and_judges_in_containers(stack, backend, tmp_path):
    (tmp_path / "tiny.toml").write_text(PIPELINE.format(backend=backend))
    reached = stack.reached("ORDERS")
    ended = run(
        *(
            str(Path(sys.executable).with_name("factory")),
            "run",
            str(tmp_path / "tiny.toml"),
            "--json",
            "--engine",
            "local",
        ),
        WORKGYM_HOME=str(tmp_path / "home"),
        WORKGYM_URL=reached["base_url"],
        WORKGYM_TOKEN=reached["transport"]["token"],
        WORKGYM_IMAGES=READY or PREFIX,
    )
    (judged,) = json.loads(ended.stdout)["releases"][0]["candidates"]
    assert judged["variant"] == "small/0"
    assert judged["verdicts"]


@pytest.mark.docker
@pytest.mark.slow
def test_down_leaves_volumes_and_down_with_volumes_nothing(stack):
    stack.does("down")
    assert not stack.left("container")
    assert not stack.left("network")
    assert len(stack.left("volume")) == 5
    stack.does("down", "--volumes")
    assert not stack.left("volume")
    assert not stack.secrets.exists()
    stack.secrets.write_text("WORKGYM_ADMIN_TOKEN=gone\nWORKGYM_DATABASE_PASSWORD=gone\n")


def test_every_setting_of_the_stack_is_in_the_example():
    used = set(VARIABLE.findall((ROOT / "compose" / "compose.yaml").read_text()))
    example = (ROOT / "compose" / ".env.example").read_text()
    assert used == set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))


@pytest.mark.parametrize("missing", ["WORKGYM_ADMIN_TOKEN", "WORKGYM_DATABASE_PASSWORD"])
@pytest.mark.docker
def test_without_its_secrets_nothing_starts(missing, tmp_path):
    if no_engine():
        pytest.skip(NO_ENGINE)
    secrets = tmp_path / ".env"
    others = {"WORKGYM_ADMIN_TOKEN", "WORKGYM_DATABASE_PASSWORD"} - {missing}
    secrets.write_text("".join(f"{name}=abcdefghijklmnopqrst\n" for name in others))
    ended = subprocess.run(
        ["compose/stack", "down"],
        cwd=ROOT,
        env={**os.environ, "WORKGYM_ENV_FILE": str(secrets), "COMPOSE_PROJECT_NAME": PREFIX},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert "make up" in ended.stdout + ended.stderr
