"""OpenEnv's clients play here what our twin plays, and every session has a world of its own."""

from __future__ import annotations

import json
import os
import socket as sockets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from workgym.envs import openenv
from workgym.envs.gyms import env_ids_of
from workgym.services.catalogue import application, services
from workgym.services.hosting import hosted
from workgym.services.kernel import InfrastructureFault
from workgym.services.mcp import mcp
from workgym.services.settings import Settings

CLIENT = Path(__file__).parent.parent / "support" / "openenv_client.py"
ORDERS, BEER = "workgym/Orders-v0", "workgym/SupplyChain.beer-game-v0"
ALL = {name: service for name, service in services().items() if env_ids_of(name)}
NO_OPENENV = (
    "set WORKGYM_OPENENV_PYTHON to the interpreter of a virtual environment that has OpenEnv: "
    "python -m venv oe && oe/bin/pip install openenv && export WORKGYM_OPENENV_PYTHON=$PWD/oe/bin/python"
)


class Worlds:
    """Makes envs of the live service in this process, and knows which are still open."""

    def __init__(self, backend: str = "embedded") -> None:
        self.backend = backend
        self.opened = 0
        self.open: set[Any] = set()

    def __call__(self, env_id: str, arguments: dict[str, Any]) -> Any:
        env: Any = gym.make(env_id, backend=self.backend, **arguments).unwrapped
        close = env.close

        def gone() -> None:
            close()
            self.open.discard(env)

        env.close = gone
        self.opened += 1
        self.open.add(env)
        return env


@contextmanager
def served(app: FastAPI, **config: Any) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", **config))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def playing(
    make_env: Callable[[str, dict[str, Any]], Any],
    service: str = "orders",
    config: dict[str, Any] | None = None,
    **options: Any,
) -> Iterator[str]:
    """A service in memory, with its gym at the root."""
    record = ALL[service]
    app: Any = application(record, "sqlite://")
    app.include_router(openenv.router(make_env, env_ids_of(record.name), record.title, **options))
    mcp(app, record, Settings())
    with served(app, **(config or {})) as url:
        yield url


@pytest.fixture
def python() -> str:
    found = os.environ.get("WORKGYM_OPENENV_PYTHON")
    if not found:
        pytest.skip(NO_OPENENV)
    return found


