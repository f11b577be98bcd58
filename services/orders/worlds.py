"""Opening, emptying and dropping worlds.

A world is copied from a template: a world of the same season and family that nobody works in. Copying
is a handful of INSERT ... SELECT, whatever the size of the catalogue.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from workgym.services.kernel import Conflict
from workgym.services.orders import scenario
from workgym.services.orders import statements as sql
from workgym.services.orders.baskets import Baskets
from workgym.services.orders.scenario import Setup, opening_stock, setup_digest
from workgym.services.orders.season import CUSTOMERS_PER_REGION
from workgym.services.storage import Transaction

_FIRST_NAMES = ("Ada", "Ben", "Cleo", "Dev", "Eve", "Finn", "Gwen", "Hugo")
_SURNAMES = ("Archer", "Baker", "Cooper", "Dyer", "Fisher", "Glover")


@dataclass(frozen=True)
class Catalogue:
    """What a season's SKUs are called and cost.

    Attributes:
        codes: (K,) unique.
        names: (K,).
        price_cents: (K,) None where nobody told.
        cost_cents: (K,).
        weight_g: (K,).
    """

    codes: tuple[str, ...]
    names: tuple[str, ...]
    price_cents: tuple[int | None, ...]
    cost_cents: tuple[int | None, ...]
    weight_g: tuple[int | None, ...]

    @classmethod
    def of_baskets(cls, baskets: Baskets) -> Catalogue:
        """The catalogue of the shop whose baskets these are."""
        numbers = (baskets.price_cents, baskets.cost_cents, baskets.weight_g)
        price, cost, weight = (tuple(column.tolist()) for column in numbers)
        return cls(baskets.codes, baskets.names, price, cost, weight)

    @classmethod
    def of_setup(cls, setup: Setup) -> Catalogue:
        """A catalogue without prices: a season tells what baskets cost, not what each SKU does."""
        n = setup.stock.shape[1]
        nothing = (None,) * n
        codes = tuple(f"A{k + 1:03d}" for k in range(n))
        return cls(codes, tuple(f"article {k + 1}" for k in range(n)), nothing, nothing, nothing)

    def digest(self) -> str:
        """Content hash."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


class Templates:
    """The templates of one season in one database, made when they are first needed."""

    def __init__(self, setup: Setup, catalogue: Catalogue) -> None:
        self.setup = setup
        self.catalogue = catalogue
        self.season = hashlib.sha256((setup_digest(setup) + catalogue.digest()).encode()).hexdigest()

    def of(self, tx: Transaction, family: int) -> int:
        """Id of the template of a family."""
        found = tx.rows(sql.FIND_WORLD, self._name(family))
        if not found:
            tx.take_turns(self._name(family))
            found = tx.rows(sql.FIND_WORLD, self._name(family))
        return int(found[0][0]) if found else self._make(tx, family)

    def _name(self, family: int) -> str:
        return f"template {self.season[:16]} {scenario.FAMILY_NAMES[family]}"

    def _make(self, tx: Transaction, family: int) -> int:
        setup, goods = self.setup, self.catalogue
        world = _add(tx, self._name(family), self.season, 1, 0, family, setup.days)
        capacity = setup.capacity.tolist()
        tx.many(
            sql.ADD_CENTRE,
            [(world, c, name, capacity[c], capacity[c]) for c, name in enumerate(scenario.CENTRES)],
        )
        rows = zip(goods.codes, goods.names, goods.price_cents, goods.cost_cents, goods.weight_g, strict=True)
        tx.many(sql.ADD_SKU, [(world, k, *row) for k, row in enumerate(rows)])
        tx.many(sql.ADD_CUSTOMER, [(world, *customer) for customer in _customers()])
        tx.many(
            sql.ADD_STOCK,
            [
                (world, sku, centre, int(opening_stock(setup, family, centre, sku)), 0)
                for sku in range(setup.stock.shape[1])
                for centre in range(setup.stock.shape[0])
            ],
        )
        return world


def _customers() -> list[tuple[int, str, int]]:
    """Number, name, region of the households that order; the web shop's orders are theirs."""
    return [
        (region * CUSTOMERS_PER_REGION + i, f"{_FIRST_NAMES[i]} {_SURNAMES[region]}", region)
        for region in range(len(scenario.REGIONS))
        for i in range(CUSTOMERS_PER_REGION)
    ]


def _add(tx: Transaction, name: str, season: str, template: int, key: int, family: int, days: int) -> int:
    return int(tx.rows(sql.NEW_WORLD, name, season, template, key, family, 0, days, 0, 0, 0)[0][0])


def signed(key: int) -> int:
    """A key's 64 bits as the signed number that databases know."""
    return key - 2**64 if key >= 2**63 else key


def open_world(tx: Transaction, templates: Templates, name: str, key: int, family: int) -> int:
    """A new world on its first day, before anything happened; its id.

    Raises:
        Conflict: the name is taken.
    """
    template = templates.of(tx, family)
    if tx.rows(sql.FIND_WORLD, name):
        raise Conflict(f"there is a world named {name!r} already; choose another name, or drop it")
    world = _add(tx, name, templates.season, 0, signed(key), family, templates.setup.days)
    _copy(tx, template, [world])
    return world


def reopen(
    tx: Transaction,
    templates: Templates,
    ids: Sequence[int],
    names: Sequence[str],
    keys: Sequence[int],
    families: Sequence[int],
) -> None:
    """Empty worlds and put them on their first day again, under the same ids; they need not exist.

    Args:
        tx: the transaction.
        templates: of their season.
        ids: ascending.
        names: one a world.
        keys: of their episodes.
        families: of their episodes.
    """
    drop(tx, ids)
    days, season = templates.setup.days, templates.season
    tx.many(
        sql.ADD_WORLD,
        [
            (world, name, season, 0, signed(key), family, 0, days, 0, 0, 0)
            for world, name, key, family in zip(ids, names, keys, families, strict=True)
        ],
    )
    for family in sorted(set(families)):
        chosen = [world for world, its in zip(ids, families, strict=True) if its == family]
        _copy(tx, templates.of(tx, family), chosen)


def _copy(tx: Transaction, template: int, ids: Sequence[int]) -> None:
    worlds = tx.numbers(ids)
    for statement in sql.COPY_TEMPLATE:
        tx.run(statement, worlds, template)


def drop(tx: Transaction, ids: Sequence[int]) -> None:
    """Remove worlds with everything in them."""
    worlds = tx.numbers(ids)
    for statement in sql.EMPTY_WORLDS:
        tx.run(statement, worlds)
    tx.run(sql.DROP_WORLDS, worlds)
