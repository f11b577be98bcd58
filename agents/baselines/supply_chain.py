"""How buyers decide without a model: order-up-to rules over any network, the noop, the ways to cheat."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, cast

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from workgym.agents.baselines import Role, baseline
from workgym.agents.policy import Bools, Floats, Policy
from workgym.envs import ENV_IDS
from workgym.envs.base import VectorEnv
from workgym.envs.supply_chain.env import Parts, SupplyChainVectorEnv, Wish, lanes_of
from workgym.envs.supply_chain.view import Insight, Sheet
from workgym.services.kernel import BadInput
from workgym.services.supply_chain.scenario import EXTERNAL, Setup
from workgym.services.supply_chain.spec import Network

Orders = NDArray[np.int64]

SUPPLY_CHAINS = tuple(env_id for env_id in ENV_IDS if env_id.startswith("workgym/SupplyChain"))
SAFETIES = (
    -1.0,
    -0.5,
    0.0,
    0.3,
    0.6,
    0.9,
    1.2,
    1.5,
    1.8,
    2.2,
    2.6,
    3.0,
    3.5,
    4.0,
    5.0,
    6.0,
    7.5,
    10.0,
)  # deviations
BATCHES = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0)  # usual periods that an order is put off to be worth its cost
TUNING_SEEDS = 3  # episodes of each family, of the train split
TUNING_PERIODS = 150  # at most: beyond, more periods decide nothing


class Counter(Protocol):
    """A backend of a supply chain, as planners read it."""

    setup: Setup
    sheet: Sheet

    def insight(self) -> Insight:
        """Expected demand and positions of all lanes."""

    def state_bytes(self, lane: int) -> bytes:
        """The lane's canonical state."""


class Buyer(ABC):
    """Orders units over each link; subclasses say how many."""

    name: str

    def begin(self, env: VectorEnv) -> None:
        """Meet the env.

        Raises:
            BadInput: its actions are no quantities.
        """
        space = env.single_action_space
        self._box = isinstance(space, gym.spaces.Box)
        self.backend = cast("Counter", env.backend)
        self.setup = self.backend.setup
        self._most = self.setup.most.ravel()
        choices = np.append(getattr(space, "nvec", []), getattr(space, "n", []))
        if not self._box and (choices < self._most.max() + 1).all():
            raise BadInput(f"expected actions that are units or numbers, found {space}; use actions='units'")
        self._scalar = isinstance(space, gym.spaces.Discrete)

    @abstractmethod
    def units(self, obs: Floats) -> Orders:
        """(N, links * SKUs) units to order."""

    def act(self, obs: Floats, mask: Bools) -> NDArray[Any]:
        """Orders of all lanes, as the env's action space has them."""
        units = self.units(obs)
        if self._box:
            return (units * (2.0 / np.maximum(self._most, 1)) - 1.0).astype(np.float32)
        return units[:, 0] if self._scalar else units


class Noop(Buyer):
    """Orders nothing."""

    name = "noop"

    def begin(self, env: VectorEnv) -> None:
        """Meet any env: nothing is nothing in every encoding."""
        self._shape = env.single_action_space.shape or ()
        self._lowest = -1.0 if isinstance(env.single_action_space, gym.spaces.Box) else 0

    def act(self, obs: Floats, mask: Bools) -> NDArray[Any]:
        """Nothing in every lane."""
        return np.full((len(obs), *self._shape), self._lowest)

    def units(self, obs: Floats) -> Orders:
        """Nothing."""
        return np.zeros((len(obs), len(self._most)), dtype=np.int64)


class Hoarder(Buyer):
    """Orders as much as every link takes: no customer is missed, whatever it costs."""

    name = "hoarder"

    def units(self, obs: Floats) -> Orders:
        """All."""
        return np.tile(self._most, (len(obs), 1))


class LastMinute(Buyer):
    """Orders nothing until goods on the way may still be counted at the end, then everything."""

    name = "last-minute"

    def begin(self, env: VectorEnv) -> None:
        """Meet the env; the clock starts."""
        super().begin(env)
        self._day = 0

    def units(self, obs: Floats) -> Orders:
        """Nothing, or all on the last day."""
        self._day += 1
        wanted = self._most if self._day >= self.setup.periods else np.zeros_like(self._most)
        return np.tile(wanted, (len(obs), 1))


