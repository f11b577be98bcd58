"""One version serves, the one that earned it, and every move of it is written down for good."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from workgym.factory.artifacts import Tampered
from workgym.factory.entries import Kind
from workgym.factory.records import Outcome
from workgym.factory.registry import Stale, open_registry
from workgym.services.kernel import BadInput, Conflict, NotFound, Refused


def tamper(registry, version, member="policy.safetensors"):
    """Change a byte of a version's stored policy."""
    manifest = json.loads(registry.artifacts.get(version.artifact_digest))
    path = Path(registry.artifacts.path(manifest[member]))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"!")


# Promotion


def test_nobody_serves_before_the_first_promotion(desk, registry):
    desk.blessed()
    assert (registry.champion("orders"), registry.alias("orders")) == (None, None)
    assert (registry.generation("orders"), registry.history("orders")) == (0, ())


def test_a_promoted_version_serves_and_a_line_says_who_why_and_when(desk, registry):
    version = desk.blessed()
    line = desk.promote(version)
    assert registry.champion("orders") == version
    assert registry.history("orders") == (line,)
    assert (line.from_version, line.to_version, line.kind) == (None, 1, Kind.PROMOTE)
    assert (line.actor, line.reason, line.generation) == ("Ada", "it earns more", 1)
    model = registry.list_models()[0]
    assert (model.champion, model.generation, model.since, model.versions) == (1, 1, line.at, 1)


def test_aliases_move_on_their_own(desk, registry):
    first, second = desk.blessed(), desk.candidate()
    desk.promote(first)
    desk.judge(second, alias="edge")
    desk.promote(second, "edge")
    assert (registry.champion("orders"), registry.generation("orders")) == (first, 1)
    assert registry.champion("orders", "edge").version == second.version
    for alias in ("champion", "edge"):
        desk.assert_history_leads_here(alias)


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.INCONCLUSIVE])
def test_a_version_that_did_not_pass_a_gate_is_refused_with_the_gates_sentence(desk, registry, outcome):
    version = desk.judge(desk.candidate(), outcome)
    with pytest.raises(Refused, match=f"beats-champion says {outcome}"):
        desk.promote(version)
    assert registry.champion("orders") is None


def test_a_version_without_a_required_verdict_is_refused(desk, registry):
    version = desk.candidate(gates=("flips", "gain"))
    registry.record_verdicts(version, [desk.verdict(version, "gain")], generation=0)
    with pytest.raises(Refused, match=r"no verdict of gate 'flips'.*factory gate orders 1"):
        desk.promote(version)
    assert registry.champion("orders") is None


def test_a_version_that_requires_no_gate_never_serves(desk):
    with pytest.raises(Refused, match="without a required gate"):
        desk.promote(desk.candidate(gates=()))


def test_a_pass_that_was_taken_back_no_longer_counts(desk):
    version = desk.judge(desk.blessed(), Outcome.FAIL)
    with pytest.raises(Refused, match="did not pass"):
        desk.promote(version)


def test_verdicts_for_one_alias_do_not_count_for_another(desk):
    with pytest.raises(Refused, match="for 'edge'"):
        desk.promote(desk.blessed(), "edge")


@pytest.mark.parametrize("move", ["promote", "rollback"])
def test_verdicts_against_an_earlier_champion_are_stale(desk, registry, move):
    desk.champions(2)
    late, rival = desk.blessed(), desk.blessed()
    if move == "promote":
        desk.promote(rival)
    else:
        desk.rollback()
    with pytest.raises(Stale, match=r"STALE: gate 'beats-champion'.*generation 2 .*now at 3"):
        desk.promote(late)
    assert desk.promote(desk.judge(late)).to_version == late.version  # gated again


def test_a_decision_on_an_earlier_generation_is_a_conflict(desk, registry):
    desk.champions(1)
    late = desk.blessed()
    with pytest.raises(Conflict, match="at generation 1, expected 0"):
        desk.promote(late, generation=0)
    assert desk.serving() == 1


