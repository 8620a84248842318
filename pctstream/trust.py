"""How a client of ours reaches a worker: the scheme of its address, what is shown, who is believed.

With `http.cert_file` and `http.key_file` the workers speak TLS, to each other too. Their certificate
must name the hosts of `http.bind`, because that is where they ask each other.
"""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from pctstream import token
from pctstream.config import Config
from pctstream.core.successor import HEADER
from pctstream.errors import ConfigError


def url(cfg: Config, address: str = "") -> str:
    """The URL of a worker at ``address`` ("host:port"), else of the one that is configured.

    >>> url(Config())
    'http://127.0.0.1:8800'
    """
    scheme = "http" if cfg.http.cert_file is None else "https"
    return f"{scheme}://{address or cfg.http.bind}"


def calling(cfg: Config, own: bool = True) -> dict[str, Any]:
    """What httpx is to send with every request, and whose certificates it takes; ``own``: this tree is
    asked, whatever answers in its place."""
    named = {HEADER: cfg.tree.name} if own else {}
    return {"headers": token.headers(cfg) | named, "verify": trusted(cfg.http.ca_file)}


@cache
def trusted(ca_file: Path | None) -> ssl.SSLContext:
    """Certificates signed by those in the file and by nobody else; without one, what httpx trusts.

    One for the process: to make it takes longer than most questions.
    """
    if ca_file is None:
        return httpx.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"http.ca_file {ca_file} holds no certificate: {error}") from None


def check(cfg: Config) -> None:
    """ConfigError for files of `[http]` with which no worker could serve or ask another."""
    token.headers(cfg)
    trusted(cfg.http.ca_file)
    if cfg.http.cert_file is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # a key that wants a password would otherwise ask for it on the terminal
        context.load_cert_chain(cfg.http.cert_file, cfg.http.key_file, password=lambda: "")
    except OSError as error:
        files = f"http.cert_file {cfg.http.cert_file} and http.key_file {cfg.http.key_file}"
        raise ConfigError(
            f"{files} are no certificate with its key (PEM, without a password): {error}"
        ) from None
