"""Envs whose worlds are in a server: equal to the twin, whatever happens on the way."""

from __future__ import annotations

import socket
import time
from contextlib import closing

import gymnasium as gym
import httpx
import numpy as np
import pytest
from sqlalchemy import text

import workgym.envs  # noqa: F401  # registers the ids
from tests.support.served import Server, served
from workgym.envs import conformance, wire
from workgym.envs.backends import BACKENDS, Transport
from workgym.services.kernel import BadInput, InfrastructureFault
from workgym.services.storage import Database

CASES = {
    "workgym/Orders-v0": {"days": 2, "orders_per_day": 6.0},
    "workgym/SupplyChain.lost-sales-v0": {"periods": 12},
    "workgym/SupplyChain.serial-v0": {},
    "workgym/SupplyChain.one-warehouse-v0": {},
}
SERVICE = {env_id: "orders" if "Orders" in env_id else "supply_chain" for env_id in CASES}
ORDERS = "workgym/Orders-v0"
QUICK = {"deadline_s": 3.0, "attempt_s": 1.0}


def lanes(env_id, n, server, **transport):
    chosen = {"backend": "http", "base_url": server.base_url, "transport": transport} if server else {}
    return gym.make_vec(env_id, num_envs=n, **CASES[env_id], **chosen)


def single(env_id, server, **transport):
    chosen = {"backend": "http", "base_url": server.base_url, "transport": transport} if server else {}
    return gym.make(env_id, **CASES[env_id], **chosen).unwrapped


def worlds_of(database_url):
    with closing(Database(database_url)) as database, database.read() as tx:
        return tx.connection.execute(text("SELECT count(*) FROM worlds WHERE name LIKE 'lane%'")).scalar_one()


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """A server of each service on SQLite."""
    folder = tmp_path_factory.mktemp("servers")
    with (
        served("orders", f"sqlite:///{folder}/orders.db") as orders,
        served("supply_chain", f"sqlite:///{folder}/chain.db") as chain,
    ):
        yield {"orders": orders, "supply_chain": chain}


@pytest.mark.parametrize("env_id", CASES)
@pytest.mark.parametrize("n", [1, 5])
def test_lanes_at_a_server_are_lanes_of_the_twin(env_id, n, servers):
    with (
        closing(lanes(env_id, n, servers[SERVICE[env_id]])) as there,
        closing(lanes(env_id, n, None)) as here,
    ):
        play_alike(there, here, 40)


def play_alike(there, here, steps):
    """Random plays, one in eight of them anything but legal."""
    rng = np.random.default_rng(7)
    _alike(there.reset(seed=3), here.reset(seed=3))
    for _ in range(steps):
        actions = conformance.choose_all(here, rng)
        if rng.random() < 0.125:
            actions = here.action_space.sample()
        _alike(there.step(actions), here.step(actions))
        lane = int(rng.integers(here.num_envs))
        assert there.state_hash(lane) == here.state_hash(lane)
        assert there.facts(lane) == here.facts(lane)


def _alike(there, here):
    assert conformance._digest(*there) == conformance._digest(*here)


@pytest.mark.parametrize("env_id", CASES)
def test_snapshots_travel_between_a_server_and_the_twin(env_id, servers):
    with closing(single(env_id, servers[SERVICE[env_id]])) as there, closing(single(env_id, None)) as here:
        rng = np.random.default_rng(1)
        there.reset(seed=5)
        for _ in range(4):
            there.step(conformance.choose(there, rng))
        here.restore(there.snapshot())
        action = conformance.choose(there, rng)
        _alike(there.step(action), here.step(action))
        moment = here.snapshot()
        here.step(conformance.choose(here, rng))
        shown = there.restore(moment)
        _alike(shown, here.restore(moment))
        assert there.render_mode is None
        assert there.backend.render(0) == here.backend.render(0)


def test_many_connections_play_as_one(servers):
    with (
        closing(lanes(ORDERS, 7, servers["orders"], connections=3)) as there,
        closing(lanes(ORDERS, 7, None)) as here,
    ):
        play_alike(there, here, 25)
        there.restore(6, here.snapshot(0))
        assert there.state_hash(6) == here.state_hash(0)


def test_planners_find_at_a_server_what_they_ask_the_twin(servers):
    env_id = "workgym/SupplyChain.one-warehouse-v0"
    with closing(lanes(env_id, 2, servers["supply_chain"])) as there, closing(lanes(env_id, 2, None)) as here:
        there.reset(seed=1)
        here.reset(seed=1)
        for one, other in zip(there.backend.insight(), here.backend.insight(), strict=True):
            assert np.array_equal(one, other)


