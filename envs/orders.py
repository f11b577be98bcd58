"""Order fulfilment as an environment: the task, its observation, and the twin behind it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numba import njit
from numpy.typing import NDArray

from workgym.envs import base
from workgym.services.kernel import BadInput, did_you_mean
from workgym.services.orders import desk, rules, scenario, state, twin
from workgym.services.orders.baskets import Baskets, synthetic
from workgym.services.scenario import episode_key

ENV_ID = "workgym/Orders-v0"
VERSION = "orders-v0.1"
BACKENDS = ("twin", "embedded")
DEFAULT_VOLUME = 14.0  # orders a day of the default shop
LARGEST_DEFAULT_VOLUME = 40.0  # orders a day; more make seasons of thousands of decisions

# Layout of an observation: HEAD features of the order and the day, PER_CENTRE of each centre, the
# cost of each (centre, service) option, and whether a split is possible.
HEAD = 13
PER_CENTRE = 5


def n_features(n_centres: int) -> int:
    """Length of an observation."""
    return HEAD + n_centres * (PER_CENTRE + rules.N_SERVICES) + 1


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
    )


@njit(cache=True, inline="always")
def _unit(x: float) -> np.float32:
    return np.float32(min(max(x, -1.0), 1.0))


@njit(cache=True, forceinline=True)
def observe(  # noqa: PLR0915  # one pass: cut into functions it is a quarter slower
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
            obs[cost_at] = _unit(cost * np.float32(1.0 / 4000.0))
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


@njit(cache=True)
def _advance(
    setup: Any, lanes: Any, mode: Any, actions: Any, episodes: Any, scratch: Any, board: Any
) -> None:
    """Advance every lane and fill `board`; `board.terms` is (terms, N)."""
    terms = np.zeros(board.terms.shape[0], dtype=np.int64)
    n_families = setup.families.shape[0]
    for i in range(len(mode)):
        lane = lanes.lane[i]
        terms[:] = 0
        refusal = 0
        broken = lane[twin.BROKEN]
        if mode[i] == base.BEGIN:
            key = episode_key(episodes.salt, episodes.seed[i], episodes.number[i])
            family = episodes.family[i]
            if family < 0:
                family = scenario.drawn_family(key, n_families)
            twin.open_season(setup, lanes, i, key, family, terms)
            broken = 0
        elif mode[i] == base.ACT:
            refusal = twin.take_decision(setup, lanes, i, actions[i], scratch, terms)
        for account in range(len(terms)):
            lanes.ledger[i, account] += terms[account]
            board.terms[account, i] = terms[account]
        board.refusal[i] = refusal
        board.ended[i] = lane[twin.ENDED] == 1
        board.violations[i] = lane[twin.BROKEN] - broken
        twin.fill_case(setup, lanes, i, scratch.case, scratch.free, -1)
        observe(
            setup,
            scratch.case,
            scratch.free,
            lanes.picks[i],
            scratch.rank,
            scratch.plan,
            board.obs[i],
            board.mask[i],
        )


def new_board(n: int) -> base.Board:
    """Fresh arrays for N lanes."""
    spec = task()
    return base.Board(
        obs=np.empty((n, *spec.observation_space.shape), dtype=np.float32),
        mask=np.empty((n, int(spec.action_space.n)), dtype=np.bool_),
        terms=np.empty((len(spec.terms), n), dtype=np.int64),
        ended=np.empty(n, dtype=np.bool_),
        refusal=np.empty(n, dtype=np.int64),
        violations=np.empty(n, dtype=np.int64),
    )


class TwinBackend:
    """N lanes of the retailer in arrays."""

    def __init__(self, setup: scenario.Setup, lanes: int) -> None:
        self.lanes = lanes
        self.setup = setup
        self._lanes = twin.empty_lanes(setup, lanes)
        self._scratch = twin.new_scratch(setup)

    def advance(self, mode: NDArray[np.int8], actions: base.Ints, episodes: base.Episodes) -> base.Board:
        """Let each lane act, begin or stand still."""
        board = new_board(self.lanes)
        _advance(self.setup, self._lanes, mode, actions, episodes, self._scratch, board)
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
    split: str = "train", history: str | None = None, days: int = 10, orders_per_day: float | None = None
) -> scenario.Setup:
    """The constants of a season; equal arguments share one object.

    Args:
        split: whose baskets customers order: no invoice is in two splits.
        history: baskets that `factory import orders` made, or None for the default shop.
        days: length of the season.
        orders_per_day: mean volume; None for the default shop's, or the company's up to 40.
    """
    baskets = synthetic(split) if history is None else Baskets.load(history).partition(split)
    usual = DEFAULT_VOLUME if history is None else min(baskets.orders_per_day, LARGEST_DEFAULT_VOLUME)
    return scenario.season(baskets, days, usual if orders_per_day is None else orders_per_day)


def make_backend(backend: str, setup: scenario.Setup, lanes: int) -> base.Backend:
    """N lanes of state behind the name of a backend.

    Raises:
        BadInput: there is no such backend.
    """
    if backend == "twin":
        return TwinBackend(setup, lanes)
    if backend == "embedded":
        from workgym.envs.embedded import EmbeddedBackend  # that module reads this one

        return EmbeddedBackend(setup, lanes)
    raise BadInput(did_you_mean("backend", backend, list(BACKENDS)))


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
        backend: `twin` (arrays) or `embedded` (the live service in process).
        split: `train`, `gate` or `audit`.
        family: business situation of every episode, or None to draw one an episode.
        history: baskets made by `factory import orders`, instead of the default shop.
        days: length of the season, 1..60.
        orders_per_day: mean volume of a normal day.
        render_mode: None or `ansi`.
    """

    def __init__(
        self,
        backend: str = "twin",
        split: str = "train",
        family: str | None = None,
        history: str | None = None,
        days: int = 10,
        orders_per_day: float | None = None,
        render_mode: str | None = None,
    ) -> None:
        arguments = {
            "backend": backend,
            "split": split,
            "family": family,
            "history": history,
            "days": days,
            "orders_per_day": orders_per_day,
        }
        setup = setup_for(split, history, days, orders_per_day)
        super().__init__(task(), make_backend(backend, setup, 1), split, family, render_mode, arguments)


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
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        if render_mode is not None:
            raise BadInput(
                f"a vector env renders nothing, found render_mode {render_mode!r}; render a single env"
            )
        setup = setup_for(split, history, days, orders_per_day)
        lanes = make_backend(backend, setup, num_envs)
        super().__init__(task(), lanes, split, family, max_episode_steps, autoreset_mode)


OrdersEnv.vector_env = OrdersVectorEnv
