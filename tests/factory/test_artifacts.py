"""The artifact store gives back what was written, or says that it cannot."""

import errno
import hashlib
import os
import signal
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workgym.factory import artifacts
from workgym.factory.artifacts import ArtifactStore, Tampered, canonical_json, digest_of
from workgym.services.kernel import BadInput, NotFound

names = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}\.(json|safetensors)", fullmatch=True)


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    where = tmp_path / "artifacts" if request.param == "local" else f"memory://{tmp_path}"
    return ArtifactStore(where)


@pytest.fixture
def local(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


@given(content=st.binary())
def test_what_is_written_is_read(content):
    store = ArtifactStore("memory://laws")
    digest = store.put_bytes(content)
    assert digest == hashlib.sha256(content).hexdigest()
    assert store.get(digest) == content


@given(files=st.dictionaries(names, st.binary(), min_size=1))
def test_a_folder_is_named_by_its_content_and_not_by_the_order_of_its_files(files):
    store = ArtifactStore("memory://laws")
    digest = store.put_folder(files)
    assert store.put_folder(dict(reversed(files.items()))) == digest
    assert store.get_folder(digest) == files


def test_a_folder_is_another_when_one_byte_or_one_name_is(store):
    folders = [{"a": b"1"}, {"a": b"2"}, {"b": b"1"}]
    assert len({store.put_folder(files) for files in folders}) == 3


def test_a_file_is_stored_by_its_content(store, tmp_path):
    (tmp_path / "policy").write_bytes(b"weights")
    assert store.get(store.put_file(tmp_path / "policy")) == b"weights"


def test_writing_twice_leaves_the_first_file_alone(local):
    path = Path(local.path(local.put_bytes(b"weights")))
    before = path.stat()
    local.put_bytes(b"weights")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def overwrite(store, digest, content):
    path = store.path(digest)
    if store._is_local:
        Path(path).chmod(0o644)
    store._fs.pipe_file(path, content)


@pytest.mark.parametrize("content", [b"", b"weight", b"Weights", b"weights\n"])
def test_changed_bytes_are_refused_with_what_was_found(store, content):
    digest = store.put_bytes(b"weights")
    overwrite(store, digest, content)
    with pytest.raises(Tampered) as refusal:
        store.get(digest)
    assert (refusal.value.digest, refusal.value.found) == (digest, hashlib.sha256(content).hexdigest())
    for part in (digest, refusal.value.found, store.path(digest), "restore"):
        assert part in str(refusal.value)


def test_writing_again_repairs_what_was_changed(store):
    digest = store.put_bytes(b"weights")
    overwrite(store, digest, b"poison")
    store.put_bytes(b"weights")
    assert store.get(digest) == b"weights"


@pytest.mark.parametrize("victim", ["manifest", "member"])
def test_a_folder_with_one_changed_file_is_refused(store, victim):
    digest = store.put_folder({"weights": b"1", "recipe.json": b"{}"})
    member = hashlib.sha256(b"1").hexdigest()
    overwrite(store, digest if victim == "manifest" else member, b"poison")
    for read in (store.get_folder, store.verify):
        with pytest.raises(Tampered):
            read(digest)


def test_a_folder_whose_file_is_missing_is_refused(store):
    digest = store.put_folder({"weights": b"1"})
    store._fs.rm(store.path(hashlib.sha256(b"1").hexdigest()))
    with pytest.raises(NotFound, match="repeat its run"):
        store.verify(digest)


def test_an_unknown_digest_is_not_found(store):
    with pytest.raises(NotFound, match="backup"):
        store.get("0" * 64)


@pytest.mark.parametrize("digest", ["", "abc", "../../etc/passwd", "A" * 64, "0" * 63 + "/", "0" * 64 + "\n"])
def test_only_digests_become_paths(store, digest):
    with pytest.raises(BadInput, match="64 lower-case hex"):
        store.get(digest)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up", "a/../../up", "a\\b", "a\0b"])
def test_a_name_that_leaves_the_folder_is_refused_on_both_sides(store, name):
    with pytest.raises(BadInput, match="relative file name"):
        store.put_folder({name: b""})
    forged = store.put_bytes(canonical_json({name: store.put_bytes(b"")}).encode())
    with pytest.raises(BadInput, match="relative file name"):
        store.get_folder(forged)


@pytest.mark.parametrize("content", [b"weights", b"{}", b"[]", b'{"a":1}', b'{"a":"b"}', b"\xff"])
def test_a_plain_file_is_no_folder(store, content):
    digest = store.put_bytes(content)
    store.verify(digest)
    with pytest.raises(BadInput, match="one file, not a folder"):
        store.get_folder(digest)


def test_a_folder_holds_something(store):
    with pytest.raises(BadInput, match="at least one file"):
        store.put_folder({})


# A crash leaves no half of anything


def test_bytes_are_synced_before_they_are_named_and_the_name_after(local, monkeypatch):
    local.put_bytes(b"first")  # makes the root
    calls = []
    kinds = {True: "sync folder", False: "sync file"}
    sync, rename = os.fsync, os.rename

    def note_sync(handle):
        calls.append(kinds[stat.S_ISDIR(os.fstat(handle).st_mode)])
        sync(handle)

    def note_rename(draft, path):
        assert Path(draft).read_bytes() == b"weights"
        calls.append("rename")
        rename(draft, path)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_rename)
    local.put_bytes(b"weights")
    assert calls == ["sync folder", "sync file", "rename", "sync folder"]  # the first: a new shard's name


@pytest.mark.parametrize("step", ["fsync", "rename", "fchmod"])
def test_a_full_disk_leaves_neither_the_artifact_nor_a_draft(local, monkeypatch, step):
    def fail(*_):
        raise OSError(errno.ENOSPC, "no space left on device")

    digest = hashlib.sha256(b"weights").hexdigest()
    Path(local.path(digest)).parent.mkdir(parents=True)
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no space"):
        local.put_bytes(b"weights")
    assert not list(Path(local.path(digest)).parent.iterdir())
    monkeypatch.undo()
    assert local.get(local.put_bytes(b"weights")) == b"weights"


@pytest.mark.parametrize("step", ["fsync", "fchmod", "rename"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_writer_leaves_all_or_nothing_under_the_final_name(local, step, when):
    content = b"weights" * 10_000
    digest = hashlib.sha256(content).hexdigest()
    if (child := os.fork()) == 0:
        real = getattr(os, step)

        def kill(*arguments):
            if when == "after":
                real(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(os, step, kill)
        local.put_bytes(content)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    path = Path(local.path(digest))
    assert not path.exists() or path.read_bytes() == content
    assert local.get(local.put_bytes(content)) == content


def test_stored_files_are_read_only(local):
    mode = stat.S_IMODE(Path(local.path(local.put_bytes(b"weights"))).stat().st_mode)
    assert mode == artifacts._READ_ONLY


# What is hashed is written in one way only


def test_equal_values_have_equal_text():
    plain = {"seed": 3, "rate": 0.5, "layers": [64, 64]}
    mixed = {"layers": (np.int64(64), 64), "rate": np.float64(0.5), "seed": np.int32(3)}
    assert canonical_json(plain) == canonical_json(mixed) == '{"layers":[64,64],"rate":0.5,"seed":3}'
    assert digest_of(plain) == digest_of(mixed)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, np.zeros(3), {"a": b"b"}])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(BadInput, match="plain JSON"):
        canonical_json({"value": value})