def test_the_champion_is_not_promoted_again(desk):
    version = desk.blessed()
    desk.promote(version)
    with pytest.raises(Refused, match="already serves"):
        desk.promote(desk.judge(version))


@pytest.mark.parametrize(("actor", "reason"), [("", "why"), ("Ada", " ")])
def test_nobody_moves_an_alias_without_a_name_and_a_reason(desk, registry, actor, reason):
    version = desk.blessed()
    with pytest.raises(BadInput, match="who moves the alias and why"):
        registry.promote("orders", version.version, expected_generation=0, actor=actor, reason=reason)
    with pytest.raises(BadInput, match="who moves the alias and why"):
        registry.rollback("orders", actor=actor, reason=reason)


def test_a_version_that_does_not_exist_is_not_promoted(desk, registry):
    desk.blessed()
    with pytest.raises(NotFound, match="versions 1 to 1"):
        registry.promote("orders", 2, expected_generation=0, actor="Ada", reason="it earns more")


@pytest.mark.parametrize("member", ["policy.safetensors", "policy.json"])
def test_a_tampered_policy_is_never_promoted(desk, registry, member):
    version = desk.blessed()
    tamper(registry, version, member)
    with pytest.raises(Tampered, match="restore"):
        desk.promote(version)
    assert registry.champion("orders") is None


# Rollback


def test_rolling_back_twice_goes_back_two_champions(desk):
    desk.champions(3)
    assert [desk.rollback().to_version for _ in range(2)] == [2, 1]
    with pytest.raises(Refused, match="nothing served as 'champion' before"):
        desk.rollback()
    assert desk.serving() == 1


def test_a_rollback_is_a_line_of_history(desk, registry):
    desk.champions(2)
    line = desk.rollback()
    assert registry.history("orders")[-1] == line
    assert (line.from_version, line.to_version, line.kind, line.generation) == (2, 1, Kind.ROLLBACK, 3)


def test_what_was_promoted_after_a_rollback_goes_back_to_what_it_replaced(desk):
    desk.champions(2)
    desk.rollback()
    desk.champions(1)
    assert [desk.rollback().to_version, desk.serving()] == [1, 1]


def test_a_rollback_over_several_champions_forgets_those_between(desk):
    desk.champions(4)
    desk.rollback(to=2)
    assert desk.rollback().to_version == 1


def test_a_mistaken_rollback_is_undone_by_naming_the_version(desk):
    desk.champions(3)
    desk.rollback(to=1)
    assert desk.rollback(to=3).to_version == 3
    assert desk.rollback().to_version == 1


@pytest.mark.parametrize("to", [0, 3, 4, 5])
def test_only_a_version_that_served_before_can_come_back(desk, to):
    desk.champions(3)
    desk.blessed()
    with pytest.raises(Refused, match=r"expected one of \[1, 2\]"):
        desk.rollback(to=to)
    assert desk.serving() == 3


def test_nothing_rolls_back_before_the_first_promotion(desk):
    desk.blessed()
    with pytest.raises(NotFound, match="promote one first"):
        desk.rollback()


def test_a_tampered_predecessor_is_refused_and_an_earlier_one_can_be_named(desk, registry):
    desk.champions(3)
    tamper(registry, registry.version("orders", 2))
    with pytest.raises(Tampered):
        desk.rollback()
    assert desk.serving() == 3
    assert desk.rollback(to=1).to_version == 1


def test_two_who_saw_the_same_drift_roll_back_once(desk):
    desk.champions(3)
    desk.rollback(expected_generation=3)
    with pytest.raises(Conflict, match="somebody moved it"):
        desk.rollback(expected_generation=3)
    assert desk.serving() == 2


