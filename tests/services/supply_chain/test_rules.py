"""The rules of buying and placing stock."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from workgym.services.supply_chain import rules

UNITS = st.integers(0, 10**6)
SHARE = st.integers(0, 1000)


@given(UNITS, st.integers(1, 100), UNITS)
def test_an_order_is_whole_packs_within_the_largest_order(asked, pack, most):
    packed = rules.whole_packs(asked, pack, most)
    assert packed % pack == 0
    assert 0 <= packed <= most
    assert packed == most // pack * pack or abs(packed - asked) <= pack / 2


@given(st.lists(UNITS, min_size=1, max_size=6), UNITS)
def test_fair_shares_never_exceed_claims_or_what_there_is(claims, available):
    total = sum(claims)
    shares = [rules.fair_share(claim, total, available) for claim in claims]
    assert all(0 <= share <= claim for share, claim in zip(shares, claims, strict=True))
    assert sum(shares) <= min(total, available)
    assert sum(shares) > min(total, available) - len(claims)


@given(UNITS, SHARE)
def test_a_part_is_right_on_average_over_all_chances(units, per_mille):
    units %= 500
    assert sum(rules.part(units, per_mille, chance) for chance in range(1000)) == units * per_mille


@given(UNITS, st.lists(SHARE, min_size=1, max_size=4))
def test_instalments_add_up_to_the_shipment(units, cuts):
    edges = [0, *sorted(cuts), 1000]
    parts = [rules.instalment(units, a, b) for a, b in pairwise(edges)]
    assert sum(parts) == units
    assert min(parts) >= 0


@given(UNITS, UNITS, st.integers(0, 1000), UNITS)
def test_a_shop_never_believes_in_more_demand_than_there_was(demand, unmet, waits, expected):
    unmet = min(unmet, demand)
    seen = rules.demand_seen(demand, unmet, waits, expected)
    assert demand - unmet <= seen <= demand
    if unmet == 0 or waits == rules.ALL:
        assert seen == demand


@given(st.integers(0, 10**5), st.integers(1, 4000))
def test_an_estimate_moves_towards_what_was_seen_and_rests_there(units, factor):
    level = units * rules.FRACTION * rules.ALL // factor
    assert rules.smoothed(level, units, factor) == level
    assert rules.smoothed(0, units, factor) >= 0
    assert rules.smoothed(level, 0, factor) <= level


def test_refusals_name_what_is_wrong():
    assert rules.refuse_order(5, 5, 0) == rules.OK
    assert rules.refuse_order(6, 5, 0) == rules.TOO_MUCH
    assert rules.refuse_order(-1, 5, 0) == rules.NOT_POSITIVE
    assert rules.refuse_order(1, 5, 1) == rules.EPISODE_OVER
    assert len(rules.REASONS) == 4
