"""A bakery: the smallest business that has everything."""

from workgym.services.kernel import Gym, Service

SERVICE = Service(
    name="bakery",
    title="A bakery that decides every morning how much to bake",
    create_app="bakery.api:create_app",
)
GYMS = (Gym("acme/Bakery-v0", "bakery", "bakery.gym:BakeryEnv", "bakery.gym:BakeryVectorEnv"),)
