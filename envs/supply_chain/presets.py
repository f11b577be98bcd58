"""Presets of the supply chain: problems whose answers the literature knows, and a whole retailer.

Each is an env of its own id. What makes its network are the keyword arguments of its builder.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import AutoresetMode

from workgym.envs.perturbations import Perturbation
from workgym.envs.supply_chain.env import (
    BACKENDS,
    Parts,
    SupplyChainEnv,
    SupplyChainVectorEnv,
    Wish,
    setup_for,
)
from workgym.envs.supply_chain.view import sheet_of
from workgym.services.kernel import BadInput, did_you_mean
from workgym.services.stress import Stress
from workgym.services.supply_chain import presets
from workgym.services.supply_chain.demand_history import DemandBook
from workgym.services.supply_chain.outlook import Outlook
from workgym.services.supply_chain.retail import demand_of_book, retail, retail_of_history
from workgym.services.supply_chain.scenario import Setup, setup_of
from workgym.services.supply_chain.soundness import require_sound_network
from workgym.services.supply_chain.spec import Distribution, Network
from workgym.services.supply_chain.stress import network_under

__all__ = ["BACKENDS", "PRESETS"]

Build = Callable[..., Network]


class Preset(SupplyChainEnv):
    """A supply chain whose network is made from a few parameters."""

    env_id: ClassVar[str]
    build: ClassVar[Build]
    usual: ClassVar[Wish] = Wish()  # of whoever wishes nothing else
    tolerance: ClassVar[int] = 0

    def __init__(
        self,
        backend: str = "twin",
        split: str = "train",
        family: str | None = None,
        actions: str | None = None,
        observation: str | None = None,
        base_url: str | None = None,
        transport: Mapping[str, Any] | None = None,
        mishaps: Mapping[str, float] | None = None,
        render_mode: str | None = None,
        **parameters: Any,
    ) -> None:
        wish = self.wish(backend, split, family, actions, observation, base_url, transport, mishaps)
        self.open(self.parts(split, parameters), wish, parameters, render_mode)

    @classmethod
    def wish(
        cls,
        backend: str,
        split: str,
        family: str | None,
        actions: str | None,
        observation: str | None,
        base_url: str | None,
        transport: Mapping[str, Any] | None,
        mishaps: Mapping[str, float] | None,
    ) -> Wish:
        """A wish with the preset's own encodings where none are given."""
        usual = cls.usual
        actions, observation = actions or usual.actions, observation or usual.observation
        return Wish(backend, split, family, actions, observation, base_url, transport, mishaps)

    @classmethod
    def parts(cls, split: str, parameters: dict[str, Any]) -> Parts:
        """What an env with these parameters is made of.

        Raises:
            BadInput: a parameter is unknown or outside its range.
        """
        usual, stress = _unstressed(parameters)
        known = cls.known_parameters()
        for name in usual:
            if name not in known:
                raise BadInput(did_you_mean(f"parameter of {cls.env_id}", name, [*known, "stress"]))
        network = network_under(stress, cls.make_network(split, usual))
        require_sound_network(network)
        return Parts(cls.env_id, network, setup_for(network), cls.of_split(usual), cls.tolerance)

    @classmethod
    def of_split(cls, parameters: dict[str, Any]) -> Callable[[str], Parts]:
        """From a split to an env's parts with these parameters."""
        return lambda split: cls.parts(split, parameters)

    @classmethod
    def known_parameters(cls) -> list[str]:
        """Names of what may be given."""
        return [name for name in inspect.signature(cls.build).parameters if name != "split"]

    @classmethod
    def make_network(cls, split: str, parameters: dict[str, Any]) -> Network:
        """The network of these parameters."""
        given = {name: _tuples(value) for name, value in parameters.items()}
        if "split" in inspect.signature(cls.build).parameters:
            given["split"] = split
        return cls.build(**given)


def _unstressed(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], Stress]:
    """The parameters of a network as planned, and the stress that it is put under."""
    usual = {name: value for name, value in parameters.items() if name != "stress"}
    return usual, Stress.of(parameters.get("stress"))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, (list, tuple)) else value