def test_an_episode_goes_on_where_it_was_when_the_server_comes_back(database_url):
    server = Server("orders", database_url)
    server.start()
    with closing(lanes(ORDERS, 3, server)) as there, closing(lanes(ORDERS, 3, None)) as here:
        play_alike(there, here, 5)
        for _ in range(2):
            server.stop()
            server.start()
            rng = np.random.default_rng(2)
            for _ in range(5):
                actions = conformance.choose_all(here, rng)
                _alike(there.step(actions), here.step(actions))
    server.stop()


def test_a_step_without_an_answer_says_that_nobody_knows_and_a_reset_goes_on(database_url):
    server = Server("orders", database_url)
    server.start()
    env = single(ORDERS, server, **QUICK)
    first, _ = env.reset(seed=4)
    server.stop()
    with pytest.raises(InfrastructureFault, match=r"got no answer within 3 s") as told:
        env.step(13)
    assert told.value.committed in ("no", "unknown")
    with pytest.raises(InfrastructureFault, match="reset"):
        env.step(13)
    server.start()
    again, _ = env.reset(seed=4)
    assert np.array_equal(first, again)
    env.close()
    server.stop()


def test_a_hung_server_costs_its_deadline_and_no_more():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.listen()
        server = type("Silent", (), {"base_url": f"http://127.0.0.1:{silent.getsockname()[1]}"})
        from workgym.envs.line import Line

        line = Line(server.base_url, Transport(deadline_s=0.8, attempt_s=0.2))
        began = time.monotonic()
        with pytest.raises(InfrastructureFault) as told:
            line.call("GET", "/")
        assert time.monotonic() - began < 2
        assert line.attempts >= 3
        assert told.value.committed == "unknown"


def test_nobody_listening_is_told_as_not_committed():
    from workgym.envs.line import Line

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = Line(f"http://127.0.0.1:{port}", Transport(deadline_s=0.2, attempt_s=0.1))
    with pytest.raises(InfrastructureFault) as told:
        line.call("GET", "/")
    assert told.value.committed == "no"


def test_a_lost_lane_is_dropped_and_counted_and_never_rewarded(database_url):
    server = Server("orders", database_url)
    server.start()
    with closing(lanes(ORDERS, 4, server, connections=2, on_fault="drop", **QUICK)) as env:
        env.reset(seed=0)
        hold = np.full(4, 13)
        env.step(hold)
        server.stop()
        _, reward, ended, cut, info = env.step(hold)
        assert np.isnan(reward).all()
        assert not ended.any()
        assert cut.all()
        assert info["dropped"].all()
        assert env.backend.dropped == 4
        server.start()
        obs, reward, *_, info = env.step(hold)  # the next episode begins
        assert not np.any(info.get("dropped", False))
        assert (reward == 0).all()
        assert np.isfinite(obs).all()
        _, reward, *_ = env.step(hold)
        assert np.isfinite(reward).all()
    server.stop()


def test_a_straggler_does_not_hold_up_the_others(servers):
    with closing(lanes(ORDERS, 2, servers["orders"], connections=2, on_fault="drop", **QUICK)) as env:
        env.reset(seed=0)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            slow = env.backend._rooms[1].line
            slow._pool.close()
            slow._pool = type(slow._pool)("127.0.0.1", silent.getsockname()[1])
            _, reward, *_, info = env.step(np.array([13, 13]))
        assert info["dropped"].tolist() == [False, True]
        assert np.isfinite(reward[0])
        assert np.isnan(reward[1])


def test_the_worlds_of_a_crashed_client_are_reclaimed(database_url):
    server = Server("orders", database_url)
    server.start()
    env = lanes(ORDERS, 3, server, lease_s=1)
    env.reset(seed=0)
    env.step(np.full(3, 13))
    assert server.app.state.rooms.reclaim() == 0
    env.backend._closed.set()  # a crashed client renews nothing
    time.sleep(1.2)
    assert server.app.state.rooms.reclaim() == 1
    with pytest.raises(InfrastructureFault, match="the worlds are gone"):
        env.step(np.full(3, 13))
    env.reset(seed=0)  # in fresh worlds
    server.stop()


def test_a_client_that_thinks_keeps_its_worlds(servers):
    with closing(single(ORDERS, servers["orders"], lease_s=3)) as env:
        env.reset(seed=0)
        time.sleep(3.6)
        assert servers["orders"].app.state.rooms.reclaim() == 0
        env.step(13)


