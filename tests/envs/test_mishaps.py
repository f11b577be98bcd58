"""Business faults: what they hide and what they do, everywhere the same, and nobody's money is lost."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workgym.envs  # noqa: F401  # registers the ids
from tests.support.served import served
from workgym.agents.baselines import Role, baselines, make_baseline
from workgym.envs import conformance
from workgym.envs.base import ACT, BEGIN, Board, Env, Episodes, Ints, VectorEnv
from workgym.envs.conformance import LAWS, masks_are_exact, players_are_ordered
from workgym.envs.mishaps import KINDS, Disturbed, Mishaps
from workgym.envs.orders import TwinBackend, setup_for, task
from workgym.envs.tools import ToolEnv
from workgym.factory.evaluate import evaluate, gate_suite
from workgym.factory.judging import policy_of
from workgym.factory.registry import open_registry
from workgym.services.kernel import BadInput, InfrastructureFault
from workgym.services.orders.state import State
from workgym.services.settings import Settings

ORDERS, LOST_SALES = "workgym/Orders-v0", "workgym/SupplyChain.lost-sales-v0"
RETAIL = "workgym/SupplyChain.retail-v0"
SMALL: dict[str, dict[str, Any]] = {
    ORDERS: {"days": 2, "orders_per_day": 6.0},
    LOST_SALES: {"periods": 12},
    RETAIL: {"skus": 3, "stores": 2, "periods": 10},
}
ALL = {"lost-acknowledgement": 0.2, "duplicate-delivery": 0.15, "stale-read": 0.25}
TRIED = [claim for claim, law in LAWS.items() if law not in (masks_are_exact, players_are_ordered)]
HOLD = 13
Steps = list[tuple[Any, float, bool, dict[str, Any]]]


def single(env_id: str, mishaps: Any = None, **more: Any) -> Env:
    return cast("Env", gym.make(env_id, mishaps=mishaps, **{**SMALL[env_id], **more}).unwrapped)


def lanes(env_id: str, n: int, mishaps: Any = None, **more: Any) -> VectorEnv:
    return cast("VectorEnv", gym.make_vec(env_id, num_envs=n, mishaps=mishaps, **{**SMALL[env_id], **more}))


def actions_of(env: Env, n: int, seed: int = 0) -> list[Any]:
    """Actions of the space, legal or not."""
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(n)]


def episode(env: Env, actions: list[Any], seed: int = 4) -> tuple[Any, Steps]:
    """What an episode shows first, and then after each decision."""
    opening, _ = env.reset(seed=seed)
    steps: Steps = []
    for action in actions:
        obs, reward, ended, _, info = env.step(action)
        steps.append((obs, reward, ended, info))
        if ended:
            break
    return opening, steps


# What may be asked for


@pytest.mark.parametrize("given_", [{"stale-reads": 0.1}, {"stale_read": 0.1}, {3: 0.1}])
def test_an_unknown_mishap_is_named_with_the_known_ones(given_: Any) -> None:
    with pytest.raises(BadInput, match=r"no mishap named .*stale-read"):
        single(ORDERS, given_)


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan"), float("inf"), "0.1", None, True, [0.1]])
def test_a_share_is_a_number_between_nothing_and_always(share: Any) -> None:
    with pytest.raises(BadInput, match=r"a share in 0\.\.1"):
        single(LOST_SALES, {"stale-read": share})


@pytest.mark.parametrize("given_", [0.1, "stale-read", ["stale-read"]])
def test_mishaps_are_a_mapping(given_: Any) -> None:
    with pytest.raises(BadInput, match="expected mishaps as a mapping"):
        single(LOST_SALES, given_)


@pytest.mark.parametrize("env_id", SMALL)
@pytest.mark.parametrize("nothing", [None, {}, {"stale-read": 0.0}])
def test_without_mishaps_nothing_stands_between(env_id: str, nothing: Any) -> None:
    env = single(env_id, nothing)
    assert not isinstance(env.backend, Disturbed)
    env.reset(seed=1)
    assert env.snapshot().untold == b""
    assert conformance.trajectory(env, 3, 40) == conformance.trajectory(single(env_id), 3, 40)


# The laws


@pytest.mark.parametrize("backend", ["twin", "embedded"])
@pytest.mark.parametrize("env_id", SMALL)
@pytest.mark.parametrize("claim", TRIED)
def test_the_laws_hold_under_mishaps(env_id: str, backend: str, claim: str) -> None:
    arguments = {**SMALL[env_id], "mishaps": ALL}
    (finding,) = conformance.check(env_id, (backend,), arguments, steps=50, only=(claim,))
    assert finding.passed, finding.detail
    assert finding.cases > 0


@pytest.mark.parametrize("env_id", SMALL)
def test_every_backend_meets_the_same_mishaps(env_id: str) -> None:
    findings = conformance.check(env_id, kwargs={**SMALL[env_id], "mishaps": ALL}, steps=50, only=())
    assert findings
    assert all(finding.passed for finding in findings), list(conformance.report(findings))


@pytest.mark.parametrize(("env_id", "service"), [(ORDERS, "orders"), (RETAIL, "supply_chain")])
def test_mishaps_are_the_clients_business_and_the_server_hears_nothing_of_them(
    env_id: str, service: str, database_url: str
) -> None:
    with served(service, database_url) as server:
        at_server = {"backend": "http", "base_url": server.base_url}
        with (
            closing(lanes(env_id, 3, ALL, **at_server)) as there,
            closing(lanes(env_id, 3, ALL)) as here,
            closing(single(env_id, ALL, **at_server)) as alone,
        ):
            rng = np.random.default_rng(2)
            assert _same(there.reset(seed=6), here.reset(seed=6))
            for _ in range(25):
                actions = conformance.choose_all(here, rng)
                assert _same(there.step(actions), here.step(actions))
                assert there.snapshot(1).hash == here.snapshot(1).hash
            alone.reset(seed=0)
            here.restore(0, there.snapshot(2))
            shown, _ = alone.restore(there.snapshot(2))
            assert np.array_equal(shown, here.restore(0, there.snapshot(2))[0])


@pytest.mark.slow
def test_a_storm_on_the_line_changes_nothing_of_what_the_mishaps_do(tmp_path: Path) -> None:
    storm = Settings(
        faults="delay=0.05:5ms,duplicate=0.1,error=0.1,reset=0.05,lost-answer=0.1,database=0.05;seed=3"
    )
    patient = {"deadline_s": 60.0, "attempt_s": 0.5}
    with served("orders", f"sqlite:///{tmp_path}/orders.db", storm) as server:
        at_server = {"backend": "http", "base_url": server.base_url, "transport": patient}
        with closing(lanes(ORDERS, 3, ALL, **at_server)) as there, closing(lanes(ORDERS, 3, ALL)) as here:
            rng = np.random.default_rng(8)
            assert _same(there.reset(seed=8), here.reset(seed=8))
            for _ in range(12):
                actions = conformance.choose_all(here, rng)
                assert _same(there.step(actions), here.step(actions))


def _same(one: Any, other: Any) -> bool:
    return conformance._digest(*one) == conformance._digest(*other)


def test_masks_are_a_law_where_nothing_is_hidden() -> None:
    claims = [
        f.law for f in conformance.check(ORDERS, ("twin",), {**SMALL[ORDERS], "mishaps": ALL}, steps=30)
    ]
    twice = {**SMALL[ORDERS], "mishaps": {"duplicate-delivery": 0.5}}
    found = {f.law: f for f in conformance.check(ORDERS, ("twin",), twice, steps=30)}
    masks = next(claim for claim, law in LAWS.items() if law is masks_are_exact)
    assert masks not in claims
    assert found[masks].passed, found[masks].detail


# What each of them does


@pytest.mark.parametrize("env_id", [LOST_SALES, RETAIL])
def test_a_stale_read_shows_the_moment_before_and_pays_at_once(env_id: str) -> None:
    actions = actions_of(single(env_id), 40)
    opening, true = episode(single(env_id), actions)
    _, stale = episode(single(env_id, {"stale-read": 1.0}), actions)
    assert true[-1][2]
    moments = [opening, *(obs for obs, *_ in true)]
    for t, (seen, told) in enumerate(zip(stale, true, strict=True)):
        assert np.array_equal(seen[0], moments[t + 1 if told[2] else t])
        assert seen[1:3] == told[1:3]
        assert _same([seen[3]], [told[3]])


@pytest.mark.parametrize("env_id", [LOST_SALES, RETAIL])
def test_without_acknowledgements_the_opening_is_seen_to_the_end_and_then_all_is_paid(env_id: str) -> None:
    actions = actions_of(single(env_id), 40)
    opening, true = episode(single(env_id), actions)
    _, lost = episode(single(env_id, {"lost-acknowledgement": 1.0}), actions)
    for obs, reward, ended, info in lost[:-1]:
        assert np.array_equal(obs, opening)
        assert (reward, ended, info["constraint_cost"]) == (0.0, False, 0.0)
        assert not any(info["reward_terms"].values())
        assert not np.any(info.get("credit", 0))
    obs, reward, ended, info = lost[-1]
    assert ended
    assert np.array_equal(obs, true[-1][0])
    assert reward == sum(step[1] for step in true)
    assert info["constraint_cost"] == sum(step[3]["constraint_cost"] for step in true)
    for name, paid in info["reward_terms"].items():
        assert paid == sum(step[3]["reward_terms"][name] for step in true)
    if "credit" in info:
        assert np.array_equal(info["credit"], np.sum([step[3]["credit"] for step in true], axis=0))


def test_an_episode_that_is_left_owes_nothing_to_the_next_one() -> None:
    env, calm = (single(LOST_SALES, mishaps) for mishaps in ({"lost-acknowledgement": 1.0}, None))
    actions = actions_of(env, 12)
    episode(env, actions[:5])
    assert np.array_equal(env.reset(seed=7)[0], calm.reset(seed=7)[0])
    _, lost = episode(env, actions, 7)
    _, true = episode(calm, actions, 7)
    assert lost[-1][1] == sum(step[1] for step in true)


def test_a_lost_acknowledgement_is_as_old_as_the_last_news_and_a_stale_read_one_moment() -> None:
    lost, stale = (_ages({kind: 0.5}) for kind in ("lost-acknowledgement", "stale-read"))
    assert max(lost) >= 2
    assert all(after in (0, before + 1) for before, after in zip([0, *lost], lost, strict=False))
    assert set(stale) == {0, 1}


def _ages(mishaps: dict[str, float]) -> list[int]:
    """How many decisions old what is shown after each is."""
    actions, ages = actions_of(single(LOST_SALES), 12), []
    opening, true = episode(single(LOST_SALES), actions, 6)
    moments = [opening, *(obs for obs, *_ in true)]
    for t, (obs, *_) in enumerate(episode(single(LOST_SALES, mishaps), actions, 6)[1], 1):
        ages.append(min(t - s for s in range(t + 1) if np.array_equal(obs, moments[s])))
    return ages


def test_a_duplicate_delivery_is_carried_out_as_a_decision_of_its_own() -> None:
    env, calm = single(LOST_SALES, {"duplicate-delivery": 1.0}), single(LOST_SALES)
    env.reset(seed=2)
    calm.reset(seed=2)
    for action in actions_of(env, 6):
        obs, reward, ended, _, info = env.step(action)
        _, first, _, _, told = calm.step(action)
        after, second, over, _, again = calm.step(action)
        assert np.array_equal(obs, after)
        assert (reward, ended) == (first + second, over)
        assert info["constraint_cost"] == told["constraint_cost"] + again["constraint_cost"]
        assert env.state_hash() == calm.state_hash()
    assert ended


def test_an_order_that_is_shipped_twice_ships_the_next_one_too_where_that_is_legal() -> None:
    env, calm = single(ORDERS, {"duplicate-delivery": 1.0}), single(ORDERS)
    rng, second = np.random.default_rng(5), []
    env.reset(seed=5)
    calm.reset(seed=5)
    ended = False
    while not ended:
        action = conformance.choose(env, rng)
        _, reward, ended, _, info = env.step(action)
        _, earned, over, _, _ = calm.step(action)
        assert "refused" not in info
        if not over:
            legal = bool(calm.mask[action])
            _, more, over, _, told = calm.step(action)
            assert ("refused" in told) == (not legal)
            second.append(legal)
            earned += more
        assert (reward, ended) == (earned, over)
        assert env.state_hash() == calm.state_hash()
    assert any(second)
    assert not all(second)


def test_a_refused_decision_is_not_delivered_to_more_effect_and_its_reason_is_told() -> None:
    env = single(ORDERS, {"duplicate-delivery": 1.0})
    env.reset(seed=1)
    before = env.state_hash()
    illegal = int(np.flatnonzero(~env.mask)[0])
    _, reward, _, _, info = env.step(illegal)
    assert info["refused"] in env.task.reasons
    assert (reward, env.state_hash()) == (0, before)


def test_a_stale_mask_may_name_what_is_refused_and_nothing_says_so() -> None:
    env, refused = single(ORDERS, {"stale-read": 0.5}), 0
    rng = np.random.default_rng(0)
    _, info = env.reset(seed=0)
    known = set(info) | {"refused"}
    for _ in range(60):
        before = env.state_hash()
        _, reward, ended, _, info = env.step(conformance.choose(env, rng))
        assert set(info) <= known
        if "refused" in info:
            refused += 1
            assert (reward, env.state_hash()) == (0, before)
        if ended:
            env.reset()
    assert refused


@settings(max_examples=25, deadline=None)
@given(
    shares=st.fixed_dictionaries({kind: st.floats(0, 1) for kind in KINDS}),
    seed=st.integers(0, 2**20),
    env_id=st.sampled_from(sorted(SMALL)),
    stop=st.integers(1, 12),
)
def test_nobodys_money_is_lost_and_every_moment_can_be_returned_to(
    shares: dict[str, float], seed: int, env_id: str, stop: int
) -> None:
    env, rng = single(env_id, shares), np.random.default_rng(seed)
    env.reset(seed=seed)
    earned, ended, taken = 0.0, False, 0
    while not ended and taken < 400:
        _, reward, ended, _, info = env.step(conformance.choose(env, rng))
        earned, taken = earned + reward, taken + 1
        assert reward == sum(info["reward_terms"].values())
        if taken == stop and not ended:
            moment, mask = env.snapshot(), env.mask.copy()
            env.step(conformance.choose(env, rng))
            obs, _ = env.restore(moment)
            copy = pickle.loads(pickle.dumps(env))
            assert env.snapshot() == moment == copy.snapshot()
            assert np.array_equal(mask, copy.mask)
            assert _same([obs], [copy._board.obs[0]])
            action = conformance.choose(copy, rng)
            assert _same(copy.step(action), env.step(action))
            env.restore(moment)
    if ended:
        assert earned == _ledger(env)


def _ledger(env: Env) -> int:
    """What the business itself has booked."""
    kind = State if env.task.env_id == ORDERS else _chain_state()
    return int(kind.from_bytes(env.backend.state_bytes(0)).ledger.sum())


def _chain_state() -> Any:
    from workgym.services.supply_chain.state import State as ChainState

    return ChainState


# Who meets them


def _hit(env: Env, calm: Env, actions: list[Any], seed: int) -> list[bool]:
    """Which decisions are answered with an old moment."""
    _, seen = episode(env, actions, seed)
    _, true = episode(calm, actions, seed)
    return [not np.array_equal(one[0], other[0]) for one, other in zip(seen, true, strict=True)]


@pytest.mark.parametrize("kind", ["stale-read", "lost-acknowledgement"])
def test_two_policies_that_are_compared_meet_the_same_mishaps(kind: str) -> None:
    env, calm = single(LOST_SALES, {kind: 0.4}, periods=60), single(LOST_SALES, periods=60)
    hits = [_hit(env, calm, actions_of(env, 60, seed), 9) for seed in (1, 2)]
    others = _hit(env, calm, actions_of(env, 60, 1), 10)
    assert hits[0] == hits[1] != others
    assert 10 < sum(hits[0]) < 40


def test_a_scorecard_under_mishaps_does_not_depend_on_lanes_or_backends() -> None:
    arguments = {**SMALL[ORDERS], "mishaps": ALL}
    suite = gate_suite(ORDERS, arguments, "gate", 1)
    cards = [
        evaluate(make_baseline(ORDERS, task().reference), suite, arguments, **how)
        for how in ({}, {"lanes": 2}, {"backend": "embedded"})
    ]
    assert all(np.array_equal(card.profit, cards[0].profit) for card in cards)
    assert cards[0].digest() == cards[1].digest()
    calm = evaluate(
        make_baseline(ORDERS, task().reference), gate_suite(ORDERS, SMALL[ORDERS], "gate", 1), SMALL[ORDERS]
    )
    assert not np.array_equal(calm.profit, cards[0].profit)
    assert calm.suite != cards[0].suite


@pytest.mark.parametrize("backend", ["twin", "embedded"])
@pytest.mark.parametrize(
    ("env_id", "name"),
    [
        (env_id, name)
        for env_id in SMALL
        for role in (Role.RULE, Role.PLANNER, Role.NOOP)
        for name in baselines(env_id, role)
    ],
)
def test_rules_and_planners_play_under_mishaps(env_id: str, name: str, backend: str) -> None:
    env = lanes(env_id, 2, ALL, autoreset_mode="Disabled", backend=backend)
    policy = make_baseline(env_id, name)
    obs, _ = env.reset(seed=3)
    policy.begin(env)
    over = np.zeros(2, dtype=np.bool_)
    for _ in range(400):
        obs, _, ended, _, _ = env.step(policy.act(obs, env.mask))
        over |= ended
        if over.all():
            break
    assert over.all()


PIPELINE = """
name = "orders"
env = "workgym/Orders-v0"
env_kwargs = { days = 2, orders_per_day = 6.0, mishaps = { lost-acknowledgement = 0.2, stale-read = 0.2 } }
suite = { per_family = 2 }
training.recipe = { steps = 16_384, chunk_steps = 16_384, lanes = 256, minibatch = 1024 }
gates.improvement = {}
[[variants]]
name = "small"
preset = "profit"
"""


@pytest.mark.slow
def test_a_pipeline_judges_candidate_and_rules_under_the_mishaps_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    command = [str(Path(sys.executable).with_name("factory")), "run", "pipeline.toml"]
    environ = {**os.environ, "WORKGYM_HOME": str(tmp_path / "home"), "WORKGYM_ACTOR": "ann"}
    done = subprocess.run(
        [*command, "--engine", "local", "--json"],
        cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout)
    arguments = tomllib.loads(PIPELINE)["env_kwargs"]
    suite = gate_suite(ORDERS, arguments, "gate", 2)
    for rule, earned in told["rules"].items():
        assert evaluate(make_baseline(ORDERS, rule), suite, arguments).profit_per_case() == earned
    with open_registry(tmp_path / "home") as registry:
        (version,) = registry.list_versions("orders")
        candidate = evaluate(policy_of(registry, version.artifact_digest), suite, arguments)
        recorded = registry.scorecard(version.scorecard_digest)
        assert np.array_equal(candidate.profit, recorded.profit)
        assert recorded.suite == suite.digest


def test_a_snapshot_of_a_calm_env_is_none_of_a_disturbed_one() -> None:
    calm, env = single(ORDERS), single(ORDERS, ALL)
    calm.reset(seed=1)
    env.reset(seed=1)
    with pytest.raises(BadInput, match="expected a snapshot of an env with mishaps"):
        env.restore(calm.snapshot())
    with pytest.raises(BadInput, match="expected a snapshot without mishaps"):
        calm.restore(env.snapshot())


def test_what_planners_restore_shows_the_truth() -> None:
    env, calm = single(LOST_SALES, {"lost-acknowledgement": 1.0}), single(LOST_SALES)
    env.reset(seed=1)
    calm.reset(seed=1)
    for action in actions_of(env, 3):
        env.step(action)
        true, *_ = calm.step(action)
    board = env.backend.load_state(0, env.backend.state_bytes(0))
    assert np.array_equal(board.obs[0], true)
    assert not board.terms.any()


def test_a_picture_tells_what_really_happened() -> None:
    pytest.importorskip("matplotlib")
    env = single(LOST_SALES, ALL, render_mode="rgb_array")
    env.reset(seed=3)
    for action in actions_of(env, 8):
        env.step(action)
    story = cast("Any", env.backend).story
    assert story.now().to_bytes() == env.backend.state_bytes(0)
    assert env.picture().ndim == 3


def test_a_game_of_nodes_has_no_mishaps() -> None:
    pytest.importorskip("pettingzoo")
    from workgym.envs.supply_chain.parallel import parallel_env

    with pytest.raises(BadInput, match="expected an env without mishaps"):
        parallel_env(mishaps=ALL)


def test_a_page_for_language_models_does_not_give_away_what_is_hidden() -> None:
    calm, env = ToolEnv(single(ORDERS)), ToolEnv(single(ORDERS, {"stale-read": 1.0}))
    assert "season" in calm.reset(seed=1).text.splitlines()[1]
    opening = env.reset(seed=1)
    told = env.play(HOLD)
    assert told.text.splitlines()[1] == "seen:"
    assert told.structured["features"] == opening.structured["features"]


class _Failing(TwinBackend):
    """Answers the first calls and then no more."""

    answers = 2

    def advance(self, mode: Any, actions: Ints, episodes: Episodes) -> Board:
        self.answers -= 1
        if self.answers < 0:
            raise InfrastructureFault("the line is down", "no")
        return super().advance(mode, actions, episodes)


def test_a_fault_at_the_second_delivery_says_that_the_first_is_committed() -> None:
    zeros = np.zeros(1, dtype=np.int64)
    episodes = Episodes(np.uint64(1), zeros, zeros, zeros - 1)
    backend = Disturbed(_Failing(setup_for(), 1), task(), Mishaps(duplicate_delivery=1.0))
    board = backend.advance(np.full(1, BEGIN, np.int8), zeros, episodes)
    with pytest.raises(InfrastructureFault, match="second delivery") as caught:
        backend.advance(np.full(1, ACT, np.int8), board.mask.argmax(axis=1), episodes)
    assert caught.value.committed == "yes"


class _Dropping(TwinBackend):
    """Loses the worlds of lane 1 in the fifth call, and again until they begin anew."""

    calls, lost = 0, False

    def advance(self, mode: Any, actions: Ints, episodes: Episodes) -> Board:
        self.calls += 1
        self.lost = self.calls == 5 or (self.lost and mode[1] != BEGIN)
        board = super().advance(mode, actions, episodes)
        return board._replace(dropped=np.array([False, self.lost, False]))


def test_a_dropped_lane_shows_what_its_backend_shows_and_disturbs_no_other() -> None:
    setup, shares = setup_for(days=2, orders_per_day=6.0), Mishaps(0.4, 0.4, 0.4)
    one, other = (
        VectorEnv(task(), Disturbed(kind(setup, 3), task(), shares)) for kind in (_Dropping, TwinBackend)
    )
    rng = np.random.default_rng(0)
    one.reset(seed=3)
    other.reset(seed=3)
    fell = 0
    for _ in range(12):
        actions = conformance.choose_all(other, rng)
        (obs, reward, _, truncated, info), true = one.step(actions), other.step(actions)
        fell += int(info["dropped"][1])
        assert np.isnan(reward[1]) == truncated[1] == info["dropped"][1]
        for lane in (0, 2):
            assert np.array_equal(obs[lane], true[0][lane])
            assert reward[lane] == true[1][lane]
    assert fell == 1
