"""Buying and placing stock: suppliers, warehouses, stores."""

from workgym.services.kernel import Gym, Service

_ENVS = "workgym.envs.supply_chain"
_PRESETS = {
    "retail": "Retail",
    "lost-sales": "LostSales",
    "dual-sourcing": "DualSourcing",
    "serial": "Serial",
    "one-warehouse": "OneWarehouse",
    "beer-game": "BeerGame",
    "or-gym": "OrGym",
}
SERVICE = Service(
    name="supply_chain",
    title="Supply chain of suppliers, warehouses and stores",
    create_app="workgym.services.supply_chain.api:create_app",
    gyms=(
        Gym("workgym/SupplyChain-v0", f"{_ENVS}.env:SupplyChainEnv", f"{_ENVS}.env:SupplyChainVectorEnv"),
        *(
            Gym(
                f"workgym/SupplyChain.{preset}-v0",
                f"{_ENVS}.presets:{name}Env",
                f"{_ENVS}.presets:{name}VectorEnv",
            )
            for preset, name in _PRESETS.items()
        ),
    ),
)
