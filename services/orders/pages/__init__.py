"""The order department's own pages; the rest of its desk comes from `workgym.services.pages`."""

from workgym.services.orders.pages.routes import router as router

__all__ = ["router"]
