"""How a service is deployed, told by environment variables: `WORKGYM_...`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from workgym.services.kernel import BadInput

_PREFIX = "WORKGYM_"
_YES, _NO = ("1", "on", "yes", "true"), ("", "0", "off", "no", "false")


@dataclass(frozen=True)
class Settings:
    """How a service is deployed.

    Attributes:
        admin_token: a token with the role admin that always works (`WORKGYM_ADMIN_TOKEN`); with one,
            everybody has to sign in. Without one the service is open to whoever reaches it, and
            believes the header X-Actor.
        gym: whether agents can be trained here (`WORKGYM_GYM`): leases of worlds, resets, snapshots.
    """

    admin_token: str | None = None
    gym: bool = True

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

        return cls(admin_token=said("ADMIN_TOKEN"), gym=flag("GYM", True))
