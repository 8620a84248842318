"""What becomes of an answer: the value, another attempt, or an error of ours.

Tried again: what changes nothing, where the server says that it may succeed (a `Retry-After`), or where
nobody answered, then at the next worker; while there is time, after a pause that grows.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
import orjson

from pctstream import errors
from pctstream.client.calls import JSON, Call
from pctstream.core.successor import HEADER
from pctstream.errors import NotReady, PctError

T = TypeVar("T")
PAUSE_S = 0.05
PAUSE_MOST_S = 1.0
IDLE_S = 2.0
"""uvicorn closes a connection that was idle for 5 s: ours must not be used then."""


class Refusal(PctError):
    """A worker's refusal of a kind that this version has no class for; see `code` and `status`."""


def _kinds(kind: type[PctError]) -> list[type[PctError]]:
    below = [one for sub in kind.__subclasses__() for one in _kinds(sub)]
    return [kind, *below]


KINDS = {
    kind.code: kind
    for kind in _kinds(PctError)
    if kind.__module__ == errors.__name__ and kind is not errors.RowRefused
}


def error_of(status: int, content: bytes, retry_after: str | None) -> PctError:
    """The error that a problem+json is.

    >>> type(error_of(404, b'{"title": "not-found", "detail": "no row"}', None)).__name__
    'NotFound'
    >>> error = error_of(418, b"short and stout", None)
    >>> type(error).__name__, error.status, error.retriable
    ('Refusal', 418, False)
    """
    try:
        said: Any = orjson.loads(content)
        code, detail = str(said["title"]), str(said["detail"])
    except (orjson.JSONDecodeError, LookupError, TypeError):
        code, detail = "error", f"status {status}: {content[:200]!r}"
    kind = KINDS.get(code)
    if kind is not None and kind is not PctError:
        return kind(detail)
    error = Refusal(detail)
    error.code, error.status = code, status  # type: ignore[misc]
    error.retriable = retry_after is not None  # type: ignore[misc]
    return error


class Attempts:
    """The attempts at one call, one worker after the other."""

    def __init__(self, urls: Sequence[str], first: int, timeout_s: float) -> None:
        self._urls = urls
        self.at = first
        self._until = time.monotonic() + timeout_s
        self._pause = PAUSE_S

    @property
    def left(self) -> float:
        """Seconds for this attempt."""
        return max(0.01, self._until - time.monotonic())

    @property
    def url(self) -> str:
        """The worker to ask now."""
        return self._urls[self.at % len(self._urls)]

    def request(self, call: Call[Any]) -> dict[str, Any]:
        """What httpx is to send for this attempt."""
        return {
            "method": call.method, "url": self.url + call.path, "content": call.content,
            "params": dict(call.params), "timeout": self.left,
            "headers": {"Accept": call.accept, "Content-Type": JSON}
            | ({HEADER: call.tree} if call.tree else {}),
        }  # fmt: skip

    def pause(self, call: Call[Any], error: PctError, wanted: str | None) -> float:
        """Seconds to wait before the next attempt; raises the error if there is to be none."""
        seconds = self._pause
        if wanted is not None and wanted.replace(".", "", 1).isdigit():
            seconds = max(seconds, min(float(wanted), PAUSE_MOST_S))
        if not (call.again and error.retriable) or seconds >= self.left:
            raise error
        self._pause = min(2 * self._pause, PAUSE_MOST_S)
        return seconds

    def read(self, call: Call[T], answer: httpx.Response) -> T:
        """The value of a good answer; the error of any other."""
        if not answer.is_success:
            raise error_of(answer.status_code, answer.content, answer.headers.get("retry-after"))
        try:
            return call.read(answer.content)
        except (LookupError, TypeError, ValueError, OSError) as error:
            raise Refusal(f"{self.url}{call.path} does not answer as a tree: {error!r}") from None

    def silent(self, error: Exception) -> NotReady:
        """Nobody answered here: the next worker may."""
        silence = NotReady(f"no worker answers at {self.url}: {error or type(error).__name__}")
        self.at += 1
        return silence


def addresses(urls: str | Sequence[str]) -> list[str]:
    """Base addresses of the workers.

    >>> addresses("127.0.0.1:8800/"), addresses(["http://a:1", "https://b"])
    (['http://127.0.0.1:8800'], ['http://a:1', 'https://b'])
    """
    some = [urls] if isinstance(urls, str) else list(urls)
    if not some:
        raise errors.UsageError("name at least one worker's address")
    return [(one if "://" in one else f"http://{one}").rstrip("/") for one in some]


def connecting(token: str | None, ca_file: str | Path | None) -> dict[str, Any]:
    """How an httpx client is made; with a ``ca_file`` only whom it has signed is believed."""
    verify = True if ca_file is None else ssl.create_default_context(cafile=ca_file)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return {"headers": headers, "verify": verify, "limits": httpx.Limits(keepalive_expiry=IDLE_S)}
