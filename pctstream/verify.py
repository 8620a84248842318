"""Verification: the ingest log against what the shards' stores hold, row by row.

Both sides are multisets of (origin, hash of the float32 bytes after decode). Nothing here trusts a
counter or a view: the log is read and decoded again, the stores are read segment by segment.

1. The ends of the ingest log are taken; everything below them must be applied first (`settled`).
   Before that the ends of bridged topics; everything below those must be copied first.
2. The logs are decoded as the product does: good rows and dead letters. What a bridged topic has and
   the ingest log has not is lost.
3. Every shard's digest is fetched from the worker that hosts it.
4. A row held above the cut that its portion has already is one row (R2: counted once, by origin).
5. Of each id the newest row counts, and none that was deleted (R11). 6. The multisets are compared by
   origin. Rows whose log was cut behind a snapshot are left out, and `unverifiable` counts them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx
import numpy as np
import orjson
import pyarrow as pa

from pctstream.config import Config
from pctstream.core.block import Source
from pctstream.errors import NotReady
from pctstream.ingested import PLACE, ROW, IngestLog, Rows, Sources, dead_origins, ends_of
from pctstream.trust import calling

DIGEST_TIMEOUT_S = 120.0
HOST_S = 30.0

AskShards = Callable[[], Sequence[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found; ``altered`` rows are in ``lost`` too: the right bytes are nowhere."""

    ingested: int
    applied: int
    dead_lettered: int
    superseded: int
    unverifiable: int
    lost: int
    duplicated: int
    altered: int

    @property
    def sound(self) -> bool:
        return not (self.lost or self.duplicated or self.altered)

    def to_json(self) -> dict[str, int]:
        return asdict(self)


def compare(ingested: Rows, applied: Rows) -> tuple[int, int, int]:
    """(lost, duplicated, altered) between two multisets of rows; origins in ``ingested`` are unique.

    >>> row = lambda offset, hash: (0, offset, 0, hash)
    >>> log = np.array([row(1, 7), row(2, 8), row(3, 9)], ROW)
    >>> compare(log, np.array([row(1, 7), row(1, 7), row(2, 5)], ROW))
    (2, 1, 1)
    """
    both = np.concatenate([ingested, applied])
    if not len(both):
        return 0, 0, 0
    stored = np.repeat([False, True], [len(ingested), len(applied)])
    order = np.lexsort((stored, both["index"], both["offset"], both["source"]))
    both, stored = both[order], stored[order]
    new = np.ones(len(both), np.bool_)
    new[1:] = np.any([both[f][1:] != both[f][:-1] for f in ("source", "offset", "index")], axis=0)
    group = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    in_log = ~stored[first]
    same = stored & in_log[group] & (both["hash"] == both["hash"][first][group])
    copies = np.bincount(group, stored, len(first)).astype(np.int64)
    right = np.minimum(np.bincount(group, same, len(first)).astype(np.int64), in_log)
    altered = int(np.sum(in_log & (right == 0) & (copies > 0)))
    lost = int(np.sum(in_log) - np.sum(right))
    return lost, int(np.sum(copies - right)) - altered, altered


def once(held: Rows, portions: Rows) -> Rows:
    """Rows held at a trunk node that are in no node below, then those of the nodes below."""
    if not len(held) or not len(portions):
        return np.concatenate([held, portions])
    both = np.concatenate([portions, held])
    at_root = np.repeat([False, True], [len(portions), len(held)])
    order = np.lexsort((at_root, both["index"], both["offset"], both["source"]))
    both, at_root = both[order], at_root[order]
    equal = np.zeros(len(both), np.bool_)
    equal[1:] = np.all([both[f][1:] == both[f][:-1] for f in ("source", "offset", "index")], axis=0)
    follows = np.zeros(len(both), np.bool_)
    follows[1:] = equal[1:] & at_root[1:] & ~at_root[:-1]
    return both[~follows]


def digest_of(cfg: Config, shard: int, ask_shards: AskShards) -> bytes:
    """A shard's digest from the worker that hosts it; asked again while it changes hosts."""
    deadline = time.monotonic() + HOST_S
    while True:
        try:
            url = next(s["url"] for s in ask_shards() if s["shard"] == shard)
            answer = httpx.get(
                f"{url}/v1/shards/{shard}/digest", timeout=DIGEST_TIMEOUT_S, **calling(cfg)
            )
            answer.raise_for_status()
            return answer.content
        except (httpx.HTTPError, StopIteration) as error:
            if time.monotonic() > deadline:
                raise NotReady(f"shard {shard} gave no digest: {error!r}") from None
            time.sleep(0.25)