def _vector_of(preset: type[Preset]) -> type[SupplyChainVectorEnv]:
    """The vector env of a preset."""

    class PresetVectorEnv(SupplyChainVectorEnv):
        def __init__(
            self,
            num_envs: int,
            backend: str = "twin",
            split: str = "train",
            family: str | None = None,
            actions: str | None = None,
            observation: str | None = None,
            base_url: str | None = None,
            transport: Mapping[str, Any] | None = None,
            mishaps: Mapping[str, float] | None = None,
            render_mode: str | None = None,
            max_episode_steps: int | None = None,
            autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
            **parameters: Any,
        ) -> None:
            wish = preset.wish(backend, split, family, actions, observation, base_url, transport, mishaps)
            parts = preset.parts(split, parameters)
            self.open(num_envs, parts, wish, parameters, render_mode, max_episode_steps, autoreset_mode)

    PresetVectorEnv.__doc__ = f"N lanes of {preset.env_id}; see `{preset.__name__}`."
    PresetVectorEnv.__name__ = PresetVectorEnv.__qualname__ = preset.__name__.replace("Env", "VectorEnv")
    preset.vector_env = PresetVectorEnv
    return PresetVectorEnv


class LostSalesEnv(Preset):
    """A store orders one item; customers who find none leave. The optimal cost is known.

    ## Department

    Buying, at its smallest: one item, one supplier, a lead time of L periods. The order of a period
    is on hand L periods later, before that period's demand.

    ## Observation

    `flat` by default, see `SupplyChainEnv`: stock on hand, the orders of the last L periods.

    ## Action

    `Discrete(most + 1)`: units to order.

    ## Reward

    Less `holding` for each unit that is left after the demand, less `penalty` for each unit of demand
    that finds none. Cost units.

    ## Episode end

    Terminates after `periods` periods. The literature's costs are long-run averages: leave out a
    warm-up, or make `periods` long.

    ## Start

    The mean demand on hand and in each period of the lead time.

    ## Rules

    x' = ((x0 - d)+ + x1, x2, ..., z); cost h (x0 - d)+ + p (d - x0)+.

    ## Source

    Zipkin, P. (2008), "Old and new methods for lost-sales inventory systems", Operations Research
    56(5), table 3; the settings of Gijsbrechts et al. (2022), M&SOM 24(3), are the same.

    ## Versions

    v0: first version.

    Args:
        lead_time: L, 0..60.
        penalty: of a lost unit.
        demand: `poisson` or `geometric`.
        mean: demand a period.
        holding: of a unit a period.
        most: largest order.
        periods: length of an episode.
    """

    env_id = "workgym/SupplyChain.lost-sales-v0"
    build = staticmethod(presets.lost_sales)
    tolerance = 1


class DualSourcingEnv(Preset):
    """A store orders from a slow cheap and a fast dear supplier; customers wait.

    ## Department

    Buying from two suppliers: the regular one needs `regular_lead` periods, the express one delivers
    before the demand of the same period, for more.

    ## Observation

    `flat` by default, see `SupplyChainEnv`.

    ## Action

    `MultiDiscrete([most + 1, most + 1])`: units of the regular and of the express supplier.

    ## Reward

    Less purchases, holding and a penalty for each unit that customers wait for. Cost units.

    ## Episode end

    Terminates after `periods` periods.

    ## Start

    Four units on hand, two in each period of the regular lead time.

    ## Rules

    Demand is uniform on 0..4 and backlogged.

    ## Source

    Veeraraghavan, S. and Scheller-Wolf, A. (2008), "Now or later: a simple policy for effective dual
    sourcing in capacitated systems", Operations Research 56(4); the six cells of Gijsbrechts et al.
    (2022), section 6.2: `regular_lead` 2, 3, 4 and `express_cost` 105, 110.

    ## Versions

    v0: first version.

    Args:
        regular_lead: periods.
        express_cost: of a unit.
        regular_cost: of a unit.
        holding: of a unit a period.
        backlog: of a waiting unit a period.
        most: largest order of either supplier.
        periods: length of an episode.
    """

    env_id = "workgym/SupplyChain.dual-sourcing-v0"
    build = staticmethod(presets.dual_sourcing)
    tolerance = 5


