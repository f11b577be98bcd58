"""Bytes by the hash of their content: policies, scorecards, traces.

Whoever reads gets the bytes that were written or an error. Nothing here is ever unpickled, and
nothing is overwritten: the name of an artifact is the SHA-256 of its bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec.core import url_to_fs

from workgym.services.kernel import BadInput, NotFound, WorkgymError

_DIGEST = re.compile(r"[0-9a-f]{64}")
_READ_ONLY = 0o444


class Tampered(WorkgymError):
    """The stored bytes are not the ones that were written.

    Attributes:
        digest: what the artifact is called.
        found: digest of the bytes that stand there now.
    """

    def __init__(self, digest: str, found: str, where: str) -> None:
        super().__init__(
            f"artifact {digest} was changed after it was written: {where} holds bytes with digest {found}; "
            "restore that file from a backup, or repeat its run, which writes the same bytes again"
        )
        self.digest = digest
        self.found = found


def canonical_json(value: Any) -> str:
    """Equal values give equal text, whatever their order or NumPy type.

    Raises:
        BadInput: the value is not plain JSON, or holds a number that JSON has no word for.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"expected plain JSON with finite numbers, found {value!r} ({error}); "
            "leave the field out or write it as a string"
        ) from error


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON."""
    return _sha256(canonical_json(value).encode())


class ArtifactStore:
    """A content-addressed store on anything that fsspec reaches.

    A local folder is written durably and atomically; elsewhere the filesystem's own put is relied
    on, which object stores make atomic.
    """

    def __init__(self, url: str | Path) -> None:
        try:
            self._fs, self._root = url_to_fs(str(url))
        except (ImportError, ValueError) as error:
            raise BadInput(
                f"expected a folder or a URL of fsspec for artifacts, found {url}: {error}"
            ) from error
        self._is_local = "file" in _protocols(self._fs)

    def put_bytes(self, content: bytes) -> str:
        """Store and return the digest; bytes that are already there are left alone."""
        digest = _sha256(content)
        if not self._holds(digest):
            self._write(digest, content)
        return digest

    def put_file(self, path: str | Path) -> str:
        """Store a file's content."""
        return self.put_bytes(Path(path).read_bytes())

    def get(self, digest: str) -> bytes:
        """The bytes, verified.

        Raises:
            Tampered: the bytes do not hash to `digest`.
            NotFound: nothing is stored under `digest`.
        """
        content = self._read(digest)
        found = _sha256(content)
        if found != digest:
            raise Tampered(digest, found, self.path(digest))
        return content

    def put_folder(self, files: dict[str, bytes]) -> str:
        """Store several named files and return the digest of their manifest."""
        if not files:
            raise BadInput(
                "expected at least one file in a folder, found none; store what belongs in it first"
            )
        for name in files:
            _require_safe(name)
        manifest = {name: self.put_bytes(content) for name, content in files.items()}
        return self.put_bytes(canonical_json(manifest).encode())

    def get_folder(self, digest: str) -> dict[str, bytes]:
        """The files of a folder, each verified."""
        manifest = _manifest(self.get(digest))
        if manifest is None:
            raise BadInput(
                f"artifact {digest} is one file, not a folder; read it with get({digest[:12]!r}...)"
            )
        return {name: self.get(member) for name, member in manifest.items()}

    def verify(self, digest: str) -> None:
        """Read it, and its members when it is a folder, for the sake of the check alone."""
        for member in (_manifest(self.get(digest)) or {}).values():
            self.get(member)

    def path(self, digest: str) -> str:
        """Where the bytes stand on the filesystem."""
        if not _is_digest(digest):
            raise BadInput(
                f"expected 64 lower-case hex digits as a digest, found {digest!r}; see `factory show`"
            )
        return f"{self._root}/{digest[:2]}/{digest}"

    def _read(self, digest: str) -> bytes:
        try:
            content: bytes = self._fs.cat_file(self.path(digest))
        except FileNotFoundError as error:
            raise NotFound(
                f"no artifact {digest} in {self._root}; it was deleted or lies in another workspace: "
                "restore it from a backup, or repeat its run"
            ) from error
        return content

    def _holds(self, digest: str) -> bool:
        """Whether the right bytes are there; wrong ones are about to be replaced by the right ones."""
        try:
            self.get(digest)
        except (NotFound, Tampered):
            return False
        return True

    def _write(self, digest: str, content: bytes) -> None:
        if self._is_local:
            _write_durably(Path(self.path(digest)), content)
        else:
            self._fs.makedirs(self._fs._parent(self.path(digest)), exist_ok=True)
            self._fs.pipe_file(self.path(digest), content)


def _write_durably(path: Path, content: bytes) -> None:
    """After a crash the final name holds all of the bytes or does not exist."""
    _make_folder(path.parent)
    handle, draft = tempfile.mkstemp(prefix=".draft-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), _READ_ONLY)
            os.fsync(file.fileno())
        os.rename(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _make_folder(folder: Path) -> None:
    """Create it so that it survives a power cut: each new name is synced in its parent."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _manifest(content: bytes) -> dict[str, str] | None:
    """The folder that these bytes describe, or None when they are a plain file."""
    try:
        fields = json.loads(content)
    except ValueError:
        return None
    if not isinstance(fields, dict) or not fields or not all(map(_is_digest, fields.values())):
        return None
    for name in fields:
        _require_safe(name)
    return fields


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _require_safe(name: str) -> None:
    """Refuse names that would leave the folder when a caller writes it to disk."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise BadInput(f"expected a relative file name without '..', found {name!r}; rename the file")
