"""What came in: the ingest log and the topics bridged into it, read and decoded again.

Rows are (origin, hash of the float32 bytes after decode), so that they can be compared with what
the shards hold, whoever decoded them first.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pctstream.config import Config
from pctstream.core import bridge, expiry, ingest
from pctstream.core.block import Block, Source
from pctstream.core.marks import Marks
from pctstream.core.news import news
from pctstream.core.unit import DeadLetter, Message, Unit
from pctstream.errors import BrokerUnreachable, NotFound, NotReady
from pctstream.http.digest import row_digests
from pctstream.pipes import client
from pctstream.pipes.message import as_message

READ_S = 120.0
HARMLESS = frozenset({KafkaError._PARTITION_EOF, KafkaError.GROUP_AUTHORIZATION_FAILED})
"""The client looks for its group's coordinator; nothing is committed, so nobody needs that right."""
UNIT_MESSAGES = 64

ROW = np.dtype(
    [("source", np.int32), ("offset", np.int64), ("index", np.int32), ("hash", np.uint64)]
)
Rows = npt.NDArray[np.void]
PLACE = ["source", "offset", "index"]
"""Of a row: its origin."""


class Sources:
    """Numbers for topic partitions."""

    def __init__(self) -> None:
        self.known: dict[Source, int] = {}

    def number(self, source: Source) -> int:
        return self.known.setdefault(source, len(self.known))

    def rows(self, block: Block) -> Rows:
        """The block's rows as (origin, hash)."""
        numbers = np.array([self.number(s) for s in block.sources], np.int32)
        out = np.empty(len(block), ROW)
        out["source"] = numbers[block.source]
        out["offset"], out["index"] = block.offset, block.index
        out["hash"] = row_digests(block)
        return out

    def gone(self, entries: Block) -> Rows:
        """The rows that these entries of a pipe name as leaving, by origin; their hash is 0."""
        if entries.changes is None:
            return np.zeros(0, ROW)
        leaving = entries.changes.at(entries.changes.names)
        numbers = np.array([self.number(s) for s in entries.sources], np.int32)
        out = np.zeros(len(leaving.offset), ROW)
        out["source"] = numbers[leaving.source]
        out["offset"], out["index"] = leaving.offset, leaving.index
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


