"""The textbooks' policies as baselines, each on the preset of the problem that it was made for.

What a policy orders comes from `workgym.agents.inventory`, which knows no environment; here it reads
the state, asks, and acts. Parameters are those of the env's network, so other parameters of a preset
give other, equally good policies.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from itertools import product
from typing import Any, NamedTuple, cast

import numpy as np

from workgym.agents.baselines import Role, baseline
from workgym.agents.baselines.supply_chain import Buyer, Counter, Orders
from workgym.agents.inventory import dual_sourcing, lost_sales, lost_sales_policies, one_warehouse, serial
from workgym.agents.inventory.demand import Demand, Normal
from workgym.agents.policy import Floats, Policy
from workgym.envs.base import VectorEnv
from workgym.envs.supply_chain.env import SupplyChainVectorEnv, Wish, lanes_of, setup_for
from workgym.envs.supply_chain.view import BOUND
from workgym.services.kernel import BadInput
from workgym.services.supply_chain.rules import FRACTION
from workgym.services.supply_chain.scenario import EXTERNAL, Setup
from workgym.services.supply_chain.spec import SUPPLIER, Distribution, Network
from workgym.services.supply_chain.state import State

LOST_SALES = "workgym/SupplyChain.lost-sales-v0"
DUAL_SOURCING = "workgym/SupplyChain.dual-sourcing-v0"
SERIAL = "workgym/SupplyChain.serial-v0"
ONE_WAREHOUSE = "workgym/SupplyChain.one-warehouse-v0"
BEER_GAME = "workgym/SupplyChain.beer-game-v0"
OR_GYM = "workgym/SupplyChain.or-gym-v0"

LONGEST_EXACT = 4  # periods of lead time up to which a family's best is found without simulation
SEARCH_LANES = 64  # episodes of the train split that every trial of a search plays
SEARCH_STEPS = (16, 4, 1)  # units by which levels move, coarse first


# The state


class Shelf(NamedTuple):
    """Stock and orders of N lanes, in units; S nodes, K SKUs, A links."""

    net: Orders  # (N, S, K) on hand less waiting customers
    owed: Orders  # (N, A, K) reached the source and not shipped yet
    mail: Orders  # (N, A, K, delay) orders that reach the source in 0, 1, ... periods
    way: Orders  # (N, A, K, horizon) units that arrive in 0, 1, ... periods

    @property
    def coming(self) -> Orders:
        """(N, A, K) units that are on their way over each link."""
        return np.asarray(self.way.sum(axis=3))

    @property
    def ordered(self) -> Orders:
        """(N, A, K) units that were ordered over each link and have not arrived."""
        return np.asarray(self.coming + self.owed + self.mail.sum(axis=3))


def shelf_of(backend: Counter, obs: Floats) -> Shelf:
    """The state behind observations: read off flat ones, else asked for.

    Flat observations are the state in another unit. Only what lies beyond their bound is cut, and then
    the backend is asked.
    """
    if obs.ndim != 2:
        return _asked_for(backend, range(len(obs)))
    seen = _read_off(backend, obs)
    for lane in np.flatnonzero((np.abs(obs) >= BOUND).any(axis=1)).tolist():
        for part, whole in zip(seen, _asked_for(backend, [lane]), strict=True):
            part[lane] = whole[0]
    return seen


def _read_off(backend: Counter, obs: Floats) -> Shelf:
    setup, sheet, n = backend.setup, backend.sheet, len(obs)
    (links, skus), nodes = setup.most.shape, len(setup.opening)
    head = obs[:, : 2 * nodes * skus].reshape(n, nodes, skus, 2)
    width = 1 + setup.delay + setup.horizon
    tail = obs[:, 2 * nodes * skus : 2 * nodes * skus + links * skus * width].reshape(n, links, skus, width)
    units = np.rint(tail.astype(np.float64) / sheet.link_scale[:, :, None]).astype(np.int64)
    net = np.rint(head[..., 0].astype(np.float64) / sheet.node_scale).astype(np.int64)
    return Shelf(net, units[..., 0], units[..., 1 : 1 + setup.delay], units[..., 1 + setup.delay :])


def _asked_for(backend: Counter, lanes: Any) -> Shelf:
    states = [State.from_bytes(backend.state_bytes(lane)) for lane in lanes]
    return Shelf(
        np.stack([one.on_hand - one.backlog for one in states]),
        *(np.stack([getattr(one, name) for one in states]) for name in ("owed", "mail", "way")),
    )


class Classical(Buyer):
    """A textbook's policy; subclasses learn its parameters from the network and say what it orders."""

    def __init__(self, name: str) -> None:
        self.name = name

    def begin(self, env: VectorEnv) -> None:
        """Meet the env and find the parameters."""
        super().begin(env)
        self.parts = cast("SupplyChainVectorEnv", env).parts
        self.network = replace(self.parts.network, periods=1)  # no textbook asks when the episode ends
        self.sheet = self.backend.sheet
        self.prepare()

    def prepare(self) -> None:
        """Find the parameters."""

    def units(self, obs: Floats) -> Orders:
        """Orders, within what the links take."""
        wanted = self.order(shelf_of(self.backend, obs))
        return np.clip(wanted, 0, self._most)

    @abstractmethod
    def order(self, shelf: Shelf) -> Orders:
        """(N, links * SKUs) units."""


