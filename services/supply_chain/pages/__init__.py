"""The supply chain's own overview; the rest of its desk comes from `workgym.services.pages`."""

from workgym.services.supply_chain.pages.routes import router as router

__all__ = ["router"]
