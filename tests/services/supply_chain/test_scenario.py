"""What happens to a supply chain: right on average, and a function of its coordinates alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numba import njit

from workgym.services.kernel import BadInput
from workgym.services.supply_chain import presets, scenario
from workgym.services.supply_chain.retail import FAMILIES, retail
from workgym.services.supply_chain.spec import Calendar, Distribution, Family, Link, Network, Node

NAMES = [family.name for family in FAMILIES]


@njit(cache=True)
def demands(setup: Any, keys: Any, family: int, periods: int, s: int, k: int) -> Any:
    out = np.empty((len(keys), periods), dtype=np.int64)
    for i in range(len(keys)):
        for t in range(periods):
            out[i, t] = scenario.demand_of(setup, keys[i], family, t, s, k)
    return out


@njit(cache=True)
def leads(setup: Any, keys: Any, family: int, a: int) -> Any:
    out = np.empty(len(keys), dtype=np.int64)
    for i in range(len(keys)):
        out[i] = scenario.lead_of(setup, keys[i], family, 3, a, 0)
    return out


@njit(cache=True)
def closures(setup: Any, keys: Any, family: int, a: int) -> Any:
    out = np.zeros((len(keys), setup.periods), dtype=np.int64)
    for i in range(len(keys)):
        for t in range(setup.periods):
            out[i, t] = scenario.is_closed(setup, keys[i], family, t, a)
    return out


def some_keys(n: int = 400) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2**63, n).astype(np.uint64)


def test_stationary_demand_has_its_mean_and_variance():
    setup = scenario.setup_of(presets.lost_sales())
    drawn = demands(setup, some_keys(), 0, 100, 0, 0)
    error = np.sqrt(5 / drawn.size)
    assert drawn.mean() == pytest.approx(5, abs=4 * error)
    assert drawn.var() == pytest.approx(5, rel=0.03)


def test_demand_of_a_period_does_not_depend_on_what_was_asked_before():
    setup = scenario.setup_of(retail("train", 3, 2, 12))
    keys = some_keys(5)
    late = demands(setup, keys, 0, 12, 1, 0)[:, 11]
    assert (demands(setup, keys[::-1].copy(), 0, 12, 1, 0)[::-1, 11] == late).all()


def test_a_season_that_doubles_doubles_demand():
    store = Node("store", Distribution("poisson", (8.0,), moves=True))
    calendar = Calendar(season=((0, 16),), random_start=False)
    network = Network("n", (store,), (Link("supplier", "store"),), periods=50, calendar=calendar)
    drawn = demands(scenario.setup_of(network), some_keys(), 0, 50, 0, 0)
    assert drawn[:, 1::2].mean() / drawn[:, ::2].mean() == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize(("name", "least"), [("promotion", 1.05), ("peak", 1.05)])
def test_a_busy_family_asks_for_more(name, least):
    setup = scenario.setup_of(retail("train", 3, 2, 60))
    usual, busy = (demands(setup, some_keys(), NAMES.index(one), 60, 1, 0).mean() for one in ("normal", name))
    assert busy / usual > least


def test_a_shift_moves_a_sku_half_an_octave_up_or_down_for_good():
    setup = scenario.setup_of(retail("train", 3, 2, 60))
    keys = some_keys()
    usual = demands(setup, keys, NAMES.index("normal"), 60, 1, 0)
    shifted = demands(setup, keys, NAMES.index("shift"), 60, 1, 0)
    assert (usual[:, :15] == shifted[:, :15]).all()  # it begins in the second quarter at the earliest
    ratio = shifted[:, 31:].sum(axis=1).mean() / usual[:, 31:].sum(axis=1).mean()
    assert ratio == pytest.approx((2 ** (9 / 16) + 2 ** (-9 / 16)) / 2, rel=0.1)


def test_late_suppliers_take_longer_and_own_vans_do_not():
    setup = scenario.setup_of(retail("train", 3, 2, 12))
    keys, late = some_keys(), NAMES.index("supplier-late")
    assert (leads(setup, keys, late, 0) - leads(setup, keys, 0, 0)).mean() == pytest.approx(3, abs=0.4)
    assert (leads(setup, keys, late, 1) == leads(setup, keys, 0, 1)).all()


def test_lead_times_come_with_their_shares():
    setup = scenario.setup_of(retail("train", 3, 2, 12))
    found = leads(setup, some_keys(4000), 0, 0)
    shares = [(found == days).mean() for days in (5, 7, 9)]
    assert shares == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


def test_an_outage_closes_one_supplier_for_its_days_in_every_episode():
    setup = scenario.setup_of(retail("train", 3, 2, 60))
    closed = closures(setup, some_keys(), NAMES.index("supplier-outage"), 0)
    assert (closed.sum(axis=1) == 9).all()
    assert closures(setup, some_keys(), 0, 0).sum() == 0
    assert closures(setup, some_keys(), NAMES.index("supplier-outage"), 1).sum() == 0


def test_of_two_suppliers_an_outage_closes_one():
    network = presets.dual_sourcing(periods=40)
    hit = Network(**{**vars(network), "families": (Family("normal"), Family("outage", outage_days=5))})
    setup = scenario.setup_of(hit)
    first, second = (closures(setup, some_keys(), 1, a).any(axis=1) for a in (0, 1))
    assert (first ^ second).all()
    assert 0.4 < first.mean() < 0.6


def test_a_history_is_replayed_as_it_was():
    network = replace(retail("train", 3, 2, 12), calendar=Calendar())
    history = np.random.default_rng(0).integers(0, 50, (40, 3, 3)).astype(np.int32)
    setup = scenario.setup_of(network, history, np.zeros((40, 3), bool))
    drawn = demands(setup, some_keys(50), 0, 12, 1, 2)
    windows = [history[at : at + 12, 1, 2].tolist() for at in range(29)]
    assert all(row in windows for row in drawn.tolist())
    assert len({tuple(row) for row in drawn.tolist()}) > 10


def test_a_history_that_is_too_short_is_refused():
    network = retail("train", 3, 2, 60)
    with pytest.raises(BadInput, match="at least 60 periods, found 20"):
        scenario.setup_of(network, np.zeros((20, 3, 3), np.int32))