class SerialEnv(Preset):
    """Stages in a row, each supplied by the one before; Clark and Scarf's optimum is known.

    ## Department

    A company's own chain from its first stock to its customers, who wait for what is not there.

    ## Observation

    `flat` by default, see `SupplyChainEnv`.

    ## Action

    `Box(-1, 1, (stages,))`: how much each stage orders, upstream first.

    ## Reward

    Less holding on shelves and on the way (goods on the way cost what they cost at the stage they
    left; on the last link once more when they leave, as `purchases`, because Clark and Scarf count one
    period more there), less a penalty for waiting customers. In 1/100,000 of the cost unit.

    ## Episode end

    Terminates after `periods` periods.

    ## Start

    The mean demand on every shelf and in every period of the lead times.

    ## Rules

    Demand is normal, in hundredths (`step`) of a unit. A stage ships what it has; the rest is owed.

    ## Source

    Clark, A. and Scarf, H. (1960), "Optimal policies for a multi-echelon inventory problem". The default
    is example 6.1 of Snyder, L. and Shen, Z. (2019), "Fundamentals of Supply Chain Theory"; the other
    rows of the benchmark are Pirhooshyaran and Snyder (2020), arXiv 2006.05608. Their lead time of the
    customers' stage counts the period of the demand itself.

    ## Versions

    v0: first version.

    Args:
        mean: of the demand, units.
        deviation: of the demand, units.
        holding: of a unit a period, upstream first.
        lead_times: periods, upstream first, the last at least 1.
        penalty: of a waiting unit a period.
        step: how many units of quantity are one unit of demand.
        periods: length of an episode.
    """

    env_id = "workgym/SupplyChain.serial-v0"
    build = staticmethod(presets.serial)
    usual = Wish(actions="box")
    tolerance = 10_000


def _one_warehouse(demands: tuple[tuple[Any, ...], ...] = (("poisson", 3.0),), **parameters: Any) -> Network:
    laws = tuple(Distribution(str(kind), tuple(values)) for kind, *values in demands)
    return presets.one_warehouse(demands=laws, **parameters)


class OneWarehouseEnv(Preset):
    """One warehouse supplies several retailers and shares what it has among them.

    ## Department

    Placement: what the warehouse orders, and what each retailer gets of it.

    ## Observation

    `flat` by default, see `SupplyChainEnv`.

    ## Action

    `MultiDiscrete`: units that the warehouse orders, then what each retailer asks for. Claims that
    meet too little stock share it in proportion.

    ## Reward

    Less holding at the warehouse and at the retailers, less a penalty for unmet demand. Tenths of a
    cost unit.

    ## Episode end

    Terminates after `periods` periods.

    ## Start

    20 units at the warehouse, 10 at each retailer.

    ## Rules

    `waits_pm` of 1000 unserved customers wait: 1000 is the backorder regime, 0 lost sales, 800 the
    partial one.

    ## Source

    Kaynov, I. et al. (2024), "Deep reinforcement learning for one-warehouse multi-retailer inventory
    management", International Journal of Production Economics 267, 109088. The published costs are
    reproduced by others to 1-6 % only, so this preset is close to theirs, not equal.

    ## Versions

    v0: first version.

    Args:
        demands: one law for all retailers or one each, as (kind, parameters...).
        retailers: how many.
        warehouse_lead: periods.
        retailer_leads: periods, one for all or one each.
        warehouse_holding: tenths, of a unit a period.
        retailer_holding: tenths, of a unit a period.
        penalty: tenths, of a missing unit.
        waits_pm: per mille of unserved customers who wait.
        periods: length of an episode.
    """

    env_id = "workgym/SupplyChain.one-warehouse-v0"
    build = staticmethod(_one_warehouse)
    tolerance = 5

    @classmethod
    def known_parameters(cls) -> list[str]:
        """Those of the network, demands as plain tuples."""
        return list(inspect.signature(presets.one_warehouse).parameters)


