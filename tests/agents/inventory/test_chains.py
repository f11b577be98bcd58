"""Chains of small policies against linear algebra; what cannot be averaged is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workgym.agents.inventory.chains import Chain, Moves, average_cost, reachable
from workgym.services.kernel import BadInput

NOTHING = np.zeros(0, dtype=np.int64)


def walk(up: float, top: int):
    """Stock between -top and top: up one with probability `up`, else down one, held at the ends."""

    def period(on_hand, pipeline):
        targets = np.clip(np.stack([on_hand + 1, on_hand - 1], axis=1), -top, top)
        return Moves(targets, np.tile([up, 1 - up], (len(on_hand), 1)), pipeline, on_hand.astype(float) ** 2)

    return reachable(period, 0, NOTHING)


@settings(deadline=None)
@given(st.floats(0.2, 0.8), st.integers(1, 8))
def test_the_average_is_that_of_the_stationary_distribution(up, top):
    chain = walk(up, top)
    assert sorted(chain.on_hand) == list(range(-top, top + 1))
    weights = (up / (1 - up)) ** np.arange(2 * top + 1)  # birth and death: the ratio of neighbours
    expected = weights / weights.sum() @ np.arange(-top, top + 1.0) ** 2
    average = average_cost(chain, 1e-9)
    assert average.lower - 1e-9 <= expected <= average.upper + 1e-9
    assert average.cost == pytest.approx(expected, rel=1e-8, abs=1e-8)


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(0, 5))
def test_states_and_moves_are_what_the_policy_reaches(slots, order):
    """A constant order with demand equal to it, after a start with nothing under way."""

    def period(on_hand, pipeline):
        ahead = np.concatenate([pipeline, np.full((len(on_hand), 1), order)], axis=1)
        return Moves(
            (on_hand + ahead[:, 0] - order)[:, None],
            np.ones((len(on_hand), 1)),
            ahead[:, 1:],
            on_hand.astype(float),
        )

    chain = reachable(period, 3, np.zeros(slots, dtype=np.int64))
    assert len(chain.cost) == (slots + 1 if order else 1)
    assert average_cost(chain).cost == pytest.approx(3 - slots * order)
    assert (np.diff(chain.first) == 1).all()


def test_a_small_chunk_builds_the_same_chain():
    def period(on_hand, pipeline):
        drawn = np.arange(4)
        ahead = np.concatenate([pipeline, np.clip(9 - on_hand - pipeline.sum(1), 0, 3)[:, None]], axis=1)
        stock = np.maximum(on_hand[:, None] - drawn, 0) + ahead[:, :1]
        return Moves(stock, np.full(stock.shape, 0.25), ahead[:, 1:], on_hand.astype(float))

    whole, pieces = (reachable(period, 0, np.zeros(2, dtype=np.int64), chunk=chunk) for chunk in (65_536, 7))
    assert len(whole.cost) == len(pieces.cost)
    assert average_cost(whole).cost == pytest.approx(average_cost(pieces).cost, rel=1e-6)


def test_a_periodic_chain_is_refused(monkeypatch):
    monkeypatch.setattr("workgym.agents.inventory.chains.MOST_SWEEPS", 50)
    turn = Chain(
        np.array([0, 1]),
        np.zeros((2, 0), dtype=np.int64),
        np.array([0.0, 1.0]),
        np.array([0, 1, 2]),
        np.array([1, 0], dtype=np.int32),
        np.ones(2),
    )
    with pytest.raises(BadInput, match="one recurrent class"):
        average_cost(turn)


def test_orders_too_large_to_tell_apart_are_refused():
    def period(on_hand, pipeline):
        ahead = np.concatenate([pipeline, np.full((len(on_hand), 1), 5_000)], axis=1)
        return Moves(on_hand[:, None], np.ones((len(on_hand), 1)), ahead[:, 1:], on_hand.astype(float))

    with pytest.raises(BadInput, match="cap the policy"):
        reachable(period, 0, np.zeros(6, dtype=np.int64))
