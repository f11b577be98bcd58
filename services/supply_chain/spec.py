"""A supply chain as a small typed description: nodes, links, SKUs, lead times, costs.

Quantities are whole units; a network may say that its unit is a fraction (`step`) of what people count
in. Money is whole units of `currency`, per unit of quantity. A value that differs by SKU is a tuple,
one that does not is a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from workgym.services.kernel import BadInput, did_you_mean

R = TypeVar("R")
PerSku = int | tuple[int, ...]
SUPPLIER = "supplier"  # a source that never runs out


@dataclass(frozen=True)
class Distribution:
    """Demand of one period.

    Attributes:
        kind: `poisson` (mean), `geometric` (mean; on 0, 1, ...), `negative-binomial` (mean, variance
            over mean), `intermittent` (mean, share of periods without demand), `normal` (mean,
            deviation; rounded, below 0 counts as 0), `uniform` (lowest, highest), `constant` (value).
        parameters: in units.
        moves: the mean follows seasons, promotions and families; it then lies on a grid of
            sixteenths of an octave.
    """

    kind: str
    parameters: tuple[float, ...]
    moves: bool = False


@dataclass(frozen=True)
class Node:
    """A place that holds stock.

    Attributes:
        name: what people call it.
        demand: of its own customers, one for all SKUs or one each; None when it has none.
        price: what a customer pays.
        holding: of a unit on hand at the end of a period.
        lost: penalty of a unit of demand that leaves unserved.
        waiting: penalty of a unit that waits at the end of a period.
        waits_pm: share of unserved customers who wait.
        salvage: value of a unit that is left, or on its way here, when the last period has closed.
        opening: units on hand at the beginning.
    """

    name: str
    demand: Distribution | tuple[Distribution, ...] | None = None
    price: PerSku = 0
    holding: PerSku = 0
    lost: PerSku = 0
    waiting: PerSku = 0
    waits_pm: int = 0
    salvage: PerSku = 0
    opening: PerSku = 0


@dataclass(frozen=True)
class Link:
    """How a node is supplied.

    Attributes:
        source: name of a node, or `supplier`, which never runs out.
        target: name of the node.
        lead_time: periods from shipping to arrival; a tuple of (periods, per mille) pairs is drawn anew
            for each shipment. 0 arrives before the demand of the same period.
        crosses: a later shipment may overtake an earlier one.
        instalments_pm: which share of a shipment arrives on the day, the next, and so on; adds up to 1000.
        loss_pm: share that never arrives.
        order_delay: periods until an order reaches the source.
        keeps_orders: what the source cannot ship waits there; otherwise it is forgotten.
        most: largest order of one SKU.
        pack: units that are ordered together.
        capacity: units of all SKUs that leave in one period; 0 for no limit.
        cost: of a unit, when it leaves the source.
        order_cost: of an order that is not 0.
        transit: holding cost of a unit on the way at the end of a period.
        unshipped: penalty of a unit that was wanted and not shipped, each period.
        opening: units in each period of the lead time, and of the order delay, at the beginning.
    """

    source: str
    target: str
    lead_time: int | tuple[tuple[int, int], ...] = 1
    crosses: bool = True
    instalments_pm: tuple[int, ...] = (1000,)
    loss_pm: int = 0
    order_delay: int = 0
    keeps_orders: bool = False
    most: PerSku = 100
    pack: PerSku = 1
    capacity: int = 0
    cost: PerSku = 0
    order_cost: PerSku = 0
    transit: PerSku = 0
    unshipped: PerSku = 0
    opening: PerSku = 0

    def lead_times(self) -> tuple[tuple[int, int], ...]:
        """(periods, per mille) pairs."""
        return ((self.lead_time, 1000),) if isinstance(self.lead_time, int) else self.lead_time


@dataclass(frozen=True)
class Family:
    """A business situation, as departures from a normal episode.

    Attributes:
        name: what reports call it.
        level_steps: sixteenths of an octave that demand moves by, from a day that the episode draws.
        level_days: for how long; 0 for ever.
        together: all SKUs move up; otherwise each up or down.
        promotions_pm: frequency of promotions, per mille of normal.
        late_days: shipments of suppliers take 0 to this many periods longer.
        outage_days: one supplier ships nothing for so long.
        cost_pm: purchase prices from a day that the episode draws, per mille of normal.
        loss_pm: share of suppliers' shipments that never arrives, on top.
    """

    name: str
    level_steps: int = 0
    level_days: int = 0
    together: bool = True
    promotions_pm: int = 1000
    late_days: int = 0
    outage_days: int = 0
    cost_pm: int = 1000
    loss_pm: int = 0


@dataclass(frozen=True)
class Calendar:
    """What moves demand, beyond chance. Steps are sixteenths of an octave: 16 doubles, -16 halves.

    Attributes:
        season: steps by season class and period of the cycle; all rows equally long.
        random_start: an episode begins anywhere in the cycle.
        promotion_pm: chance that a SKU is promoted in a block of `promotion_days`.
        promotion_days: length of a promotion; blocks are the same for all SKUs.
        promotion_steps: what a promotion does to demand.
        promotion_cut_pm: what it takes off the price.
        shock_steps: deviation of the shocks that the SKUs of a season class share.
        shock_days: how long a shock lasts.
    """

    season: tuple[tuple[int, ...], ...] = ((0,),)
    random_start: bool = True
    promotion_pm: int = 0
    promotion_days: int = 7
    promotion_steps: int = 16
    promotion_cut_pm: int = 0
    shock_steps: float = 0.0
    shock_days: int = 7


@dataclass(frozen=True)
class Network:
    """A supply chain.

    Attributes:
        name: what reports call it.
        nodes: places that hold stock, customers' end last by custom.
        links: how they are supplied; one decision each and SKU and period.
        skus: names.
        periods: length of an episode.
        season_class: row of `calendar.season` of each SKU; empty for row 0.
        calendar: what moves demand.
        families: business situations.
        receives_first: goods that are due arrive before the decision and can be shipped on at once;
            otherwise they arrive after it, before the demand.
        step: how many units of quantity are one of what people count in, 100 for hundredths.
        currency: name of the unit of money.
        scale: units of money in one of the usual currency, 100 for cents.
    """

    name: str
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    skus: tuple[str, ...] = ("SKU",)
    periods: int = 50
    season_class: tuple[int, ...] = ()
    calendar: Calendar = Calendar()
    families: tuple[Family, ...] = field(default=(Family("normal"),))
    receives_first: bool = True
    step: int = 1
    currency: str = "cents"
    scale: int = 100

    def __post_init__(self) -> None:
        names = {node.name for node in self.nodes}
        supplied = {link.target for link in self.links}
        _require(
            len(names) == len(self.nodes) and SUPPLIER not in names, "node names that differ", sorted(names)
        )
        _require(bool(self.links and self.skus and self.families), "links, SKUs and families", "none")
        for link in self.links:
            self._check_link(link, names)
        for node in self.nodes:
            _require(0 <= node.waits_pm <= 1000, "waits_pm in 0..1000", node.waits_pm)
            _require(node.name in supplied, "a link to every node", node.name)
        self._check_sizes()
        _require(1 <= self.periods <= 100_000, "periods in 1..100,000", self.periods)
        _require(self.season_class == () or len(self.season_class) == len(self.skus), "a class each SKU", "")
        rows = {len(row) for row in self.calendar.season}
        _require(len(rows) == 1 and rows != {0}, "season rows of one length", self.calendar.season)

    def _check_link(self, link: Link, names: set[str]) -> None:
        for name in (link.target, link.source):
            if name not in names and not (name == SUPPLIER and name == link.source):
                raise BadInput(did_you_mean("node", name, [*names, SUPPLIER]))
        _require(link.source != link.target, "a link between two nodes", link.source)
        shares = [share for _, share in link.lead_times()]
        _require(sum(shares) == 1000 and min(shares) > 0, "lead times whose shares add up to 1000", shares)
        _require(all(0 <= days <= 60 for days, _ in link.lead_times()), "lead times in 0..60", link.lead_time)
        _require(
            sum(link.instalments_pm) == 1000 and min(link.instalments_pm) >= 0,
            "instalments that add up to 1000",
            link.instalments_pm,
        )
        _require(0 <= link.loss_pm <= 900, "loss_pm in 0..900", link.loss_pm)

    def _check_sizes(self) -> None:
        for part in (*self.nodes, *self.links):
            for one in fields(part):  # type: ignore[arg-type]  # nodes and links are dataclasses both
                value = getattr(part, one.name)
                if isinstance(value, tuple) and one.type in ("PerSku", PerSku):
                    _require(
                        len(value) == len(self.skus),
                        f"{len(self.skus)} values of {one.name}, one each SKU",
                        len(value),
                    )

    @property
    def stores(self) -> tuple[int, ...]:
        """Positions of the nodes that have customers."""
        return tuple(n for n, node in enumerate(self.nodes) if node.demand is not None)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON knows them; `network_from` reads them."""
        return asdict(self)