class BeerGameEnv(Preset):
    """Four stages of a beer brewery's chain; orders and goods both travel for weeks.

    ## Department

    Factory, distributor, wholesaler and retailer of one beer. An order is read by the next stage a week
    later, beer takes two weeks to come back; the factory brews at once.

    ## Observation

    `flat` by default, see `SupplyChainEnv`. `workgym.envs.supply_chain.parallel` gives each stage its
    own view.

    ## Action

    `MultiDiscrete([61] * 4)`: what the factory brews, and what distributor, wholesaler and retailer
    order.

    ## Reward

    Less 0.50 for each case in stock, less 1.00 for each case that a customer or a stage waits for.
    Tenths of a dollar.

    ## Episode end

    Terminates after `periods` weeks, 36 on the board.

    ## Start

    12 cases in each stock, 4 in each week of the pipelines.

    ## Rules

    Demand is 4 cases a week, and 8 from the fifth week on.

    ## Source

    Sterman, J. (1989), "Modeling managerial behavior: misperceptions of feedback in a dynamic decision
    making experiment", Management Science 35(3).

    ## Versions

    v0: first version.

    Args:
        periods: length of an episode.
    """

    env_id = "workgym/SupplyChain.beer-game-v0"
    build = staticmethod(presets.beer_game)
    tolerance = 1


class OrGymEnv(Preset):
    """OR-Gym's InvManagement: a four-stage chain with capacities and long lead times.

    ## Department

    A retailer, two stages of production behind it, and raw material without limit.

    ## Observation

    `flat` by default, see `SupplyChainEnv`. OR-Gym's own observation can be read from the same state.

    ## Action

    `MultiDiscrete([101, 91, 81])`: what each stage orders from the one behind it.

    ## Reward

    Sales less raw material, holding and penalties for unfulfilled orders, mills (1/1000), not
    discounted. OR-Gym multiplies period n by 0.97 ** n.

    ## Episode end

    Terminates after `periods` periods.

    ## Start

    100, 100 and 200 units; empty pipelines.

    ## Rules

    Orders are cut to capacity and to what the stage behind has before goods of the day arrive; then
    goods arrive, then customers come.

    ## Source

    Hubbs, C. et al. (2020), "OR-Gym: a reinforcement learning library for operations research
    problems", arXiv 2008.06319; InvManagement-v0 (backlog) and v1 (`lost=True`) of version 0.5.0.

    ## Versions

    v0: first version.

    Args:
        lost: unserved customers leave instead of waiting.
        periods: length of an episode.
    """

    env_id = "workgym/SupplyChain.or-gym-v0"
    build = staticmethod(presets.or_gym)
    tolerance = 100


