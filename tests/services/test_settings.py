"""What the environment says of how a service is deployed."""

from __future__ import annotations

import pytest

from workgym.services.kernel import BadInput
from workgym.services.settings import Settings

TOKEN = "a secret of an admin"


@pytest.mark.parametrize("environment", [{}, {"WORKGYM_ADMIN_TOKEN": "", "WORKGYM_GYM": ""}])
def test_an_empty_environment_says_what_the_defaults_say(environment):
    assert Settings.from_environment(environment) == Settings()


def test_a_service_is_open_until_it_has_an_admin_token():
    assert Settings().open
    assert not Settings.from_environment({"WORKGYM_ADMIN_TOKEN": TOKEN}).open


@pytest.mark.parametrize(
    ("said", "found"),
    [("viewer=60", {"viewer": 60}), ("viewer=60, agent=6000", {"viewer": 60, "agent": 6000}), ("off", {})],
)
def test_how_often_a_role_may_ask(said, found):
    settings = Settings.from_environment({"WORKGYM_REQUESTS_PER_MINUTE": said})
    assert settings.requests_per_minute == found


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("WORKGYM_ADMIN_TOKEN", "short", "at least 16 printable ASCII characters, found 5"),
        ("WORKGYM_ADMIN_TOKEN", f"{TOKEN}\n", "printable ASCII"),
        ("WORKGYM_GYM", "perhaps", "on or off, found 'perhaps'"),
        ("WORKGYM_REQUESTS_PER_MINUTE", "600", "ROLE=NUMBER,... .* found '600'"),
        ("WORKGYM_REQUESTS_PER_MINUTE", "king=600", "found 'king=600'"),
        ("WORKGYM_REQUESTS_PER_MINUTE", "viewer=0", "found 'viewer=0'"),
        ("WORKGYM_REQUESTS_PER_MINUTE", "viewer=60,", "found ''"),
    ],
)
def test_what_is_not_understood_is_told(name, value, complaint):
    with pytest.raises(BadInput, match=complaint):
        Settings.from_environment({name: value})
