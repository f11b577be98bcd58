"""What a snapshot must hold before compiled code reads it.

Compiled kernels trust their arrays: a family that does not exist is read from somebody else's memory. So
bytes from outside are checked number by number before a world or a lane takes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Select, and_, func, or_, select

from workgym.services.kernel import BadInput
from workgym.services.orders import rules, scenario
from workgym.services.orders.baskets import LARGEST
from workgym.services.orders.scenario import NEVER, Setup
from workgym.services.orders.state import COLUMNS, LATEST_DAY, State
from workgym.services.orders.tables import centres, order_lines, orders, skus, stock, worlds
from workgym.services.storage import Transaction

_MOST_UNITS = LARGEST // 2  # on a shelf, so that what orders have reserved still fits on top


class _Snapshot(BaseModel):
    """The shape of a canonical state; pydantic's reader bears any depth and any number."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1]
    key: int = Field(ge=0, lt=2**64)
    family: int = Field(ge=0, lt=len(scenario.FAMILIES))
    day: int = Field(ge=0)
    ended: bool
    broken: int = Field(ge=-LARGEST, le=LARGEST)
    orders: list[list[int]]
    free: list[list[int]]
    picks: list[int]
    ledger: list[int]


def sound_state(data: bytes, setup: Setup) -> State:
    """Read a snapshot of a season.

    Raises:
        BadInput: the bytes are no state, or one that this season cannot be in.
    """
    try:
        told = _Snapshot.model_validate_json(data)
    except ValidationError as error:
        where, why = error.errors()[0]["loc"], error.errors()[0]["msg"]
        raise _unsound(f"{'/'.join(map(str, where)) or 'the whole'}: {why}") from error
    fields: dict[str, Any] = {**dict(told), **_arrays(told, setup)}
    state = State(**{name: fields[name] for name in State.__dataclass_fields__})
    flaw = next(_flaws(state, setup), None)
    if flaw is not None:
        raise _unsound(flaw)
    return state


def _unsound(flaw: str) -> BadInput:
    return BadInput(
        f"expected a snapshot of a season with these constants, found another: {flaw}; "
        "restore it into a season made with the same arguments"
    )


def _arrays(told: _Snapshot, setup: Setup) -> dict[str, NDArray[np.int64]]:
    """The tables of a snapshot, each of the shape that the season has."""
    shapes = {
        "orders": (len(told.orders), len(COLUMNS)),
        "free": setup.stock.shape,
        "picks": (setup.stock.shape[0],),
        "ledger": (len(rules.ACCOUNTS),),
    }
    return {name: _array(name, getattr(told, name), shape) for name, shape in shapes.items()}


def _array(name: str, rows: list[Any], shape: tuple[int, ...]) -> NDArray[np.int64]:
    try:
        array = np.array(rows, dtype=np.int64)
    except (ValueError, OverflowError) as error:  # ragged, or larger than 64 bits
        raise _unsound(f"{name}: {error}") from error
    if array.shape != shape and array.size + np.prod(shape) > 0:
        raise _unsound(f"{name} has shape {array.shape} instead of {shape}")
    return array.reshape(shape)


def _flaws(state: State, setup: Setup) -> Iterator[str]:
    if state.ended != (state.day == setup.days) or state.day > setup.days:
        yield f"day {state.day} of {setup.days}, season {'over' if state.ended else 'running'}"
    if len(state.orders) > setup.max_orders:
        yield f"{len(state.orders)} orders where a season has {setup.max_orders} at most"
    for name, low, high in (("free", 0, _MOST_UNITS), ("picks", 0, LARGEST), ("ledger", -LARGEST, LARGEST)):
        if not _within(getattr(state, name), low, high):
            yield f"{name} outside {low}..{high}"
    yield from _flaws_of_orders(state, setup)


