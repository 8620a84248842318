"""The Bloom filters of a shard's nodes, kept in step with its store.

One filter per node that holds rows here: N0's stored ones, each portion's, each shadow's. It is fed
before the WriteBatch that brings the rows, so it never lacks an id that the store has. A row without an id
counts by its origin, which is its name.

A filter is saved in the store now and then, beside the offset that it is true for; after a crash it is
read again, and the segments behind that offset once more. Missing, unreadable, too full or too coarse for
as many portions: it is made from the segments, behind, and until then the answer is "maybe". While one is
made the old one goes on answering, and rows that come are added to both.

A node that lets go of its rows still says "maybe" for `HOLD_S`: longer than anybody's copy of a filter is
believed (`http.filters`), so that a row on its way down is not denied by both.
"""

from __future__ import annotations

import itertools
import math
import os
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pctstream.agents.named import Named
from pctstream.core.bloom import Bloom
from pctstream.core.effects import Apply
from pctstream.core.identity import names64
from pctstream.core.keys import Hashes
from pctstream.core.names import ROOT, Path, node_name
from pctstream.core.published import Part
from pctstream.errors import Unreadable
from pctstream.store import Store

HOLD_S = 3.0
RECENT = 16_384
"""Hashes of a node that can be told as news; who lacks more gets the filter whole."""
COARSE = 1.25
"""A filter may let through so many times its share of the shard's rate, then it is made anew."""
DELETED = 0.3
AHEAD = 2
"""A filter is made for so many times the keys there are. What makes it anew reads every row again: at twice
the design that is once for every row in the long run, so a third of it; 7 bytes a key at most."""
SAVE_ROWS, SAVE_SHARE, SAVE_S = 4096, 0.25, 30.0
"""A filter is saved when so many rows came, and that share of its keys; or after so long."""
_AT = struct.Struct("<q")
_SERIAL = itertools.count()


@dataclass(slots=True)
class Kept:
    """One node's filter, and the last that was added to it."""

    bloom: Bloom | None = None
    """None: it is not made yet."""
    offset: int = -1
    """Every row of the node's input up to here is in it."""
    coming: Bloom | None = None
    made: str = ""
    """Name of this filter: who has news of another one starts again."""
    seq: int = 0
    """Hashes added since it was made."""
    recent: deque[tuple[int, Hashes]] = field(default_factory=deque)
    """(seq before, hashes)"""
    removed: int = 0
    purged: float = math.inf
    saved: tuple[int, float] = (0, 0.0)


