"""The business rules of buying and placing stock: plain functions over integers.

No clock, no random number, no SQL, no float. The live service calls them inside its transactions;
the twin compiles the same functions with Numba. Quantities are whole units (or whole fractions of
one, where a network says so), money is whole units of the network's currency, time is periods.
Where chance decides, it is an argument in 0..999.
"""

from __future__ import annotations

from workgym.services.kernel import Cents, rule

SALES, PURCHASES, ORDERING, HOLDING, SHORTAGE, SALVAGE = range(6)
ACCOUNTS = ("sales", "purchases", "ordering", "holding", "shortage", "salvage")

OK, NOT_POSITIVE, TOO_MUCH, EPISODE_OVER = range(4)
REASONS = (
    "",
    "a quantity is negative",
    "a quantity is larger than the link takes in one order",
    "the episode is over; nothing can be ordered any more",
)

ALL = 1000  # per mille
FRACTION = 256  # of a unit: how finely an estimated demand is kept
SMOOTHING = 16  # periods over which an estimate forgets


@rule
def refuse_order(quantity: int, most: int, ended: int) -> int:
    """Why a link does not take this order, or OK."""
    if ended:
        return EPISODE_OVER
    if quantity < 0:
        return NOT_POSITIVE
    return TOO_MUCH if quantity > most else OK


@rule
def whole_packs(asked: int, pack: int, most: int) -> int:
    """The order in packs: rounded to the nearest, a half up, and never beyond `most`."""
    packs = (asked + pack // 2) // pack
    return min(packs, most // pack) * pack


@rule
def fair_share(asked: int, total: int, available: int) -> int:
    """What one of several claims is sure to get when claims for `total` meet `available` units.

    Proportional, rounded down; units that rounding leaves go one each to the first claims that want more.
    """
    return asked if total <= available else asked * available // total


@rule
def part(units: int, per_mille: int, chance: int) -> int:
    """`per_mille` of some units in whole ones; right on average over `chance` in 0..999."""
    return (units * per_mille + chance) // ALL


@rule
def instalment(units: int, from_pm: int, to_pm: int) -> int:
    """What arrives while the arrived share of a shipment goes from one per mille to another."""
    return units * to_pm // ALL - units * from_pm // ALL


@rule
def served(on_hand: int, wanted: int) -> int:
    """Units handed over."""
    return min(on_hand, wanted)


@rule
def scaled(amount: Cents, per_mille: int) -> Cents:
    """`per_mille` of an amount, rounded half up."""
    return (amount * per_mille + ALL // 2) // ALL


@rule
def demand_seen(demand: int, unmet: int, waits: int, expected: int) -> int:
    """What a shop believes was asked for, when customers who leave unserved are not counted.

    Args:
        demand: what was asked for.
        unmet: how much of it was not served.
        waits: per mille of unserved customers who wait, and so are counted.
        expected: what the shop had expected.
    """
    if unmet == 0 or waits == ALL:
        return demand
    return max(demand - unmet, min(expected, demand))


@rule
def smoothed(level: int, seen: int, factor_pm: int) -> int:
    """The estimated demand of a usual period, in 1/256 units, after one more was seen.

    Simple exponential smoothing of what was seen over `factor_pm`, what season and promotions do.
    """
    usual = seen * FRACTION * ALL // factor_pm
    return level + (usual - level) // SMOOTHING


@rule
def expected(level: int, factor_pm: int) -> int:
    """Units expected of a level, rounded down."""
    return level * factor_pm // (FRACTION * ALL)
