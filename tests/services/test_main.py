"""The command that runs a service and keeps its people."""

from __future__ import annotations

import io
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from workgym.services import application, services
from workgym.services.__main__ import main
from workgym.services.access import Register
from workgym.services.storage import Database

SERVICES = services()
SECRET = "an admin's own secret"


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """An empty folder, and nothing said in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("WORKGYM_") and not name.startswith("WORKGYM_TEST_"):
            monkeypatch.delenv(name)


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workgym.services", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"]])
def test_help_lists_every_service(name, arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert name in text
    assert SERVICES[name].title in text


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["serve", "order"], 2, "did you mean 'orders'"),
        (["serve", "orders", "--database", "nonsense"], 2, "expected a database URL such as sqlite:///"),
        (["serve", "orders", "--database", "oracle+nothing://x/y"], 2, "no driver for"),
        (["serve", "orders", "--database", "sqlite:///no/such/folder/x.db"], 1, "check that it runs"),
        (["serve", "orders", "--database", "sqlite://", "--port", "99999"], 2, "expected --port in 0..65535"),
        (["serve", "orders", "--host", "192.0.2.1", "--port", "0", "--open"], 1, "cannot listen on"),
        (
            ["serve", "orders", "--host", "0.0.0.0", "--port", "0"],
            2,
            "set WORKGYM_ADMIN_TOKEN, or say --open",
        ),
        (["user", "list"], 2, "expected --database URL, --service NAME or WORKGYM_DATABASE_URL"),
        (["user", "list", "--database", "nonsense"], 2, "expected a database URL such as sqlite:///"),
        (["user", "list", "--service", "order"], 2, "did you mean 'orders'"),
        (["user", "disable", "ann", "--database", "sqlite://"], 2, "no user named 'ann'"),
        (["token", "revoke", "no", "--database", "sqlite://"], 2, "no token with the id 'no'"),
        (["audit", "verify", "--database", "sqlite://"], 2, "no worlds in this database"),
    ],
)
def test_a_wrong_argument_is_told_with_the_way_out(arguments, code, complaint, capsys):
    assert main(arguments) == code
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert complaint in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "COMMAND"),
        (["orders"], "invalid choice: 'orders'"),
        (["user", "add", "ann"], "--role"),
        (["user", "add", "ann", "--role", "agent"], "choose from"),
        (["token", "mint", "--owner", "ann", "--role", "king"], "choose from"),
        (["audit", "verify", "--world", "one"], "invalid int value: 'one'"),
    ],
)
def test_what_is_not_understood_ends_with_code_2_and_says_what_was_expected(arguments, expected, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert expected in capsys.readouterr().err


def test_a_taken_port_is_told_before_anything_is_served(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        answer = run("serve", "orders", "--database", "sqlite://", "--port", str(port), folder=tmp_path)
    assert answer.returncode == 1
    assert f"port {port}" in answer.stderr
    assert "give another --port" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_served_from_an_empty_folder_and_stops_when_asked(name, tmp_path):
    import httpx

    command = [sys.executable, "-m", "workgym.services", "serve", name, "--port", "0"]
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "WORKGYM_ADMIN_TOKEN": SECRET}
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=env) as server:
        try:
            line = server.stdout.readline()
            url = line.split()[line.split().index("(operations:") - 1]
            assert httpx.get(f"{url}/healthz", timeout=30).json() == {"status": "ok"}
            assert httpx.get(f"{url}/worlds", timeout=30).status_code == 401
            signed_in = {"Authorization": f"Bearer {SECRET}"}
            assert httpx.get(f"{url}/worlds", headers=signed_in, timeout=30).status_code == 200
        finally:
            server.terminate()
    assert [path.name for path in tmp_path.glob("*.db")] == [f"{name}.db"]


# People and tokens


def told(capsys, *arguments: str, database: str) -> str:
    assert main([*arguments, "--database", database]) == 0
    return capsys.readouterr().out


def type_in(monkeypatch, line: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(line))


def test_a_user_that_was_added_signs_in_until_disabled(database_url, capsys, monkeypatch):
    type_in(monkeypatch, "correct horse\n")
    told(capsys, "user", "add", "ann", "--role", "operator", database=database_url)
    assert told(capsys, "user", "list", database=database_url).split() == ["ann", "operator"]
    register = Register(Database(database_url))
    assert register.sign_in("ann", "correct horse")
    told(capsys, "user", "disable", "ann", database=database_url)
    assert told(capsys, "user", "list", database=database_url).split() == ["ann", "operator", "disabled"]
    assert register.sign_in("ann", "correct horse") is None
    register.database.close()


def test_a_name_is_taken_once(capsys, monkeypatch):
    for code in (0, 2):
        type_in(monkeypatch, "correct horse\n")
        assert main(["user", "add", "ann", "--role", "viewer", "--service", "orders"]) == code
    assert "there is a user named 'ann' already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "password", "complaint"),
    [
        ("", "correct horse", "expected a name"),
        ("a/b", "correct horse", "expected a name"),
        ("admin-token", "correct horse", "expected a name"),
        ("ann", "short", "expected a password"),
    ],
)
def test_a_user_without_a_good_name_or_password_is_refused(name, password, complaint, capsys, monkeypatch):
    type_in(monkeypatch, password)
    assert main(["user", "add", name, "--role", "viewer", "--database", "sqlite://"]) == 2
    assert complaint in capsys.readouterr().err


def test_a_token_is_shown_once_and_works_until_revoked(database_url, capsys):
    minted = told(
        capsys, "token", "mint", "--role", "viewer", "--owner", "ann", "--days", "2", database=database_url
    )
    assert re.fullmatch(r"wg_[0-9a-f]{12}_\S{43}\n", minted)
    listed = told(capsys, "token", "list", database=database_url)
    assert listed.split()[1:3] == ["ann", "viewer"]
    assert minted.strip().rpartition("_")[2] not in listed
    register = Register(Database(database_url))
    assert register.bearer(minted.strip()).name == "ann"
    told(capsys, "token", "revoke", listed.split()[0], database=database_url)
    assert register.bearer(minted.strip()) is None
    assert not told(capsys, "token", "list", database=database_url)
    register.database.close()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--role", "agent"], "expected a world for an agent"),
        (["--role", "viewer", "--world", "1"], "expected a world for an agent and for nobody else"),
        (["--role", "agent", "--world", "7"], "there is no world 7"),
        (["--role", "viewer", "--days", "0"], "expected days above 0"),
        (["--role", "viewer", "--days", "nan"], "expected days above 0"),
    ],
)
def test_a_token_that_makes_no_sense_is_not_minted(arguments, complaint, capsys):
    assert main(["token", "mint", "--owner", "ann", *arguments, "--database", "sqlite://"]) == 2
    assert complaint in capsys.readouterr().err


# The audit log


@pytest.mark.parametrize("name", SERVICES)
def test_an_audit_log_is_whole_until_somebody_changes_it(name, database_url, capsys):
    from fastapi.testclient import TestClient

    with TestClient(application(SERVICES[name], database_url)) as client:
        opened = client.post("/worlds", json={"name": "shop"}, headers={"X-Actor": "ann"}).json()
        client.post(f"/worlds/{opened['id']}/close-day", headers={"X-Actor": "ann"})
    assert f"world {opened['id']}: " in told(capsys, "audit", "verify", database=database_url)
    database = Database(database_url)
    with database.write() as tx:
        off = (
            "DROP TRIGGER audit_is_never_changed ON audit"
            if tx.dialect.name == "postgresql"
            else "DROP TRIGGER audit_is_never_changed"
        )
        tx.connection.execute(text(off))
        tx.connection.execute(
            text("UPDATE audit SET actor = 'bob' WHERE world_id = :id"), {"id": opened["id"]}
        )
    database.close()
    wanted = ["audit", "verify", "--world", str(opened["id"]), "--database", database_url]
    assert main(wanted) == 3
    assert "it was changed" in capsys.readouterr().out
