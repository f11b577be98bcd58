"""Every byte that the order desk ever showed, as digests: a faster twin must show the same ones.

The digests were taken before the twin was tuned. They change only with `envs.orders.VERSION`.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from workgym.envs import base, orders
from workgym.services.orders import desk, rules, scenario, state, twin
from workgym.services.orders.baskets import Baskets

N_ACTIONS = 15


def shop(n: int, n_skus: int, largest_line: int, cents: int) -> Baskets:
    """Baskets made of whole numbers only, so that no library can change them."""
    rng = random.Random(n * 1000 + n_skus)
    lines = [rng.choice([1, 2, 3, 3, 4, 4, 4]) for _ in range(n)]
    lines = [min(count, n_skus) for count in lines]
    sku, qty = np.full((n, rules.MAX_LINES), -1, np.int32), np.zeros((n, rules.MAX_LINES), np.int32)
    for row, count in enumerate(lines):
        sku[row, :count] = rng.sample(range(n_skus), count)
        qty[row, :count] = [1 + int(largest_line * rng.random() ** 4) for _ in range(count)]
    price = np.array([rng.randrange(cents // 8, cents) for _ in range(n_skus)], np.int32)
    return Baskets(
        sku=sku,
        qty=qty,
        lines=np.array(lines, np.int32),
        region=np.array([rng.choice([0, 0, 1, 1, 2, 2, 3, 3, 4, 5]) for _ in range(n)], np.int32),
        day=np.zeros(n, np.int32),
        invoice=tuple(f"i{row}" for row in range(n)),
        codes=tuple(f"c{k}" for k in range(n_skus)),
        names=tuple(f"n{k}" for k in range(n_skus)),
        price_cents=price,
        cost_cents=(price * 11 // 20).astype(np.int32),
        weight_g=(100 + price * 2 // 5).astype(np.int32),
        days=("2010-12-01",),
        orders_per_day=14.0,
        weekday_pm=np.array([1100, 900, 1000, 1250, 750], np.int32),
    )


@lru_cache
def season(name: str) -> scenario.Setup:
    return {
        "usual": lambda: scenario.season(shop(512, 32, 24, 1700), 10, 14.0),
        "idle": lambda: scenario.season(shop(40, 3, 6, 900), 12, 0.6),
        "heavy": lambda: scenario.season(shop(90, 9, 90, 30000), 5, 30.0, slack=0.8),
        "one-day": lambda: scenario.season(shop(64, 5, 12, 2500), 1, 9.0),
        "long": lambda: scenario.season(shop(300, 21, 30, 1200), 31, 5.0, slack=0.7),
    }[name]()


Chooser = Callable[[random.Random, np.ndarray, np.ndarray], int]


def legal(rng: random.Random, mask: np.ndarray, obs: np.ndarray) -> int:
    return int(rng.choice(np.flatnonzero(mask)))


def anything(rng: random.Random, mask: np.ndarray, obs: np.ndarray) -> int:
    return rng.randrange(-2, N_ACTIONS + 2)


def cheapest(rng: random.Random, mask: np.ndarray, obs: np.ndarray) -> int:
    """What a clerk does: the cheapest centre and service, else a split, else wait."""
    ships = mask[:12]
    if ships.any():
        return int(np.where(ships, obs[33:45], 9.0).argmin())
    return 12 if mask[12] else 13


def patient(rng: random.Random, mask: np.ndarray, obs: np.ndarray) -> int:
    return 12 if mask[12] else (13 if rng.random() < 0.9 else legal(rng, mask, obs))


def hold(rng: random.Random, mask: np.ndarray, obs: np.ndarray) -> int:
    return 13


def cancel(rng: random.Random, mask: np.ndarray, obs: np.ndarray) -> int:
    return 14


CHOOSERS: dict[str, Chooser] = {
    f.__name__: f
    for f in (legal, anything, cheapest, patient, hold, cancel)  # type: ignore[attr-defined]  # a Callable has no name
}


def write(whole: Any, value: Any) -> None:
    """Feed a value to a hash, with its type and shape."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        whole.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, np.ndarray):
        whole.update(repr(value.tolist()).encode())
    elif isinstance(value, dict):
        for key in sorted(value):
            whole.update(key.encode())
            write(whole, value[key])
    elif isinstance(value, (list, tuple)):
        for one in value:
            write(whole, one)
    else:
        whole.update(f"{type(value).__name__}{value!r}".encode())


