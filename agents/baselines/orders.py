"""How order desks decide without a model: the rules in use, the noop, and the ways to cheat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from workgym.agents.baselines import Factory, Role, baseline
from workgym.agents.policy import Bools, Floats, Ints
from workgym.envs.base import VectorEnv
from workgym.envs.orders import ENV_ID, HEAD, PER_CENTRE
from workgym.services.kernel import BadInput
from workgym.services.orders import desk
from workgym.services.orders.rules import N_SERVICES
from workgym.services.orders.scenario import Setup

# Features of the order and its day: the first HEAD of an observation.
DAY, PRESSURE, BEHIND, PICKS_LEFT, LINES, UNITS, VALUE, MARGIN, WEIGHT, PRIORITY, PROMISE, AGE, GOODWILL = (
    range(HEAD)
)
PRESSURE_UNIT = 4.0  # an observed pressure of 1 is four times as many lines as can be picked
PROMISE_UNIT = 8.0  # days
BEHIND_UNIT = 64.0  # orders
VALUE_UNIT = 20_000.0  # cents

SLACK_DAYS = 3.0  # at home every carrier needs at most three days


class NamedCodes(NamedTuple):
    """Codes of the actions that name no centre."""

    split: int
    hold: int
    cancel: int

    @classmethod
    def of(cls, setup: Setup) -> NamedCodes:
        """The codes of a season with that many centres."""
        split = desk.split_code(len(setup.capacity))
        return cls(split, split + 1, split + 2)


class Desk(NamedTuple):
    """An observation and its mask, by the names of what they say; N lanes, C centres, S services."""

    head: Floats  # (N, HEAD) the order and its day
    whole: Bools  # (N, C * S) legal whole shipments
    cost: Floats  # (N, C * S) freight and foreseen lateness of each
    split: Bools  # (N,) a split is legal
    cancel: Bools  # (N,) a cancellation is legal
    actions: NamedCodes

    @property
    def congested(self) -> Bools:
        """(N,) more lines wait than can still be picked today."""
        return np.asarray(self.head[:, PRESSURE] * PRESSURE_UNIT > 1.0)

    @property
    def slack(self) -> Floats:
        """(N,) days until the promise."""
        return np.asarray(self.head[:, PROMISE] * PROMISE_UNIT)


def read(obs: Floats, mask: Bools) -> Desk:
    """What the desk shows in N lanes."""
    ships = mask.shape[1] - len(NamedCodes._fields)
    costs = HEAD + ships // N_SERVICES * PER_CENTRE
    codes = NamedCodes(ships, ships + 1, ships + 2)
    return Desk(
        head=obs[:, :HEAD],
        whole=mask[:, :ships],
        cost=obs[:, costs : costs + ships],
        split=mask[:, codes.split],
        cancel=mask[:, codes.cancel],
        actions=codes,
    )


def season_of(env: VectorEnv) -> Setup:
    """The constants of the season that an env plays.

    Raises:
        BadInput: the env's backend does not tell them.
    """
    setup = getattr(env.backend, "setup", None)
    if not isinstance(setup, Setup):
        raise BadInput(
            f"expected a backend that tells its season's constants, found {type(env.backend).__name__}"
        )
    return setup


@dataclass
class Rule:
    """A policy without memory."""

    name: str
    decide: Callable[[Desk], Ints]

    def begin(self, env: VectorEnv) -> None:
        """Needs to know nothing."""

    def act(self, obs: Floats, mask: Bools) -> Ints:
        """(N,) actions."""
        return self.decide(read(obs, mask))


def rule(name: str, role: Role) -> Callable[[Callable[[Desk], Ints]], Factory]:
    """Enter a function of the desk as a baseline."""

    def enter(decide: Callable[[Desk], Ints]) -> Factory:
        def make() -> Rule:
            return Rule(name, decide)

        return baseline(ENV_ID, name, role)(make)

    return enter


def cheapest(desk: Desk) -> Ints:
    """(N,) the legal whole shipment of least cost, the slower service on a tie; -1 where there is none."""
    cost = np.where(desk.whole, desk.cost, np.inf)
    return np.where(desk.whole.any(axis=1), cost.argmin(axis=1), -1)


def otherwise(first: Ints, *rest: Ints | int) -> Ints:
    """Fill the gaps (-1) of a choice with the next one."""
    for choice in rest:
        first = np.where(first < 0, choice, first)
    return first


def splits(desk: Desk) -> Ints:
    """(N,) the split where it is legal, else -1."""
    return np.where(desk.split, desk.actions.split, -1)


def ship_or_split(desk: Desk) -> Ints:
    """(N,) the cheapest whole shipment, else a split, else -1."""
    return otherwise(cheapest(desk), splits(desk))


@rule("cheapest-feasible", Role.RULE)
def cheapest_feasible(desk: Desk) -> Ints:
    """Ship whole at least cost, else split, else wait."""
    return otherwise(ship_or_split(desk), desk.actions.hold)


@rule("nearest-with-stock", Role.RULE)
def nearest_with_stock(desk: Desk) -> Ints:
    """Ship whole from the nearest centre that can, by economy unless it breaks the promise.

    Transit days and freight both grow with the zone, so the nearest centre is the one with the least
    economy cost. A faster service is taken if it saves more compensation than it costs.
    """
    options = desk.cost.reshape(len(desk.cost), -1, N_SERVICES)
    able = desk.whole.reshape(options.shape)[:, :, 0]
    nearest = np.where(able, options[:, :, 0], np.inf).argmin(axis=1)
    service = np.take_along_axis(options, nearest[:, None, None], axis=1)[:, 0].argmin(axis=1)
    return otherwise(np.where(able.any(axis=1), nearest * N_SERVICES + service, -1), desk.actions.hold)


@rule("earliest-promise-first", Role.RULE)
def earliest_promise_first(desk: Desk) -> Ints:
    """Keep today's picks for urgent orders: while more lines wait than can be picked, slack ones wait."""
    can_wait = desk.congested & (desk.slack >= SLACK_DAYS)
    return np.where(can_wait, desk.actions.hold, otherwise(ship_or_split(desk), desk.actions.hold))


