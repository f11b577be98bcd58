"""Every service of the catalogue, and what the door lets in."""

from __future__ import annotations

import logging
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from fastapi import FastAPI

from workgym import services as catalogue_folder
from workgym.services import application, catalogue, service, services
from workgym.services.kernel import BadInput, NotFound, Service

ROOT = Path(__file__).resolve().parents[2]
SERVICES = services()
GOOD = "workgym.services.orders:SERVICE"
NOT_OURS = "json:dumps"


def folders_of_services() -> set[str]:
    return {path.parent.name for path in Path(catalogue_folder.__path__[0]).glob("*/rules.py")}


def test_every_service_of_ours_enters_by_the_entry_point():
    assert folders_of_services() <= set(SERVICES)


def test_the_project_file_offers_what_is_installed():
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][catalogue.GROUP]
    assert set(offered) <= set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_the_name_under_which_it_is_offered(name):
    assert service(name) == SERVICES[name]
    assert SERVICES[name].name == name
    assert SERVICES[name].title


@pytest.mark.parametrize("name", SERVICES)
def test_an_application_is_built_over_an_empty_database(name):
    assert isinstance(application(SERVICES[name], "sqlite://"), FastAPI)


@pytest.mark.parametrize("name", SERVICES)
def test_envs_that_stand_on_a_service_are_registered(name):
    import gymnasium

    import workgym.envs
    from workgym.envs.gyms import env_ids_of

    assert workgym.envs.ENV_IDS
    assert set(env_ids_of(name)) <= set(gymnasium.registry)
    assert env_ids_of(name)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(NotFound, match="no service named 'order'; did you mean 'orders'"):
        service("order")


# Services of others


def offer(monkeypatch, **offers: str) -> None:
    """Install entry points; two underscores at the end of a name are a second package's offer."""
    found = [EntryPoint(name.rstrip("_"), value, catalogue.GROUP) for name, value in offers.items()]
    monkeypatch.setattr(catalogue, "entry_points", lambda group: found)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("workgym.no_such_module:SERVICE", "cannot be imported .* repair or uninstall it"),
        ("workgym.services.orders:NO_SUCH_NAME", "cannot be imported"),
        (NOT_OURS, "expected a Service named 'broken'"),
        (GOOD, "expected a Service named 'broken'"),
    ],
)
def test_a_broken_service_is_told_and_hides_no_other(monkeypatch, caplog, value, complaint):
    offer(monkeypatch, broken=value, orders=GOOD)
    with pytest.raises(BadInput, match=complaint):
        service("broken")
    with caplog.at_level(logging.WARNING):
        assert set(services()) == {"orders"}
    assert "broken" in caplog.text


def test_two_packages_may_not_offer_one_name(monkeypatch):
    offer(monkeypatch, orders=GOOD, orders__=GOOD)
    with pytest.raises(BadInput, match=r"found it in .* and .*; uninstall one"):
        service("orders")


def test_a_service_of_somebody_else_is_served_like_ours(monkeypatch, tmp_path):
    module = tmp_path / "laundry_of_somebody.py"
    module.write_text(
        "from workgym.services.kernel import Service\n"
        "SERVICE = Service('laundry', 'Laundry', 'laundry_of_somebody:create')\n"
        "def create(database): return ('app', database)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    offer(monkeypatch, laundry="laundry_of_somebody:SERVICE")
    assert services() == {"laundry": Service("laundry", "Laundry", "laundry_of_somebody:create")}
    assert application(service("laundry"), "sqlite://") == ("app", "sqlite://")


def test_the_catalogue_stays_light():
    heavy = ("torch", "ray", "fastapi", "pandas", "sqlalchemy", "stable_baselines3")
    code = (
        f"import sys, workgym.services as s; s.services(); print(*[m for m in {heavy} if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not answer.stdout.split()
