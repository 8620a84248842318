"""Verification: the ingest log against what the shards' stores hold, row by row.

Both sides are multisets of (origin, hash of the float32 bytes after decode). Nothing here trusts a
counter or a view: the log is read and decoded again, the stores are read segment by segment.

1. The ends of the ingest log are taken; everything below them must be applied first (`settled`).
2. The log is decoded as the product does: good rows and dead letters.
3. Every shard's digest is fetched from the worker that hosts it.
4. A row held above the cut that its portion has already is one row (R2: counted once, by origin).
5. The multisets are compared by origin.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pctstream.config import Config
from pctstream.core import ingest
from pctstream.core.block import Block, Source
from pctstream.core.unit import DeadLetter, Message
from pctstream.errors import BrokerUnreachable, NotFound, NotReady
from pctstream.http.digest import row_digests
from pctstream.pipes import client
from pctstream.pipes.message import as_message
from pctstream.token import headers

READ_S = 120.0
DIGEST_TIMEOUT_S = 120.0
UNIT_MESSAGES = 64
HOST_S = 30.0

AskShards = Callable[[], Sequence[dict[str, Any]]]

ROW = np.dtype(
    [("source", np.int32), ("offset", np.int64), ("index", np.int32), ("hash", np.uint64)]
)
Rows = npt.NDArray[np.void]


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


class Sources:
    """Numbers for topic partitions."""

    def __init__(self) -> None:
        self._numbers: dict[Source, int] = {}

    def number(self, source: Source) -> int:
        return self._numbers.setdefault(source, len(self._numbers))

    def rows(self, block: Block) -> Rows:
        """The block's rows as (origin, hash)."""
        numbers = np.array([self.number(s) for s in block.sources], np.int32)
        out = np.empty(len(block), ROW)
        out["source"] = numbers[block.source]
        out["offset"], out["index"] = block.offset, block.index
        out["hash"] = row_digests(block)
        return out

    def digest(self, batch: pa.RecordBatch) -> Rows:
        """The rows of one batch of a shard's digest."""
        out = np.empty(batch.num_rows, ROW)
        pairs = batch["topic"].dictionary_encode()
        topics = pairs.dictionary.to_pylist()
        codes, partitions = np.asarray(pairs.indices), np.asarray(batch["partition"])
        for code, partition in set(zip(codes.tolist(), partitions.tolist(), strict=True)):
            mask = (codes == code) & (partitions == partition)
            out["source"][mask] = self.number(Source(topics[code], partition))
        for field in ("offset", "index", "hash"):
            out[field] = np.asarray(batch[field])
        return out


class IngestLog:
    """The ingest log from its start to the ends given, decoded again."""

    def __init__(self, cfg: Config, dimension: int, metric: str) -> None:
        self._cfg, self._dimension, self._metric = cfg, dimension, metric
        self._topic = f"{cfg.tree.name}.P0"

    def read(self, ends: dict[int, int], sources: Sources) -> tuple[Rows, list[DeadLetter], int]:
        """(good rows, dead letters, offsets that the log no longer has)."""
        parts: list[Rows] = []
        dead: list[DeadLetter] = []
        gone = 0
        for partition, end in sorted(ends.items()):
            source = Source(self._topic, partition)
            low, messages = read_all(self._cfg, source, end)
            gone += low
            for start in range(0, len(messages), UNIT_MESSAGES):
                some = messages[start : start + UNIT_MESSAGES]
                unit = ingest.decode(
                    source, some, -1, some[-1].offset, self._dimension, self._metric,
                    self._cfg.ingest.format, self._cfg.blocks.row_bytes,
                )  # fmt: skip
                dead += unit.dead
                if unit.rows is not None:
                    parts.append(sources.rows(unit.rows))
        return np.concatenate(parts) if parts else np.zeros(0, ROW), dead, gone


def partitions_of(cfg: Config, topic: str) -> list[int]:
    """Those the topic has, whatever the configuration here says."""
    consumer = Consumer(client.consumer(cfg, "verify"))
    try:
        found = consumer.list_topics(timeout=10.0).topics.get(topic)
    except KafkaException as error:
        raise BrokerUnreachable(f"cannot list the topics: {error}; is the broker up?") from None
    finally:
        consumer.close()
    if found is None:
        raise NotFound(f"there is no topic {topic}: is this the tree's name? start `pctstream up`")
    return sorted(found.partitions)


