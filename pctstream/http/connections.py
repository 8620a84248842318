"""Connections of a server to other workers, in its event loop."""

from __future__ import annotations

import ssl

import httpx

IDLE_S = 2.0
"""uvicorn closes a connection that was idle for 5 s: ours must not be used then."""
AT_ONCE = 64


def connections(verify: ssl.SSLContext | bool, timeout_s: float = 5.0) -> httpx.AsyncClient:
    """Kept open between requests; ``timeout_s``: of a request that names none."""
    limits = httpx.Limits(max_connections=AT_ONCE, keepalive_expiry=IDLE_S)
    return httpx.AsyncClient(limits=limits, verify=verify, timeout=timeout_s)
