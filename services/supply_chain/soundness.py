"""What a description or a snapshot from outside must hold before compiled code reads it.

Compiled kernels trust their arrays: a link that leads nowhere is read from somebody else's memory. So
whatever comes from outside is checked number by number before a world or a lane takes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from hashlib import sha256
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy import Table, and_, func, select

from workgym.services.kernel import BadInput, did_you_mean
from workgym.services.storage import Transaction
from workgym.services.supply_chain import live_state, presets, rules, state, tables
from workgym.services.supply_chain.retail import retail
from workgym.services.supply_chain.scenario import EXTERNAL, Setup
from workgym.services.supply_chain.spec import (
    Calendar,
    Distribution,
    Family,
    Link,
    Network,
    Node,
    network_from,
)
from workgym.services.supply_chain.state import State
from workgym.services.supply_chain.worlds import Plan

LARGEST = 2**31 - 1
MOST_UNITS = 10**9  # of a SKU in one world, so that every sum fits its column
MOST_MONEY = 2**60  # of an account, and units that customers asked for
MOST_CELLS = 50_000  # links or nodes times SKUs
MOST_DEMAND = 100_000.0  # parameter of a distribution: its table must stay small
MOST_FEATURES = 200  # nodes, links, families, rows of a calendar

PRESETS: dict[str, Callable[[], Network]] = {
    "lost-sales": presets.lost_sales,
    "dual-sourcing": presets.dual_sourcing,
    "serial": presets.serial,
    "one-warehouse": presets.one_warehouse,
    "beer-game": presets.beer_game,
    "or-gym": presets.or_gym,
    "retail": retail,
}

_network = TypeAdapter(Network)
# What a number may be: (lowest, highest) by field; fields that are not named are checked by `Network`.
_LIMITS: dict[type, dict[str, tuple[int, int]]] = {
    Node: dict.fromkeys(("price", "holding", "lost", "waiting", "salvage"), (0, 10**7))
    | {"opening": (0, 10**6)},
    Link: dict.fromkeys(("cost", "order_cost", "transit", "unshipped"), (0, 10**7))
    | {"opening": (0, 10**5), "most": (0, 10**6), "pack": (1, 10**6), "capacity": (0, 10**9)}
    | {"order_delay": (0, 60)},
    Family: {"level_steps": (-192, 192), "level_days": (0, LARGEST), "promotions_pm": (0, 10**6)}
    | {"late_days": (0, 60), "outage_days": (0, LARGEST), "cost_pm": (0, 10**5), "loss_pm": (0, 100)},
    Calendar: {"season": (-192, 192), "promotion_pm": (0, 1000), "promotion_days": (1, LARGEST)}
    | {"promotion_steps": (-192, 192), "promotion_cut_pm": (0, 1000), "shock_steps": (0, 192)}
    | {"shock_days": (1, LARGEST)},
    Distribution: {"parameters": (0, int(MOST_DEMAND))},
}


def named_network(name: str) -> Network:
    """A network from the literature, or the default retailer (BadInput)."""
    if name not in PRESETS:
        raise BadInput(did_you_mean("preset", name, list(PRESETS)))
    return PRESETS[name]()


def sound_network(given: dict[str, Any]) -> Network:
    """Read a network's description.

    Raises:
        BadInput: a field is unknown, missing, of another kind or outside its range.
    """
    try:
        _network.validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        where, why = error.errors()[0]["loc"], error.errors()[0]["msg"]
        raise BadInput(f"expected a network, found one where {'/'.join(map(str, where))}: {why}") from error
    network = network_from(given)
    require_sound_network(network)
    return network


def require_sound_network(network: Network) -> None:
    """Refuse a network that would take the memory of others (BadInput)."""
    checks = _flaws_of(network, "network"), _flaws_of_names(network), _flaws_of_sizes(network)
    flaw = next(chain.from_iterable(checks), None)
    if flaw is not None:
        raise BadInput(f"expected {flaw}")


def _flaws_of(part: Any, where: str) -> Iterator[str]:
    """Numbers outside their limits, in a record and the records in it."""
    for name, (low, high) in _LIMITS.get(type(part), {}).items():
        values = np.array(_flat(getattr(part, name)), dtype=np.float64)
        if values.size and not (low <= values.min() and values.max() <= high):
            yield f"{name} of {where} in {low:,}..{high:,}, found {values.min():g}..{values.max():g}"
    for one in fields(part):
        inner = getattr(part, one.name)
        for child in inner if isinstance(inner, tuple) else (inner,):
            if is_dataclass(child):
                yield from _flaws_of(child, getattr(child, "name", one.name))


def _flat(value: Any) -> list[Any]:
    return [one for part in value for one in _flat(part)] if isinstance(value, tuple) else [value]


def _flaws_of_names(network: Network) -> Iterator[str]:
    """Names that a database, a log or an address does not bear."""
    told = [network.name, network.currency, *network.skus]
    told += [node.name for node in network.nodes] + [family.name for family in network.families]
    for name in told:
        if not (1 <= len(name) <= 100 and name.isprintable()):  # so no control character, no half surrogate
            yield f"names of 1 to 100 printable characters, found {ascii(name)[:40]}"


def _flaws_of_sizes(network: Network) -> Iterator[str]:
    skus, classes = len(network.skus), len(network.calendar.season)
    for name in ("nodes", "links", "families"):
        if len(getattr(network, name)) > MOST_FEATURES:
            yield f"at most {MOST_FEATURES} {name}, found {len(getattr(network, name))}"
    if len(network.links) * skus > MOST_CELLS or len(network.nodes) * skus > MOST_CELLS:
        yield f"at most {MOST_CELLS:,} links or nodes times SKUs, found more"
    if len(set(network.skus)) != skus or len({one.name for one in network.families}) != len(network.families):
        yield "names of SKUs and of families that differ, found one twice"
    if network.season_class and not 0 <= min(network.season_class) <= max(network.season_class) < classes:
        yield f"season classes in 0..{classes - 1}, found others"
    if classes > MOST_FEATURES or len(network.calendar.season[0]) > 10_000:
        yield f"a calendar of at most {MOST_FEATURES} rows of 10,000 periods, found a larger one"
    if network.step < 1 or network.scale < 1:
        yield f"a step and a scale of 1 or more, found {network.step} and {network.scale}"


Table2 = list[list[int]]
Table3 = list[Table2]


class _Snapshot(BaseModel):
    """The shape of a canonical state; pydantic's reader bears any depth and any number."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1]
    key: int = Field(ge=0, lt=2**64)
    family: int = Field(ge=0)
    day: int = Field(ge=0)
    ended: bool
    demanded: int = Field(ge=0, le=MOST_MONEY)
    missed: int = Field(ge=0, le=MOST_MONEY)
    on_hand: Table2
    backlog: Table2
    asked: Table2
    level: Table2
    owed: Table2
    mail: Table3
    way: Table3
    ledger: list[int]


