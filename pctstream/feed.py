"""Feeding a file into a tree: read, pace, produce, tell how far it is.

The rows go through `client.Producer`, which groups them by the partition of their id; the order of
the rows of a partition is the order of the file. Sent means taken by the broker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import pyarrow.compute as pc

from pctstream.client import Format, Producer
from pctstream.config import Config
from pctstream.core.given import Row
from pctstream.errors import UsageError
from pctstream.files import Choice, Piece, RowFile, open_rows
from pctstream.progress import Progress

PIECE_ROWS = 1024
PIECE_S = 0.1
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """What to feed, and how.

    Of the file, the ``limit`` rows from row ``start`` on are fed ``loop`` times over; ``rate`` is
    in rows per second (0: as fast as the broker takes them).
    """

    path: Path
    choice: Choice = field(default_factory=Choice)
    rate: float = 0.0
    limit: int | None = None
    start: int = 0
    loop: int = 1
    format: Format = "block"


@dataclass(frozen=True, slots=True)
class FeedResult:
    """What the broker has taken; ``read`` rows were read before it ended or was stopped."""

    topic: str
    rows: int
    messages: int
    bytes: int
    seconds: float
    read: int
    stopped: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def run(
    options: FeedOptions, cfg: Config, out: TextIO, stop: threading.Event | None = None
) -> FeedResult:
    """Feed until the end, or until ``stop`` is set; what was read by then is in the log.

    1. Open the file: wrong names are refused before anything is sent. 2. Piece by piece: produce,
    then wait as the rate demands. 3. Wait until the broker has taken all.
    """
    if options.format == "float32" and (options.choice.payload or options.choice.time):
        raise UsageError("--format float32 has no room for --payload and --time: use block or json")
    stop = stop or threading.Event()
    file = open_rows(options.path, options.choice)  # 1
    started, read = time.monotonic(), 0
    producer = Producer(
        cfg.kafka.broker,
        cfg.tree.name,
        client=cfg.kafka.client,
        format=options.format,
        block_rows=cfg.blocks.rows,
        block_bytes=cfg.blocks.bytes,
    )
    progress = Progress(out, f"feeding {options.path.name}", _planned(options, file.total))
    with producer:
        for piece in passes(file, options):  # 2
            if isinstance(piece, Row):
                producer.add(*piece)
                read += 1
            else:
                producer.extend(piece)
                read += piece.num_rows
            progress.update(producer.acked)
            due = started + read / options.rate if options.rate else 0.0
            while (early := due - time.monotonic()) > 0 and not stop.is_set():
                producer.poll(min(POLL_S, early))
                progress.update(producer.acked)
            if stop.is_set():
                break
        producer.seal()  # 3
        while producer.acked < producer.rows:
            producer.poll(POLL_S)
            progress.update(producer.acked)
    progress.close(producer.acked)
    return FeedResult(
        producer.topic,
        producer.acked,
        producer.messages,
        producer.bytes,
        time.monotonic() - started,
        read,
        stop.is_set(),
    )


def passes(file: RowFile, options: FeedOptions) -> Iterator[Piece]:
    """The rows in order, pass after pass; the ids of pass k > 0 end in "#k"."""
    rows = PIECE_ROWS
    if options.rate:
        rows = max(1, min(rows, int(options.rate * PIECE_S)))
    for number in range(options.loop):
        suffix = f"#{number}" if number else ""
        left = options.limit
        for piece in file.pieces(options.start, rows):
            if left is not None and left <= 0:
                break
            if isinstance(piece, Row):
                size, some = 1, piece
            else:
                some = piece if left is None else piece.slice(0, left)
                size = some.num_rows
            left = None if left is None else left - size
            yield _renamed(some, suffix) if suffix else some


def _renamed(piece: Piece, suffix: str) -> Piece:
    if isinstance(piece, Row):
        return piece._replace(id=f"{piece.id}{suffix}")
    ids = pc.binary_join_element_wise(piece["id"], suffix, "")
    return piece.set_column(piece.schema.names.index("id"), "id", ids)


def _planned(options: FeedOptions, total: int | None) -> int | None:
    if total is None:
        return None if options.limit is None else options.limit * options.loop
    rows = max(0, total - options.start)
    return (rows if options.limit is None else min(rows, options.limit)) * options.loop
