"""What every store does alike with its worlds: it copies them whole, and shows their log."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import MetaData

from workgym.services import archive
from workgym.services.audit import Entry, entries
from workgym.services.once import Request, carry_out
from workgym.services.storage import Database, Transaction


@dataclass(frozen=True)
class Copy:
    """A world that was copied from another.

    Attributes:
        id: of the copy.
        name: unique.
    """

    id: int
    name: str


class WorldStore(ABC):
    """The verbs that a service's store inherits.

    Attributes:
        database: where the worlds live.
        metadata: the service's tables.
    """

    database: Database
    metadata: MetaData

    @staticmethod
    @abstractmethod
    def _take(tx: Transaction, ids: Sequence[int]) -> object:
        """Lock worlds until the transaction ends, as the service's own verbs do (NotFound)."""

    @staticmethod
    @abstractmethod
    def _see(tx: Transaction, ids: Sequence[int]) -> object:
        """Read worlds as they are (NotFound)."""

    def fork(
        self, world: int, names: Sequence[str], *, actor: str = "system", idempotency_key: str | None = None
    ) -> list[Copy]:
        """Copy a world once for each name; copies and original do not know of each other.

        An idempotency key that the world has answered is answered alike by its copies.

        Raises:
            Conflict: a name is taken.
            BadInput: no name, or one twice.
        """

        def act(tx: Transaction, _: object) -> list[Copy]:
            ids = archive.fork(tx, self.metadata, world, names, actor)
            return [Copy(one, name) for one, name in zip(ids, names, strict=True)]

        request = Request(world, "fork", actor, idempotency_key, tuple(names))
        return carry_out(self.database, request, list[Copy], lambda tx: self._take(tx, [world]), act)

    def archive(self, world: int) -> bytes:
        """A world with everything in it as bytes, which any database of this service can unpack."""
        with self.database.read() as tx:
            self._see(tx, [world])
            return archive.pack(tx, self.metadata, world)

    def unpack(self, name: str, data: bytes, *, actor: str = "system") -> Copy:
        """A new world from an archive.

        Raises:
            Conflict: the name is taken.
            BadInput: the bytes are no archive of this service and version, or one of a world that cannot be.
        """
        with self.database.write() as tx:
            world = archive.unpack(tx, self.metadata, name, data, actor)
            self._require_sound(tx, world)
            return Copy(world, name)

    def audit(self, world: int, *, subject: str | None = None, limit: int = 100) -> list[Entry]:
        """The latest lines of the audit log, newest first; a subject is `day/2`, for instance (NotFound)."""
        with self.database.read() as tx:
            self._see(tx, [world])
            return entries(tx, world, subject, limit)

    def _require_sound(self, tx: Transaction, world: int) -> None:  # noqa: B027  # a choice, not a duty
        """Refuse a world from an archive that the service's compiled code must not read (BadInput)."""
