"""Every environment has a page that says what its docstring says, and a picture that shows it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import workgym.envs
from workgym.envs.supply_chain.picture import nice, rows_of
from workgym.services.kernel import BadInput

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "envs"
CHAINS = [env_id for env_id in workgym.envs.ENV_IDS if "SupplyChain" in env_id]
RETAIL = "workgym/SupplyChain.retail-v0"
BEER = "workgym/SupplyChain.beer-game-v0"
LARGEST_PICTURE = 60_000


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_env_pages", ROOT / "docs" / "make_env_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pages = _generator()


# Pages


@pytest.mark.parametrize("env_id", workgym.envs.ENV_IDS)
def test_the_page_is_up_to_date(env_id: str) -> None:
    written = (FOLDER / f"{pages.page_name(env_id)}.md").read_text(encoding="utf-8")
    assert written == pages.page(env_id), "run python docs/make_env_pages.py --no-plots"


@pytest.mark.parametrize("env_id", CHAINS)
def test_the_page_has_a_small_picture(env_id: str) -> None:
    picture = FOLDER / f"{pages.page_name(env_id)}.png"
    assert f"({picture.name})" in pages.page(env_id)
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert picture.stat().st_size < LARGEST_PICTURE


@pytest.mark.parametrize("env_id", workgym.envs.ENV_IDS)
def test_every_heading_says_something(env_id: str) -> None:
    page = pages.page(env_id)
    for heading in pages.HEADINGS:
        text = page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0].strip()
        assert text, heading
        assert heading != "Source" or len(text) > 20


def test_there_is_no_page_of_an_env_that_is_gone() -> None:
    known = {pages.page_name(env_id) for env_id in workgym.envs.ENV_IDS}
    assert {path.stem for path in FOLDER.iterdir()} == known


def test_a_docstring_without_a_source_gets_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(gym.make(BEER).unwrapped)
    monkeypatch.setattr(kind, "__doc__", (kind.__doc__ or "").replace("## Source", "## Sources"))
    with pytest.raises(ValueError, match="Source"):
        pages.page(BEER)


# Pictures


@pytest.fixture
def _plots() -> None:
    pytest.importorskip("matplotlib", reason="found no Matplotlib")


def played(env_id: str, periods: int, **arguments: Any) -> Any:
    env: Any = gym.make(env_id, **{"render_mode": "rgb_array", **arguments}).unwrapped
    env.reset(seed=4)
    env.action_space.seed(4)
    for _ in range(periods):
        env.step(env.action_space.sample())
    return env


@pytest.mark.usefixtures("_plots")
@pytest.mark.parametrize("env_id", CHAINS)
def test_all_pictures_of_an_env_have_one_size(env_id: str) -> None:
    env = played(env_id, 0)
    first = env.render()
    env.step(env.action_space.sample())
    second = env.render()
    assert first.shape == second.shape == (660, 960, 3)
    assert first.dtype == np.uint8
    assert (first != second).any()


@pytest.mark.usefixtures("_plots")
def test_one_episode_gives_one_picture() -> None:
    assert (played(BEER, 7).render() == played(BEER, 7).render()).all()
    embedded = played(BEER, 7, backend="embedded")
    assert (played(BEER, 7).render() == embedded.render()).all()


@pytest.mark.usefixtures("_plots")
@pytest.mark.parametrize("actions", ["units", "box", "cover"])
def test_rendering_changes_nothing(actions: str) -> None:
    drawn = played(BEER, 3, actions=actions)
    plain = played(BEER, 3, actions=actions, render_mode=None)
    before = drawn.state_hash()
    drawn.render()
    assert drawn.state_hash() == before == plain.state_hash()
    action = drawn.action_space.sample()
    for one, other in zip(drawn.step(action)[:3], plain.step(action)[:3], strict=True):
        assert np.array_equal(one, other)


@pytest.mark.usefixtures("_plots")
@pytest.mark.parametrize("env_id", CHAINS)
@pytest.mark.parametrize("actions", ["units", "cover"])
def test_the_story_ends_where_the_env_does(env_id: str, actions: str) -> None:
    env = played(env_id, 9, actions=actions)
    story = env.backend.story
    assert story.now().to_bytes() == env.snapshot().state
    assert len(story.told) == 9
    told = np.array(story.told)
    shops = list(env.network.stores)
    inner = [n for n in range(len(env.network.nodes)) if n not in shops]
    facts = env.facts()
    if not inner:  # else what nodes ask of each other is told as well
        assert told[:, 4].sum() == facts["cases"]
        assert told[:, 5].sum() == facts["violations"]
    assert told[:, 6].sum() == np.array(story.terms).sum() == story.now().ledger.sum()


@pytest.mark.usefixtures("_plots")
def test_a_refused_order_is_no_part_of_the_story() -> None:
    env = played(BEER, 2)
    before = env.render()
    *_, info = env.step(np.full(4, 61))
    assert "refused" in info
    assert (env.render() == before).all()


@pytest.mark.usefixtures("_plots")
def test_after_a_jump_the_story_begins_there() -> None:
    env = played(BEER, 5)
    here = env.snapshot()
    env.step(env.action_space.sample())
    env.restore(here)
    assert env.backend.story.since == 5
    assert env.backend.story.told == []
    assert env.render().shape == (660, 960, 3)


@pytest.mark.usefixtures("_plots")
def test_many_nodes_and_periods_still_fit() -> None:
    env: Any = gym.make(RETAIL, skus=2, stores=9, periods=500, render_mode="rgb_array").unwrapped
    env.reset(seed=4)
    for _ in range(241):
        env.step(0 * env.action_space.sample())
    assert [row.name for row in rows_of(env.network)] == ["centre", "9 stores"]
    assert env.render().shape == (660, 960, 3)


@pytest.mark.parametrize(
    ("value", "round_number"), [(0, 1), (0.4, 1), (1, 1), (7, 8), (101, 150), (3999, 4000), (9.1e6, 1e7)]
)
def test_a_scale_ends_at_a_round_number(value: float, round_number: float) -> None:
    assert nice(value, 1) == round_number


def test_nothing_is_kept_without_a_picture_in_mind() -> None:
    env = played(BEER, 1, render_mode=None)
    assert not hasattr(env.backend, "story")
    assert env.render() is None
    with pytest.raises(BadInput, match="expected render_mode 'rgb_array'"):
        env.picture()


def test_without_matplotlib_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'workgym\[plot\]'"):
        gym.make(BEER, render_mode="rgb_array")


@pytest.mark.usefixtures("_plots")
def test_gymnasium_collects_the_frames() -> None:
    env = gym.wrappers.RenderCollection(gym.make(BEER, render_mode="rgb_array", periods=4))
    env.reset(seed=0)
    for _ in range(4):
        env.step(env.action_space.sample())
    assert len(env.render()) == 5