def law_of(setup: Setup, node: int) -> Demand:
    """The demand of the first SKU of a node, as the service draws it."""
    group = setup.group[node, 0]
    first, size, lowest = setup.tables.group[group]
    table = int(first + min(max(int(setup.step[node, 0]) - lowest, 0), size - 1))
    cdf = setup.tables.cdf[setup.tables.at[table] : setup.tables.at[table + 1]] / 2.0**32
    cdf[-1] = 1.0
    return Demand(np.append(np.zeros(int(setup.tables.low[table])), np.diff(cdf, prepend=0.0)))


# One store, lost sales


def lost_sales_problem(network: Network) -> lost_sales.LostSales:
    """The problem of a lost-sales network.

    Raises:
        BadInput: the lead time is 0.
    """
    setup = setup_for(network)
    usual = lost_sales.LostSales(
        law_of(setup, 0), int(setup.leads[0, 0]), float(setup.holding[0, 0]), float(setup.lost[0, 0])
    )
    most = int(setup.most[0, 0])
    return usual if usual.order_cap <= most else replace(usual, max_order=most)


class LostSalesRule(Classical):
    """Orders by a policy of `workgym.agents.inventory.lost_sales`."""

    def prepare(self) -> None:
        """Find the policy, once a process for each network."""
        self.lead = int(self.setup.leads[0, 0])
        self.policy = _lost_sales_policy(self.name, self.network)

    def order(self, shelf: Shelf) -> Orders:
        """(N, 1) units."""
        pipeline = shelf.way[:, 0, 0, 1 : max(self.lead, 1)]
        return np.asarray(self.policy.order(shelf.net[:, 0, 0], pipeline)[:, None])


@lru_cache(maxsize=256)
def _lost_sales_policy(name: str, network: Network) -> lost_sales.Policy:
    setup = setup_for(network)
    if setup.leads[0, 0] == 0:  # a newsvendor every period; then all of these are the same policy
        penalty, holding = float(setup.lost[0, 0]), float(setup.holding[0, 0])
        return lost_sales_policies.BaseStock(law_of(setup, 0).quantile(penalty / (penalty + holding)))
    policy: lost_sales.Policy = LOST_SALES_POLICIES[name](lost_sales_problem(network))
    return policy


def _best_of(search: Callable[..., lost_sales_policies.Best]) -> Callable[[lost_sales.LostSales], Any]:
    """The best of a family: exact where that is quick, else by simulation with common random numbers."""

    def find(problem: lost_sales.LostSales) -> Any:
        if problem.lead_time <= LONGEST_EXACT:
            try:
                return search(problem).policy
            except BadInput:  # too many states, as geometric demand has
                pass
        return search(problem, rng=np.random.default_rng(0)).policy

    return find


def _optimum(problem: lost_sales.LostSales) -> Any:
    return lost_sales.optimum(problem).policy


