"""A forecast of a book is a file: it comes back as it was, and nothing else is taken for one."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from workgym.services.kernel import BadInput, NotFound
from workgym.services.supply_chain import presets
from workgym.services.supply_chain.outlook import Outlook
from workgym.services.supply_chain.scenario import setup_of

TOLD = Outlook(np.arange(48, dtype=np.int32).reshape(4, 2, 2, 3), np.array([9, 3]), "abc", "empirical")


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    digest = TOLD.save(tmp_path / "a.outlook.npz")
    again = Outlook.load(tmp_path / "a.outlook.npz")
    assert digest == again.digest() == TOLD.digest()
    np.testing.assert_array_equal(again.quantiles, TOLD.quantiles)
    np.testing.assert_array_equal(again.protection, TOLD.protection)
    assert (again.book, again.forecaster) == ("abc", "empirical")


def test_a_missing_file_says_who_makes_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"agents\.forecast\.outlook"):
        Outlook.load(tmp_path / "none.npz")


def columns_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("quantiles", TOLD.quantiles + np.int32(1)),
        ("quantiles", TOLD.quantiles.astype(np.float32)),
        ("quantiles", TOLD.quantiles.ravel()),
        ("protection", np.array([9, 4])),
        ("book", np.asarray("abd")),
        ("forecaster", np.asarray("ets")),
        ("format", np.asarray("workgym outlook 2")),
        ("more", np.asarray(1)),
    ],
)
def test_a_changed_file_is_refused(tmp_path: Path, column: str, value: np.ndarray) -> None:
    path = tmp_path / "a.outlook.npz"
    TOLD.save(path)
    np.savez(path, **{**columns_of(path), column: value})
    with pytest.raises(BadInput, match="make it again"):
        Outlook.load(path)


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.outlook.npz"
    TOLD.save(path)
    whole = path.read_bytes()
    foreign = tmp_path / "zip"
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("a.txt", "hello")
    for found in (whole[:-40], b"", b"date,sku\n", foreign.read_bytes()):
        path.write_bytes(found)
        with pytest.raises(BadInput, match="make it again"):
            Outlook.load(path)


def test_pickled_objects_are_never_read(tmp_path: Path) -> None:
    path = tmp_path / "a.outlook.npz"
    TOLD.save(path)
    np.savez(path, **{**columns_of(path), "book": np.array(["abc"], dtype=object)})
    with pytest.raises(BadInput, match="make it again"):
        Outlook.load(path)


def test_a_network_takes_the_outlook_of_its_own_history_alone() -> None:
    network = presets.lost_sales(periods=6)
    history, outlook = np.ones((8, 1, 1), np.int32), np.zeros((8, 1, 1, 3), np.int32)
    assert setup_of(network, history, None, outlook).outlook.shape == (8, 1, 1, 3)
    assert setup_of(network, history).outlook.shape == (0, 1, 1, 3)
    for wrong in (outlook[1:], np.zeros((8, 2, 1, 3), np.int32), outlook[..., :2]):
        with pytest.raises(BadInput, match="expected an outlook of 8 periods"):
            setup_of(network, history, None, wrong)
    with pytest.raises(BadInput, match="of a history"):
        setup_of(network, None, None, outlook)
