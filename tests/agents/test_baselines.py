"""Claims about the department's rules, its planner, and those who try to cheat."""

from dataclasses import replace
from functools import lru_cache

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from workgym.agents.baselines import Role, baseline, baselines, make_baseline
from workgym.agents.baselines import milp as planning
from workgym.agents.baselines import orders as desks
from workgym.agents.baselines.planner import demand, split_now, waiting
from workgym.envs.orders import ENV_ID, HEAD, n_features, setup_for, task
from workgym.factory.evaluate import evaluate, gate_suite
from workgym.services.kernel import BadInput, Conflict
from workgym.services.orders.scenario import CENTRES, FAMILY_NAMES, VALUE
from workgym.services.orders.state import State

RULES, ADVERSARIES = list(baselines(ENV_ID, Role.RULE)), list(baselines(ENV_ID, Role.ADVERSARY))
PLANNERS, NOOP = list(baselines(ENV_ID, Role.PLANNER)), next(iter(baselines(ENV_ID, Role.NOOP)))
SPLIT, HOLD, CANCEL = 12, 13, 14
SHIPS = 12
COSTS = HEAD + 5 * len(CENTRES)


def lanes(n, **kwargs):
    return gym.make_vec(ENV_ID, num_envs=n, split="gate", autoreset_mode=AutoresetMode.DISABLED, **kwargs)


@lru_cache
def card(name):
    return evaluate(make_baseline(ENV_ID, name), gate_suite(ENV_ID, {}, "gate", 4), {})


def mean_profit(name, family):
    """Cents an order over four default seasons of a family."""
    at = np.array([one == family for one in card(name).family])
    return card(name).profit[at].sum() / card(name).cases[at].sum()


def desk(cost=None, legal=(HOLD, CANCEL), **head):
    """One observation and mask: costs of shipments in thousandths, and features by name."""
    obs = np.zeros((1, n_features(len(CENTRES))), np.float32)
    obs[0, COSTS : COSTS + SHIPS] = 0.9 if cost is None else cost
    for name, value in head.items():
        obs[0, getattr(desks, name)] = value
    mask = np.zeros((1, SHIPS + 3), np.bool_)
    mask[0, list(legal)] = True
    return obs, mask


def decide(name, board):
    return int(make_baseline(ENV_ID, name).act(*board)[0])


# The catalogue


def test_the_task_names_a_reference_rule():
    assert task().reference in RULES


def test_an_unknown_baseline_is_met_with_the_nearest_name():
    with pytest.raises(BadInput, match="did you mean 'cheapest-feasible'"):
        make_baseline(ENV_ID, "cheapest-feasable")


def test_an_unknown_env_is_met_with_the_nearest_one():
    with pytest.raises(BadInput, match="did you mean 'workgym/Orders-v0'"):
        baselines("workgym/Order-v0")


def test_an_unknown_role_is_refused():
    with pytest.raises(BadInput, match="did you mean 'rule'"):
        baselines(ENV_ID, "rules")


def test_two_baselines_cannot_share_a_name():
    with pytest.raises(Conflict, match="two baselines"):
        baseline(ENV_ID, "cheapest-feasible", Role.RULE)(lambda: None)


@pytest.mark.parametrize("name", baselines(ENV_ID))
def test_a_policy_knows_its_name(name):
    assert make_baseline(ENV_ID, name).name == name


# What a rule sees


def test_the_named_features_are_those_of_the_observation():
    env = lanes(64)
    setup = setup_for("gate")
    obs, info = env.reset(seed=3)
    seen = desks.read(obs, info["action_mask"])
    for lane in range(64):
        now = State.from_bytes(env.backend.state_bytes(lane))
        first = waiting(now)[0]
        wanted = demand(now, first)
        assert seen.head[lane, desks.DAY] * setup.days == pytest.approx(now.day)
        assert seen.head[lane, desks.BEHIND] * desks.BEHIND_UNIT == pytest.approx(len(waiting(now)) - 1)
        assert seen.slack[lane] == pytest.approx(wanted.promise - now.day)
        value = min(setup.facts[wanted.basket, VALUE] / desks.VALUE_UNIT, 1.0)
        assert seen.head[lane, desks.VALUE] == pytest.approx(value)
    assert np.array_equal(seen.split, info["action_mask"][:, SPLIT])
    assert seen.actions == (SPLIT, HOLD, CANCEL) == desks.NamedCodes.of(setup)