def ran(python: str, *arguments: str) -> Any:
    done = subprocess.run([python, str(CLIENT), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@lru_cache(maxsize=64)
def twin_play(env_id: str, seed: int, steps: int = 2000) -> SimpleNamespace:
    """The client's rule on our twin, in numbers."""
    env: Any = gym.make(env_id).unwrapped
    first, _ = env.reset(seed=seed)
    rewards, over = [], False
    while not over and len(rewards) < steps:
        if len(env.mask):
            action = env.mask.argmax()
        else:
            most = np.atleast_1d(env.action_space.nvec) - 1
            action = most // 8
        _, reward, over, _, _ = env.step(action)
        rewards.append(reward)
    return SimpleNamespace(first=first.tolist(), rewards=rewards, over=over, hash=env.state_hash())


def require_equal(episode: dict[str, Any], env_id: str, seed: int, steps: int = 2000) -> None:
    ours = twin_play(env_id, seed, steps)
    assert episode["first"]["features"] == ours.first
    assert episode["rewards"] == ours.rewards
    state = episode["state"]
    assert (state["state_hash"], state["terminated"], state["step_count"]) == (
        ours.hash,
        ours.over,
        len(ours.rewards),
    )
    assert (state["env_id"], state["seed"], state["total_reward"]) == (env_id, seed, sum(ours.rewards))


class TestOpenEnvsOwnTools:
    @pytest.mark.parametrize("service", ALL)
    def test_the_validator_passes_every_service(self, python: str, service: str) -> None:
        with playing(Worlds(), service) as url:
            command = [str(Path(python).parent / "openenv"), "validate", "--url", url, "--json"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        report = json.loads(done.stdout)
        assert report["passed"], report
        assert (report["mode"], report["summary"]["passed_count"]) == ("simulation", 6)

    @pytest.mark.parametrize("service", ALL)
    def test_answers_have_the_shapes_of_its_models(self, python: str, service: str) -> None:
        with playing(Worlds(), service) as url:
            assert ran(python, "shapes", url)["name"] == ALL[service].title

    @pytest.mark.parametrize(("service", "env_id"), [("orders", ORDERS), ("supply_chain", BEER)])
    def test_its_client_plays_whole_episodes_like_the_twin(
        self, python: str, service: str, env_id: str
    ) -> None:
        worlds, views = Worlds(), ("--view", "tools", "numbers", "calls")
        with playing(worlds, service) as url:
            episodes = ran(python, "play", url, "--env-id", env_id, "--seeds", "3", "4", "3", *views)
        for seed, episode in zip((3, 4, 3), episodes, strict=True):
            require_equal(episode, env_id, seed)
            assert episode["state"]["terminated"]
        assert {**episodes[0], "seconds": 0, "state": 0} == {**episodes[2], "seconds": 0, "state": 0}
        assert (worlds.opened, worlds.open) == (1, set())

    def test_sixteen_clients_at_once_each_play_as_alone(self, python: str) -> None:
        worlds, seeds = Worlds(), list(range(16))
        with playing(worlds) as url:
            episodes = ran(python, "crowd", url, "--seeds", *map(str, seeds), "--steps", "60")
        for seed, episode in zip(seeds, episodes, strict=True):
            require_equal(episode, ORDERS, seed, 60)
        assert (worlds.opened, worlds.open) == (16, set())


def told(socket: ClientConnection, kind: str, **data: Any) -> Any:
    """The data of an answer that must not be an error."""
    socket.send(json.dumps({"type": kind, "data": data} if data or kind != "state" else {"type": kind}))
    answer = json.loads(socket.recv(timeout=60))
    assert answer["type"] == ("state" if kind == "state" else "observation"), answer
    return answer["data"]


def refused(socket: ClientConnection, message: Any) -> Any:
    """The data of an answer that must be an error."""
    socket.send(message if isinstance(message, (str, bytes)) else json.dumps(message))
    answer = json.loads(socket.recv(timeout=60))
    assert answer["type"] == "error", answer
    return answer["data"]


def ws(url: str) -> ClientConnection:
    return connect(url.replace("http", "ws", 1) + "/ws", proxy=None)


@contextmanager
def silent_peer(url: str, message: Any) -> Iterator[None]:
    """A client that says one thing, and then neither speaks nor answers pings nor hangs up."""
    host, port = url.removeprefix("http://").split(":")
    with sockets.create_connection((host, int(port))) as raw:
        raw.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert b" 101 " in raw.recv(4096)
        text = json.dumps(message).encode()
        assert len(text) < 126
        raw.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)  # masked with zeros
        yield


def soon(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with playing(Worlds("twin")) as url:
        yield url


HOLD = {"tool": "decide", "arguments": {"action": "hold"}}


class TestSession:
    def test_answers_fit_the_schemas_that_are_told(self, base: str) -> None:
        schemas = httpx.get(f"{base}/schema").json()
        for schema in schemas.values():
            Draft202012Validator.check_schema(schema)
        with ws(base) as socket:
            begun, stepped = told(socket, "reset", seed=1), told(socket, "step", **HOLD)
            Draft202012Validator(schemas["observation"]).validate(begun["observation"])
            Draft202012Validator(schemas["observation"]).validate(stepped["observation"])
            Draft202012Validator(schemas["state"]).validate(told(socket, "state"))
        Draft202012Validator(schemas["action"]).validate(HOLD)

    def test_a_reset_tells_the_tools_and_whose_episode_it_is(self, base: str) -> None:
        with ws(base) as socket:
            begun = told(socket, "reset", seed=1, episode_id="mine")
            assert (begun["reward"], begun["done"]) == (None, False)
            assert begun["metadata"] == {"episode_id": "mine", "env_id": ORDERS, "step_count": 0}
            assert [tool["name"] for tool in begun["observation"]["tools"]] == ["decide"]
            assert len(begun["observation"]["feature_names"]) == len(begun["observation"]["features"])

    def test_a_tool_and_its_number_are_one_decision(self, base: str) -> None:
        with ws(base) as one, ws(base) as other:
            told(one, "reset", seed=5)
            told(other, "reset", seed=5)
            assert told(one, "step", **HOLD)["observation"] == told(other, "step", action=13)["observation"]
            assert told(one, "state")["state_hash"] == told(other, "state")["state_hash"]

    def test_a_decision_that_cannot_be_taken_is_refused_and_changes_nothing(self, base: str) -> None:
        with ws(base) as socket:
            told(socket, "reset", seed=5)
            before = told(socket, "state")["state_hash"]
            answer = told(socket, "step", tool="decide", arguments={"action": "holt"})
            assert "did you mean 'hold'" in answer["observation"]["refused"]
            assert (answer["reward"], answer["done"]) == (0.0, False)
            assert told(socket, "state")["state_hash"] == before

    def test_a_reset_can_ask_for_a_family_a_split_and_no_text(self, base: str) -> None:
        with ws(base) as socket:
            plain = told(socket, "reset", seed=5, family="stock-out")["observation"]
            assert "stock-out" in plain["text"]
            silent = told(socket, "reset", seed=5, family="stock-out", text=False)["observation"]
            assert silent == {**plain, "text": ""}
            assert told(socket, "reset", seed=5, family="stock-out")["observation"]["text"] == ""
            gate = told(socket, "reset", seed=5, family="stock-out", split="gate")["observation"]
            assert gate["features"] != plain["features"]
            assert told(socket, "state")["split"] == "gate"

    def test_without_a_seed_the_next_episode_begins(self, base: str) -> None:
        env: Any = gym.make(ORDERS).unwrapped
        env.reset(seed=6)
        with ws(base) as socket:
            told(socket, "reset", seed=6)
            assert told(socket, "reset")["observation"]["features"] == env.reset()[0].tolist()
            assert (told(socket, "state")["seed"], told(socket, "state")["number"]) == (6, 1)

    WRONG = (
        ("{", "INVALID_JSON", "expected JSON"),
        ("[" * 100_000, "INVALID_JSON", "expected JSON"),
        ("", "INVALID_JSON", "expected JSON"),
        (b"\xff\xfe\x00", "INVALID_JSON", "expected JSON"),
        ([], "UNKNOWN_TYPE", "found None"),
        ({"type": "rest"}, "UNKNOWN_TYPE", "found 'rest'"),
        ({"type": ["step"]}, "UNKNOWN_TYPE", "found ['step']"),
        ({"type": "step"}, "VALIDATION_ERROR", ""),
        ({"type": "step", "data": {}}, "VALIDATION_ERROR", "either a tool or an action"),
        ({"type": "step", "data": {**HOLD, "action": 1}}, "VALIDATION_ERROR", "either a tool or an action"),
        ({"type": "step", "data": {"action": [1]}}, "VALIDATION_ERROR", "expected actions of shape (1,)"),
        ({"type": "step", "data": {"action": 1.5}}, "VALIDATION_ERROR", "expected actions of Discrete(15)"),
        ({"type": "step", "data": {"action": 2**80}}, "VALIDATION_ERROR", "expected actions of Discrete(15)"),
        ({"type": "reset", "data": {"sede": 1}}, "VALIDATION_ERROR", "sede"),
        ({"type": "reset", "data": {"seed": -1}}, "VALIDATION_ERROR", "seed"),
        ({"type": "reset", "data": {"seed": 2**70}}, "VALIDATION_ERROR", "seed"),
        ({"type": "reset", "data": {"family": "norml"}}, "VALIDATION_ERROR", "did you mean 'normal'"),
        ({"type": "reset", "data": {"env_id": "workgym/Order-v0"}}, "VALIDATION_ERROR", "did you mean"),
        ({"type": "reset", "data": {"split": "tran"}}, "VALIDATION_ERROR", "did you mean 'train'"),
    )

    @pytest.mark.parametrize(("message", "code", "text"), WRONG)
    def test_a_wrong_message_is_told_and_the_session_goes_on(
        self, base: str, message: Any, code: str, text: str
    ) -> None:
        with ws(base) as socket:
            told(socket, "reset", seed=5)
            error = refused(socket, message)
            assert error["code"] == code
            assert text in error["message"]
            told(socket, "reset", seed=5)
            assert not told(socket, "step", **HOLD)["observation"]["refused"]

    def test_nothing_is_decided_before_a_reset(self, base: str) -> None:
        with ws(base) as socket:
            assert refused(socket, {"type": "step", "data": HOLD})["code"] == "EXECUTION_ERROR"
            assert told(socket, "state")["episode_id"] is None


class TestWorlds:
    def test_a_world_goes_back_however_the_client_leaves(self) -> None:
        worlds = Worlds("twin")
        with playing(worlds) as url:
            leavers: tuple[Callable[[ClientConnection], None], ...] = (
                lambda socket: socket.close(),
                lambda socket: socket.send('{"type": "close"}'),
                lambda socket: socket.socket.shutdown(sockets.SHUT_RDWR),
            )
            for leave in leavers:
                with ws(url) as client:
                    told(client, "reset", seed=1)
                    assert len(worlds.open) == 1
                    leave(client)
                    assert soon(lambda: not worlds.open)

    def test_a_peer_that_died_silently_loses_its_world(self) -> None:
        worlds = Worlds("twin")
        patience = {"ws_ping_interval": 0.2, "ws_ping_timeout": 0.2}
        reset = {"type": "reset", "data": {"seed": 1}}
        with playing(worlds, config=patience) as url, silent_peer(url, reset):
            assert soon(lambda: worlds.opened == 1)
            assert soon(lambda: not worlds.open)

    def test_an_idle_session_loses_its_world(self) -> None:
        worlds = Worlds("twin")
        with playing(worlds, idle_s=0.3) as url, ws(url) as socket:
            told(socket, "reset", seed=1)
            error = json.loads(socket.recv(timeout=20))["data"]
            assert error["code"] == "SESSION_ERROR"
            assert soon(lambda: not worlds.open)
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=20)

    def test_another_env_takes_the_place_of_the_first(self) -> None:
        worlds = Worlds("twin")
        with playing(worlds, "supply_chain") as url, ws(url) as socket:
            told(socket, "reset", seed=1, env_id=BEER)
            tools = told(socket, "reset", seed=1, env_id="workgym/SupplyChain.lost-sales-v0")
            assert list(tools["observation"]["tools"][0]["input_schema"]["properties"]) == [
                "supplier_to_store"
            ]
            assert (worlds.opened, len(worlds.open)) == (2, 1)

    def test_one_session_too_many_is_told_and_may_come_when_one_leaves(self) -> None:
        with playing(Worlds("twin"), capacity=2) as url, ws(url) as first:
            told(first, "reset", seed=1)
            with ws(url) as second, ws(url) as third:
                told(second, "reset", seed=1)
                error = json.loads(third.recv(timeout=20))["data"]
                assert error["code"] == "CAPACITY_REACHED"
                assert (error["active_sessions"], error["max_sessions"]) == (2, 2)
                assert httpx.post(f"{url}/reset", json={}).status_code == 503
            assert soon(lambda: httpx.post(f"{url}/reset", json={}).status_code == 200)

    def test_a_stopped_server_gives_every_world_back(self) -> None:
        worlds = Worlds("twin")
        with ExitStack() as stack:
            with playing(worlds, config={"timeout_graceful_shutdown": 1}) as url:
                told(stack.enter_context(ws(url)), "reset", seed=1)
                httpx.post(f"{url}/reset", json={"seed": 1}).raise_for_status()
                assert len(worlds.open) == 2
            assert not worlds.open

    def test_the_server_answers_while_a_world_thinks(self) -> None:
        thinking, go = threading.Event(), threading.Event()

        def slow(env_id: str, arguments: dict[str, Any]) -> Any:
            thinking.set()
            assert go.wait(30)
            return Worlds("twin")(env_id, arguments)

        with playing(slow) as url, ws(url) as socket:
            socket.send(json.dumps({"type": "reset", "data": {"seed": 1}}))
            assert thinking.wait(20)
            assert httpx.get(f"{url}/health", timeout=10).json() == {"status": "healthy"}
            go.set()
            assert json.loads(socket.recv(timeout=60))["type"] == "observation"

    @pytest.mark.parametrize(("committed", "goes_on"), [("no", True), ("unknown", False)])
    def test_a_fault_is_told_and_is_never_an_outcome(
        self, committed: Any, goes_on: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worlds = Worlds("twin")
        with playing(worlds) as url, ws(url) as socket:
            told(socket, "reset", seed=1)
            (env,) = worlds.open
            honest = env.step

            def broken(action: Any) -> Any:
                raise InfrastructureFault("the database is away", committed)

            env.step = broken
            error = refused(socket, {"type": "step", "data": HOLD})
            assert (error["code"], error["committed"]) == ("EXECUTION_ERROR", committed)
            env.step = honest
            assert bool(worlds.open) == goes_on
            if goes_on:
                assert told(socket, "step", **HOLD)["observation"]["refused"] is None
            else:
                assert "reset first" in refused(socket, {"type": "step", "data": HOLD})["message"]
            assert told(socket, "reset", seed=1)["done"] is False


class TestHttp:
    def test_an_episode_is_played_by_its_id_like_the_twin(self, base: str) -> None:
        ours = twin_play(ORDERS, 8)
        with httpx.Client(base_url=base, timeout=60) as client:
            begun = client.post("/reset", json={"seed": 8, "text": False}).json()
            about = {"episode_id": begun["metadata"]["episode_id"]}
            rewards, seen = [], begun
            while not seen["done"]:
                legal = seen["observation"]["legal"][0]
                action = {"tool": "decide", "arguments": {"action": legal}}
                seen = client.post("/step", json={"action": action, **about}).json()
                rewards.append(seen["reward"])
            assert rewards == ours.rewards
            state = client.get("/state", params=about).json()
        assert (state["state_hash"], state["step_count"]) == (ours.hash, len(rewards))

    def test_two_episodes_do_not_meet(self, base: str) -> None:
        with httpx.Client(base_url=base) as client:
            for name, seed in (("one", 1), ("two", 2)):
                client.post("/reset", json={"seed": seed, "episode_id": name}).raise_for_status()
            client.post("/step", json={"action": HOLD, "episode_id": "one"}).raise_for_status()
            counts = [client.get("/state", params={"episode_id": name}).json() for name in ("one", "two")]
        assert [(state["step_count"], state["seed"]) for state in counts] == [(1, 1), (0, 2)]

    def test_a_step_without_a_session_is_refused_instead_of_played_in_a_fresh_world(self, base: str) -> None:
        answer = httpx.post(f"{base}/step", json={"action": HOLD})
        assert answer.status_code == 422
        assert "episode_id" in answer.json()["detail"]
        assert httpx.post(f"{base}/step", json={"action": HOLD, "episode_id": "x"}).status_code == 404

    def test_a_request_that_is_repeated_is_not_played_twice(self, base: str) -> None:
        with httpx.Client(base_url=base) as client:
            client.post("/reset", json={"seed": 1, "episode_id": "again"})
            step = {"action": HOLD, "episode_id": "again", "request_id": "r1"}
            first, second = client.post("/step", json=step).json(), client.post("/step", json=step).json()
            assert first == second
            assert client.get("/state", params={"episode_id": "again"}).json()["step_count"] == 1
            other = {**step, "action": {"action": 14}}
            assert client.post("/step", json=other).status_code == 409

    def test_somebody_elses_episode_is_not_there(self) -> None:
        record, person = ALL["orders"], SimpleNamespace(name="ann")
        app: Any = application(record, "sqlite://")
        app.include_router(openenv.router(Worlds("twin"), env_ids_of(record.name), record.title))

        @app.middleware("http")
        async def sign_in(request: Any, go_on: Any) -> Any:
            request.scope.setdefault("state", {})["person"] = SimpleNamespace(name=request.headers["x-name"])
            return await go_on(request)

        ann, bob = {"x-name": person.name}, {"x-name": "bob"}
        with served(app) as url, httpx.Client(base_url=url) as client:
            client.post("/reset", json={"seed": 1, "episode_id": "e"}, headers=ann).raise_for_status()
            step = {"action": HOLD, "episode_id": "e"}
            assert client.post("/step", json=step, headers=bob).status_code == 404
            assert client.get("/state", params={"episode_id": "e"}, headers=bob).status_code == 404
            assert client.post("/reset", json={"episode_id": "e"}, headers=bob).status_code == 409
            assert client.post("/step", json=step, headers=ann).status_code == 200

    def test_an_idle_episode_loses_its_world(self) -> None:
        worlds = Worlds("twin")
        with playing(worlds, idle_s=0.4) as url:
            httpx.post(f"{url}/reset", json={"seed": 1, "episode_id": "e"}).raise_for_status()
            assert len(worlds.open) == 1
            assert soon(lambda: not worlds.open)
            assert httpx.post(f"{url}/step", json={"action": HOLD, "episode_id": "e"}).status_code == 404

    def test_a_reset_that_failed_keeps_no_room(self) -> None:
        worlds = Worlds("twin")
        with playing(worlds, capacity=1) as url:
            for wrong in ({"env_id": "x"}, {"family": "x"}, {"split": "x"}):
                assert httpx.post(f"{url}/reset", json=wrong).status_code == 422
            assert not worlds.open
            assert httpx.post(f"{url}/reset", json={}).status_code == 200

    def test_an_episode_that_is_over_makes_room(self) -> None:
        worlds = Worlds("twin")
        with playing(worlds, "supply_chain", capacity=1) as url, httpx.Client(base_url=url) as client:
            client.post("/reset", json={"seed": 1, "episode_id": "e", "env_id": BEER}).raise_for_status()
            assert client.post("/reset", json={}).status_code == 503
            order = {"action": {"tool": "order"}, "episode_id": "e"}
            while not client.post("/step", json=order).json()["done"]:
                pass
            assert client.post("/reset", json={"env_id": BEER}).status_code == 200
            assert len(worlds.open) == 1


@pytest.mark.parametrize(("service", "env_id"), [("orders", ORDERS), ("supply_chain", BEER)])
def test_a_deployed_service_plays_like_the_twin_and_keeps_no_world(
    database_url: str, service: str, env_id: str
) -> None:
    steps = 40
    with served(hosted(ALL[service], database_url, Settings())) as url, httpx.Client(base_url=url) as client:
        before = client.get("/worlds").json()
        with ws(url) as socket:
            seen = first = told(socket, "reset", seed=2, env_id=env_id)
            rewards: list[float] = []
            (tool,) = first["observation"]["tools"]
            while not seen["done"] and len(rewards) < steps:
                seen = told(socket, "step", tool=tool["name"], arguments=rule(seen["observation"], tool))
                rewards.append(seen["reward"])
            assert client.get("/worlds").json() != before
            state = told(socket, "state")
        ours = twin_play(env_id, 2, steps)
        assert (first["observation"]["features"], rewards) == (ours.first, ours.rewards)
        assert state["state_hash"] == ours.hash
        assert soon(lambda: client.get("/worlds").json() == before)


def rule(seen: dict[str, Any], tool: dict[str, Any]) -> dict[str, Any]:
    """What the client of `tests/support` decides."""
    if seen["legal"] is not None:
        return {"action": seen["legal"][0]}
    return {key: schema["maximum"] // 8 for key, schema in tool["input_schema"]["properties"].items()}


def test_the_documentation_of_every_env_is_told() -> None:
    with playing(Worlds("twin"), "supply_chain") as url:
        metadata = httpx.get(f"{url}/metadata").json()
    assert metadata["name"] == ALL["supply_chain"].title
    for env_id in env_ids_of("supply_chain"):
        assert f"# {env_id}\n" in metadata["readme_content"]
    assert "## Reward" in metadata["readme_content"]


def test_every_operation_is_tagged_for_the_trainer_and_health_for_all(base: str) -> None:
    paths = httpx.get(f"{base}/openapi.json").json()["paths"]
    tags = {path: next(iter(paths[path].values()))["tags"] for path in OPERATIONS}
    assert tags == {path: ["health"] if path == "/health" else ["gym"] for path in OPERATIONS}


OPERATIONS = ("/reset", "/step", "/state", "/metadata", "/schema", "/health")