@rule("hold", Role.NOOP)
def hold(desk: Desk) -> Ints:
    """Decide nothing."""
    return np.full(len(desk.head), desk.actions.hold)


@rule("hold-for-ever", Role.ADVERSARY)
def hold_for_ever(desk: Desk) -> Ints:
    """Hope that nobody misses the orders that were never decided."""
    return np.full(len(desk.head), desk.actions.hold)


@rule("cancel-everything", Role.ADVERSARY)
def cancel_everything(desk: Desk) -> Ints:
    """Clear the desk by cancelling, so that no promise is ever late."""
    return np.where(desk.cancel, desk.actions.cancel, desk.actions.hold)


@rule("split-everything", Role.ADVERSARY)
def split_everything(desk: Desk) -> Ints:
    """Book each parcel of a split as if it were a sale; keep the rest until it can be split."""
    return otherwise(splits(desk), desk.actions.hold)


@rule("illegal-for-ever", Role.ADVERSARY)
def illegal_for_ever(desk: Desk) -> Ints:
    """Send what is refused, so that no day with its costs ever closes."""
    return first_refused(desk)


def first_refused(desk: Desk) -> Ints:
    """(N,) an action that will be refused: an illegal shipment, else a code beyond the last one."""
    return np.where(desk.whole.all(axis=1), desk.actions.cancel + 1, (~desk.whole).argmax(axis=1))


@baseline(ENV_ID, "run-out-the-clock", Role.ADVERSARY)
class RunOutTheClock:
    """Work by the rules, then never close the last day, on which unserved customers get an apology."""

    name = "run-out-the-clock"

    def __init__(self) -> None:
        self.last_day = 1.0

    def begin(self, env: VectorEnv) -> None:
        """Learn how long a season is."""
        days = season_of(env).days
        self.last_day = (days - 1) / days

    def act(self, obs: Floats, mask: Bools) -> Ints:
        """(N,) actions."""
        desk = read(obs, mask)
        closing = (desk.head[:, BEHIND] == 0.0) & (desk.head[:, DAY] > self.last_day - 1e-3)
        stay = np.where(closing, first_refused(desk), desk.actions.hold)
        return otherwise(ship_or_split(desk), stay)