def sound_state(data: bytes, setup: Setup) -> State:
    """Read a snapshot of a world of a network.

    Raises:
        BadInput: the bytes are no state, or one that this network cannot be in.
    """
    try:
        told = _Snapshot.model_validate_json(data)
    except ValidationError as error:
        where, why = error.errors()[0]["loc"], error.errors()[0]["msg"]
        raise _unsound(f"{'/'.join(map(str, where)) or 'the whole'}: {why}") from error
    known = {name: value for name, value in dict(told).items() if name != "version"}
    found = State(**known | {n: _array(n, v) for n, v in known.items() if isinstance(v, list)})
    state.check_fit(setup, found)
    flaw = next(_flaws_of_state(found, setup), None)
    if flaw is not None:
        raise _unsound(flaw)
    return found


def _unsound(flaw: str) -> BadInput:
    return BadInput(f"expected a snapshot of a world of this network, found another: {flaw}")


def _array(name: str, rows: list[Any]) -> NDArray[np.int64]:
    try:
        return np.array(rows, dtype=np.int64)
    except (ValueError, OverflowError) as error:  # ragged, or larger than 64 bits
        raise _unsound(f"{name}: {error}") from error


def _flaws_of_state(found: State, setup: Setup) -> Iterator[str]:
    if found.ended != (found.day == setup.periods):
        yield f"period {found.day} of {setup.periods}, episode {'over' if found.ended else 'running'}"
    if found.missed > found.demanded:
        yield f"{found.missed} units missed of {found.demanded} that were asked for"
    counts = [array.sum(axis=0) for array in (found.on_hand, found.backlog, found.owed)]
    counts += [array.sum(axis=(0, 2)) for array in (found.mail, found.way)]
    if (sum(counts) > MOST_UNITS).any() or found.asked.max(initial=0) > MOST_UNITS:
        yield f"more than {MOST_UNITS:,} units of a SKU"
    if len(found.ledger) != len(rules.ACCOUNTS) or np.abs(found.ledger.astype(float)).max() > MOST_MONEY:
        yield f"expected {len(rules.ACCOUNTS)} accounts of at most {MOST_MONEY:,}"


