"""What is told of a portion: its counts and those of its nodes, of one moment, and its covers."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from pctstream.agents.shard import Shard
from pctstream.core import fading, folding
from pctstream.core.coverage import SCANNED, WINDOW, Coverage, published
from pctstream.core.names import Path, node_name
from pctstream.core.node import Shape
from pctstream.core.portion import Portion
from pctstream.core.position import Position
from pctstream.core.subtree import NodeRecord
from pctstream.core.taken import Witness
from pctstream.core.trunk import Trunk
from pctstream.tables import ReadModel, Record

PIECE_BYTES = 256 * 1024
"""Of a cover in one record: base64 makes it a third longer, a message may have 1 MB."""


def portion_record(
    shard: Shard, portion: Portion, host: Record, epoch: int, now: float, rate: float,
    most: int | None = None,
) -> dict[str, Any] | None:  # fmt: skip
    """The absolute state of a portion, true at its pipe's offset; None while a turn takes long.
    ``host``: who tells it (`Worker.host`); ``epoch``: from which on this shard answers for it;
    ``most``: nodes that are told of.

    As the store has it: the node in memory may be a write ahead, and a mark once told lets N0 drop
    rows.
    """
    with shard.between_turns() as quiet:  # position and counts of one moment
        if not quiet:
            return None
        found = shard.store.position(portion.source)
        state = shard.store.state(portion.path) or {}
        nodes = shard.store.tree_nodes(portion.path, most)
        grown_to, proposals = portion.grown_to, portion.subtree.proposals
    position = found[0] if found else Position(epoch=portion.position.epoch)
    shape = portion.subtree.shape
    columns = node_columns(portion.path, nodes, shape)
    clock: int | None = None
    if shape.half_life_s:
        clock, columns["faded"] = fading.told([node.record for node in nodes])
    trunk: dict[str, Any] = {}
    if isinstance(portion, Trunk):
        at = {"epoch": position.epoch, "offset": position.routed}
        trunk = {"routed": at, "witness": portion_witness(state)}
        if position.routed >= 0:
            folds = portion.folds(position.epoch)
            columns["miss_bound"][:1] = [routed_bound(trunk["witness"][0], shape, not folds)]
    return {
        "kind": "portion",
        "portion": node_name(portion.path),
        "trunk": isinstance(portion, Trunk),
        "owner": shard.number,
        **host,
        "epoch": epoch,
        "offset": position.stored,
        "time": now,
        "rows": int(state.get("rows", 0)),
        "gone": int(state.get("gone", 0)),
        "bytes": int(state.get("bytes", 0)),
        "rate": rate,
        "distance": nodes[0].record["counts"]["distance"] if nodes else 0.0,
        "uncovered": nodes[0].record["counts"]["uncovered"] if nodes else 0,
        "row_time": float(state.get("time", 0.0)),
        "dead_rows": int(state.get("dead_rows", 0)),
        "marks": state.get("marks", []),
        "grown_to": grown_to,
        "proposals": proposals,
        "clock": clock,
        "nodes": columns,
        **came(nodes, shape),
        **trunk,
    }


def came(nodes: Sequence[NodeRecord], shape: Shape) -> dict[str, Any]:
    """What its parent sent to a portion (`folding.told`); nothing where nobody is folded."""
    if not (shape.half_life_s and shape.fold_share):
        return {}
    return {"came": folding.told(nodes[0].record if nodes else {})}


def portion_witness(state: Mapping[str, Any]) -> Any:
    """What the rows that a trunk node routed say of its cover (`taken.Witness`)."""
    return state.get("witness") or Witness().to_json()


def node_columns(root: Path, nodes: list[NodeRecord], shape: Shape) -> dict[str, list[Any]]:
    """The nodes as columns, paths below the portion's root."""
    dimension = shape.dimension
    # a float64 sum of d squares errs by less than (d + 4) of its last bits
    bound = 1.0 + (dimension + 4) * 2.0**-52
    records = [r.record for r in nodes]
    counts = [r["counts"] for r in records]
    gone = {"folded": folded(records)} if shape.fold_share else {}
    return {
        "path": [",".join(map(str, r["path"][len(root) :])) for r in records],
        "state": [r["state"] for r in records],
        "rows": [c["rows"] for c in counts],
        "gone": [c.get("gone", 0) for c in counts],
        "radius": [c["radius"] * bound for c in counts],
        "mean_distance": [c["distance"] / c["rows"] if c["rows"] else 0.0 for c in counts],
        "uncovered": [c["uncovered"] for c in counts],
        "limit": [r["limit"] for r in records],
        "miss_bound": [miss_bound(r, shape) for r in records],
        "reopened": [len(r.get("runs", ())) for r in records],
        "scanning": [int(bool(r.get("scanned"))) for r in records],
        "history": [r["history"] for r in records],
        **gone,
    }


