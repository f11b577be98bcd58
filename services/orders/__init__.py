"""Order fulfilment of an online retailer."""

from workgym.services.kernel import Gym, Service

SERVICE = Service(
    name="orders",
    title="Order fulfilment of an online retailer",
    create_app="workgym.services.orders.api:create_app",
    gyms=(
        Gym(
            "workgym/Orders-v0",
            "workgym.envs.orders:OrdersEnv",
            "workgym.envs.orders:OrdersVectorEnv",
            20_000,
        ),
    ),
)
