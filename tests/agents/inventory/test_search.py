"""The downhill search ends where no neighbour is better."""

from __future__ import annotations

from collections import Counter
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from workgym.agents.inventory.search import downhill

PLACES = st.integers(-20, 20)


@settings(deadline=None)
@given(PLACES, PLACES)
def test_it_finds_the_bottom_of_a_valley(start, bottom):
    assert downhill(lambda place: abs(place - bottom), (start,)) == (bottom,)


@settings(deadline=None)
@given(st.tuples(PLACES, PLACES), st.randoms(use_true_random=False))
def test_no_neighbour_is_better_and_no_point_is_asked_twice(start, random):
    heights: dict[tuple[int, int], float] = {}
    asked: Counter[tuple[int, int]] = Counter()

    def cost(x: int, y: int) -> float:
        asked[x, y] += 1
        return heights.setdefault((x, y), random.random() + abs(x) + abs(y))

    x, y = downhill(cost, start)
    around = [heights[x + i, y + j] for i, j in product((-1, 0, 1), repeat=2)]
    assert min(around) == heights[x, y]
    assert max(asked.values()) == 1


@settings(deadline=None)
@given(PLACES, st.integers(-5, 5))
def test_it_stays_above_the_floor(start, floor):
    asked = []
    downhill(lambda place: asked.append(place) or place, (max(start, floor),), (floor,))
    assert min(asked) == floor
