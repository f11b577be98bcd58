"""OpenEnv's own client at work on a server; it knows nothing of workgym. Prints what it did as JSON.

python tests/support/openenv_client.py play http://127.0.0.1:8000 --env-id workgym/Orders-v0 --seeds 3 4
python tests/support/openenv_client.py crowd http://127.0.0.1:8000 --seeds 0 1 2 3
python tests/support/openenv_client.py shapes http://127.0.0.1:8000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

import requests
from openenv import GenericEnvClient
from openenv.core.env_server.mcp_types import CallToolAction
from openenv.core.env_server.types import (
    EnvironmentMetadata,
    HealthResponse,
    ResetResponse,
    SchemaResponse,
    State,
    StepResponse,
)

MOST_STEPS = 2000


def first_legal(seen: dict[str, Any], tool: dict[str, Any], view: str) -> dict[str, Any]:
    """The first action that is legal; an eighth of what may be ordered where quantities are asked."""
    properties = tool["input_schema"]["properties"]
    number: Any
    if seen["legal"] is None:
        arguments = {name: schema["maximum"] // 8 for name, schema in properties.items()}
        number = list(arguments.values())
    else:
        arguments = {"action": seen["legal"][0]}
        number = properties["action"]["enum"].index(seen["legal"][0])
    if view == "numbers":
        return {"action": number}
    if view == "calls":
        return CallToolAction(tool_name=tool["name"], arguments=arguments).model_dump()
    return {"tool": tool["name"], "arguments": arguments}


def summary(
    first: dict[str, Any], rewards: list[float], state: dict[str, Any], seconds: float
) -> dict[str, Any]:
    return {"first": first, "rewards": rewards, "state": state, "seconds": seconds}


def play(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One session, an episode a seed; the views take turns if there are several."""
    episodes = []
    with GenericEnvClient(base_url=options.url).sync() as env:
        for number, seed in enumerate(options.seeds):
            view = options.view[number % len(options.view)]
            asked = {"seed": seed, "env_id": options.env_id, "text": not options.silent}
            result = env.reset(**{name: value for name, value in asked.items() if value is not None})
            first, rewards = result.observation, []
            began = time.perf_counter()
            while not result.done and len(rewards) < MOST_STEPS:
                result = env.step(first_legal(result.observation, first["tools"][0], view))
                rewards.append(result.reward)
            seconds = time.perf_counter() - began
            assert result.done == (result.observation["terminated"] or result.observation["truncated"])
            episodes.append(summary(first, rewards, env.state(), seconds))
    return episodes


async def crowd(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A session a seed, all at once."""
    gate = asyncio.Barrier(len(options.seeds))

    async def one(seed: int) -> dict[str, Any]:
        async with GenericEnvClient(base_url=options.url) as env:
            result = await env.reset(seed=seed, env_id=options.env_id)
            first, rewards = result.observation, []
            await gate.wait()
            began = time.perf_counter()
            while not result.done and len(rewards) < options.steps:
                result = await env.step(first_legal(result.observation, first["tools"][0], options.view[0]))
                rewards.append(result.reward)
            return summary(first, rewards, await env.state(), time.perf_counter() - began)

    return list(await asyncio.gather(*(one(seed) for seed in options.seeds)))


def shapes(options: argparse.Namespace) -> dict[str, Any]:
    """Every answer over HTTP has the shape that OpenEnv's own models demand."""

    def told(method: str, path: str, **more: Any) -> Any:
        answer = requests.request(method, options.url + path, timeout=60, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    HealthResponse(**told("GET", "/health"))
    metadata = EnvironmentMetadata(**told("GET", "/metadata"))
    SchemaResponse(**told("GET", "/schema"))
    begun = ResetResponse(**told("POST", "/reset", json={"seed": 1}))
    assert begun.metadata is not None
    about = {"episode_id": begun.metadata["episode_id"]}
    action = first_legal(begun.observation, begun.observation["tools"][0], "tools")
    stepped = StepResponse(**told("POST", "/step", json={"action": action, "timeout_s": 30, **about}))
    state = State(**told("GET", "/state", params=about))
    assert (state.episode_id, state.step_count) == (about["episode_id"], 1)
    assert State(**told("GET", "/state")).step_count == 0
    return {"name": metadata.name, "reward": stepped.reward}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["play", "crowd", "shapes"])
    parser.add_argument("url")
    parser.add_argument("--env-id")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--view", choices=["tools", "numbers", "calls"], nargs="+", default=["tools"])
    parser.add_argument("--steps", type=int, default=MOST_STEPS)
    parser.add_argument("--silent", action="store_true", help="ask for observations without text")
    options = parser.parse_args()
    done = {"play": play, "shapes": shapes}.get(options.what)
    print(json.dumps(done(options) if done else asyncio.run(crowd(options))))


if __name__ == "__main__":
    main()