# What a rule decides


def test_the_cheapest_rule_ships_at_least_cost_among_what_is_legal():
    cost = np.full(SHIPS, 0.5)
    cost[[2, 7]] = 0.1, 0.2
    assert decide("cheapest-feasible", desk(cost, (5, 7, HOLD, CANCEL))) == 7


def test_the_cheapest_rule_takes_the_slower_service_on_a_tie():
    assert decide("cheapest-feasible", desk(np.full(SHIPS, 0.5), (3, 4, 5, HOLD, CANCEL))) == 3


@pytest.mark.parametrize("name", ["cheapest-feasible", "earliest-promise-first"])
def test_a_rule_splits_before_it_lets_a_customer_wait(name):
    assert decide(name, desk(None, (SPLIT, HOLD, CANCEL))) == SPLIT
    assert decide(name, desk(None, (HOLD, CANCEL))) == HOLD


def test_the_nearest_rule_takes_the_nearest_able_centre_and_never_splits():
    cost = np.full(SHIPS, 0.5)
    cost[[0, 3, 4]] = 0.05, 0.1, 0.12  # the first centre is nearer but cannot ship
    assert decide("nearest-with-stock", desk(cost, (3, 4, 5, 9, HOLD, CANCEL))) == 3
    assert decide("nearest-with-stock", desk(None, (SPLIT, HOLD, CANCEL))) == HOLD


def test_the_nearest_rule_pays_for_speed_when_economy_breaks_the_promise():
    cost = np.full(SHIPS, 0.9)
    cost[3:6] = 0.4, 0.2, 0.3  # compensation makes economy the dearest there
    cost[6] = 0.5
    assert decide("nearest-with-stock", desk(cost, (3, 4, 5, 6, 7, 8, HOLD, CANCEL))) == 4


@pytest.mark.parametrize(
    ("pressure", "days", "action"), [(2.0, 5, HOLD), (2.0, 1, 0), (0.9, 5, 0)], ids=["wait", "urgent", "calm"]
)
def test_the_promise_rule_lets_orders_with_slack_wait_under_pressure(pressure, days, action):
    head = {"PRESSURE": pressure / desks.PRESSURE_UNIT, "PROMISE": days / desks.PROMISE_UNIT}
    assert decide("earliest-promise-first", desk(None, (0, HOLD, CANCEL), **head)) == action


def played(policy, n, steps=150, seed=0):
    """The boards that a policy met and what it did, season by season."""
    env = lanes(n)
    obs, info = env.reset(seed=seed, options={"family": [FAMILY_NAMES[i % 6] for i in range(n)]})
    policy.begin(env)
    for _ in range(steps):
        mask = info["action_mask"]
        actions = policy.act(obs, mask)
        yield obs, mask, actions
        obs, _, _, _, info = env.step(actions)


@pytest.mark.parametrize("name", [*RULES, *PLANNERS, NOOP, "cancel-everything", "split-everything"])
def test_only_legal_actions_are_sent(name):
    for _, mask, actions in played(make_baseline(ENV_ID, name), 6, 60):
        assert mask[np.arange(6), actions].all()


def test_illegal_for_ever_is_always_refused():
    for _, mask, actions in played(make_baseline(ENV_ID, "illegal-for-ever"), 6, 30):
        legal = np.column_stack([mask, np.zeros(6, np.bool_)])  # there is no action after the last
        assert not legal[np.arange(6), actions].any()


@pytest.mark.parametrize("name", [*RULES, NOOP, *ADVERSARIES])
def test_a_lane_is_decided_alone(name):
    policy = make_baseline(ENV_ID, name)
    policy.begin(lanes(1))
    for obs, mask, _ in list(played(make_baseline(ENV_ID, "cheapest-feasible"), 12, 40))[::8]:
        alone = [int(policy.act(obs[i : i + 1], mask[i : i + 1])[0]) for i in range(12)]
        assert policy.act(obs, mask).tolist() == alone


