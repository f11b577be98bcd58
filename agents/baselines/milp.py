"""The re-solving planner: at the first decision of a day it assigns the waiting orders to shipments.

It plans once a day, not at every decision: all of a day's orders have come when the day opens, so a
later decision of the same day learns nothing new (unless a split takes other shelves than expected,
then it plans again). What an order of today takes is charged with what another waiting order would
earn with it, today or tomorrow: they compete for the same rows of one program. Competition by orders
that are yet to come was tried as a fluid of typical baskets, and so were longer horizons: neither
earned a cent an order more on 48 seasons, and both cost up to five times the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from workgym.agents.baselines import Role, baseline
from workgym.agents.baselines.orders import NamedCodes
from workgym.agents.baselines.planner import Demand, Planner, Step, demand, split_now, waiting
from workgym.agents.baselines.program import Program
from workgym.agents.policy import Ints
from workgym.envs.orders import ENV_ID
from workgym.services.kernel import Cents
from workgym.services.orders import rules, scenario
from workgym.services.orders.scenario import Setup
from workgym.services.orders.state import State

HORIZON = 2  # days: ship today, or wait for tomorrow's picks and deliveries
PATIENCE = 4  # a customer gives up on one of so many days after the promise, each as likely
IMPATIENCE = 1.0  # cents a day, so that nothing waits without a reason
GAP = 5e-3  # share of the value at which the solver may stop
NODES = 50  # after which it must

# What the department knows of its carriers: the share of parcels a day late, and two, by service.
ONE_DAY_LATE = (6 / 64, 3 / 64, 0.75 / 64)
TWO_DAYS_LATE = (2 / 64, 1 / 64, 0.25 / 64)


class Known(NamedTuple):
    """What the desk knows when it plans; O orders wait, C centres, K SKUs. The future is not in it."""

    day: int
    number: Ints  # (O,) numbers of the orders that wait, in their turn
    orders: list[Demand]  # (O,) the same orders
    free: Ints  # (C, K) units on the shelves
    picks: Ints  # (C,) lines that can still be picked today


def known(now: State) -> Known:
    """What the desk may use of a state: neither the episode's key nor its family."""
    numbers = waiting(now)
    return Known(now.day, numbers, [demand(now, number) for number in numbers], now.free, now.picks)


class Offer(NamedTuple):
    """A whole shipment of one demand."""

    day: int
    centre: int
    service: int
    gain: float  # over never shipping, expected


class Outlook:
    """What the desk expects of the days ahead."""

    def __init__(self, setup: Setup, seen: Known) -> None:
        self.setup = setup
        self.seen = seen
        self.days = range(seen.day, min(seen.day + HORIZON, setup.days))

    def offers(self, wanted: Demand) -> Iterator[Offer]:
        """The best service from each centre on each day."""
        facts = self.setup.facts[wanted.basket]
        value, cost, grams = (int(facts[f]) for f in (scenario.VALUE, scenario.COST, scenario.WEIGHT))
        lost = self._lost(wanted)
        handling = rules.picking(int(facts[scenario.LINES]))
        for centre in range(len(self.setup.capacity)):
            zone = self.setup.zone[centre, wanted.region]
            for day in self.days:
                costs = [
                    self._parcel(zone, service, grams, day, wanted) for service in range(rules.N_SERVICES)
                ]
                service = int(np.argmin(costs))
                stays = self._stays(wanted, day)
                profit = value - cost - handling - costs[service]
                gone = -rules.withdrawal(value, wanted.priority)
                gain = stays * profit + (1 - stays) * gone - lost - IMPATIENCE * (day - self.seen.day)
                yield Offer(day, centre, service, gain)

    def _parcel(
        self, zone: int, service: int, grams: int, day: int, wanted: Demand, share: float = 1.0
    ) -> float:
        """Freight, and a share of the compensation that is expected if the order arrives with this parcel."""
        arrival = day + int(self.setup.transit[zone, service]) - wanted.promise
        late = [rules.lateness(arrival + delay, wanted.priority) for delay in range(3)]
        one, two = ONE_DAY_LATE[service], TWO_DAYS_LATE[service]
        price = self._freight(zone, service, grams)
        return price + share * ((1 - one - two) * late[0] + one * late[1] + two * late[2])

    def _freight(self, zone: int, service: int, grams: int) -> Cents:
        setup = self.setup
        return rules.freight(int(setup.parcel[zone, service]), int(setup.per_kg[zone, service]), grams)

    def split_gain(self, wanted: Demand, shelves: Sequence[int]) -> float:
        """What a split today earns over never shipping; each parcel bears its share of compensation."""
        facts = self.setup.facts[wanted.basket]
        gain = int(facts[scenario.VALUE]) - int(facts[scenario.COST]) - self._lost(wanted)
        for centre in set(shelves):
            lines = [line for line, at in enumerate(shelves) if at == centre]
            grams = int(self.setup.line_weight[wanted.basket, lines].sum())
            zone = int(self.setup.zone[centre, wanted.region])
            share = len(lines) / len(shelves)
            costs = [
                self._parcel(zone, s, grams, self.seen.day, wanted, share) for s in range(rules.N_SERVICES)
            ]
            gain -= min(costs) + rules.picking(len(lines))
        return gain

    def _stays(self, wanted: Demand, day: int) -> float:
        """Chance that the customer still waits on a day, given that they wait today."""
        left = [min(max(wanted.promise + PATIENCE - at, 0), PATIENCE) for at in (day, self.seen.day)]
        return left[0] / max(left[1], 1)

    def _lost(self, wanted: Demand) -> float:
        """What never shipping is expected to book."""
        value = int(self.setup.facts[wanted.basket, scenario.VALUE])
        leaves = 1 - self._stays(wanted, self.setup.days - 1)
        apology = rules.goodwill(value, wanted.priority)
        return -(leaves * rules.withdrawal(value, wanted.priority) + (1 - leaves) * apology)

    def shelf(self, centre: int, sku: int, day: int) -> float:
        """Units that can have shipped by the end of a day."""
        units = float(self.seen.free[centre, sku])
        due = scenario.replenish_on(centre, sku, self.seen.day)
        return units + (int(self.setup.inbound[centre, sku]) / 1000 if due <= day else 0.0)

    def pickable(self, centre: int, day: int) -> int:
        """Lines that can be picked on a day; a centre that is closed today stays closed."""
        if day == self.seen.day or self.seen.picks[centre] == 0:
            return int(self.seen.picks[centre])
        return int(self.setup.capacity[centre])


