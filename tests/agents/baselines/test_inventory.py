"""Claims about the textbooks' policies: they read the state exactly, order legally, and earn money."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from workgym.agents.baselines import Role, baselines, make_baseline
from workgym.agents.baselines import inventory as textbook
from workgym.services.kernel import BadInput
from workgym.services.supply_chain.state import State

CLASSICS = {
    textbook.LOST_SALES: [
        "optimal", "best-base-stock", "myopic", "capped-base-stock", "projected-inventory-level"
    ],
    textbook.DUAL_SOURCING: [
        "optimal", "capped-dual-index", "dual-index", "single-index", "tailored-base-surge"
    ],
    textbook.SERIAL: ["clark-scarf"],
    textbook.ONE_WAREHOUSE: ["echelon-proportional", "echelon-minimum-shortage"],
    textbook.BEER_GAME: ["sterman", "installation-base-stock"],
    textbook.OR_GYM: ["echelon-base-stock"],
}  # fmt: skip
ALL = [(env_id, name) for env_id, names in CLASSICS.items() for name in names]
OTHER = [
    (textbook.LOST_SALES, {"lead_time": 0, "penalty": 19}),
    (textbook.LOST_SALES, {"lead_time": 1, "demand": "geometric", "most": 60}),
    (textbook.LOST_SALES, {"lead_time": 2, "mean": 2.5, "most": 3}),
    (textbook.DUAL_SOURCING, {"regular_lead": 3, "express_cost": 120, "most": 5}),
    (textbook.SERIAL, {"holding": (1.0,), "lead_times": (2,), "penalty": 9.0}),
    (textbook.SERIAL, {"holding": (1.0, 1.0, 3.0), "lead_times": (1, 3, 2), "mean": 8.0, "step": 10}),
    (
        textbook.ONE_WAREHOUSE,
        {
            "retailers": 2,
            "retailer_leads": (1, 3),
            "demands": (("poisson", 2.0), ("uniform", 0, 8)),
            "waits_pm": 0,
        },
    ),
    (textbook.BEER_GAME, {"periods": 60}),
    (textbook.OR_GYM, {"lost": True, "periods": 20}),
]


def vector(env_id, lanes=8, **arguments):
    return gym.make_vec(
        env_id, num_envs=lanes, split="gate", autoreset_mode=AutoresetMode.DISABLED, **arguments
    )


def earned(env_id, name, **arguments):
    """(8,) money of one episode each."""
    return textbook.episode_money(vector(env_id, **arguments), make_baseline(env_id, name))


@pytest.mark.parametrize("env_id", CLASSICS)
def test_the_classics_are_planners_of_their_preset(env_id):
    assert set(CLASSICS[env_id]) == set(baselines(env_id, Role.PLANNER))


@pytest.mark.parametrize(("env_id", "name"), ALL)
def test_a_policy_knows_its_name(env_id, name):
    assert make_baseline(env_id, name).name == name


# What they see


@pytest.mark.parametrize("env_id", CLASSICS)
@pytest.mark.parametrize("share", [0.1, 1.0], ids=["scarce", "piled up"])
def test_the_shelf_is_the_state(env_id, share):
    """Also far beyond what an observation shows."""
    env, rng = vector(env_id), np.random.default_rng(1)
    most, space = env.backend.setup.most.ravel(), env.single_action_space
    obs, _ = env.reset(seed=0)
    for _ in range(15):
        if isinstance(space, gym.spaces.Box):
            orders = rng.uniform(-1, 2 * share - 1, (8, len(most))).astype(np.float32)
        else:
            orders = rng.integers(0, (share * most).astype(int) + 1, (8, len(most)))
            orders = orders[:, 0] if isinstance(space, gym.spaces.Discrete) else orders
        obs, *_ = env.step(orders)
        shelf = textbook.shelf_of(env.backend, obs)
        for lane in range(8):
            now = State.from_bytes(env.backend.state_bytes(lane))
            assert np.array_equal(shelf.net[lane], now.on_hand - now.backlog)
            for name in ("owed", "mail", "way"):
                assert np.array_equal(getattr(shelf, name)[lane], getattr(now, name))


@pytest.mark.parametrize("env_id", CLASSICS)
def test_the_shelf_is_asked_for_where_rows_are_observed(env_id):
    flat, rows = vector(env_id), vector(env_id, observation="rows", actions="box")
    seen = [textbook.shelf_of(env.backend, env.reset(seed=3)[0]) for env in (flat, rows)]
    for one, other in zip(*seen, strict=True):
        assert np.array_equal(one, other)


# What they order


@pytest.mark.parametrize(("env_id", "name"), ALL)
def test_orders_are_legal_and_each_lane_is_decided_alone(env_id, name):
    env, alone = vector(env_id, periods=30), vector(env_id, lanes=1, periods=30)
    policy, single = make_baseline(env_id, name), make_baseline(env_id, name)
    obs, _ = env.reset(seed=5)
    one, _ = alone.reset(seed=5)
    policy.begin(env)
    single.begin(alone)
    for _ in range(30):
        actions, action = policy.act(obs, env.mask), single.act(one, alone.mask)
        assert np.array_equal(actions[:1], action)
        assert env.single_action_space.contains(actions[0])
        obs, _, _, _, info = env.step(actions)
        assert "refused" not in info
        one, *_ = alone.step(action)


@pytest.mark.parametrize(
    ("env_id", "name"), [(textbook.DUAL_SOURCING, "optimal"), (textbook.SERIAL, "clark-scarf")]
)
def test_box_numbers_and_units_are_the_same_orders(env_id, name):
    assert np.array_equal(earned(env_id, name, actions="box"), earned(env_id, name, actions="units"))


# What they earn


@pytest.mark.parametrize(("env_id", "name"), ALL)
def test_a_classic_earns_far_more_than_doing_nothing_or_everything(env_id, name):
    money = earned(env_id, name).mean()
    assert money > earned(env_id, "noop").mean()
    assert money > earned(env_id, "hoarder").mean()


@pytest.mark.parametrize(("env_id", "arguments"), OTHER)
def test_other_parameters_get_policies_of_their_own(env_id, arguments):
    idle = earned(env_id, "noop", **arguments).mean()
    for name in CLASSICS[env_id]:
        assert earned(env_id, name, **arguments).mean() > idle


def test_a_long_lead_time_is_searched_by_simulation():
    """Its exact evaluation would take too many states; myopic is 7 % dearer at this lead time."""
    arguments = {"lead_time": 6, "penalty": 4, "periods": 1500}
    capped = earned(textbook.LOST_SALES, "capped-base-stock", **arguments).mean()
    assert capped > earned(textbook.LOST_SALES, "myopic", **arguments).mean()


def test_a_problem_that_is_too_large_says_so():
    with pytest.raises(BadInput, match="shorten the lead time"):
        earned(textbook.LOST_SALES, "optimal", lead_time=20)


def test_the_search_beats_where_it_began():
    env = vector(textbook.OR_GYM)
    policy = textbook.EchelonStock("trial", (1, 1, 1))
    env.reset(seed=0)
    policy.begin(env)
    best = textbook.best_levels(policy, lanes=16)
    train = vector(textbook.OR_GYM, lanes=16)
    worth = [
        textbook.episode_money(train, textbook.EchelonStock("trial", levels)).mean()
        for levels in (*policy.starts(), best)
    ]
    assert worth[-1] > max(worth[:-1])


def test_allocations_never_ask_for_more_than_the_warehouse_has():
    env = vector(textbook.ONE_WAREHOUSE)
    policy = make_baseline(textbook.ONE_WAREHOUSE, "echelon-minimum-shortage")
    obs, _ = env.reset(seed=2)
    policy.begin(env)
    for _ in range(40):
        shelf = textbook.shelf_of(env.backend, obs)
        orders = policy.act(obs, env.mask)
        assert (orders[:, 1:].sum(axis=1) <= shelf.net[:, 0, 0]).all()
        obs, *_ = env.step(orders)


@pytest.mark.parametrize(
    ("env_id", "name"),
    [
        (textbook.LOST_SALES, "optimal"),
        (textbook.SERIAL, "clark-scarf"),
        (textbook.BEER_GAME, "sterman"),
        (textbook.OR_GYM, "echelon-base-stock"),
    ],
)
def test_the_live_service_is_read_like_its_twin(env_id, name):
    money = [
        textbook.episode_money(
            vector(env_id, lanes=2, periods=12, backend=backend), make_baseline(env_id, name)
        ).tolist()
        for backend in ("twin", "embedded")
    ]
    assert money[0] == money[1]
