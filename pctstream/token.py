"""The bearer token of the HTTP views: asked for where `http.token_file` names one."""

from __future__ import annotations

import hmac

from pctstream.config import Config
from pctstream.errors import ConfigError

OPEN_PATHS = ("/livez", "/readyz", "/")
"""Asked by whoever starts and watches a worker, or opens its page; they tell nothing of the rows."""
OPEN_UNDER = "/page/"
"""The page's files: the same for everybody. What the page asks for carries the token."""


def secret(cfg: Config) -> str | None:
    """What the file holds; None where no token is wanted."""
    if cfg.http.token_file is None:
        return None
    try:
        found = cfg.http.token_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"http.token_file cannot be read: {error}") from None
    if not found:
        raise ConfigError(f"http.token_file {cfg.http.token_file} is empty: put a secret in it")
    return found


def headers(cfg: Config) -> dict[str, str]:
    """What a client of ours sends."""
    found = secret(cfg)
    return {} if found is None else {"Authorization": f"Bearer {found}"}


def allowed(wanted: str | None, path: str, authorization: str | None) -> bool:
    """Whether a request may be answered; takes as long for a wrong token as for the right one.

    >>> allowed(None, "/v1/tree", None), allowed("s", "/v1/tree", "Bearer s")
    (True, True)
    >>> allowed("s", "/v1/tree", "Bearer t"), allowed("s", "/readyz", None), allowed("s", "/", None)
    (False, True, True)
    """
    if wanted is None or path in OPEN_PATHS or path.startswith(OPEN_UNDER):
        return True
    return hmac.compare_digest((authorization or "").encode(), f"Bearer {wanted}".encode())
