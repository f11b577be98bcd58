"""An OpenEnv server around a toy inventory env in memory; run by an interpreter that has `openenv`.

python openenv_toy.py serve PORT            # stock, an order that takes a day, demand from the seed
python openenv_toy.py play URL STEPS        # steps a second of OpenEnv's own client over its WebSocket
"""

from __future__ import annotations

import random
import sys
import time
from typing import Any


def serve(port: int) -> None:
    import uvicorn
    from openenv.core.env_server.http_server import create_fastapi_app
    from openenv.core.env_server.interfaces import Environment
    from openenv.core.env_server.types import Action, Observation, State

    class Order(Action):
        units: int = 0

    class Shelf(Observation):
        stock: int = 0
        coming: int = 0

    class Toy(Environment):  # type: ignore[misc]  # OpenEnv is not installed here
        SUPPORTS_CONCURRENT_SESSIONS = True

        def __init__(self) -> None:
            super().__init__()
            self.reset()

        def reset(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> Shelf:
            self._random, self._stock, self._coming, self._day = random.Random(seed), 5, 5, 0
            return Shelf(stock=self._stock, coming=self._coming, done=False, reward=0.0)

        def step(self, action: Order, timeout_s: float | None = None, **_: Any) -> Shelf:
            self._stock += self._coming
            demand = self._random.randrange(11)
            sold = min(demand, self._stock)
            cost = (self._stock - sold) + 4 * (demand - sold)
            self._stock, self._coming, self._day = self._stock - sold, action.units, self._day + 1
            return Shelf(stock=self._stock, coming=self._coming, done=self._day >= 100, reward=-float(cost))

        @property
        def state(self) -> State:
            return State(step_count=self._day)

    app = create_fastapi_app(Toy, Order, Shelf, max_concurrent_envs=4)
    uvicorn.run(app, port=port, log_level="warning")


def play(url: str, steps: int) -> None:
    from openenv import GenericEnvClient

    with GenericEnvClient(base_url=url).sync() as env:
        env.reset(seed=1)
        for _ in range(20):
            env.step({"units": 5})
        began = time.perf_counter()
        for _ in range(steps):
            env.step({"units": 5})
        print(steps / (time.perf_counter() - began))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        play(sys.argv[2], int(sys.argv[3]))
