"""The rows that are produced, and the truth about them: what each message is, told by its maker."""

from __future__ import annotations

import random
import struct
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import orjson
import pyarrow as pa

from pctstream.core.block import Origin, Source
from pctstream.core.effects import Parcel

DIMENSION = 2


@dataclass(slots=True)
class Truth:
    """Of each message: its good rows as bytes, and whether it is to be refused."""

    good: dict[Origin, bytes] = field(default_factory=dict)
    bad: set[Origin] = field(default_factory=set)
    by_offset: dict[Source, list[list[Origin]]] = field(default_factory=lambda: defaultdict(list))


class Maker:
    """Makes messages for one tree: rows around a few centres, some of them bad."""

    def __init__(self, chance: random.Random, truth: Truth, hard: bool) -> None:
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
        rows = [self._vector() for _ in range(chance.randint(1, 4) if kind == "arrow" else 1)]
        broken = chance.randrange(len(rows)) if kind == "arrow" and chance.random() < 0.2 else -1
        for index, row in enumerate(rows):
            if index == broken:
                row[0] = np.float32(np.nan)
            self._say(source, offset, index, None if index == broken else row)
        return Parcel(*source, f"k{offset}".encode(), self._value(kind, rows), [])

    def _say(self, source: Source, offset: int, index: int, row: np.ndarray | None) -> None:
        origin = Origin(*source, offset, index)
        said = self._truth.by_offset[source]
        if index == 0:
            said.append([])
        said[offset].append(origin)
        if row is None:
            self._truth.bad.add(origin)
        else:
            self._truth.good[origin] = row.tobytes()

    def _vector(self) -> np.ndarray:
        chance = self._chance
        centre = chance.choice(self._centres)
        return np.array([c + chance.uniform(-1, 1) * self._spread for c in centre], np.float32)

    def _value(self, kind: str, rows: list[np.ndarray]) -> bytes:
        if kind == "float32":
            return rows[0].tobytes()
        if kind == "json":
            return orjson.dumps({"vector": rows[0].tolist(), "payload": {"n": 1}})
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(rows)), DIMENSION)
        batch = pa.RecordBatch.from_arrays([vectors], ["vector"])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return bytes(sink.getvalue())

    def _bad(self) -> bytes:
        return self._chance.choice([
            b"garbage", struct.pack("<3f", 1, 2, 3), struct.pack("<2f", float("inf"), 0),
            b'{"vector": [1]}', b'{"vector": [1, "2"]}', struct.pack("<2f", 3e38, 3e38),
        ])  # fmt: skip
