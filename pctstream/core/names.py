"""Names of nodes, pipes, topics and agents: one path of numbers, written in four ways.

A **path** is the tuple of child numbers from the root, beginning with the root's own 0:

======== ============ ===================== ===========================================
path     node, pipe   topic, agent          why this way
======== ============ ===================== ===========================================
(0,)     N0, P0       <tree>.P0, N0         the root; its pipe is the ingest topic
(0, 3)   N0,3  P0,3   <tree>.P0.3, N0.3     Kafka refuses commas in a topic's name, so the
                                            outside sees commas and Kafka sees dots
======== ============ ===================== ===========================================

Every way is reversible, and each path has exactly one spelling: no leading zeros, no signs, no
blanks. Otherwise two names could mean one topic, and a rebuilt shard would read the wrong log.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pctstream.errors import UsageError

Path = tuple[int, ...]

ROOT: Path = (0,)
TOPIC_CHARS = 249  # Kafka's own limit: the log directory is the name, a dash and the partition

_NUMBERS = r"0(?:[,.](?:0|[1-9][0-9]{0,8}))*"
_NODE = re.compile(rf"N({_NUMBERS})")
_TREE = re.compile(r"[a-zA-Z0-9._-]+")


def _joined(path: Path, letter: str, separator: str) -> str:
    if not path or path[0] != 0 or any(n < 0 or n > 999_999_999 for n in path):
        raise UsageError(f"no node has the path {path}: a path starts with 0, its numbers are >= 0")
    return letter + separator.join(map(str, path))


@lru_cache(4096)
def node_name(path: Path) -> str:
    """The node's name.

    >>> node_name((0, 1, 2))
    'N0,1,2'
    """
    return _joined(path, "N", ",")


def node_path(text: str) -> Path:
    """The path of a node's name, with commas or with dots; anything else is a UsageError.

    >>> node_path("N0,1,2"), node_path("N0.1.2")
    ((0, 1, 2), (0, 1, 2))
    """
    found = _NODE.fullmatch(text)
    if found is None or ("," in text and "." in text):
        raise UsageError(f"{text!r} is not a node's name: write it like N0,3,1 or N0.3.1")
    return tuple(map(int, re.split("[,.]", found[1])))


def pipe_name(path: Path) -> str:
    """The name of the pipe that feeds the node.

    >>> pipe_name((0, 1, 2))
    'P0,1,2'
    """
    return _joined(path, "P", ",")


def agent_name(path: Path) -> str:
    """The name of the node's agent: dots, because the name also goes into topics and metrics.

    >>> agent_name((0, 1, 2))
    'N0.1.2'
    """
    return _joined(path, "N", ".")


@lru_cache(4096)
def pipe_topic(tree: str, path: Path) -> str:
    """The Kafka topic of the node's pipe; a UsageError where Kafka would refuse the name.

    >>> pipe_topic("pct", (0, 1, 2))
    'pct.P0.1.2'
    """
    if not _TREE.fullmatch(tree) or tree in (".", ".."):
        raise UsageError(
            f"tree.name {tree!r} cannot be part of a topic: use letters, digits, . _ -"
        )
    topic = f"{tree}.{_joined(path, 'P', '.')}"
    if len(topic) > TOPIC_CHARS:
        raise UsageError(
            f"topic {topic[:40]}... has {len(topic)} characters, Kafka allows {TOPIC_CHARS}: "
            "shorten tree.name or lower tree.cut"
        )
    return topic


def topic_path(tree: str, topic: str) -> Path | None:
    """The path whose pipe this topic is; None for every other topic, this tree's or not.

    >>> topic_path("pct", "pct.P0.1.2"), topic_path("pct", "pct.routing")
    ((0, 1, 2), None)
    """
    head = f"{tree}.P"
    numbers = topic.removeprefix(head)
    if not topic.startswith(head) or "," in numbers or not _NODE.fullmatch(f"N{numbers}"):
        return None
    return tuple(map(int, numbers.split(".")))


def parent(path: Path) -> Path | None:
    """The path of the node above; None for the root.

    >>> parent((0, 1, 2)), parent((0,))
    ((0, 1), None)
    """
    return path[:-1] or None


def level(path: Path) -> int:
    """The node's depth; the root is at level 0.

    >>> level((0,)), level((0, 1, 2))
    (0, 2)
    """
    return len(path) - 1
