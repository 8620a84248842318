"""`verify --deep`: every pipe against what its portion's store holds.

`verify` compares the two ends of a row's way; this compares the last stretch by itself: the pipe is
read from its beginning, repeats are dropped by their marks as the product does, and what is left must
be exactly what the portion holds. So a fault is known to lie before the pipe or behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from pctstream.config import Config
from pctstream.core import expiry, ingest
from pctstream.core.block import Source
from pctstream.core.marks import Marks
from pctstream.ingested import PLACE, ROW, UNIT_MESSAGES, Rows, Sources, ends_of, read_all
from pctstream.verify import AskShards, compare, digest_of


def verify_pipes(cfg: Config, count: int, ask_shards: AskShards) -> dict[str, int]:
    """{"lost", "duplicated", "altered"} between the pipes and the stores of ``count`` shards."""
    sources = Sources()
    found = np.zeros(3, np.int64)
    shards: Sequence[dict[str, Any]] = ask_shards()
    pipe = f"{cfg.tree.name}.P0."
    for shard in range(count):
        pipes = [
            i
            for s in shards
            if s["shard"] == shard
            for i in s["inputs"]
            if i["topic"].startswith(pipe)
        ]
        digest = digest_of(cfg, shard, ask_shards)
        stored, portions = _by_node(digest, sources), _portions(digest)
        # what came to a node above the cut is further down
        for entry in (p for p in pipes if p["node"] in portions or p.get("shadow")):
            piped, cut = _pipe(cfg, Source(entry["topic"], entry["partition"]), sources)
            held = stored.get(entry["node"], np.zeros(0, ROW))
            found += compare(piped, _since(held, piped) if cut else held)
    return dict(zip(("lost", "duplicated", "altered"), found.tolist(), strict=True))


def _portions(digest: bytes) -> set[str]:
    """The names of those that the shard answers for."""
    with pa.ipc.open_stream(digest) as reader:
        return set(orjson.loads(reader.schema.metadata[b"portions"]))


def _by_node(digest: bytes, sources: Sources) -> dict[str, Rows]:
    parts: dict[str, list[Rows]] = {}
    with pa.ipc.open_stream(digest) as reader:
        for batch in reader:
            if batch.num_rows:
                parts.setdefault(batch["node"][0].as_py(), []).append(sources.digest(batch))
    return {node: np.concatenate(rows) for node, rows in parts.items()}


def _since(held: Rows, first: Rows) -> Rows:
    """Of what a store holds, what came from the first row of each source on: rows of a source come
    through a pipe in their order, so what is older lay before the place where it was cut."""
    keep = np.zeros(len(held), np.bool_)
    for source in np.unique(first["source"]):
        begins = np.sort(first[first["source"] == source], order=["offset", "index"])[0]
        later = held["offset"] > begins["offset"]
        later |= (held["offset"] == begins["offset"]) & (held["index"] >= begins["index"])
        keep |= (held["source"] == source) & later
    return held[keep]


def _pipe(cfg: Config, source: Source, sources: Sources) -> tuple[Rows, bool]:
    """The rows of a pipe, each once; and whether it was cut."""
    low, messages = read_all(cfg, source, ends_of(cfg, source.topic, [source.partition])[0])
    marks, parts, gone = Marks(), [np.zeros(0, ROW)], [np.zeros(0, ROW)]
    upto: dict[int, int] = {}
    for start in range(0, len(messages), UNIT_MESSAGES):
        some = messages[start : start + UNIT_MESSAGES]
        rows = ingest.decode_pipe(source, some, -1, some[-1].offset).rows
        if rows is not None:
            fresh = rows.keep(marks.advance(rows))
            parts.append(sources.rows(fresh.plain))
            gone.append(sources.gone(fresh))
            for _, old, offset in expiry.places(fresh):
                number = sources.number(old)
                upto[number] = max(upto.get(number, 0), offset)
    found, left = np.concatenate(parts), np.concatenate(gone)
    for number, offset in upto.items():
        found = found[(found["source"] != number) | (found["offset"] >= offset)]
    return found[~np.isin(found[PLACE], left[PLACE])], low > 0
