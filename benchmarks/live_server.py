"""The server that `benchmarks.speed_live` measures: a deployed service, and beside it an empty handler.

python -m benchmarks.live_server orders sqlite:///orders.db 8000
"""

from __future__ import annotations

import sys

import uvicorn

from workgym.services.catalogue import service
from workgym.services.hosting import hosted
from workgym.services.settings import Settings


def main(name: str, database: str, port: int) -> None:
    app = hosted(service(name), database, Settings())

    @app.post("/empty")
    def empty() -> dict[str, int]:
        return {}

    uvicorn.run(app, port=port, log_level="warning", timeout_keep_alive=60)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
