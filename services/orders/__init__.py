"""Order fulfilment of an online retailer."""

from workgym.services.kernel import Service

SERVICE = Service(
    name="orders",
    title="Order fulfilment of an online retailer",
    create_app="workgym.services.orders.api:create_app",
)
