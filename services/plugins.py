"""What functions enter under a name by a decorator, in our modules and in those of installed packages.

A package names its module in an entry point group; the module is imported when somebody first asks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from workgym.services.kernel import BadInput, Conflict

Key = TypeVar("Key", bound=Hashable)
Entry = TypeVar("Entry")


class Plugins(Generic[Key, Entry]):
    """Entries by key.

    Args:
        group: entry point group where packages name their modules.
        kind: what an entry is called, in the plural.
        ours: our own modules, by name.
    """

    def __init__(self, group: str, kind: str, ours: dict[str, str]) -> None:
        self._group, self._kind = group, kind
        self._ours = tuple(EntryPoint(name, module, group) for name, module in ours.items())
        self._loaded = False
        self._entries: dict[Key, tuple[Entry, str]] = {}

    def enter(self, key: Key, entry: Entry, made: Callable[..., Any], told: str) -> Entry:
        """Keep an entry, or return the one that the same function made before.

        Args:
            key: where it is found.
            entry: what is found there.
            made: the function that it comes from; a module that is imported twice enters it twice.
            told: what messages call the key.

        Raises:
            Conflict: another function made the entry of this key.
        """
        address = f"{getattr(made, '__module__', '')}:{getattr(made, '__qualname__', made)}"
        kept, whose = self._entries.setdefault(key, (entry, address))
        if whose != address:
            raise Conflict(f"two {self._kind} are named {told}: {whose} and {address}")
        return kept

    def known(self) -> dict[Key, Entry]:
        """Every entry, ours and those of installed packages.

        Raises:
            BadInput: a module cannot be imported.
        """
        if not self._loaded:
            for point in (*self._ours, *entry_points(group=self._group)):
                self._load(point)
            self._loaded = True
        return {key: entry for key, (entry, _) in self._entries.items()}

    def _load(self, point: EntryPoint) -> None:
        try:
            point.load()
        except (ImportError, AttributeError) as error:
            raise BadInput(
                f"the {self._kind} of {point.name!r} ({point.value}) do not load: {error}; "
                "repair or remove it"
            ) from error
