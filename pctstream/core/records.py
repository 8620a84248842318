"""The records of `<tree>.routing`, as their author writes them (`routing` folds them)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from pctstream.core.cover import Cover
from pctstream.core.names import Path, node_name

VERSION = 1
FIXED = ("tree", "dimension", "metric", "seed", "shards", "cut", "max_level", "fanout", "gap",
         "epsilon_ratio", "sink_rows", "stop", "kmeans_iterations", "balance", "prototypes",
         "nodes", "topics", "miss_limit", "miss_cooldown", "miss_window", "half_life_s",
         "sink_scans", "fold_share")  # fmt: skip
"""What record 0 fixes for good."""


def tree_record(settings: Mapping[str, Any], dimension: int, author: str) -> dict[str, Any]:
    """Record 0 from the settings named in FIXED."""
    fixed = {key: settings[key] for key in FIXED if key in settings}
    return {"seq": 0, "type": "tree", "version": VERSION, "author": author, **fixed,
            "dimension": dimension, "epsilon": settings.get("epsilon")}  # fmt: skip


def cover_records(
    path: Path, cover: Cover, seq: int, author: str, max_bytes: int = 256 * 1024
) -> list[dict[str, Any]]:
    """The pieces of a cover as records from ``seq`` on."""
    pieces = cover.to_pieces(max_bytes)
    return [
        {"seq": seq + i, "type": "cover", "author": author, "node": node_name(path),
         "hash": cover.hash, "piece": i, "pieces": len(pieces),
         "data": base64.b64encode(piece).decode()}
        for i, piece in enumerate(pieces)
    ]  # fmt: skip


def split_record(
    path: Path, cover: Cover, owners: Mapping[Path, int], seq: int, author: str
) -> dict[str, Any]:
    """The record that puts a cover and the first owners of its portions in force."""
    return {"seq": seq, "type": "split", "author": author, "node": node_name(path),
            "hash": cover.hash,
            "owners": {node_name(p): s for p, s in sorted(owners.items())}}  # fmt: skip


def reopen_record(
    path: Path, cover: Cover, starts: Mapping[int, int], seq: int, author: str
) -> dict[str, Any]:
    """The record that a node's cover is re-opened; ``starts``: of each partition of its input, the offset
    that is read first."""
    return {"seq": seq, "type": "reopen", "author": author, "node": node_name(path),
            "hash": cover.hash, "starts": {str(p): o for p, o in sorted(starts.items())}}  # fmt: skip


def reopened_record(
    path: Path, cover: Cover, owners: Mapping[Path, int], seq: int, author: str
) -> dict[str, Any]:
    """The record that puts a grown cover and the owners of the children that are new in force."""
    return split_record(path, cover, owners, seq, author) | {"type": "reopened"}


def not_reopened_record(path: Path, why: str, seq: int, author: str) -> dict[str, Any]:
    """The record that a node's cover stays as it is, and why."""
    return {"seq": seq, "type": "not reopened", "author": author, "node": node_name(path),
            "why": why}  # fmt: skip


def folded_record(path: Path, children: Sequence[int], seq: int, author: str) -> dict[str, Any]:
    """The record that these children of a node, by their numbers, get no more rows."""
    return {"seq": seq, "type": "folded", "author": author, "node": node_name(path),
            "children": list(children)}  # fmt: skip


def not_promoted_record(path: Path, why: str, seq: int, author: str) -> dict[str, Any]:
    """The record that a portion stays one, and why."""
    return {"seq": seq, "type": "not promoted", "author": author, "node": node_name(path),
            "why": why}  # fmt: skip


def epsilon_record(level: int, epsilon: float, seq: int, author: str) -> dict[str, Any]:
    """The record of the radius that a level's nodes cover by, read from their first rows."""
    return {"seq": seq, "type": "epsilon", "author": author, "level": level, "epsilon": epsilon}


def level_record(level: int, closed_by: str, seq: int, author: str) -> dict[str, Any]:
    """The record that a level has closed: its nodes may split, now or when they end."""
    return {"seq": seq, "type": "level", "author": author, "level": level, "closed_by": closed_by}


def sink_record(path: Path, rows: int, why: str, seq: int, author: str) -> dict[str, Any]:
    """The record that a node's cover is too large, and by which limit: it stays unexpanded."""
    return {"seq": seq, "type": "sink", "author": author, "node": node_name(path), "rows": rows,
            "limit": why}  # fmt: skip


def order_record(order: Mapping[str, Any], at: int, seq: int, author: str) -> dict[str, Any]:
    """The record of an order, from its place on `.control`."""
    return {"seq": seq, "type": "order", "author": author, "at": at, "order": dict(order)}


def stage_record(
    move: str, stage: str, seq: int, author: str, said: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The record that a move goes to its next stage; ``said``: its proof, or why it ends."""
    return {"seq": seq, "type": "stage", "author": author, "move": move, "stage": stage,
            **(said or {})}  # fmt: skip


def dropped_record(move: str, seq: int, author: str) -> dict[str, Any]:
    """The record that the source of a move lets go of its copy."""
    return {"seq": seq, "type": "dropped", "author": author, "move": move}
