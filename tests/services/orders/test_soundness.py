"""Whatever a season can become is sound; whatever is not is refused before compiled code sees it."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workgym.services.kernel import BadInput
from workgym.services.orders import desk, rules, scenario, state, twin
from workgym.services.orders.baskets import synthetic
from workgym.services.orders.soundness import sound_state
from workgym.services.scenario import episode_key

SETUP = scenario.season(synthetic("train"), days=4)
N_DECISIONS = desk.split_code(SETUP.zone.shape[0]) + 3


@lru_cache(maxsize=16)
def states_of(family: int, seed: int) -> list[state.State]:
    """A season under random decisions, before each of them and at its end."""
    lanes, scratch = twin.empty_lanes(SETUP, 1), twin.new_scratch(SETUP)
    terms = np.zeros(len(rules.ACCOUNTS), dtype=np.int64)
    twin.open_season(SETUP, lanes, 0, episode_key(np.uint64(0), seed, 0), family, terms)
    choose = np.random.default_rng(seed)
    found = [state.of_lane(SETUP, lanes, 0)]
    while not found[-1].ended:
        terms[:] = 0
        if twin.take_decision(SETUP, lanes, 0, int(choose.integers(N_DECISIONS)), scratch, terms) == rules.OK:
            lanes.ledger[0] += terms
            found.append(state.of_lane(SETUP, lanes, 0))
    return found


@pytest.mark.parametrize("family", range(len(scenario.FAMILIES)), ids=scenario.FAMILY_NAMES)
def test_every_state_of_a_season_is_sound(family):
    for one in states_of(family, seed=3):
        assert sound_state(one.to_bytes(), SETUP).to_bytes() == one.to_bytes()


def test_a_season_of_other_constants_is_refused():
    longer = scenario.season(synthetic("train", n_skus=8), days=4)
    with pytest.raises(BadInput, match=r"free has shape \(4, 32\) instead of \(4, 8\)"):
        sound_state(states_of(0, 3)[0].to_bytes(), longer)


NUMBERS = st.integers(-(2**70), 2**70) | st.integers(-3, 300)
ODD = st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=3) | st.lists(NUMBERS, max_size=3)


@st.composite
def spoilt(draw: st.DrawFn) -> dict[str, Any]:
    """A state of which one number became something else."""
    whole = json.loads(draw(st.sampled_from(states_of(0, 3)[::5])).to_bytes())
    place: Any = whole
    key: Any = draw(st.sampled_from(sorted(whole)))
    while isinstance(place[key], list) and place[key]:
        place, key = place[key], draw(st.integers(0, len(place[key]) - 1))
    place[key] = draw(ODD)
    return whole


@settings(deadline=None, max_examples=200)
@given(spoilt())
def test_a_spoilt_state_is_refused_or_harmless(whole):
    """What is let through can be put into a lane, played on and read back."""
    try:
        told = sound_state(json.dumps(whole).encode(), SETUP)
    except BadInput:
        return
    lanes, scratch = twin.empty_lanes(SETUP, 1), twin.new_scratch(SETUP)
    state.into_lane(SETUP, lanes, 0, told)
    assert state.of_lane(SETUP, lanes, 0).digest() == told.digest()
    terms = np.zeros(len(rules.ACCOUNTS), dtype=np.int64)
    twin.take_decision(SETUP, lanes, 0, N_DECISIONS - 2, scratch, terms)
    sound_state(state.of_lane(SETUP, lanes, 0).to_bytes(), SETUP)
