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
    ("usual", "legal"): "ed320d79e654d4e2",
    ("usual", "anything"): "e8a4d75cfff53baf",
    ("usual", "cheapest"): "76c924c0c3fe2114",
    ("usual", "patient"): "eb7dab3250263b6f",
    ("usual", "hold"): "6431ca7eb0206a5c",
    ("usual", "cancel"): "115bf192aaa3d1fb",
    ("idle", "legal"): "0fa4a8fc8856923e",
    ("idle", "anything"): "231af2d6251dcdd9",
    ("idle", "cheapest"): "a8509606e6d24753",
    ("idle", "patient"): "46108a27e168d66d",
    ("idle", "hold"): "b686efc704938001",
    ("idle", "cancel"): "e1958b3958a69db4",
    ("heavy", "legal"): "0410ac2fc52d5548",
    ("heavy", "anything"): "a2701c715a24aa7f",
    ("heavy", "cheapest"): "8454db5e8dea7d18",
    ("heavy", "patient"): "d0931f2e7b338f38",
    ("heavy", "hold"): "e7833cba1db0450b",
    ("heavy", "cancel"): "5ec1f99a57ff32e0",
    ("one-day", "legal"): "da162ddbff664871",
    ("one-day", "anything"): "cd90ef631de14dd1",
    ("one-day", "cheapest"): "152a9efa4f6d19b5",
    ("one-day", "patient"): "f74969d1f853965a",
    ("one-day", "hold"): "91af7fd0173d7151",
    ("one-day", "cancel"): "6c2f94a80c897aef",
    ("long", "legal"): "1a01365683fe522a",
    ("long", "anything"): "688aff9e7b3bb8bc",
    ("long", "cheapest"): "eff254ddd59fb5c8",
    ("long", "patient"): "031a740e5023361d",
    ("long", "hold"): "fd4e9be0e443353d",
    ("long", "cancel"): "09d0e187372aa1a7",
}
VECTORS = {
    ("usual", "legal", "NextStep"): "0be287e92c1ee937",
    ("usual", "legal", "SameStep"): "89e887914eb38f62",
    ("usual", "legal", "Disabled"): "9953f66d47a40060",
    ("usual", "anything", "NextStep"): "556761e1873fbc5a",
    ("usual", "anything", "SameStep"): "0013b6220dd5be93",
    ("usual", "anything", "Disabled"): "6a2f2fbdc49f2dd8",
    ("usual", "cheapest", "NextStep"): "6bd46f8b5cacb9bd",
    ("usual", "cheapest", "SameStep"): "16471bddb42f81f6",
    ("usual", "cheapest", "Disabled"): "35f080e4435e6773",
    ("usual", "hold", "NextStep"): "eebce7344fc21713",
    ("usual", "hold", "SameStep"): "2dd63bcbeffa7100",
    ("usual", "hold", "Disabled"): "fdd62c7e3ed72822",
    ("heavy", "patient", "NextStep"): "883f615717f5f5f9",
    ("heavy", "patient", "SameStep"): "e3822cfc6e88e092",
    ("heavy", "patient", "Disabled"): "be04007713d9567e",
    ("heavy", "legal", "NextStep"): "10eee60e22f612db",
    ("heavy", "legal", "SameStep"): "42c9e2bf44b8733f",
    ("heavy", "legal", "Disabled"): "4ed1157071875934",
    ("idle", "legal", "NextStep"): "3144f3772cb0c0d1",
    ("idle", "legal", "SameStep"): "8dcdf646bc9ede47",
    ("idle", "legal", "Disabled"): "a147a7f5adc8c03b",
    ("one-day", "anything", "NextStep"): "c61b7a3dcceb0508",
    ("one-day", "anything", "SameStep"): "87b4e079496ac658",
    ("one-day", "anything", "Disabled"): "73554d1bf71024f8",
    ("long", "cheapest", "NextStep"): "5083761c4752ae8b",
    ("long", "cheapest", "SameStep"): "1c932c5c59bfeef1",
    ("long", "cheapest", "Disabled"): "d794eaa8657768f3",
    ("long", "legal", "NextStep"): "db387e9b83baaa83",
    ("long", "legal", "SameStep"): "621375f060321740",
    ("long", "legal", "Disabled"): "6f54ba348b787c50",
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
    "usual": "827b5c6ba7d10883",
    "heavy": "b94ffb049ee76e25",
    "idle": "6f4b230749d05904",
}
WORLDS = {
    "usual": "70cbb9f7512e0459",
    "heavy": "045d75629fa27a77",
    "long": "76a8e8d5499a7fd6",
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
