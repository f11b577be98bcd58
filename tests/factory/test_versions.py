"""A candidate is kept under a number of its own, with all that the gates said of it."""

import concurrent.futures
from pathlib import Path

import pytest

from workgym.factory.artifacts import Tampered
from workgym.factory.records import Outcome
from workgym.factory.states import VersionStatus
from workgym.services.kernel import BadInput, Conflict, NotFound, Refused

PASS, FAIL, OPEN = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE


def test_versions_count_from_one_by_name(desk, registry):
    numbers = [desk.candidate().version for _ in range(3)]
    desk.name = "returns"
    assert numbers == [1, 2, 3]
    assert desk.candidate().version == 1
    assert [version.version for version in registry.list_versions("orders")] == [3, 2, 1]
    assert [model.name for model in registry.list_models()] == ["orders", "returns"]


def test_the_same_artifact_is_registered_once_in_a_run(desk, registry):
    run, policy = desk.run(), desk.policy()
    first = desk.candidate(run=run, digest=policy)
    desk.candidate(run=run)
    assert desk.candidate(run=run, digest=policy) == first
    assert desk.candidate(digest=policy).version == 3  # another run


def test_the_same_artifact_with_results_on_another_suite_is_refused(desk, registry, card):
    run, policy = desk.run(), desk.policy()
    desk.candidate(run=run, digest=policy)
    with pytest.raises(Conflict, match="start another run"):
        registry.register(
            "orders",
            run_id=run.id,
            artifact_digest=policy,
            scorecard=card(policy, suite="6" * 64),
            required_gates=["beats-champion"],
        )


def test_writers_at_once_get_different_numbers(desk):
    run, policies = desk.run(), [desk.policy() for _ in range(8)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        kept = list(pool.map(lambda policy: desk.candidate(run=run, digest=policy), policies))
    assert sorted(version.version for version in kept) == list(range(1, 9))


def test_a_version_remembers_where_it_comes_from(desk, registry, card):
    champion = desk.champions(1)[0]
    run, policy = desk.run(), desk.policy()
    training = registry.finish_training(desk.training(run, seed=7).id, policy, steps=10, cpu_seconds=1)
    version = registry.register(
        "orders",
        run_id=run.id,
        artifact_digest=policy,
        scorecard=card(policy),
        required_gates=["b", "a", "b"],
        training_id=training.id,
        lineage={"note": "first try", "parent": "a lie"},
    )
    assert registry.version("orders", version.version) == version
    assert version.lineage == {
        "note": "first try",
        "spec_digest": run.spec_digest,
        "code_version": run.code_version,
        "env_version": run.env_version,
        "suite_digest": card(policy).suite,
        "recipe_digest": training.recipe_digest,
        "seeds": [7],
        "parent": champion,
    }
    assert (version.required_gates, version.training_id) == (("a", "b"), training.id)
    assert registry.scorecard(version.scorecard_digest).policy == policy


def test_a_training_can_only_have_made_its_own_policy(desk, registry, card):
    run, policy = desk.run(), desk.policy()
    training = registry.finish_training(desk.training(run).id, desk.policy(), steps=10, cpu_seconds=1)
    with pytest.raises(BadInput, match="the training that made it"):
        registry.register(
            "orders",
            run_id=run.id,
            artifact_digest=policy,
            scorecard=card(policy),
            required_gates=[],
            training_id=training.id,
        )


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"profit": ()}, "no scenario"),
        ({"env_id": "workgym/Returns-v0"}, "evaluate on its env"),
        ({"policy": "somebody else"}, "evaluate it under its digest"),
    ],
)
def test_a_scorecard_of_something_else_is_refused(desk, registry, card, changes, complaint):
    policy = desk.policy()
    with pytest.raises(BadInput, match=complaint):
        registry.register(
            "orders",
            run_id=desk.run().id,
            artifact_digest=policy,
            scorecard=card(**{"policy": policy, **changes}),
            required_gates=["beats-champion"],
        )
    assert not registry.list_models()


@pytest.mark.parametrize("name", ["", "Orders", "a b", "a/b", "-x", "x" * 101])
def test_names_fit_a_url(desk, name):
    desk.name = name
    with pytest.raises(BadInput, match="lower-case"):
        desk.candidate()


def test_bytes_that_do_not_verify_are_never_registered(desk, registry):
    policy = desk.policy()
    member = Path(registry.artifacts.path(policy))
    member.chmod(0o644)
    member.write_bytes(b"poison")
    with pytest.raises(Tampered):
        desk.candidate(digest=policy)
    with pytest.raises(NotFound):
        desk.candidate(digest="0" * 64)
    assert not registry.list_models()


