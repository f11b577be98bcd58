"""Which environments there are, ours and everybody else's, through one door.

A package offers its gyms with an entry point that names them, in a module that is light to import:

    [project.entry-points."workgym.gyms"]
    bakery = "bakery:GYMS"
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import entry_points

from workgym.services.kernel import Gym

GROUP = "workgym.gyms"
_log = logging.getLogger(__name__)

_ORDERS, _CHAIN = "workgym.envs.orders", "workgym.envs.supply_chain"
ORDERS = (Gym("workgym/Orders-v0", "orders", f"{_ORDERS}:OrdersEnv", f"{_ORDERS}:OrdersVectorEnv", 20_000),)
SUPPLY_CHAIN = (
    Gym(
        "workgym/SupplyChain-v0",
        "supply_chain",
        f"{_CHAIN}.env:SupplyChainEnv",
        f"{_CHAIN}.env:SupplyChainVectorEnv",
    ),
    *(
        Gym(
            f"workgym/SupplyChain.{preset}-v0",
            "supply_chain",
            f"{_CHAIN}.presets:{name}Env",
            f"{_CHAIN}.presets:{name}VectorEnv",
        )
        for preset, name in (
            ("retail", "Retail"),
            ("lost-sales", "LostSales"),
            ("dual-sourcing", "DualSourcing"),
            ("serial", "Serial"),
            ("one-warehouse", "OneWarehouse"),
            ("beer-game", "BeerGame"),
            ("or-gym", "OrGym"),
        )
    ),
)


@cache
def gyms() -> tuple[Gym, ...]:
    """Every gym that is offered; what cannot be loaded is logged and left out."""
    found: list[Gym] = []
    for offer in sorted(entry_points(group=GROUP), key=lambda offer: offer.name):
        try:
            found.extend(offer.load())
        except Exception as error:  # whatever somebody else's module does when it is imported
            _log.warning("the gyms %r cannot be loaded from %r: %s", offer.name, offer.value, error)
    return tuple(found)


def env_ids_of(service: str) -> tuple[str, ...]:
    """Ids of the gyms that stand on a service; the first is the usual one."""
    return tuple(gym.env_id for gym in gyms() if gym.service == service)