def folded(records: Sequence[Mapping[str, Any]]) -> list[int]:
    """Of each of a portion's nodes: 1 where it gets no more rows (`folding`).

    >>> folded([{"path": [0, 3], "folded": [1]}, {"path": [0, 3, 0]}, {"path": [0, 3, 1]}])
    [0, 0, 1]
    """
    gone = {(*r["path"], child) for r in records for child in r.get("folded", ())}
    return [int(tuple(r["path"]) in gone) for r in records]


def miss_bound(record: Mapping[str, Any], shape: Shape) -> float | None:
    """Of the mass that a split node's cover misses, rounded up to four digits: 4,096 are in one message."""
    if "watch" not in record:
        return None
    # what a scan promised was of a cover that is not in force any more where children are folded
    return _bound(record["watch"][:4], shape, shape.miss_window, not record.get("folded"))


def routed_bound(coverage: Any, shape: Shape, scanned: bool) -> float:
    """The same of a trunk node, by the rows that it sent on; ``scanned``: what its scan promised holds."""
    return _bound(coverage, shape, WINDOW, scanned)


def _bound(coverage: Any, shape: Shape, window: int, scanned: bool) -> float:
    evidence = Coverage.from_json(coverage).evidence(window)
    promised = min(1.0, SCANNED / shape.gap)
    bound = published(promised, evidence, window) if scanned else evidence.bound()
    return min(1.0, float(f"{bound * 1.0005:.4g}"))


class Covers:
    """Tells of every cover once: what others know already is not told again."""

    def __init__(self, worker: str, model: ReadModel) -> None:
        self._worker = worker
        self._model = model
        self._told: dict[Path, tuple[Path, str]] = {}

    def of(self, shard: Shard, portion: Portion) -> list[Record] | None:
        """Records of the covers that nobody knows yet, or of which another is known (R10); None while a
        turn takes long. What a node finds as, or in, a portion of its own is of other rows than what it
        found inside a larger one."""
        with shard.between_turns() as quiet:
            if not quiet:
                return None
            covers = {n.path: n.cover for n in portion.subtree.nodes if n.cover is not None}
        known = self._model.covers_of(portion.path)
        records: list[Record] = []
        for path, cover in covers.items():
            there, told = known.get(path), (portion.path, cover.hash)
            if self._told.get(path) == told or (there and there.hash == cover.hash):
                continue
            if path in known and there is None:
                continue
            if there and there.k > cover.k:
                continue  # read from the pipe's beginning, the node has not re-opened yet
            self._told[path] = told
            pieces = cover.to_pieces(PIECE_BYTES)
            head = {"kind": "cover", "node": node_name(path), "hash": cover.hash,
                    "portion": node_name(portion.path),
                    "worker": self._worker, "prototypes": cover.k, "pieces": len(pieces)}  # fmt: skip
            records += [
                {**head, "piece": i, "data": base64.b64encode(piece).decode()}
                for i, piece in enumerate(pieces)
            ]
        return records
