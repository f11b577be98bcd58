"""What a forecaster tells a supply chain: nothing from the future, summed as said, and shown in the rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import workgym.envs  # noqa: F401  the import registers the ids
from workgym.agents.forecast import make_forecaster
from workgym.agents.forecast.outlook import make_outlook, outlook_of, panel_of, summed
from workgym.envs.supply_chain import view
from workgym.envs.supply_chain.presets import RetailEnv
from workgym.services.kernel import BadInput
from workgym.services.supply_chain.demand_history import DemandBook
from workgym.services.supply_chain.outlook import Outlook
from workgym.services.supply_chain.scenario import begins_at
from workgym.services.supply_chain.state import State

RETAIL = "workgym/SupplyChain.retail-v0"
PERIODS, STORES, SKUS = 150, 2, 3
WINDOWS = {"train": (0, 90), "gate": (90, 120), "audit": (120, 150)}
FORECASTERS: dict[str, dict[str, Any]] = {"empirical": {"window": 28}, "seasonal-naive": {"season": 7}}


def some_book(seed: int = 0) -> DemandBook:
    rng = np.random.default_rng(seed)
    units = rng.poisson(rng.uniform(1, 9, (STORES, SKUS)), (PERIODS, STORES, SKUS)).astype(np.int32)
    units[:20, 1, 2] = -1  # listed later
    return DemandBook(
        units=units,
        price_by_day=np.full((PERIODS, SKUS), 500, np.int32),
        promoted=rng.random((PERIODS, SKUS)) < 0.1,
        stocked_out=np.zeros((PERIODS, STORES, SKUS), np.bool_),
        skus=("a", "b", "c"),
        locations=("north", "south"),
        first_date="2024-01-01",
        period="day",
        knows=("price", "promotion"),
        notes=(),
        imputed=0,
    )


BOOK = some_book()


@pytest.mark.parametrize("changed", [60, 100, 140])
@pytest.mark.parametrize("name", FORECASTERS)
def test_what_is_told_before_a_period_knows_nothing_of_it(name: str, changed: int) -> None:
    units = BOOK.units.copy()
    units[changed:] += 50
    before = outlook_of(BOOK, name, **FORECASTERS[name]).quantiles
    after = outlook_of(replace(BOOK, units=units), name, **FORECASTERS[name]).quantiles
    np.testing.assert_array_equal(before[: changed + 1], after[: changed + 1])
    assert (before[changed + 1 :] != after[changed + 1 :]).any()


@pytest.mark.parametrize(
    ("name", "options"), [("ets", {}), ("lightgbm", {"trees": 5, "leaf": 5}), ("mq-cnn", {"iterations": 3})]
)
def test_a_forecaster_learns_from_the_train_window_alone(name: str, options: dict[str, Any]) -> None:
    units, promoted = BOOK.units.copy(), BOOK.promoted.copy()
    units[90:] += 50
    promoted[90:] ^= True
    books = BOOK, replace(BOOK, units=units, promoted=promoted)
    before, after = (outlook_of(book, name, **options).quantiles for book in books)
    np.testing.assert_array_equal(before[:90], after[:90])
    assert (before[1:] >= 0).all()
    assert (before[91:] != after[91:]).any()


def test_a_panel_knows_no_promotion_after_its_window() -> None:
    panel = panel_of(BOOK.partition("train"), 10)
    assert panel.demand.shape == (STORES * SKUS, 100)
    assert np.isnan(panel.demand[:, 90:]).all()
    np.testing.assert_array_equal(panel.demand[1 * SKUS + 0, :90], BOOK.units[:90, 1, 0])
    assert np.isnan(panel.demand[1 * SKUS + 2, :20]).all()
    np.testing.assert_array_equal(panel.known[1 * SKUS + 1, :90, 0], BOOK.promoted[:90, 1])
    assert not panel.known[:, 90:, 0].any()


def test_an_outlook_speaks_of_every_period_but_the_first() -> None:
    told = outlook_of(BOOK, "empirical")
    assert told.quantiles.shape == (PERIODS, 1 + STORES, SKUS, 3)
    assert (told.quantiles[0] == -1).all()
    assert (told.quantiles[1:] >= 0).all()
    assert (np.diff(told.quantiles, axis=-1) >= 0).all()
    assert (told.book, told.forecaster) == (BOOK.digest(), "empirical")


@pytest.mark.parametrize("name", FORECASTERS)
def test_an_outlook_is_the_forecast_of_that_period_summed(name: str) -> None:
    told = outlook_of(BOOK, name, **FORECASTERS[name])
    horizon = int(told.protection.max())
    panel = panel_of(BOOK, horizon)
    made = make_forecaster(name, horizon, **FORECASTERS[name]).fit(panel, 90)
    for t in (1, 89, 90, 119, 120, 149):
        each = made.predict(panel, [t])[:, 0].reshape(STORES, SKUS, horizon, 3)
        for link, stores in enumerate(([0, 1], [0], [1])):
            near = each[stores][:, :, : told.protection[link]].astype(float)
            middle = near[..., 1].sum(axis=(0, 2))
            low = middle - np.sqrt(((near[..., 1] - near[..., 0]) ** 2).sum(axis=(0, 2)))
            high = middle + np.sqrt(((near[..., 2] - near[..., 1]) ** 2).sum(axis=(0, 2)))
            expected = np.stack([np.maximum(low, 0), middle, high], axis=-1) * 256
            np.testing.assert_allclose(told.quantiles[t, link], expected, atol=0.51)


def test_medians_add_up_and_errors_by_their_squares() -> None:
    near = np.array([[[[[1, 3, 7], [2, 6, 9]]]]], dtype=np.float32)  # one store, SKU and origin; two periods
    expected = [9 - np.sqrt(2**2 + 4**2), 9, 9 + np.sqrt(4**2 + 3**2)]
    np.testing.assert_allclose(summed(near)[0, 0] / 256, expected, atol=0.002)
    assert summed(np.full((1, 1, 1, 2, 3), 1e9, np.float32)).tolist() == [[[2**31 - 1] * 3]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("outlook")
    paths = {name: str(folder / f"{name}.npz") for name in ("book", "other", "told", "short")}
    BOOK.save(paths["book"])
    some_book(1).save(paths["other"])
    made = make_outlook(BOOK, "empirical", paths["told"], window=28)
    told = Outlook.load(paths["told"])
    assert told.digest() == made
    replace(told, protection=told.protection + 1).save(paths["short"])
    return paths


@pytest.mark.parametrize("split", WINDOWS)
def test_rows_show_what_was_told_before_each_period(files: dict[str, str], split: str) -> None:
    given: Any = {"history": files["book"], "split": split, "periods": 28}
    env: Any = gym.make(RETAIL, forecast=files["told"], **given).unwrapped
    plain: Any = gym.make(RETAIL, **given).unwrapped
    (first, last), told = WINDOWS[split], Outlook.load(files["told"]).quantiles
    setup = env.backend.setup
    np.testing.assert_array_equal(setup.outlook, told[first:last])
    (obs, _), (other, _) = env.reset(seed=3), plain.reset(seed=3)
    begins = first + int(begins_at(setup, env.backend._lanes.key[0]))
    assert begins > 0  # the first period of all has no forecast
    for t in range(28):
        level = State.from_bytes(env.snapshot().state).level / 256
        usual = np.maximum(setup.reach[setup.target] @ level, 1 / 64)
        quantiles = told[begins + t] / 256 / (usual * env.backend.sheet.protection[:, None])[..., None]
        np.testing.assert_allclose(obs[:, -3:], quantiles.reshape(-1, 3).clip(0, view.BOUND), rtol=1e-5)
        np.testing.assert_array_equal(obs[:, :-3], other[:, :-3])
        assert (obs[:, -3:] != other[:, -3:]).any()
        obs, other = env.step(np.full(9, 4))[0], plain.step(np.full(9, 4))[0]


def test_another_split_of_an_env_brings_its_own_part_of_the_forecast(files: dict[str, str]) -> None:
    parts = RetailEnv.parts("train", {"history": files["book"], "forecast": files["told"], "periods": 28})
    told = Outlook.load(files["told"]).quantiles
    np.testing.assert_array_equal(parts.of_split("gate").setup.outlook, told[90:120])


def test_a_forecast_needs_its_own_history(files: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="expected a history too"):
        gym.make(RETAIL, forecast=files["told"])
    with pytest.raises(BadInput, match="of another book"):
        gym.make(RETAIL, history=files["other"], forecast=files["told"], periods=28)
    with pytest.raises(BadInput, match="one number a link"):
        gym.make(RETAIL, history=files["book"], forecast=files["short"], periods=28)
    with pytest.raises(BadInput, match="make it again"):
        gym.make(RETAIL, history=files["book"], forecast=files["book"], periods=28)
