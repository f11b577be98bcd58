"""The tutorial's commands do what they say, in a copy of its folder and nowhere else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.images import NO_ENGINE, READY, no_engine, run

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tutorial" / "README.md").read_text()
BLOCKS = re.findall(r"^```bash( docker)?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the bakery, and an environment where pip installs, which sees this one's packages."""
    here = tmp_path_factory.mktemp("tutorial")
    shutil.copytree(ROOT / "docs" / "tutorial" / "bakery", here / "bakery")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", here / "env"], check=True)
    (packages_of(here) / "others.pth").write_text(sysconfig.get_path("purelib"))
    pip = here / "bin" / "pip"  # alone: every other command is that of this environment
    pip.parent.mkdir()
    pip.write_text(f'#!/bin/sh\nexec "{here}/env/bin/python" -m pip "$@"\n')
    pip.chmod(0o755)
    return here


def packages_of(folder: Path) -> Path:
    (found,) = (folder / "env" / "lib").glob("python*/site-packages")
    return found


def follow(folder: Path, commands: str, **more: str) -> str:
    """Run commands as somebody would who reads the page."""
    environment = {
        **os.environ,
        "PATH": f"{folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONPATH": str(packages_of(folder)),
        "WORKGYM_HOME": str(folder / "home"),
        **more,
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-m", "-c", commands],
        cwd=folder / "bakery",
        env=environment,
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def test_a_package_of_its_own_becomes_a_service_a_gym_and_a_champion(folder):
    if not shutil.which("curl"):
        pytest.skip("found no curl; install it")
    told = follow(folder, "\n".join(commands for docker, commands in BLOCKS if not docker))
    assert "equals twin" in told
    assert "bakery version 1 (baker/0) is champion" in told
    assert "BROKEN" not in told.upper().replace("UNBROKEN", "")


@pytest.mark.docker
@pytest.mark.slow
def test_its_container_obeys_the_same_laws(folder, orders_image):
    if no_engine():
        pytest.skip(NO_ENGINE)
    prefix = orders_image.rsplit("/", 1)[0]
    image = f"{prefix}/bakery"
    commands = "\n".join(commands for docker, commands in BLOCKS if docker).replace("workgym/bakery", image)
    install = BLOCKS[0][1]
    try:
        assert "equals twin" in follow(folder, install + commands, WORKGYM_IMAGES=prefix)
    finally:
        if not READY:
            run("docker", "image", "rm", "--force", image, check=False)


def test_no_code_of_workgym_knows_the_bakery():
    product = ["services", "envs", "agents", "factory", "compose", "pyproject.toml"]
    knowing = run("git", "grep", "--files-with-matches", "-i", "bakery", "--", *product, check=False).stdout
    assert knowing.split() == ["envs/gyms.py"]  # its docstring has an example
