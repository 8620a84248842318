"""Connections of a worker to others, in the event loop of its server.

By aiohttp, which Faust brings: a busy worker pays for each system call with a wait for the interpreter,
and httpx looks at every open connection before and after each request, and on the disk for a library that
is not there at every await (two thirds of a question's time on the event loop; RESULTS.md, "Overload").
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import aiohttp

IDLE_S = 2.0
"""uvicorn closes a connection that was idle for 5 s: ours must not be used then."""
AT_ONCE = 64


class Connections:
    """Kept open between requests; to be made, used and closed in one event loop."""

    def __init__(self, verify: ssl.SSLContext | bool) -> None:
        connector = aiohttp.TCPConnector(limit=AT_ONCE, keepalive_timeout=IDLE_S, ssl=verify)
        jar = aiohttp.DummyCookieJar()
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=jar)

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], seconds: float
    ) -> bytes | None:
        """What is answered with 200 in time; else None."""
        total = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._session.post(
                url, data=body, headers=headers, timeout=total, allow_redirects=False
            ) as answer:
                return await answer.read() if answer.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RuntimeError):
            return None

    async def close(self) -> None:
        """Let go of all."""
        await self._session.close()
