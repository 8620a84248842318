"""The bearer tokens of the HTTP views: asked for where `http.token_file` names a file of one or two.

Two lines are two tokens that are both valid; callers of ours send the first. So a token is changed
without a restart and without a refusal: add the new one as the second line on every machine, then make
it the first, then remove the old one. The file is read again whenever it is another one.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pctstream.config import Config
from pctstream.errors import ConfigError

OPEN_PATHS = ("/livez", "/readyz", "/", "/docs")
"""Asked by whoever starts and watches a worker, or opens its pages; they tell nothing of the rows."""
OPEN_UNDER = "/page/"
"""The page's files: the same for everybody. What the page asks for carries the token."""
VALID = 2
"""As many as a rotation needs."""


class Tokens:
    """What a file holds now; once it has held tokens, a file that is gone or wrong changes nothing."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen = _state(file)
        self._valid = _read(file)

    def valid(self) -> tuple[str, ...]:
        """The tokens, the one to send first."""
        seen = _state(self._file)
        if seen != self._seen:
            self._seen = seen
            try:
                self._valid = _read(self._file)
            except ConfigError as error:
                os.write(2, f"pctstream: {error}; the tokens of before stay valid\n".encode())
        return self._valid


@cache
def of(file: Path) -> Tokens:
    """The tokens of a file, one for the whole process; ConfigError if it has none."""
    return Tokens(file)


def _state(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(file: Path) -> tuple[str, ...]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"http.token_file {file} cannot be read: {why}") from None
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise ConfigError(f"http.token_file {file} is empty: put a secret in it")
    if len(found) > VALID or not all(re.fullmatch(r"[\x20-\x7e]+", one) for one in found):
        raise ConfigError(
            f"http.token_file {file} must have one token a line, {VALID} at most, of ASCII alone"
        )
    return found


def wanted(cfg: Config) -> Tokens | None:
    """What a request must show; None where no token is wanted."""
    return None if cfg.http.token_file is None else of(cfg.http.token_file)


def headers(cfg: Config) -> dict[str, str]:
    """What a client of ours sends."""
    found = wanted(cfg)
    return {} if found is None else {"Authorization": f"Bearer {found.valid()[0]}"}


def allowed(valid: Sequence[str] | None, path: str, authorization: str | None) -> bool:
    """Whether a request may be answered; takes as long for a wrong token as for the right one.

    >>> allowed(None, "/v1/tree", None), allowed(["s", "new"], "/v1/tree", "Bearer new")
    (True, True)
    >>> allowed(["s"], "/v1/tree", "Bearer t"), allowed(["s"], "/readyz", None), allowed(["s"], "/", None)
    (False, True, True)
    """
    if valid is None or path in OPEN_PATHS or path.startswith(OPEN_UNDER):
        return True
    given = (authorization or "").encode()
    # all of them are compared, so that the time does not tell which one it was
    same = [hmac.compare_digest(given, f"Bearer {one}".encode()) for one in valid]
    return any(same)
