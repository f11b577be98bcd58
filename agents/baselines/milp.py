"""The re-solving planner: at the first decision of a day it assigns the waiting orders to shipments.

It plans once a day, not at every decision: all of a day's orders have come when the day opens, so a
later decision of the same day learns nothing new (unless a split takes other shelves than expected,
then it plans again). A plan looks a replenishment cycle ahead. What may still be ordered until then
competes for scarce stock and picks as a fluid of typical baskets: its value there is the bid price
that an order of today must beat.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import NamedTuple

import numpy as np

from workgym.agents.baselines import Role, baseline
from workgym.agents.baselines.orders import NamedCodes
from workgym.agents.baselines.planner import Planner, Step, waiting
from workgym.agents.baselines.program import Program
from workgym.agents.policy import Ints
from workgym.envs.orders import ENV_ID
from workgym.services.kernel import Cents
from workgym.services.orders import desk, rules, scenario
from workgym.services.orders.scenario import Setup
from workgym.services.orders.state import COLUMNS, State

HORIZON = scenario.CYCLE_DAYS  # days; after that every shelf was replenished once
TYPICAL = 16  # baskets that stand for all that may be ordered
PATIENCE = 4  # a customer gives up on one of so many days after the promise, each as likely
IMPATIENCE = 1.0  # cents a day, so that nothing waits without a reason
LATER = 1.0
GAP, NODES = 2e-3, 50

# What the department knows of its carriers: the share of parcels a day late, and two, by service.
ONE_DAY_LATE = (6 / 64, 3 / 64, 0.75 / 64)
TWO_DAYS_LATE = (2 / 64, 1 / 64, 0.25 / 64)


class Demand(NamedTuple):
    """An order that waits, or a typical one that may come."""

    basket: int
    region: int
    priority: int
    promise: int  # day
    first: int  # day from which it can ship


class Known(NamedTuple):
    """What the desk knows when it plans; O orders wait, C centres, K SKUs. The future is not in it."""

    day: int
    number: Ints  # (O,) numbers of the orders that wait, in their turn
    orders: list[Demand]  # (O,) the same orders
    free: Ints  # (C, K) units on the shelves
    picks: Ints  # (C,) lines that can still be picked today
    volume: float  # orders a day, so far


def known(now: State) -> Known:
    """What the desk may use of a state: neither the episode's key nor its family."""
    numbers = waiting(now)
    basket, region, priority, promise, placed = (
        now.orders[:, COLUMNS.index(name)]
        for name in (scenario.BASKET, scenario.REGION, scenario.PRIORITY, scenario.PROMISE, scenario.PLACED)
    )
    return Known(
        day=now.day,
        number=numbers,
        orders=[
            Demand(int(basket[n]), int(region[n]), int(priority[n]), int(promise[n]), now.day) for n in numbers
        ],
        free=now.free,
        picks=now.picks,
        volume=len(placed) / (now.day + 1),
    )


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
        lost = self._lost(wanted, value)
        handling = rules.picking(int(facts[scenario.LINES]))
        for centre in range(len(self.setup.capacity)):
            zone = self.setup.zone[centre, wanted.region]
            for day in self.days:
                if day < wanted.first:
                    continue
                costs = [self._parcel(zone, service, grams, day, wanted) for service in range(rules.N_SERVICES)]
                service = int(np.argmin(costs))
                stays = self._stays(wanted, day)
                profit = value - cost - handling - costs[service]
                gone = -rules.withdrawal(value, wanted.priority)
                gain = stays * profit + (1 - stays) * gone - lost - IMPATIENCE * (day - self.seen.day)
                yield Offer(day, centre, service, gain)

    def _parcel(self, zone: int, service: int, grams: int, day: int, wanted: Demand) -> float:
        """Freight and expected compensation."""
        arrival = day + int(self.setup.transit[zone, service]) - wanted.promise
        late = [rules.lateness(arrival + delay, wanted.priority) for delay in range(3)]
        one, two = ONE_DAY_LATE[service], TWO_DAYS_LATE[service]
        price = rules.freight(
            int(self.setup.parcel[zone, service]), int(self.setup.per_kg[zone, service]), grams
        )
        return price + (1 - one - two) * late[0] + one * late[1] + two * late[2]

    def later(self, wanted: Demand) -> float:
        """Gain of shipping on the day after the horizon from the nearest centre."""
        days, self.days = self.days, range(self.days[-1] + 1, self.days[-1] + 2)
        best = max(offer.gain for offer in self.offers(wanted))
        self.days = days
        return max(best, 0.0)

    def _stays(self, wanted: Demand, day: int) -> float:
        """Chance that the customer still waits on a day, given that they wait on the first."""
        left = [min(max(wanted.promise + PATIENCE - at, 0), PATIENCE) for at in (day, wanted.first)]
        return left[0] / max(left[1], 1)

    def _lost(self, wanted: Demand, value: Cents) -> float:
        """Expected cost of never shipping."""
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

    def typical(self) -> list[Demand]:
        """Orders that may come on the days ahead, evenly from the catalogue."""
        chosen = np.linspace(0, len(self.setup.facts) - 1, TYPICAL).astype(np.int64)
        return [
            Demand(int(basket), int(self.setup.facts[basket, scenario.HOME]), 0, day + 3, day)
            for day in self.days[1:]
            for basket in chosen
        ]


