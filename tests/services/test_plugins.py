"""Entries under a name: loaded when they are asked for, kept once, and never two of one name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from workgym.services.kernel import BadInput, Conflict
from workgym.services.plugins import Plugins


def bake() -> None:
    """Enters something."""


def brew() -> None:
    """Enters something else."""


def kept(ours: dict[str, str] | None = None) -> Plugins[str, int]:
    return Plugins("workgym.none", "shops", ours or {})


def test_what_the_same_function_enters_twice_is_kept_once() -> None:
    shops = kept()
    assert shops.enter("bakery", 1, bake, "'bakery'") == 1
    assert shops.enter("bakery", 2, bake, "'bakery'") == 1
    assert shops.known() == {"bakery": 1}


def test_two_functions_cannot_share_a_name() -> None:
    shops = kept()
    shops.enter("bakery", 1, bake, "'bakery'")
    with pytest.raises(
        Conflict, match=rf"two shops are named 'bakery': {__name__}:bake and {__name__}:brew$"
    ):
        shops.enter("bakery", 2, brew, "'bakery'")
    assert shops.known() == {"bakery": 1}


def test_a_module_is_imported_when_somebody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late_module.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    shops = kept({"late": "late_module"})
    assert "late_module" not in sys.modules
    shops.known()
    assert "late_module" in sys.modules
    monkeypatch.delitem(sys.modules, "late_module")


def test_a_module_that_is_missing_is_named_at_every_call() -> None:
    shops = kept({"lost": "no_such_module"})
    for _ in range(2):
        with pytest.raises(BadInput, match=r"the shops of 'lost' \(no_such_module\) do not load: .*repair"):
            shops.known()