class Blooms:
    """Of one shard. Any thread may ask."""

    def __init__(self, store: Store, fpr: float) -> None:
        self._store = store
        self._fpr = fpr
        self._kept: dict[Path, Kept] = {}
        self._named = Named(store)
        self._applying = threading.Lock()
        self._adding = threading.Lock()
        self.unreadable = 0
        """Filters that were saved and could not be read."""

    # in step with the store

    def open(self, path: Path, offset: int) -> None:
        """A node is here, its input done so far. What it holds already is read behind (`make`)."""
        if path in self._kept:
            return
        kept = Kept(offset=offset)
        if next(self._store.segments(path), None) is None:
            self._replace(kept, Bloom(self._wanted(path)))
            self._named.begin(path)
        self._kept[path] = kept

    def drop(self, path: Path) -> None:
        """The node is gone from here."""
        with self._applying:
            self._kept.pop(path, None)
            self._named.drop(path)

    @contextmanager
    def applying(self, effect: Apply) -> Iterator[None]:
        """Around the WriteBatch of an effect."""
        with self._applying:
            kept = self._kept.get(effect.path)
            if kept is not None and effect.rows is not None:
                hashes = names64(effect.rows)
                self._named.add(effect.path, effect.position.stored, hashes)
                self._add(kept, hashes)
            yield
            if kept is not None:
                kept.offset = max(kept.offset, effect.position.taken)
                if effect.left is not None:
                    kept.removed += len(effect.left)
                if effect.purge:
                    kept.purged = time.monotonic()
                    self._named.begin(effect.path)

    def _add(self, kept: Kept, hashes: Hashes) -> None:
        with self._adding:
            for bloom in (kept.bloom, kept.coming):
                if bloom is not None:
                    bloom.add(hashes)
            kept.recent.append((kept.seq, hashes))
            kept.seq += len(hashes)
            while kept.recent and kept.seq - kept.recent[0][0] > RECENT:
                kept.recent.popleft()

    def _replace(self, kept: Kept, bloom: Bloom) -> None:
        kept.bloom, kept.coming = bloom, None
        kept.made = f"{os.getpid()}-{next(_SERIAL)}-{time.time_ns()}"
        kept.seq, kept.removed = 0, 0
        kept.recent.clear()
        kept.saved = (-SAVE_ROWS, 0.0)

    # questions

    def might(self, path: Path, hash_: int, offset: int = -1) -> bool | None:
        """False: surely no such id among the rows up to ``offset``; None: not known."""
        kept = self._kept.get(path)
        if kept is None or kept.bloom is None or kept.offset < offset:
            return None
        return kept.bloom.has(hash_)

    def told(self) -> dict[str, Any]:
        """Of all filters here: bits, keys, and the share of absent ids that are not denied."""
        found = [kept.bloom for kept in list(self._kept.values())]
        passed = math.prod(1.0 - (1.0 if b is None else b.expected) for b in found)
        there = [b for b in found if b is not None]
        return {
            "bits": sum(b.bits for b in there),
            "keys": sum(b.keys for b in there),
            "fpr": 1.0 - passed,
        }

    def news(self, shard: int, known: dict[str, tuple[str, int]], whole: bool) -> Iterator[Part]:
        """What others lack, of filters that they have (a little is enough) or of those that they need
        ``whole``; ``known`` has (name, seq) of the filter they have of each node."""
        for path, kept in list(self._kept.items()):
            name = node_name(path)
            made, seq = known.get(name, ("", -1))
            with self._adding:
                if kept.bloom is None:
                    continue
                head = shard, name, kept.made, kept.offset
                first = kept.recent[0][0] if kept.recent else kept.seq
                if whole == (made == kept.made and seq >= first):
                    continue
                if not whole:
                    some = [hashes for before, hashes in kept.recent if before >= seq]
                    fresh = np.concatenate([np.zeros(0, np.uint64), *some])
                    part = Part(*head, seq, kept.seq, fresh.astype("<u8").tobytes())
                else:
                    part = Part(*head, -1, kept.seq, kept.bloom.to_bytes())
            yield part

    def known(self) -> list[str]:
        """Names of the nodes that are here."""
        return [node_name(path) for path in list(self._kept)]

    # behind

    def _wanted(self, path: Path) -> float:
        """The rate of one filter, so that all of the shard keep the rate that is set."""
        return self._fpr / max(1, len({*self._kept, path} - {ROOT}))

    def due(self) -> list[Path]:
        """Nodes whose filter is to be made."""
        return [path for path, kept in list(self._kept.items()) if self._due(path, kept)]

    def _due(self, path: Path, kept: Kept) -> bool:
        bloom = kept.bloom
        if bloom is None or bloom.full or time.monotonic() - kept.purged > HOLD_S:
            return True
        coarse = bloom.fpr > COARSE * self._wanted(path)
        return coarse or kept.removed > max(DELETED * bloom.keys, 1)

    def make(self, path: Path, stop: Callable[[], bool] = lambda: False) -> None:
        """The filter of a node anew: what was saved and the rows since, or all rows."""
        with self._applying:
            kept = self._kept.get(path)
            if kept is None:
                return
            fresh, after = self._begun(path, kept)
            kept.coming, kept.purged = fresh, math.inf
            purges = self._store.version(path)[1]
            segments = self._named.segments(path, after)
        gone, nobody = self._store.gone(path), np.zeros(0, np.int64)
        for last, hashes in segments:
            if stop():
                return
            with self._adding:
                fresh.add(np.delete(hashes, gone.get(last, nobody)))
        if not self._store.numbered_as(path, purges):
            return  # it is still due
        with self._adding:
            if kept.coming is fresh:
                self._replace(kept, fresh)

    def _begun(self, path: Path, kept: Kept) -> tuple[Bloom, int]:
        """(filter, the offset up to which it has everything)"""
        if kept.bloom is not None:
            return Bloom(self._wanted(path), AHEAD * (kept.bloom.keys - kept.removed)), -1
        raw = self._store.bloom(path)
        if raw is not None:
            try:
                if len(raw) < _AT.size:
                    raise Unreadable("a saved filter without its offset")
                (after,) = _AT.unpack_from(raw)
                saved = Bloom.from_bytes(raw[_AT.size :])
                if after <= kept.offset:
                    return saved, after
            except Unreadable:
                self.unreadable += 1
        state = self._store.state(path) or {}
        rows = int(state.get("rows", 0)) - int(state.get("gone", 0))
        return Bloom(self._wanted(path), AHEAD * max(0, rows)), -1

    def save(self, every: bool = False) -> None:
        """Write the filters that changed much; ``every`` that changed at all."""
        for path, kept in list(self._kept.items()):
            since, now = kept.seq - kept.saved[0], time.monotonic()
            if kept.bloom is None or not since:
                continue
            much = since >= max(SAVE_ROWS, SAVE_SHARE * kept.bloom.keys)
            if not (every or much or now - kept.saved[1] > SAVE_S):
                continue
            with self._applying:
                if self._kept.get(path) is not kept or kept.bloom is None:
                    continue
                kept.saved = kept.seq, now
                self._store.keep_bloom(path, _AT.pack(kept.offset) + kept.bloom.to_bytes())
