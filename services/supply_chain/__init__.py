"""Buying and placing stock: suppliers, warehouses, stores."""

from workgym.services.kernel import Service

_PRESETS = ("retail", "lost-sales", "dual-sourcing", "serial", "one-warehouse", "beer-game", "or-gym")
SERVICE = Service(
    name="supply_chain",
    title="Supply chain of suppliers, warehouses and stores",
    create_app="workgym.services.supply_chain.api:create_app",
    env_ids=("workgym/SupplyChain-v0", *(f"workgym/SupplyChain.{name}-v0" for name in _PRESETS)),
)