class Levels(NamedTuple):
    """Parameters of an order-up-to rule, by tier: links from suppliers first, the others second."""

    safety: tuple[float, ...]  # deviations of demand over the protection interval
    batch: tuple[float, ...]  # usual periods of demand that must be missing before anything is ordered


@dataclass
class OrderUpTo(Buyer):
    """Orders up to the expected demand of the protection interval plus a safety stock.

    The position is the node's own where it has customers alone, else that of the node and all below it
    (echelon base-stock); expected demand follows the estimate, the calendar and planned promotions. With
    a batch it is an (s, S) rule.

    Args:
        name: what reports call it.
        levels: parameters, or None to tune them on the train split of the env's own network.
        batches: whether tuning may find batches.
    """

    name: str
    levels: Levels | None = None
    batches: bool = False

    def begin(self, env: VectorEnv) -> None:
        """Meet the env; tune the rule if its levels are not given."""
        super().begin(env)
        levels = self.levels or tuned(env, self.batches)
        tier = (self.setup.source != EXTERNAL).astype(np.int64)[:, None]
        self._safety = np.array(levels.safety)[tier]  # (A, 1)
        self._batch = np.array(levels.batch)[tier]

    def units(self, obs: Floats) -> Orders:
        """What is missing to the level."""
        insight = self.backend.insight()
        expected = insight.expected / 256.0
        deviation = np.sqrt(expected * np.maximum(self.backend.sheet.lumpy, 0.25))
        missing = np.ceil(expected + self._safety * deviation).astype(np.int64) - insight.position
        usual = expected / self.backend.sheet.protection[:, None]
        wanted = np.where(missing > self._batch * usual, missing, 0)
        return np.clip(wanted, 0, self.setup.most).reshape(len(obs), -1)


_TUNED: dict[tuple[str, Network, bool], Levels] = {}


def tuned(env: VectorEnv, batches: bool) -> Levels:
    """The best levels on the train split, found once a process for each network."""
    parts = cast("SupplyChainVectorEnv", env).parts.of_split("train")
    key = parts.env_id, parts.network, batches
    if key not in _TUNED:
        _TUNED[key] = _search(parts, batches)
    return _TUNED[key]


def _search(parts: Parts, batches: bool) -> Levels:
    """Coordinate search with common random numbers, until no level is better than its neighbours."""
    seeds = range(TUNING_SEEDS)
    families = [family.name for family in parts.network.families for _ in seeds]
    env = lanes_of(parts, len(families), Wish())
    worth: dict[Levels, float] = {}

    def profit(levels: Levels) -> float:
        if levels not in worth:
            worth[levels] = _profit(env, OrderUpTo("trial", levels), families)
        return worth[levels]

    best = Levels((1.5, 1.5), (0.0, 0.0))
    tiers = sorted({int(source != EXTERNAL) for source in env.parts.setup.source})
    while True:
        before = best
        for tier in tiers:
            trials = [best._replace(safety=_with(best.safety, tier, one)) for one in SAFETIES]
            if batches:
                trials += [best._replace(batch=_with(best.batch, tier, one)) for one in BATCHES]
            best = max([best, *trials], key=profit)
        if best == before:
            return best


def _with(values: tuple[float, ...], at: int, value: float) -> tuple[float, ...]:
    return tuple(value if n == at else one for n, one in enumerate(values))


def _profit(env: VectorEnv, policy: OrderUpTo, families: list[str]) -> float:
    """Money that a policy earns in one episode of each family."""
    obs, _ = env.reset(seed=0, options={"family": families})
    policy.begin(env)
    periods = min(policy.setup.periods, TUNING_PERIODS)
    return float(sum(env.step(policy.act(obs, env.mask))[1].sum() for _ in range(periods)))


def _enter(name: str, role: Role, make: Callable[[], Policy]) -> None:
    for env_id in SUPPLY_CHAINS:
        baseline(env_id, name, role)(make)


_enter("noop", Role.NOOP, Noop)
_enter("hoarder", Role.ADVERSARY, Hoarder)
_enter("last-minute", Role.ADVERSARY, LastMinute)
_enter("tuned-base-stock", Role.RULE, partial(OrderUpTo, "tuned-base-stock"))
_enter("tuned-s-S", Role.RULE, partial(OrderUpTo, "tuned-s-S", batches=True))
