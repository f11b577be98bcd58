"""Which order ships when, from where and how fast, as a mixed-integer program over a known future.

The program relaxes the business in the policy's favour, so that its value bounds every policy's
profit. All relaxations are about splits: the lines may be spread over centres in any way (the desk
follows a greedy plan), each parcel by any service, charged by its share of the lines with the
compensation for its own arrival (the desk charges for the last one), and also on days on which a
centre could ship the order whole, unless `Writer.check` forbids that for one order and day.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np

from workgym.agents.baselines.foresight import Foreseen
from workgym.agents.baselines.program import Program, Solution
from workgym.services.orders import rules, scenario

NODES = 100  # after which the solver stops
PICKS = -1  # in place of a SKU


class Parcel(NamedTuple):
    """Lines of an order that leave together."""

    order: int  # position in `Foreseen`
    day: int
    centre: int
    service: int
    lines: tuple[int, ...]
    cents: float  # freight, picking and the parcel's share of compensation; negative


def parcels(future: Foreseen, order: int, day: int, lines: tuple[int, ...]) -> Iterator[Parcel]:
    """The best service from each centre for some lines of an order on a day."""
    setup, row = future.setup, future.orders[order]
    basket = row[scenario.BASKET]
    grams = int(setup.line_weight[basket, list(lines)].sum())
    share = len(lines) / int(setup.facts[basket, scenario.LINES])
    for centre in range(len(setup.capacity)):
        zone = setup.zone[centre, row[scenario.REGION]]
        costs = []
        for service in range(rules.N_SERVICES):
            arrival = day + int(setup.transit[zone, service]) + int(future.delay[order, centre, service])
            late = rules.lateness(arrival - int(row[scenario.PROMISE]), int(row[scenario.PRIORITY]))
            price = rules.freight(int(setup.parcel[zone, service]), int(setup.per_kg[zone, service]), grams)
            costs.append(price + late * share)
        service = int(np.argmin(costs))
        yield Parcel(order, day, centre, service, lines, -(costs[service] + rules.picking(len(lines))))


class Choice(NamedTuple):
    """A column of the program: a whole shipment, the decision to split, a parcel of a split, or a proof."""

    kind: str
    parcel: Parcel


Split = tuple[int, int]  # an order's number, a day


class Writer:
    """Writes the season down as a program.

    Rows that can never bind are left out.

    Args:
        future: the season.
        splits: whether orders may be split at all.
        thorough: also write down shipments that are never better than another one. They matter only
            after `check`: emptying a shelf for nothing can make another order's split legal.
    """

    def __init__(self, future: Foreseen, splits: bool = True, thorough: bool = False) -> None:
        self.future = future
        self.program = Program()
        self.choices: list[Choice] = []
        self.checked: set[Split] = set()
        self._thorough = thorough
        self._lines = [self._lines_of(order) for order in range(len(future.number))]
        self._decisions: dict[Split, int] = {}
        self._rows()
        for order in range(len(future.number)):
            self._columns(order, splits)

    def _lines_of(self, order: int) -> tuple[int, ...]:
        basket = self.future.orders[order, scenario.BASKET]
        return tuple(range(self.future.setup.facts[basket, scenario.LINES]))

    def _rows(self) -> None:
        future = self.future
        units = np.zeros_like(future.supply[:, 0])  # (D, K) asked for by the end of each day
        lines = np.zeros(len(future.picks), dtype=np.int64)  # (D,) that could be picked
        for order, row in enumerate(future.orders):
            first, last = future.first[order], future.last[order]
            basket = row[scenario.BASKET]
            lines[first : last + 1] += len(self._lines[order])
            for line in self._lines[order] if first <= last else ():
                units[first:, future.setup.line_sku[basket, line]] += future.setup.line_qty[basket, line]
        last_of_shelf = np.ones(
            future.supply.shape, dtype=np.bool_
        )  # what ships later counts on that day too
        last_of_shelf[:-1] = future.supply[1:] != future.supply[:-1]
        for day, centre, sku in np.argwhere(last_of_shelf & (units[:, None] > future.supply)):
            self.program.row(("stock", day, centre, sku), future.supply[day, centre, sku])
        for day, centre in np.argwhere(lines[:, None] > future.picks):
            self.program.row(("picks", day, centre), future.picks[day, centre])

    def _columns(self, order: int, splits: bool) -> None:
        future, lines = self.future, self._lines[order]
        facts = future.setup.facts[future.orders[order, scenario.BASKET]]
        worth = int(facts[scenario.VALUE]) - int(facts[scenario.COST]) - int(future.lost[order])
        days = range(int(future.first[order]), int(future.last[order]) + 1)
        whole = [parcel for day in days for parcel in self._able(order, day, lines)]
        always = [parcel for parcel in whole if not self._uses(parcel)]
        floor = max([0.0, *(worth + parcel.cents for parcel in always)])
        self.program.row(("order", order), 1)
        for parcel in self._worth_having(whole):
            self._add(
                Choice("whole", parcel), worth + parcel.cents, {("order", order): 1, **self._uses(parcel)}
            )
        whole_days = {parcel.day for parcel in always}  # on which the desk never splits it
        for day in days if splits else ():
            if day not in whole_days:
                self._split(order, day, worth, floor)

    def _able(self, order: int, day: int, lines: tuple[int, ...]) -> list[Parcel]:
        """Parcels that could leave if each were the only one of the season."""
        offered = [(parcel, self._uses(parcel)) for parcel in parcels(self.future, order, day, lines)]
        limit = self.program.limit
        return [
            parcel for parcel, uses in offered if all(amount <= limit[row] for row, amount in uses.items())
        ]

    def _worth_having(self, able: list[Parcel]) -> list[Parcel]:
        """Without those that cost no less and use no less of anything than another one."""
        if self._thorough:
            return able
        kept: list[tuple[Parcel, dict[Hashable, int]]] = []
        for parcel in sorted(able, key=lambda one: (-one.cents, len(self._uses(one)))):
            uses = self._uses(parcel)
            if not any(other.items() <= uses.items() for _, other in kept):
                kept.append((parcel, uses))
        return [parcel for parcel, _ in kept]

    def _split(self, order: int, day: int, worth: int, floor: float) -> None:
        lines = self._lines[order]
        offers = {part: self._worth_having(self._able(order, day, part)) for part in _proper_parts(lines)}
        dearest = {
            part: max(parcel.cents for parcel in offered) for part, offered in offers.items() if offered
        }
        best = _best_partition(lines, dearest)
        losing = worth + best <= floor
        if best == -np.inf or (losing and not self._thorough):
            return
        if losing:  # its parts tell no more than what it takes from which shelf
            offers = {part: [p._replace(cents=0) for p in offers[part]] for part in offers if len(part) == 1}
        for line in lines:
            self.program.row(("line", order, day, line), 0, exact=True)
        covers: dict[Hashable, int] = {("line", order, day, line): -1 for line in lines}
        self._decisions[int(self.future.number[order]), day] = len(self.choices)
        gain = worth + best if losing else worth
        self._add(Choice("split", Parcel(order, day, 0, 0, (), 0)), gain, {("order", order): 1, **covers})
        for part, offered in offers.items():
            covered: dict[Hashable, int] = {("line", order, day, line): 1 for line in part}
            for parcel in offered:
                self._add(Choice("parcel", parcel), parcel.cents, {**covered, **self._uses(parcel)})

    def _uses(self, parcel: Parcel) -> dict[Hashable, int]:
        """The scarce units and picks that a parcel takes."""
        setup, basket = self.future.setup, self.future.orders[parcel.order, scenario.BASKET]
        uses: dict[Hashable, int] = {("picks", parcel.day, parcel.centre): len(parcel.lines)}
        for line in parcel.lines:
            sku, units = int(setup.line_sku[basket, line]), int(setup.line_qty[basket, line])
            uses |= {("stock", day, parcel.centre, sku): units for day in range(parcel.day, setup.days)}
        return {row: amount for row, amount in uses.items() if row in self.program.limit}

    def _add(self, choice: Choice, gain: float, uses: Mapping[Hashable, int]) -> None:
        self.choices.append(choice)
        self.program.column(gain, uses)

    def solve(self, gap: float) -> tuple[Solution, list[Choice]]:
        """The solution, within a share `gap` of the best, and the columns that it chose."""
        found = self.program.solve(gap, NODES)
        return found, [self.choices[at] for at in np.flatnonzero(found.chosen > 0.5)]

    def forbid(self, split: Split) -> None:
        """Never split this order on this day."""
        if split in self._decisions:
            self.program.most[self._decisions[split]] = 0.0

    def check(self, split: Split) -> None:
        """Allow this split only if no centre can ship the order whole when its turn comes.

        A centre is unable if what left before has taken too much of a line, or too many picks.
        """
        if split not in self._decisions or split in self.checked:
            return
        self.checked.add(split)
        setup, (number, day) = self.future.setup, split
        order = int(np.searchsorted(self.future.number, number))
        basket, lines = self.future.orders[order, scenario.BASKET], self._lines[order]
        for centre in range(len(setup.capacity)):
            taken = {PICKS: int(self.future.picks[day, centre]) - len(lines) + 1}
            for line in lines:
                sku = int(setup.line_sku[basket, line])
                shelf = int(self.future.supply[day, centre, sku])
                taken[sku] = shelf - int(setup.line_qty[basket, line]) + 1
            if min(taken.values()) > 0:
                self._prove(split, order, centre, taken)

    def _prove(self, split: Split, order: int, centre: int, taken: Mapping[int, int]) -> None:
        """Let a split need the proof that enough was taken of one of the things that a centre needs."""
        unable = ("unable", *split, centre)
        self.program.row(unable, 0)
        self.program.use(unable, self._decisions[split], 1)
        for what, amount in taken.items():
            proof = ("proof", *split, centre, what)
            self.program.row(proof, 0)
            for column, used in self._before(order, split[1], centre, what):
                self.program.use(proof, column, -used)
            place = Parcel(order, split[1], centre, 0, (), 0)
            self._add(Choice("proof", place), 0.0, {unable: -1, proof: amount})

    def _before(self, order: int, day: int, centre: int, what: int) -> Iterator[tuple[int, int]]:
        """Columns that take units of a SKU, or PICKS, from a centre before an order's turn, and how many."""
        setup = self.future.setup
        for column, (_, parcel) in enumerate(self.choices):
            today = parcel.day == day and parcel.order < order
            if parcel.centre != centre or not (today or (parcel.day < day and what != PICKS)):
                continue
            if what == PICKS:
                used = len(parcel.lines)
            else:
                basket, lines = self.future.orders[parcel.order, scenario.BASKET], list(parcel.lines)
                same = setup.line_sku[basket, lines] == what
                used = int(setup.line_qty[basket, lines][same].sum())
            if used:
                yield column, used

    def refused(self, chosen: list[Choice]) -> list[Split]:
        """Splits of a solution that the desk refuses, because a centre could ship the order whole."""
        return [
            (int(self.future.number[parcel.order]), parcel.day)
            for kind, parcel in chosen
            if kind == "split" and self._whole_is_possible(parcel.order, parcel.day, chosen)
        ]

    def _whole_is_possible(self, order: int, day: int, chosen: list[Choice]) -> bool:
        setup, orders = self.future.setup, self.future.orders
        free, picks = self.future.supply[day].copy(), self.future.picks[day].copy()
        for _, parcel in chosen:
            if parcel.day > day or (parcel.day == day and parcel.order >= order):
                continue
            basket, taken = orders[parcel.order, scenario.BASKET], list(parcel.lines)
            np.subtract.at(free[parcel.centre], setup.line_sku[basket, taken], setup.line_qty[basket, taken])
            picks[parcel.centre] -= len(taken) if parcel.day == day else 0
        basket, lines = orders[order, scenario.BASKET], list(self._lines[order])
        held = (free[:, setup.line_sku[basket, lines]] >= setup.line_qty[basket, lines]).all(axis=1)
        return bool((held & (picks >= len(lines))).any())


@cache
def _proper_parts(lines: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Every part of some lines but all and none."""
    return tuple(part for size in range(1, len(lines)) for part in combinations(lines, size))


def _best_partition(lines: tuple[int, ...], gain: Mapping[tuple[int, ...], float]) -> float:
    """The most that parts can gain which together are the lines."""
    if not lines:
        return 0.0
    first, rest = lines[0], lines[1:]
    best = -np.inf
    for size in range(len(rest) + 1):
        for others in combinations(rest, size):
            part = (first, *others)
            if part in gain:
                left = tuple(line for line in rest if line not in others)
                best = max(best, gain[part] + _best_partition(left, gain))
    return best
