"""What no buyer can earn more than: an episode's best, with its whole future known, as a linear program.

The program holds every plan that the service could carry out, and more: quantities may be fractions,
orders need no packs, goods may stay on the shelf while customers wait. So its optimum bounds the profit
of every policy on the same episode from above. Where lead times, losses and shares are whole it is what
Hubbs et al. (2020), arXiv 2008.06319, call the oracle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from workgym.agents.baselines import inventory
from workgym.agents.inventory import dual_sourcing, lost_sales, serial
from workgym.agents.pathwise.happenings import Happenings, happenings
from workgym.agents.policy import Policy
from workgym.envs.supply_chain.env import SupplyChainVectorEnv
from workgym.services.kernel import BadInput
from workgym.services.supply_chain import rules
from workgym.services.supply_chain.scenario import EXTERNAL, Setup
from workgym.services.supply_chain.spec import Network
from workgym.services.supply_chain.state import State

Amounts = NDArray[np.float64]
Numbers = NDArray[np.int64]

ROUNDING = 0.999  # of a unit: what cutting to whole units can take or give


class _Program:
    """Columns and rows of a linear program as they come: most money within linear limits."""

    def __init__(self) -> None:
        self.width = self.height = 0
        self._upper: list[Amounts] = []
        self._low: list[Amounts] = []
        self._high: list[Amounts] = []
        self._worth: list[tuple[Numbers, Amounts]] = []
        self._cells: list[tuple[Numbers, Numbers, Amounts]] = []

    def columns(self, shape: tuple[int, ...], worth: Any = 0.0, upper: Any = np.inf) -> Numbers:
        """New quantities of 0 or more, (shape), each worth so much money and at most so large."""
        numbers = np.arange(self.width, self.width + int(np.prod(shape))).reshape(shape)
        self.width += numbers.size
        self._upper.append(np.broadcast_to(np.asarray(upper, dtype=np.float64), shape).ravel())
        self.pay(numbers, worth)
        return numbers

    def pay(self, columns: Numbers, worth: Any) -> None:
        """Let quantities earn more."""
        self._worth.append((columns.ravel(), np.broadcast_to(np.float64(worth), columns.shape).ravel()))

    def rows(self, shape: tuple[int, ...], low: Any, high: Any) -> Numbers:
        """New limits, (shape): what is put into each lies within low..high."""
        numbers = np.arange(self.height, self.height + int(np.prod(shape))).reshape(shape)
        self.height += numbers.size
        self._low.append(np.broadcast_to(np.asarray(low, dtype=np.float64), shape).ravel())
        self._high.append(np.broadcast_to(np.asarray(high, dtype=np.float64), shape).ravel())
        return numbers

    def put(self, rows: Numbers, columns: Numbers, factor: float) -> None:
        """Count quantities, so many times, in limits; shapes as numpy broadcasts them."""
        row, column = np.broadcast_arrays(rows, columns)
        self._cells.append((row.ravel(), column.ravel(), np.full(row.size, float(factor))))

    def most(self) -> float:
        """The largest worth.

        Raises:
            RuntimeError: the solver does not find it.
        """
        from scipy.optimize import linprog
        from scipy.sparse import csr_array, vstack

        worth = np.zeros(self.width)
        for columns, money in self._worth:
            np.add.at(worth, columns, money)
        unit = float(np.abs(worth).max(initial=0.0)) or 1.0
        row, column, factor = (np.concatenate(part) for part in zip(*self._cells, strict=True))
        matrix = csr_array((factor, (row, column)), shape=(self.height, self.width))
        low, high = np.concatenate(self._low), np.concatenate(self._high)
        exact, below, above = low == high, (low != high) & (high < np.inf), (low != high) & (low > -np.inf)
        found = linprog(
            -worth / unit,
            A_eq=matrix[exact],
            b_eq=low[exact],
            A_ub=vstack([matrix[below], -matrix[above]]),
            b_ub=np.concatenate([high[below], -low[above]]),
            bounds=np.column_stack([np.zeros(self.width), np.concatenate(self._upper)]),
            method="highs",
        )
        if found.x is None:
            raise RuntimeError(f"the linear program of an episode has an optimum, but: {found.message}")
        return float(-found.fun * unit)


class _Episode(NamedTuple):
    """An episode and the program of its best plan; T periods, S nodes, K SKUs, A links."""

    setup: Setup
    told: Happenings
    weight: Amounts  # (T,) of each period's money
    program: _Program
    shipped: Numbers  # (T, A, K) columns: what leaves
    early: Numbers  # (T, S, K) rows: what a node can ship takes what arrives before
    stock: Numbers  # (T, S, K) rows: what it can sell takes all that arrives

    @property
    def period(self) -> Numbers:
        """(T, 1) periods."""
        return np.arange(self.setup.periods)[:, None]


def upper_bound(setup: Setup, key: int, family: int = -1, discount: float = 1.0) -> float:
    """Money that no policy can exceed on an episode.

    Args:
        setup: the network.
        key: of the episode.
        family: of the episode, or -1 for the one that the key draws.
        discount: of the money of one period against the one before.

    Raises:
        BadInput: a cost is negative, so that wasting may pay without a bound.
    """
    costs = ("order_cost", "unshipped", "lost", "waiting", "transit", "holding")
    for name in costs:
        if getattr(setup, name).min() < 0:
            raise BadInput(f"expected a {name} of 0 or more, found {getattr(setup, name).min()}")
    told = happenings(setup, np.array([key], np.uint64), np.array([family], np.int64), setup.periods)
    weight: Amounts = np.power(discount, np.arange(setup.periods))
    episode = _opened(setup, told, weight)
    for a in range(len(setup.source)):
        _orders(episode, a)
        _opening_goods(episode, a)
        _arrivals(episode, a)
    return episode.program.most()


def _opened(setup: Setup, told: Happenings, weight: Amounts) -> _Episode:
    """The program with its nodes; goods do not arrive yet."""
    program, w = _Program(), weight[:, None, None]
    nodes, links = (setup.periods, *setup.opening.shape), (setup.periods, *setup.most.shape)
    order = np.where(setup.order_delay[:, None] == 0, setup.order_cost / np.maximum(setup.most, 1), 0.0)
    is_open = np.broadcast_to(told.is_open[:, 0] == 1, links)
    cost = told.cost[:, 0] + order  # an order is `most` at most, so a unit costs that share of it at least
    shipped = program.columns(links, -w * cost, np.where(is_open, np.inf, 0.0))
    served = np.where(np.broadcast_to(setup.group >= 0, nodes), np.inf, 0.0)
    sold = program.columns(nodes, w * told.price[:, 0], served)
    kept = program.columns(nodes, -w * setup.holding)
    program.pay(kept[-1], weight[-1] * setup.salvage)
    opening = np.zeros(nodes)
    opening[0] = setup.opening
    early, stock = program.rows(nodes, -opening, np.inf), program.rows(nodes, -opening, -opening)
    for rows in (early, stock):
        program.put(rows[1:], kept[:-1], 1.0)
        for a in np.flatnonzero(setup.source != EXTERNAL).tolist():
            program.put(rows[:, setup.source[a]], shipped[:, a], -1.0)
    program.put(stock, sold, -1.0)
    program.put(stock, kept, -1.0)
    episode = _Episode(setup, told, weight, program, shipped, early, stock)
    _customers(episode, sold)
    return episode


def _customers(episode: _Episode, sold: Numbers) -> None:
    """Who is served, who waits and who leaves."""
    setup, program, w = episode.setup, episode.program, episode.weight[:, None, None]
    demand = episode.told.demand[:, 0].astype(np.float64)
    share = (setup.waits_pm / rules.ALL)[:, None]
    cut = np.where((share > 0) & (share < 1), ROUNDING, 0.0)
    waiting = program.columns(demand.shape, -w * setup.waiting, np.where(share > 0, np.inf, 0.0))
    left = program.columns(demand.shape, -w * setup.lost, (1.0 - share) * demand + cut)
    queue = program.rows(demand.shape, demand, demand)
    for columns in (waiting, sold, left):
        program.put(queue, columns, 1.0)
    program.put(queue[1:], waiting[:-1], -1.0)
    for s in np.flatnonzero(cut[:, 0]).tolist():  # today's customers who are not served share alike
        rows = program.rows(demand[:, s].shape, (1.0 - share[s]) * demand[:, s] - ROUNDING, np.inf)
        program.put(rows, left[:, s], 1.0)
        program.put(rows, sold[:, s], 1.0 - float(share[s, 0]))


def _orders(episode: _Episode, a: int) -> None:
    """What has been ordered can be shipped; at a source that keeps orders, later too."""
    setup, program, shipped = episode.setup, episode.program, episode.shipped[:, a]
    periods, delay = setup.periods, int(setup.order_delay[a])
    mail = np.concatenate([np.tile(setup.opening_way[a], (delay, 1)), np.tile(setup.most[a], (periods, 1))])
    if setup.keeps_orders[a] == 0:
        program.put(program.rows(shipped.shape, 0.0, mail[:periods]), shipped, 1.0)
    else:
        so_far = program.columns(shipped.shape, 0.0, np.cumsum(mail[:periods], axis=0))
        adds = program.rows(shipped.shape, 0.0, 0.0)
        program.put(adds, so_far, 1.0)
        program.put(adds[1:], so_far[:-1], -1.0)
        program.put(adds, shipped, -1.0)
    if setup.capacity[a] > 0:
        total = program.rows((periods,), 0.0, float(setup.capacity[a]))
        program.put(total[:, None], shipped, 1.0)


def _opening_goods(episode: _Episode, a: int) -> None:
    """What is on the way when the episode begins."""
    setup, program = episode.setup, episode.program
    days, units = int(setup.leads[a, 0]), setup.opening_way[a].astype(np.float64)
    if days > 0 and units.any():
        goods = program.columns((days, len(units)))
        program.put(program.rows(goods.shape, units, units), goods, 1.0)
        when = np.arange(days)[:, None] + 1 - setup.receives_first + np.zeros_like(goods)
        _arrive(episode, a, goods, np.full_like(goods, -1), when)


def _arrivals(episode: _Episode, a: int) -> None:
    """When what is shipped arrives, and how much of it."""
    setup, shipped, lead = episode.setup, episode.shipped[:, a], episode.told.lead[:, 0, a]
    loss, shares = int(episode.told.loss_pm[0, a, 0]), setup.instalments[a]
    sent = episode.period + np.zeros_like(lead)
    goods = shipped if loss == 0 else _survivors(episode.program, shipped, loss / rules.ALL)
    parts = [(0, goods)] if shares[1] == rules.ALL else _instalments(episode.program, goods, shares)
    in_turn = setup.crosses[a] == 0 and bool((lead != lead[0, 0]).any())
    for later, part in parts:
        if in_turn:
            _queue_up(episode, a, part, sent, sent + lead + later)
        else:
            _arrive(episode, a, part, sent, sent + lead + later)


def _survivors(program: _Program, shipped: Numbers, lost: float) -> Numbers:
    """What is left of shipments when about a share of each is lost, cut to whole units."""
    goods = program.columns(shipped.shape)
    near = program.rows(shipped.shape, -ROUNDING, ROUNDING)
    program.put(near, goods, 1.0)
    program.put(near, shipped, lost - 1.0)
    no_more = program.rows(shipped.shape, -np.inf, 0.0)
    program.put(no_more, goods, 1.0)
    program.put(no_more, shipped, -1.0)
    return goods


def _instalments(program: _Program, goods: Numbers, shares: Numbers) -> list[tuple[int, Numbers]]:
    """(periods later, columns) of the parts of shipments; so far, each is cut to whole units."""
    parts: list[tuple[int, Numbers]] = []
    for n, until in enumerate(shares[1:].tolist()):
        if until == shares[n]:
            continue
        parts.append((n, program.columns(goods.shape)))
        so_far = program.rows(goods.shape, -ROUNDING if until < rules.ALL else 0.0, 0.0)
        program.put(so_far, goods, -until / rules.ALL)
        for _, part in parts:
            program.put(so_far, part, 1.0)
    return parts


def _arrive(episode: _Episode, a: int, goods: Numbers, sent: Numbers, when: Numbers) -> None:
    """Let goods (n, K), sent and arriving in these periods, reach the shelf, and pay for their way."""
    _travel(episode, a, goods, sent, when)
    _shelve(episode, a, goods, when, (when > sent) & (episode.setup.receives_first == 1))


def _travel(episode: _Episode, a: int, goods: Numbers, sent: Numbers, when: Numbers) -> None:
    """Pay for goods while they are on the way, and value those that still are at the end."""
    setup = episode.setup
    so_far = np.concatenate([[0.0], np.cumsum(episode.weight)])
    days = so_far[np.minimum(when, setup.periods)] - so_far[np.maximum(sent, 0)]
    worth = (when >= setup.periods) * episode.weight[-1] * setup.salvage[setup.target[a]]
    episode.program.pay(goods, worth - days * setup.transit[a])


def _shelve(episode: _Episode, a: int, goods: Numbers, when: Numbers, before: Any) -> None:
    """Put goods on the shelf; those that come `before` the orders can be shipped on at once."""
    setup, program, target = episode.setup, episode.program, int(episode.setup.target[a])
    k, here = np.arange(goods.shape[1]) + np.zeros_like(goods), when < setup.periods
    program.put(episode.stock[when[here], target, k[here]], goods[here], 1.0)
    first = here & before
    program.put(episode.early[when[first], target, k[first]], goods[first], 1.0)


def _queue_up(episode: _Episode, a: int, goods: Numbers, sent: Numbers, when: Numbers) -> None:
    """Let goods (T, K) arrive when they are due, or later behind others that were sent before."""
    setup, program, w = episode.setup, episode.program, episode.weight[:, None]
    behind, out = program.columns(goods.shape, -w * setup.transit[a]), program.columns(goods.shape)
    program.pay(behind[-1], episode.weight[-1] * setup.salvage[setup.target[a]])
    turn = program.rows(goods.shape, 0.0, 0.0)  # behind - behind before + out = due
    program.put(turn, behind, 1.0)
    program.put(turn[1:], behind[:-1], -1.0)
    program.put(turn, out, 1.0)
    here, k = when < setup.periods, np.arange(goods.shape[1]) + np.zeros_like(goods)
    program.put(turn[when[here], k[here]], goods[here], -1.0)
    _travel(episode, a, goods, sent, when)
    _shelve(episode, a, out, episode.period + np.zeros_like(goods), setup.receives_first == 1)


# What a policy misses


class Regret(NamedTuple):
    """Money a period that a policy earns less than the tightest bound that is known.

    Attributes:
        mean: over episodes.
        error: its standard error.
        bound: what the bound is: `optimal average` of the textbook's problem, or `perfect information`.
    """

    mean: float
    error: float
    bound: str


def regret(env_id: str, policy: Policy, seeds: Sequence[int], **arguments: Any) -> Regret:
    """What a policy misses on the episodes of some seeds.

    Against an optimal average, which is one of the long run, the first third of every episode is left out.

    Args:
        env_id: a supply chain.
        policy: plays it.
        seeds: of the episodes.
        arguments: of the env.
    """
    env = cast(
        SupplyChainVectorEnv,
        gym.make_vec(env_id, num_envs=len(seeds), autoreset_mode=AutoresetMode.DISABLED, **arguments),
    )
    obs, _ = env.reset(seed=list(seeds))
    opened = [State.from_bytes(env.backend.state_bytes(lane)) for lane in range(len(seeds))]
    policy.begin(env)
    setup, best = env.parts.setup, optimal_average(env_id, env.parts.network)
    first = 0 if best is None else setup.periods // 3
    money = np.zeros(len(seeds))
    for period in range(setup.periods):
        obs, reward, _, _, _ = env.step(policy.act(obs, env.mask))
        money += reward if period >= first else 0.0
    env.close()
    if best is not None:
        missed, bound = best - money / (setup.periods - first), "optimal average"
    else:
        most = np.array([upper_bound(setup, now.key, now.family) for now in opened])
        missed, bound = (most - money) / setup.periods, "perfect information"
    return Regret(float(missed.mean()), float(missed.std() / np.sqrt(len(seeds))), bound)


def optimal_average(env_id: str, network: Network) -> float | None:
    """Money a period in the long run under an optimal policy, where the textbook's problem is solved."""
    try:
        if env_id == inventory.LOST_SALES:
            return -lost_sales.optimum(inventory.lost_sales_problem(network)).average.lower
        if env_id == inventory.DUAL_SOURCING:
            return -dual_sourcing.optimum(inventory.dual_sourcing_problem(network)).average.lower
    except BadInput:  # too large for the exact solvers
        return None
    return (
        -serial.optimal_levels(inventory.serial_system(network)).cost if env_id == inventory.SERIAL else None
    )