def play_single(name: str, chooser: Chooser, seeds: range, steps: int = 400) -> Iterator[Any]:
    """Episodes of one env, with everything that it shows and is."""
    backend = orders.TwinBackend(season(name), 1)
    env = base.Env(orders.task(), backend, split="gate")
    for seed in seeds:
        rng = random.Random(seed)
        family = scenario.FAMILY_NAMES[seed % 7] if seed % 7 < 6 else None
        obs, info = env.reset(seed=seed, options={"family": family})
        yield obs, info, env.state_hash()
        for _ in range(steps):
            obs, reward, over, cut, info = env.step(chooser(rng, info["action_mask"], obs))
            yield obs, reward, over, cut, info, env.state_hash(), env.facts()
            if over:
                break
        yield env.snapshot().state, backend.render(0)


def play_vector(
    name: str, chooser: Chooser, mode: AutoresetMode, n: int = 24, steps: int = 260
) -> Iterator[Any]:
    """A vector env through many episodes and time limits, snapshots taken and put back on the way."""
    backend = orders.TwinBackend(season(name), n)
    env = base.VectorEnv(orders.task(), backend, max_episode_steps=150, autoreset_mode=mode)
    rng = random.Random(name)
    obs, info = env.reset(seed=11)
    yield obs, info
    for step in range(steps):
        actions = [chooser(rng, mask, row) for mask, row in zip(info["action_mask"], obs, strict=True)]
        obs, reward, over, cut, info = env.step(np.array(actions))
        yield obs, reward, over, cut, info, [env.state_hash(lane) for lane in (0, n - 1, step % n)]
        if step % 37 == 0:
            env.restore((step + 5) % n, env.snapshot(step % n))
            obs = env.restore(3, env.snapshot(3))
            info = {"action_mask": env.action_masks()}
            yield obs, info, env.facts(3)
        if mode is AutoresetMode.DISABLED and (over | cut).any():
            obs, info = env.reset(options={"reset_mask": over | cut})
            yield obs, info
    yield [env.snapshot(lane).state for lane in range(n)]


def digest(stream: Iterator[Any]) -> str:
    whole = hashlib.sha256()
    for shown in stream:
        write(whole, shown)
    return whole.hexdigest()[:16]


