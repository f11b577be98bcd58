"""A sealed suite remembers whom it was shown to."""

from workgym.factory.suite_uses import SuiteUses


def test_every_policy_that_is_shown_a_suite_wears_it_out_and_none_does_twice(registry):
    uses = SuiteUses(registry)
    assert [uses.use("s" * 64, policy, "generalisation") for policy in ("a", "b", "a", "c")] == [1, 2, 1, 3]
    assert uses.use("t" * 64, "c", "generalisation") == 1
    assert uses.use("s" * 64, "c", "robustness") == 1


def test_uses_outlive_the_process(registry, desk):
    SuiteUses(registry).use("s" * 64, "a", "generalisation")
    with desk.reopen() as again:
        assert SuiteUses(again).use("s" * 64, "b", "generalisation") == 2
