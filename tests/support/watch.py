"""Whether anything has changed in the worlds of a service."""

from __future__ import annotations

import hashlib

from fastapi import FastAPI


class Watch:
    """Tells whether the worlds of a service over SQLite in memory are as they were."""

    def __init__(self, app: FastAPI) -> None:
        self.store = app.state.store
        self._driver = self.store.database.engine.raw_connection()
        self._seen: tuple[int, str] | None = None

    def worlds(self) -> str:
        """Digest of all rows of all worlds, but for remembered refusals."""
        written = self._driver.driver_connection.total_changes
        if self._seen is None or self._seen[0] != written:
            self._seen = written, self._digest()
        return self._seen[1]

    def _digest(self) -> str:
        told = hashlib.sha256()
        with self.store.database.read() as tx:
            for table in self.store.metadata.sorted_tables:
                if table.name != "idempotency":
                    for row in tx.connection.execute(table.select()):
                        told.update(repr(tuple(row)).encode())
        return told.hexdigest()
