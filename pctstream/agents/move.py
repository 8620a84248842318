"""What a worker does for the moves of its shards: pull copies, prove, and tell how far it is.

Whether there is a move and what its stage is stands in `<tree>.routing`; here nothing is decided. A
copy is pulled by a thread of its own and thrown away as soon as the move is over. A proof is made of
the store as it was when the fence was passed, beside the turns that go on.

    _sync: a portion is lacking -> `copy` -> Store -> _sync: restored, its pipe read on from there
    a fence in the pipe         -> `prove` -> `.state`: (offset, count, hash)
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import orjson

from pctstream.agents.copying import pulled
from pctstream.agents.shard import Shard
from pctstream.agents.throttle import Throttle
from pctstream.core import moves
from pctstream.core.effects import Parcel, Prove
from pctstream.core.moves import UNDER_WAY, Move
from pctstream.core.names import Path, node_name
from pctstream.core.proof import proof
from pctstream.errors import NotReady, PctError
from pctstream.pairs import CopyBroken
from pctstream.pipes.priority import lower
from pctstream.store import Store
from pctstream.tables import Record, key_of

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker

TICK_S = 0.1
TELL_S = 1.0
"""How far a move is is told so often, and at once where something was reached."""
AGAIN_S = 0.5
FROM_PIPE_S = 30.0
"""A source that gave nothing for so long is not waited for, if the pipe still has everything (R0)."""
FOLLOW_S = 10.0
"""For the record that a fence belongs to: it was written before the fence."""


class Over(Exception):
    """The move that a copy was for is over, or this shard is somebody else's."""


@dataclass(slots=True)
class Progress:
    """Of one move at one shard."""

    rows: int = 0
    bytes: int = 0
    total_rows: int = 0
    total_bytes: int = 0
    proofs: dict[str, dict[str, Any]] = field(default_factory=dict)


