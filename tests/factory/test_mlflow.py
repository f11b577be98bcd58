"""MLflow says what the registry says, and its own unmodified client loads the champion."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests
from typer.testing import CliRunner

from workgym.agents.mlp import random_policy
from workgym.factory.cli import app
from workgym.factory.mirror import forget, status, sync
from workgym.factory.mlflow_mirror import NAME, SETTING, MlflowMirror, connect

pytest.importorskip("mlflow", reason="needs MLflow's client; pip install 'workgym[mlflow]'")
CLIENT = Path(__file__).parents[1] / "support" / "mlflow_client.py"
NO_CLIENT = (
    "set WORKGYM_MLFLOW_PYTHON to the interpreter of a virtual environment that has all of MLflow: "
    "python -m venv mf && mf/bin/pip install mlflow onnxruntime && "
    "export WORKGYM_MLFLOW_PYTHON=$PWD/mf/bin/python"
)
FEATURES, ACTIONS = 12, 5


@pytest.fixture
def database_url(tmp_path):
    return f"sqlite:///{tmp_path}/registry.db"


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A migrated database of MLflow without anything in it; making one takes seconds."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    connect(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def uri(empty, tmp_path):
    shutil.copy(empty, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def client(uri):
    return connect(uri)


@pytest.fixture
def mirror(registry, client):
    return MlflowMirror(registry, lambda: client)


def policy(seed=1):
    return random_policy("small", "workgym/Orders-v0", "v", [FEATURES, 16, ACTIONS], seed=seed)


def champion(desk, seed=1):
    """Promote a new policy."""
    version = desk.judge(desk.candidate(digest=desk.registry.artifacts.put_folder(policy(seed).save())))
    desk.promote(version)
    return version


def tell(desk, mirror):
    report = sync(desk.registry.database, mirror)
    assert report.behind == 0, report.error
    return report


def serving(client, alias="champion", model="orders"):
    """Our number of the version that MLflow shows."""
    return int(client.get_model_version_by_alias(model, alias).tags["workgym.version"])


def test_a_version_is_shown_with_its_tags_and_numbers(desk, mirror, client):
    version = champion(desk)
    tell(desk, mirror)
    there = client.get_model_version_by_alias("orders", "champion")
    ledger = there.tags.pop("workgym.ledger")
    assert there.tags == {
        "workgym.version": "1",
        "workgym.artifact": version.artifact_digest,
        "workgym.env": version.env_id,
        "workgym.env_version": version.env_version,
        "workgym.suite": version.suite_digest,
        "workgym.status": "blessed",
        "gate.beats-champion": "pass",
    }
    assert len(ledger) == 64
    run = client.get_run(there.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["profit_per_case"] == 20.0
    assert run.data.metrics["family.normal.profit_per_case"] == 20.0
    assert run.data.metrics["gate.beats-champion.low"] == 0.25
    assert run.data.params["env_version"] == version.env_version


def test_aliases_follow_promotions_and_rollbacks(desk, mirror, client):
    for seed in (1, 2, 3):
        champion(desk, seed)
        tell(desk, mirror)
        assert serving(client) == seed
    desk.rollback()
    tell(desk, mirror)
    assert serving(client) == 2
    desk.rollback()
    tell(desk, mirror)
    assert serving(client) == 1


def test_a_mirror_that_was_away_ends_where_the_registry_stands(desk, mirror, client):
    for seed in (1, 2):
        champion(desk, seed)
    desk.rollback()
    tell(desk, mirror)
    assert serving(client) == 1
    assert len(client.search_model_versions("name = 'orders'")) == 2


def test_the_same_bytes_of_another_run_are_another_version(desk, mirror, client):
    digest = desk.registry.artifacts.put_folder(policy().save())
    for _ in range(2):
        desk.candidate(digest=digest)
    tell(desk, mirror)
    shown = client.search_model_versions("name = 'orders'")
    assert sorted(one.tags["workgym.version"] for one in shown) == ["1", "2"]
    assert len({one.run_id for one in shown}) == 2


def test_a_later_verdict_changes_the_tag(desk, mirror, client):
    version = desk.candidate(digest=desk.registry.artifacts.put_folder(policy().save()))
    tell(desk, mirror)
    desk.judge(version, "fail")
    tell(desk, mirror)
    (there,) = client.search_model_versions("name = 'orders'")
    assert (there.tags["gate.beats-champion"], there.tags["workgym.status"]) == ("fail", "rejected")


def test_a_policy_without_an_onnx_form_is_shown_as_its_files(desk, mirror, client, tmp_path):
    from workgym.agents.pathwise.policy import HEADER, KIND
    from workgym.agents.policy import KINDS

    files = quantity_files()
    assert KIND in KINDS
    desk.candidate(digest=desk.registry.artifacts.put_folder(files))
    tell(desk, mirror)
    (there,) = client.search_model_versions("name = 'orders'")
    folder = Path(client.download_artifacts(there.run_id, "model", str(tmp_path)))
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [
        f"policy/{HEADER}",
        "policy/policy.safetensors",
    ]
    assert (folder / "policy" / HEADER).read_bytes() == files[HEADER]


def quantity_files():
    from tests.agents.pathwise.test_policy import network
    from workgym.agents.pathwise.policy import QuantityPolicy

    return QuantityPolicy("p", "workgym/Orders-v0", "v", "rows", network(32, 2)).save()


def test_tampered_bytes_are_not_passed_on(desk, mirror, client):
    version = candidate(desk)
    weights = next(iter(json.loads(desk.registry.artifacts.get(version.artifact_digest)).values()))
    file = Path(desk.registry.artifacts.path(weights))
    file.chmod(0o644)
    file.write_bytes(b"not what was trained")
    report = sync(desk.registry.database, mirror)
    assert report.behind == 1
    assert "was changed after it was written" in report.error
    assert client.search_model_versions("name = 'orders'") == []


def test_a_mlflow_that_lost_everything_gets_it_back(desk, mirror, client):
    for seed in (1, 2):
        champion(desk, seed)
    tell(desk, mirror)
    client.delete_registered_model("orders")
    forget(desk.registry.database, NAME)
    tell(desk, mirror)
    assert serving(client) == 2
    assert len(client.search_model_versions("name = 'orders'")) == 2


def test_an_alias_that_mlflow_keeps_for_itself_is_a_tag_of_the_model(desk, mirror, client):
    desk.promote(desk.judge(candidate(desk), alias="latest"), alias="latest")
    tell(desk, mirror)
    assert client.get_registered_model("orders").tags["workgym.alias.latest"] == "1"
    assert client.get_registered_model("orders").aliases == {}


def candidate(desk, seed=1):
    return desk.candidate(digest=desk.registry.artifacts.put_folder(policy(seed).save()))


class Killed(BaseException):
    """The process ends here."""


class Mortal:
    """A client whose process is killed before its n-th call."""

    def __init__(self, client, calls):
        self._client, self._calls = client, calls

    def __getattr__(self, name):
        found = getattr(self._client, name)
        if not callable(found):
            return found
        if self._calls == 0:
            raise Killed(name)
        self._calls -= 1
        return found


@pytest.mark.slow
def test_killed_before_every_call_and_repeated_nothing_is_made_twice(desk, client):
    """Each attempt gets one call further into its line than the attempt before."""
    for seed in (1, 2):
        champion(desk, seed)
    database, kills, calls = desk.registry.database, 0, 0
    while behind := status(database, NAME).behind:
        mirror = MlflowMirror(desk.registry, lambda n=calls: Mortal(client, n))
        try:
            assert sync(database, mirror).error == ""
        except Killed:
            kills += 1
        calls = calls + 1 if status(database, NAME).behind == behind else 0
    assert kills > 20
    shown = client.search_model_versions("name = 'orders'")
    assert sorted(one.tags["workgym.version"] for one in shown) == ["1", "2"]
    assert len(client.search_runs([client.get_experiment_by_name("workgym").experiment_id])) == 2
    assert serving(client) == 2


@pytest.mark.parametrize("there", ["http://127.0.0.1:1", "sqlite:////dev/null/mlflow.db"])
def test_a_mirror_that_is_down_stops_no_command(desk, tmp_path, monkeypatch, there):
    version = desk.judge(candidate(desk))
    monkeypatch.setenv(SETTING, there)
    done = CliRunner().invoke(app, ["promote", "orders", str(version.version), "--home", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "now serves as champion" in done.stdout
    assert "mirror mlflow is 3 lines behind" in " ".join(done.stderr.split())
    report = json.loads(
        CliRunner().invoke(app, ["mirror", "status", "--json", "--home", str(tmp_path)]).stdout
    )
    assert (report["behind"], report["failures"]) == (3, 1)
    assert report["error"]


def test_a_promotion_is_shown_at_once(desk, tmp_path, monkeypatch, uri, client):
    version = desk.judge(candidate(desk))
    monkeypatch.setenv(SETTING, uri)
    arguments = ["promote", "orders", str(version.version), "--home", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert json.loads(done.stdout)["to_version"] == 1
    assert serving(client) == 1


@pytest.mark.slow
def test_a_watching_mirror_follows_until_it_is_interrupted(desk, client, uri, tmp_path):
    def shown():
        found = client.search_registered_models("name = 'orders'")
        return serving(client) if found and "champion" in found[0].aliases else None

    command = [str(Path(sys.executable).with_name("factory")), "mirror", "sync", "--watch", "--every", "0.1"]
    environ = {**os.environ, SETTING: uri, "WORKGYM_HOME": str(tmp_path)}
    watching = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
    try:
        for seed in (1, 2):
            champion(desk, seed)
            until(shown, seed)
        until(lambda: status(desk.registry.database, NAME).behind, 0)
        watching.send_signal(signal.SIGINT)
        said = watching.communicate(timeout=60)[1]
    finally:
        watching.kill()
        watching.wait()
    assert watching.returncode == 130
    assert "mirror mlflow is up to date" in said


def until(shown, expected, seconds=240):
    end = time.monotonic() + seconds
    while shown() != expected:
        assert time.monotonic() < end, f"{shown()}, expected {expected}"
        time.sleep(0.1)


# With all of MLflow, in an environment of its own


@pytest.fixture(scope="module")
def python():
    found = os.environ.get("WORKGYM_MLFLOW_PYTHON")
    if not found:
        pytest.skip(NO_CLIENT)
    return found


def ran(python, *arguments):
    done = subprocess.run([python, str(CLIENT), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


class Server:
    """`mlflow server`; stopped and started again it is where it was."""

    def __init__(self, python, folder):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._command = [python, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
        self._command += ["--host", "127.0.0.1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
        self._command += ["--artifacts-destination", f"{folder}/artifacts"]
        self._log = folder / "log"

    def start(self):
        environ = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command, env=environ, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + 120
        while not self._answers():
            assert time.monotonic() < until, self._log.read_text()[-2000:]
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            time.sleep(0.2)

    def _answers(self):
        try:
            return requests.get(f"{self.url}/health", timeout=1).ok
        except requests.RequestException:
            return False

    def stop(self):
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def alias(self, model, alias):
        """What anybody with an HTTP client sees."""
        there = f"{self.url}/api/2.0/mlflow/registered-models/alias"
        answer = requests.get(there, params={"name": model, "alias": alias}, timeout=10)
        assert answer.ok, answer.text
        return answer.json()["model_version"]


@pytest.fixture(scope="module")
def server(python, empty, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty, folder / "mlflow.db")
    server = Server(python, folder)
    server.start()
    yield server
    server.stop()


def assert_the_champion_decides_as_ours(python, tracking, ours, folder):
    rng = np.random.default_rng(7)
    obs = rng.normal(size=(1000, FEATURES)).astype(np.float32)
    mask = rng.random((1000, ACTIONS)) < 0.6
    mask[:, 0] |= ~mask.any(axis=1)
    np.savez(folder / "seen.npz", obs=obs, mask=mask)
    there = ran(python, "decide", tracking, "models:/orders@champion", str(folder / "seen.npz"))
    assert there["action"] == ours.act(obs, mask).tolist()
    assert [tensor["name"] for tensor in there["inputs"]] == ["obs", "mask"]
    assert [tensor["name"] for tensor in there["outputs"]] == ["action", "logits"]


@pytest.mark.slow
def test_an_unmodified_client_loads_the_champion_from_a_database(python, desk, mirror, uri, tmp_path):
    version = champion(desk, seed=5)
    tell(desk, mirror)
    assert_the_champion_decides_as_ours(python, uri, policy(5), tmp_path)
    seen = ran(python, "alias", uri, "orders", "champion")
    assert seen["tags"]["workgym.artifact"] == version.artifact_digest
    assert seen["metrics"]["profit_per_case"] == 20.0


@pytest.mark.slow
def test_an_unmodified_client_follows_a_rollback_on_a_server(python, desk, server, tmp_path):
    mirror = MlflowMirror(desk.registry, lambda: connect(server.url))
    for seed in (3, 4):
        champion(desk, seed)
    tell(desk, mirror)
    assert server.alias("orders", "champion")["version"] == "2"
    assert_the_champion_decides_as_ours(python, server.url, policy(4), tmp_path)
    desk.rollback()
    tell(desk, mirror)
    assert server.alias("orders", "champion")["version"] == "1"
    assert_the_champion_decides_as_ours(python, server.url, policy(3), tmp_path)


@pytest.mark.slow
def test_a_server_that_was_down_catches_up(desk, server):
    desk.name = "catching-up"
    mirror = MlflowMirror(desk.registry, lambda: connect(server.url))
    champion(desk, 1)
    tell(desk, mirror)
    server.stop()
    champion(desk, 2)
    desk.rollback()
    champion(desk, 3)
    away = sync(desk.registry.database, mirror)
    assert away.behind == 7
    assert away.error
    server.start()
    tell(desk, mirror)
    assert server.alias("catching-up", "champion")["version"] == "3"
    assert status(desk.registry.database, NAME).error == ""
