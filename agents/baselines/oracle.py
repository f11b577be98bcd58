"""The clairvoyant: it knows every order, delivery, closure and late carrier of the season.

`upper_bound` is what nobody can earn more than, so that regret can be reported; the policy
`clairvoyant` plays a plan that comes close. Both solve the program of `shipping.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from workgym.agents.baselines import Role, baseline
from workgym.agents.baselines.foresight import Foreseen, foresee, opening
from workgym.agents.baselines.orders import NamedCodes
from workgym.agents.baselines.planner import Planner, Step, demand, split_now
from workgym.agents.baselines.program import Unsolved
from workgym.agents.baselines.shipping import Choice, Split, Writer
from workgym.envs.base import ACT, Episodes
from workgym.envs.orders import ENV_ID, TwinBackend
from workgym.services.kernel import Cents
from workgym.services.orders import rules, scenario
from workgym.services.orders.scenario import Setup
from workgym.services.orders.state import State

BOUND_GAP = 1e-3  # share of the value at which the solver may stop
PLAN_GAP = 1e-2  # a plan is found long before it is proved
ROUNDS = 3  # how often a program is solved again after its splits were corrected
ROUNDING = 0.5  # cents; profits are whole, and the solver errs by far less


class Best(NamedTuple):
    """The best shipments that the program knows of, and what nobody can exceed."""

    chosen: list[Choice]
    profit: float  # of the whole season, as the program counts it
    bound: float
    refused: list[Split]  # splits that the desk would not allow


def solve(writer: Writer, gap: float) -> Best:
    """Solve the program as it stands."""
    found, chosen = writer.solve(gap)
    base = writer.future.booked + int(writer.future.lost.sum())
    return Best(chosen, base + found.gain, base + found.bound, writer.refused(chosen))


def solve_checked(writer: Writer, gap: float) -> Best:
    """Solve, and again with a check on each split that the desk would refuse."""
    best = solve(writer, gap)
    for _ in range(ROUNDS):
        if not best.refused:
            break
        for split in best.refused:
            writer.check(split)
        again = solve(writer, gap)
        best = again._replace(bound=min(best.bound, again.bound))
    return best


def bound(future: Foreseen) -> Cents:
    """Cents that no policy can exceed from here to the end of the season."""
    best = solve(Writer(future), BOUND_GAP)
    if best.refused:
        writer = Writer(future, thorough=True)
        for split in best.refused:
            writer.check(split)
        best = best._replace(bound=min(best.bound, solve_checked(writer, BOUND_GAP).bound))
    return int(np.floor(best.bound + ROUNDING))


def upper_bound(setup: Setup, key: int, family: int) -> Cents:
    """Profit of a season that no policy can exceed.

    Args:
        setup: constants of the season; four days of five orders are solved within seconds.
        key: key of the episode.
        family: index of the family.
    """
    return bound(foresee(setup, opening(setup, key, family)))


def regret(setup: Setup, key: int, family: int, profit: Cents) -> Cents:
    """What a policy that earned `profit` missed at most."""
    return upper_bound(setup, key, family) - profit


# The plan


class Intent(NamedTuple):
    """What is planned for one order."""

    day: int
    action: int
    shelves: tuple[int, ...]  # centre of each line, for a split


Intents = dict[int, Intent]  # by the order's number


def _intents(future: Foreseen, chosen: list[Choice]) -> Intents:
    split = NamedCodes.of(future.setup).split
    intents: Intents = {}
    shelves: dict[int, dict[int, int]] = {}
    for kind, parcel in chosen:
        number = int(future.number[parcel.order])
        if kind == "whole":
            intents[number] = Intent(parcel.day, parcel.centre * rules.N_SERVICES + parcel.service, ())
        elif kind == "parcel":
            shelves.setdefault(number, {}).update(dict.fromkeys(parcel.lines, parcel.centre))
            intents[number] = Intent(
                parcel.day, split, tuple(shelves[number][n] for n in sorted(shelves[number]))
            )
    return intents


def _steps(future: Foreseen, now: State, intents: Intents) -> list[Step]:
    """Every decision of the rest of the season: ship on the planned day, hold before."""
    codes, setup = NamedCodes.of(future.setup), future.setup
    steps: list[Step] = []
    for day in range(now.day, setup.days):
        here = (future.first <= day) & (day <= future.last)
        due = [n for n in future.number[here].tolist() if n not in intents or intents[n].day >= day]
        for turn, number in enumerate(due):
            basket = future.orders[np.searchsorted(future.number, number), scenario.BASKET]
            ships = number in intents and intents[number].day == day
            action = intents[number].action if ships else codes.hold
            value = int(setup.facts[basket, scenario.VALUE])
            steps.append(Step(number, day, len(due) - turn - 1, value, action))
    return steps


class Rehearsal(NamedTuple):
    """How far a plan goes on a copy of the business."""

    done: list[Step]
    after: State
    surprise: Step | None  # a split that was refused, or that took other shelves than planned


def rehearse(setup: Setup, now: State, steps: list[Step], intents: Intents) -> Rehearsal:
    """Play the steps up to the first split that does not go as planned, which is played if it is legal."""
    copy = TwinBackend(setup, 1)
    board, split = copy.load_state(0, now.to_bytes()), NamedCodes.of(setup).split
    nothing, act = np.zeros(1, dtype=np.int64), np.full(1, ACT, dtype=np.int8)
    done: list[Step] = []
    for step in steps:
        if not board.mask[0, step.action]:
            return Rehearsal(done, _state(copy), step)
        as_planned = (
            step.action != split or _shelves(setup, _state(copy), step) == intents[step.order].shelves
        )
        board = copy.advance(act, np.array([step.action]), Episodes(np.uint64(0), nothing, nothing, nothing))
        done.append(step)
        if not as_planned:
            return Rehearsal(done, _state(copy), step)
    return Rehearsal(done, _state(copy), None)


def _shelves(setup: Setup, now: State, step: Step) -> tuple[int, ...]:
    return split_now(setup, now.day, now.free, now.picks, demand(now, step.order))


def _state(copy: TwinBackend) -> State:
    return State.from_bytes(copy.state_bytes(0))


def clairvoyant_plan(setup: Setup, now: State) -> list[Step]:
    """Decisions for the rest of the season, rehearsed on a copy so that all of them are legal.

    The desk splits by its own plan, so a planned split can be refused or empty other shelves. Then the
    season is solved again from there, with that split and without it, and the better one is kept.
    """
    plan: list[Step] = []
    future = foresee(setup, now)
    writer = Writer(future)
    best = solve_checked(writer, PLAN_GAP)
    while True:
        intents = _intents(future, best.chosen)
        played = rehearse(setup, now, _steps(future, now, intents), intents)
        if played.surprise is None:
            return plan + played.done
        if played.surprise.action != NamedCodes.of(setup).split:
            raise Unsolved(f"expected a plan that the desk allows, found {played.surprise}; report a bug")
        writer.forbid((played.surprise.order, played.surprise.day))
        best = solve_checked(writer, PLAN_GAP)
        if played.done and played.done[-1] == played.surprise:
            ahead = foresee(setup, played.after)
            on = Writer(ahead)
            for split in writer.checked:
                on.check(split)
            with_it = solve_checked(on, PLAN_GAP)
            if with_it.profit >= best.profit:
                plan, now, future, writer, best = plan + played.done, played.after, ahead, on, with_it


@baseline(ENV_ID, "clairvoyant", Role.ORACLE)
def clairvoyant() -> Planner:
    """A policy that plays the best plan it finds with the whole season known."""
    return Planner("clairvoyant", clairvoyant_plan)