LOST_SALES_POLICIES: dict[str, Callable[[lost_sales.LostSales], Any]] = {
    "optimal": _optimum,
    "best-base-stock": _best_of(lost_sales_policies.best_base_stock),
    "myopic": lost_sales_policies.myopic,
    "capped-base-stock": _best_of(lost_sales_policies.best_capped_base_stock),
    "projected-inventory-level": _best_of(lost_sales_policies.best_projected_inventory),
}


# Two suppliers


def dual_sourcing_problem(network: Network) -> dual_sourcing.DualSourcing:
    """The problem of a network with a regular and an express supplier."""
    setup = setup_for(network)
    regular, express = setup.cost[:, 0].tolist()
    return dual_sourcing.DualSourcing(
        law_of(setup, 0),
        int(setup.leads[0, 0]),
        float(regular),
        float(express),
        float(setup.holding[0, 0]),
        float(setup.waiting[0, 0]),
    )


class DualSourcingRule(Classical):
    """Orders by a policy of `workgym.agents.inventory.dual_sourcing`."""

    def prepare(self) -> None:
        """Find the policy, once a process for each network."""
        self.lead = int(self.setup.leads[0, 0])
        self.policy = _dual_sourcing_policy(self.name, self.network)

    def order(self, shelf: Shelf) -> Orders:
        """(N, 2) units, regular and express."""
        orders = self.policy.order(shelf.net[:, 0, 0], shelf.way[:, 0, 0, 1 : self.lead])
        return np.stack([orders.regular, orders.expedited], axis=1)


@lru_cache(maxsize=256)
def _dual_sourcing_policy(name: str, network: Network) -> dual_sourcing.Policy:
    policy: dual_sourcing.Policy = DUAL_SOURCING_POLICIES[name](dual_sourcing_problem(network)).policy
    return policy


DUAL_SOURCING_POLICIES: dict[str, Callable[[dual_sourcing.DualSourcing], Any]] = {
    "optimal": dual_sourcing.optimum,
    "capped-dual-index": dual_sourcing.best_capped_dual_index,
    "dual-index": dual_sourcing.best_dual_index,
    "single-index": dual_sourcing.best_single_index,
    "tailored-base-surge": dual_sourcing.best_tailored_base_surge,
}


# Stages in a row


def serial_system(network: Network) -> serial.Serial:
    """The system of a serial network; its quantities and its money as the network counts them."""
    law = network.nodes[-1].demand
    if not isinstance(law, Distribution) or law.kind != "normal":
        raise BadInput(f"expected normal demand at the last stage of a serial network, found {law}")
    days = [link.lead_times()[0][0] for link in network.links]
    return serial.Serial(
        Normal(*law.parameters),
        tuple(float(cast(int, node.holding)) for node in network.nodes),
        (*days[:-1], days[-1] + 1.0),  # the period of the demand counts
        float(cast(int, network.nodes[-1].waiting)),
    )


@lru_cache(maxsize=256)
def _serial_levels(network: Network) -> tuple[int, ...]:
    levels = serial.optimal_levels(serial_system(network)).policy.levels
    return tuple(round(level) for level in levels)


class ClarkScarf(Classical):
    """Clark and Scarf's optimal echelon base-stock policy."""

    def prepare(self) -> None:
        """Find the levels, once a process for each network."""
        self.policy = serial.EchelonBaseStock(_serial_levels(self.network))

    def order(self, shelf: Shelf) -> Orders:
        """(N, stages) units: what is missing to the levels and not ordered yet."""
        missing = self.policy.order(shelf.net[..., 0], shelf.coming[..., 0])
        return np.asarray(missing - shelf.owed[..., 0])


# Levels that are searched