SINGLES = {
    ("usual", "legal"): "a17f67839b00d914",
    ("usual", "anything"): "9def184a9c18c036",
    ("usual", "cheapest"): "8d5051766781204b",
    ("usual", "patient"): "5c6fa542515533a6",
    ("usual", "hold"): "47b43ed4dd6d3d99",
    ("usual", "cancel"): "c857dc4467e108e9",
    ("idle", "legal"): "97bcab641d0c73c7",
    ("idle", "anything"): "9e2a881bdf15bc7b",
    ("idle", "cheapest"): "3d6d10cfc6e6f0db",
    ("idle", "patient"): "b4da4c7a39db7819",
    ("idle", "hold"): "f1e31f866cb9e2f4",
    ("idle", "cancel"): "d58126ef0ef7db67",
    ("heavy", "legal"): "1efdea84d96ea026",
    ("heavy", "anything"): "d3a1cefed358dade",
    ("heavy", "cheapest"): "ada8d1f7952a0fbd",
    ("heavy", "patient"): "87dad811f35af148",
    ("heavy", "hold"): "6baa138ed71197da",
    ("heavy", "cancel"): "b483349c2828294b",
    ("one-day", "legal"): "6129200cb64f75c6",
    ("one-day", "anything"): "1bd7fbfbd7d31318",
    ("one-day", "cheapest"): "22de3313b6580901",
    ("one-day", "patient"): "8714cb59f6001446",
    ("one-day", "hold"): "ee3a01f3a8783145",
    ("one-day", "cancel"): "073f2102439d699f",
    ("long", "legal"): "344eb0fc8fe5d654",
    ("long", "anything"): "9e26ada12c5b5678",
    ("long", "cheapest"): "73ec2cadb6603c12",
    ("long", "patient"): "da6b194aafa6fcde",
    ("long", "hold"): "6a508c7cec526cb3",
    ("long", "cancel"): "4976b8b176caa33b",
}
VECTORS = {
    ("usual", "legal", "NextStep"): "15ee1e362b942adc",
    ("usual", "legal", "SameStep"): "fcc0a56034b74975",
    ("usual", "legal", "Disabled"): "3317ed5ad2251254",
    ("usual", "anything", "NextStep"): "1b8c8d1054ea14d7",
    ("usual", "anything", "SameStep"): "df308ddd4ceb330c",
    ("usual", "anything", "Disabled"): "8847fb171fc15d25",
    ("usual", "cheapest", "NextStep"): "ed31f290f458a338",
    ("usual", "cheapest", "SameStep"): "93b361e773e80db6",
    ("usual", "cheapest", "Disabled"): "3db597e367e4db9b",
    ("usual", "hold", "NextStep"): "7091dd7111c440ce",
    ("usual", "hold", "SameStep"): "d4ae22de3c294c38",
    ("usual", "hold", "Disabled"): "9146c37632eb9a79",
    ("heavy", "patient", "NextStep"): "c3afe4d993a98b45",
    ("heavy", "patient", "SameStep"): "e0460a143dce2e11",
    ("heavy", "patient", "Disabled"): "f5fc964e69257495",
    ("heavy", "legal", "NextStep"): "6f71d75bca16fb80",
    ("heavy", "legal", "SameStep"): "61386e916bdb6dbf",
    ("heavy", "legal", "Disabled"): "663215dadf679939",
    ("idle", "legal", "NextStep"): "6a394087e92019b6",
    ("idle", "legal", "SameStep"): "bfb711119de7fb22",
    ("idle", "legal", "Disabled"): "cb2293417e66d15e",
    ("one-day", "anything", "NextStep"): "8c63cf27e48ec1f5",
    ("one-day", "anything", "SameStep"): "084d57893f91c959",
    ("one-day", "anything", "Disabled"): "3d542bc116cc4e88",
    ("long", "cheapest", "NextStep"): "8f97d46cbbc3d848",
    ("long", "cheapest", "SameStep"): "d53cf300bb8d77c8",
    ("long", "cheapest", "Disabled"): "10cd54798f6e0e14",
    ("long", "legal", "NextStep"): "a1fdb7fd3f9317b6",
    ("long", "legal", "SameStep"): "f08972ffd46d13dc",
    ("long", "legal", "Disabled"): "56d3935044f49390",
}


@pytest.mark.parametrize(("name", "chooser"), SINGLES)
def test_one_desk_shows_the_bytes_it_always_showed(name: str, chooser: str) -> None:
    found = digest(play_single(name, CHOOSERS[chooser], range(7)))
    assert found == SINGLES[name, chooser], f"version {orders.VERSION} shows other bytes now: {found}"


@pytest.mark.parametrize(("name", "chooser", "mode"), VECTORS)
def test_many_desks_show_the_bytes_they_always_showed(name: str, chooser: str, mode: str) -> None:
    found = digest(play_vector(name, CHOOSERS[chooser], AutoresetMode(mode)))
    assert found == VECTORS[name, chooser, mode], f"version {orders.VERSION} shows other bytes now: {found}"


# The kernels that the live service calls on rows of its own tables.