class RetailEnv(Preset):
    """A retailer buys many SKUs for a distribution centre and places them in its stores.

    ## Department

    Buying and placement. The centre is supplied in 5 to 9 days within a capacity, the stores from the
    centre in one or two. Demand has weekdays, seasons, promotions that the retailer plans itself, and
    shocks that it does not know. Customers who find nothing leave.

    ## Observation

    `rows` by default, see `SupplyChainEnv`: (links x SKUs, 35). With `forecast` its last three features
    are what the forecaster told before each period, else the env's own estimate.

    ## Action

    `units` by default, see `SupplyChainEnv`; `cover` suits learners that choose among few.

    ## Reward

    Cents: sales less purchases, an order cost for each line, holding (a day costs 1 % of a unit's cost
    in a store, 0.4 % in the centre), and goodwill of 10 % of the price of what was not there. What is
    left at the end counts its cost, so that nothing is won by selling out.

    ## Episode end

    Terminates after `periods` days.

    ## Start

    Some days of stock everywhere, goods on the way; the time of year is drawn.

    ## Rules

    Claims that meet too little stock or capacity share it in proportion. A supplier keeps the orders that
    it cannot ship, the centre forgets them. Fast sellers come in cases of six.

    Families: `normal`, `promotion` (three times as many), `peak` (a fortnight of 1.5 times the demand),
    `shift` (SKUs rise or fall by half an octave for good), `supplier-late` (0 to 6 days more),
    `supplier-outage` (nine days without supply), `price-rise` (goods cost 15 % more).

    ## Source

    The assortment is synthetic, another one for each split; shares and magnitudes are ours. `history`
    replays a company's own demand.

    ## Versions

    v0: first version.

    Args:
        skus: 1..1000.
        stores: 1..20.
        periods: days of an episode.
        history: a book that `factory import demand` made, instead of the synthetic assortment.
        forecast: of that book, a file that `workgym.agents.forecast.outlook.make_outlook` wrote.
    """

    env_id = "workgym/SupplyChain.retail-v0"
    build = staticmethod(retail)
    usual = Wish(observation="rows")
    tolerance = 20
    perturbations = (
        *SupplyChainEnv.perturbations,
        Perturbation("schema", "no promotion is told any more", reads={"promoted now": 0.0}),
        Perturbation(
            "schema",
            "purchase prices read as usual",
            reads={"purchase price today, over the usual": 1.0},
        ),
    )

    @classmethod
    def known_parameters(cls) -> list[str]:
        """Those of the synthetic assortment, a history, and a forecast of it."""
        return [*super().known_parameters(), "history", "forecast"]

    @classmethod
    def parts(cls, split: str, parameters: dict[str, Any]) -> Parts:
        """As every preset's, or a company's own history."""
        if parameters.get("history") is None:
            if parameters.get("forecast") is not None:
                raise BadInput("expected a history too, found a forecast alone: it speaks of one's demand")
            rest = {k: v for k, v in parameters.items() if k not in ("history", "forecast")}
            return super().parts(split, rest)
        if parameters.get("stress"):
            raise BadInput("expected no stress with a history, found one: a history tells what happened")
        for name in parameters:
            if name not in ("history", "forecast", "periods", "stress"):
                raise BadInput(
                    f"expected history, forecast and periods alone, found {name} too: "
                    "SKUs and stores are the history's"
                )
        forecast = parameters.get("forecast")
        given = str(parameters["history"]), split, int(parameters.get("periods", 60))
        made = _of_history(*given, None if forecast is None else str(forecast))
        return Parts(cls.env_id, *made, cls.of_split(parameters), cls.tolerance)


@lru_cache(maxsize=8)
def _of_history(path: str, split: str, periods: int, forecast: str | None) -> tuple[Network, Setup]:
    whole = DemandBook.load(path)
    book = whole.partition(split)
    network = retail_of_history(book, periods)
    if forecast is None:
        return network, setup_of(network, *demand_of_book(book))
    outlook = Outlook.load(forecast)
    if outlook.book != whole.digest():
        raise BadInput(
            f"expected a forecast of {path}, found one of another book in {forecast}; make it again"
        )
    seen = outlook.quantiles[book.context : len(book.units)]
    setup = setup_of(network, *demand_of_book(book), seen)
    protection = sheet_of(setup).protection
    if not np.array_equal(protection, outlook.protection):
        raise BadInput(
            f"expected a forecast over {protection.tolist()} periods, one number a link, found "
            f"{outlook.protection.tolist()} in {forecast}; make it again"
        )
    return network, setup


PRESETS: dict[str, type[Preset]] = {
    preset.env_id: preset
    for preset in (
        RetailEnv,
        LostSalesEnv,
        DualSourcingEnv,
        SerialEnv,
        OneWarehouseEnv,
        BeerGameEnv,
        OrGymEnv,
    )
}

RetailVectorEnv = _vector_of(RetailEnv)
LostSalesVectorEnv = _vector_of(LostSalesEnv)
DualSourcingVectorEnv = _vector_of(DualSourcingEnv)
SerialVectorEnv = _vector_of(SerialEnv)
OneWarehouseVectorEnv = _vector_of(OneWarehouseEnv)
BeerGameVectorEnv = _vector_of(BeerGameEnv)
OrGymVectorEnv = _vector_of(OrGymEnv)