class Levelled(Classical):
    """Orders up to levels that are searched on the train split, with common random numbers."""

    def __init__(self, name: str, levels: tuple[int, ...] | None = None) -> None:
        super().__init__(name)
        self.levels = levels

    def prepare(self) -> None:
        """Find the levels if none are given, once a process for each network."""
        if self.levels is None:
            key = type(self).__name__, self.name, self.parts.network
            if key not in _FOUND:
                _FOUND[key] = best_levels(self)
            self.levels = _FOUND[key]

    def starts(self) -> list[tuple[int, ...]]:
        """Levels to begin the search at: what usual demand takes of each node, and of all below it."""
        return [self.usual_levels(self.sheet.lead + self.setup.order_delay + 2), self.above()]

    def usual_levels(self, periods: Any) -> tuple[int, ...]:
        """What usual demand behind each link takes in so many periods (A,)."""
        flow = (self.setup.reach @ self.setup.usual)[self.setup.target, 0] / FRACTION
        return tuple(np.rint(flow * periods).astype(int).tolist())

    def above(self) -> tuple[int, ...]:
        """Levels of whole branches: each one covers its own lead time and the longest one below."""
        return self.usual_levels(self.sheet.protection)

    def tied(self) -> tuple[int, ...]:
        """Of every level the group that it moves with; equal links share theirs."""
        return tuple(range(len(self.setup.source)))


_FOUND: dict[tuple[str, str, Network], tuple[int, ...]] = {}


def best_levels(policy: Levelled, discount: float = 1.0, lanes: int = SEARCH_LANES) -> tuple[int, ...]:
    """Levels that no single step of one of their groups makes better, coarse steps first.

    Args:
        policy: which has met its env.
        discount: of the money of one period against the one before.
        lanes: episodes of the train split, the same for every trial.
    """
    env = lanes_of(policy.parts.of_split("train"), lanes, Wish())
    groups = np.array(policy.tied())
    worth: dict[tuple[int, ...], float] = {}

    def profit(levels: tuple[int, ...]) -> float:
        if levels not in worth:
            trial = type(policy)(policy.name, levels)
            worth[levels] = float(episode_money(env, trial, discount).mean())
        return worth[levels]

    def moved(levels: tuple[int, ...], group: int, move: int) -> tuple[int, ...]:
        return tuple(np.maximum(np.array(levels) + move * (groups == group), 0).tolist())

    def climbed(levels: tuple[int, ...]) -> tuple[int, ...]:
        for step in SEARCH_STEPS:
            before: tuple[int, ...] = ()
            while levels != before:
                before = levels
                for group, move in product(sorted(set(groups.tolist())), (step, -step)):
                    while profit(moved(levels, group, move)) > profit(levels):
                        levels = moved(levels, group, move)
        return levels

    return max([climbed(levels) for levels in policy.starts()], key=profit)


def episode_money(env: VectorEnv, policy: Policy, discount: float = 1.0, seed: int = 0) -> Any:
    """(N,) what one episode in every lane earns."""
    obs, _ = env.reset(seed=seed)
    policy.begin(env)
    money, weight = np.zeros(env.num_envs), 1.0
    done = np.zeros(env.num_envs, dtype=np.bool_)
    while not done.any():
        obs, reward, ended, truncated, _ = env.step(policy.act(obs, env.mask))
        money += weight * reward
        weight *= discount
        done = ended | truncated
    return money


class EchelonStock(Levelled):
    """Every link fills up its node and all below it, as far as it carries and its source has goods."""

    def order(self, shelf: Shelf) -> Orders:
        """(N, links) units."""
        wanted = np.maximum(np.array(self.levels) - self.position(shelf), 0)
        there = shelf.net[:, np.maximum(self.setup.source, 0), 0]
        at_once = (self.setup.source != EXTERNAL) & (self.setup.order_delay == 0)
        wanted = np.where(at_once, np.minimum(wanted, np.maximum(there, 0)), wanted)
        return np.minimum(wanted, np.where(self.setup.capacity > 0, self.setup.capacity, self._most))

    def position(self, shelf: Shelf) -> Orders:
        """(N, A) stock at each link's target and below it, on its way there and ordered for there."""
        below = self.sheet.below  # (A, S)
        inner = below[:, self.setup.target]  # (A, A) whether a link leads to the target or below it
        source = self.setup.source
        inside = (source != EXTERNAL) & (below[:, np.maximum(source, 0)] == 1)
        asked = (shelf.ordered - shelf.coming)[..., 0]
        on_the_way = shelf.coming[..., 0] @ inner.T + asked @ (inner * ~inside).T
        return np.asarray(shelf.net[..., 0] @ below.T + on_the_way)


