"""A live world as a canonical `state.State`, byte for byte what the twin says, and back."""

from __future__ import annotations

from workgym.services.storage import Transaction
from workgym.services.supply_chain import state as canonical
from workgym.services.supply_chain import statements as sql
from workgym.services.supply_chain import worlds
from workgym.services.supply_chain.floor import Journal, read, see
from workgym.services.supply_chain.state import State
from workgym.services.supply_chain.worlds import Plan


def of_world(tx: Transaction, plan: Plan, world: int) -> State:
    """The state of a world.

    Raises:
        NotFound: there is no such world.
    """
    lanes = read(tx, plan.setup, see(tx, [world])).lanes
    for account, money in tx.rows(sql.SEE_BOOKS, world):
        lanes.ledger[0, account] = money
    return canonical.of_lane(lanes, 0)


def into_world(
    tx: Transaction, plan: Plan, world: int, name: str, state: State, actor: str = "snapshot"
) -> None:
    """Put a state into a world, whatever it held; it need not exist.

    A state tells how much a source owes and how much is on its way, not which orders that was: it
    becomes one order and one shipment for each period. What was booked becomes one entry an account.

    Raises:
        BadInput: the state belongs to another network.
    """
    canonical.check_fit(plan.setup, state)
    worlds.empty(tx, plan, [world], [name], [state.key], [state.family])
    worlds.fill(tx, plan, world, state)
    journal = Journal(actor)
    for account, money in enumerate(state.ledger.tolist()):
        journal.post(world, state.day, None, account, money)
    journal.note(world, state.day, "restore", f"day/{state.day}", state=state.digest())
    journal.write(tx)