def ends_of(cfg: Config, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    """The log end of each partition now."""
    consumer = Consumer(client.consumer(cfg, "verify"))
    try:
        return {
            p: int(consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10.0)[1])
            for p in partitions
        }
    except Exception as error:
        raise BrokerUnreachable(f"cannot read the ends of {topic}: {error}") from None
    finally:
        consumer.close()


def read_all(cfg: Config, source: Source, end: int) -> tuple[int, list[Message]]:
    """(log start, the messages below ``end``) of a partition."""
    consumer = Consumer(client.consumer(cfg, "verify"))
    place = TopicPartition(source.topic, source.partition, 0)
    out: list[Message] = []
    try:
        low, _ = consumer.get_watermark_offsets(place, timeout=10.0)
        place.offset = low
        consumer.assign([place])
        deadline = time.monotonic() + READ_S
        at = int(low)
        while at < end:
            if time.monotonic() > deadline:
                raise NotReady(f"{source.topic}[{source.partition}] could not be read to {end}")
            for message in consumer.consume(500, 0.2):
                error = message.error()
                at = int(message.offset() or 0) + (1 if error is None else 0)
                if error is None and at <= end:
                    out.append(as_message(message))
                elif error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise NotReady(f"{source.topic}[{source.partition}]: {error.str()}")
        return int(low), out
    finally:
        consumer.close()


def dead_origins(cfg: Config) -> set[str]:
    """Origins on the dead-letter topic; a repeat is one."""
    topic = f"{cfg.tree.name}.dlq"
    end = ends_of(cfg, topic, [0])[0]
    _, messages = read_all(cfg, Source(topic, 0), end)
    return {(m.key or b"").decode(errors="replace") for m in messages}


def digest_of(cfg: Config, shard: int, ask_shards: AskShards) -> bytes:
    """A shard's digest from the worker that hosts it; asked again while it changes hosts."""
    deadline = time.monotonic() + HOST_S
    while True:
        try:
            url = next(s["url"] for s in ask_shards() if s["shard"] == shard)
            answer = httpx.get(
                f"{url}/v1/shards/{shard}/digest", timeout=DIGEST_TIMEOUT_S, headers=headers(cfg)
            )
            answer.raise_for_status()
            return answer.content
        except (httpx.HTTPError, StopIteration) as error:
            if time.monotonic() > deadline:
                raise NotReady(f"shard {shard} gave no digest: {error!r}") from None
            time.sleep(0.25)


def shard_rows(cfg: Config, count: int, ask_shards: AskShards, sources: Sources) -> Rows:
    """Every row of every shard's store, a row on its way from a trunk node to the next once."""
    levels: list[list[Rows]] = [[np.zeros(0, ROW)] for _ in range(cfg.tree.cut + 1)]
    for shard in range(count):
        with pa.ipc.open_stream(digest_of(cfg, shard, ask_shards)) as reader:
            for batch in reader:
                if batch.num_rows:
                    depth = batch["node"][0].as_py().count(",")
                    levels[min(depth, cfg.tree.cut)].append(sources.digest(batch))
    rows = np.concatenate(levels.pop())
    while levels:
        rows = once(np.concatenate(levels.pop()), rows)
    return rows


def verify(
    cfg: Config, tree: dict[str, Any], ask_shards: AskShards, ends: dict[int, int]
) -> Verdict:
    """Compare; everything below ``ends`` must have been applied."""
    sources = Sources()
    log, dead, gone = IngestLog(cfg, tree["dimension"], tree["metric"]).read(ends, sources)
    refused = dead_origins(cfg)
    applied = shard_rows(cfg, len(ends), ask_shards, sources)
    known = {p: sources.number(Source(f"{cfg.tree.name}.P0", p)) for p in ends}
    later = np.zeros(len(applied), np.bool_)
    for partition, number in known.items():
        later |= (applied["source"] == number) & (applied["offset"] >= ends[partition])
    applied = applied[~later]
    letters = {str(d.origin) for d in dead}
    missing = len(letters - refused)
    poison: list[str] = [o for o in refused - letters if o.startswith(f"{cfg.tree.name}.P0/")]
    for name in poison:
        _, *numbers = name.rsplit("/", 3)
        at_partition, offset, index = (int(n) for n in numbers)
        hit = (log["offset"] == offset) & (log["index"] == index)
        log = log[~(hit & (log["source"] == known.get(at_partition, -1)))]
    lost, duplicated, altered = compare(log, applied)
    return Verdict(
        len(log) + len(letters) + len(poison), len(applied), len(refused), 0, gone,
        lost + missing, duplicated, altered,
    )  # fmt: skip
