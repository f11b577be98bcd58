"""JSON-RPC messages, and what the revisions of the Model Context Protocol ask of an HTTP request.

Until 2025-11-25 a client opens with `initialize`. Since 2026-07-28 it need not: each request carries its
revision in `params._meta`, and headers mirror parts of the body for whoever stands in between.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from fastapi.datastructures import Headers

WITH_HANDSHAKE: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
WITHOUT: Final = ("2026-07-28",)
SUPPORTED: Final = (*WITH_HANDSHAKE, *WITHOUT)
VERSION_HEADER: Final = "mcp-protocol-version"

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
HEADER_MISMATCH: Final = -32020
UNSUPPORTED_VERSION: Final = -32022

_META_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
_META_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
_QUOTED: Final = ("=?base64?", "?=")
_LARGEST_ID: Final = 1000  # characters; an id is echoed


class Fault(Exception):
    """A message that cannot be answered, as a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data

    def error(self) -> dict[str, Any]:
        """The member `error` of a response."""
        error = {"code": self.code, "message": str(self)}
        return error if self.data is None else {**error, "data": self.data}


class Message(NamedTuple):
    """A request; without an id, a notification.

    Attributes:
        id: echoed in the answer.
        method: what is asked.
        params: its particulars.
        is_modern: whether it follows a revision without a handshake.
    """

    id: str | int | None
    method: str
    params: Mapping[str, Any]
    is_modern: bool


def read(message: Any, headers: Headers) -> Message | None:
    """A message as its revision wants it; None for what asks for no answer.

    Raises:
        Fault: it is malformed, or its headers do not fit.
    """
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise Fault(INVALID_REQUEST, 'expected a JSON-RPC request: an object with "jsonrpc": "2.0"')
    method = message.get("method")
    if method is None and ("result" in message or "error" in message):
        return None  # an answer, although nothing was asked
    if not isinstance(method, str):
        raise Fault(INVALID_REQUEST, "expected the name of a method")
    if "id" not in message:
        return None
    if id_of(message) is None:
        raise Fault(INVALID_REQUEST, "expected an id that is a text or an integer")
    params = message.get("params") or {}
    if not isinstance(params, dict):
        raise Fault(INVALID_PARAMS, "expected params to be an object")
    asked = Message(id_of(message), method, params, is_modern(message, headers))
    if asked.is_modern:
        _check_envelope(asked, headers)
    return asked


def id_of(message: Any) -> str | int | None:
    """The id of a message, where it has a proper one."""
    found = message.get("id") if isinstance(message, dict) else None
    proper = isinstance(found, str | int) and not isinstance(found, bool)
    return found if proper and len(str(found)) <= _LARGEST_ID else None


def is_modern(message: Any, headers: Headers) -> bool:
    """Whether a message follows a revision without a handshake, or one that nobody knows."""
    version = headers.get(VERSION_HEADER)
    return version not in (None, *WITH_HANDSHAKE) or _META_VERSION in _meta(message)


def _meta(message: Any) -> Mapping[str, Any]:
    params = message.get("params") if isinstance(message, dict) else None
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else {}


def _check_envelope(asked: Message, headers: Headers) -> None:
    meta = asked.params.get("_meta")
    for name in (_META_VERSION, _META_CAPABILITIES):
        if not isinstance(meta, dict) or name not in meta:
            raise Fault(INVALID_PARAMS, f"expected {name!r} in params._meta")
    version = asked.params["_meta"][_META_VERSION]
    mirrored = {VERSION_HEADER: version, "mcp-method": asked.method}
    if asked.method == "tools/call":
        mirrored["mcp-name"] = asked.params.get("name")
    for name, value in mirrored.items():
        if [_plain(each) for each in headers.getlist(name)] != [value]:
            raise Fault(HEADER_MISMATCH, f"expected one header {name} that says what the body says")
    if version not in WITHOUT:
        known = {"supported": SUPPORTED, "requested": version}
        raise Fault(UNSUPPORTED_VERSION, "unsupported protocol version", known)


def _plain(value: str) -> str | None:
    """What a header says, which may be quoted in Base64; None when it is quoted wrongly."""
    start, end = _QUOTED
    if not (value.startswith(start) and value.endswith(end)):
        return value
    try:
        return base64.b64decode(value[len(start) : -len(end)], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def is_trusted(headers: Headers, *, is_open: bool) -> bool:
    """Whether a request comes from no web page, or from one of this server.

    Where nobody signs in, a page's host must be an address: whoever owns a name can let it lead here.

    Args:
        headers: of the request.
        is_open: whether nobody has to sign in.
    """
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        page = urlsplit(origin)
        host = page.hostname or ""
    except ValueError:
        return False
    same = bool(host) and page.netloc.lower() == headers.get("host", "").lower()
    return same and (not is_open or _is_address(host))


def _is_address(host: str) -> bool:
    try:
        return bool(ip_address(host))
    except ValueError:
        return host == "localhost"
