"""What telemetry costs a business request: everything off, metrics, logs, spans, side by side in one run.

    python -m benchmarks.telemetry [--rounds 9] [--requests 200]

A request is a business verb on the order department (announce a delivery), through the whole hosted
application on SQLite in memory; a round is one batch of requests for each configuration, in turns. Times are
CPU seconds of the process. All configurations must end in equal states. Spans are made and ended, and
no exporter takes them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import statistics
import sys
import time
from typing import Any

from workgym.services.catalogue import service
from workgym.services.hosting import hosted
from workgym.services.settings import Settings

GOAL = 0.05  # of a request, for metrics
KINDS: dict[str, dict[str, Any]] = {
    "everything off": {"metrics": False},
    "metrics": {},
    "metrics and log": {"log": "json"},
    "metrics and spans": {"traces": True},
    "all of them": {"log": "json", "traces": True},
}
OFF = next(iter(KINDS))
BODY = b'{"centre":"Leeds","sku":"A001","units":5,"eta":0}'


class Bench:
    """One configuration with its own world."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.app = hosted(service("orders"), "sqlite://", Settings(gym=False, **KINDS[kind]))
        self.logs = "log" in KINDS[kind]
        status, _ = asyncio.run(self._ask("POST", "/worlds", b'{"name":"shop"}'))
        assert status == 201
        self.world = self.app.state.store.worlds()[0].id
        self.asked = 0

    async def _ask(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"x-actor", b"bench"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        told: dict[str, Any] = {"status": 0, "body": b""}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            told["status"] = message.get("status", told["status"])
            told["body"] += message.get("body", b"")

        await self.app(scope, receive, send)
        return told["status"], told["body"]

    async def _batch(self, requests: int) -> float:
        began = time.process_time()
        for _ in range(requests):
            status, _ = await self._ask("POST", f"/worlds/{self.world}/deliveries", BODY)
            assert status == 201
        return (time.process_time() - began) / requests

    def seconds(self, requests: int) -> float:
        """CPU seconds of a request."""
        logging.getLogger("workgym").setLevel(logging.INFO if self.logs else logging.WARNING)
        self.asked += requests
        gc.collect()
        return asyncio.run(self._batch(requests))

    def state(self) -> tuple[object, ...]:
        """What the world has become."""
        store = self.app.state.store
        return tuple(store.deliveries(self.world)), tuple(store.audit(self.world, limit=1000))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]  # there is one
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--requests", type=int, default=200)
    chosen = options.parse_args()
    os.environ["OTEL_TRACES_EXPORTER"] = "none"
    benches = [Bench(kind) for kind in KINDS]
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(nowhere)
        for bench in benches:
            bench.seconds(20)
        taken = [[bench.seconds(chosen.requests) for bench in benches] for _ in range(chosen.rounds)]
    assert len({bench.asked for bench in benches}) == 1
    assert all(bench.state() == benches[0].state() for bench in benches), "telemetry changed the business"
    for bench, times in zip(benches, zip(*taken, strict=True), strict=True):
        ratios = [one / of_round[0] - 1 for one, of_round in zip(times, taken, strict=True)]
        told = "" if bench.kind == OFF else f"  {statistics.median(ratios):+7.1%}"
        spread = "" if bench.kind == OFF else f"  ({min(ratios):+.1%} to {max(ratios):+.1%})"
        print(f"{bench.kind:18} {statistics.median(times) * 1e6:7.0f} us a request{told}{spread}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
