"""Worlds of a live service as lanes of a backend, whatever the service.

A service's `Live` says how its worlds are opened, advanced and read inside a transaction. `LiveLanes` are
some of its worlds; `LiveBackend` holds them in a database of this process, and the server of
`workgym.envs.serving` in its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import MetaData

from workgym.envs.contract import BEGIN, REST, Board, Episodes, Ints
from workgym.services.scenario import episode_key
from workgym.services.storage import Database, Transaction

ACTOR = "agent"


class Live(Protocol):
    """The live side of an env. It may keep buffers for its lanes, but no state.

    Attributes:
        metadata: the service's tables.
    """

    metadata: MetaData

    def open(self, tx: Transaction, names: Sequence[str]) -> list[int]:
        """Worlds before anything happened; their ids, ascending."""

    def reopen(
        self,
        tx: Transaction,
        ids: Sequence[int],
        names: Sequence[str],
        keys: Sequence[int],
        families: Sequence[int],
    ) -> None:
        """Empty worlds and put them at the beginning of the episodes of these keys; they need not exist."""

    def drawn_family(self, key: np.uint64) -> int:
        """The family of an episode that was not given one."""

    def advance(
        self, tx: Transaction, ids: Sequence[int], param: object, mode: NDArray[np.int8], actions: Ints
    ) -> Board:
        """Let each world act or stand still; those in mode BEGIN were reopened just now.

        Args:
            tx: the transaction.
            ids: of the worlds.
            param: the same as the value of an `Among` parameter.
            mode: (N,) what each lane does.
            actions: as `Backend.advance` takes them.
        """

    def state(self, tx: Transaction, world: int) -> bytes:
        """A world's canonical state."""

    def put(self, tx: Transaction, world: int, name: str, data: bytes) -> None:
        """Put a canonical state into a world; it need not exist."""

    def facts(self, tx: Transaction, world: int) -> dict[str, int]:
        """A world's counters, see `Backend.facts`."""

    def page(self, data: bytes) -> str:
        """A canonical state as a page of text."""

    def drop(self, tx: Transaction, ids: Sequence[int]) -> None:
        """Remove worlds with everything in them."""


class LiveLanes:
    """Some worlds of a service as lanes; every call is part of a transaction that the caller holds.

    Args:
        live: how the service does it.
        ids: of the worlds, ascending.
        names: of the worlds.
    """

    def __init__(self, live: Live, ids: Sequence[int], names: Sequence[str]) -> None:
        self.live = live
        self.ids = list(ids)
        self.names = list(names)
        self.lanes = len(self.ids)

    @classmethod
    def open(cls, tx: Transaction, live: Live, lanes: int) -> LiveLanes:
        """Fresh worlds."""
        run = secrets.token_hex(6)
        names = [f"lane {lane} of {run}" for lane in range(lanes)]
        return cls(live, live.open(tx, names), names)

    def advance(self, tx: Transaction, mode: NDArray[np.int8], actions: Ints, episodes: Episodes) -> Board:
        """Let each lane act, begin or stand still."""
        begins = np.flatnonzero(mode == BEGIN).tolist()
        if begins:
            self._reopen(tx, begins, episodes)
        return self.live.advance(tx, self.ids, tx.numbers(self.ids), mode, actions)

    def _reopen(self, tx: Transaction, lanes: Sequence[int], episodes: Episodes) -> None:
        keys, families = [], []
        for lane in lanes:
            key = np.uint64(episode_key(episodes.salt, episodes.seed[lane], episodes.number[lane]))
            family = int(episodes.family[lane])
            families.append(self.live.drawn_family(key) if family < 0 else family)
            keys.append(int(key))
        ids, names = [self.ids[lane] for lane in lanes], [self.names[lane] for lane in lanes]
        self.live.reopen(tx, ids, names, keys, families)

    def state(self, tx: Transaction, lane: int) -> bytes:
        """The lane's canonical state."""
        return self.live.state(tx, self.ids[lane])

    def load(self, tx: Transaction, states: dict[int, bytes], decisions: tuple[int, ...]) -> Board:
        """Put canonical states into lanes; what all lanes show afterwards.

        Args:
            tx: the transaction.
            states: by lane.
            decisions: shape of one action.
        """
        for lane, data in states.items():
            self.live.put(tx, self.ids[lane], self.names[lane], data)
        mode = np.full(self.lanes, REST, dtype=np.int8)
        nothing = np.zeros((self.lanes, *decisions), dtype=np.int64)
        return self.live.advance(tx, self.ids, tx.numbers(self.ids), mode, nothing)

    def facts(self, tx: Transaction, lane: int) -> dict[str, int]:
        """The lane's counters."""
        return self.live.facts(tx, self.ids[lane])

    def drop(self, tx: Transaction) -> None:
        """Remove the worlds."""
        self.live.drop(tx, self.ids)


class LiveBackend:
    """N lanes as worlds of the live service in this process. One advance is one transaction.

    Args:
        live: how the service does it.
        lanes: how many worlds.
        decisions: shape of one action, `Task.action_shape`.
        url: SQLAlchemy URL of the database; the worlds are dropped from it when the backend is closed.
        database: one that is open already, instead; it stays open.
    """

    def __init__(
        self,
        live: Live,
        lanes: int,
        decisions: tuple[int, ...] = (),
        url: str = "sqlite://",
        database: Database | None = None,
    ) -> None:
        self.lanes = lanes
        self.live = live
        self.url = url
        self._decisions = decisions
        self._own = database is None
        self.database = database or Database(url)
        if self._own:
            self.database.create(live.metadata)
        with self.database.write() as tx:
            self._worlds = LiveLanes.open(tx, live, lanes)
        self._closed = False

    def advance(self, mode: NDArray[np.int8], actions: Ints, episodes: Episodes) -> Board:
        """Let each lane act, begin or stand still."""
        with self.database.write() as tx:
            return self._worlds.advance(tx, mode, actions, episodes)

    def state_bytes(self, lane: int) -> bytes:
        """The lane's canonical state."""
        with self.database.read() as tx:
            return self._worlds.state(tx, lane)

    def load_state(self, lane: int, data: bytes) -> Board:
        """Put a canonical state into a lane."""
        with self.database.write() as tx:
            return self._worlds.load(tx, {lane: data}, self._decisions)

    def facts(self, lane: int) -> dict[str, int]:
        """The lane's counters."""
        with self.database.read() as tx:
            return self._worlds.facts(tx, lane)

    def render(self, lane: int) -> str:
        """The lane as a page of text."""
        return self.live.page(self.state_bytes(lane))

    def close(self) -> None:
        """Drop the worlds and give the database back."""
        if not self._closed:
            self._closed = True
            with self.database.write() as tx:
                self._worlds.drop(tx)
            if self._own:
                self.database.close()

    def __getattr__(self, name: str) -> Any:
        """What planners ask for beyond the contract, the live side tells."""
        if name.startswith("_") or "live" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.live, name)

    def __getstate__(self) -> dict[str, Any]:
        """The lanes as canonical states; a database does not travel, and a copy gets worlds of its own."""
        states = [self.state_bytes(lane) for lane in range(self.lanes)]
        return {"live": self.live, "decisions": self._decisions, "url": self.url, "states": states}

    def __setstate__(self, state: dict[str, Any]) -> None:
        states = dict(enumerate(state["states"]))
        LiveBackend.__init__(self, state["live"], len(states), state["decisions"], state["url"])
        with self.database.write() as tx:
            self._worlds.load(tx, states, self._decisions)
