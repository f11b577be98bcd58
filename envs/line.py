"""A line to a server: deadlines, retries, and errors that say whether anything was committed."""

from __future__ import annotations

import json
import os
import time
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import urllib3

from workgym.envs.backends import Transport
from workgym.envs.wire import MSGPACK
from workgym.services.kernel import BadInput, Conflict, InfrastructureFault, NotFound

_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _MOST_ATTEMPTS = 0.01, 1.0, 200
_RETRIED = (429, 500, 502, 503, 504)
Committed = Literal["yes", "no", "unknown"]


class Answer(NamedTuple):
    """What a server said."""

    status: int
    body: bytes


class Line:
    """A connection to a server, with deadlines and retries.

    Args:
        base_url: of the server.
        transport: how patient to be.
    """

    def __init__(self, base_url: str, transport: Transport) -> None:
        where = urlsplit(base_url)
        if where.scheme not in ("http", "https") or not where.hostname:
            raise BadInput(f"expected base_url like http://127.0.0.1:8000, found {base_url!r}")
        self.base_url = base_url.rstrip("/")
        self.transport = transport
        self.attempts = 0
        self._path = where.path.rstrip("/")
        kind = urllib3.HTTPSConnectionPool if where.scheme == "https" else urllib3.HTTPConnectionPool
        self._pool = kind(where.hostname, where.port, maxsize=2, block=False)
        token = transport.token or os.environ.get("WORKGYM_TOKEN")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {"X-Actor": "trainer"}

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        kind: str = MSGPACK,
        deadline_s: float | None = None,
    ) -> bytes:
        """The body of the answer; the request must be one that may be sent again.

        Raises:
            NotFound, Conflict, BadInput: the server understood and said no; nothing was changed.
            InfrastructureFault: no answer until the deadline.
        """
        patience = self.transport.deadline_s if deadline_s is None else deadline_s
        end = time.monotonic() + patience
        committed: Committed = "no"
        pause, last = _FIRST_PAUSE_S, ""
        for _ in range(_MOST_ATTEMPTS):
            left = end - time.monotonic()
            if left <= 0:
                break
            try:
                answer = self._attempt(method, path, body, kind, min(left, self.transport.attempt_s))
            except urllib3.exceptions.NewConnectionError as error:
                last = str(error)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                committed, last = "unknown", f"{type(error).__name__}: {error}"
            else:
                if answer.status not in _RETRIED:
                    return self._understood(answer)
                told = _problem(answer)
                last = told.get("detail", f"status {answer.status}")
                if committed == "no":
                    committed = told.get("committed") or ("no" if answer.status in (429, 502) else "unknown")
            time.sleep(max(min(pause, end - time.monotonic()), 0))
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        raise InfrastructureFault(
            f"{method} {self.base_url}{path} got no answer within {patience:g} s, last: {last}; check that "
            "the server runs and can be reached, or raise transport['deadline_s']",
            committed,
        )

    def _attempt(self, method: str, path: str, body: bytes | None, kind: str, seconds: float) -> Answer:
        self.attempts += 1
        headers = {**self._headers, "Content-Type": kind, "Accept": kind}
        told = self._pool.request(
            method,
            self._path + path,
            body=body,
            headers=headers,
            timeout=seconds,
            retries=False,
            redirect=False,
        )
        return Answer(told.status, told.data)

    def _understood(self, answer: Answer) -> bytes:
        if answer.status < 300:
            return answer.body
        detail = _problem(answer).get("detail", answer.body[:200].decode(errors="replace"))
        if answer.status in (401, 403):
            raise BadInput(
                f"{self.base_url} refuses the token ({answer.status}: {detail}); give transport['token'] or "
                "set WORKGYM_TOKEN to one with the role admin"
            )
        if answer.status == 404:
            raise NotFound(detail)
        if answer.status == 409:
            raise Conflict(detail)
        raise BadInput(f"{self.base_url} answers {answer.status}: {detail}")

    def close(self) -> None:
        """Hang up."""
        self._pool.close()


def _problem(answer: Answer) -> dict[str, Any]:
    try:
        told = json.loads(answer.body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
