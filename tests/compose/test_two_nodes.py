"""Two nodes on a real engine: one is killed in the middle of a chunk, and no weight is another."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.images import NO_ENGINE, PREFIX, READY, ROOT, no_engine, run
from workgym.factory.chaos_plant import TINY

NAME = f"{PREFIX}-nodes"
PACKAGE = "/opt/workgym/lib/python3.11/site-packages/workgym"
PATIENCE_S = 400.0
QUICK = {  # a node is missed after seconds instead of half a minute
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


@dataclass(frozen=True)
class Cluster:
    """A head and a worker of the factory's image, with this checkout's code."""

    image: str
    shared: Path

    def node(self, name: str, *command: str) -> None:
        """Start a container of one core that runs Ray."""
        folders = ("services", "envs", "agents", "factory")
        code = [f"--volume={ROOT / folder}:{PACKAGE}/{folder}:ro" for folder in folders]
        quick = [f"--env={key}={value}" for key, value in QUICK.items()]
        run(
            *("docker", "run", "--detach", "--init", "--name", f"{NAME}-{name}", "--hostname", name),
            *("--network", NAME, "--network-alias", name, "--shm-size", "512m"),
            *(f"--volume={NAME}:/var/cache/workgym", f"--volume={self.shared}:/pipelines"),
            *(*code, *quick, "--entrypoint", "ray", self.image, "start", "--block", "--num-cpus", "1"),
            *("--object-store-memory", "100000000", *command),
        )

    def factory(self, *arguments: str) -> subprocess.Popen[str]:
        """A command in the head."""
        command = ["docker", "exec", f"{NAME}-head", "factory", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def has_committed(self, node: str) -> bool:
        """Whether a node's work is in the books of the run."""
        return any(
            name.startswith(f"{node}:") and outcome == "committed"
            for name, outcome in self.asked("wild", TRIES)
        )

    def is_frozen_at_work(self, node: str) -> bool:
        """Whether a node is frozen in the middle of a chunk now; where it is in none, it goes on.

        A chunk takes less than a second: a node that is seen at work first and killed after may have
        handed the chunk in between the two.
        """
        run("docker", "pause", f"{NAME}-{node}")
        if " chunk " in run("docker", "top", f"{NAME}-{node}", "-eo", "pid,args").stdout:
            return True
        run("docker", "unpause", f"{NAME}-{node}")
        return False

    def asked(self, home: str, query: str) -> list[tuple[str, ...]]:
        """What a registry in the head says."""
        program = f"import json, sqlite3; c = sqlite3.connect('/var/lib/workgym/{home}/registry.db'); "
        program += f'print(json.dumps(c.execute("{query}").fetchall()))'
        ended = run("docker", "exec", f"{NAME}-head", "python", "-c", program, check=False)
        return [tuple(row) for row in json.loads(ended.stdout)] if ended.returncode == 0 else []


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if no_engine():
        pytest.skip(NO_ENGINE)
    image = f"{READY or PREFIX}/factory"
    if not READY:
        run("docker", "build", "-f", "compose/Dockerfile", "--target", "factory", "-t", image, ".")
    shared = tmp_path_factory.mktemp("nodes")
    shared.chmod(0o755)
    (shared / "nodes.toml").write_text(TINY)
    cluster = Cluster(image, shared)
    run("docker", "network", "create", "--internal", NAME)
    try:
        cluster.node("head", "--head", "--port", "6379", "--include-dashboard", "false")
        cluster.node("worker", "--address", "head:6379")
        yield cluster
    finally:
        run("docker", "rm", "--force", "--volumes", f"{NAME}-head", f"{NAME}-worker", check=False)
        run("docker", "network", "rm", NAME, check=False)
        run("docker", "volume", "rm", "--force", NAME, check=False)
        if not READY:
            run("docker", "image", "rm", "--force", image, check=False)


CHUNKS = "SELECT seq, artifact FROM tasks WHERE kind = 'chunk' ORDER BY seq, artifact"
TRIES = "SELECT worker, outcome FROM attempts"


@pytest.mark.docker
@pytest.mark.slow
def test_a_run_survives_the_loss_of_a_node_with_the_same_weights(cluster: Cluster) -> None:
    calm = cluster.factory(
        "run", "/pipelines/nodes.toml", "--home", "/var/lib/workgym/calm", "--engine", "local"
    )
    told = calm.communicate(timeout=PATIENCE_S)
    assert calm.returncode == 0, told
    wild = cluster.factory(
        *(
            "run",
            "/pipelines/nodes.toml",
            "--home",
            "/var/lib/workgym/wild",
            "--address",
            "head:6379",
            "--json",
        )
    )
    deadline = time.monotonic() + PATIENCE_S
    while not (cluster.has_committed("worker") and cluster.is_frozen_at_work("worker")):
        assert time.monotonic() < deadline, "the worker node does nothing"
        assert wild.poll() is None, wild.communicate()
        time.sleep(0.1)
    run("docker", "kill", "--signal", "KILL", f"{NAME}-worker")
    out, err = wild.communicate(timeout=PATIENCE_S)
    assert wild.returncode == 0, err
    assert json.loads(out)["run"] == 1
    tries = cluster.asked("wild", TRIES)
    assert {name.partition(":")[0] for name, outcome in tries if outcome == "committed"} == {"head", "worker"}
    assert {outcome for _, outcome in tries} == {"committed", "lost"}
    chunks = cluster.asked("wild", CHUNKS)
    assert len(chunks) == 20
    assert chunks == cluster.asked("calm", CHUNKS)