def _flaws_of_orders(state: State, setup: Setup) -> Iterator[str]:
    centres, regions = setup.zone.shape
    ranges = {
        "basket": (0, len(setup.facts) - 1),
        "region": (0, regions - 1),
        "priority": (0, 1),
        "placed": (0, state.day),
        "promise": (0, LATEST_DAY),
        "status": (0, len(rules.STATUSES) - 1),
        "parcels": (0, 4**centres - 1),
        "reviewed": (NEVER, state.day),
    }
    columns = dict(zip(ranges, state.orders.T, strict=True))
    for name, (low, high) in ranges.items():
        if not _within(columns[name], low, high):
            yield f"orders with a {name} outside {low}..{high}"
            return
    status, reviewed, parcels = columns["status"], columns["reviewed"], columns["parcels"]
    packed = (status == rules.ALLOCATED) | (status == rules.SHIPPED)
    counts = sum((parcels >> (2 * centre)) & 3 > 0 for centre in range(centres))
    if (columns["promise"] < columns["placed"]).any():
        yield "orders promised before they were placed"
    if ((parcels > 0) != packed).any() or (packed & (reviewed == NEVER)).any():
        yield "parcels of orders that were never allocated, or allocated orders without"
    if (counts > setup.facts[columns["basket"], scenario.LINES]).any():
        yield "orders with more parcels than lines"
    if ((status == rules.ALLOCATED) & ((reviewed != state.day) | state.ended)).any():
        yield "allocated orders of an earlier day that have not left"


def _within(numbers: NDArray[np.int64], low: int, high: int) -> bool:
    return numbers.size == 0 or bool(low <= numbers.min() and numbers.max() <= high)


def require_sound_world(tx: Transaction, setup: Setup, season: str, world: int) -> None:
    """Check the rows of a world of a season, where the tables' own constraints do not.

    Args:
        tx: the transaction.
        setup: the season's constants.
        season: its digest, as worlds name it.
        world: its id.

    Raises:
        BadInput: compiled code that trusts them would read somebody else's memory.
    """
    flaw = next(_flaws_of_world(tx, setup, season, world), None)
    if flaw is not None:
        raise BadInput(f"expected the archive of a world of this season, found another: {flaw}")


def _flaws_of_world(tx: Transaction, setup: Setup, season: str, world: int) -> Iterator[str]:
    row = tx.connection.execute(select(worlds).where(worlds.c.id == world)).one()
    n_centres, n_skus = setup.stock.shape
    if row.season != season or row.template:
        yield f"season {row.season[:8]} instead of {season[:8]}, or a template"
    if row.days != setup.days or not 0 <= row.family < len(setup.families):
        yield f"family {row.family} of a season of {row.days} days"
    for table, column, n in ((centres, centres.c.centre, n_centres), (skus, skus.c.sku, n_skus)):
        span = select(func.count(), func.min(column), func.max(column)).where(table.c.world_id == world)
        if tuple(tx.connection.execute(span).one()) != (n, 0, n - 1):
            yield f"other {table.name} than the {n} of the season"
    if _number(tx, select(func.count()).where(stock.c.world_id == world)) != n_centres * n_skus:
        yield "a SKU without a shelf in some centre"
    counted = (
        select(order_lines.c.number, func.count().label("n"), func.max(order_lines.c.line).label("last"))
        .where(order_lines.c.world_id == world, order_lines.c.line >= 0)
        .group_by(order_lines.c.number)
        .subquery()
    )
    sound = and_(
        orders.c.number == counted.c.number,
        counted.c.n == orders.c.picks,
        counted.c.last == orders.c.picks - 1,
    )
    known = or_(orders.c.reference.is_(None), orders.c.reference.between(0, len(setup.facts) - 1))
    whole = (
        select(func.count()).select_from(orders.join(counted, sound)).where(orders.c.world_id == world, known)
    )
    placed = _number(tx, select(func.count()).where(orders.c.world_id == world))
    if not _number(tx, whole) == placed == row.placed:
        yield "orders that are not as many as were placed, of other lines than they say, or of another shop"
    if _number(tx, select(func.count()).where(order_lines.c.world_id == world, order_lines.c.line < 0)):
        yield "an order line before the first"


def _number(tx: Transaction, query: Select[int]) -> int:
    return tx.connection.execute(query).scalar_one()
