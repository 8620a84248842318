"""Which tree answers where this one is asked: itself, or its successor.

An order like any other (`orders`): it lies in this tree's own history, so all of its workers agree from
that record on, also after a restart. Nothing of this tree ends because of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pctstream.errors import QueryRefused

HEADER = "pct-tree"
"""Of a request: the tree that is asked, whoever succeeded it. Of an answer: the tree that gave it."""
URLS_MOST = 64
_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}", re.ASCII)
_URL = re.compile(r"https?://[^\s/?#@]{1,255}", re.ASCII)


class Successor(NamedTuple):
    """The tree, where its workers were when it was put in its place, since when in seconds, why."""

    tree: str
    urls: tuple[str, ...]
    time: float
    reason: str = ""


def successor(own: str, order: Mapping[str, Any], time_s: float) -> Successor | None:
    """What an order says; None: the tree ``own`` answers for itself. QueryRefused where it says nothing
    that can be done.

    >>> successor("a", {"tree": "b", "urls": ["http://h:8810"]}, 5.0)
    Successor(tree='b', urls=('http://h:8810',), time=5.0, reason='')
    >>> successor("a", {"tree": "a"}, 5.0)
    """
    name = order.get("tree")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise QueryRefused("tree: say which, as in {'tree': 'finer', 'urls': ['http://host:8900']}")
    if name == own:
        return None
    urls = order.get("urls")
    if not isinstance(urls, list | tuple) or not 0 < len(urls) <= URLS_MOST:
        raise QueryRefused(f"urls: where its workers are, 1 to {URLS_MOST} of them")
    for url in urls:
        if not isinstance(url, str) or not _URL.fullmatch(url):
            raise QueryRefused(f"urls: {url!r} is not like http://host:port")
    return Successor(name, tuple(urls), time_s, str(order.get("reason", "")))