def _require(holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise BadInput(f"expected {expected} in a network, found {found!r}")


def network_from(given: Mapping[str, Any]) -> Network:
    """A network from plain lists and tables, as JSON or TOML hold them.

    Raises:
        BadInput: a field is unknown, missing or of another kind.
    """
    whole = dict(given)
    whole["nodes"] = tuple(_record(Node, one) for one in whole.get("nodes", ()))
    whole["links"] = tuple(_record(Link, one) for one in whole.get("links", ()))
    whole["families"] = tuple(_record(Family, one) for one in whole.get("families", ({"name": "normal"},)))
    whole["calendar"] = _record(Calendar, whole.get("calendar", {}))
    return _record(Network, whole)


def _record(kind: type[R], given: Mapping[str, Any]) -> R:
    known = [one.name for one in fields(kind)]  # type: ignore[arg-type]  # all of them are dataclasses
    for name in given:
        if name not in known:
            raise BadInput(did_you_mean(f"field of a {kind.__name__.lower()}", name, known))
    try:
        return kind(
            **{name: _demand(value) if name == "demand" else _tuples(value) for name, value in given.items()}
        )
    except TypeError as error:
        raise BadInput(f"expected a {kind.__name__.lower()} of a network: {error}") from error


def _demand(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _record(Distribution, value)
    return tuple(_demand(one) for one in value) if isinstance(value, (list, tuple)) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, (list, tuple)) else value
