"""What a shard holds, row by row, as (origin, vector hash): read from its store, not from views."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from pctstream.agents.shard import Shard
from pctstream.core import kernels
from pctstream.core.block import Block
from pctstream.core.names import node_name, node_path
from pctstream.core.routing import Routing

SCHEMA = pa.schema(
    [
        ("node", pa.string()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("index", pa.int32()),
        ("hash", pa.uint64()),
    ]
)


def row_digests(block: Block) -> npt.NDArray[np.uint64]:
    """uint64 [n]: a hash of each row's float32 bytes."""
    return kernels.row_hashes(block.vectors, np.zeros(len(block), np.uint64))


def digest(shard: Shard, log: Routing) -> bytes:
    """An Arrow stream of every row in the shard's store that has not left; its metadata says for which
    nodes the shard answers, which of them are portions, and in which epoch: a portion that moves lies on
    two shards."""
    sink = pa.BufferOutputStream()
    owned = [node_name(path) for path in log.owned(shard.number)]
    portions = [node_name(path) for path in log.nodes_at(-1, shard.number)]
    told = {"epoch": str(log.epoch), "owned": orjson.dumps(owned).decode(),
            "portions": orjson.dumps(portions).decode()}  # fmt: skip
    with pa.ipc.new_stream(sink, SCHEMA.with_metadata(told)) as writer:
        store = shard.store.frozen()
        for name in store.nodes():
            for _, rows in store.live(node_path(name)):
                writer.write_batch(_batch(node_name(node_path(name)), rows))
    return bytes(sink.getvalue())


def _batch(name: str, rows: Block) -> pa.RecordBatch:
    topics = pa.array([s.topic for s in rows.sources], pa.string())
    partitions = np.array([s.partition for s in rows.sources], np.int32)
    return pa.RecordBatch.from_arrays(
        [
            pa.array([name] * len(rows), pa.string()),
            topics.take(pa.array(rows.source)),
            pa.array(partitions[rows.source]),
            pa.array(rows.offset),
            pa.array(rows.index),
            pa.array(row_digests(rows)),
        ],
        schema=SCHEMA,
    )
