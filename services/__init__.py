"""The businesses. A service knows its rules, its tables and its people; it knows nothing of learning."""

from workgym.services.catalogue import application, service, services

__all__ = ["application", "service", "services"]
