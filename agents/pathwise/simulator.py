"""The supply chain's rules in torch: a batch of episodes whose money can be differentiated by the orders.

Two ways to play. Exact: whole units, the twin's numbers to the last one (in float64). Relaxed: what
the rules round is not rounded, so that a gradient passes; claims that meet too little stock share it
in exact proportion, losses and waiting customers are the expected ones, and a fixed cost per order
rises smoothly from 0 to the whole cost over `order_width` units. What a shop believes of its demand
(`level`, `asked`) passes no gradient.

Source: Alvo, Russo, Kanoria and Lee (2023), "Neural inventory control in networks via hindsight
differentiable policy optimization", arXiv 2306.11246.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from workgym.agents.pathwise.happenings import Happenings, lost_units, staying_units
from workgym.services.supply_chain import rules
from workgym.services.supply_chain.scenario import (
    EXTERNAL,
    FAMILY_LOSS_PM,
    LATE_DAYS,
    OUTAGE_DAYS,
    Setup,
)

_PRICES = ("order_cost", "unshipped", "waiting", "lost", "holding", "transit", "salvage")
OCCUPIED = 0.5  # units on the way that a later shipment may not overtake; whole ones are 1 or more


Slots = tuple[Tensor | None, ...]


class Stock(NamedTuple):
    """State of B lanes; S nodes, K SKUs, A links.

    What lies ahead is a tuple over periods, so that a period passes for free; None is nothing at all.
    """

    on_hand: Tensor  # (B, S, K)
    backlog: Tensor  # (B, S, K)
    asked: Tensor  # (B, S, K)
    level: Tensor  # (B, S, K) 1/256 units
    owed: Tensor | None  # (B, A, K)
    mail: Slots  # (B, A, K) for each period until the order gets there
    way: Slots  # (B, A, K) for each period until arrival

    def detached(self) -> Stock:
        """The same numbers, without what led to them."""

        def alone(slots: Slots) -> Slots:
            return tuple(None if units is None else units.detach() for units in slots)

        on_hand, backlog = self.on_hand.detach(), self.backlog.detach()
        (owed,) = alone((self.owed,))
        return Stock(on_hand, backlog, self.asked, self.level, owed, alone(self.mail), alone(self.way))


Periods = tuple[Tensor, ...]


class Facts(NamedTuple):
    """`Happenings` as tensors, one a period; see there."""

    demand: Periods
    price: Periods
    cost: Periods
    is_open: Periods
    lead: Periods
    loss: Tensor  # share, not per mille
    factor_pm: Periods


def facts_of(told: Happenings, dtype: torch.dtype) -> Facts:
    """Happenings as tensors of one type; lead times stay whole numbers."""

    def of(array: np.ndarray) -> Periods:
        return torch.from_numpy(array).to(dtype).unbind()

    return Facts(
        of(told.demand),
        of(told.price),
        of(told.cost),
        of(told.is_open),
        torch.from_numpy(told.lead).unbind(),
        torch.from_numpy(told.loss_pm).to(dtype) / rules.ALL,
        of(told.factor_pm),
    )


Books = list[tuple[int, Tensor]]  # account and money (B,)


class Simulator:
    """Plays periods of a network; what the network lacks costs no time.

    Args:
        setup: the network.
        dtype: of all tensors.
        exact: round as the rules do; needs float64 and whole orders.
        order_width: units, per (A, K), over which a relaxed order comes to cost its fixed cost.
        believes: keep what nodes believe of their demand; it costs a tenth of the time.
    """

    def __init__(
        self,
        setup: Setup,
        dtype: torch.dtype = torch.float32,
        exact: bool = False,
        order_width: np.ndarray | float = 1.0,
        believes: bool = True,
    ) -> None:
        self.setup, self.dtype, self.exact, self.believes = setup, dtype, exact, believes
        self.pack = self.constant(setup.pack)
        self._none, self._most = self.constant(0), self.constant(setup.most // setup.pack * setup.pack)
        self._order_width = self.constant(np.broadcast_to(order_width, setup.most.shape))
        self._amounts = {
            name: -self.constant(getattr(setup, name)).flatten()
            for name in _PRICES
            if getattr(setup, name).any()
        }
        self._way_salvage = self.constant(setup.salvage[setup.target]).flatten()
        self._read_topology()
        self._read_supply()
        self._read_customers()

    def _read_topology(self) -> None:
        setup, links, nodes = self.setup, len(self.setup.source), len(self.setup.opening)
        into, out = np.zeros((nodes, links)), np.zeros((nodes, links))
        into[setup.target, np.arange(links)] = 1.0
        internal = np.flatnonzero(setup.source != EXTERNAL)
        out[setup.source[internal], internal] = 1.0
        self._into, self._out = self.constant(into), self.constant(out)
        self._from_suppliers = self.constant(1.0 - out.sum(axis=0)[:, None])
        self._aligned, self._internal = np.array_equal(into, np.eye(nodes, links)), len(internal) > 0
        self._aligned &= nodes == links

    def _read_supply(self) -> None:
        setup, families = self.setup, self.setup.families
        self._keeping, self._costs = bool(setup.keeps_orders.any()), bool(setup.cost.any())
        self._keeps = self.constant(setup.keeps_orders[:, None])
        self._limited, self._closes = bool(setup.capacity.any()), bool((families[:, OUTAGE_DAYS] > 0).any())
        self._capacity = self.constant(np.where(setup.capacity > 0, setup.capacity, np.inf)[:, None])
        self._loses = bool((setup.loss_pm > 0).any() or (families[:, FAMILY_LOSS_PM] > 0).any())
        surely = (setup.lead_chance[:, 0] == rules.ALL).all()
        self._one_lead = bool(surely and (families[:, LATE_DAYS] == 0).all())
        self._shares = np.flatnonzero((np.diff(setup.instalments, axis=1) > 0).any(axis=0)).tolist()
        self._portions = [self.constant(column[:, None]) for column in setup.instalments.T]
        self._queues = bool((setup.crosses == 0).any()) and not (self._one_lead and len(self._shares) == 1)
        self._arrivals = self._fixed_arrivals() if self._one_lead else {}
        delays = [(setup.order_delay == d)[:, None] for d in range(setup.delay)]
        self._delays = [self.constant(links) if links.any() else None for links in delays]

    def _read_customers(self) -> None:
        setup = self.setup
        self._waiting, self._priced = bool(setup.waits_pm.any()), bool(setup.price.any())
        self._has_demand = self.constant(setup.group >= 0)
        self._waits = self.constant(setup.waits_pm[:, None] / rules.ALL)
        self._counts = self.constant((setup.waits_pm == rules.ALL)[:, None])

    def constant(self, values: Any) -> Tensor:
        """A tensor of this simulator's type."""
        return torch.from_numpy(np.array(values, dtype=np.float64)).to(self.dtype)

    def _fixed_arrivals(self) -> dict[tuple[int, int], Tensor | None]:
        """Of each (instalment, periods ahead) the links (A, 1) whose goods arrive then, None for all."""
        when: dict[tuple[int, int], Tensor | None] = {}
        for n in self._shares:
            arrives = np.minimum(self.setup.leads[:, 0] + n, self.setup.horizon - 1)
            for h in np.unique(arrives).tolist():
                everything = bool((arrives == h).all())
                when[n, h] = None if everything else self.constant((arrives == h)[:, None])
        return when

    def opened(self, batch: int) -> Stock:
        """The beginning of an episode in `batch` lanes."""
        setup = self.setup

        def lanes(values: np.ndarray) -> Tensor:
            return self.constant(values).expand(batch, *values.shape)

        way = [np.where(setup.leads[:, :1] >= h, setup.opening_way, 0) for h in range(1, setup.horizon)]
        stock = Stock(
            on_hand=lanes(setup.opening),
            backlog=lanes(np.zeros_like(setup.opening)),
            asked=lanes(setup.usual // rules.FRACTION),
            level=lanes(setup.usual),
            owed=None,
            mail=(None,) * setup.delay,
            way=(None, *(lanes(one) if one.any() else None for one in way)),
        )
        begun = self._pass(stock) if setup.receives_first else stock
        delay = setup.order_delay[:, None]
        mail = [np.where(delay > d, setup.opening_way, 0) for d in range(setup.delay)]
        return begun._replace(mail=tuple(lanes(one) if one.any() else None for one in mail))

    def play(
        self, stock: Stock, orders: Tensor, facts: Facts, t: int, told: Happenings
    ) -> tuple[Stock, Books]:
        """Play period t with orders (B, A, K); the next state and what was booked.

        After the last period of the network what is left is valued.
        """
        books: Books = []
        wanted, mail = self._place(stock, orders, books)
        shipped, on_hand, owed = self._dispatch(stock, wanted, facts, t, books)
        way = self._send(stock.way, shipped, facts, t, told)
        on_hand = self._received(on_hand, way[0])
        after = Stock(on_hand, stock.backlog, stock.asked, stock.level, owed, mail, (None, *way[1:]))
        after = self._serve(after, facts, t, told, books)
        self._keep(after, books)
        after = self._pass_period(after)
        if t + 1 == self.setup.periods:
            self._salvage(after, books)
        return after, books

    def _charge(self, books: Books, account: int, units: Tensor, price: str) -> None:
        """Book what units (B, S or A, K) cost at the network's price of that name."""
        if price in self._amounts:
            books.append((account, units.flatten(1) @ self._amounts[price]))

    def _place(self, stock: Stock, orders: Tensor, books: Books) -> tuple[Tensor | None, Slots]:
        """What has reached the sources by today, and the orders that have not."""
        setup = self.setup
        if self.exact:
            packs = torch.floor((orders + torch.floor(self.pack / 2)) / self.pack)
            quantity = torch.minimum(packs * self.pack, self._most)
        else:
            quantity = torch.clamp(orders, self._none, self._most)
        if "order_cost" in self._amounts:
            width = self._order_width
            placed = (quantity > 0).to(self.dtype) if self.exact else -torch.expm1(-quantity / width)
            self._charge(books, rules.ORDERING, placed, "order_cost")
        if setup.delay == 1:
            return _sum(stock.owed, quantity), stock.mail
        mail = [
            here if links is None else _sum(here, quantity * links)
            for links, here in zip(self._delays, stock.mail, strict=True)
        ]
        return _sum(stock.owed, mail[0]), (None, *mail[1:])

    def _dispatch(
        self, stock: Stock, wanted: Tensor | None, facts: Facts, t: int, books: Books
    ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """What is shipped, what is left on the shelves, what stays owed."""
        if wanted is None:
            return None, stock.on_hand, None
        shipped, on_hand, owed = self._carried(wanted, facts.is_open[t]), stock.on_hand, None
        if self._internal:
            shipped, on_hand = self._rationed(shipped, on_hand)
        if shipped is not wanted:
            missing = wanted - shipped
            owed = missing * self._keeps if self._keeping else None
            self._charge(books, rules.SHORTAGE, missing, "unshipped")
        if self._costs:
            books.append((rules.PURCHASES, -(shipped * facts.cost[t]).sum(dim=(1, 2))))
        return shipped, on_hand, owed

    def _carried(self, wanted: Tensor, is_open: Tensor) -> Tensor:
        """What links carry of what they should ship."""
        shipped = wanted
        if self._limited:
            total = wanted.sum(dim=2, keepdim=True)
            shipped = self._shared(wanted, total, self._capacity.expand_as(total), dim=2)
        return shipped * is_open if self._closes else shipped

    def _rationed(self, claims: Tensor, on_hand: Tensor) -> tuple[Tensor, Tensor]:
        """What the sources' shelves give of what links could carry, and what is left on them."""
        total, available = self._out @ claims, on_hand
        if self.exact:
            given = claims.clone()
            for s in range(len(self.setup.opening)):
                links = np.flatnonzero(self.setup.source == s).tolist()
                if links:
                    some = claims[:, links]
                    given[:, links] = self._shared(some, total[:, s : s + 1], available[:, s : s + 1], dim=1)
        else:
            rate = _served_rate(total, available)
            given = claims * (self._out.T @ rate + self._from_suppliers)
        return given, on_hand - self._out @ given

    def _shared(self, claims: Tensor, total: Tensor, available: Tensor, dim: int) -> Tensor:
        """Proportional shares where claims exceed what is available; whole ones if the play is exact."""
        short = total > available
        if not self.exact:
            return claims * _served_rate(total, available)
        enough = torch.where(short, available, torch.zeros_like(available))
        shares = torch.where(short, torch.floor(claims * enough / total.clamp_min(1.0)), claims)
        left = enough - shares.sum(dim=dim, keepdim=True)
        wants = (shares < claims).to(self.dtype)
        return shares + wants * (wants.cumsum(dim=dim) <= left) * short

    def _send(self, way: Slots, shipped: Tensor | None, facts: Facts, t: int, told: Happenings) -> Slots:
        """What is on the way once the shipments are."""
        if shipped is None:
            return way
        units = shipped
        if self._loses:
            units = units - self._lost(shipped, facts, t, told)
        after = list(way)
        if self._one_lead and not self._queues:
            for (n, h), links in self._arrivals.items():
                amount = self._instalment(units, n)
                after[h] = _sum(after[h], amount if links is None else amount * links)
            return tuple(after)
        lead = self._leads(way, facts.lead[t])
        for n in self._shares:
            amount = self._instalment(units, n)
            arrives = (lead + n).clamp_max(len(way) - 1)
            for h in range(int(arrives.min()), int(arrives.max()) + 1):
                after[h] = _sum(after[h], amount * (arrives == h))
        return tuple(after)

    def _lost(self, shipped: Tensor, facts: Facts, t: int, told: Happenings) -> Tensor:
        if not self.exact:
            return shipped * facts.loss
        lost = np.empty(shipped.shape, dtype=np.int64)
        lost_units(self.setup, told.key, told.family, t, shipped.detach().numpy().astype(np.int64), lost)
        return torch.from_numpy(lost).to(self.dtype)

    def _leads(self, way: Slots, drawn: Tensor) -> Tensor:
        """(B, A, K) periods until arrival; behind what is on the way, where it may not be overtaken."""
        if not self._queues:
            return drawn
        last = torch.zeros_like(drawn)
        for h, units in enumerate(way):
            if units is None:
                continue
            last = torch.where(units.detach() > OCCUPIED, torch.full_like(drawn, h), last)
        orderly = torch.from_numpy(self.setup.crosses == 0)[:, None]
        return torch.where(orderly, torch.maximum(drawn, last), drawn)

    def _instalment(self, units: Tensor, n: int) -> Tensor:
        if len(self._shares) == 1:
            return units
        low, high = self._portions[n], self._portions[n + 1]
        if self.exact:
            return torch.floor(units * high / rules.ALL) - torch.floor(units * low / rules.ALL)
        return units * ((high - low) / rules.ALL)

    def _received(self, on_hand: Tensor, due: Tensor | None) -> Tensor:
        if due is None:
            return on_hand
        return on_hand + (due if self._aligned else self._into @ due)

    def _serve(self, stock: Stock, facts: Facts, t: int, told: Happenings, books: Books) -> Stock:
        demand = facts.demand[t]
        wanted = stock.backlog + demand if self._waiting else demand
        sold = torch.minimum(stock.on_hand, wanted)
        left = wanted - sold
        unmet = torch.minimum(demand, left) if self._waiting else left
        backlog = stock.backlog
        if self._waiting:
            gone = unmet - self._staying(unmet, t, told)
            backlog = left - gone
            self._charge(books, rules.SHORTAGE, backlog, "waiting")
        else:
            gone = unmet
        self._charge(books, rules.SHORTAGE, gone, "lost")
        if self._priced:
            books.append((rules.SALES, (sold * facts.price[t]).sum(dim=(1, 2))))
        asked, level = stock.asked, stock.level
        if self.believes:
            asked, level = self._believed(stock, demand, unmet.detach(), facts.factor_pm[t])
        return stock._replace(on_hand=stock.on_hand - sold, backlog=backlog, asked=asked, level=level)

    def _staying(self, unmet: Tensor, t: int, told: Happenings) -> Tensor:
        if not self.exact:
            return unmet * self._waits
        stays = np.empty(unmet.shape, dtype=np.int64)
        staying_units(self.setup, told.key, t, unmet.detach().numpy().astype(np.int64), stays)
        return torch.from_numpy(stays).to(self.dtype)

    @torch.no_grad()
    def _believed(self, stock: Stock, demand: Tensor, unmet: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """What nodes believe was asked for, and their estimates after it."""
        floor = torch.floor if self.exact else (lambda x: x)
        expected = floor(stock.level * factor / (rules.FRACTION * rules.ALL))
        believed = torch.maximum(demand - unmet, torch.minimum(expected, demand))
        counted = (unmet == 0) | (self._counts > 0)
        seen = torch.where(counted, demand, believed)
        usual = floor(seen * (rules.FRACTION * rules.ALL) / factor)
        level = stock.level + floor((usual - stock.level) / rules.SMOOTHING)
        known = self._has_demand > 0
        return torch.where(known, seen, stock.asked), torch.where(known, level, stock.level)

    def _keep(self, stock: Stock, books: Books) -> None:
        self._charge(books, rules.HOLDING, stock.on_hand, "holding")
        if "transit" in self._amounts and (way := total_of(stock.way)) is not None:
            self._charge(books, rules.HOLDING, way, "transit")

    def _pass_period(self, stock: Stock) -> Stock:
        return self._pass(stock) if self.setup.receives_first else self._shifted(stock)

    def _shifted(self, stock: Stock) -> Stock:
        return stock._replace(mail=(*stock.mail[1:], None), way=(*stock.way[1:], None))

    def _pass(self, stock: Stock) -> Stock:
        """Let a period pass and put what is due on the shelves."""
        moved = self._shifted(stock)
        on_hand = self._received(moved.on_hand, moved.way[0])
        return moved._replace(on_hand=on_hand, way=(None, *moved.way[1:]))

    def _salvage(self, stock: Stock, books: Books) -> None:
        if "salvage" in self._amounts:
            books.append((rules.SALVAGE, -(stock.on_hand.flatten(1) @ self._amounts["salvage"])))
            if (way := total_of(stock.way)) is not None:
                books.append((rules.SALVAGE, way.flatten(1) @ self._way_salvage))


def _served_rate(total: Tensor, available: Tensor) -> Tensor:
    """Share of the claims that can be served; what is not needed is masked first, or its gradient is NaN."""
    short = total > available
    enough = torch.where(short, available, torch.zeros_like(available))
    return torch.where(short, enough / total.clamp_min(1e-9), torch.ones_like(total))


def total_of(slots: Slots) -> Tensor | None:
    """(B, A, K) units of all periods."""
    total = None
    for units in slots:
        total = _sum(total, units)
    return total


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def ledger(books: Books, batch: int, dtype: torch.dtype) -> Tensor:
    """(B, accounts) money by account."""
    whole = torch.zeros(batch, len(rules.ACCOUNTS), dtype=dtype)
    for account, money in books:
        whole[:, account] += money
    return whole
