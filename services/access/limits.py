"""How often one person may ask, and how often one may try to sign in."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from fastapi import HTTPException
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from workgym.services.access.roles import Person

SIGN_IN_MINUTES = 5
TRIES_BY_NAME, TRIES_BY_ADDRESS = 10, 50  # in so many minutes; an office shares an address


class Allowance:
    """Counts requests and attempts to sign in, in this process's memory.

    Args:
        requests_per_minute: by role; a role that is not named is not limited.
    """

    def __init__(self, requests_per_minute: Mapping[str, int]) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._requests = {role: RateLimitItemPerMinute(most) for role, most in requests_per_minute.items()}
        self._by_name = RateLimitItemPerMinute(TRIES_BY_NAME, SIGN_IN_MINUTES)
        self._by_address = RateLimitItemPerMinute(TRIES_BY_ADDRESS, SIGN_IN_MINUTES)

    def request(self, person: Person) -> None:
        """Count one request of somebody (HTTP 429)."""
        limit = self._requests.get(person.role)
        if limit is not None:
            self._count(limit, f"expected at most {limit.amount} requests a minute", "person", person.name)

    def attempt(self, name: str, address: str) -> None:
        """Count one attempt to sign in (HTTP 429)."""
        told = f"too many attempts to sign in within {SIGN_IN_MINUTES} minutes"
        self._count(self._by_address, f"{told} from here", "address", address)
        self._count(self._by_name, f"{told} with this name", "name", name)

    def succeeded(self, name: str) -> None:
        """Forget the attempts with a name: its owner knows the password."""
        self._limiter.clear(self._by_name, "name", name)

    def _count(self, limit: RateLimitItem, told: str, *whose: str) -> None:
        if self._limiter.hit(limit, *whose):
            return
        wait = max(1, math.ceil(self._limiter.get_window_stats(limit, *whose).reset_time - time.time()))
        raise HTTPException(429, f"{told}; ask again in {wait} s", {"Retry-After": str(wait)})
