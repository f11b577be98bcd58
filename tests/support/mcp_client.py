"""An agent that works one day of Orders through an official MCP client; it knows nothing of workgym.

    WORKGYM_TOKEN=... python tests/support/mcp_client.py http://127.0.0.1:8000/mcp --mode auto --world 1

Runs with the SDK's majors 1 and 2 and prints what it did as JSON. Without --world the server's tools must
not ask for one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import jsonschema

MAJOR = int(version("mcp").split(".")[0])


@asynccontextmanager
async def connected(url: str, mode: str, headers: dict[str, str]) -> AsyncIterator[tuple[Any, str]]:
    """A client with `list_tools` and `call_tool`, and the revision that it speaks."""
    if MAJOR == 1:
        from mcp import ClientSession
        from mcp.client.streamable_http import streamablehttp_client

        async with (
            streamablehttp_client(url, headers=headers) as (reads, writes, _),
            ClientSession(reads, writes) as session,
        ):
            yield session, (await session.initialize()).protocolVersion
        return
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async with httpx2.AsyncClient(headers=headers) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client, client.protocol_version


class Desk:
    """Calls tools and holds every answer against the tool's own schemas."""

    def __init__(self, client: Any, tools: list[dict[str, Any]], always: dict[str, Any]) -> None:
        self.client = client
        self.tools = {tool["name"]: tool for tool in tools}
        self.always = always
        self.calls = 0

    async def ask(self, name: str, **arguments: Any) -> dict[str, Any]:
        """The result of a call, refused or not."""
        given = {**self.always, **arguments}
        jsonschema.validate(given, self.tools[name]["inputSchema"])
        answer = await self.client.call_tool(name, given)
        result = answer.model_dump(mode="json", by_alias=True)
        self.calls += 1
        if not result["isError"]:
            jsonschema.validate(result["structuredContent"], self.tools[name]["outputSchema"])
            assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
        return result

    async def done(self, name: str, **arguments: Any) -> Any:
        """The content of a call that must work."""
        result = await self.ask(name, **arguments)
        assert not result["isError"], result
        return result["structuredContent"]


async def work(desk: Desk) -> dict[str, Any]:
    """Allocate what can be shipped, hold the rest, ship the wave, close the day."""
    shipped: list[int] = []
    for order in (await desk.done("list_queue", limit=200))["result"]:
        about = {"number": order["number"], "expected_version": order["version"]}
        centre = await centre_for(desk, order)
        if centre is None:
            await desk.done("hold_order", **about)
            continue
        key = f"ship-{order['number']}"
        wish = {**about, "centre": centre, "service": "economy", "idempotency_key": key}
        first = await desk.done("allocate_order", **wish)
        assert await desk.done("allocate_order", **wish) == first, "a repeated call has one effect"
        shipped.append(order["number"])
    refusal = await desk.ask("allocate_order", number=shipped[0], centre="Leeds", service="economy")
    wave = await desk.done("ship_wave")
    closed = await desk.done("close_day")
    return {"shipped": shipped, "wave": wave, "closed": closed, "refusal": refusal}


async def centre_for(desk: Desk, order: dict[str, Any]) -> str | None:
    """A centre that holds every line and can still pick them."""
    free: dict[tuple[str, str], int] = {}
    for line in order["lines"]:
        for shelf in (await desk.done("list_stock", sku=line["sku"]))["result"]:
            free[shelf["centre"], line["sku"]] = shelf["on_hand"] - shelf["reserved"]
    for centre in (await desk.done("list_centres"))["result"]:
        enough = all(free.get((centre["name"], line["sku"]), 0) >= line["qty"] for line in order["lines"])
        if enough and centre["picks_left"] >= len(order["lines"]):
            return str(centre["name"])
    return None


async def main() -> None:
    """Work a day and tell of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("url")
    parser.add_argument("--mode", default="auto", help="of the SDK's major 2: auto, legacy or a revision")
    parser.add_argument("--world", type=int)
    options = parser.parse_args()
    token = os.environ.get("WORKGYM_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with connected(options.url, options.mode, headers) as (client, protocol):
        listed = (await client.list_tools()).model_dump(mode="json", by_alias=True, exclude_none=True)
        always = {} if options.world is None else {"world": options.world}
        desk = Desk(client, listed["tools"], always)
        told = await work(desk)
    print(json.dumps({"protocol": protocol, "tools": sorted(desk.tools), "calls": desk.calls, **told}))


if __name__ == "__main__":
    asyncio.run(main())
