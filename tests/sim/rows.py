"""The rows that are produced, and the truth about them: what each message is, told by its maker."""

from __future__ import annotations

import random
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import orjson
import pyarrow as pa

from pctstream.core import expiry
from pctstream.core.block import Origin, Source
from pctstream.core.effects import Parcel

DIMENSION = 2
EVER = 1 << 62


@dataclass(slots=True)
class Truth:
    """Of each message: its good rows as bytes, and whether it is to be refused."""

    good: dict[Origin, bytes] = field(default_factory=dict)
    bad: set[Origin] = field(default_factory=set)
    deletes: set[Origin] = field(default_factory=set)
    names: dict[Origin, str] = field(default_factory=dict)
    expiries: dict[tuple[Source, int], dict[Source, int]] = field(default_factory=dict)
    """Of the messages that say so: the offset of each source before which its rows leave."""
    by_offset: dict[Source, list[list[Origin]]] = field(default_factory=lambda: defaultdict(list))

    def live(self, sources: Iterable[Source]) -> dict[Origin, bytes]:
        """The rows that are left when all of these ingest partitions was taken: of each id the newest,
        unless it was deleted; a row that came twice came once."""
        left: dict[Origin, bytes] = {}
        for source in sources:
            newest: dict[str, Origin] = {}
            seen: set[Origin] = set()
            for origin in self._events(source):
                if isinstance(origin, dict):
                    for old in [o for o in seen & set(left) if o.offset < origin.get(o[:2], 0)]:
                        del left[old]
                    newest = {name: o for name, o in newest.items() if o in left}
                    continue
                if origin in self.bad or origin in seen:
                    continue
                seen.add(origin)
                name = self.names.get(origin)
                if name is not None and (old := newest.pop(name, None)) is not None:
                    del left[old]
                if origin in self.deletes:
                    continue
                left[origin] = self.good[origin]
                if name is not None:
                    newest[name] = origin
        return left

    def _events(self, source: Source) -> Iterator[Origin | dict[Source, int]]:
        for offset, origins in enumerate(self.by_offset[source]):
            if (said := self.expiries.get((source, offset))) is not None:
                yield said
            yield from origins


class Maker:
    """Makes messages for one tree: rows around a few centres, some of them bad."""

    def __init__(
        self, chance: random.Random, truth: Truth, hard: bool, names: random.Random,
        drift: random.Random | None = None, calms: int = EVER,
    ) -> None:  # fmt: skip
        """``drift``: now and then a centre goes elsewhere; ``calms``: behind so many rows, they come from
        close around the centres."""
        self._calms = calms
        self._drift = drift
        self._names = names
        self._pool = names.choice([0, 5, 5, 12, 60])
        """Ids of a partition; 0: its rows have none."""
        self._chance = chance
        self._truth = truth
        self._centres = [
            (chance.uniform(-30, 30), chance.uniform(-30, 30)) for _ in range(chance.randint(1, 5))
        ]
        self._spread = 40.0 if hard else 0.5

    def make(self, source: Source, ours: bool = True) -> Parcel | None:
        """The next message of an ingest partition (None: an offset that no reader sees), or of a
        topic that is not ours."""
        chance = self._chance
        special = 0.5 if ours else 0.0
        kind = chance.choices(
            ("float32", "json", "arrow", "bad", "marker", "none"), (8, 3, 5, 2, special, special)
        )[0]
        offset = len(self._truth.by_offset[source])
        if kind in ("marker", "none"):
            self._truth.by_offset[source].append([])
            marker = Parcel(*source, None, b"{}", [("pct-type", b"marker")])
            return marker if kind == "marker" else None
        if kind == "bad":
            self._say(source, offset, 0, None)
            return Parcel(*source, b"bad", self._bad(), [])
        names = self._names
        if self._pool and names.random() < 0.1:
            return self._delete(source, offset)
        rows = [self._vector() for _ in range(chance.randint(1, 4) if kind == "arrow" else 1)]
        broken = chance.randrange(len(rows)) if kind == "arrow" and chance.random() < 0.2 else -1
        for index, row in enumerate(rows):
            if index == broken:
                row[0] = np.float32(np.nan)
        ids = [self._name(source) for _ in rows]
        gone = [n is not None and kind == "arrow" and names.random() < 0.1 for n in ids]
        for index, row in enumerate(rows):
            refused = index == broken and not gone[index]
            self._say(
                source, offset, index, None if refused else row, ids[index], deleted=gone[index]
            )
        key = ids[0].encode() if ids[0] and kind == "float32" else None
        return Parcel(*source, key, self._value(kind, rows, ids, gone), [])

    def expire(self, source: Source, theirs: Iterable[Source], times: random.Random) -> Parcel:
        """Whatever came before some place of this partition, and of topics bridged into it, leaves;
        the place may lie behind what is there."""
        said, offset = self._truth.by_offset, len(self._truth.by_offset[source])
        before = {s: times.randint(0, len(said[s]) + 2) for s in [source, *theirs]}
        self._truth.expiries[source, offset] = before
        said[source].append([])
        return Parcel(*source, None, expiry.said(before), [("pct-type", expiry.EXPIRE.encode())])

    def _name(self, source: Source) -> str | None:
        if not self._pool or self._names.random() < 0.2:
            return None
        return f"{self._names.randrange(self._pool)}"

    def _delete(self, source: Source, offset: int) -> Parcel:
        name = f"{self._names.randrange(self._pool)}"
        self._say(source, offset, 0, np.zeros(DIMENSION), name, deleted=True)
        if self._names.random() < 0.5:
            return Parcel(*source, name.encode(), None, [])
        return Parcel(*source, None, orjson.dumps({"id": name, "deleted": True}), [])

    def _say(
        self, source: Source, offset: int, index: int, row: np.ndarray | None,
        name: str | None = None, deleted: bool = False,
    ) -> None:  # fmt: skip
        origin = Origin(*source, offset, index)
        said = self._truth.by_offset[source]
        if index == 0:
            said.append([])
        said[offset].append(origin)
        if name is not None:
            self._truth.names[origin] = name
        if row is None:
            self._truth.bad.add(origin)
        elif deleted:
            self._truth.deletes.add(origin)
        else:
            self._truth.good[origin] = row.tobytes()

    def _vector(self) -> np.ndarray:
        chance = self._chance
        self._calms -= 1
        if not self._calms:
            self._spread = 0.5
        if self._drift is not None and self._drift.random() < 0.02:
            there = tuple(self._drift.uniform(-30, 30) for _ in range(DIMENSION))
            self._centres[self._drift.randrange(len(self._centres))] = there
        centre = chance.choice(self._centres)
        return np.array([c + chance.uniform(-1, 1) * self._spread for c in centre], np.float32)

    def _value(
        self, kind: str, rows: list[np.ndarray], ids: list[str | None], gone: list[bool]
    ) -> bytes:
        if kind == "float32":
            return rows[0].tobytes()
        if kind == "json":
            return orjson.dumps({"vector": rows[0].tolist(), "payload": {"n": 1}, "id": ids[0]})
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(rows)), DIMENSION)
        columns = {"vector": vectors}
        if any(ids):
            columns["id"] = pa.array(ids, pa.string())
        if any(gone):
            columns["deleted"] = pa.array(gone)
        batch = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return bytes(sink.getvalue())

    def _bad(self) -> bytes:
        return self._chance.choice([
            b"garbage", struct.pack("<3f", 1, 2, 3), struct.pack("<2f", float("inf"), 0),
            b'{"vector": [1]}', b'{"vector": [1, "2"]}', struct.pack("<2f", 3e38, 3e38),
        ])  # fmt: skip