class InstallationStock(Levelled):
    """Every node looks at its own stock, what it owes, and what it has ordered, and fills that up."""

    def order(self, shelf: Shelf) -> Orders:
        """(N, links) units."""
        return np.maximum(np.array(self.levels) - own_position(self.setup, shelf), 0)


def own_position(setup: Setup, shelf: Shelf) -> Orders:
    """(N, A) each target's stock and orders, less what it owes its customers and the nodes it supplies."""
    owes = np.zeros(shelf.net.shape[:2], dtype=np.int64)
    for a, source in enumerate(setup.source.tolist()):
        if source != EXTERNAL:
            owes[:, source] += shelf.owed[:, a, 0]
    return np.asarray((shelf.net[..., 0] - owes)[:, setup.target] + shelf.ordered[..., 0])


class Sterman(Classical):
    """Anchors on the usual demand and adjusts to a wanted stock and supply line, with the best parameters.

    After `CALM` weeks of the usual order, which the board's rules prescribe: max(0, usual + S' - stock -
    supply line), with S' 28 for all but the factory, whose supply line is two weeks shorter: 20.

    Source: Sterman (1989), equations 4 to 12 with theta 0, alpha and beta 1; costs of the stages 46, 50,
    54, 54, together 204, as Edali and Yasarcan (2014), "A mathematical model of the beer game", JASSS
    17(4), replicate them.
    """

    CALM = 5  # decisions, the one before the first week included
    WANTED, FACTORY_WANTED = 28, 20

    def order(self, shelf: Shelf) -> Orders:
        """(N, 4) cases, the factory's first."""
        external = self.setup.source == EXTERNAL
        usual = round(float(self.setup.usual.max()) / FRACTION)
        wanted = np.where(external, self.FACTORY_WANTED, self.WANTED)
        adjusted = np.maximum(usual + wanted - own_position(self.setup, shelf), 0)
        facts = cast(Any, self.backend).facts
        calm = np.array([facts(lane)["day"] < self.CALM for lane in range(len(adjusted))])
        return np.where(calm[:, None], usual, adjusted)


# One warehouse


class Allocating(Levelled):
    """Echelon base-stock of one warehouse and its retailers, with a rule for who gets what it lacks."""

    def tied(self) -> tuple[int, ...]:
        """Retailers with equal demand and lead times share their level."""
        kinds = [
            (link.source, link.lead_time, None if link.source == SUPPLIER else node.demand)
            for link, node in zip(self.network.links, self.network.nodes, strict=True)
        ]
        return tuple(kinds.index(kind) for kind in kinds)

    def order(self, shelf: Shelf) -> Orders:
        """(N, 1 + retailers) units, the warehouse's first."""
        levels = np.array(self.levels)
        allocation: Any = "proportional" if "proportional" in self.name else "minimum-shortage"
        policy = one_warehouse.EchelonBaseStock(int(levels[0]), tuple(levels[1:].tolist()), allocation)
        ordered = shelf.ordered[..., 0]
        shipments = policy.order(shelf.net[:, 0, 0], ordered[:, 0], shelf.net[:, 1:, 0] + ordered[:, 1:])
        return np.concatenate([shipments.ordered[:, None], shipments.shipped], axis=1)


# Entries


def _enter(env_id: str, names: Any, make: Callable[[str], Policy], role: Role = Role.PLANNER) -> None:
    for name in names:
        baseline(env_id, name, role)(partial(make, name))


_enter(LOST_SALES, LOST_SALES_POLICIES, LostSalesRule)
_enter(DUAL_SOURCING, DUAL_SOURCING_POLICIES, DualSourcingRule)
_enter(SERIAL, ["clark-scarf"], ClarkScarf)
_enter(ONE_WAREHOUSE, ["echelon-proportional", "echelon-minimum-shortage"], Allocating)
_enter(BEER_GAME, ["sterman"], Sterman)
_enter(BEER_GAME, ["installation-base-stock"], InstallationStock)
_enter(OR_GYM, ["echelon-base-stock"], EchelonStock)
