"""What a setting may be: readers that turn a raw value (from TOML or the environment) into a typed
one, or refuse it with a ValueError, each with the sentence that says what is allowed.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Allowed:
    """`read(raw)` gives the typed value or raises ValueError; `text` completes "must be ..."."""

    text: str
    read: Callable[[object], object]


def _refuse(condition: bool, why: str) -> None:
    if condition:
        raise ValueError(why)


def whole(low: int, high: int) -> Allowed:
    """A whole number in [low, high].

    >>> whole(1, 8).read(8)
    8
    """

    def read(raw: object) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int) or not low <= raw <= high:
            raise ValueError
        return raw

    return Allowed(f"a whole number from {low:,} to {high:,}", read)


def number(low: float, high: float = math.inf, *, above: bool = False) -> Allowed:
    """A finite number in [low, high]; with `above` low itself is refused."""

    def read(raw: object) -> float:
        if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
            raise ValueError
        _refuse(raw < low or raw > high or (above and raw == low), "out of range")
        return float(raw)

    start = f"above {low:g}" if above else f"from {low:g}"
    return Allowed(f"a number {start}" + ("" if high == math.inf else f" to {high:g}"), read)


def auto_or(inner: Allowed) -> Allowed:
    """The word "auto", or what `inner` allows."""
    return Allowed(f'"auto" or {inner.text}', lambda raw: raw if raw == "auto" else inner.read(raw))


def one_of(*words: str, why: str = "") -> Allowed:
    """One of the words; `why` tells the reason that there are no others."""

    def read(raw: object) -> str:
        if not isinstance(raw, str) or raw not in words:
            raise ValueError
        return raw

    listed = " or ".join(f'"{word}"' for word in words)
    return Allowed(f"{listed} ({why})" if why else listed, read)


def switch() -> Allowed:
    """true or false."""

    def read(raw: object) -> bool:
        if not isinstance(raw, bool):
            raise ValueError
        return raw

    return Allowed("true or false", read)


def text(pattern: str, described: str) -> Allowed:
    """A string that matches the whole pattern."""

    def read(raw: object) -> str:
        if not isinstance(raw, str) or not re.fullmatch(pattern, raw):
            raise ValueError
        return raw

    return Allowed(described, read)


def folder_or_file(*, empty: bool) -> Allowed:
    """A path, as `Path`; "" means None where `empty` allows it."""

    def read(raw: object) -> Path | None:
        if not isinstance(raw, str) or "\0" in raw or (not raw and not empty):
            raise ValueError
        return Path(raw) if raw else None

    return Allowed("a path" + (' or "" for none' if empty else ""), read)


def several(inner: Allowed, counts: range) -> Allowed:
    """A list (kept as a tuple) of a number of items that `inner` allows."""

    def read(raw: object) -> tuple[object, ...]:
        if not isinstance(raw, list | tuple) or len(raw) not in counts:
            raise ValueError
        return tuple(inner.read(item) for item in raw)

    if len(counts) == 1:
        return Allowed(f"a list of {counts.start}, each {inner.text}", read)
    return Allowed(f"a list of at most {counts.stop - 1}, each {inner.text}", read)


def box() -> Allowed:
    """[] or [x0, y0, x1, y1] with x0 < x1 and y0 < y1."""
    four = several(number(-math.inf), range(4, 5))

    def read(raw: object) -> tuple[object, ...]:
        if raw in ([], ()):
            return ()
        bounds = four.read(raw)
        assert isinstance(bounds, tuple)
        x0, y0, x1, y1 = bounds
        _refuse(not (x0 < x1 and y0 < y1), "empty box")
        return bounds

    return Allowed("[] or [x0, y0, x1, y1] with x0 < x1 and y0 < y1", read)


def weights(keys: tuple[str, ...] | None, defaults: Mapping[str, float]) -> Allowed:
    """A table of numbers: for the named keys (missing ones keep their default), or by shard."""
    inner = number(0.0, above=keys is None)

    def read(raw: object) -> dict[object, object]:
        if not isinstance(raw, Mapping):
            raise ValueError
        if keys is None:
            return {int(shard): inner.read(value) for shard, value in raw.items()}
        _refuse(bool(set(raw) - set(keys)), "unknown key")
        return {key: inner.read(raw.get(key, defaults[key])) for key in keys}

    named = "shard = weight" if keys is None else ", ".join(keys)
    return Allowed(f"a table of {named}, each {inner.text}", read)


def properties(owned: frozenset[str]) -> Allowed:
    """A table of librdkafka properties, less those on which the product's promises rest."""

    def read(raw: object) -> dict[str, object]:
        if not isinstance(raw, Mapping):
            raise ValueError
        for key, value in raw.items():
            _refuse(not isinstance(key, str) or key in owned, f"{key} is not for you to set")
            _refuse(not isinstance(value, str | int | float | bool), f"{key} is no scalar")
        return dict(raw)

    return Allowed("a table of librdkafka properties other than " + ", ".join(sorted(owned)), read)


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[ipv6]:port"; ValueError if it is neither.

    >>> split_address("[::1]:8800")
    ('::1', 8800)
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("no host:port")
    if host.startswith("[") and host.endswith("]"):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif ":" in host or not re.fullmatch(r"[A-Za-z0-9._-]+", host):
        raise ValueError("no host")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host: a name other than localhost is not trusted."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address(*, many: bool) -> Allowed:
    """host:port; with `many` a comma-separated list of them or the empty string."""

    def read(raw: object) -> str:
        if not isinstance(raw, str):
            raise ValueError
        for part in raw.split(",") if raw or not many else ():
            split_address(part.strip())
        return raw

    return Allowed('"host:port,host:port" or ""' if many else '"host:port"', read)