# What they earn


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("name", RULES)
def test_a_rule_earns_more_than_doing_nothing(name, family):
    assert mean_profit(name, family) > mean_profit(NOOP, family)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_reference_rule_earns_money(family):
    assert mean_profit(task().reference, family) > 0


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("name", ADVERSARIES)
def test_cheating_earns_nothing(name, family):
    profit = mean_profit(name, family)
    if name == "run-out-the-clock":  # it does the work, so it earns what the reference rule earns
        assert profit == mean_profit(task().reference, family)
    else:
        assert profit <= max(0.0, mean_profit(NOOP, family))
        assert profit < mean_profit(task().reference, family)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_planning_beats_every_rule(family):
    assert mean_profit("re-solving-milp", family) > max(mean_profit(name, family) for name in RULES)


# The planner


def states(n=6, steps=40):
    """States of several families, some days into the season."""
    env = lanes(n)
    policy = make_baseline(ENV_ID, "cheapest-feasible")
    obs, info = env.reset(seed=5, options={"family": [FAMILY_NAMES[i % 6] for i in range(n)]})
    for _ in range(steps):
        obs, _, _, _, info = env.step(policy.act(obs, info["action_mask"]))
    return [State.from_bytes(env.backend.state_bytes(lane)) for lane in range(n)]


@pytest.mark.parametrize("now", states(), ids=FAMILY_NAMES)
def test_the_planner_does_not_know_the_future(now):
    """Another key is another future: other customers, deliveries, closures and carriers."""
    setup = setup_for("gate")
    other = replace(now, key=now.key ^ 0x5555555555555555, family=(now.family + 1) % 6)
    assert planning.plan_day(setup, now) == planning.plan_day(setup, other)


def test_the_planner_thinks_once_a_day(monkeypatch):
    env = lanes(1)
    days = []
    original = planning.plan_day
    policy = make_baseline(ENV_ID, "re-solving-milp")
    policy._plan = lambda setup, now: days.append(now.day) or original(setup, now)
    policy.begin(env)
    obs, info = env.reset(seed=2, options={"family": ["normal"]})
    for _ in range(60):
        obs, _, _, _, info = env.step(policy.act(obs, info["action_mask"]))
    assert days == sorted(set(days))
    assert len(days) > 2


def test_the_planner_notices_another_season():
    env = lanes(1)
    policy = make_baseline(ENV_ID, "re-solving-milp")
    policy.begin(env)
    for seed in (0, 1):  # the second season begins in the middle of the first one's day
        obs, info = env.reset(seed=seed)
        actions = []
        for _ in range(5):
            actions.append(int(policy.act(obs, info["action_mask"])[0]))
            obs, _, _, _, info = env.step(np.array(actions[-1:]))
    fresh = make_baseline(ENV_ID, "re-solving-milp")
    fresh.begin(env)
    obs, info = env.reset(seed=1)
    for action in actions:
        assert fresh.act(obs, info["action_mask"]) == [action]
        obs, _, _, _, info = env.step(np.array([action]))


def test_a_foretold_split_is_the_one_that_the_desk_makes():
    """The planners copy the desk's way to split; they must agree on when and from which shelves."""
    env, setup, found = lanes(24, days=4, orders_per_day=6.0), setup_for("gate", None, 4, 6.0), 0
    rng = np.random.default_rng(0)
    _, info = env.reset(seed=9)
    for _ in range(40):
        mask = info["action_mask"]
        before = [State.from_bytes(env.backend.state_bytes(lane)) for lane in range(24)]
        plans = [
            split_now(setup, now.day, now.free, now.picks, demand(now, waiting(now)[0]))
            if not now.ended
            else ()
            for now in before
        ]
        assert [bool(plan) for plan in plans] == mask[:, SPLIT].tolist()
        actions = np.array([rng.choice(np.flatnonzero(row)) for row in mask])
        actions[mask[:, SPLIT]] = SPLIT
        _, _, _, _, info = env.step(actions)
        for lane in np.flatnonzero(mask[:, SPLIT]):
            now, after = before[lane], State.from_bytes(env.backend.state_bytes(lane))
            if after.day == now.day:
                found += 1
                basket = demand(now, waiting(now)[0]).basket
                skus, qty = setup.line_sku[basket], setup.line_qty[basket]
                left = (now.free - after.free)[list(plans[lane]), skus[: len(plans[lane])]]
                assert left.tolist() == qty[: len(plans[lane])].tolist()
    assert found > 20
