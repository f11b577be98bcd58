"""Order fulfilment as an environment: the task, its observation, and the twin behind it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numba import njit
from numpy.typing import NDArray

from workgym.envs import base
from workgym.envs.backends import LOCAL, Sides
from workgym.envs.live import Live
from workgym.envs.perturbations import FAULTS, Perturbation
from workgym.services import four
from workgym.services.compiled import KERNEL, PART, bound
from workgym.services.kernel import BadInput
from workgym.services.orders import desk, rules, scenario, state, twin
from workgym.services.orders.baskets import Baskets, synthetic
from workgym.services.orders.stress import season_under
from workgym.services.scenario import episode_key
from workgym.services.stress import Stress

ENV_ID = "workgym/Orders-v0"
VERSION = "orders-v0.1"
BACKENDS = LOCAL
DEFAULT_VOLUME = 14.0  # orders a day of the default shop
LARGEST_DEFAULT_VOLUME = 40.0  # orders a day; more make seasons of thousands of decisions

# Layout of an observation: HEAD features of the order and the day, PER_CENTRE of each centre, the
# cost of each (centre, service) option, and whether a split is possible.
HEAD = 13
PER_CENTRE = 5
N_CENTRES = scenario.N_CENTRES
MOST_CENTS = 4000.0  # the dearest option that an observation tells from dearer ones


def n_features(n_centres: int) -> int:
    """Length of an observation."""
    return HEAD + n_centres * (PER_CENTRE + rules.N_SERVICES) + 1


def feature_names() -> tuple[str, ...]:
    """One name a feature, with the unit in which it is told."""
    head = (
        "day, of the season",
        "lines that wait over lines that can be picked, / 4",
        "orders behind this one, / 64",
        "lines that can still be picked today, / 128",
        "lines of the order, / 4",
        "units of the order, / 64",
        "value of the order, / 200.00",
        "margin a line, / 40.00",
        "weight, / 20 kg",
        "priority customer",
        "days until the promise, / 8",
        "days since the order was placed, / 8",
        "cost of cancelling, / 40.00",
    )
    centre = ("can ship whole", "share of picks left", "lines short, / 4", "days of cover left, / 8")
    shelves = (f"{name}: {what}" for name in scenario.CENTRES for what in (*centre, "days until supply, / 4"))
    freight = (f"{name} {by}: cost, / 40.00" for name in scenario.CENTRES for by in rules.SERVICES)
    return (*head, *shelves, *freight, "can be split")


@lru_cache(maxsize=1)
def task() -> base.Task:
    """What is asked of the order desk."""
    centres = len(scenario.CENTRES)
    ships = [f"{centre} {service}" for centre in scenario.CENTRES for service in rules.SERVICES]
    actions = (*ships, "best split", "hold", "cancel")
    return base.Task(
        env_id=ENV_ID,
        observation_space=gym.spaces.Box(-1.0, 1.0, (n_features(centres),), np.float32),
        action_space=gym.spaces.Discrete(len(actions)),
        action_names=actions,
        terms=rules.ACCOUNTS,
        reasons=rules.REASONS,
        families=scenario.FAMILY_NAMES,
        reward_scale=1 / 2500,
        tolerance=100,
        reference="cheapest-feasible",
        version=VERSION,
        feature_names=feature_names(),
    )


@njit(**PART)
def _unit(x: float) -> np.float32:
    return np.float32(min(max(x, -1.0), 1.0))


@njit(**PART)
def _dear(cents: int) -> np.float32:
    return _unit(cents * np.float32(1.0 / MOST_CENTS))


@njit(**PART)
def observe(  # noqa: PLR0915  # one pass over all that the desk sees
    setup: Any, case: Any, free: Any, picks: Any, rank: Any, plan: Any, obs: Any, mask: Any
) -> None:
    """Fill one observation (features,) and one mask (actions,) from what the desk sees."""
    n_centres = setup.zone.shape[0]
    split = desk.split_code(n_centres)
    mask[:] = False
    if case[desk.ORDER] == desk.NO_ORDER:
        obs[:] = np.float32(0.0)
        mask[split + 1] = True
        return
    basket = case[desk.BASKET]
    facts = setup.facts[basket]
    lines, weight = np.int64(facts[scenario.LINES]), np.int64(facts[scenario.WEIGHT])
    worth = np.int64(facts[scenario.VALUE])
    picks_left, at = 0, HEAD
    whole = False
    cost_at = HEAD + n_centres * PER_CENTRE
    for centre in range(n_centres):
        left = np.int64(picks[centre])
        picks_left += left
        short, spare, due = 0, np.float32(8.0), 0
        for line in range(lines):
            sku = setup.line_sku[basket, line]
            after = np.float32(free[centre, line] - setup.line_qty[basket, line]) * setup.cover[centre, sku]
            spare = min(spare, after)
            if after < np.float32(0.0):
                short += 1
                due = max(due, scenario.replenish_on(centre, sku, case[desk.DAY]) - case[desk.DAY])
        able = short == 0 and left >= lines
        whole = whole or able
        obs[at] = np.float32(1.0) if able else np.float32(0.0)
        obs[at + 1] = _unit(left / np.float32(max(setup.capacity[centre], 1)))
        obs[at + 2] = np.float32(short) * np.float32(1.0 / rules.MAX_LINES)
        obs[at + 3] = _unit(spare * np.float32(1.0 / 8.0))
        obs[at + 4] = np.float32(due) * np.float32(1.0 / scenario.CYCLE_DAYS)
        at += PER_CENTRE
        for service in range(rules.N_SERVICES):
            cost = desk.option_cost(setup, case, weight, centre, service)
            obs[cost_at] = _dear(cost)
            mask[centre * rules.N_SERVICES + service] = able
            cost_at += 1
    splittable = not whole and desk.split_plan(setup, case, free, picks, rank, plan) > 0
    obs[cost_at] = np.float32(1.0) if splittable else np.float32(0.0)
    mask[split] = splittable
    mask[split + 1] = True
    mask[split + 2] = True
    pressure = np.float32(case[desk.BEHIND_PICKS] + lines) / np.float32(picks_left + 1)
    obs[0] = np.float32(case[desk.DAY]) / np.float32(setup.days)
    obs[1] = _unit(pressure * np.float32(0.25))
    obs[2] = _unit(case[desk.BEHIND] * np.float32(1.0 / 64.0))
    obs[3] = _unit(picks_left * np.float32(1.0 / 128.0))
    obs[4] = np.float32(lines) * np.float32(1.0 / rules.MAX_LINES)
    obs[5] = _unit(facts[scenario.UNITS] * np.float32(1.0 / 64.0))
    obs[6] = _unit(worth * np.float32(1.0 / 20000.0))
    obs[7] = _unit((worth - facts[scenario.COST]) / np.float32(lines * 4000))
    obs[8] = _unit(weight * np.float32(1.0 / 20000.0))
    obs[9] = np.float32(case[desk.PRIORITY])
    obs[10] = _unit((case[desk.PROMISE] - case[desk.DAY]) * np.float32(0.125))
    obs[11] = _unit((case[desk.DAY] - case[desk.PLACED]) * np.float32(0.125))
    obs[12] = _unit(rules.goodwill(worth, case[desk.PRIORITY]) * np.float32(1.0 / 4000.0))


class Sheet(NamedTuple):
    """Observations in pieces: what depends on few things, observed once a season instead of at every step."""

    orders: base.Floats  # (B, 2, SHEET_WIDTH) by basket and priority: features 4 to 9, and 12
    options: base.Floats  # (R, kilograms, days late, 2, C * services) by region and priority: their cost
    capacity: base.Floats  # (C,) lines that each centre picks a day
    wait: base.Floats  # (CYCLE_DAYS, C) days until a line comes, by (SKU - day - 1) % CYCLE_DAYS
    cover: base.Floats  # (K + 1, C) days of demand that one unit covers; a day for the SKU that nobody orders
    kilograms: int  # what weighs more costs more than an observation shows


SHEET_WIDTH = 8
EARLIEST, LATEST = -8, 8  # days late; earlier costs nothing more, later no more
N_LATE = LATEST - EARLIEST + 1


def make_sheet(setup: scenario.Setup) -> Sheet:
    """The pieces of a season's observations."""
    centres, skus = setup.stock.shape
    heaviest = int(setup.facts[:, scenario.WEIGHT].max() + 999) // 1000
    kilograms = min(heaviest, -(-int(MOST_CENTS) // int(setup.per_kg.min())))
    shape = (setup.zone.shape[1], kilograms + 1, N_LATE, 2, centres * rules.N_SERVICES)
    phases = np.arange(scenario.CYCLE_DAYS)[:, None]
    sheet = Sheet(
        orders=np.zeros((len(setup.facts), 2, SHEET_WIDTH), dtype=np.float32),
        options=np.zeros(shape, dtype=np.float32),
        capacity=np.maximum(setup.capacity, 1).astype(np.float32),
        wait=(((phases + np.arange(centres)) % scenario.CYCLE_DAYS + 1) / scenario.CYCLE_DAYS).astype(
            np.float32
        ),
        cover=np.ones((skus + 1, centres), dtype=np.float32),
        kilograms=kilograms,
    )
    sheet.cover[:skus] = setup.cover.T
    board = new_board(1)
    _fill_sheet(setup, sheet, twin.new_scratch(setup), board.obs[0], board.mask[0])
    return sheet


@njit(**KERNEL)
def _fill_sheet(setup: Any, sheet: Any, scratch: Any, obs: Any, mask: Any) -> None:
    case, free, picks = scratch.case, scratch.free, scratch.rank
    case[:] = 0
    for basket in range(setup.facts.shape[0]):
        for priority in range(2):
            case[desk.BASKET] = basket
            case[desk.PRIORITY] = priority
            observe(setup, case, free, picks, picks, scratch.plan, obs, mask)
            for n in range(6):
                sheet.orders[basket, priority, n] = obs[4 + n]
            sheet.orders[basket, priority, 6] = obs[12]
    for region in range(sheet.options.shape[0]):
        case[desk.REGION] = region
        for kilograms in range(sheet.options.shape[1]):
            for late in range(N_LATE):
                case[desk.DAY] = late + EARLIEST
                for priority in range(2):
                    case[desk.PRIORITY] = priority
                    for option in range(sheet.options.shape[4]):
                        centre, service = option // rules.N_SERVICES, option % rules.N_SERVICES
                        cents = desk.option_cost(setup, case, kilograms * 1000, centre, service)
                        sheet.options[region, kilograms, late, priority, option] = _dear(cents)


@njit(**PART)
def _look(setup: Any, sheet: Any, lanes: Any, i: int, obs: Any, mask: Any) -> bool:
    """`observe` the order in hand, from the pieces on the sheet, four centres at a time.

    Returns:
        Whether it is in doubt that the order can be split, though the centres that pick today hold every
        line: one of them has too few picks for all lines. With picks enough any cover is a split.
    """
    lane, hand = lanes.lane[i], lanes.hand[i]
    day, lines = np.int64(lane[twin.DAY]), hand[twin.N_LINES]
    none, quarter, one = (
        four.spread(np.float32(0.0)),
        four.spread(np.float32(0.25)),
        four.spread(np.float32(1.0)),
    )
    spare, short, due = four.spread(np.float32(8.0)), none, none
    picks = four.load(lanes.picks, i * four.WIDTH)
    idle = four.negatives(four.floats(four.less(picks, four.spread(np.int32(1)))))
    lacking, covered = np.int64(0), np.int64(1)
    for line in range(rules.MAX_LINES):
        sku, units = np.int64(hand[twin.SKU + line]), hand[twin.UNITS + line]
        left = four.less(
            four.load(lanes.free, (i * lanes.free.shape[1] + sku) * four.WIDTH), four.spread(units)
        )
        days = four.times(four.floats(left), four.load(sheet.cover, sku * four.WIDTH))
        wait = four.load(sheet.wait, ((sku - day - 1) & (scenario.CYCLE_DAYS - 1)) * four.WIDTH)
        spare = four.least(days, spare)
        short = four.add(short, four.where_negative(days, quarter))
        due = four.most(due, four.where_negative(days, wait))
        lacking |= four.negatives(days) << (rules.MAX_CENTRES * line)
        covered &= (four.negatives(days) | idle) != 15
    room = four.floats(four.less(picks, four.spread(lines)))
    unable = four.least(spare, room)
    able = ~four.negatives(unable) & 15
    hand[twin.ABLE] = able
    hand[twin.LACKING] = lacking
    splittable = covered & (able == 0)
    at = i * obs.shape[1]
    _show_order(setup, sheet, lanes, i, day, obs[i], at, obs)
    four.store(obs, at + HEAD, PER_CENTRE, four.less_f(one, four.where_negative(unable, one)))
    share = four.over(four.floats(picks), four.load(sheet.capacity, 0))
    four.store(obs, at + HEAD + 1, PER_CENTRE, four.least(share, one))
    four.store(obs, at + HEAD + 2, PER_CENTRE, short)
    eighth = four.times(spare, four.spread(np.float32(1.0 / 8.0)))
    four.store(obs, at + HEAD + 3, PER_CENTRE, four.most(eighth, four.spread(np.float32(-1.0))))
    four.store(obs, at + HEAD + 4, PER_CENTRE, due)
    obs[i, obs.shape[1] - 1] = np.float32(splittable)
    for option in range(twin.SPLIT):
        mask[i, option] = (able >> option // rules.N_SERVICES) & 1
    mask[i, twin.SPLIT] = splittable
    mask[i, twin.HOLD] = True
    mask[i, twin.CANCEL] = True
    return bool(splittable & ((four.negatives(room) & ~idle) != 0))


@njit(**PART)
def _show_order(setup: Any, sheet: Any, lanes: Any, i: int, day: int, row: Any, at: int, obs: Any) -> None:
    """Fill the features of the order and of the day, and what shipping it costs."""
    lane, hand, picks = lanes.lane[i], lanes.hand[i], lanes.picks[i]
    picks_left = np.int64(picks[0]) + picks[1] + picks[2] + picks[3]
    basket, priority = np.int64(hand[twin.BASKET]), np.int64(hand[twin.HAND_PRIORITY])
    promise, placed = np.int64(hand[twin.HAND_PROMISE]), np.int64(hand[twin.HAND_PLACED])
    facts = (basket * 2 + priority) * SHEET_WIDTH
    four.store(obs, at + 8, 1, four.load(sheet.orders, facts + 4))
    row[12] = row[10]
    four.store(obs, at + 4, 1, four.load(sheet.orders, facts))
    pressure = np.float32(lane[twin.PICKS_ASKED]) / np.float32(picks_left + 1)
    row[0] = np.float32(day) / np.float32(setup.days)
    row[1] = _at_most_one(pressure * np.float32(0.25))
    row[2] = _at_most_one(np.float32(lane[twin.QUEUE] - lane[twin.CURSOR] - 1) * np.float32(1.0 / 64.0))
    row[3] = _at_most_one(np.float32(picks_left) * np.float32(1.0 / 128.0))
    row[10] = _at_most_one(np.float32(promise - day) * np.float32(0.125))
    row[11] = _at_most_one(np.float32(day - placed) * np.float32(0.125))
    kilograms = min(np.int64(np.uint64(hand[twin.GRAMS] + 999) // np.uint64(1000)), sheet.kilograms)
    late = min(max(day - promise, EARLIEST), LATEST) - EARLIEST
    option = (np.int64(hand[twin.HAND_REGION]) * (sheet.kilograms + 1) + kilograms) * N_LATE + late
    option = (option * 2 + priority) * twin.SPLIT
    for n in range(0, twin.SPLIT, four.WIDTH):
        four.store(obs, at + HEAD + N_CENTRES * PER_CENTRE + n, 1, four.load(sheet.options, option + n))


@njit(**PART)
def _at_most_one(x: float) -> np.float32:
    return x if x < np.float32(1.0) else np.float32(1.0)


@njit(**PART)
def _look_twice(setup: Any, lanes: Any, i: int, scratch: Any, obs: Any, mask: Any) -> None:
    """Settle whether the order in hand can be split."""
    twin.fill_case(lanes, i, scratch.case)
    held = ~np.int64(lanes.hand[i, twin.LACKING])
    splittable = desk.split_held(setup, scratch.case, held, lanes.picks[i], scratch.rank, scratch.plan) > 0
    obs[i, obs.shape[1] - 1] = np.float32(splittable)
    mask[i, twin.SPLIT] = splittable


@njit(**KERNEL)
def _advance(
    setup: Any, sheet: Any, lanes: Any, scratch: Any, mode: Any, actions: Any, episodes: Any, board: Any
) -> None:
    """Advance every lane and fill `board`; `board.terms` is (terms, N).

    All lanes take one stage after the other: little code that does the same again and again runs
    nearly twice as fast as all stages of one lane after the other.
    """
    board.terms[:] = 0
    some = 0
    for i in range(len(mode)):
        board.violations[i] = -lanes.lane[i, twin.BROKEN]
        board.refusal[i] = _act(setup, lanes, i, mode[i], actions, episodes, scratch, board)
        lanes.some[some] = i
        some += twin.is_over(lanes, i)
    for i in lanes.some[:some]:
        twin.turn_day(setup, lanes, i, board.terms[:, i])
    for i in range(len(mode)):
        twin.pick_up(lanes, i)
        board.violations[i] += lanes.lane[i, twin.BROKEN]
        board.ended[i] = lanes.lane[i, twin.ENDED] == 1
    for account in range(len(rules.ACCOUNTS)):
        for i in range(len(mode)):
            lanes.ledger[i, account] += board.terms[account, i]
    some = 0
    for i in range(len(mode)):
        if board.ended[i]:
            board.obs[i] = np.float32(0.0)
            board.mask[i] = False
            board.mask[i, twin.HOLD] = True
        else:
            lanes.some[some] = i
            some += _look(setup, sheet, lanes, i, board.obs, board.mask)
    for i in lanes.some[:some]:
        _look_twice(setup, lanes, i, scratch, board.obs, board.mask)


@njit(**PART)
def _act(
    setup: Any, lanes: Any, i: int, mode: int, actions: Any, episodes: Any, scratch: Any, board: Any
) -> int:
    """Let one lane decide or begin, up to the end of its day; the refusal code."""
    if mode == base.ACT:
        return twin.decide(setup, lanes, i, actions[i], scratch, board.terms[:, i])
    if mode == base.BEGIN:
        key = episode_key(episodes.salt, episodes.seed[i], episodes.number[i])
        family = episodes.family[i]
        if family < 0:
            family = scenario.drawn_family(key, setup.families.shape[0])
        twin.prepare_season(lanes, i, key, family)
        board.violations[i] = 0
    return rules.OK


_FLOAT, _INT, _FLAG = np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.bool_)


def new_board(n: int) -> base.Board:
    """Fresh arrays for N lanes."""
    spec = task()
    return base.Board(
        np.empty((n, n_features(N_CENTRES)), _FLOAT),
        np.empty((n, len(spec.action_names)), _FLAG),
        np.empty((len(spec.terms), n), _INT),
        np.empty(n, _FLAG),
        np.empty(n, _INT),
        np.empty(n, _INT),
    )


class TwinBackend:
    """N lanes of the retailer in arrays."""

    def __init__(self, setup: scenario.Setup, lanes: int) -> None:
        self.lanes = lanes
        self.setup = setup
        self._lanes = twin.empty_lanes(setup, lanes)
        self._scratch = twin.new_scratch(setup)
        self._sheet = make_sheet(setup)
        self._bind()

    def _bind(self) -> None:
        nothing = np.zeros(self.lanes, dtype=np.int64)
        rest = np.zeros(self.lanes, dtype=np.int8)
        episodes = base.Episodes(np.uint64(0), nothing, nothing, nothing)
        self._fixed = self.setup, self._sheet, self._lanes, self._scratch
        self._run = bound(_advance, *self._fixed, rest, nothing, episodes, new_board(self.lanes))

    def __getstate__(self) -> dict[str, Any]:
        """All but the compiled kernel."""
        return {name: value for name, value in vars(self).items() if name != "_run"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._bind()

    def advance(self, mode: NDArray[np.int8], actions: base.Ints, episodes: base.Episodes) -> base.Board:
        """Let each lane act, begin or stand still."""
        board = new_board(self.lanes)
        self._run(*self._fixed, np.ascontiguousarray(mode), np.ascontiguousarray(actions), episodes, board)
        return board

    def state_bytes(self, lane: int) -> bytes:
        """The lane's canonical state."""
        return state.of_lane(self.setup, self._lanes, lane).to_bytes()

    def load_state(self, lane: int, data: bytes) -> base.Board:
        """Put a canonical state into a lane."""
        state.into_lane(self.setup, self._lanes, lane, state.State.from_bytes(data))
        rest = np.full(self.lanes, base.REST, dtype=np.int8)
        nothing = np.zeros(self.lanes, dtype=np.int64)
        return self.advance(rest, nothing, base.Episodes(np.uint64(0), nothing, nothing, nothing))

    def facts(self, lane: int) -> dict[str, int]:
        """The lane's counters."""
        row = self._lanes.lane[lane]
        orders = int(row[twin.N_ORDERS])
        return {
            "day": int(row[twin.DAY]),
            "family": int(row[twin.FAMILY]),
            "cases": orders,
            "obligations": orders,
            "violations": int(row[twin.BROKEN]),
        }

    def render(self, lane: int) -> str:
        """The order desk as a page of text."""
        return page(self.setup, state.of_lane(self.setup, self._lanes, lane))

    def close(self) -> None:
        """Nothing to give back."""


def page(setup: scenario.Setup, now: state.State) -> str:
    """The order desk as a page of text: the day, the books, the centres, the queue."""
    status = now.orders[:, state.COLUMNS.index(scenario.STATUS)]
    counts = ", ".join(f"{int((status == s).sum())} {name}" for s, name in enumerate(rules.STATUSES))
    centres = "\n".join(
        f"  {name:<9}{int(now.picks[c]):>4} picks left, {int(now.free[c].sum()):>5} units free"
        for c, name in enumerate(scenario.CENTRES)
    )
    books = ", ".join(
        f"{name} {int(cents) / 100:.2f}" for name, cents in zip(rules.ACCOUNTS, now.ledger, strict=True)
    )
    ended = " (season over)" if now.ended else ""
    return (
        f"day {now.day} of {setup.days}{ended}, {scenario.FAMILY_NAMES[now.family]} season\n"
        f"orders: {counts}\n{centres}\nbooks: {books}\nprofit: {int(now.ledger.sum()) / 100:.2f}\n"
    )


@lru_cache(maxsize=16)
def setup_for(
    split: str = "train",
    history: str | None = None,
    days: int = 10,
    orders_per_day: float | None = None,
    stress: Stress = Stress(),  # noqa: B008  it is frozen
) -> scenario.Setup:
    """The constants of a season; equal arguments share one object.

    Args:
        split: whose baskets customers order: no invoice is in two splits.
        history: baskets that `factory import orders` made, or None for the default shop.
        days: length of the season.
        orders_per_day: mean volume; None for the default shop's, or the company's up to 40.
        stress: how much harder it gets than planned.
    """
    baskets = synthetic(split) if history is None else Baskets.load(history).partition(split)
    usual = DEFAULT_VOLUME if history is None else min(baskets.orders_per_day, LARGEST_DEFAULT_VOLUME)
    return season_under(stress, baskets, days, usual if orders_per_day is None else orders_per_day)


def sides_of(setup: scenario.Setup) -> Sides:
    """The twin and the live side of a season."""

    def live(lanes: int) -> Live:
        from workgym.envs.embedded import LiveOrders  # that module reads this one

        return LiveOrders(setup)

    return Sides(task(), lambda lanes: TwinBackend(setup, lanes), live)


class OrdersEnv(base.Env):
    """The order desk of an online retailer decides how every order is fulfilled.

    ## Department

    Order fulfilment. Four centres hold stock and pick a limited number of order lines a day. A clerk
    looks at one waiting order after the other, oldest first, and decides where it ships from and
    how fast, or lets it wait, or cancels it. An episode is a season of `days` business days.

    ## Observation

    `Box(-1, 1, (46,), float32)`, with four centres.

    | index | what the clerk sees | unit |
    |---|---|---|
    | 0 | day of the season | share of the season |
    | 1 | lines that still wait today, over lines that can still be picked | a quarter |
    | 2 | orders behind this one | 64 orders |
    | 3 | lines that all centres can still pick today | 128 lines |
    | 4 | lines of the order | 4 lines |
    | 5 | units of the order | 64 units |
    | 6 | value of the order | 200.00 |
    | 7 | margin a line | 40.00 |
    | 8 | weight | 20 kg |
    | 9 | priority customer | 0 or 1 |
    | 10 | days until the promise, negative once it is missed | 8 days |
    | 11 | days since the order was placed | 8 days |
    | 12 | what cancelling would cost | 40.00 |
    | 13-32 | per centre: can ship whole; share of today's picks left; lines short; | 1, 1, 4 lines, |
    |       | days of demand that the scarcest line's stock would still cover; | 8 days, |
    |       | days until the short lines are replenished | 4 days |
    | 33-44 | per centre and service: freight plus foreseen lateness of shipping whole | 40.00 |
    | 45 | a split shipment is possible | 0 or 1 |

    ## Action

    `Discrete(15)`: 0-11 ship whole from a centre (Leeds, Reading, Glasgow, Cork) by a service
    (economy, standard, express); 12 split over as few centres as a greedy cover needs, each parcel
    by its cheapest service; 13 hold until tomorrow; 14 cancel. `info["action_mask"]` says which are
    legal. An illegal action is refused: nothing changes, the reward is 0 and `info["refused"]` says
    why.

    ## Reward

    Cents booked since the last decision, as `info["reward_terms"]`: `sales` and `goods` (the
    margin), `freight`, `picking`, `lateness` (compensation for broken promises), `goodwill`
    (apologies for cancelled and withdrawn orders). Learners multiply by `task.reward_scale`.
    `info["constraint_cost"]` counts promises broken.

    ## Episode end

    Terminates when the last day has closed; orders that still wait are then cancelled.

    ## Start

    `reset(seed)` names the season: who orders what and when, late suppliers, late carriers, closed
    centres. `options={"family": ...}` fixes the situation: `normal`, `promotion`, `stock-out`,
    `centre-outage`, `supplier-late`, `remote-heavy`; otherwise the seed draws it.

    ## Rules

    `services/orders/rules.py`: a centre ships an order whole if it has every line and enough picks
    left; an order that no centre can ship whole may be split by lines; a started kilogram counts
    whole; priority promises cost three times as much to break.

    ## Source

    Basket sizes, SKU popularity and weekday profile: Chen, D. (2015), Online Retail, UCI Machine
    Learning Repository, doi 10.24432/C5BW33, CC BY 4.0. The fulfilment decision with split
    shipments, capacity and zones follows Acimovic and Graves (2015), "Making better fulfillment
    decisions on the fly in an online retail environment".

    ## Versions

    v0: first version.

    Args:
        backend: `twin` (arrays), `embedded` (the live service in process), `http` or `docker`.
        split: `train`, `gate` or `audit`.
        family: business situation of every episode, or None to draw one an episode.
        history: baskets made by `factory import orders`, instead of the default shop.
        days: length of the season, 1..60.
        orders_per_day: mean volume of a normal day.
        base_url: of the server, with backend `http`; None for the environment variable WORKGYM_URL.
        transport: fields of `workgym.envs.backends.Transport`, with the backends `http` and `docker`.
        mishaps: shares of decisions that meet a business fault, by name, such as `{"stale-read": 0.05}`; see
            `workgym.envs.mishaps`.
        stress: how much harder the season is than planned, such as `{"demand": 1.3, "lead-time": 2,
            "capacity": 0.75}`; see `workgym.services.stress`.
        render_mode: None or `ansi`.
    """

    perturbations = (
        Perturbation("demand", "3 orders come where 2 were planned for", {"stress": {"demand": 1.5}}),
        Perturbation("lead-time", "supplies come up to 3 days later", {"stress": {"lead-time": 3}}),
        Perturbation("capacity", "centres pick 3 lines where they picked 4", {"stress": {"capacity": 0.75}}),
        FAULTS,
        Perturbation(
            "schema", "every promise reads as due today", reads={"days until the promise, / 8": 0.0}
        ),
        Perturbation("schema", "no customer reads as a priority one", reads={"priority customer": 0.0}),
    )

    def __init__(
        self,
        backend: str = "twin",
        split: str = "train",
        family: str | None = None,
        history: str | None = None,
        days: int = 10,
        orders_per_day: float | None = None,
        base_url: str | None = None,
        transport: Mapping[str, Any] | None = None,
        mishaps: Mapping[str, float] | None = None,
        stress: Mapping[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        arguments = {
            "backend": backend,
            "split": split,
            "family": family,
            "history": history,
            "days": days,
            "orders_per_day": orders_per_day,
            "base_url": base_url,
            "transport": transport,
            "mishaps": mishaps,
            "stress": stress,
        }
        self.sides = sides_of(setup_for(split, history, days, orders_per_day, Stress.of(stress)))
        lanes = self.sides.lanes(1, arguments)
        super().__init__(self.sides.task, lanes, split, family, render_mode, arguments)


class OrdersVectorEnv(base.VectorEnv):
    """N order desks; see `OrdersEnv` for what they decide and for the arguments."""

    def __init__(
        self,
        num_envs: int,
        backend: str = "twin",
        split: str = "train",
        family: str | None = None,
        history: str | None = None,
        days: int = 10,
        orders_per_day: float | None = None,
        base_url: str | None = None,
        transport: Mapping[str, Any] | None = None,
        mishaps: Mapping[str, float] | None = None,
        stress: Mapping[str, float] | None = None,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        if render_mode is not None:
            raise BadInput(
                f"a vector env renders nothing, found render_mode {render_mode!r}; render a single env"
            )
        arguments = {
            "backend": backend,
            "split": split,
            "history": history,
            "days": days,
            "orders_per_day": orders_per_day,
            "base_url": base_url,
            "transport": transport,
            "mishaps": mishaps,
            "stress": stress,
        }
        self.sides = sides_of(setup_for(split, history, days, orders_per_day, Stress.of(stress)))
        lanes = self.sides.lanes(num_envs, arguments)
        super().__init__(self.sides.task, lanes, split, family, max_episode_steps, autoreset_mode)


OrdersEnv.vector_env = OrdersVectorEnv