class Newest:
    """Of the rows of one ingest partition, in their order, those that no later one has replaced, and
    that have not expired."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._count = 0
        self._gone: list[int] = []
        self._ages: dict[Source, deque[tuple[int, int]]] = defaultdict(deque)
        """(offset, number) of the rows of each source, the oldest first."""

    def take(self, rows: Block) -> None:
        """The next rows and deletes."""
        brings = np.ones(len(rows), np.bool_) if rows.changes is None else rows.changes.brings
        names = [None] * len(rows) if rows.ids is None else rows.ids.to_pylist()
        expires = {row: (source, upto) for row, source, upto in expiry.places(rows)}
        ages = [self._ages[source] for source in rows.sources]
        from_, offsets = rows.source.tolist(), rows.offset.tolist()
        for at, (name, row) in enumerate(zip(names, brings.tolist(), strict=True)):
            if at in expires:
                self._expire(*expires[at])
            if row:
                ages[from_[at]].append((offsets[at], self._count))
            if name is not None:
                before = self._places.pop(name, -1)
                self._gone += [before] if before >= 0 else []
                if row:
                    self._places[name] = self._count
            self._count += row

    def _expire(self, source: Source, upto: int) -> None:
        ages = self._ages[source]
        while ages and ages[0][0] < upto:
            self._gone.append(ages.popleft()[1])

    @property
    def left(self) -> npt.NDArray[np.bool_]:
        """bool[rows]: which are still there."""
        kept = np.ones(self._count, np.bool_)
        kept[self._gone] = False
        return kept


class IngestLog:
    """The ingest log from its start to the ends given, and the topics bridged into it, decoded again."""

    def __init__(self, cfg: Config, dimension: int, metric: str, sources: Sources) -> None:
        self._cfg, self._dimension, self._metric = cfg, dimension, metric
        self._sources = sources
        self._replaced: dict[Source, Rows] = {}
        self._read: dict[Source, tuple[Rows, Marks, Newest]] = {}
        self._ends: dict[Source, int] = {}
        self._topic = f"{cfg.tree.name}.P0"
        self.rows = np.zeros(0, ROW)
        self.superseded = 0
        """Rows that a later row of their id replaced, or a delete, or that expired."""
        self.dead: dict[str, DeadLetter] = {}
        self.gone = 0
        """Offsets that the log no longer has."""
        self.begins: dict[Source, int] = {}
        """The first offset that each ingest partition still has."""

    def read(self, ends: dict[int, int]) -> None:
        """The ingest partitions up to these ends; a row that a bridge copied twice is one."""
        for partition, end in sorted(ends.items()):
            source, marks, newest = Source(self._topic, partition), Marks(), Newest()
            low, messages = read_all(self._cfg, source, end)
            self._ends[source] = end
            self.gone += low
            self.begins[source] = low
            parts = [np.zeros(0, ROW)]
            for unit in self._units(source, messages):
                fresh = news(unit, unit.prev, marks)
                marks = fresh.marks
                parts.append(self._take(fresh.rows, fresh.dead))
                if fresh.rows is not None:
                    newest.take(fresh.rows)
            rows, left = np.concatenate(parts), newest.left
            self._replaced[source] = rows[~left]
            self._read[source] = rows, marks, newest
            self.superseded += int(np.sum(~left))
            self.rows = np.concatenate([self.rows, rows[left]])

    def later(self, ends: dict[int, int]) -> Rows:
        """The rows that what came since, up to these ends, has replaced: by now, or soon."""
        found = [np.zeros(0, ROW)]
        for source, (rows, marks, newest) in self._read.items():
            before = newest.left
            _, messages = read_all(self._cfg, source, ends[source.partition], self._ends[source])
            for unit in self._units(source, messages):
                fresh = news(unit, unit.prev, marks)
                marks = fresh.marks
                if fresh.rows is not None:
                    newest.take(fresh.rows)
            found.append(rows[before & ~newest.left[: len(rows)]])
        return np.concatenate(found)

    def read_theirs(self, ends: dict[Source, int]) -> None:
        """The bridged partitions up to these ends: what they have and the ingest log has not."""
        for source, end in sorted(ends.items()):
            _, messages = read_all(self._cfg, source, end)
            messages = [m._replace(pct_type=None, origin=None) for m in messages]
            cfg = self._cfg
            large = bridge.copies(
                cfg.tree.name, cfg.shards.count, source, messages, -1, end - 1
            ).dead
            self._take(None, large)
            beyond = {d.origin.offset for d in large}
            fit = [m for m in messages if m.offset not in beyond]
            parts = [self._take(u.rows, u.dead) for u in self._units(source, fit)]
            # first those of the log they come from: the copy must be the same
            theirs = np.concatenate([*parts, self.rows[:0]])
            replaced = np.concatenate([self.rows[:0], *self._replaced.values()])
            theirs = theirs[~np.isin(theirs[PLACE], replaced[PLACE])]
            both = np.concatenate([theirs, self.rows])
            _, first = np.unique(both[["source", "offset", "index"]], return_index=True)
            self.rows = both[first]

    def _units(self, source: Source, messages: list[Message]) -> Iterator[Unit]:
        for start in range(0, len(messages), UNIT_MESSAGES):
            some = messages[start : start + UNIT_MESSAGES]
            yield ingest.decode(
                source, some, -1, some[-1].offset, self._dimension, self._metric,
                self._cfg.ingest.format, self._cfg.blocks.row_bytes,
            )  # fmt: skip

    def _take(self, rows: Block | None, dead: Iterable[DeadLetter]) -> Rows:
        self.dead |= {str(letter.origin): letter for letter in dead}
        return np.zeros(0, ROW) if rows is None else self._sources.rows(rows.plain)


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


def read_all(cfg: Config, source: Source, end: int, start: int = 0) -> tuple[int, list[Message]]:
    """(log start, the messages from ``start`` and below ``end``) of a partition."""
    consumer = Consumer(client.consumer(cfg, "verify"))
    place = TopicPartition(source.topic, source.partition, 0)
    out: list[Message] = []
    try:
        low, _ = consumer.get_watermark_offsets(place, timeout=10.0)
        place.offset = max(int(low), start)
        consumer.assign([place])
        deadline = time.monotonic() + READ_S
        at = max(int(low), start)
        while at < end:
            if time.monotonic() > deadline:
                raise NotReady(f"{source.topic}[{source.partition}] could not be read to {end}")
            for message in consumer.consume(500, 0.2):
                error = message.error()
                at = int(message.offset() or 0) + (1 if error is None else 0)
                if error is None and at <= end:
                    out.append(as_message(message))
                elif error is not None and error.code() not in HARMLESS:
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