class _Day:
    """Writes a day's assignment down as a program."""

    def __init__(self, outlook: Outlook) -> None:
        self.outlook = outlook
        self.program = Program()
        self.actions: dict[int, tuple[int, int]] = {}  # column -> position of the order, action
        seen = outlook.seen
        for wanted in seen.orders:
            self._limit(wanted)
        for turn, wanted in enumerate(seen.orders):
            self._ship(turn, wanted)
            self._split(turn, wanted)
        for at, wanted in enumerate(outlook.typical()):
            self._fluid(at, wanted, seen.volume / max(TYPICAL, 1))

    def _limit(self, wanted: Demand) -> None:
        """Rows for what an order of today needs."""
        setup, outlook = self.outlook.setup, self.outlook
        for centre in range(len(setup.capacity)):
            for day in outlook.days:
                if ("picks", day, centre) not in self.program.limit:
                    self.program.row(("picks", day, centre), outlook.pickable(centre, day))
                for line in range(setup.facts[wanted.basket, scenario.LINES]):
                    sku = int(setup.line_sku[wanted.basket, line])
                    self.program.row(("stock", day, centre, sku), outlook.shelf(centre, sku, day))

    def _uses(self, basket: int, day: int, shelves: list[int]) -> dict[Hashable, float]:
        setup = self.outlook.setup
        uses: dict[Hashable, float] = {}
        for line, centre in enumerate(shelves):
            sku, units = int(setup.line_sku[basket, line]), int(setup.line_qty[basket, line])
            uses["picks", day, centre] = uses.get(("picks", day, centre), 0) + 1
            uses |= {("stock", later, centre, sku): units for later in self.outlook.days if later >= day}
        return uses

    def _fits(self, uses: dict[Hashable, float]) -> bool:
        return all(amount <= self.program.limit.get(row, np.inf) for row, amount in uses.items())

    def _ship(self, turn: int, wanted: Demand) -> None:
        self.program.row(("order", turn), 1)
        lines = int(self.outlook.setup.facts[wanted.basket, scenario.LINES])
        for offer in self.outlook.offers(wanted):
            uses = self._uses(wanted.basket, offer.day, [offer.centre] * lines)
            if offer.gain > 0 and self._fits(uses):
                column = self.program.column(offer.gain, {("order", turn): 1, **uses})
                if offer.day == self.outlook.seen.day:
                    self.actions[column] = turn, offer.centre * rules.N_SERVICES + offer.service

    def _split(self, turn: int, wanted: Demand) -> None:
        """What a split today would take and earn, if it were decided now."""
        setup, seen = self.outlook.setup, self.outlook.seen
        split = split_now(setup, seen, wanted)
        if split is None:
            return
        shelves, profit = split
        value = int(setup.facts[wanted.basket, scenario.VALUE])
        gain = profit - self.outlook._lost(wanted, value)
        if gain > 0:
            uses = self._uses(wanted.basket, seen.day, shelves)
            column = self.program.column(gain, {("order", turn): 1, **uses})
            self.actions[column] = turn, NamedCodes.of(setup).split

    def _fluid(self, at: int, wanted: Demand, mass: float) -> None:
        """Competition for the rows that today's orders need, by what may be ordered."""
        self.program.row(("fluid", at), 1)
        lines = int(self.outlook.setup.facts[wanted.basket, scenario.LINES])
        later = self.outlook.later(wanted) * LATER
        for offer in self.outlook.offers(wanted):
            if offer.gain > later:
                uses = self._uses(wanted.basket, offer.day, [offer.centre] * lines)
                some = {row: amount * mass for row, amount in uses.items()}
                self.program.column((offer.gain - later) * mass, {**some, ("fluid", at): 1})

    def decide(self) -> dict[int, int]:
        """Action of each order that ships today, by its position."""
        chosen = self.program.solve(GAP, NODES).chosen
        return {
            turn: action for column, (turn, action) in self.actions.items() if chosen[column] > 0.5
        }


def split_now(setup: Setup, seen: Known, wanted: Demand) -> tuple[list[int], Cents] | None:
    """The centre of each line and the profit of a split today, or None where the desk refuses it."""
    lines = int(setup.facts[wanted.basket, scenario.LINES])
    skus = setup.line_sku[wanted.basket, :lines]
    case = np.zeros(desk.CASE_WIDTH, dtype=np.int64)
    case[desk.DAY], case[desk.BASKET], case[desk.REGION] = seen.day, wanted.basket, wanted.region
    case[desk.PRIORITY], case[desk.PROMISE] = wanted.priority, wanted.promise
    free = np.zeros((len(setup.capacity), rules.MAX_LINES), dtype=np.int32)
    free[:, :lines] = seen.free[:, skus]
    plan, rank = np.zeros(rules.MAX_LINES, dtype=np.int64), np.zeros(len(setup.capacity), dtype=np.int64)
    booking = np.zeros(desk.BOOKING_WIDTH, dtype=np.int64)
    code, picks = NamedCodes.of(setup).split, seen.picks.astype(np.int32)
    desk.decide(setup, case, rules.WAITING, free, picks, code, rank, plan, booking)
    if booking[desk.REFUSAL] != rules.OK:
        return None
    return plan[:lines].tolist(), int(booking[desk.POSTED :].sum())


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