def require_sound_world(tx: Transaction, world: int, plan: Callable[[], Plan]) -> None:
    """Check the rows of a world, where the tables' own constraints do not.

    Args:
        tx: the transaction.
        world: its id.
        plan: makes the plan of its network, once the network's description is known to be sound.

    Raises:
        BadInput: compiled code that trusts them would read somebody else's memory.
    """
    known = tables.networks
    here = select(known).join(tables.worlds, tables.worlds.c.network == known.c.digest)
    network = tx.connection.execute(here.where(tables.worlds.c.id == world)).one()
    if sha256((network.description + network.history).encode()).hexdigest() != network.digest:
        raise BadInput(
            "expected a network with its digest, found the digest of another; take the archive again"
        )
    try:
        told = json.loads(network.description)
    except ValueError as error:
        raise BadInput(f"expected a network's description, found other text ({error})") from error
    sound_network(told)
    its = plan()
    flaw = next(_flaws_of_world(tx, world, its), None)
    if flaw is not None:
        raise _unsound(flaw)
    sound_state(live_state.of_world(tx, its, world).to_bytes(), its.setup)


def _flaws_of_world(tx: Transaction, world: int, plan: Plan) -> Iterator[str]:
    network, setup = plan.network, plan.setup
    ends = zip(setup.source.tolist(), setup.target.tolist(), strict=True)
    furnished: dict[Table, list[tuple[Any, ...]]] = {
        tables.nodes: [(n, node.name) for n, node in enumerate(network.nodes)],
        tables.skus: list(enumerate(network.skus)),
        tables.links: [(a, None if s == EXTERNAL else s, t) for a, (s, t) in enumerate(ends)],
    }
    for table, expected in furnished.items():
        columns = [column for column in table.columns if column.name != "world_id"]
        query = select(*columns).where(table.c.world_id == world).order_by(columns[0])
        if [tuple(row) for row in tx.connection.execute(query)] != expected:
            yield f"other {table.name} than its network has"
    row = tx.connection.execute(select(tables.worlds).where(tables.worlds.c.id == world)).one()
    if row.periods != setup.periods or not 0 <= row.family < len(setup.families):
        yield f"family {row.family} of {row.periods} periods"
    shelves = select(func.count()).where(tables.stock.c.world_id == world)
    if tx.connection.execute(shelves).scalar_one() != setup.opening.size:
        yield "a node that lacks a SKU"
    lines, sent = tables.order_lines.c, tables.shipments.c
    mailed = lines.reaches_on, setup.delay, and_(lines.world_id == world, lines.status == tables.MAILED)
    on_way = sent.due_on, setup.horizon, and_(sent.world_id == world, sent.received_on.is_(None))
    for due, most, which in (mailed, on_way):
        first, last = tx.connection.execute(select(func.min(due), func.max(due)).where(which)).one()
        if first is not None and not row.day <= first <= last < row.day + most:
            yield f"{due.name} in periods {first}..{last} on day {row.day}"