def test_unknown_names_and_numbers_say_what_there_is(desk, registry):
    desk.candidate()
    for ask in (registry.list_versions, registry.history, lambda name: registry.version(name, 1)):
        with pytest.raises(NotFound, match="did you mean 'orders'"):
            ask("order")
    with pytest.raises(NotFound, match="versions 1 to 1"):
        registry.version("orders", 2)


# Verdicts


def test_verdicts_are_kept_word_for_word_in_order(desk, registry):
    version = desk.candidate(gates=("flips", "gain"))
    said = [desk.verdict(version, "gain", PASS), desk.verdict(version, "flips", FAIL), desk.verdict(version)]
    registry.record_verdicts(version, said, generation=0)
    kept = registry.verdicts(version)
    for verdict, line in zip(said, kept, strict=True):
        for name in ("gate", "outcome", "sentence", "numbers", "champion"):
            assert getattr(line, name) == getattr(verdict, name)
        assert (line.suite_digest, line.champion_generation, line.alias) == (verdict.suite, 0, "champion")


@pytest.mark.parametrize(
    ("rounds", "status"),
    [
        ([], VersionStatus.REGISTERED),
        ([{"gain": PASS}], VersionStatus.REGISTERED),
        ([{"gain": PASS, "flips": PASS}], VersionStatus.BLESSED),
        ([{"gain": PASS, "flips": OPEN}], VersionStatus.REGISTERED),
        ([{"gain": FAIL}], VersionStatus.REJECTED),
        ([{"gain": OPEN, "flips": FAIL}], VersionStatus.REJECTED),
        ([{"gain": PASS, "flips": PASS, "advice": FAIL}], VersionStatus.BLESSED),
        ([{"gain": PASS, "flips": OPEN}, {"flips": PASS}], VersionStatus.BLESSED),
        ([{"gain": PASS, "flips": PASS}, {"flips": OPEN}], VersionStatus.REGISTERED),
        ([{"gain": PASS, "flips": PASS}, {"flips": FAIL}], VersionStatus.REJECTED),
        ([{"gain": FAIL, "flips": PASS}, {"gain": OPEN}], VersionStatus.REJECTED),
        ([{"gain": FAIL, "flips": PASS}, {"gain": PASS}], VersionStatus.BLESSED),
    ],
)
def test_the_status_follows_the_latest_verdict_of_each_required_gate(desk, registry, rounds, status):
    version = desk.candidate(gates=("gain", "flips"))
    for said in rounds:
        verdicts = [desk.verdict(version, gate, outcome) for gate, outcome in said.items()]
        registry.record_verdicts(version, verdicts, generation=0)
    assert registry.version("orders", 1).status is status


def test_a_version_that_requires_no_gate_is_never_blessed(desk, registry):
    version = desk.candidate(gates=())
    judged = registry.record_verdicts(version, [desk.verdict(version, "gain")], generation=0)
    assert judged.status is VersionStatus.REGISTERED


def test_a_repeated_verdict_is_written_once_and_a_changed_one_again(desk, registry):
    version = desk.candidate()
    for outcome in (OPEN, OPEN, PASS, PASS, OPEN):
        desk.judge(version, outcome)
    assert [line.outcome for line in registry.verdicts(version)] == [OPEN, PASS, OPEN]


def test_a_verdict_on_somebody_else_is_refused(desk, registry):
    version, other = desk.candidate(), desk.candidate()
    with pytest.raises(BadInput, match="judge that version's own scorecard"):
        registry.record_verdicts(version, [desk.verdict(version), desk.verdict(other, "flips")], generation=0)
    assert not registry.verdicts(version)


def test_a_verdict_cannot_come_from_the_future(desk):
    with pytest.raises(BadInput, match="before evaluating"):
        desk.judge(desk.candidate(), generation=1)


def test_a_verdict_with_a_number_that_is_none_is_refused(desk, registry):
    version = desk.candidate()
    with pytest.raises(BadInput, match="finite"):
        registry.record_verdicts(
            version, [desk.verdict(version, numbers={"low": float("nan")})], generation=0
        )
    assert not registry.verdicts(version)


# Several releases


def test_a_version_that_may_serve_as_one_thing_is_blessed_whatever_the_others_say(desk):
    version = desk.candidate()
    assert desk.judge(version, Outcome.FAIL, alias="champion").status is VersionStatus.REJECTED
    assert desk.judge(version, Outcome.PASS, alias="edge").status is VersionStatus.BLESSED


def test_bootstrap_is_asked_of_the_first_to_serve_alone(desk, registry):
    desk.promote(desk.blessed())
    version = desk.candidate(gates=("beats-champion", "bootstrap"))
    asked = [desk.verdict(version, "beats-champion")]
    judged = registry.record_verdicts(version, asked, generation=1)
    assert judged.status is VersionStatus.BLESSED
    assert desk.promote(version).to_version == version.version
    with pytest.raises(Refused, match="no verdict of gate"):
        desk.promote(version, alias="edge")
