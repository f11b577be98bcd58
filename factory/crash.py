"""Places where a scheduler may be killed, for `factory chaos` and for tests.

    crash.here("chunk:committed")

does nothing, unless WORKGYM_CRASH names the place: then the process ends by SIGKILL, as from outside.
`WORKGYM_CRASH=chunk:committed/3` waits for the third time.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

PLACES = (
    "task:leased",
    "task:artifact-written",
    "task:committed",
    "training:finished",
    "version:registered",
    "version:judged",
    "alias:promoted",
    "run:finishing",
)
_seen: Counter[str] = Counter()


def here(place: str) -> None:
    """Die here if this is the place and the time."""
    wanted, _, count = os.environ.get("WORKGYM_CRASH", "").partition("/")
    if wanted != place:
        return
    _seen[place] += 1
    if _seen[place] == int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