def test_a_closed_env_leaves_no_world_behind(database_url):
    with served("orders", database_url) as server:
        before = worlds_of(database_url)
        env = lanes(ORDERS, 3, server)
        env.reset(seed=0)
        assert worlds_of(database_url) >= before
        env.close()
        assert worlds_of(database_url) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"backend": "http"}, "expected base_url or the variable WORKGYM_URL"),
        ({"backend": "htpp"}, "did you mean 'http'"),
        ({"backend": "twin", "base_url": "http://x"}, "base_url with backend 'http' alone"),
        ({"backend": "http", "base_url": "ftp://x"}, "expected base_url like"),
        ({"backend": "http", "base_url": "http://x", "transport": {"dedline_s": 1}}, "did you mean"),
        ({"backend": "http", "base_url": "http://x", "transport": {"lease_s": 0}}, "above zero"),
        ({"backend": "http", "base_url": "http://x", "transport": {"on_fault": "cry"}}, "raise or drop"),
    ],
)
def test_a_wrong_argument_is_told_with_the_way_out(arguments, told):
    with pytest.raises(BadInput, match=told):
        gym.make(ORDERS, **arguments)


def test_a_server_of_another_service_says_so(servers):
    with pytest.raises(BadInput, match="env of supply_chain"):
        gym.make(ORDERS, backend="http", base_url=servers["supply_chain"].base_url)


def test_every_backend_is_either_here_or_remote():
    assert BACKENDS == ("twin", "embedded", "http", "docker")


# The wire


@pytest.fixture
def lease(servers):
    with httpx.Client(base_url=servers["orders"].base_url) as client:
        wish = {"id": "0123456789abcdef-" + str(time.time_ns()), "env_id": ORDERS, "lanes": 2}
        assert client.post("/gym/leases", json=wish).status_code == 201
        yield client, f"/gym/leases/{wish['id']}"
        client.delete(f"/gym/leases/{wish['id']}")


def move(call=1, **other):
    zeros = [0, 0]
    return {
        "call": call,
        "mode": [1, 1],
        "actions": zeros,
        "salt": 7,
        "seed": zeros,
        "number": zeros,
        "family": zeros,
        **other,
    }


def test_people_may_speak_json(lease):
    client, home = lease
    board = client.post(f"{home}/advance", json=move()).json()
    assert np.shape(board["obs"]) == (2, 46)
    states = client.get(f"{home}/states?lanes=1").json()["states"]
    put = client.put(f"{home}/states", json={"call": 2, "states": {"0": states["1"]}})
    assert put.json()["obs"][0] == board["obs"][1]
    assert client.get(home).json()["calls"] == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"call": "1"},
        {"call": -1},
        {"mode": [0, 9]},
        {"mode": [0]},
        {"actions": [[0], [0, 1]]},
        {"actions": [0.5, 1]},
        {"seed": [2**70, 0]},
        {"family": [99, 0]},
        {"salt": -1},
        {"number": [-1, 0]},
        {"episodes": 3, "actions": None},
    ],
)
def test_a_malformed_move_changes_nothing(lease, wrong):
    client, home = lease
    client.post(f"{home}/advance", json=move()).raise_for_status()
    before = client.get(f"{home}/states").json()
    answer = client.post(f"{home}/advance", json=move(**{"call": 2, **wrong}))
    assert answer.status_code == 422
    assert answer.json()["reason"] == "bad-input"
    assert client.get(f"{home}/states").json() == before
    assert client.get(home).json()["calls"] == 1


@pytest.mark.parametrize("body", [b"", b"\xc1", b"[]", b"{" * 5000, wire.pack({"call": 1})[:-1]])
@pytest.mark.parametrize("kind", [wire.MSGPACK, wire.JSON])
def test_a_body_of_garbage_is_refused(lease, body, kind):
    client, home = lease
    answer = client.post(f"{home}/advance", content=body, headers={"content-type": kind})
    assert answer.status_code == 422


def test_a_call_that_is_sent_twice_happens_once(lease):
    client, home = lease
    client.post(f"{home}/advance", json=move()).raise_for_status()
    act = move(2, mode=[0, 0], actions=[13, 13])
    first = client.post(f"{home}/advance", json=act)
    state = client.get(f"{home}/states").json()
    assert client.post(f"{home}/advance", json=act).content == first.content
    assert client.get(f"{home}/states").json() == state
    other = client.post(f"{home}/advance", json=move(2, mode=[0, 0], actions=[14, 13]))
    assert (other.status_code, other.json()["reason"]) == (409, "conflict")
    assert client.post(f"{home}/advance", json=move(4)).status_code == 409


def test_a_server_cannot_be_asked_for_its_files(servers):
    with httpx.Client(base_url=servers["orders"].base_url) as client:
        for name, value in (("history", "/etc/passwd"), ("backend", "embedded"), ("days", "x"), ("what", 1)):
            wish = {"id": "0123456789abcdef", "env_id": ORDERS, "arguments": {name: value}}
            answer = client.post("/gym/leases", json=wish)
            assert answer.status_code == 422, name
            assert name in answer.json()["detail"]
            assert "/etc/passwd" not in answer.text