def random_case(setup: scenario.Setup, rng: random.Random) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Some order on some day before some shelves, likely or not."""
    case = np.zeros(desk.CASE_WIDTH, np.int64)
    case[desk.ORDER] = rng.choice([desk.NO_ORDER, 0, 3, 77, 300, 2000])
    case[desk.DAY] = day = rng.randrange(setup.days)
    case[desk.BASKET] = basket = rng.randrange(len(setup.facts))
    case[desk.REGION], case[desk.PRIORITY] = rng.randrange(len(scenario.REGIONS)), rng.randrange(2)
    case[desk.PLACED] = rng.randrange(day + 1)
    case[desk.PROMISE] = case[desk.PLACED] + rng.randrange(1, 9)
    case[desk.BEHIND], case[desk.BEHIND_PICKS] = rng.randrange(80), rng.randrange(200)
    free = np.zeros((len(scenario.CENTRES), rules.MAX_LINES), np.int32)
    for line in range(setup.facts[basket, scenario.LINES]):
        need = int(setup.line_qty[basket, line])
        free[:, line] = [rng.choice([0, need - 1, need, need + 1, 3 * need, 400]) for _ in scenario.CENTRES]
    picks = np.array([rng.choice([0, 1, 2, 3, 4, int(full)]) for full in setup.capacity], np.int32)
    return case, free, picks


def desk_answers(name: str, cases: int) -> Iterator[Any]:
    setup, rng = season(name), random.Random(name)
    rank, plan = np.zeros(4, np.int64), np.zeros(rules.MAX_LINES, np.int64)
    booking = np.zeros(desk.BOOKING_WIDTH, np.int64)
    obs, mask = np.zeros(46, np.float32), np.zeros(N_ACTIONS, np.bool_)
    for _ in range(cases):
        case, free, picks = random_case(setup, rng)
        orders.observe(setup, case, free, picks, rank, plan, obs, mask)
        yield case, free, picks, obs.copy(), mask.copy()
        status = rng.choice([rules.WAITING] * 6 + [rules.ALLOCATED, rules.CANCELLED])
        decision = rng.randrange(-1, N_ACTIONS + 1) if rng.random() < 0.6 else desk.split_code(4)
        desk.decide(setup, case, status, free, picks, decision, rank, plan, booking)
        yield status, decision, booking.copy(), plan.copy()


def world_answers(name: str, rounds: int) -> Iterator[Any]:
    """What `scenario` says will happen, and what carriers do to shipped orders."""
    setup, rng = season(name), random.Random(name)
    centres, skus = setup.stock.shape
    for _ in range(rounds):
        key, day = np.uint64(rng.getrandbits(64)), rng.randrange(setup.days)
        family, centre, sku = rng.randrange(6), rng.randrange(centres), rng.randrange(skus)
        rows = np.zeros((setup.max_orders, scenario.ORDER_WIDTH), np.int32)
        count = scenario.arrive(setup, key, family, day, rows)
        free = np.zeros((skus, centres), np.int32)
        scenario.receive(setup, key, family, day, free)
        yield count, rows[:count], free, scenario.drawn_family(key, 6)
        yield scenario.capacity_today(setup, key, family, centre, day)
        yield scenario.opening_stock(setup, family, centre, sku), scenario.replenish_on(centre, sku, day)
        yield scenario.inbound_units(setup, key, family, centre, sku, day)
        yield scenario.inbound_delay(setup, key, family, centre, sku, day)
        for number, row in enumerate(rows[:count]):
            row[scenario.PARCELS], row[scenario.REVIEWED] = rng.getrandbits(8), day
            yield desk.carrier_surprise(setup, key, number, row)


DESKS = {
    "usual": "515adb96bf64eee5",
    "heavy": "2e6d70862e907ecd",
    "idle": "08094a20baade375",
}
WORLDS = {
    "usual": "a7b95a95cae74399",
    "heavy": "4b13de24cf59227c",
    "long": "01f05f46c74f6f76",
}


@pytest.mark.parametrize("name", DESKS)
def test_the_desk_answers_the_live_service_as_it_always_did(name: str) -> None:
    found = digest(desk_answers(name, 4000))
    assert found == DESKS[name], f"version {orders.VERSION} answers otherwise now: {found}"


@pytest.mark.parametrize("name", WORLDS)
def test_the_world_happens_as_it_always_did(name: str) -> None:
    found = digest(world_answers(name, 150))
    assert found == WORLDS[name], f"version {orders.VERSION} has another history now: {found}"


def test_a_state_put_into_a_lane_and_taken_out_is_the_same_bytes() -> None:
    setup, rng = season("usual"), random.Random(0)
    backend = orders.TwinBackend(setup, 2)
    env = base.VectorEnv(orders.task(), backend)
    _, info = env.reset(seed=5)
    for _ in range(300):
        actions = [legal(rng, mask, mask) for mask in info["action_mask"]]
        _, _, _, _, info = env.step(np.array(actions))
        taken = backend.state_bytes(0)
        other = twin.empty_lanes(setup, 3)
        state.into_lane(setup, other, 1, state.State.from_bytes(taken))
        assert state.of_lane(setup, other, 1).to_bytes() == taken
