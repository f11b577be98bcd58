"""A verdict is bound to the champion, the env and the suite that it was made with."""

import pytest

from workgym.factory.registry import Stale

ENV, SUITE = "Orders-v0+abc", "5" * 64


def promote(desk, version, **today):
    now = desk.registry.generation(desk.name)
    words = {"actor": "Ada", "reason": "it earns more"}
    return desk.registry.promote(desk.name, version.version, expected_generation=now, **words, **today)


def test_verdicts_on_todays_env_and_suite_promote(desk):
    line = promote(desk, desk.blessed(), env_version=ENV, suite_digest=SUITE)
    assert line.generation == 1


@pytest.mark.parametrize(
    ("today", "found"),
    [
        (
            {"env_version": "Orders-v0+new"},
            f"env version {ENV}, which is now Orders-v0\\+new".replace("+abc", r"\+abc"),
        ),
        ({"suite_digest": "6" * 64}, f"suite digest {SUITE}, which is now {'6' * 64}"),
    ],
)
def test_a_verdict_on_another_env_or_suite_is_refused_as_stale(desk, today, found):
    version = desk.blessed()
    with pytest.raises(Stale, match=f"STALE: gate 'beats-champion' judged orders version 1 on {found}"):
        promote(desk, version, **{"env_version": ENV, "suite_digest": SUITE, **today})
    assert desk.serving() is None


def test_a_verdict_of_an_earlier_generation_is_refused_as_stale(desk):
    waiting = desk.blessed()
    promote(desk, desk.blessed(), env_version=ENV, suite_digest=SUITE)
    with pytest.raises(Stale, match="at generation 0 of 'champion', which is now at 1"):
        promote(desk, waiting, env_version=ENV, suite_digest=SUITE)


def test_gating_again_in_todays_env_cures_a_stale_verdict(desk):
    version = desk.blessed()
    verdicts = [desk.verdict(version)]
    desk.registry.record_verdicts(version, verdicts, generation=0, env_version="Orders-v0+new")
    assert [one.env_version for one in desk.registry.verdicts(version)] == [ENV, "Orders-v0+new"]
    assert promote(desk, version, env_version="Orders-v0+new").to_version == version.version