class Carrier:
    """The moves of one worker's shards."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._progress: dict[tuple[str, int], Progress] = {}
        self._copying: set[tuple[str, int]] = set()
        self._told: dict[str, tuple[float, Any]] = {}
        self._proving: queue.SimpleQueue[tuple[Shard, Prove, Store] | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._prover = threading.Thread(target=self._prove_all, name="prover", daemon=True)
        self._prover.start()

    def close(self) -> None:
        self._closing.set()
        self._proving.put(None)
        self._prover.join(5.0)

    # copies

    def copy(self, shard: Shard, path: Path) -> None:
        """Have this portion come from its owner; asked again and again, it is pulled once."""
        move = self._worker.routing.moves.current(path)
        if move is None or (move.id, shard.number) in self._copying:
            return
        self._copying.add((move.id, shard.number))
        threading.Thread(
            target=self._copy, args=(shard, move), name=f"copy {move.id}", daemon=True
        ).start()

    def _copy(self, shard: Shard, move: Move) -> None:
        lower()
        key = move.id, shard.number
        begun = time.monotonic()
        try:
            while True:
                self._progress[key] = progress = Progress()
                try:
                    self._pull(shard, move, progress)
                    break
                except (httpx.HTTPError, CopyBroken, NotReady):
                    self._wanted(shard, move)
                late = time.monotonic() - begun > FROM_PIPE_S
                if (
                    late
                    and not move.paused
                    and self._worker.inputs.whole(shard.source(move.portion))
                ):
                    shard.store.forget(move.portion, shard.source(move.portion))
                    shard.from_pipe.add(move.portion)
                    break
                self._closing.wait(AGAIN_S)
        except (Over, PctError):
            self._worker.metrics.ended_moves.inc()
        finally:
            self._copying.discard(key)
            self._worker.resync()

    def _pull(self, shard: Shard, move: Move, progress: Progress) -> None:
        worker = self._worker
        settings = worker.cfg.moves
        throttle = Throttle(settings.bytes_per_s, lambda: bool(worker.room.full()))
        self._wait(shard, move, 0.0)
        host = worker.reporter.all_shards().get(move.source)

        def told(rows: int, size: int) -> None:
            progress.total_rows, progress.total_bytes = rows, size

        def copied(rows: int, size: int) -> None:
            progress.rows, progress.bytes = progress.rows + rows, progress.bytes + size
            worker.metrics.move_bytes.inc(size)
            self._wait(shard, move, throttle.spend(size))

        pulled(worker.cfg, move.source, host, shard, move.portion, f"move={move.id}", told, copied)

    def _wait(self, shard: Shard, move: Move, seconds: float) -> None:
        """So long, and for as long as the move is paused; Over once nobody wants it."""
        until = time.monotonic() + seconds
        while True:
            self._wanted(shard, move)
            left = until - time.monotonic()
            if left <= 0.0 and not move.paused:
                return
            self._closing.wait(min(TICK_S, left) if left > 0.0 else TICK_S)

    def _wanted(self, shard: Shard, move: Move) -> None:
        here = self._worker.shards.get(shard.number) is shard
        if self._closing.is_set() or not here or move.stage not in UNDER_WAY:
            raise Over

    # proofs

    def prove(self, shard: Shard, effect: Prove) -> None:
        """In the turn that passed the fence: what the store holds now is kept for the prover."""
        self._proving.put((shard, effect, shard.store.frozen()))

    def _prove_all(self) -> None:
        lower()
        while (asked := self._proving.get()) is not None and not self._closing.is_set():
            try:
                self._prove(*asked)
            except PctError as error:
                self._worker.tell(f"a fence of {node_name(asked[1].path)} is not answered: {error}")
            finally:
                asked[2].close()

    def _prove(self, shard: Shard, effect: Prove, store: Store) -> None:
        log, fence = self._worker.routing, effect.fence
        deadline = time.monotonic() + FOLLOW_S
        while log.position < fence.position and time.monotonic() < deadline:
            if self._closing.wait(0.01):
                return
        move = log.moves.get(fence.move)
        if move is None or move.stage != moves.VERIFYING or move.portion != effect.path:
            self._worker.metrics.ended_moves.inc()
            return
        if shard.number == move.target:
            self._worker.coming(shard.number, effect.path)
        found = proof(rows for _, rows in store.live(effect.path))
        progress = self._progress.setdefault((move.id, shard.number), Progress())
        progress.proofs = {**progress.proofs, str(fence.offset): found.to_json()}

    # what is told

    def tick(self) -> None:
        """Tell of the moves that this worker's shards have a part in."""
        worker, now = self._worker, time.monotonic()
        if worker.fenced:
            return
        going = [m for m in worker.routing.moves.unfinished if m.stage in UNDER_WAY]
        parcels = []
        for move in going:
            for number in (move.source, move.target):
                if shard := worker.shards.get(number):
                    record = self._record(shard, move)
                    what = record["whole"], record["proofs"], record["at"] == record["end"] - 1
                    told_at, told = self._told.get(key_of(record), (0.0, None))
                    if what != told or now - told_at >= TELL_S:
                        self._told[key_of(record)] = now, what
                        parcels.append(worker.reporter.parcel(record))
        if not going:
            self._progress.clear()
            self._told.clear()
        if parcels:
            worker.writer.send(parcels, worker.monitor.told())

    def _record(self, shard: Shard, move: Move) -> Record:
        worker, path = self._worker, move.portion
        progress = self._progress.get((move.id, shard.number), Progress())
        node = shard.nodes.get(path)
        source = shard.source(path)
        return {
            "kind": "move",
            "move": move.id,
            "shard": shard.number,
            "worker": worker.name,
            "epoch": worker.hosted_in,
            "offset": time.time_ns() // 1_000_000,
            "time": time.time(),
            "whole": node is not None,
            "at": -1 if node is None else node.position.stored,
            "end": worker.inputs.reader.ends().get(source, -1),
            "rows": {"total": progress.total_rows, "copied": progress.rows},
            "bytes": {"total": progress.total_bytes, "copied": progress.bytes},
            "proofs": progress.proofs,
        }


def order(tree: str, what: dict[str, Any]) -> Parcel:
    """An order for the tree agent, as a message of `<tree>.control`."""
    return Parcel(f"{tree}.control", 0, None, orjson.dumps(what), [])