def digests(cfg: Config, count: int, ask_shards: AskShards) -> list[bytes]:
    """Every shard's digest, all of one epoch: taken again where an owner changed meanwhile."""
    deadline = time.monotonic() + DIGEST_TIMEOUT_S
    while True:
        found = [digest_of(cfg, shard, ask_shards) for shard in range(count)]
        epochs = {pa.ipc.open_stream(one).schema.metadata[b"epoch"] for one in found}
        if len(epochs) == 1:
            return found
        if time.monotonic() > deadline:
            raise NotReady("owners changed while rows were counted: run it again")


def shard_rows(cfg: Config, count: int, ask_shards: AskShards, sources: Sources) -> Rows:
    """Every row that some shard answers for, one on its way from a trunk node to the next once."""
    portions: list[Rows] = [np.zeros(0, ROW)]
    above: dict[int, list[Rows]] = {}
    for found in digests(cfg, count, ask_shards):
        with pa.ipc.open_stream(found) as reader:
            said = reader.schema.metadata
            owned = {"N0", *orjson.loads(said[b"owned"])}
            lowest = set(orjson.loads(said[b"portions"]))
            for batch in reader:
                if batch.num_rows and (node := batch["node"][0].as_py()) in owned:
                    held = above.setdefault(node.count(","), [])
                    (portions if node in lowest else held).append(sources.digest(batch))
    rows = np.concatenate(portions)
    for depth in sorted(above, reverse=True):
        rows = once(np.concatenate([rows[:0], *above[depth]]), rows)
    return rows


def verify(
    cfg: Config,
    tree: dict[str, Any],
    ask_shards: AskShards,
    ends: dict[int, int],
    theirs: dict[Source, int] | None = None,
) -> Verdict:
    """Compare; everything below the ingest log's ``ends`` must have been applied, and what is below
    the ends of ``theirs``, the bridged partitions, must have been copied below those. NotReady before
    the tree has a dimension: nothing is stored yet."""
    if not tree["dimension"]:
        why = (
            "the first rows fix its dimension, and nothing is stored before: produce some, or wait"
        )
        raise NotReady(f"tree {cfg.tree.name!r} has nothing to compare yet; {why}")
    sources = Sources()
    known = {Source(f"{cfg.tree.name}.P0", p): end for p, end in ends.items()}
    log = IngestLog(cfg, tree["dimension"], tree["metric"], sources)
    log.read(ends)
    log.read_theirs(theirs or {})
    refused = dead_origins(cfg)
    applied = shard_rows(cfg, len(ends), ask_shards, sources)
    for source, number in sources.known.items():
        known.setdefault(source, _behind(log.rows, number))
    known |= theirs or {}
    ingested = _below(log.rows, known, sources)
    poison = [o for o in refused - set(log.dead) if _source(o) in known]
    for name in poison:
        _, _, offset, index = name.rsplit("/", 3)
        hit = (ingested["offset"] == int(offset)) & (ingested["index"] == int(index))
        ingested = ingested[~(hit & (ingested["source"] == sources.number(_source(name))))]
    applied = _comparable(_below(applied, known, sources), log.begins, sources)
    # what came since may have replaced a row, at some of the shards: then it need not be there
    later = log.later(ends_of(cfg, f"{cfg.tree.name}.P0", list(ends)))
    may_lack = np.isin(ingested[PLACE], later[PLACE]) & ~np.isin(ingested[PLACE], applied[PLACE])
    ingested = ingested[~may_lack]
    lost, duplicated, altered = compare(ingested, applied)
    superseded = log.superseded + int(np.sum(may_lack))
    missing = len(set(log.dead) - refused)
    return Verdict(
        len(ingested) + superseded + len(log.dead) + len(poison), len(applied), len(refused),
        superseded, log.gone, lost + missing, duplicated, altered,
    )  # fmt: skip


def _behind(rows: Rows, number: int) -> int:
    """The offset behind those of a source that the ingest log has: what is later came later."""
    return int(rows["offset"][rows["source"] == number].max(initial=-1)) + 1


def _below(rows: Rows, ends: dict[Source, int], sources: Sources) -> Rows:
    """Without what was produced after the ends were taken."""
    later = np.zeros(len(rows), np.bool_)
    for source, end in ends.items():
        later |= (rows["source"] == sources.number(source)) & (rows["offset"] >= end)
    return rows[~later]


def _comparable(rows: Rows, begins: dict[Source, int], sources: Sources) -> Rows:
    """Without those whose log was cut: nobody can say any more whether they came."""
    cut = np.zeros(len(rows), np.bool_)
    for source, low in begins.items():
        cut |= (rows["source"] == sources.number(source)) & (rows["offset"] < low)
    return rows[~cut]


def _source(origin: str) -> Source:
    topic, partition, _, _ = origin.rsplit("/", 3)
    return Source(topic, int(partition))
