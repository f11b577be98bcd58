"""Buying and placing stock: suppliers, warehouses, stores."""

from workgym.services.kernel import Service

SERVICE = Service(
    name="supply_chain",
    title="Supply chain of suppliers, warehouses and stores",
    create_app="workgym.services.supply_chain.api:create_app",
)
