"""The services that are installed, ours and everybody else's, through one door.

A package offers a service with an entry point that names its `Service` record:

    [project.entry-points."workgym.services"]
    orders = "workgym.services.orders:SERVICE"
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from importlib.metadata import EntryPoint, entry_points
from pkgutil import resolve_name
from typing import Any

from workgym.services.kernel import BadInput, NotFound, Service, did_you_mean

ASGIApp = Callable[..., Awaitable[Any]]

GROUP = "workgym.services"
_log = logging.getLogger(__name__)


def services() -> dict[str, Service]:
    """Every service that works, by name; a broken one is logged and left out."""
    working = {}
    for name in sorted(_offers()):
        try:
            working[name] = service(name)
        except BadInput as error:
            _log.warning("%s", error)
    return working


def service(name: str) -> Service:
    """The service of a name.

    Raises:
        NotFound: nobody offers it.
        BadInput: what is offered cannot be imported or is no service, or two packages offer the name.
    """
    offers = _offers()
    if name not in offers:
        raise NotFound(did_you_mean("service", name, list(offers)))
    if len(offers[name]) > 1:
        sellers = " and ".join(sorted(_seller(offer) for offer in offers[name]))
        raise BadInput(f"expected one service named {name!r}, found it in {sellers}; uninstall one of them")
    return _load(offers[name][0])


def application(wanted: Service, database: str) -> ASGIApp:
    """The ASGI application of a service over a database, given by its SQLAlchemy URL."""
    app: ASGIApp = resolve_name(wanted.create_app)(database)
    return app


def _offers() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for offer in entry_points(group=GROUP):
        found.setdefault(offer.name, []).append(offer)
    return found


def _load(offer: EntryPoint) -> Service:
    try:
        record = offer.load()
    except Exception as error:  # whatever somebody else's module does when it is imported
        raise BadInput(
            f"the service {offer.name!r} of {_seller(offer)} cannot be imported from {offer.value!r}: "
            f"{type(error).__name__}: {error}; repair or uninstall it"
        ) from error
    if not isinstance(record, Service) or record.name != offer.name:
        raise BadInput(
            f"expected a Service named {offer.name!r} at {offer.value!r} of {_seller(offer)}, "
            f"found {record!r}; correct its entry point"
        )
    return record


def _seller(offer: EntryPoint) -> str:
    return offer.dist.name if offer.dist else "an unknown package"