class _Day:
    """Writes a day's assignment down as a program.

    Rows that can never bind are left out, and so are shipments that earn less than one that takes
    nothing scarce.
    """

    def __init__(self, outlook: Outlook) -> None:
        self.outlook = outlook
        self.program = Program()
        self.actions: dict[int, tuple[int, int]] = {}  # column -> position of the order, action
        self._limit_what_is_scarce()
        for turn, wanted in enumerate(outlook.seen.orders):
            self.program.row(("order", turn), 1)
            self._ship(turn, wanted)
            self._split(turn, wanted)

    def _limit_what_is_scarce(self) -> None:
        setup, outlook = self.outlook.setup, self.outlook
        units = np.zeros(setup.stock.shape[1], dtype=np.int64)
        lines = 0
        for wanted in outlook.seen.orders:
            here = slice(0, int(setup.facts[wanted.basket, scenario.LINES]))
            units[setup.line_sku[wanted.basket, here]] += setup.line_qty[wanted.basket, here]
            lines += here.stop
        for day in outlook.days:
            for centre in range(len(setup.capacity)):
                if lines > outlook.pickable(centre, day):
                    self.program.row(("picks", day, centre), outlook.pickable(centre, day))
                shelves = {int(sku): outlook.shelf(centre, int(sku), day) for sku in np.flatnonzero(units)}
                for sku, shelf in shelves.items():
                    if units[sku] > shelf:
                        self.program.row(("stock", day, centre, sku), shelf)

    def _uses(self, basket: int, day: int, shelves: Sequence[int]) -> dict[Hashable, float]:
        """What of the scarce things leaves with lines from these centres."""
        setup, uses = self.outlook.setup, Counter[Hashable]()
        for line, centre in enumerate(shelves):
            sku, units = int(setup.line_sku[basket, line]), int(setup.line_qty[basket, line])
            uses["picks", day, centre] += 1
            for later in range(day, self.outlook.days.stop):
                uses["stock", later, centre, sku] += units
        return {row: amount for row, amount in uses.items() if row in self.program.limit}

    def _ship(self, turn: int, wanted: Demand) -> None:
        lines = int(self.outlook.setup.facts[wanted.basket, scenario.LINES])
        offers = [
            (offer, self._uses(wanted.basket, offer.day, [offer.centre] * lines))
            for offer in self.outlook.offers(wanted)
        ]
        always = max([0.0, *(offer.gain for offer, uses in offers if not uses)])
        for offer, uses in offers:
            fits = all(amount <= self.program.limit[row] for row, amount in uses.items())
            if fits and offer.gain > 0 and offer.gain >= always:
                column = self.program.column(offer.gain, {("order", turn): 1, **uses})
                if offer.day == self.outlook.seen.day:
                    self.actions[column] = turn, offer.centre * rules.N_SERVICES + offer.service

    def _split(self, turn: int, wanted: Demand) -> None:
        """A split as the desk would make it if this order were the first of the day."""
        seen = self.outlook.seen
        shelves = split_now(self.outlook.setup, seen.day, seen.free, seen.picks, wanted)
        if not shelves:
            return
        gain = self.outlook.split_gain(wanted, shelves)
        if gain > 0:
            uses = self._uses(wanted.basket, seen.day, shelves)
            column = self.program.column(gain, {("order", turn): 1, **uses})
            self.actions[column] = turn, NamedCodes.of(self.outlook.setup).split

    def decide(self) -> dict[int, int]:
        """Action of each order that ships today, by its position."""
        chosen = self.program.solve(GAP, NODES).chosen
        return {turn: action for column, (turn, action) in self.actions.items() if chosen[column] > 0.5}


def plan_day(setup: Setup, now: State) -> list[Step]:
    """Decisions for the rest of today."""
    seen = known(now)
    ships = _Day(Outlook(setup, seen)).decide()
    hold = NamedCodes.of(setup).hold
    values = [int(setup.facts[wanted.basket, scenario.VALUE]) for wanted in seen.orders]
    last = len(seen.number) - 1
    return [
        Step(int(number), seen.day, last - turn, values[turn], ships.get(turn, hold))
        for turn, number in enumerate(seen.number)
    ]


@baseline(ENV_ID, "re-solving-milp", Role.PLANNER)
def re_solving_milp() -> Planner:
    """A policy that plans each day with what the desk knows."""
    return Planner("re-solving-milp", plan_day)
