"""Allocation from one warehouse: nothing appears or vanishes, and shortage is fair."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workgym.agents.inventory.one_warehouse import EchelonBaseStock, minimum_shortage, proportional, requests
from workgym.services.kernel import BadInput

RULES = pytest.mark.parametrize("allocate", [proportional, minimum_shortage])
STORES = st.integers(1, 6)
CASES = st.tuples(st.integers(1, 4), STORES).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.int64, shape, elements=st.integers(0, 40)),
        hnp.arrays(np.int64, shape[:1], elements=st.integers(0, 120)),
    )
)


@RULES
@settings(deadline=None)
@given(case=CASES)
def test_all_that_can_be_shipped_is_and_nobody_gets_more_than_asked(allocate, case):
    asked, on_hand = case
    shipped = allocate(asked, on_hand)
    assert shipped.dtype == np.int64
    assert (shipped >= 0).all()
    assert (shipped <= asked).all()
    np.testing.assert_array_equal(shipped.sum(axis=-1), np.minimum(on_hand, asked.sum(axis=-1)))


@RULES
@settings(deadline=None)
@given(case=CASES)
def test_lanes_do_not_see_each_other(allocate, case):
    asked, on_hand = case
    together = allocate(asked, on_hand)
    for lane in range(len(on_hand)):
        np.testing.assert_array_equal(together[lane], allocate(asked[lane], on_hand[lane]))


@settings(deadline=None)
@given(CASES)
def test_a_proportional_share_is_within_a_piece_of_exact(case):
    asked, on_hand = case
    shipped = proportional(asked, on_hand)
    total = np.maximum(asked.sum(axis=-1, keepdims=True), 1)
    exact = asked * np.minimum(on_hand[:, None] / total, 1)
    assert (np.abs(shipped - exact) < 1).all()


@settings(deadline=None)
@given(CASES)
def test_shortages_are_level_among_those_who_got_something(case):
    asked, on_hand = case
    shipped = minimum_shortage(asked, on_hand)
    short = asked - shipped
    for lane in range(len(on_hand)):
        served = short[lane][shipped[lane] > 0]
        assert served.size == 0 or served.min() >= short[lane].max() - 1


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=3), st.integers(0, 18))
def test_no_allocation_leaves_a_smaller_largest_shortage(asked, on_hand):
    asked = np.array(asked)
    mine = np.sort(asked - minimum_shortage(asked, np.array(on_hand)))[::-1].tolist()
    for shipped in product(*(range(most + 1) for most in asked)):
        if sum(shipped) <= on_hand:
            assert mine <= np.sort(asked - np.array(shipped))[::-1].tolist()


def test_both_rules_on_a_worked_shortage():
    asked, on_hand = np.array([6, 3, 1]), np.array(5)
    assert proportional(asked, on_hand).tolist() == [3, 2, 0]  # exact shares 3, 1.5 and 0.5
    assert minimum_shortage(asked, on_hand).tolist() == [4, 1, 0]  # shortages 2, 2 and 1


def test_echelon_base_stock_counts_the_whole_system():
    policy = EchelonBaseStock(44, (10, 10, 10), "minimum-shortage")
    positions = np.array([[4, 10, 12], [10, 9, 9]])
    made = policy.order(np.array([3, 8]), np.array([5, 0]), positions)
    assert made.ordered.tolist() == [44 - 3 - 5 - 26, 44 - 8 - 28]
    assert made.shipped.tolist() == [[3, 0, 0], [0, 1, 1]]
    assert requests(np.array([10, 10, 10]), positions).tolist() == [[6, 0, 0], [0, 1, 1]]


@settings(deadline=None)
@given(CASES, st.integers(0, 90), st.sampled_from(["proportional", "minimum-shortage"]))
def test_positions_after_shipping_do_not_pass_their_levels(case, warehouse, allocation):
    positions, on_hand = case
    levels = tuple(range(5, 5 + positions.shape[-1]))
    made = EchelonBaseStock(warehouse, levels, allocation).order(on_hand, np.zeros_like(on_hand), positions)
    assert (made.ordered >= 0).all()
    assert (positions + made.shipped <= np.maximum(positions, levels)).all()


def kaynov_7(policy: EchelonBaseStock, lanes: int = 1_000) -> float:
    """Mean cost of 100 periods: 3 stores, Poisson(3), lost sales, L_w = 2, L_r = 1; stock at its levels."""
    rng, stores = np.random.default_rng(0), len(policy.stores)
    store = np.tile(np.array(policy.stores), (lanes, 1))
    warehouse = np.full(lanes, policy.warehouse) - store.sum(axis=1)
    inbound, outbound, cost = np.zeros((lanes, 2), dtype=np.int64), np.zeros_like(store), 0.0
    for _ in range(100):
        warehouse, store = warehouse + inbound[:, 0], store + outbound  # receipt, decision, demand
        made = policy.order(warehouse, inbound[:, 1], store)
        inbound, outbound = np.stack([inbound[:, 1], made.ordered], axis=1), made.shipped
        warehouse = warehouse - made.shipped.sum(axis=1)
        left = store - rng.poisson(3.0, (lanes, stores))
        cost += 9 * np.maximum(-left, 0).sum() + np.maximum(left, 0).sum() + 0.5 * warehouse.sum()
        store = np.maximum(left, 0)
    return cost / lanes


def test_setting_7_of_kaynov_costs_what_was_published():
    """1408.08 with minimum shortage in their table A.3; 1394.82 at levels 44 and 10 in another re-run."""
    assert kaynov_7(EchelonBaseStock(44, (10, 10, 10), "minimum-shortage")) == pytest.approx(
        1408.08, rel=0.01
    )
    assert kaynov_7(EchelonBaseStock(44, (10, 10, 10), "proportional")) == pytest.approx(1406.27, rel=0.01)


@RULES
def test_negative_stock_and_mismatched_shapes_are_refused(allocate):
    with pytest.raises(BadInput, match="0 or more"):
        allocate(np.array([1, 2]), np.array(-1))
    with pytest.raises(BadInput, match="shapes"):
        allocate(np.array([1, 2]), np.array([3, 4]))