class Line(RuleBasedStateMachine):
    """Promotes, rolls back and gets refused at random, beside a list that says who should serve."""

    desk = None
    models = iter(range(10**9))

    def __init__(self):
        super().__init__()
        self.desk.name = f"orders-{next(self.models)}"
        self.registry = self.desk.registry
        self.stack = []
        self.ever = set()
        self.moves = 0
        self.waiting = self.desk.blessed()

    def put_on_top(self, version):
        self.stack.append(version)
        self.ever.add(version)
        self.moves += 1

    @rule()
    def promote_a_new_version(self):
        self.put_on_top(self.desk.promote(self.desk.blessed()).to_version)

    @rule()
    def promote_the_version_that_waits(self):
        try:
            line = self.desk.promote(self.waiting)
        except Stale:
            assert self.moves > 0
            self.waiting = self.desk.judge(self.waiting)
        else:
            self.put_on_top(line.to_version)
            self.waiting = self.desk.blessed()

    @rule(behind=st.integers(1, 3))
    def decide_on_an_old_generation(self, behind):
        with pytest.raises(Conflict):
            self.desk.promote(self.waiting, generation=self.moves - behind)

    @rule(outcome=st.sampled_from([Outcome.FAIL, Outcome.INCONCLUSIVE]))
    def promote_what_did_not_pass(self, outcome):
        with pytest.raises(Refused):
            self.desk.promote(self.desk.judge(self.desk.candidate(), outcome))

    @precondition(lambda self: len(self.stack) > 1)
    @rule()
    def roll_back(self):
        assert self.desk.rollback().to_version == self.stack[-2]
        self.stack.pop()
        self.moves += 1

    @precondition(lambda self: len(self.ever) > 1)
    @rule(data=st.data())
    def roll_back_to(self, data):
        to = data.draw(st.sampled_from(sorted(self.ever - {self.stack[-1]})))
        self.desk.rollback(to=to)
        if to in self.stack[:-1]:
            while self.stack.pop() and self.stack[-1] != to:
                pass
        else:
            self.stack.append(to)
        self.moves += 1

    @precondition(lambda self: len(self.stack) < 2)
    @rule()
    def roll_back_too_far(self):
        with pytest.raises((Refused, NotFound)):
            self.desk.rollback()

    @invariant()
    def the_right_version_serves(self):
        assert self.desk.serving() == (self.stack[-1] if self.stack else None)
        assert self.registry.generation(self.desk.name) == self.moves

    @invariant()
    def history_leads_to_the_alias(self):
        self.desk.assert_history_leads_here()

    @invariant()
    def whoever_was_promoted_had_passed_every_required_gate_against_its_predecessor(self):
        for line in self.registry.history(self.desk.name):
            if line.kind is Kind.PROMOTE:
                version = self.registry.version(self.desk.name, line.to_version)
                passed = {
                    verdict.gate
                    for verdict in self.registry.verdicts(version)
                    if (verdict.outcome, verdict.champion_generation) == (Outcome.PASS, line.generation - 1)
                }
                assert passed >= set(version.required_gates)


def test_whatever_happens_one_version_serves_and_history_says_why(desk):
    class OnThisDatabase(Line):
        pass

    OnThisDatabase.desk = desk
    run_state_machine_as_test(
        OnThisDatabase,
        settings=settings(
            max_examples=12,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


# The workspace


def test_the_workspace_is_a_folder_with_a_database_and_artifacts(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKGYM_HOME", str(tmp_path / "home"))
    with open_registry() as registry:
        digest = registry.artifacts.put_bytes(b"weights")
    assert (tmp_path / "home" / "registry.db").is_file()
    with open_registry(tmp_path / "home") as again:
        assert again.artifacts.get(digest) == b"weights"


def test_without_a_word_the_workspace_is_here(tmp_path, monkeypatch):
    monkeypatch.delenv("WORKGYM_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    with open_registry():
        assert (tmp_path / ".workgym" / "registry.db").is_file()


def test_a_workspace_may_keep_its_rows_elsewhere(tmp_path, database_url):
    with open_registry(tmp_path / "home", url=database_url) as registry:
        assert registry.list_models() == ()
    assert not (tmp_path / "home" / "registry.db").exists()
