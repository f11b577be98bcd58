"""A training that is done again ends in the same bytes, or says at which chunk it parted."""

from __future__ import annotations

import sqlite3

import pytest

from tests.support.workspace import CHUNKS
from workgym.factory import reproduce as module
from workgym.factory.registry import open_registry
from workgym.factory.reproduce import reproduce
from workgym.services.kernel import NotFound


@pytest.fixture
def database_url(tmp_path):
    """One kind of database will do: nothing here asks it anything of its own."""
    return f"sqlite:///{tmp_path}/registry.db"


@pytest.mark.slow
def test_a_version_comes_out_bit_for_bit(tiny_registry) -> None:
    seen = []
    done = reproduce(tiny_registry, "orders", None, lambda chunk, of: seen.append((chunk, of)))
    assert done.identical
    assert (done.version, done.chunks, done.compared, done.diverged) == (1, CHUNKS, CHUNKS, None)
    assert done.expected == done.found == tiny_registry.version("orders", 1).artifact_digest
    assert seen == [(k, CHUNKS) for k in range(1, CHUNKS + 1)]


@pytest.mark.slow
@pytest.mark.parametrize(("same_code", "code"), [(True, 7), (False, 5)])
def test_the_first_chunk_that_parts_is_named(
    own_workspace, factory, monkeypatch, same_code: bool, code: int
) -> None:
    other = "0" * 64
    group = open_group(own_workspace)
    with sqlite3.connect(own_workspace / "registry.db") as connection:
        where = "kind = 'chunk' AND grp = ? AND seq = 1"
        connection.execute(f"UPDATE tasks SET artifact = ? WHERE {where}", (other, group))
    if not same_code:
        monkeypatch.setattr(module, "code_digest", lambda: "1" * 64)
    told = factory("reproduce", "orders", "1", "--json", home=own_workspace)
    assert told.code == code
    assert (told.json["diverged"], told.json["expected"]) == (2, other)
    assert "diverges at chunk 2 of 2" in str(told.json["sentence"])


def open_group(home) -> str:
    with open_registry(home) as registry:
        return str(registry.version("orders", 1).lineage["training"])


def test_what_was_not_trained_here_cannot_be_trained_again(desk) -> None:
    desk.candidate()
    with pytest.raises(NotFound, match="orders version 1 was not trained here"):
        reproduce(desk.registry, "orders", 1)
    with pytest.raises(NotFound, match="no champion yet"):
        reproduce(desk.registry, "orders")
