"""The image of a service: small, nobody's root, and ready for its first step."""

from __future__ import annotations

import json
import re
import tomllib
from itertools import chain

import pytest

from tests.support.images import ROOT, run

KERNELS = "find /var/cache/workgym -type f -printf '%p %T@\\n' | sort"


def inside(image: str, command: str, *options: str) -> str:
    return run("docker", "run", "--rm", *options, image, "sh", "-c", command).stdout


def listed() -> list[str]:
    lines = (ROOT / "compose" / "service.txt").read_text().splitlines()
    return [line for line in lines if line and line[0] != "#"]


@pytest.mark.docker
def test_a_service_runs_as_nobody_in_particular(orders_image):
    assert inside(orders_image, "id -u; id -g").split() == ["10001", "10001"]


@pytest.mark.docker
def test_what_runs_cannot_be_changed_from_inside(orders_image):
    written = inside(orders_image, "find /opt /usr /etc -writable ! -type l; true")
    assert written == ""


@pytest.mark.docker
def test_an_image_has_nothing_that_trains(orders_image):
    heavy = ("torch", "ray", "stable_baselines3", "sb3_contrib", "pandas", "pyarrow", "matplotlib", "pytest")
    code = f"import importlib.util as look; print([name for name in {heavy} if look.find_spec(name)])"
    found = run("docker", "run", "--rm", orders_image, "python", "-c", code).stdout
    assert found.strip() == "[]"


@pytest.mark.docker
def test_the_first_step_finds_its_kernels_compiled(orders_image):
    before, after = inside(
        orders_image, f"{KERNELS}; echo ==; python /opt/workgym/compile_kernels.py >/dev/null; {KERNELS}"
    ).split("==")
    assert len(before.splitlines()) > 50
    assert before.strip() == after.strip()


@pytest.mark.docker
def test_an_image_says_what_it_is(orders_image):
    config = json.loads(run("docker", "image", "inspect", orders_image).stdout)[0]["Config"]
    assert config["Labels"]["workgym.service"] == "orders"
    assert config["Labels"]["org.opencontainers.image.title"] == "workgym/orders"
    assert config["StopSignal"] == "SIGTERM"
    assert "/healthz" in " ".join(config["Healthcheck"]["Test"])


@pytest.mark.docker
def test_a_service_that_nobody_guards_does_not_start(orders_image):
    ended = run("docker", "run", "--rm", orders_image, check=False)
    assert ended.returncode == 2
    assert "set WORKGYM_ADMIN_TOKEN" in ended.stderr


def test_a_service_gets_only_libraries_that_the_package_declares():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = chain(project["dependencies"], *project["optional-dependencies"].values())
    declared = {re.split(r"[\[<>=! ]", line)[0].lower() for line in asked}
    assert {re.split(r"\[", line)[0].lower() for line in listed()} <= declared


def test_the_versions_of_a_services_libraries_are_fixed():
    pins = (ROOT / "constraints.txt").read_text().lower().splitlines()
    fixed = {line.split("==")[0] for line in pins if "==" in line}
    assert {re.split(r"\[", line)[0].lower() for line in listed()} <= fixed
