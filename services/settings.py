"""How a service is deployed, told by environment variables: `WORKGYM_...`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from workgym.services.kernel import BadInput
from workgym.services.logs import KINDS as LOGS

_PREFIX = "WORKGYM_"
_YES, _NO = ("1", "on", "yes", "true"), ("", "0", "off", "no", "false")
_ROLES = ("viewer", "operator", "agent", "admin")
_SHORTEST_TOKEN = 16  # characters; a shorter secret can be guessed
_PEOPLE_PER_MINUTE = 600  # no person clicks ten times a second; agents and trainers are not throttled


@dataclass(frozen=True)
class Settings:
    """How a service is deployed.

    Attributes:
        admin_token: a token with the role admin that always works (`WORKGYM_ADMIN_TOKEN`); with one,
            everybody has to sign in. Without one the service is open to whoever reaches it, and
            believes the header X-Actor.
        gym: whether agents can be trained here (`WORKGYM_GYM`): leases of worlds, resets, snapshots.
        requests_per_minute: what one person of a role may ask in a minute; a role that is not named is not
            limited (`WORKGYM_REQUESTS_PER_MINUTE`, for instance `viewer=600,operator=600,agent=6000`; `off`
            limits nobody).
        log: how requests are logged (`WORKGYM_LOG`): `json`, `text`, or `off`.
        metrics: whether Prometheus finds anything at `/metrics` (`WORKGYM_METRICS`).
        traces: whether requests are told to OpenTelemetry (`WORKGYM_TRACES`).
        faults: infrastructure faults to make on purpose, as `workgym.services.faults` reads them
            (`WORKGYM_FAULTS`); never where people work.
    """

    admin_token: str | None = None
    gym: bool = True
    requests_per_minute: Mapping[str, int] = field(
        default_factory=lambda: {"viewer": _PEOPLE_PER_MINUTE, "operator": _PEOPLE_PER_MINUTE}
    )
    log: str = "off"
    metrics: bool = True
    traces: bool = False
    faults: str | None = None

    @property
    def open(self) -> bool:
        """Whether nobody has to sign in."""
        return self.admin_token is None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """What the environment says; an empty variable counts as none.

        Raises:
            BadInput: a value is not understood.
        """

        def said(name: str) -> str | None:
            return environment.get(_PREFIX + name) or None

        def flag(name: str, otherwise: bool) -> bool:
            value = said(name)
            if value is None:
                return otherwise
            if value.lower() not in _YES + _NO:
                raise BadInput(f"expected {_PREFIX}{name} to be on or off, found {value!r}")
            return value.lower() in _YES

        limits = said("REQUESTS_PER_MINUTE")
        return cls(
            admin_token=_admin_token(said("ADMIN_TOKEN")),
            gym=flag("GYM", True),
            log=_log_kind(said("LOG")),
            metrics=flag("METRICS", True),
            traces=flag("TRACES", False),
            faults=said("FAULTS"),
            **({} if limits is None else {"requests_per_minute": _rates(limits)}),
        )


def _log_kind(said: str | None) -> str:
    kind = (said or "off").lower()
    if kind not in LOGS:
        raise BadInput(f"expected {_PREFIX}LOG to be one of {', '.join(LOGS)}, found {said!r}")
    return kind


def _admin_token(said: str | None) -> str | None:
    if said is not None and (len(said) < _SHORTEST_TOKEN or not said.isascii() or not said.isprintable()):
        raise BadInput(
            f"expected {_PREFIX}ADMIN_TOKEN to be at least {_SHORTEST_TOKEN} printable ASCII characters, "
            f"found {len(said)}; make one: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return said


def _rates(said: str) -> dict[str, int]:
    """Requests in a minute by role."""
    if said.lower() in _NO:
        return {}
    found = {}
    for part in said.split(","):
        role, _, rate = (piece.strip() for piece in part.partition("="))
        if role not in _ROLES or not rate.isdecimal() or not int(rate):
            raise BadInput(
                f"expected {_PREFIX}REQUESTS_PER_MINUTE to be ROLE=NUMBER,... with roles among "
                f"{', '.join(_ROLES)}, or off, found {part.strip()!r}"
            )
        found[role] = int(rate)
    return found
