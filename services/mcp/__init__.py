"""Every business verb as a tool of the Model Context Protocol: `POST /mcp`.

Tools are made from the application's own OpenAPI document, and a call of one is a request to that
application, in process: what REST checks, refuses, repeats and writes down, MCP does too. The trainer's
and the administrator's operations are no tools.

The handshake of the revisions until 2025-11-25 and the requests of 2026-07-28, which need none, are both
answered, so clients of either kind connect. The official SDK is not used: it would bring ten packages,
start a task for every call of a client with a handshake, and refuse the empty request by which OpenEnv's
validator knows an MCP server.
"""

from workgym.services.mcp.endpoint import mcp

__all__ = ["mcp"]
